//! Cuts an export request in two, for a server that takes smaller ones only, or picks items out of it. Nothing is decoded:
//! items go into a part byte for byte, and what encloses them goes into each that has some of it.
//!
//! ```text
//! request  1 ResourceX*  2 ScopeX*  2 Span or LogRecord* or Metric*
//! Metric   5 gauge  7 sum  9 histogram  10 exponential_histogram  11 summary, each with 1 data_points*
//! ```

use super::Signal;
use super::wire::{Reader, Value, WireError, put_header};
use std::ops::Range;

/// The fields that lead from a request to its items, level by level.
type Way = &'static [&'static [u32]];

const TO_SPANS_AND_RECORDS: Way = &[&[1], &[2], &[2]];
const TO_POINTS: Way = &[&[1], &[2], &[2], &[5, 7, 9, 10, 11], &[1]];

/// A part of a request: a request of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Half {
    /// The message.
    pub body: Vec<u8>,
    /// Spans, metric points or log records in it.
    pub items: u32,
}

/// Cuts a request in two with the same number of items, one more or less. `None` where it has less than two or is no OTLP.
#[must_use]
pub fn halves(signal: Signal, request: &[u8]) -> Option<[Half; 2]> {
    let way = way(signal);
    let items = count(way, request).ok()?;
    if items < 2 {
        return None;
    }
    let cut = items / 2;
    let half = |range: Range<u32>, items| {
        let mut body = Vec::with_capacity(request.len());
        let part = |items: Range<u32>| {
            if range.contains(&items.start) && items.end <= range.end {
                Part::Whole
            } else if items.start.max(range.start) >= items.end.min(range.end) {
                Part::Nothing
            } else {
                Part::Some
            }
        };
        copy(way, request, &part, &mut 0, &mut body).ok()?;
        Some(Half { body, items })
    };
    // What has no items at the end of all belongs to the second.
    Some([half(0..cut, cut)?, half(cut..u32::MAX, items - cut)?])
}

/// The items of a request whose number `is_wanted`, with all that encloses them. `None` where none is, or it is no OTLP.
#[must_use]
pub fn picked(signal: Signal, request: &[u8], is_wanted: impl Fn(u32) -> bool) -> Option<Half> {
    let way = way(signal);
    let count = count(way, request).ok()?;
    let wanted: Vec<u32> = (0..count).filter(|item| is_wanted(*item)).collect();
    let mut body = Vec::with_capacity(request.len());
    let items = u32::try_from(wanted.len()).ok().filter(|items| *items > 0)?;
    let part = |range: Range<u32>| {
        let before = |end: u32| wanted.partition_point(|item| *item < end);
        match before(range.end) - before(range.start) {
            // What encloses no item goes along.
            all if all == range.len() => Part::Whole,
            0 => Part::Nothing,
            _ => Part::Some,
        }
    };
    copy(way, request, &part, &mut 0, &mut body).ok()?;
    Some(Half { body, items })
}

fn way(signal: Signal) -> Way {
    match signal {
        Signal::Traces | Signal::Logs => TO_SPANS_AND_RECORDS,
        Signal::Metrics => TO_POINTS,
    }
}

/// What is copied of a message.
enum Part {
    Whole,
    Nothing,
    /// Of the items in it some.
    Some,
}

/// Items in a message at the beginning of the way.
fn count(way: Way, message: &[u8]) -> Result<u32, WireError> {
    let Some((numbers, rest)) = way.split_first() else { return Ok(1) };
    let mut items = 0_u32;
    let mut reader = Reader::new(message);
    while let Some(field) = reader.next_field()? {
        if let (true, Value::Bytes(inner)) = (numbers.contains(&field.number), field.value) {
            items = items.saturating_add(count(rest, inner)?);
        }
    }
    Ok(items)
}

/// Copies of `message` what `part` says of the items in each part of it, with all that encloses them; `seen` counts those
/// before.
fn copy(
    way: Way,
    message: &[u8],
    part: &impl Fn(Range<u32>) -> Part,
    seen: &mut u32,
    out: &mut Vec<u8>,
) -> Result<(), WireError> {
    let Some((numbers, rest)) = way.split_first() else { return Ok(()) };
    let mut reader = Reader::new(message);
    while let Some(field) = reader.next_field()? {
        let whole = &message[field.start..reader.position()];
        let (true, Value::Bytes(inner)) = (numbers.contains(&field.number), field.value) else {
            out.extend_from_slice(whole);
            continue;
        };
        let end = seen.saturating_add(count(rest, inner)?);
        match part(*seen..end) {
            Part::Whole => out.extend_from_slice(whole),
            Part::Nothing => {}
            Part::Some => {
                let mut some = Vec::new();
                copy(rest, inner, part, seen, &mut some)?;
                put_header(out, field.number, some.len());
                out.extend_from_slice(&some);
            }
        }
        *seen = end;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::otlp::check;

    fn field(number: u32, content: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        put_header(&mut out, number, content.len());
        out.extend_from_slice(content);
        out
    }

    /// Three resources of two scopes of three items each; an item is `item(number)`.
    fn request(item: impl Fn(u8) -> Vec<u8>) -> Vec<u8> {
        let mut number = 0;
        let mut resources = Vec::new();
        for resource in 0..3_u8 {
            let mut scopes = field(1, &field(1, &field(1, &[b'r', b'0' + resource])));
            for scope in 0..2_u8 {
                let mut inner = field(3, &[b's', b'0' + scope]);
                for _ in 0..3 {
                    inner.extend(item(number));
                    number += 1;
                }
                scopes.extend(field(2, &inner));
            }
            resources.extend(field(1, &scopes));
        }
        resources
    }

    fn singles(signal: Signal, request: Vec<u8>) -> Vec<Vec<u8>> {
        match halves(signal, &request) {
            None => vec![request],
            Some(parts) => parts
                .into_iter()
                .flat_map(|part| {
                    assert_eq!(check::items(signal, &part.body), Ok(part.items));
                    singles(signal, part.body)
                })
                .collect(),
        }
    }

    fn has(message: &[u8], part: &[u8]) -> bool {
        message.windows(part.len()).any(|window| window == part)
    }

    #[test]
    fn every_item_comes_out_once_under_its_own_resource_and_scope() {
        let name = |number: u8| format!("item{number:02}").into_bytes();
        let span = |number| field(2, &field(5, &name(number)));
        let record = |number| field(2, &field(3, &name(number)));
        let point = |number: u8| field(1, &field(7, &field(1, &name(number))));
        let gauge = |number: u8| field(2, &[field(1, b"metric"), field(5, &point(number))].concat());
        for (signal, whole) in
            [(Signal::Traces, request(span)), (Signal::Logs, request(record)), (Signal::Metrics, request(gauge))]
        {
            let singles = singles(signal, whole);
            assert_eq!(singles.len(), 18, "{signal:?}");
            for (number, single) in (0..18_u8).zip(&singles) {
                let resource = [b'r', b'0' + number / 6];
                assert!(
                    has(single, &name(number)) && has(single, &resource) && has(single, &[b's', b'0' + number / 3 % 2])
                );
                assert!((0..18).all(|other| other == number || !has(single, &name(other))));
            }
        }
    }

    #[test]
    fn picked_items_come_out_under_their_own_resource_and_scope() {
        let name = |number: u8| format!("item{number:02}").into_bytes();
        let whole = request(|number| field(2, &field(3, &name(number))));
        // Were a part copied whole where only some of it is wanted, or left out, the counts would differ.
        for wanted in [0b1_u32, 0b100_0000, 0b11_1000, 0x3_ffff, 0b10_0000_0000_0101_0001] {
            let part = picked(Signal::Logs, &whole, |item| wanted >> item & 1 == 1).unwrap();
            assert_eq!(check::items(Signal::Logs, &part.body), Ok(part.items));
            assert_eq!(part.items, wanted.count_ones());
            for number in 0..18_u8 {
                assert_eq!(has(&part.body, &name(number)), wanted >> number & 1 == 1, "{wanted:b} {number}");
            }
        }
        assert_eq!(picked(Signal::Logs, &whole, |_| true).unwrap().body, whole);
        assert_eq!(picked(Signal::Logs, &whole, |_| false), None);
    }

    #[test]
    fn a_metric_is_cut_between_its_points() {
        let points: Vec<u8> =
            (0..5_u8).flat_map(|number| field(1, &field(7, &field(1, &[b'p', b'0' + number])))).collect();
        let sum = [points, vec![0x10, 2]].concat();
        let metric = field(2, &[field(1, b"name"), field(7, &sum)].concat());
        let whole = field(1, &field(2, &metric));
        let [first, second] = halves(Signal::Metrics, &whole).unwrap();
        assert_eq!((first.items, second.items), (2, 3));
        for half in [&first.body, &second.body] {
            assert!(has(half, b"name") && has(half, &[0x10, 2]), "the rest of the metric is in both");
        }
        assert!(has(&first.body, b"p1") && !has(&first.body, b"p2") && has(&second.body, b"p2"));
    }

    #[test]
    fn what_cannot_be_cut_is_left_alone() {
        assert_eq!(halves(Signal::Traces, &[]), None);
        assert_eq!(halves(Signal::Traces, &[0xff; 4]), None);
        assert_eq!(halves(Signal::Traces, &field(1, &field(2, &field(2, b"")))), None);
    }
}
