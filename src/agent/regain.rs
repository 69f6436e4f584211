//! SHELL: what the collector lost is read again, if the source still has it.
//!
//! A collector that was restored from an older copy stands before what it had acknowledged, and what was
//! acknowledged is forgotten here. The source is asked first: only when it has shown that it can be read
//! from there is what is staged forgotten too, for until then it may be all that is left.
//!
//! Reading begins with the file in which the collector stands, because a file's head tells which transactions
//! are before it; what the collector has of that file is read and not staged.

use std::time::{Duration, Instant};

use log::{error, info, warn};

use crate::position::{Checkpoint, Position};
use crate::source::{self, FIRST_EVENT, Origin, Source, SourceError, Step};

use super::pump::Lost;
use super::reader::{ReadError, Ties, persist};

/// The longest wait for the source, before we look whether to stop.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// Takes the buffer back to where the collector stands, if it has lost something. Returns up to where the
/// collector has all of what is read from there.
///
/// # Errors
/// [`ReadError::Lost`] if the source does not have it any more: nothing has changed.
pub(super) fn go_back(
    settings: &source::Settings,
    ties: &Ties,
) -> Result<Option<Position>, ReadError> {
    let (lost, rereads) = {
        let inner = ties.shared.lock();
        (inner.lost.clone(), inner.rereads)
    };
    let Some(lost) = lost else { return Ok(None) };
    let (checkpoint, known) = place(&lost, ties)?;
    if let Err(why) = try_reading(settings, &checkpoint, ties) {
        if matches!(why, SourceError::Stopped) {
            return Err(ReadError::Stopped);
        }
        if !ties.accepts_gaps {
            return Err(ReadError::Lost(Box::new((lost, why))));
        }
        error!(
            "source: {lost}, and it cannot be read again: {why}; it stays MISSING there (on_gap)"
        );
        persist(ties, rereads, |inner| {
            inner.buffer.begin_epoch(lost.there.0.saturating_add(1), &[])?;
            (inner.lost, inner.accepts_gap) = (None, true);
            Ok(())
        })?;
        ties.staged.ring();
        return Ok(None);
    }
    let epoch = persist(ties, rereads, |inner| {
        let epoch = inner.buffer.go_back(&checkpoint, lost.there)?;
        inner.lost = None;
        Ok(epoch)
    })?;
    warn!("source: {lost}: it is read again from {}, in epoch {epoch}", checkpoint.position);
    Ok(known)
}

/// Where to read again, and up to where the collector has all of it.
fn place(lost: &Lost, ties: &Ties) -> Result<(Checkpoint, Option<Position>), ReadError> {
    let (began, stored) = {
        let buffer = &ties.shared.lock().buffer;
        let both = buffer.began().and_then(|began| Ok((began, buffer.checkpoint()?)));
        both.map_err(ReadError::Buffer)?
    };
    let Some(from) = &lost.from else {
        let began = began.filter(|began| !began.position.file.is_empty()).ok_or_else(|| {
            let what = "it is not known where reading once began".to_owned();
            ReadError::Lost(Box::new((lost.clone(), SourceError::History { what })))
        })?;
        return Ok((began, None));
    };
    if stored.is_some_and(|stored| stored.position.server != from.server) {
        // Another server took over: its files have other places, so it is found by its GTIDs.
        let position = Position { gtid: None, ..from.clone() };
        let gtids = lost.gtids.clone();
        return Ok((Checkpoint { position, gtids, file_created_s: 0 }, None));
    }
    let position = Position { offset: FIRST_EVENT, gtid: None, ..from.clone() };
    Ok((Checkpoint { position, ..Checkpoint::default() }, Some(from.clone())))
}

/// Waits until the source has given something from there.
fn try_reading(
    settings: &source::Settings,
    checkpoint: &Checkpoint,
    ties: &Ties,
) -> Result<(), SourceError> {
    info!("source: asked for {}, where the collector stands", checkpoint.position);
    let mut source = Source::open(settings.clone(), Some(checkpoint.clone()), ties.stop.clone())?;
    if matches!(settings.origin, Origin::Files { .. }) {
        return Ok(());
    }
    loop {
        match source.next(Instant::now() + WAIT_MAX)? {
            // A server names the file before it finds that it does not have it.
            None | Some(Step::Abandoned { .. } | Step::Skip) => {}
            Some(_) => return Ok(()),
        }
    }
}
