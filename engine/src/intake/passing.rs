//! A request of metrics or logs: it passes the shards by, and each of its items is a unit in the log, in wire order.

use super::{IntakeError, Scanned};
use bytes::Bytes;
use tailwater_proto::otlp::Signal;
use tailwater_proto::otlp::mend::{Mended, mended};
use tailwater_proto::otlp::scan::SpanFault;
use tailwater_proto::otlp::split::picked;
use tailwater_rollup::spans::Counted;

/// A request on its way past the shards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passing {
    /// Whose it is.
    pub signal: Signal,
    /// The message, of sound items only.
    pub body: Bytes,
    /// Its metric points or log records.
    pub items: u32,
    /// Its units by their positions in the request: one an item; or a single one for all of them.
    pub units: Vec<u32>,
}

/// Items of a request that are units of their own: one in so many bytes of it. What is known of a unit on its way takes
/// about as much, and the least span is as large.
/// At the bound: the request is a single unit.
const BYTES_PER_UNIT_MIN: usize = 30;

/// Takes what is sound of a request of metrics or logs. What comes out follows from the request alone, whenever it is read.
pub(super) fn scan(signal: Signal, body: &Bytes) -> Result<Scanned, IntakeError> {
    let Mended { body: other, items, refused, fault, place, repaired } = mended(signal, body)?;
    let body = other.map_or_else(|| body.clone(), Bytes::from);
    let has_each = items as usize <= body.len() / BYTES_PER_UNIT_MIN;
    Ok(Scanned {
        batches: Vec::new(),
        passing: Some(Passing { signal, body, items, units: (0..if has_each { items } else { 1 }).collect() }),
        accepted: items,
        refused: 0,
        refusals: refused,
        fault: fault.map(|fault| (place, SpanFault::Part(fault))),
        repaired,
        condition_failures: 0,
        counted: Counted::default(),
    })
}

impl Passing {
    /// The request as it was logged with so many units: former versions of the log have one for the whole of it. False when
    /// it is neither, and so not the request that was logged.
    pub(super) fn is_logged_as(&mut self, units: u32) -> bool {
        if units == 1 && self.items != 1 {
            self.units = vec![0];
        }
        self.units.len() as u64 == u64::from(units)
    }

    /// Keeps only the units at whose position `is_wanted`; false when none is left.
    pub(super) fn retain(&mut self, is_wanted: impl Fn(u32) -> bool) -> bool {
        let before = self.units.len();
        let has_each = before as u64 == u64::from(self.items);
        if has_each && !self.units.iter().all(|unit| is_wanted(*unit)) {
            let is_kept: Vec<bool> = self.units.iter().map(|unit| is_wanted(*unit)).collect();
            let kept = |item: u32| is_kept.get(item as usize).copied().unwrap_or(false);
            match picked(self.signal, &self.body, kept) {
                Some(part) => (self.body, self.items) = (Bytes::from(part.body), part.items),
                None => return false,
            }
        }
        self.units.retain(|unit| is_wanted(*unit));
        !self.units.is_empty()
    }
}

impl Scanned {
    /// The request as it was logged with so many units, and of those only the ones at whose position `is_wanted`. `None`
    /// when nothing of it is left, or it is another request.
    #[must_use]
    pub fn again(mut self, units: u32, is_wanted: impl Fn(u32) -> bool) -> Option<Self> {
        match &mut self.passing {
            Some(passing) => (passing.is_logged_as(units) && passing.retain(is_wanted)).then_some(self),
            None => {
                self.retain(is_wanted);
                Some(self)
            }
        }
    }
}
