//! Whether senders are held back, and for how long they have been.

use super::Core;
use std::cell::Cell;
use tailwater_engine::vocabulary::Nanos;

/// How long senders are held back by flow control alone; then they are told, so that they don't wait for their own
/// deadline in vain.
const PRESSED_MAX: Nanos = Nanos::from_millis(4000);

/// What a core knows of the senders that it holds back.
pub(super) struct Pressure {
    /// Whether a full buffer holds back senders, instead of deciding early.
    blocks_on_overflow: Cell<bool>,
    /// Since when senders were held back without a pause.
    since: Cell<Option<Nanos>>,
}

impl Pressure {
    /// Nobody is held back.
    pub(super) fn new(blocks_on_overflow: bool) -> Self {
        Self { blocks_on_overflow: Cell::new(blocks_on_overflow), since: Cell::new(None) }
    }

    pub(super) fn set_blocks_on_overflow(&self, blocks: bool) {
        self.blocks_on_overflow.set(blocks);
    }

    fn note(&self, is_pressed: bool, now: Nanos) {
        self.since.set(if is_pressed { self.since.get().or(Some(now)) } else { None });
    }

    fn is_long(&self, now: Nanos) -> bool {
        self.since.get().is_some_and(|since| now > since.plus(PRESSED_MAX))
    }
}

impl Core {
    /// Whether senders are to be held back. What is logged may leave memory, so that neither a full buffer nor a dead
    /// exporter is a reason then; the disk is.
    pub(super) fn is_pressed(&self, is_logged: bool) -> bool {
        let shard = self.shard.borrow();
        let blocks = self.pressure.blocks_on_overflow.get();
        match self.log.as_ref().filter(|_| is_logged) {
            Some(log) => log.is_pressed() || (blocks && shard.is_cold_pressed()),
            None => (blocks && shard.is_pressed()) || self.outbox.borrow().is_pressed(),
        }
    }

    /// Whether senders have been held back for long.
    pub(super) fn is_pressed_long(&self) -> bool {
        self.pressure.is_long(self.now())
    }

    /// Notes whether they are held back now.
    pub(super) fn note_pressure(&self) {
        self.pressure.note(self.is_pressed(self.log.is_some()), self.now());
    }
}
