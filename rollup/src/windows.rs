//! Windows: what cores have counted leaves the node in one piece, exactly once. A window has a number. The first core
//! closes it on all; each gives what it has counted in it, once its log knows that; the first puts them together, has its log
//! know what came of it, and sends that until it is delivered. While that is on its way the next window stays open: where a
//! next hop is down windows grow longer, and nothing else.
//!
//! ```text
//!   first core      close n ----> collect ----> outgoing: durable ----> sent, emitted n ---> delivered
//!   each core       counts in n | n: durable, given ... n + 1         | forgets n
//! ```
//!
//! A state is what a core's log knows of all this, whole. A start puts the states of all cores together: windows that were
//! emitted are left out, the others are part of the window that it opens. So whatever is counted is in one emission, and
//! what is emitted may be sent twice, with the same number and content.
//!
//! ```text
//! state:  version 1 | emitted through 8 | parts 4 | each: window 8, length 4, counts
//!                   | outgoing: window 8, bodies 2 | each: signal 1, items 4, length 4, body
//!                   | carried: length 4, bytes
//! ```
//! Little-endian. Without anything outgoing its window is 0. What is carried is what the first core knows from window to
//! window, as of the last that was emitted.

use std::collections::BTreeMap;
use tailwater_proto::otlp::Signal;
use thiserror::Error;

/// What can be counted: put together in any order, it comes to the same.
pub trait Counts: Default {
    /// Adds what another has counted.
    fn merge(&mut self, other: Self);
    /// Whether nothing was counted.
    fn is_empty(&self) -> bool;
    /// Appends all of it.
    fn write(&self, out: &mut Vec<u8>);
    /// What `write` has written.
    ///
    /// # Errors
    /// `StateError`: it was not.
    fn read(bytes: &[u8]) -> Result<Self, StateError>;
}

/// Why a state can't be read. What it had counted is lost, and the reader says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum StateError {
    /// A newer release wrote it.
    #[error("summaries of version {0} are not known to this release")]
    Version(u8),
    /// Its bytes are not those of a state.
    #[error("the state of summaries is damaged")]
    Damaged,
}

const VERSION: u8 = 1;

/// What leaves the node at the end of a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    /// What it carries.
    pub signal: Signal,
    /// Points or records in it.
    pub items: u32,
    /// An OTLP request, as protobuf.
    pub bytes: Vec<u8>,
}

/// What is on its way to the next hop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// The number of its window.
    pub window: u64,
    /// What is left to deliver.
    pub bodies: Vec<Body>,
}

/// What a core has counted in a window, on its way to the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The number of the window.
    pub window: u64,
    /// As `Counts::write` writes it.
    pub counts: Vec<u8>,
}

/// What one core has counted in windows that are not emitted.
#[derive(Debug)]
pub struct Counting<C> {
    open: u64,
    counts: BTreeMap<u64, C>,
}

impl<C: Counts> Counting<C> {
    /// Nothing counted, in the window of this number.
    #[must_use]
    pub fn new(open: u64) -> Self {
        Self { open, counts: BTreeMap::new() }
    }

    /// Where to count.
    pub fn open(&mut self) -> &mut C {
        self.counts.entry(self.open).or_default()
    }

    /// The number of the open window.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.open
    }

    /// What is counted in windows that it does not know to be emitted.
    pub fn parts(&self) -> impl Iterator<Item = (u64, &C)> {
        self.counts.iter().map(|(window, counts)| (*window, counts))
    }

    /// A window is over: what comes is counted in the next.
    pub fn close(&mut self, window: u64) {
        self.open = self.open.max(window + 1);
    }

    /// What it has counted in windows up to this one, to be given to the first core when its log knows it. Nothing where
    /// nothing was counted.
    #[must_use]
    pub fn given(&self, window: u64) -> Vec<Part> {
        let parts = self.counts.range(..=window).filter(|(_, counts)| !counts.is_empty());
        parts.map(|(window, counts)| Part { window: *window, counts: written(counts) }).collect()
    }

    /// A window is emitted: this and those before are forgotten.
    pub fn emitted(&mut self, window: u64) {
        self.counts = self.counts.split_off(&(window + 1));
    }

    /// Takes over what a former run has counted.
    pub fn take_over(&mut self, counts: C) {
        self.open().merge(counts);
    }
}

fn written<C: Counts>(counts: &C) -> Vec<u8> {
    let mut out = Vec::new();
    counts.write(&mut out);
    out
}

/// What the first core has beside: the windows that leave.
#[derive(Debug)]
pub struct Emitting<C> {
    cores: usize,
    emitted_through: u64,
    collecting: Option<Collecting<C>>,
    outgoing: Option<Outgoing>,
}

/// A window that is closed, with what cores have given of it.
#[derive(Debug)]
struct Collecting<C> {
    window: u64,
    has_given: Vec<bool>,
    counts: C,
}

impl<C: Counts> Emitting<C> {
    /// For a node of so many cores, on which windows were emitted up to a number, and that has something on its way still.
    #[must_use]
    pub fn new(cores: usize, emitted_through: u64, outgoing: Option<Outgoing>) -> Self {
        Self { cores, emitted_through, collecting: None, outgoing }
    }

    /// Whether a window may be closed: none is on its way.
    #[must_use]
    pub fn may_close(&self) -> bool {
        self.collecting.is_none() && self.outgoing.is_none()
    }

    /// The window of this number is closed: all cores are to give what they have.
    pub fn close(&mut self, window: u64) {
        self.collecting = Some(Collecting { window, has_given: vec![false; self.cores], counts: C::default() });
    }

    /// What a core gives of a window. What comes of it once all have given is to be made an emission by the caller. Parts of
    /// windows that were emitted are passed over: the core has not heard of it yet.
    ///
    /// # Errors
    /// `StateError`: a part can't be read. The others count.
    pub fn collect(&mut self, core: usize, window: u64, parts: &[Part]) -> Result<Option<(u64, C)>, StateError> {
        let Some(collecting) = self.collecting.as_mut().filter(|collecting| collecting.window == window) else {
            return Ok(None);
        };
        let Some(has_given) = collecting.has_given.get_mut(core) else { return Ok(None) };
        if std::mem::replace(has_given, true) {
            return Ok(None);
        }
        let mut outcome = Ok(());
        for part in parts.iter().filter(|part| part.window > self.emitted_through) {
            match C::read(&part.counts) {
                Ok(counts) => collecting.counts.merge(counts),
                Err(error) => outcome = Err(error),
            }
        }
        if collecting.has_given.contains(&false) {
            return outcome.map(|()| None);
        }
        Ok(self.collecting.take().map(|collecting| (collecting.window, collecting.counts)))
    }

    /// What a window came to: once the log knows it, it is to be sent, and all cores told that the window is emitted.
    pub fn emit(&mut self, window: u64, bodies: Vec<Body>) {
        self.emitted_through = self.emitted_through.max(window);
        self.outgoing = (!bodies.is_empty()).then_some(Outgoing { window, bodies });
    }

    /// The last window that was emitted.
    #[must_use]
    pub fn emitted_through(&self) -> u64 {
        self.emitted_through
    }

    /// What is on its way.
    #[must_use]
    pub fn outgoing(&self) -> Option<&Outgoing> {
        self.outgoing.as_ref()
    }

    /// The first body of what is on its way is delivered, or refused for good; the next is to be sent. False when none is left.
    pub fn delivered(&mut self) -> bool {
        if let Some(outgoing) = &mut self.outgoing {
            outgoing.bodies.drain(..1.min(outgoing.bodies.len()));
        }
        self.outgoing.take_if(|outgoing| outgoing.bodies.is_empty());
        self.outgoing.is_some()
    }
}

/// What a core's log is to know. Only the first core has something that is emitted.
#[must_use]
pub fn state<C: Counts>(counting: &Counting<C>, emitting: Option<&Emitting<C>>, carried: &[u8]) -> Vec<u8> {
    let mut out = vec![VERSION];
    out.extend_from_slice(&emitting.map_or(0, Emitting::emitted_through).to_le_bytes());
    let parts: Vec<_> = counting.counts.iter().filter(|(_, counts)| !counts.is_empty()).collect();
    put_length(&mut out, parts.len());
    for (window, counts) in parts {
        out.extend_from_slice(&window.to_le_bytes());
        let start = out.len();
        put_length(&mut out, 0);
        counts.write(&mut out);
        let length = u32::try_from(out.len() - start - 4).unwrap_or(u32::MAX);
        out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    }
    let outgoing = emitting.and_then(Emitting::outgoing);
    out.extend_from_slice(&outgoing.map_or(0, |outgoing| outgoing.window).to_le_bytes());
    let bodies = outgoing.map_or(&[][..], |outgoing| &outgoing.bodies);
    out.extend_from_slice(&u16::try_from(bodies.len()).unwrap_or(u16::MAX).to_le_bytes());
    for Body { signal, items, bytes } in bodies {
        out.push(signal_byte(*signal));
        out.extend_from_slice(&items.to_le_bytes());
        put_length(&mut out, bytes.len());
        out.extend_from_slice(bytes);
    }
    put_length(&mut out, carried.len());
    out.extend_from_slice(carried);
    out
}

fn put_length(out: &mut Vec<u8>, length: usize) {
    out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
}

const fn signal_byte(signal: Signal) -> u8 {
    match signal {
        Signal::Traces => 1,
        Signal::Metrics => 2,
        Signal::Logs => 3,
    }
}

/// What the states of a former run come to.
#[derive(Debug)]
pub struct Former<C> {
    /// What was counted and not emitted.
    pub counts: C,
    /// The window that a start opens: no state has this number.
    pub next_window: u64,
    /// The last window that was emitted.
    pub emitted_through: u64,
    /// What was on its way.
    pub outgoing: Option<Outgoing>,
    /// What its first core knew from window to window.
    pub carried: Vec<u8>,
    /// States and parts that could not be read.
    pub damaged: u64,
}

impl<C: Counts> Former<C> {
    /// Puts states together.
    #[must_use]
    pub fn of(states: &[Vec<u8>]) -> Self {
        let read: Vec<_> = states.iter().map(|state| read_state(state)).collect();
        let good = || read.iter().filter_map(|state| state.as_ref().ok());
        let emitted_through = good().map(|state| state.emitted_through).max().unwrap_or(0);
        let last = good().flat_map(|state| state.parts.iter().map(|(window, _)| *window)).max().unwrap_or(0);
        let mut former = Self {
            counts: C::default(),
            next_window: last.max(emitted_through) + 1,
            emitted_through,
            outgoing: good().filter_map(|state| state.outgoing.clone()).max_by_key(|outgoing| outgoing.window),
            carried: good()
                .filter(|state| !state.carried.is_empty())
                .max_by_key(|state| state.emitted_through)
                .map(|state| state.carried.to_vec())
                .unwrap_or_default(),
            damaged: read.iter().filter(|state| state.is_err()).count() as u64,
        };
        for (window, part) in good().flat_map(|state| &state.parts) {
            if *window <= emitted_through {
                continue;
            }
            match C::read(part) {
                Ok(counts) => former.counts.merge(counts),
                Err(_) => former.damaged += 1,
            }
        }
        former
    }
}

struct State<'a> {
    emitted_through: u64,
    parts: Vec<(u64, &'a [u8])>,
    outgoing: Option<Outgoing>,
    carried: &'a [u8],
}

fn read_state(bytes: &[u8]) -> Result<State<'_>, StateError> {
    let (version, rest) = bytes.split_first().ok_or(StateError::Damaged)?;
    if *version != VERSION {
        return Err(StateError::Version(*version));
    }
    let mut rest = Rest(rest);
    let emitted_through = u64::from_le_bytes(rest.take()?);
    let parts = u32::from_le_bytes(rest.take()?);
    let parts = (0..parts).map(|_| Ok((u64::from_le_bytes(rest.take()?), rest.counted()?)));
    let parts = parts.collect::<Result<_, StateError>>()?;
    let window = u64::from_le_bytes(rest.take()?);
    let count = u16::from_le_bytes(rest.take()?);
    let mut bodies = Vec::new();
    for _ in 0..count {
        let signal = match rest.take::<1>()? {
            [1] => Signal::Traces,
            [2] => Signal::Metrics,
            [3] => Signal::Logs,
            _ => return Err(StateError::Damaged),
        };
        let items = u32::from_le_bytes(rest.take()?);
        bodies.push(Body { signal, items, bytes: rest.counted()?.to_vec() });
    }
    let carried = rest.counted()?;
    if !rest.0.is_empty() {
        return Err(StateError::Damaged);
    }
    Ok(State { emitted_through, parts, outgoing: (count > 0).then_some(Outgoing { window, bodies }), carried })
}

/// What of a state is not read yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], StateError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(StateError::Damaged)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn counted(&mut self) -> Result<&'a [u8], StateError> {
        let length = usize::try_from(u32::from_le_bytes(self.take()?)).map_err(|_| StateError::Damaged)?;
        let (taken, rest) = self.0.split_at_checked(length).ok_or(StateError::Damaged)?;
        self.0 = rest;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests;
