//! Payloads to one peer, reliably: what is told is gathered into bundles, bundles are numbered and sent again until they are
//! acknowledged, and the receiver takes each payload once.
//!
//! The numbers are of an *epoch*, which rises whenever the sender gives up what it had to tell. So a receiver can keep what it
//! heard of a run of its peer for as long as it likes, and tells the first bundle of a new epoch from one that comes late.

use crate::frame::{Acknowledge, PAYLOAD_HEADER_BYTES, payloads, put_payload, put_told};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Bundles that may wait for their acknowledgement.
/// At the bound: nothing more is told to this peer; its caller keeps what it had to say, counted.
pub const WINDOW_BUNDLES_MAX: usize = 1_024;
/// Bundles that are sent again at once: a peer that was away for a while is not flooded.
/// At the bound: the others follow after [`RESEND_PAUSE`].
const RESENT_MAX: usize = 64;
/// How long the next ones wait then.
const RESEND_PAUSE: Duration = Duration::from_millis(10);
/// Words of the map of bundles that were heard: one bit each.
const HEARD_WORDS: usize = WINDOW_BUNDLES_MAX / 64;
/// The same as a number of a bundle.
const WINDOW: u64 = WINDOW_BUNDLES_MAX as u64;
/// Bits of the mask of an acknowledgement.
const MASK_BITS: u64 = 256;

/// The waits of a link.
#[derive(Debug, Clone, Copy)]
pub struct Waits {
    /// Least time until a bundle is sent again.
    pub resend: Duration,
    /// Longest time.
    pub resend_max: Duration,
    /// How long an acknowledgement waits for a datagram.
    pub acknowledge: Duration,
    /// How long payloads wait for others.
    pub gather: Duration,
}

/// A bundle that was numbered and not acknowledged.
struct Sent {
    /// Payloads with their lengths.
    bundle: Box<[u8]>,
    /// How many.
    payloads: u32,
    /// When it is to be sent.
    due: Duration,
    /// How long it waits after that; nothing before it was sent.
    wait: Option<Duration>,
}

/// Both directions of what two nodes tell each other.
pub struct Link {
    waits: Waits,
    epoch: u32,
    /// The number of the front of the window.
    base: u64,
    /// `None` where a bundle was acknowledged before others in front of it.
    window: VecDeque<Option<Sent>>,
    gathered: Vec<u8>,
    gathered_payloads: u32,
    /// When what is gathered goes.
    close_at: Option<Duration>,
    /// No bundle is due before.
    resend_at: Option<Duration>,
    round_trip: Option<Duration>,
    heard: Heard,
}

/// What was heard of the peer's bundles.
#[derive(Default)]
struct Heard {
    epoch: u32,
    floor: u64,
    next: u64,
    /// By number, in a ring from `floor` on.
    bits: [u64; HEARD_WORDS],
    /// Bundles of which only so many payloads found room.
    partial: BTreeMap<u64, usize>,
    acknowledge_at: Option<Duration>,
}

/// What became of a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bundle {
    /// All its payloads were taken.
    Taken,
    /// It was known.
    Duplicate,
    /// There was no room for some of it.
    Refused,
    /// It is of an epoch that is over.
    Late,
    /// It is none, or beyond the window.
    Malformed,
}

impl Link {
    /// A link to a peer. Epochs of one peer must rise.
    pub fn new(waits: Waits, epoch: u32) -> Self {
        Self {
            waits,
            epoch,
            base: 0,
            window: VecDeque::new(),
            gathered: Vec::new(),
            gathered_payloads: 0,
            close_at: None,
            resend_at: None,
            round_trip: None,
            heard: Heard::default(),
        }
    }

    /// Gives up what was to be told; what was heard stays. Returns how many payloads are lost.
    pub fn restart(&mut self, epoch: u32) -> u64 {
        let lost = self.unacknowledged();
        let heard = std::mem::take(&mut self.heard);
        *self = Self { heard, round_trip: self.round_trip, ..Self::new(self.waits, epoch) };
        lost
    }

    /// Payloads that were told and not acknowledged.
    pub fn unacknowledged(&self) -> u64 {
        let sent = self.window.iter().flatten().map(|sent| u64::from(sent.payloads)).sum::<u64>();
        sent + u64::from(self.gathered_payloads)
    }

    /// The usual time to the peer and back, where it is known.
    pub const fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// A round trip was measured.
    pub fn measure(&mut self, round_trip: Duration) {
        self.round_trip = Some(self.round_trip.map_or(round_trip, |usual| (usual * 7 + round_trip) / 8));
    }

    /// Whether the window has room for a payload of so many bytes.
    pub fn has_room(&self, bytes: usize, bundle_bytes_max: usize) -> bool {
        // What is gathered has its place in the window.
        let places = usize::from(!self.gathered.is_empty()) + usize::from(!self.joins(bytes, bundle_bytes_max));
        self.window.len() + places <= WINDOW_BUNDLES_MAX
    }

    /// Whether such a payload joins what is gathered.
    fn joins(&self, bytes: usize, bundle_bytes_max: usize) -> bool {
        !self.gathered.is_empty() && self.gathered.len() + bytes + PAYLOAD_HEADER_BYTES <= bundle_bytes_max
    }

    /// Takes a payload that is told, which there must be room for.
    pub fn tell(&mut self, now: Duration, payload: &[u8], bundle_bytes_max: usize) {
        if !self.joins(payload.len(), bundle_bytes_max) {
            self.close(now);
        }
        put_payload(&mut self.gathered, payload);
        self.gathered_payloads += 1;
        self.close_at.get_or_insert(now + self.waits.gather);
        if self.gathered.len() >= bundle_bytes_max {
            self.close(now);
        }
    }

    fn close(&mut self, now: Duration) {
        if self.gathered.is_empty() {
            return;
        }
        let bundle = std::mem::take(&mut self.gathered).into_boxed_slice();
        let payloads = std::mem::take(&mut self.gathered_payloads);
        self.window.push_back(Some(Sent { bundle, payloads, due: now, wait: None }));
        self.close_at = None;
        self.resend_at = Some(now);
    }

    /// Writes each bundle that is due as a frame. Returns how many of them are sent again.
    pub fn send(&mut self, now: Duration, mut post: impl FnMut(&[u8])) -> u64 {
        if self.close_at.is_some_and(|at| at <= now) {
            self.close(now);
        }
        if self.resend_at.is_none_or(|at| at > now) {
            return 0;
        }
        let first_wait = self.waits.resend.max(self.round_trip.unwrap_or_default() * 3);
        let (mut again, mut next) = (0, None::<Duration>);
        let mut frame = Vec::new();
        for (number, sent) in (self.base..).zip(&mut self.window) {
            let Some(sent) = sent else { continue };
            if sent.due <= now && (sent.wait.is_none() || again < RESENT_MAX) {
                again += usize::from(sent.wait.is_some());
                frame.clear();
                put_told(&mut frame, self.epoch, number, &sent.bundle);
                post(&frame);
                let wait = sent.wait.map_or(first_wait, |wait| wait * 2).min(self.waits.resend_max.max(first_wait));
                sent.wait = Some(wait);
                sent.due = now + wait;
            }
            let due = sent.due.max(now + RESEND_PAUSE);
            next = Some(next.map_or(due, |next| next.min(due)));
        }
        self.resend_at = next;
        u64::try_from(again).unwrap_or(u64::MAX)
    }

    /// When [`Link::send`] has something to do.
    pub fn send_due(&self) -> Option<Duration> {
        [self.close_at, self.resend_at].into_iter().flatten().min()
    }

    /// When the acknowledgement has waited for long enough.
    pub const fn acknowledge_due(&self) -> Option<Duration> {
        self.heard.acknowledge_at
    }

    /// The peer has acknowledged bundles.
    pub fn acknowledged(&mut self, acknowledge: &Acknowledge) {
        let Acknowledge { epoch, floor, next, mask } = acknowledge;
        if *epoch != self.epoch || floor > next {
            return;
        }
        for (number, sent) in (self.base..*next).zip(&mut self.window) {
            let behind = next - 1 - number;
            let is_heard = number < *floor || behind < MASK_BITS && has_bit(mask, behind);
            if is_heard {
                *sent = None;
            }
        }
        while self.window.front().is_some_and(Option::is_none) {
            self.window.pop_front();
            self.base += 1;
        }
    }

    /// A bundle of the peer. `deliver` says whether there was room.
    pub fn hear(
        &mut self,
        now: Duration,
        (epoch, number): (u32, u64),
        bundle: &[u8],
        deliver: impl FnMut(&[u8]) -> bool,
    ) -> Bundle {
        let heard = &mut self.heard;
        if epoch < heard.epoch {
            return Bundle::Late;
        }
        if epoch > heard.epoch {
            *heard = Heard { epoch, ..Heard::default() };
        }
        if number >= heard.floor.saturating_add(WINDOW) {
            return Bundle::Malformed;
        }
        if heard.has(number) {
            // The peer has missed that it was heard.
            heard.acknowledge_at.get_or_insert(now + self.waits.acknowledge);
            return Bundle::Duplicate;
        }
        let Some(payloads) = payloads(bundle) else { return Bundle::Malformed };
        let before = heard.partial.remove(&number).unwrap_or_default();
        let taken = payloads.iter().copied().skip(before).map(deliver).take_while(|is_taken| *is_taken).count();
        if before + taken < payloads.len() {
            heard.partial.insert(number, before + taken);
            return Bundle::Refused;
        }
        heard.take(number);
        heard.acknowledge_at.get_or_insert(now + self.waits.acknowledge);
        Bundle::Taken
    }

    /// What to acknowledge, if anything is.
    pub fn take_acknowledge(&mut self) -> Option<Acknowledge> {
        self.heard.acknowledge_at.take()?;
        let Heard { epoch, floor, next, .. } = self.heard;
        let mut mask = [0; 4];
        let lowest = floor.max(next.saturating_sub(MASK_BITS));
        for number in (lowest..next).filter(|number| self.heard.has(*number)) {
            set_bit(&mut mask, next - 1 - number);
        }
        Some(Acknowledge { epoch, floor, next, mask })
    }
}

impl Heard {
    fn has(&self, number: u64) -> bool {
        number < self.floor || number < self.next && has_bit(&self.bits, number % WINDOW)
    }

    fn take(&mut self, number: u64) {
        set_bit(&mut self.bits, number % WINDOW);
        self.next = self.next.max(number + 1);
        while self.floor < self.next && has_bit(&self.bits, self.floor % WINDOW) {
            clear_bit(&mut self.bits, self.floor % WINDOW);
            self.floor += 1;
        }
    }
}

fn word(bit: u64) -> usize {
    usize::try_from(bit / 64).unwrap_or(usize::MAX)
}

fn has_bit(words: &[u64], bit: u64) -> bool {
    words.get(word(bit)).is_some_and(|word| word >> (bit % 64) & 1 != 0)
}

fn set_bit(words: &mut [u64], bit: u64) {
    if let Some(word) = words.get_mut(word(bit)) {
        *word |= 1 << (bit % 64);
    }
}

fn clear_bit(words: &mut [u64], bit: u64) {
    if let Some(word) = words.get_mut(word(bit)) {
        *word &= !(1 << (bit % 64));
    }
}

#[cfg(test)]
mod tests;
