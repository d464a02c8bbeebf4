//! `tailwater log dump`: a segment's header and records, as text or as one JSON object a line.

use super::meanings::{Attributes, Meanings, attributes, shown as shown_attributes};
use super::moment::rfc3339;
use super::{EXIT_NO_INPUT, list_log, logs_of, read, shown, unreadable, within};
use crate::progress::Progress;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tailwater_engine::ledger::DropReason;
use tailwater_engine::log::format::{
    BodyEncoding, BodyFormat, FileName, HeaderError, Names, Record, Request, SegmentHeader, VerdictEntry,
};
use tailwater_engine::log::read::{Behind, Found, Records, Tail};
use tailwater_engine::log::takers::Takers;
use tailwater_engine::vocabulary::Occasion;
use tailwater_proto::otlp::Signal;

/// Prints the segment file at `path`, or all segments of that directory by number.
pub fn run(path: &Path, json: bool) -> ExitCode {
    let mut paths = Vec::new();
    if path.is_dir() {
        for directory in logs_of(path) {
            match list_log(&directory) {
                Ok(files) => paths.extend(segments(files).into_iter().map(|file| (within(&directory), file))),
                Err(error) => {
                    unreadable(&directory, &error);
                    return ExitCode::from(EXIT_NO_INPUT);
                }
            }
        }
    } else {
        paths.push((String::new(), path.to_path_buf()));
    }
    let mut progress = Progress::beside_output(path);
    let mut out = BufWriter::new(io::stdout().lock());
    let mut code = ExitCode::SUCCESS;
    for (segments, (within, path)) in (1..).zip(paths) {
        match read(&path) {
            Ok(file) => {
                match dump(&mut out, &format!("{within}{}", shown(&path)), &file, json) {
                    Ok(true) => {}
                    Ok(false) => code = ExitCode::FAILURE,
                    // A closed pipe is no failure.
                    Err(_) => break,
                }
                progress.add(file.len() as u64);
                progress.tell(|| format!("{segments} segments"));
            }
            Err(error) => {
                progress.end();
                unreadable(&path, &error);
                code = ExitCode::from(EXIT_NO_INPUT);
            }
        }
    }
    _ = out.flush();
    progress.end();
    code
}

fn segments(files: Vec<super::Listed>) -> Vec<PathBuf> {
    let is_segment = |file: &super::Listed| matches!(file.name, FileName::Segment { .. });
    files.into_iter().filter(is_segment).map(|file| file.path).collect()
}

/// The names that a record tells, with their numbers; some may have been left out.
fn told<'a>(names: &Names<'a>) -> impl Iterator<Item = (usize, &'a [u8])> + use<'a> {
    names.entries.clone().enumerate().filter(|(_, name)| !name.is_empty())
}

/// Why a trace was dropped; `None` for one that was kept.
fn reason(entry: &VerdictEntry) -> Option<&'static str> {
    let known = DropReason::ALL.get(usize::from(entry.reason)).map_or("unknown", |reason| reason.label());
    (!entry.is_kept).then_some(known)
}

/// The places in the header of the pipelines that take a request; `None` where all do.
fn takers(request: &Request<'_>) -> Option<Vec<usize>> {
    let places = (0..Takers::COUNT).filter(|place| request.takers.has(*place));
    (request.takers != Takers::ALL).then(|| places.collect())
}

fn occasion(entry: &VerdictEntry) -> &'static str {
    Occasion::of_number(entry.occasion).map_or("unknown", Occasion::word)
}

/// Writes what is in a file; false if it has no header that can be read.
fn dump(out: &mut impl Write, name: &str, file: &[u8], json: bool) -> io::Result<bool> {
    let (header, mut records) = match Records::open(file) {
        Ok(opened) => opened,
        Err(error) => {
            let line = if json {
                json!({ "file": name, "kind": "error", "error": error.to_string() }).to_string()
            } else {
                format!("{name}: {error}")
            };
            writeln!(out, "{line}")?;
            // What a node keeps ready for its next records is nothing wrong.
            return Ok(error == HeaderError::Blank);
        }
    };
    let version = SegmentHeader::version(file).unwrap_or_default();
    let pipelines = SegmentHeader::pipelines(file);
    let line = if json {
        header_json(name, version, &header, &pipelines).to_string()
    } else {
        header_text(name, version, &header, &pipelines)
    };
    writeln!(out, "{line}")?;
    let mut meanings = Meanings::default();
    for found in records.by_ref() {
        meanings.read(&found);
        let line = if json { found_json(name, found, &meanings).to_string() } else { found_text(found, &meanings) };
        writeln!(out, "{line}")?;
    }
    let tail = records.tail();
    let line = if json { tail_json(name, &tail).to_string() } else { tail_text(&tail) };
    writeln!(out, "{line}")?;
    Ok(true)
}

fn header_text(name: &str, version: u8, header: &SegmentHeader, pipelines: &[String]) -> String {
    let shared = if pipelines.is_empty() { String::new() } else { format!(", of pipelines {pipelines:?}") };
    format!(
        "{name}: version {version}, {} of lane {}, number {}, begun {}, {} bytes, from sequence {}{shared}",
        header.kind.word(),
        header.lane,
        header.number,
        rfc3339(header.created_unix_nano),
        header.bytes,
        header.first_sequence,
    )
}

fn header_json(name: &str, version: u8, header: &SegmentHeader, pipelines: &[String]) -> Value {
    json!({
        "file": name,
        "kind": "header",
        "version": version,
        "stream": header.kind.word(),
        "lane": header.lane,
        "number": header.number,
        "created": rfc3339(header.created_unix_nano),
        "bytes": header.bytes,
        "first_sequence": header.first_sequence,
        "pipelines": pipelines,
    })
}

fn found_text(found: Found<'_>, meanings: &Meanings) -> String {
    match found {
        Found::Record { offset, sequence, record } => {
            format!("{offset:>10} {sequence:>10}  {}", record_text(record, meanings))
        }
        Found::Skipped { offset, bytes, sequences } => {
            format!("{offset:>10} {:>10}  skipped   {bytes} bytes, {sequences} records missing", "-")
        }
    }
}

fn record_text(record: Record<'_>, meanings: &Meanings) -> String {
    match record {
        Record::Request(request) => format!(
            "request   {} {} {} {}, {} units from {}, {} bytes{}",
            rfc3339(request.arrived_unix_nano),
            signal(&request),
            encoding(&request),
            format(&request),
            request.units,
            request.first_unit,
            request.body.len(),
            takers(&request).map_or(String::new(), |takers| format!(", for pipelines {takers:?} of the header")),
        ),
        Record::Verdicts(verdicts) => {
            let count = verdicts.entries.len();
            let kept = verdicts.entries.clone().filter(|entry| entry.is_kept).count();
            let mut text = format!("verdicts  {} {count} traces, {kept} kept", rfc3339(verdicts.decided_unix_nano));
            verdicts.entries.for_each(|entry| text.push_str(&verdict_text(&entry, meanings)));
            text
        }
        Record::Names(names) => {
            let mut text = format!("names     {}", rfc3339(names.recorded_unix_nano));
            for (number, name) in told(&names) {
                _ = write!(text, "\n{:>33} {:?}", format!("policy {number}"), String::from_utf8_lossy(name));
            }
            text
        }
        Record::Annotations(told) => {
            let mut text = format!("annotations {}", rfc3339(told.recorded_unix_nano));
            for (number, fields) in told.entries {
                let attributes = shown_attributes(&attributes(fields));
                _ = write!(text, "\n{:>33}{attributes}", format!("annotation {number}"));
            }
            text
        }
        Record::Resolved(resolved) => {
            let blocks = resolved.blocks.len();
            format!(
                "resolved  {} {} units of segment {}, in {blocks} blocks",
                rfc3339(resolved.recorded_unix_nano),
                resolved.blocks.map(|(_, block)| set_bits(block)).sum::<u64>(),
                resolved.segment,
            )
        }
        Record::Tally(tally) => {
            let mut text = format!(
                "tally     {} of lane {} in run {:016x}, {} bytes",
                rfc3339(tally.recorded_unix_nano),
                tally.id.lane,
                tally.id.run,
                tally.state.len(),
            );
            for (segment, counted) in tally.positions {
                _ = write!(text, "\n{:>33} counted below unit {counted}", format!("segment {segment}"));
            }
            text
        }
        Record::Done(done) => {
            let blocks = done.blocks.len();
            format!(
                "done      {} by {:?}: {} units of segment {}, in {blocks} blocks",
                rfc3339(done.recorded_unix_nano),
                String::from_utf8_lossy(done.exporter),
                done.blocks.map(|(_, block)| set_bits(block)).sum::<u64>(),
                done.segment,
            )
        }
    }
}

fn verdict_text(entry: &VerdictEntry, meanings: &Meanings) -> String {
    let mut text = format!("\n{:>33} ", hex(&entry.trace_id));
    // Writing to a string does not fail.
    _ = match (reason(entry), meanings.kept_by(entry)) {
        (Some(reason), _) => write!(text, "dropped reason {reason}"),
        (None, Some(name)) => write!(text, "kept    policy {name:?}"),
        (None, None) => write!(text, "kept    policy unknown"),
    };
    _ = write!(text, ", threshold {:014x}", entry.threshold);
    _ = write!(text, ", occasion {}, {} spans", occasion(entry), entry.spans);
    if let Some(given) = entry.given {
        _ = write!(text, ", rv {given:014x}");
    }
    for (number, _) in meanings.annotations(entry) {
        _ = write!(text, ", annotation {number}");
    }
    text
}

fn found_json(name: &str, found: Found<'_>, meanings: &Meanings) -> Value {
    let (offset, sequence, record) = match found {
        Found::Record { offset, sequence, record } => (offset, sequence, record),
        Found::Skipped { offset, bytes, sequences } => {
            return json!({
                "file": name, "offset": offset, "kind": "skipped", "bytes": bytes, "sequences_missing": sequences,
            });
        }
    };
    match record {
        Record::Request(request) => json!({
            "file": name, "offset": offset, "sequence": sequence, "kind": "request",
            "arrived": rfc3339(request.arrived_unix_nano),
            "signal": signal(&request),
            "encoding": encoding(&request),
            "format": format(&request),
            "first_unit": request.first_unit,
            "units": request.units,
            "body_bytes": request.body.len(),
            "pipelines": takers(&request),
        }),
        Record::Verdicts(verdicts) => json!({
            "file": name, "offset": offset, "sequence": sequence, "kind": "verdicts",
            "decided": rfc3339(verdicts.decided_unix_nano),
            "verdicts": verdicts.entries.map(|entry| verdict_json(&entry, meanings)).collect::<Vec<_>>(),
        }),
        Record::Names(names) => json!({
            "file": name, "offset": offset, "sequence": sequence, "kind": "names",
            "recorded": rfc3339(names.recorded_unix_nano),
            "names": told(&names)
                .map(|(number, name)| json!({ "number": number, "name": String::from_utf8_lossy(name) }))
                .collect::<Vec<_>>(),
        }),
        Record::Annotations(told) => json!({
            "file": name, "offset": offset, "sequence": sequence, "kind": "annotations",
            "recorded": rfc3339(told.recorded_unix_nano),
            "annotations": told.entries
                .map(|(number, fields)| annotation_json(number, Some(&attributes(fields))))
                .collect::<Vec<_>>(),
        }),
        Record::Resolved(resolved) => json!({
            "file": name, "offset": offset, "sequence": sequence, "kind": "resolved",
            "recorded": rfc3339(resolved.recorded_unix_nano),
            "segment": resolved.segment,
            "blocks": resolved.blocks.clone().map(|(index, _)| index).collect::<Vec<_>>(),
            "units": resolved.blocks.map(|(_, block)| set_bits(block)).sum::<u64>(),
        }),
        Record::Tally(tally) => json!({
            "file": name, "offset": offset, "sequence": sequence, "kind": "tally",
            "recorded": rfc3339(tally.recorded_unix_nano),
            "run": format!("{:016x}", tally.id.run),
            "lane": tally.id.lane,
            "taken_over": tally.taken_over
                .map(|id| json!({ "run": format!("{:016x}", id.run), "lane": id.lane }))
                .collect::<Vec<_>>(),
            "counted": tally.positions
                .map(|(segment, below)| json!({ "segment": segment, "below": below }))
                .collect::<Vec<_>>(),
            "state_bytes": tally.state.len(),
        }),
        Record::Done(done) => json!({
            "file": name, "offset": offset, "sequence": sequence, "kind": "done",
            "recorded": rfc3339(done.recorded_unix_nano),
            "segment": done.segment,
            "exporter": String::from_utf8_lossy(done.exporter),
            "blocks": done.blocks.clone().map(|(index, _)| index).collect::<Vec<_>>(),
            "units": done.blocks.map(|(_, block)| set_bits(block)).sum::<u64>(),
        }),
    }
}

fn verdict_json(entry: &VerdictEntry, meanings: &Meanings) -> Value {
    json!({
        "trace_id": hex(&entry.trace_id),
        "kept": entry.is_kept,
        "threshold": format!("{:014x}", entry.threshold),
        "policy": meanings.kept_by(entry),
        "reason": reason(entry),
        "occasion": occasion(entry),
        "spans": entry.spans,
        "rv": entry.given.map(|given| format!("{given:014x}")),
        "annotations": meanings.annotations(entry)
            .map(|(number, attributes)| annotation_json(number, attributes))
            .collect::<Vec<_>>(),
    })
}

fn annotation_json(number: u16, attributes: Option<&Attributes>) -> Value {
    let object =
        |pairs: &Attributes| Value::Object(pairs.iter().map(|(key, text)| (key.clone(), json!(text))).collect());
    json!({ "number": number, "attributes": attributes.map(object) })
}

fn tail_text(tail: &Tail) -> String {
    let behind = match tail.behind {
        Behind::Nothing => "nothing behind",
        Behind::Torn => "a torn or damaged record behind",
        Behind::Former => "what the file held before behind",
    };
    format!("{:>10} {:>10}  end       {behind}", tail.offset, tail.sequence)
}

fn tail_json(name: &str, tail: &Tail) -> Value {
    let behind = match tail.behind {
        Behind::Nothing => "nothing",
        Behind::Torn => "torn",
        Behind::Former => "former",
    };
    json!({ "file": name, "offset": tail.offset, "sequence": tail.sequence, "kind": "end", "behind": behind })
}

const fn signal(request: &Request<'_>) -> &'static str {
    match request.signal {
        Signal::Traces => "traces",
        Signal::Metrics => "metrics",
        Signal::Logs => "logs",
    }
}

const fn encoding(request: &Request<'_>) -> &'static str {
    match request.encoding {
        BodyEncoding::Identity => "identity",
        BodyEncoding::Gzip => "gzip",
        BodyEncoding::Zstd => "zstd",
    }
}

const fn format(request: &Request<'_>) -> &'static str {
    match request.format {
        BodyFormat::Protobuf => "protobuf",
        BodyFormat::Json => "json",
    }
}

fn set_bits(block: &[u8]) -> u64 {
    block.iter().map(|byte| u64::from(byte.count_ones())).sum()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tailwater_engine::log::format::{BLOCK_BYTES, SegmentKind, pad_to_block, put_names, put_verdicts};
    use tailwater_engine::vocabulary::Annotations;

    /// The fixtures that the format's own tests check.
    const REQUESTS: &[u8] = include_bytes!("../../../tests/fixtures/log/requests-v1.log");
    const JOURNAL: &[u8] = include_bytes!("../../../tests/fixtures/log/journal-v1.log");
    const JOURNAL_2: &[u8] = include_bytes!("../../../tests/fixtures/log/journal-v2.log");
    const JOURNAL_4: &[u8] = include_bytes!("../../../tests/fixtures/log/journal-v4.log");

    fn text(file: &[u8], json: bool) -> String {
        let mut out = Vec::new();
        assert!(dump(&mut out, "name", file, json).unwrap());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn requests_are_shown() {
        let expected = "\
name: version 1, requests of lane 3, number 42, begun 2026-09-21T14:13:20.000000000Z, 16384 bytes, from sequence 1000
      4096       1000  request   2026-09-21T14:13:20.000000010Z traces gzip protobuf, 17 units from 0, 14 bytes
      4160       1001  request   2026-09-21T14:13:20.000000011Z logs identity json, 1 units from 17, 19 bytes
      8192       1002  request   2026-09-21T14:13:20.000000012Z metrics zstd protobuf, 1 units from 18, 0 bytes
     12288       1003  end       what the file held before behind
";
        assert_eq!(text(REQUESTS, false), expected);
    }

    #[test]
    fn a_journal_is_shown() {
        let shown = text(JOURNAL, false);
        assert!(shown.contains("2 traces, 1 kept"), "{shown}");
        assert!(shown.contains("74686520666972737420747261636"), "{shown}");
        assert!(shown.contains("640 units of segment 42, in 2 blocks"), "{shown}");
        assert!(shown.contains("kept    policy unknown"), "no name is told in version 1: {shown}");
        let shown = text(JOURNAL_2, false);
        assert!(shown.contains("name: version 2, journal") && shown.contains("policy 2 \"errors\""), "{shown}");
        assert!(shown.contains("kept    policy \"errors\", threshold"), "{shown}");
        assert!(shown.contains("dropped reason "), "{shown}");
    }

    /// Without the arms of `Record::Annotations`, or what `Meanings::read` takes of them, it is not told what they are.
    #[test]
    fn annotations_and_randomness_are_shown() {
        let shown = text(JOURNAL_4, false);
        assert!(shown.contains("annotation 0 team=\"a\"\n") && shown.contains("annotation 5 tier=\"b\"\n"), "{shown}");
        let verdict = "17 spans, rv d0000000000001, annotation 5, annotation 0\n";
        assert!(shown.contains(verdict) && shown.contains("17 spans\n"), "{shown}");
        let lines: Vec<Value> = text(JOURNAL_4, true).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let told = json!([
            { "number": 0, "attributes": { "team": "a" } },
            { "number": 5, "attributes": { "tier": "b" } },
        ]);
        assert_eq!((&lines[2]["kind"], &lines[2]["annotations"]), (&json!("annotations"), &told));
        let verdicts = &lines[3]["verdicts"];
        assert_eq!((&verdicts[0]["rv"], &verdicts[0]["annotations"]), (&Value::Null, &json!([])));
        assert_eq!((&verdicts[2]["rv"], &verdicts[2]["annotations"][0]), (&json!("d0000000000001"), &told[1]));
    }

    /// The records of a journal in which these flushes stand, each of names or of a kept trace's verdict.
    fn journal(flushes: &[Result<&[&str], u16>]) -> Vec<u8> {
        let header = SegmentHeader {
            kind: SegmentKind::Journal,
            lane: 0,
            number: 1,
            nonce: 7,
            first_sequence: 1 << 32,
            created_unix_nano: 0,
            bytes: u64::try_from((2 + flushes.len()) * BLOCK_BYTES).unwrap(),
        };
        let mut file = header.encode().into_vec();
        for (sequence, flush) in (1 << 32..).zip(flushes) {
            let mut bytes = Vec::new();
            match flush {
                Ok(names) => {
                    let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
                    put_names(&mut bytes, 7, sequence, 5, &names);
                }
                Err(policy) => {
                    let trace_id = [1; 16];
                    let entry = VerdictEntry {
                        trace_id,
                        threshold: 0,
                        policy: *policy,
                        is_kept: true,
                        is_hashed: false,
                        given: None,
                        annotations: Annotations::NONE,
                        reason: 0,
                        occasion: 5,
                        spans: 1,
                    };
                    put_verdicts(&mut bytes, 7, sequence, 5, &[entry]);
                }
            }
            pad_to_block(&mut bytes);
            file.extend_from_slice(&bytes);
        }
        file.resize((2 + flushes.len()) * BLOCK_BYTES, 0);
        file
    }

    #[test]
    fn a_policy_is_named_as_its_segment_names_it_or_not_at_all() {
        let named = |file: &[u8]| {
            let lines: Vec<Value> =
                text(file, true).lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect();
            let verdicts = lines.iter().filter(|line| line["kind"] == "verdicts");
            verdicts.map(|line| line["verdicts"][0]["policy"].as_str().map(str::to_string)).collect::<Vec<_>>()
        };
        let some = |name: &str| Some(name.to_string());
        // Before they are told, with a number past them, one that was left out, and after they have changed.
        let flushes =
            [Err(0), Ok(&["a", "", "c"][..]), Err(0), Err(1), Err(2), Err(3), Err(u16::MAX), Ok(&["d"]), Err(0)];
        let mut file = journal(&flushes);
        assert_eq!(named(&file), [None, some("a"), None, some("c"), None, None, some("d")]);
        assert!(text(&file, false).contains(
            "kept    policy \"a\", threshold 00000000000000, occasion \
            decision_wait_after_root_received, 1 spans"
        ));
        assert!(!text(&file, false).contains("policy 1 "), "it was left out");
        // The record that tells of the change is lost: what it said is not what was said before.
        file[8 * BLOCK_BYTES + 30] ^= 1;
        assert_eq!(named(&file), [None, some("a"), None, some("c"), None, None, None]);
    }

    #[test]
    fn what_is_allocated_and_not_begun_is_nothing_wrong() {
        let mut out = Vec::new();
        assert!(dump(&mut out, "name", &[0; 2 * BLOCK_BYTES], false).unwrap());
    }

    #[test]
    fn json_has_one_object_a_line() {
        let kinds = |file: &[u8]| {
            let lines = text(file, true);
            let values = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
            values.map(|value| value["kind"].as_str().unwrap().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(kinds(REQUESTS), ["header", "request", "request", "request", "end"]);
        assert_eq!(kinds(JOURNAL), ["header", "verdicts", "resolved", "end"]);
        assert_eq!(kinds(JOURNAL_2), ["header", "names", "verdicts", "resolved", "end"]);
        let mut harmed = REQUESTS.to_vec();
        harmed[4200] ^= 1;
        assert_eq!(kinds(&harmed), ["header", "request", "skipped", "request", "end"]);
    }

    #[test]
    fn what_is_no_segment_is_said() {
        let mut out = Vec::new();
        assert!(!dump(&mut out, "name", &[1; 5000], false).unwrap());
        assert_eq!(String::from_utf8(out).unwrap(), "name: not a segment file of tailwater\n");
    }
}
