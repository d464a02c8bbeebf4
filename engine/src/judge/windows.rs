//! Windows: limits that keep traces by randomness rank the traces of a second and set their thresholds by all of them, so
//! that traces become due window by window.

use crate::vocabulary::{Nanos, elapsed_ticks};

/// Ticks in a window: a second. Longer windows would make better use of a budget and judge later.
/// At the bound: traces of low randomness are dropped; one larger than the burst of a limit never passes; counted in
/// `tailwater_limit_unreachable_traces_total`.
pub const WINDOW_TICKS: u32 = 100;

/// The windows of a bench.
#[derive(Debug, Clone, Copy, Default)]
pub struct Windows {
    /// Whether the rules in force have limits that need them.
    is_on: bool,
    /// The one that was cut last: its number counted from the origin.
    last: u32,
}

impl Windows {
    /// Whether the rules that came into force need windows.
    pub(super) fn switch(&mut self, is_on: bool) {
        self.is_on = is_on;
    }

    /// Whether traces become due window by window.
    #[inline]
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.is_on
    }

    /// The tick up to which traces are judged now: where limits need whole windows the one at which the last window that
    /// was cut began.
    #[inline]
    #[must_use]
    pub fn last_due(&self, now: Nanos) -> u32 {
        if self.is_on { self.last.saturating_mul(WINDOW_TICKS) } else { elapsed_ticks(now) }
    }

    /// `tick`, or where limits need whole windows the end of the window that it is in; of the next one, if that was cut.
    #[inline]
    #[must_use]
    pub fn open_end(&self, tick: u32) -> u32 {
        let end = self.end(tick);
        if self.is_on { end.max((self.last + 1).saturating_mul(WINDOW_TICKS)) } else { end }
    }

    /// `tick`, or where limits need whole windows the end of the window that it is in.
    #[inline]
    #[must_use]
    pub fn end(&self, tick: u32) -> u32 {
        if self.is_on { tick.div_ceil(WINDOW_TICKS).saturating_mul(WINDOW_TICKS) } else { tick }
    }

    /// Whether a trace that is due at `deadline` was among those that the limits' thresholds were set by.
    #[inline]
    #[must_use]
    pub fn has(&self, deadline: u32) -> bool {
        self.is_on && deadline <= self.last.saturating_mul(WINDOW_TICKS)
    }

    /// Goes on to the window that has begun at `now`. False when it was cut before, or nothing needs windows.
    pub fn advance(&mut self, now: Nanos) -> bool {
        let window = elapsed_ticks(now) / WINDOW_TICKS;
        let is_new = self.is_on && window > self.last;
        if is_new {
            self.last = window;
        }
        is_new
    }
}
