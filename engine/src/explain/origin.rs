//! What pending traces are called: the service that a trace begins in, and the name of its root span. Each pair is there
//! once, as long as a pending trace has it.

use hashbrown::HashTable;
use std::collections::VecDeque;
use std::hash::{Hash, Hasher};
use tailwater_proto::otlp::scan::usual_name;
use tailwater_proto::otlp::wire::{Reader, Value};

/// Bytes of a service's name that are kept.
/// At the bound: the name is cut.
const SERVICE_BYTES: usize = 46;
/// Bytes of a root span's name that are kept.
/// At the bound: the name is cut.
const ROOT_BYTES: usize = 78;
/// Different pairs among a shard's pending traces. A fleet has some hundreds.
/// At the bound: further traces are explained without.
const ORIGINS_MAX: usize = 4096;

/// The beginning of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix<const BYTES: usize> {
    length: u8,
    /// There was more of it.
    is_cut: bool,
    bytes: [u8; BYTES],
}

impl<const BYTES: usize> Hash for Prefix<BYTES> {
    /// Of the bytes that are there: most names are short.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bytes[..usize::from(self.length)].hash(state);
        self.is_cut.hash(state);
    }
}

impl<const BYTES: usize> Default for Prefix<BYTES> {
    fn default() -> Self {
        Self { length: 0, is_cut: false, bytes: [0; BYTES] }
    }
}

impl<const BYTES: usize> Prefix<BYTES> {
    /// As much of `text` as there is room for, whole characters of it.
    #[must_use]
    pub fn of(text: &[u8]) -> Self {
        let mut end = text.len().min(BYTES);
        // A byte that goes on with a character is not where one begins.
        while end < text.len() && end > 0 && text[end] & 0xc0 == 0x80 {
            end -= 1;
        }
        let mut bytes = [0; BYTES];
        bytes[..end].copy_from_slice(&text[..end]);
        Self { length: u8::try_from(end).unwrap_or(u8::MAX), is_cut: end < text.len(), bytes }
    }

    /// Whether it is that text, whole.
    fn is(&self, text: &[u8]) -> bool {
        !self.is_cut && self.bytes[..usize::from(self.length)] == *text
    }

    /// True for none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// To be shown; where it was cut, with points behind.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::from_utf8_lossy(&self.bytes[..usize::from(self.length)]).into_owned();
        if self.is_cut {
            text.push_str("...");
        }
        text
    }
}

/// A service and a root span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Origin {
    /// `service.name` of the root span; of the first span where no root has come.
    pub service: Service,
    /// The root span's name; empty where none has come.
    pub root: Prefix<ROOT_BYTES>,
}

/// The name of a service.
pub type Service = Prefix<SERVICE_BYTES>;

impl Origin {
    /// Of a span of a service; `is_root` says whether its name is that of the root.
    #[must_use]
    pub fn of(service: Service, span: &[u8], is_root: bool) -> Self {
        let root = if is_root { root_name(span).map(Prefix::of).unwrap_or_default() } else { Prefix::default() };
        Self { service, root }
    }
}

/// The name of a span.
#[must_use]
pub fn root_name(span: &[u8]) -> Option<&[u8]> {
    usual_name(span).or_else(|| text_field(span, NAME))
}

/// Where an origin of a service was when it was set last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hint {
    place: u16,
    /// Of what was there.
    hash: u64,
}

/// The service of spans under a resource.
#[must_use]
pub fn service_of(resource_envelope: &[u8]) -> Service {
    service_name(resource_envelope).map(Prefix::of).unwrap_or_default()
}

/// `Span.name`.
const NAME: u32 = 5;

/// The text or message in a field of a message.
#[must_use]
pub fn text_field(message: &[u8], number: u32) -> Option<&[u8]> {
    let mut reader = Reader::new(message);
    while let Ok(Some(field)) = reader.next_field() {
        if let (true, Value::Bytes(bytes)) = (field.number == number, field.value) {
            return Some(bytes);
        }
    }
    None
}

/// `service.name` among the attributes of `ResourceSpans.resource`.
#[must_use]
pub fn service_name(envelope: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader::new(text_field(envelope, 1)?);
    while let Ok(Some(field)) = reader.next_field() {
        if let (1, Value::Bytes(attribute)) = (field.number, field.value)
            && text_field(attribute, 1) == Some(b"service.name")
        {
            return text_field(text_field(attribute, 2)?, 1);
        }
    }
    None
}

#[derive(Debug)]
struct Slot {
    origin: Origin,
    hash: u64,
    /// Pending traces of it.
    traces: u32,
    /// It is among those to be used anew.
    is_listed: bool,
}

/// Bytes of a pair: what the memory plan counts, with its places in the tables.
pub const ORIGIN_BYTES: usize = size_of::<Slot>() + 8;
/// Bytes of all pairs of a shard.
pub const ORIGINS_BYTES: usize = ORIGINS_MAX * ORIGIN_BYTES;

/// The origins of a shard's pending traces.
#[derive(Debug)]
pub struct Origins {
    /// By the traces' entries: one more than the slot, 0 for none.
    by_entry: Vec<u16>,
    slots: Vec<Slot>,
    places: HashTable<u16>,
    /// Slots that no trace had, when they were put here.
    unused: VecDeque<u16>,
    hasher: ahash::RandomState,
}

impl Origins {
    /// None, with a keyed hash: senders choose the names.
    #[must_use]
    pub fn new([first, second, third, fourth]: [u64; 4]) -> Self {
        Self {
            by_entry: Vec::new(),
            slots: Vec::new(),
            places: HashTable::new(),
            unused: VecDeque::new(),
            hasher: ahash::RandomState::with_seeds(first, second, third, fourth),
        }
    }

    /// The origin of a trace, by its entry.
    #[must_use]
    pub fn get(&self, entry: u32) -> Option<&Origin> {
        let place = self.by_entry.get(entry as usize)?.checked_sub(1)?;
        self.slots.get(usize::from(place)).map(|slot| &slot.origin)
    }

    /// Whether there is nothing more to be learned of it from a span, which `is_root` or not.
    #[inline]
    #[must_use]
    pub fn is_known(&self, entry: u32, is_root: bool) -> bool {
        let Some(place) = self.by_entry.get(entry as usize).and_then(|number| number.checked_sub(1)) else {
            return false;
        };
        !is_root || self.slots.get(usize::from(place)).is_some_and(|slot| !slot.origin.root.is_empty())
    }

    /// Sets it. Most have one that was set just before: where that is returned, to be tried by `set_as_before`.
    pub fn set(&mut self, entry: u32, origin: &Origin) -> Option<Hint> {
        self.forget(entry);
        let place = self.place(origin)?;
        self.give(entry, place);
        Some(Hint { place, hash: self.slots[usize::from(place)].hash })
    }

    /// Sets what `hint` was given for, where that is still there: an origin of the service of `span`, with the name of that
    /// span if it `is_root`, else without one. False where it is not that.
    #[inline]
    pub fn set_as_before(&mut self, entry: u32, hint: Hint, (span, is_root): (&[u8], bool)) -> bool {
        let Some(slot) = self.slots.get(usize::from(hint.place)) else { return false };
        let is_it =
            slot.hash == hint.hash && (!is_root || root_name(span).is_some_and(|name| slot.origin.root.is(name)));
        if is_it {
            self.forget(entry);
            self.give(entry, hint.place);
        }
        is_it
    }

    #[inline]
    fn give(&mut self, entry: u32, place: u16) {
        if self.by_entry.len() <= entry as usize {
            self.by_entry.resize(entry as usize + 1, 0);
        }
        self.by_entry[entry as usize] = place + 1;
        self.slots[usize::from(place)].traces += 1;
    }

    /// The trace is gone.
    #[inline]
    pub fn forget(&mut self, entry: u32) {
        let Some(number) = self.by_entry.get_mut(entry as usize) else { return };
        let Some(place) = std::mem::take(number).checked_sub(1) else { return };
        let slot = &mut self.slots[usize::from(place)];
        slot.traces -= 1;
        if slot.traces == 0 && !slot.is_listed {
            slot.is_listed = true;
            self.unused.push_back(place);
        }
    }

    /// The slot of an origin; `None` when all have traces.
    fn place(&mut self, origin: &Origin) -> Option<u16> {
        let hash = self.hasher.hash_one(origin);
        let Self { slots, places, unused, .. } = self;
        if let Some(place) = places.find(hash, |place| slots[usize::from(*place)].origin == *origin) {
            return Some(*place);
        }
        let new = Slot { origin: *origin, hash, traces: 0, is_listed: false };
        let place = if slots.len() < ORIGINS_MAX {
            slots.push(new);
            u16::try_from(slots.len() - 1).ok()?
        } else {
            let place = loop {
                let place = unused.pop_front()?;
                let slot = &mut slots[usize::from(place)];
                slot.is_listed = false;
                if slot.traces == 0 {
                    break place;
                }
            };
            let former = std::mem::replace(&mut slots[usize::from(place)], new);
            if let Ok(found) = places.find_entry(former.hash, |known| *known == place) {
                found.remove();
            }
            place
        };
        places.insert_unique(hash, place, |place| slots[usize::from(*place)].hash);
        Some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(number: u32) -> Origin {
        Origin { service: Prefix::of(b"shop"), root: Prefix::of(format!("GET /{number}").as_bytes()) }
    }

    #[test]
    fn a_name_is_cut_between_characters() {
        let text = |bytes: &str| Prefix::<4>::of(bytes.as_bytes()).text();
        assert_eq!([text("abcd"), text("abcde"), text("abc\u{e9}"), text("")], ["abcd", "abcd...", "abc...", ""]);
    }

    #[test]
    fn names_are_bounded_and_those_of_pending_traces_stay() {
        let mut origins = Origins::new([1, 2, 3, 4]);
        let most = u32::try_from(ORIGINS_MAX).unwrap();
        for number in 0..most {
            origins.set(number, &origin(number));
        }
        origins.set(most, &origin(most));
        assert_eq!(origins.get(most), None, "all places have traces");
        assert_eq!(origins.get(7), Some(&origin(7)));
        // One that goes gives its place away; as long as nobody wants it its name is still known.
        origins.forget(7);
        origins.set(most, &origin(7));
        origins.forget(9);
        origins.set(7, &origin(most));
        assert_eq!((origins.get(most), origins.get(7)), (Some(&origin(7)), Some(&origin(most))));
        for number in 0..3 * most {
            origins.set(7, &origin(most + number));
            assert_eq!(origins.get(7), Some(&origin(most + number)));
        }
        assert!(origins.slots.len() == ORIGINS_MAX && origins.unused.len() <= ORIGINS_MAX);
    }

    /// Without the hash of what was there a trace would be called what another is that came into its place.
    #[test]
    fn an_origin_is_set_as_before_while_it_is_there() {
        let mut origins = Origins::new([1, 2, 3, 4]);
        let span = |number: u32| format!("\x2a\x06GET /{number}").into_bytes();
        let hint = origins.set(1, &origin(1)).unwrap();
        assert!(origins.set_as_before(2, hint, (&span(1), true)) && !origins.set_as_before(3, hint, (&span(2), true)));
        assert_eq!((origins.get(2), origins.get(3)), (Some(&origin(1)), None));
        (1..=2).for_each(|entry| origins.forget(entry));
        (0..u32::try_from(ORIGINS_MAX).unwrap()).for_each(|number| _ = origins.set(number, &origin(10 + number)));
        assert!(!origins.set_as_before(2, hint, (&span(1), true)), "its place has another");
    }

    #[test]
    fn service_and_name_are_found_in_the_bytes() {
        // Resource { attributes: [service.name: "shop"] } under field 1; Span { name: "GET /" }.
        let mut attribute = b"\x0a\x0cservice.name\x12\x06\x0a\x04shop".to_vec();
        attribute.splice(0..0, [0x0a, u8::try_from(attribute.len()).unwrap()]);
        attribute.splice(0..0, [0x0a, u8::try_from(attribute.len()).unwrap()]);
        let span = b"\x0a\x01x\x2a\x05GET /";
        let found = Origin::of(service_of(&attribute), span, true);
        assert_eq!((found.service.text().as_str(), found.root.text().as_str()), ("shop", "GET /"));
        assert!(Origin::of(service_of(&attribute), span, false).root.is_empty());
        assert_eq!(Origin::of(service_of(b"\xff"), b"\xff", true), Origin::default(), "what is broken has none");
    }
}
