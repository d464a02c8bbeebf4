//! How far all cores are with the log of the last run: what a start tells of it.

use crate::survey::OldSegment;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How often a line tells how far it is, of all cores together.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(2);

/// What there is to read, and what is read.
#[derive(Debug)]
pub struct Reading {
    begun: Instant,
    segments: usize,
    /// Bytes of all segments.
    pub bytes: u64,
    segments_read: AtomicU64,
    bytes_read: AtomicU64,
    requests: AtomicU64,
    units: AtomicU64,
    /// When it was last told, milliseconds from `begun` on.
    told: AtomicU64,
}

impl Reading {
    /// Of these segments, from now on.
    pub fn of(segments: &[OldSegment]) -> Self {
        Self {
            begun: Instant::now(),
            segments: segments.len(),
            bytes: segments.iter().map(|segment| segment.bytes).sum(),
            segments_read: AtomicU64::new(0),
            bytes_read: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            units: AtomicU64::new(0),
            told: AtomicU64::new(0),
        }
    }

    /// So many more bytes of a segment are read.
    pub fn add_bytes(&self, bytes: u64) {
        self.bytes_read.fetch_add(bytes, Ordering::Relaxed);
    }

    /// All of a segment is read.
    pub fn add_segment(&self) {
        self.segments_read.fetch_add(1, Ordering::Relaxed);
    }

    /// A request was read of which so many units were taken over.
    pub fn add_request(&self, units: u64) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.units.fetch_add(units, Ordering::Relaxed);
    }

    /// Tells how far it is, if it is time.
    pub fn tell(&self) {
        if self.is_due(self.begun.elapsed()) {
            let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
            let (read_mib, of_mib) = (of(&self.bytes_read) >> 20, self.bytes >> 20);
            let (segments, of_segments) = (of(&self.segments_read), self.segments);
            tracing::info!(read_mib, of_mib, segments, of_segments, "reading the log of the last run");
        }
    }

    /// Whether a line is due so long after the begin; once, whichever core asks.
    fn is_due(&self, elapsed: Duration) -> bool {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let (now, told) = (millis(elapsed), self.told.load(Ordering::Relaxed));
        now.saturating_sub(told) >= millis(PROGRESS_INTERVAL)
            && self.told.compare_exchange(told, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Tells that all cores have read what they could, and with how many verdicts.
    pub fn end(&self, verdicts: usize) {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (mib, segments, of_segments) = (of(&self.bytes_read) >> 20, of(&self.segments_read), self.segments);
        let (requests, units, seconds) = (of(&self.requests), of(&self.units), self.begun.elapsed().as_secs_f64());
        tracing::info!(
            mib,
            segments,
            of_segments,
            requests,
            units,
            verdicts,
            seconds,
            "the log of the last run is taken over"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without `told` each core tells at each of its steps.
    #[test]
    fn cores_tell_together_now_and_then() {
        let reading = Reading::of(&[]);
        let times = [0, 1, 2, 2, 3, 4, 9, 10].map(Duration::from_secs);
        assert_eq!(times.map(|time| reading.is_due(time)), [false, false, true, false, false, true, true, false]);
    }
}
