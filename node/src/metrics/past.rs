//! What of the log is done with and stays, and what people have recalled from it, in the exposition.

use super::{Books, Page, Type, number};
use crate::control::PastSnapshot;
use std::collections::BTreeMap;
use tailwater_runtime::clock::steady_unix_nanos;

const NANOS_PER_SECOND: f64 = 1e9;

/// The families of segments that stay, where there is a log.
pub(super) fn past(page: &mut Page, books: &[Books<'_>]) {
    let logs: Vec<(String, &PastSnapshot)> = books
        .iter()
        .flat_map(|books| &books.snapshots)
        .filter_map(|core| Some((core.shard.to_string(), &core.log.as_ref()?.lane.as_ref()?.past)))
        .collect();
    if logs.is_empty() {
        return;
    }
    let mut each = |name, help, read: fn(&PastSnapshot) -> u64| {
        let each = logs.iter().map(|(shard, past)| (vec![("shard", shard.clone())], number(read(past))));
        page.family(name, Type::Gauge, help, each);
    };
    each("tailwater_wal_past_segments", "Segments of requests that are done with and stay (wal.reach_back).", |past| {
        past.segments
    });
    each("tailwater_wal_past_bytes", "Bytes of their files, within tailwater_wal_segment_limit_bytes.", |past| {
        past.bytes
    });
    let oldest = logs.iter().map(|(_, past)| past.oldest_unix_nano).filter(|oldest| *oldest > 0).min();
    let age = oldest.map_or(0.0, |oldest| number(steady_unix_nanos().saturating_sub(oldest)) / NANOS_PER_SECOND);
    let help = "Age of the first request in them; 0 without one.";
    page.single("tailwater_wal_past_age_seconds", Type::Gauge, help, age);
    let mut given_up: BTreeMap<&'static str, u64> = BTreeMap::new();
    for (why, count) in logs.iter().flat_map(|(_, past)| &past.given_up) {
        *given_up.entry(why).or_default() += count;
    }
    let help =
        "Of those segments, how many went, by reason: age, bytes (their own bound), room (for the log in use), disk.";
    let given_up = given_up.into_iter().map(|(why, count)| (vec![("reason", why.to_string())], number(count)));
    page.family("tailwater_wal_past_segments_given_up_total", Type::Counter, help, given_up);
    let mut sum = |name, help, read: fn(&PastSnapshot) -> u64| {
        page.single(name, Type::Counter, help, number(logs.iter().map(|(_, past)| read(past)).sum()));
    };
    sum("tailwater_recall_segments_read_total", "Segments that were read for a recall.", |past| past.read);
    sum(
        "tailwater_recall_segments_read_in_vain_total",
        "Those that had nothing of what was sought: their filters are full, or the times were wide.",
        |past| past.read_in_vain,
    );
    sum("tailwater_recall_answers_cut_total", "Readings of a log that were cut at a bound of recall.", |past| past.cut);
    let help = "Traces that were dropped or forgotten, and kept after all by a recall.";
    page.each("tailwater_recall_traces_kept_total", Type::Counter, help, books, |books| {
        number(books.sum.traces.kept_by_hand)
    });
    let help = "Spans of those that were sent on: each is in tailwater_items_received_total once more.";
    page.each("tailwater_recall_spans_sent_total", Type::Counter, help, books, |books| {
        number(books.sum.traces.spans_sent_again)
    });
}
