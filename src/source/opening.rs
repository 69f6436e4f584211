//! Where reading files begins: at the checkpoint, at the first event, or behind the last transaction.

use super::error::SourceError;
use super::files::{self, Files, Fill, Which};
use super::track::FIRST_EVENT;
use super::{Origin, Settings, Start};
use crate::binlog::compressed::Room;
use crate::binlog::decoder::Decoder;
use crate::binlog::event::Event;
use crate::binlog::format::Flavor;
use crate::binlog::frame::{Framer, Part};
use crate::binlog::payload::Payload;
use crate::binlog::transaction::Assembler;
use crate::mysql::channel::Stopper;
use crate::position::{Checkpoint, Position, ServerId};

/// Opens files where the checkpoint, or else the settings, say, the file's format decoded.
pub(super) fn open_files(
    settings: &Settings,
    resume: Option<Checkpoint>,
    stopper: &Stopper,
    decoder: &mut Decoder,
) -> Result<(Files, Checkpoint), SourceError> {
    let Origin::Files { files: from, .. } = &settings.origin else {
        return Err(SourceError::Stopped);
    };
    let which = match (&resume, settings.start) {
        (Some(resume), _) => Which::Named(&resume.position.file),
        (None, Start::Earliest) => Which::First,
        (None, Start::Latest) => Which::Last,
    };
    let limit = settings.event_bytes_max;
    let mut files = Files::open(from, which, limit, stopper)?;
    let head = read_head(&mut files, decoder)?;
    let known = files::identity_beside(from).or_else(|| from.identity.clone());
    let server = known.or_else(|| head.as_ref().map(|head| head.server.clone()));
    let created_s = head.map_or(0, |head| head.created_s);
    if let Some(resume) = resume {
        check_files(&files, &resume, server.as_ref(), created_s)?;
        files.seek(resume.position.offset.max(FIRST_EVENT))?;
        return Ok((files, resume));
    }
    let offset = match settings.start {
        Start::Earliest => FIRST_EVENT,
        Start::Latest => last_boundary(&mut files)?,
    };
    files.seek(offset)?;
    let position = Position {
        server: server.unwrap_or_default(),
        file: files.name.clone(),
        offset,
        gtid: None,
    };
    let at = Checkpoint { position, file_created_s: created_s, ..Checkpoint::default() };
    Ok((files, at))
}

fn check_files(
    files: &Files,
    resume: &Checkpoint,
    server: Option<&ServerId>,
    created_s: u32,
) -> Result<(), SourceError> {
    if let Some(server) = server
        && *server != resume.position.server
        && !resume.position.server.0.is_empty()
    {
        return Err(SourceError::ForeignServer {
            wanted: resume.position.server.0.clone(),
            found: server.0.clone(),
        });
    }
    if resume.file_created_s != 0 && created_s != 0 && resume.file_created_s != created_s {
        let what = format!("{} was created at another time", files.name);
        return Err(SourceError::History { what });
    }
    let len = files.len()?;
    if len < resume.position.offset {
        let what = format!("{} has {len} bytes, {} was read", files.name, resume.position);
        return Err(SourceError::History { what });
    }
    Ok(())
}

/// What a file's first event says.
struct Head {
    server: ServerId,
    created_s: u32,
}

/// Reads the file's first event, which the decoder needs before all others. `None` if it is not
/// (wholly) there yet.
fn read_head(files: &mut Files, decoder: &mut Decoder) -> Result<Option<Head>, SourceError> {
    // Enough for any format description; a file that is followed may not have it yet.
    if files.fill_once()? == Fill::Idle {
        return Ok(None);
    }
    let name = files.name.clone();
    let frame = files.framer.next();
    let Some(frame) = frame.map_err(|error| SourceError::Frame { file: name.clone(), error })?
    else {
        return Ok(None);
    };
    let (header, event) = decoder.decode(frame.bytes).map_err(|error| SourceError::Decode {
        file: name,
        offset: frame.offset,
        kind: frame.bytes.get(4).copied().unwrap_or_default(),
        table: String::new(),
        error,
    })?;
    let Event::FormatDescription(format) = event else { return Ok(None) };
    let server = match format.flavor {
        Flavor::Mysql => format!("mysql:server_id={}", header.server_id),
        Flavor::Mariadb => format!("mariadb:{}", header.server_id),
    };
    Ok(Some(Head { server: ServerId(server), created_s: header.timestamp }))
}

/// The end of the last whole transaction in the file: what follows it is still to be read.
fn last_boundary(files: &mut Files) -> Result<u64, SourceError> {
    files.seek(0)?;
    let (mut decoder, mut assembler, mut boundary) =
        (Decoder::new(), Assembler::new(), FIRST_EVENT);
    let (mut payload, mut room) = (Payload::new(), Room::new());
    loop {
        if files.dry && files.fill_once()? == Fill::Idle {
            return Ok(boundary);
        }
        let name = files.name.clone();
        let framer: &mut Framer = &mut files.framer;
        let Some(frame) =
            framer.next().map_err(|error| SourceError::Frame { file: name.clone(), error })?
        else {
            files.dry = true;
            continue;
        };
        let failed = |error| SourceError::Decode {
            file: name.clone(),
            offset: frame.offset,
            kind: frame.bytes.get(4).copied().unwrap_or_default(),
            table: String::new(),
            error,
        };
        match frame.part {
            Part::Whole => {
                let (header, event) = decoder.decode_in(frame.bytes, &mut room).map_err(failed)?;
                let end = frame.offset + frame.bytes.len() as u64;
                assembler.step(&header, event, frame.offset).map_err(failed)?;
                if !assembler.is_inside() {
                    boundary = end;
                }
                continue;
            }
            Part::Head => payload.begin(frame.bytes, frame.offset, decoder.format()),
            Part::Rest => payload.push(frame.bytes),
        }
        .map_err(failed)?;
        while payload.advance().map_err(failed)? {
            let Some(inner) = payload.event() else { break };
            let (header, event) = decoder.decode_inner(&inner).map_err(failed)?;
            assembler.step(&header, event, inner.offset).map_err(failed)?;
            if inner.last && !assembler.is_inside() {
                boundary = inner.offset + u64::from(inner.outer.length);
            }
        }
    }
}
