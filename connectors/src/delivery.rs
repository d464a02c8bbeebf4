//! A request on its way to one or several exporters: when the last of them is done with it, its items have a fate.

use std::cell::Cell;
use tailwater_engine::host::ExportFate;
use tailwater_proto::otlp::Signal;

/// One request's progress. An item counts as delivered when every exporter delivered it; otherwise the worst fate that
/// any exporter reported is its own.
#[derive(Debug)]
pub struct Delivery {
    signal: Signal,
    items: u32,
    exporters_left: Cell<u32>,
    delivered: Cell<u32>,
    fate: Cell<ExportFate>,
}

/// Fates of a request's items, to be booked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settlement {
    /// The request's signal.
    pub signal: Signal,
    /// Items that every exporter delivered.
    pub delivered: u32,
    /// The others.
    pub lost: u32,
    /// What became of the others.
    pub fate: ExportFate,
}

impl Delivery {
    /// A request of `items` items that goes to `exporters` exporters, at least one.
    #[must_use]
    pub fn new(signal: Signal, items: u32, exporters: u32) -> Self {
        Self {
            signal,
            items,
            exporters_left: Cell::new(exporters.max(1)),
            delivered: Cell::new(items),
            fate: Cell::new(ExportFate::Delivered),
        }
    }

    /// One exporter is done: it delivered `delivered` of the items, the rest met `fate`. Returns the outcome of all when it
    /// was the last.
    pub fn report(&self, delivered: u32, fate: ExportFate) -> Option<Settlement> {
        if delivered < self.delivered.get() {
            self.delivered.set(delivered);
            self.fate.set(fate);
        }
        let left = self.exporters_left.get();
        assert!(left > 0, "an exporter reports once");
        self.exporters_left.set(left - 1);
        (left == 1).then(|| Settlement {
            signal: self.signal,
            delivered: self.delivered.get(),
            lost: self.items - self.delivered.get(),
            fate: self.fate.get(),
        })
    }

    /// Items in the request.
    #[must_use]
    pub fn items(&self) -> u32 {
        self.items
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_exporter_decides_and_the_last_reports() {
        let delivery = Delivery::new(Signal::Traces, 10, 3);
        assert_eq!(delivery.report(10, ExportFate::Delivered), None);
        assert_eq!(delivery.report(4, ExportFate::Refused), None);
        let outcome = delivery.report(7, ExportFate::Exhausted).unwrap();
        assert_eq!((outcome.delivered, outcome.lost, outcome.fate), (4, 6, ExportFate::Refused));
    }
}
