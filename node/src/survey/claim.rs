//! Sees to it that everything undelivered has a pipeline that reads it: logs of their own, and what several shared.

use super::{
    ASIDE_PREFIX, LOG_DIRECTORY, OldSegment, REQUESTS_DIRECTORY, Survey, SurveyError, list, log_directories,
    log_directory, read_segment, survey,
};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use tailwater_engine::log::bitmap::Bitmap;
use tailwater_engine::log::format::{Record, Request};
use tailwater_engine::log::read::Found;
use tailwater_proto::otlp::Signal;

/// In the log of a pipeline that was set aside: the number below which shared segments owe it nothing any more.
const GIVEN_UP_FILE: &str = "given-up";

/// Sees to it that everything undelivered has a pipeline that reads it. When a node gets pipelines, the first takes over the
/// log that there was. With `repair`, what no pipeline reads is set aside: its log, and a copy of the segments that it shared.
///
/// # Errors
/// `Directory`, `Newer`, `Unclaimed`.
pub fn claim(data_directory: &Path, pipelines: &[&str], repair: bool) -> Result<(), SurveyError> {
    let former = data_directory.join(LOG_DIRECTORY);
    if let Some(first) = pipelines.first().filter(|name| !name.is_empty()) {
        let own = data_directory.join(log_directory(first));
        if former.is_dir() && !own.exists() {
            tracing::info!(from = %former.display(), to = %own.display(), "the first pipeline takes over the log");
            std::fs::rename(&former, &own).map_err(fail(&former))?;
        }
    }
    let requests = data_directory.join(REQUESTS_DIRECTORY);
    let shared = survey(&requests, repair)?.segments;
    for (path, name) in unclaimed(data_directory, pipelines, &shared)? {
        let owed = match &name {
            Some(name) => owed(&requests, &shared, name, &path)?,
            None => Vec::new(),
        };
        if repair {
            set_aside(data_directory, &path, &owed, name.is_some())?;
        } else if !owed.is_empty() || holds_unresolved(&path)? {
            return Err(SurveyError::Unclaimed { path });
        } else if name.is_none() {
            tracing::info!(log = %path.display(), "no pipeline reads this log; all in it is delivered, it can be removed");
        }
    }
    Ok(())
}

fn fail(path: &Path) -> impl FnOnce(io::Error) -> SurveyError {
    let path = path.to_owned();
    move |source| SurveyError::Directory { path, source }
}

/// The logs that none of the pipelines reads, with the name of the pipeline where shared segments name it.
fn unclaimed(
    data_directory: &Path,
    pipelines: &[&str],
    shared: &[OldSegment],
) -> Result<BTreeMap<PathBuf, Option<String>>, SurveyError> {
    let mut claimed: Vec<PathBuf> = pipelines.iter().map(|name| data_directory.join(log_directory(name))).collect();
    claimed.push(data_directory.join(REQUESTS_DIRECTORY));
    let logs = log_directories(data_directory)?.into_iter().filter(|path| !claimed.contains(path));
    let mut found: BTreeMap<_, _> = logs.map(|path| (path, None)).collect();
    let names = shared.iter().flat_map(|segment| &segment.names);
    for name in names.filter(|name| !pipelines.contains(&name.as_str())) {
        found.insert(data_directory.join(log_directory(name)), Some(name.clone()));
    }
    Ok(found)
}

/// The shared segments in which something is left to do for a pipeline whose own log is at `path`.
fn owed<'a>(
    requests: &Path,
    shared: &'a [OldSegment],
    name: &str,
    path: &Path,
) -> Result<Vec<&'a OldSegment>, SurveyError> {
    let (found, given_up_below) = (survey(path, false)?, given_up_below(path));
    let mut owed = Vec::new();
    for segment in shared.iter().filter(|segment| segment.number >= given_up_below) {
        let Some(place) = segment.names.iter().position(|known| known == name) else { continue };
        let is_meant = |request: &Request<'_>| request.takers.has(place);
        if has_unresolved(&requests.join(Survey::name(segment)), resolved(&found, segment), is_meant) {
            owed.push(segment);
        }
    }
    Ok(owed)
}

fn set_aside(data_directory: &Path, path: &Path, owed: &[&OldSegment], was_shared: bool) -> Result<(), SurveyError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let aside = free_name(data_directory, &format!("{ASIDE_PREFIX}{name}"));
    let is_there = path.is_dir();
    if is_there {
        std::fs::rename(path, &aside).map_err(fail(path))?;
    } else if !owed.is_empty() {
        std::fs::create_dir_all(&aside).map_err(fail(&aside))?;
    }
    for segment in owed {
        // Others may still need it, and its file is used again after that.
        let file = Survey::name(segment);
        std::fs::copy(data_directory.join(REQUESTS_DIRECTORY).join(&file), aside.join(&file)).map_err(fail(&aside))?;
    }
    if was_shared && (is_there || !owed.is_empty()) {
        std::fs::create_dir_all(path).map_err(fail(path))?;
        let below = next_number(data_directory)?.to_string();
        std::fs::write(path.join(GIVEN_UP_FILE), below).map_err(fail(path))?;
    }
    if aside.is_dir() {
        tracing::warn!(log = %path.display(), to = %aside.display(), "set aside: no pipeline reads it");
    }
    Ok(())
}

/// Shared segments with lower numbers owe nothing any more to the pipeline of this log: it was set aside.
pub fn given_up_below(directory: &Path) -> u64 {
    std::fs::read_to_string(directory.join(GIVEN_UP_FILE)).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// One more than the largest number ever used in any of the logs: pipelines that share requests draw from one sequence.
///
/// # Errors
/// `Directory`.
pub fn next_number(data_directory: &Path) -> Result<u64, SurveyError> {
    let mut next = 1;
    for directory in log_directories(data_directory)? {
        for (_, name, _) in list(&directory)? {
            next = next.max(name.number() + 1);
        }
        next = next.max(given_up_below(&directory));
    }
    Ok(next)
}

/// A path that nothing has: what was set aside before stays where it is.
fn free_name(directory: &Path, name: &str) -> PathBuf {
    let numbered = (2_u32..).map(|number| directory.join(format!("{name}.{number}")));
    let mut candidates = std::iter::once(directory.join(name)).chain(numbered);
    candidates.find(|path| !path.exists()).unwrap_or_else(|| directory.join(name))
}

/// Whether a log has requests that are not done with, or that cannot be read.
fn holds_unresolved(directory: &Path) -> Result<bool, SurveyError> {
    let found = survey(directory, false)?;
    if !found.unreadable.is_empty() {
        return Ok(true);
    }
    let is_open = |segment| has_unresolved(&directory.join(Survey::name(segment)), resolved(&found, segment), |_| true);
    Ok(found.segments.iter().any(is_open))
}

/// Whether a pipeline whose own log was looked at has metrics or logs that are not done with, or requests that cannot be read,
/// there or among those that it shared while it was the first: no other takes them.
pub fn holds_forwarded(data_directory: &Path, name: &str, found: &Survey, requests: &Survey) -> bool {
    let (own, shared) = (data_directory.join(log_directory(name)), data_directory.join(REQUESTS_DIRECTORY));
    let is_open = |directory: &Path, segment: &OldSegment| {
        let is_meant = |request: &Request<'_>| request.signal != Signal::Traces;
        has_unresolved(&directory.join(Survey::name(segment)), resolved(found, segment), is_meant)
    };
    let was_first = |segment: &&OldSegment| segment.names.first().is_some_and(|first| first == name);
    found.segments.iter().any(|segment| is_open(&own, segment))
        || requests.segments.iter().filter(was_first).any(|segment| is_open(&shared, segment))
}

fn resolved<'a>(found: &'a Survey, segment: &OldSegment) -> Option<&'a Bitmap> {
    found.told_of.get(&segment.number).map(|told| &told.units)
}

/// Whether a segment has requests that are meant and not done with, or something that cannot be read.
fn has_unresolved(path: &Path, resolved: Option<&Bitmap>, is_meant: impl Fn(&Request<'_>) -> bool) -> bool {
    let mut is_unresolved = false;
    let outcome = read_segment(path, |found| match found {
        Found::Record { record: Record::Request(request), .. } if is_meant(&request) => {
            let mut units = (0..request.units).map(|at| request.first_unit + at);
            is_unresolved |= units.any(|unit| !resolved.is_some_and(|resolved| resolved.has(unit)));
        }
        Found::Record { .. } => {}
        Found::Skipped { .. } => is_unresolved = true,
    });
    is_unresolved || outcome.is_err()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tailwater_engine::log::format::{
        BLOCK_BYTES, BodyEncoding, BodyFormat, SegmentHeader, SegmentKind, file_name, pad_to_block, put_request,
    };
    use tailwater_engine::log::takers::Takers;

    /// A log with a segment of which nobody can say that all in it was delivered.
    fn log_with_a_segment(path: &Path) {
        std::fs::create_dir_all(path).unwrap();
        std::fs::write(path.join(file_name(SegmentKind::Requests, 1)), [7; BLOCK_BYTES]).unwrap();
    }

    #[test]
    fn names_of_logs_are_one_to_one() {
        assert_eq!(log_directory(""), "log");
        assert_eq!(log_directory("traces/a_b-1"), "log-traces%2fa_b-1");
        assert_ne!(log_directory("a%2fb"), log_directory("a/b"));
    }

    #[test]
    fn no_log_is_forgotten_when_pipelines_change() {
        let data = std::env::temp_dir().join(format!("tailwater-claim-{}", std::process::id()));
        log_with_a_segment(&data.join("log"));
        claim(&data, &["a", "b"], false).unwrap();
        assert!(data.join("log-a").is_dir() && !data.join("log").exists(), "the first takes it over");
        claim(&data, &["b", "a"], false).unwrap();
        let unclaimed = claim(&data, &["b", "c"], false).unwrap_err().to_string();
        assert!(unclaimed.contains("log-a") && unclaimed.contains("--repair"), "{unclaimed}");
        assert!(claim(&data, &[""], false).is_err(), "a node without pipelines does not read it either");
        claim(&data, &["b", "c"], true).unwrap();
        log_with_a_segment(&data.join("log-a"));
        claim(&data, &["b", "c"], true).unwrap();
        assert!(data.join("aside-log-a").is_dir() && data.join("aside-log-a.2").is_dir(), "both are kept");
        std::fs::create_dir_all(data.join("log-empty")).unwrap();
        claim(&data, &["b", "c"], false).unwrap();
        std::fs::remove_dir_all(&data).unwrap();
    }

    /// A segment that three pipelines share, with a request for `takers`.
    fn share_a_segment(requests: &Path, number: u64, takers: Takers) {
        let header = SegmentHeader {
            kind: SegmentKind::Requests,
            lane: 0,
            number,
            nonce: 7,
            first_sequence: number << 32,
            created_unix_nano: 1,
            bytes: 2 * BLOCK_BYTES as u64,
        };
        let mut file = header.encode_for(&["a", "b", "c"].map(String::from)).into_vec();
        let request = Request {
            arrived_unix_nano: 1,
            first_unit: 0,
            units: 1,
            signal: Signal::Traces,
            encoding: BodyEncoding::Identity,
            format: BodyFormat::Protobuf,
            takers,
            body: b"a request",
        };
        let mut flush = Vec::new();
        put_request(&mut flush, 7, number << 32, &request);
        pad_to_block(&mut flush);
        file.append(&mut flush);
        std::fs::create_dir_all(requests).unwrap();
        std::fs::write(requests.join(file_name(SegmentKind::Requests, number)), file).unwrap();
    }

    /// Fails where only directories are looked at: what was shared is in none that is called as the pipeline that is gone.
    #[test]
    fn what_was_shared_is_not_forgotten_when_a_pipeline_goes() {
        let data = std::env::temp_dir().join(format!("tailwater-claim-shared-{}", std::process::id()));
        let requests = data.join("requests");
        share_a_segment(&requests, 3, Takers::of(0).with(Takers::of(1)));
        claim(&data, &["b", "a"], false).unwrap();
        let unclaimed = claim(&data, &["a", "new"], false).unwrap_err().to_string();
        assert!(unclaimed.contains("log-b"), "the second took it, the third did not: {unclaimed}");
        assert!(claim(&data, &[""], false).is_err(), "a node without pipelines reads none of it");
        claim(&data, &["a"], true).unwrap();
        assert!(data.join("aside-log-b").join(file_name(SegmentKind::Requests, 3)).is_file(), "a copy is kept");
        assert!(requests.join(file_name(SegmentKind::Requests, 3)).is_file(), "the other needs it");
        claim(&data, &["a"], false).unwrap();
        assert_eq!((given_up_below(&data.join("log-b")), next_number(&data).unwrap()), (4, 4));
        // What comes after that is owed again.
        share_a_segment(&requests, 5, Takers::ALL);
        assert!(claim(&data, &["a", "c"], false).is_err());
        std::fs::remove_dir_all(&data).unwrap();
    }
}
