//! Looks through the log of a node that does not run, in its directory. Changes nothing.

use super::answer::Found;
use super::{ANSWER_BYTES_MAX, Question};
use crate::core::logged_body;
use crate::log_tool::request_files;
use crate::survey::read_segment;
use bytes::Bytes;
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use tailwater_connectors::otlp::body::BodyReader;
use tailwater_engine::log::format::{Record, Request};
use tailwater_engine::log::read::Found as Read;
use tailwater_engine::log::takers::Takers;
use tailwater_engine::reach_back::{Cut, Gathered, Sought};
use tailwater_engine::vocabulary::TraceId;
use tailwater_proto::otlp::Signal;

/// Largest request once inflated: above any that a receiver may be told to take.
const REQUEST_BYTES_MAX: usize = 1 << 30;

/// What the logs in a data directory have.
///
/// # Errors
/// When a directory cannot be read or is no log.
pub fn find(directory: &Path, question: &Question) -> io::Result<Found> {
    let files = request_files(directory)?;
    let mut found = Found::default();
    let mut ids: BTreeSet<TraceId> = question.ids.clone();
    if let Some(sought) = question.matching() {
        let mut gathered = look(&files, &sought);
        ids = std::mem::take(&mut gathered.matching);
        found.add(&mut gathered);
    }
    while !ids.is_empty() {
        let mut gathered = look(&files, &question.traces(&ids, ANSWER_BYTES_MAX));
        let is_cut = gathered.cut == Some(Cut::Bytes);
        if is_cut {
            found.cuts.insert(Cut::Bytes);
        }
        if !is_cut || ids.len() == 1 {
            found.add(&mut gathered);
            break;
        }
        // Fewer, and each of those whole.
        ids = ids.iter().take(ids.len() / 2).copied().collect();
    }
    Ok(found.finish())
}

fn look(files: &[PathBuf], sought: &Sought) -> Gathered {
    let mut gathered = Gathered::default();
    let mut reader = BodyReader::new(REQUEST_BYTES_MAX);
    for file in files {
        let read = read_segment(file, |read| {
            if let Read::Record { record: Record::Request(request), .. } = read {
                take(&mut gathered, sought, &request, &mut reader);
            }
        });
        // It is no segment, or has gone meanwhile: it has nothing for anybody.
        gathered.segments += u64::from(read.is_ok());
        gathered.bytes += std::fs::metadata(file).map_or(0, |known| known.len());
    }
    gathered
}

fn take(gathered: &mut Gathered, sought: &Sought, request: &Request<'_>, reader: &mut BodyReader) {
    let (from, to) = sought.times;
    if request.signal != Signal::Traces || !(from..=to).contains(&request.arrived_unix_nano) || gathered.cut.is_some() {
        return;
    }
    let body: Option<Bytes> = logged_body(reader, request);
    if let Some(body) = body {
        // It is for reading: nobody is sent anything of it.
        gathered.take(&sought.what, (request.arrived_unix_nano, Takers::NONE), &body);
    }
}
