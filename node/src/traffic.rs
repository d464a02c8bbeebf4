//! How many bytes come and go by signal, as OTLP messages before compression: what compares, whatever senders and exporters
//! make of them on the wire.

use std::cell::Cell;
use tailwater_proto::otlp::Signal;

/// Bytes of a signal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SignalBytes {
    /// Of requests that were accepted.
    pub received: u64,
    /// Of what went on as it came.
    pub exported: u64,
    /// Of summaries.
    pub summaries: u64,
}

impl SignalBytes {
    /// Adds others.
    pub const fn add(&mut self, other: Self) {
        self.received = self.received.wrapping_add(other.received);
        self.exported = self.exported.wrapping_add(other.exported);
        self.summaries = self.summaries.wrapping_add(other.summaries);
    }
}

/// The signals in the order of `Traffic`.
pub const SIGNALS: [Signal; 3] = [Signal::Traces, Signal::Metrics, Signal::Logs];

/// What came to a core and left it.
#[derive(Debug, Default)]
pub struct Traffic {
    by_signal: [Cell<SignalBytes>; SIGNALS.len()],
}

impl Traffic {
    /// A request was accepted.
    pub fn received(&self, signal: Signal, bytes: usize) {
        self.add(signal, SignalBytes { received: bytes as u64, ..SignalBytes::default() });
    }

    /// Exporters took over a request.
    pub fn delivered(&self, signal: Signal, bytes: u64, is_summary: bool) {
        let (exported, summaries) = if is_summary { (0, bytes) } else { (bytes, 0) };
        self.add(signal, SignalBytes { received: 0, exported, summaries });
    }

    fn add(&self, signal: Signal, bytes: SignalBytes) {
        for (of, cell) in SIGNALS.iter().zip(&self.by_signal) {
            if *of == signal {
                let mut sum = cell.get();
                sum.add(bytes);
                cell.set(sum);
            }
        }
    }

    /// So far.
    pub fn snapshot(&self) -> [SignalBytes; SIGNALS.len()] {
        std::array::from_fn(|place| self.by_signal[place].get())
    }
}
