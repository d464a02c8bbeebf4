//! A request on its way to one or several exporters: when the last of them is done with it, its items have a fate, or
//! the request is parked: it stays in the log, to be read and sent again later.
//!
//! Parking is for reasons that may pass (a full queue, a server that is down, a node that stops) and for requests that
//! can be read again: those all of whose items are in the log. One rule holds where exporters differ: a request that any
//! exporter parked is not settled at all. Its items stay pending for the exporters that parked it, and what becomes of
//! them there, when they are sent again, is their fate. So each item is booked once; what the other exporters delivered
//! or refused shows in their own counters.

use std::cell::{Cell, RefCell};
use tailwater_engine::host::{ExportFate, ExportRequest};
use tailwater_engine::vocabulary::{Destinations, KeptUnit, Unit};
use tailwater_proto::otlp::Signal;

/// One request's progress. An item counts as delivered when every exporter delivered it; otherwise the worst fate that
/// any exporter reported is its own.
#[derive(Debug)]
pub struct Delivery {
    signal: Signal,
    items: u32,
    bytes: u64,
    is_summary: bool,
    is_recoverable: bool,
    /// Taken by the last report.
    units: RefCell<Vec<KeptUnit>>,
    exporters_left: Cell<u32>,
    delivered: Cell<u32>,
    fate: Cell<ExportFate>,
    parked: Cell<Destinations>,
    /// Exporters that are done with it for good.
    done: Cell<Destinations>,
}

/// What became of a request. Either it is parked, or its items are to be booked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    /// The request's signal.
    pub signal: Signal,
    /// Items of the request: `delivered` and `lost` together, unless it is parked.
    pub items: u32,
    /// Items that every exporter delivered; none when the request is parked.
    pub delivered: u32,
    /// The others; none when the request is parked.
    pub lost: u32,
    /// What became of the others.
    pub fate: ExportFate,
    /// Where the items lie in the log: to be resolved, or to be read again for `parked`.
    pub units: Vec<KeptUnit>,
    /// The exporters for which the items stay pending in the log.
    pub parked: Destinations,
    /// Whether the node itself has made the request.
    pub is_summary: bool,
    /// Bytes of its message.
    pub bytes: u64,
}

impl Delivery {
    /// A request that goes to `exporters` exporters, at least one. Takes the request's units over.
    #[must_use]
    pub fn new(request: &mut ExportRequest, exporters: u32) -> Self {
        let units = std::mem::take(&mut request.units);
        let is_logged = |kept: &KeptUnit| !kept.unit.is_none();
        let is_each = units.len() as u64 == u64::from(request.items);
        // One unit may stand for all of a request that passes the shards by.
        let is_whole = request.signal != Signal::Traces && units.len() == 1;
        Self {
            signal: request.signal,
            items: request.items,
            bytes: request.body.len() as u64,
            is_summary: request.is_summary,
            is_recoverable: !units.is_empty() && (is_each || is_whole) && units.iter().all(is_logged),
            units: RefCell::new(units),
            exporters_left: Cell::new(exporters.max(1)),
            delivered: Cell::new(request.items),
            fate: Cell::new(ExportFate::Delivered),
            parked: Cell::new(Destinations::NONE),
            done: Cell::new(Destinations::NONE),
        }
    }

    /// Whether all of its items are in the log, so that it can be parked.
    #[must_use]
    pub fn is_recoverable(&self) -> bool {
        self.is_recoverable
    }

    /// Exporter number `destination` is done for good: it delivered `delivered` of the items, the rest met `fate`. Returns the
    /// outcome of all when it was the last.
    pub fn report(&self, destination: usize, delivered: u32, fate: ExportFate) -> Option<Settlement> {
        self.done.set(self.done.get().with(Destinations::of(destination)));
        if delivered < self.delivered.get() {
            self.delivered.set(delivered);
            self.fate.set(fate);
        }
        self.count_down()
    }

    /// Exporter number `destination` gives the request up for a reason that may pass: it is parked for that exporter if it
    /// can be, otherwise none of its items was delivered and all met `fate`. Returns the outcome of all when it was the
    /// last.
    pub fn give_up(&self, destination: usize, fate: ExportFate) -> Option<Settlement> {
        if !self.is_recoverable {
            return self.report(destination, 0, fate);
        }
        self.parked.set(self.parked.get().with(Destinations::of(destination)));
        self.count_down()
    }

    fn count_down(&self) -> Option<Settlement> {
        let left = self.exporters_left.get();
        assert!(left > 0, "an exporter reports once");
        self.exporters_left.set(left - 1);
        if left > 1 {
            return None;
        }
        let parked = self.parked.get();
        let settled = if parked.is_none() { self.items } else { 0 };
        let delivered = self.delivered.get().min(settled);
        Some(Settlement {
            signal: self.signal,
            items: self.items,
            delivered,
            lost: settled - delivered,
            fate: self.fate.get(),
            units: self.units.take(),
            parked,
            bytes: self.bytes,
            is_summary: self.is_summary,
        })
    }

    /// While others are not: the exporters that are done with it for good, and where its items lie in the log.
    #[must_use]
    pub fn done_so_far(&self) -> (Destinations, Vec<Unit>) {
        (self.done.get(), self.units.borrow().iter().map(|kept| kept.unit).collect())
    }

    /// Exporters that have not reported.
    #[must_use]
    pub fn exporters_left(&self) -> u32 {
        self.exporters_left.get()
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
    use bytes::Bytes;
    use tailwater_engine::vocabulary::SegmentHandle;

    fn unit(number: u32) -> KeptUnit {
        KeptUnit::plain(Unit { segment: SegmentHandle::new(1, 2), number })
    }

    fn delivery(signal: Signal, items: u32, units: Vec<KeptUnit>, exporters: u32) -> Delivery {
        let destinations = Destinations::ALL;
        let mut request = ExportRequest { signal, body: Bytes::new(), items, units, destinations, is_summary: false };
        let delivery = Delivery::new(&mut request, exporters);
        assert!(request.units.is_empty());
        delivery
    }

    fn logged(exporters: u32) -> Delivery {
        delivery(Signal::Traces, 3, vec![unit(7), unit(8), unit(9)], exporters)
    }

    #[test]
    fn the_worst_exporter_decides_and_the_last_reports() {
        let delivery = delivery(Signal::Traces, 10, Vec::new(), 3);
        assert_eq!(delivery.report(1, 10, ExportFate::Delivered), None);
        assert_eq!(delivery.report(2, 4, ExportFate::Refused), None);
        let outcome = delivery.report(3, 7, ExportFate::Exhausted).unwrap();
        assert_eq!((outcome.delivered, outcome.lost, outcome.fate), (4, 6, ExportFate::Refused));
        assert_eq!((outcome.items, outcome.parked, outcome.units), (10, Destinations::NONE, Vec::new()));
    }

    #[test]
    fn only_what_is_in_the_log_as_a_whole_is_recoverable() {
        let recoverable = |signal, items, units| delivery(signal, items, units, 1).is_recoverable();
        assert!(recoverable(Signal::Traces, 2, vec![unit(0), unit(1)]));
        assert!(!recoverable(Signal::Traces, 2, vec![unit(0)]));
        assert!(!recoverable(Signal::Traces, 2, vec![unit(0), KeptUnit::plain(Unit::NONE)]));
        assert!(!recoverable(Signal::Traces, 2, Vec::new()));
        assert!(!recoverable(Signal::Traces, 0, Vec::new()));
        assert!(recoverable(Signal::Metrics, 2, vec![unit(0)]));
        assert!(recoverable(Signal::Logs, 1, vec![unit(0)]));
        assert!(recoverable(Signal::Logs, 2, vec![unit(0), unit(1)]));
        assert!(!recoverable(Signal::Logs, 3, vec![unit(0), unit(1)]));
        assert!(!recoverable(Signal::Metrics, 2, vec![KeptUnit::plain(Unit::NONE)]));
        assert!(!recoverable(Signal::Metrics, 0, Vec::new()));
    }

    #[test]
    fn what_cannot_be_read_again_is_lost_in_place_of_parked() {
        for fate in [ExportFate::QueueFull, ExportFate::Exhausted, ExportFate::Shutdown] {
            let outcome = delivery(Signal::Traces, 2, vec![unit(0)], 1).give_up(0, fate).unwrap();
            assert_eq!((outcome.delivered, outcome.lost, outcome.fate), (0, 2, fate));
            // The part that is in the log is resolved with the rest.
            assert_eq!((outcome.units, outcome.parked), (vec![unit(0)], Destinations::NONE));
        }
    }

    /// Every order of every pair of reports, of which at least one parks.
    #[test]
    fn a_parked_request_is_not_settled_whatever_the_others_report() {
        type Report = (&'static str, fn(&Delivery, usize) -> Option<Settlement>);
        let reports: [Report; 5] = [
            ("delivered", |delivery, number| delivery.report(number, 3, ExportFate::Delivered)),
            ("refused", |delivery, number| delivery.report(number, 0, ExportFate::Refused)),
            ("refused in part", |delivery, number| delivery.report(number, 2, ExportFate::Refused)),
            ("parked: full", |delivery, number| delivery.give_up(number, ExportFate::QueueFull)),
            ("parked: down", |delivery, number| delivery.give_up(number, ExportFate::Exhausted)),
        ];
        for (first, report_first) in reports {
            for (second, report_second) in reports {
                let delivery = logged(2);
                assert_eq!(report_first(&delivery, 4), None, "{first}");
                let outcome = report_second(&delivery, 5).unwrap();
                let parks = |name: &str, number| {
                    if name.starts_with("parked") { Destinations::of(number) } else { Destinations::NONE }
                };
                let parked = parks(first, 4).with(parks(second, 5));
                assert_eq!(outcome.parked, parked, "{first}, {second}");
                assert_eq!(outcome.units, [unit(7), unit(8), unit(9)], "{first}, {second}");
                assert_eq!(outcome.items, 3);
                let settled = outcome.delivered + outcome.lost;
                assert_eq!(settled, if parked.is_none() { 3 } else { 0 }, "{first}, {second}");
            }
        }
    }

    #[test]
    fn a_request_sent_again_is_settled_by_those_it_was_parked_for() {
        let first = logged(2);
        assert_eq!(first.report(0, 0, ExportFate::Refused), None);
        let parked = first.give_up(1, ExportFate::QueueFull).unwrap();
        assert!(parked.parked.has(1) && !parked.parked.has(0));
        let again = delivery(Signal::Traces, parked.items, parked.units, 1);
        let outcome = again.report(1, 3, ExportFate::Delivered).unwrap();
        assert_eq!((outcome.delivered, outcome.lost, outcome.units.len()), (3, 0, 3));
    }

    #[test]
    fn the_first_refusal_keeps_its_fate() {
        let delivery = logged(3);
        assert_eq!(delivery.report(2, 0, ExportFate::Refused), None);
        assert_eq!(delivery.report(3, 0, ExportFate::Exhausted), None);
        let outcome = delivery.report(0, 3, ExportFate::Delivered).unwrap();
        assert_eq!((outcome.delivered, outcome.lost, outcome.fate), (0, 3, ExportFate::Refused));
    }
}
