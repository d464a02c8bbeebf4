//! Examples of what series count: spans of traces that are kept, so that whoever follows one finds it. Spans are counted
//! before any verdict and kept after it, so that an example may come in a later window than its span.
//!
//! ```text
//! series 4 | each: name's length 4, name, examples 4 | each: trace 16, span 8, end 8, nanoseconds 8
//! ```

use super::Unit;
use crate::fields::{begin_message, put_double, put_fixed64};
use crate::windows::StateError;
use std::collections::BTreeMap;
use tailwater_proto::otlp::wire::{end_message, put_header};
use twox_hash::XxHash3_64;

/// A span of a kept trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exemplar {
    pub(super) trace_id: [u8; 16],
    pub(super) span_id: [u8; 8],
    pub(super) end_unix_nano: u64,
    pub(super) nanos: u64,
}

impl Exemplar {
    /// Those with the smallest are told: any part of a series is a fair choice of it, whichever core saw what in which order.
    fn draw(&self) -> (u64, [u8; 16]) {
        (XxHash3_64::oneshot_with_seed(u64::from_le_bytes(self.span_id), &self.trace_id), self.trace_id)
    }

    /// `Exemplar`: time 2, double 3, span id 4, trace id 5.
    fn put(&self, out: &mut Vec<u8>, number: u8, unit: Unit) {
        let exemplar = begin_message(out, number);
        put_fixed64(out, 2, self.end_unix_nano);
        put_double(out, 3, Some(unit.of_nanos(self.nanos)));
        for (number, id) in [(4, &self.span_id[..]), (5, &self.trace_id[..])] {
            put_header(out, number, id.len());
            out.extend_from_slice(id);
        }
        end_message(out, exemplar);
    }
}

/// Examples by the names of series.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exemplars {
    series: BTreeMap<Box<[u8]>, Vec<Exemplar>>,
}

impl Exemplars {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// Series that have some.
    #[must_use]
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// Notes an example of a series, of which at most `each_max` are noted.
    pub(super) fn note(&mut self, name: &[u8], exemplar: Exemplar, each_max: usize) {
        match self.series.get_mut(name) {
            Some(noted) => put(noted, exemplar, each_max),
            None => _ = self.series.insert(name.into(), vec![exemplar]),
        }
    }

    /// Adds what another has noted.
    pub fn merge(&mut self, other: Self) {
        for (name, exemplars) in other.series {
            self.series.entry(name).or_default().extend(exemplars);
        }
    }

    /// At most so many of a series, which are its no more.
    pub(super) fn take(&mut self, name: &[u8], each_max: usize) -> Vec<Exemplar> {
        let mut chosen = Vec::new();
        for exemplar in self.series.remove(name).unwrap_or_default() {
            put(&mut chosen, exemplar, each_max);
        }
        chosen
    }

    /// Leaves those of the series that another has, too.
    pub(super) fn retain_of(&mut self, other: &Self) {
        self.series.retain(|name, _| other.series.contains_key(name));
    }

    /// Appends all of it.
    pub fn write(&self, out: &mut Vec<u8>) {
        let put_length = |out: &mut Vec<u8>, length: usize| {
            out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
        };
        put_length(out, self.series.len());
        for (name, exemplars) in &self.series {
            put_length(out, name.len());
            out.extend_from_slice(name);
            put_length(out, exemplars.len());
            for Exemplar { trace_id, span_id, end_unix_nano, nanos } in exemplars {
                out.extend_from_slice(trace_id);
                out.extend_from_slice(span_id);
                out.extend_from_slice(&end_unix_nano.to_le_bytes());
                out.extend_from_slice(&nanos.to_le_bytes());
            }
        }
    }

    /// What `write` has written.
    ///
    /// # Errors
    /// `StateError::Damaged`: it was not.
    pub fn read(bytes: &[u8]) -> Result<Self, StateError> {
        let mut rest = Rest(bytes);
        let mut exemplars = Self::default();
        for _ in 0..u32::from_le_bytes(rest.take()?) {
            let length = usize::try_from(u32::from_le_bytes(rest.take()?)).map_err(|_| StateError::Damaged)?;
            let (name, after) = rest.0.split_at_checked(length).ok_or(StateError::Damaged)?;
            rest.0 = after;
            let noted = exemplars.series.entry(name.into()).or_default();
            for _ in 0..u32::from_le_bytes(rest.take()?) {
                noted.push(Exemplar {
                    trace_id: rest.take()?,
                    span_id: rest.take()?,
                    end_unix_nano: u64::from_le_bytes(rest.take()?),
                    nanos: u64::from_le_bytes(rest.take()?),
                });
            }
        }
        if rest.0.is_empty() { Ok(exemplars) } else { Err(StateError::Damaged) }
    }
}

/// Puts an example among those of a series, which are in the order of their draws. A span that was exported twice is one.
fn put(noted: &mut Vec<Exemplar>, exemplar: Exemplar, each_max: usize) {
    let place = noted.partition_point(|other| other.draw() < exemplar.draw());
    let is_there = noted.get(place).is_some_and(|other| other.draw() == exemplar.draw());
    if !is_there && place < each_max {
        noted.insert(place, exemplar);
        noted.truncate(each_max);
    }
}

/// Appends examples as that field of a data point.
pub(super) fn put_exemplars(out: &mut Vec<u8>, number: u8, exemplars: &[Exemplar], unit: Unit) {
    exemplars.iter().for_each(|exemplar| exemplar.put(out, number, unit));
}

/// What is not read yet.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], StateError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(StateError::Damaged)?;
        self.0 = rest;
        Ok(*taken)
    }
}
