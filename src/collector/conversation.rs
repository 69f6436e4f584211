//! SHELL: one agent's connection, from its first byte to its last.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use log::{debug, info, warn};
use smol::channel::{self, Receiver};
use smol::future;

use crate::mqtt::{Input, SessionError};
use crate::telemetry::logger::tame;
use crate::transport::{Connection, Reader, TransportError};

use super::desk::{Desk, Wish};
use super::hall::{Answer, Hall};
use super::intake::Inbound;

/// Takes a newcomer in, or says why not.
pub(super) async fn welcome(
    address: SocketAddr,
    established: impl Future<Output = Result<Connection, TransportError>>,
    hall: Hall,
) {
    match established.await {
        Err(error) => warn!("{address} was not let in: {error}"),
        Ok(connection) => {
            let Some(agent) = connection.peer.name.clone() else { return };
            let words = converse(connection, &agent, &hall).await;
            info!("agent {agent} at {address}: {words}");
        }
    }
}

/// Returns why it ended.
async fn converse(connection: Connection, agent: &str, hall: &Hall) -> String {
    let (answers, inbox) = channel::unbounded();
    let number = hall.number();
    let address = connection.peer.address;
    let (mut reader, mut writer) = (connection.reader, connection.writer);
    let mut desk = Desk::new(hall.session, &hall.tenant, agent);
    let mut buffer = vec![0; 64 * 1024];
    let mut handled = desk.handle(Input::Opened, Instant::now());
    let words = loop {
        while let Some(bytes) = desk.poll() {
            if let Err(error) = writer.write(bytes).await {
                handled = Ok(());
                let _ = desk.handle(Input::Lost, Instant::now());
                info!("agent {agent}: {error}");
                break;
            }
        }
        if let Err(error) = handled {
            break error.to_string();
        }
        let mut over = None;
        while let Some(wish) = desk.wish() {
            match wish {
                Wish::Entered => {
                    info!("agent {agent} is connected from {address}");
                    hall.enter(agent, number, &answers);
                }
                Wish::Batch { token, message } => {
                    let inbound = Inbound { agent: agent.to_owned(), message };
                    if !hall.hand_in(inbound, token, &answers).await {
                        over = Some("the collector stops".to_owned());
                    }
                }
                Wish::WantsAck => {
                    let told = Answer::Ack { agent: agent.into(), ack: hall.ack(agent) };
                    let _ = answers.try_send(told);
                }
                Wish::Status(status) => {
                    debug!("agent {agent}: {}", tame(&String::from_utf8_lossy(&status)));
                }
                Wish::Over(words) => over = Some(words),
            }
        }
        if let Some(words) = over {
            break words;
        }
        if desk.is_over() {
            break "dismissed".to_owned();
        }
        handled = turn(&mut desk, &mut reader, &inbox, &mut buffer).await;
    };
    while let Some(bytes) = desk.poll() {
        let _ = writer.write(bytes).await;
    }
    hall.leave(agent, number);
    writer.finish().await;
    words
}

/// Waits for the next thing and hands it to the desk.
async fn turn(
    desk: &mut Desk,
    reader: &mut Reader,
    inbox: &Receiver<Answer>,
    buffer: &mut [u8],
) -> Result<(), SessionError> {
    enum Next {
        Read(Result<usize, TransportError>),
        Answer(Answer),
        Tick,
    }
    let wake_at = desk.wake_at();
    let read = async { Next::Read(reader.read(buffer).await) };
    let answer = async {
        match inbox.recv().await {
            Ok(answer) => Next::Answer(answer),
            Err(_) => std::future::pending().await,
        }
    };
    let tick = async {
        match wake_at {
            Some(at) => smol::Timer::at(at).await,
            None => std::future::pending().await,
        };
        Next::Tick
    };
    let next = future::or(answer, future::or(read, tick)).await;
    let now = Instant::now();
    match next {
        Next::Tick => desk.handle(Input::Tick, now),
        Next::Read(Ok(len)) if len > 0 => {
            desk.handle(Input::Bytes(buffer.get(..len).unwrap_or_default()), now)
        }
        Next::Read(_) => desk.handle(Input::Lost, now),
        Next::Answer(Answer::Done { token, refused }) => desk.done(token, refused, now),
        Next::Answer(Answer::Ack { ack, .. }) => desk.tell(&ack, now),
        Next::Answer(Answer::Dismiss(reason)) => desk.dismiss(reason, now),
    }
}

/// How long a newcomer may take until its first bytes.
pub(super) const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
