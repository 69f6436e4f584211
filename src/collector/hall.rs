//! SHELL: what everybody who brings batches shares: who is connected, what each agent was told last,
//! and the way to the intake.
//!
//! ```text
//!   conversation (one per connection) ──hand_in──► intake thread ──► log
//!                 ▲                                     │
//!                 └────────────── Answer ◄──────────────┘
//! ```

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use log::{error, warn};
use smol::channel::{self, Receiver, Sender};

use crate::batch::Ack;
use crate::mqtt::{Reason, ServerSettings};

use super::intake::{Inbound, Taken};

/// A batch on its way from a connection to the intake.
pub(super) struct Job {
    /// The batch.
    pub(super) inbound: Inbound,
    token: u64,
    answers: Sender<Answer>,
}

/// What the intake and other connections tell whoever brought a batch.
pub(super) enum Answer {
    /// The batch with this token is durable, or can never be taken.
    Done { token: u64, refused: bool },
    /// Where the collector stands with this agent.
    Ack { agent: Arc<str>, ack: Ack },
    /// The conversation is to be ended.
    Dismiss(Reason),
}

/// Who is connected, and what each agent was told last.
#[derive(Default)]
struct Board {
    agents: HashMap<String, (u64, Sender<Answer>)>,
    acks: HashMap<String, Ack>,
}

/// What every connection needs; cheap to clone.
#[derive(Clone)]
pub(super) struct Hall {
    /// Whose agents may connect.
    pub(super) tenant: Arc<str>,
    /// What a session allows.
    pub(super) session: ServerSettings,
    jobs: Sender<Job>,
    board: Arc<Mutex<Board>>,
    numbers: Arc<AtomicU64>,
}

impl Hall {
    /// A hall that knows what each agent was told, and the end of the way to the intake.
    pub(super) fn new(
        tenant: &str,
        session: ServerSettings,
        acks: Vec<(String, Ack)>,
    ) -> (Self, Receiver<Job>) {
        let (jobs, waiting) = channel::bounded(JOBS_MAX);
        let board = Board { acks: acks.into_iter().collect(), ..Board::default() };
        let board = Arc::new(Mutex::new(board));
        let (tenant, numbers) = (tenant.into(), Arc::default());
        (Self { tenant, session, jobs, board, numbers }, waiting)
    }

    /// A number for a connection.
    pub(super) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Hands a batch to the intake, waiting for room; its answer comes to `answers`, with this token.
    /// `false` if the collector stops.
    pub(super) async fn hand_in(
        &self,
        inbound: Inbound,
        token: u64,
        answers: &Sender<Answer>,
    ) -> bool {
        self.jobs.send(Job { inbound, token, answers: answers.clone() }).await.is_ok()
    }

    /// What an agent that has just subscribed is told.
    pub(super) fn ack(&self, agent: &str) -> Ack {
        let ack = self.board().acks.get(agent).cloned();
        ack.unwrap_or(Ack { version: 1, ..Ack::default() })
    }

    /// The newest connection of an agent counts; an older one is told so.
    pub(super) fn enter(&self, agent: &str, number: u64, answers: &Sender<Answer>) {
        let entry = (number, answers.clone());
        if let Some((_, older)) = self.board().agents.insert(agent.to_owned(), entry) {
            let _ = older.try_send(Answer::Dismiss(Reason::TAKEN_OVER));
        }
    }

    /// The connection of this number is gone.
    pub(super) fn leave(&self, agent: &str, number: u64) {
        let mut board = self.board();
        if board.agents.get(agent).is_some_and(|(own, _)| *own == number) {
            board.agents.remove(agent);
        }
    }

    /// Tells everybody that the collector stops.
    pub(super) fn dismiss_all(&self) {
        for (_, answers) in self.board().agents.values() {
            let _ = answers.try_send(Answer::Dismiss(Reason::SHUTTING_DOWN));
        }
    }

    /// Nothing more is handed in.
    pub(super) fn close(&self) {
        self.jobs.close();
    }

    /// Tells who brought a group of batches, and whose they were, what became of them.
    pub(super) fn answer(&self, group: Vec<Job>, taken: Taken) {
        for (job, refusal) in group.into_iter().zip(taken.refused) {
            if let Some(refusal) = &refusal {
                error!("agent {}: a message was refused: {refusal}", job.inbound.agent);
            }
            let done = Answer::Done { token: job.token, refused: refusal.is_some() };
            let _ = job.answers.try_send(done);
        }
        let mut board = self.board();
        for (agent, ack) in taken.acks {
            if let Some(demand) = ack.demand {
                warn!("agent {agent} is asked: {demand:?}, because {}", ack.why);
            }
            if let Some((_, answers)) = board.agents.get(&agent) {
                let told = Answer::Ack { agent: agent.as_str().into(), ack: ack.clone() };
                let _ = answers.try_send(told);
            }
            board.acks.insert(agent, Ack { demand: None, why: String::new(), ..ack });
        }
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Batches that wait for the intake, over all connections.
const JOBS_MAX: usize = 64;
