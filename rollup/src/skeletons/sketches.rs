//! What a shard knows of the shape of its pending traces, and the rows of those that were dropped. A sketch is 20 bytes: it
//! has numbers, of names and sets that are there once.

use super::SkeletonsPlan;
use super::names::{NAME_BYTES_MAX, Names, OTHERS, cut};
use super::partial::{Counted, DroppedTrace, Partial, Root, Shape};
use super::sets::{EMPTY, LOST, Member, SETS_BYTES_MAX, Sets};
use ahash::RandomState;
use hashbrown::HashMap;

/// Different services at a time.
/// At the bound: further ones are one, `*`, until the next window.
const SERVICES_MAX: usize = 1 << 12;
/// Different roots at a time.
/// At the bound: as at that on services.
const ROOTS_MAX: usize = 1 << 14;
/// No root has come.
const NO_ROOT: u32 = u32::MAX;
/// Between the parts of a root's name: no text has this byte.
const SEPARATOR: u8 = 0xff;

/// What the memory plan counts for a pending trace.
pub const SKETCH_BYTES: usize = size_of::<Sketch>();

/// Bytes of names and sets at their bounds, about; a set of some services.
pub const NAMES_BYTES_MAX: usize =
    SERVICES_MAX * (NAME_BYTES_MAX + 48) + ROOTS_MAX * (3 * NAME_BYTES_MAX + 48) + SETS_BYTES_MAX;

/// A pending trace.
#[derive(Debug, Clone, Copy)]
struct Sketch {
    /// Of the numbers.
    epoch: u32,
    root: u32,
    services: u32,
    /// The member that was added last: most spans add the same as the one before.
    last: Option<Member>,
}

/// The shapes of a shard's traces.
#[derive(Debug)]
pub struct Skeletons {
    plan: SkeletonsPlan,
    /// By the traces' entries.
    sketches: Vec<Sketch>,
    services: Names,
    roots: Names,
    sets: Sets,
    hasher: RandomState,
    epoch: u32,
    /// By root and services.
    rows: HashMap<(u32, u32), Counted, RandomState>,
    overflow: Option<Counted>,
    overflowed: u64,
    scratch: Vec<u8>,
}

impl Skeletons {
    /// Of no trace. Names are hashed with the seed.
    #[must_use]
    pub fn new(plan: SkeletonsPlan, seed: u64) -> Self {
        let hasher = RandomState::with_seeds(seed, 0, 0, 0);
        Self {
            plan,
            sketches: Vec::new(),
            services: Names::new(SERVICES_MAX, seed),
            roots: Names::new(ROOTS_MAX, seed),
            sets: Sets::new(hasher.clone()),
            epoch: 0,
            rows: HashMap::with_hasher(hasher.clone()),
            hasher,
            overflow: None,
            overflowed: 0,
            scratch: Vec::new(),
        }
    }

    /// A trace begins.
    #[inline]
    pub fn open(&mut self, entry: u32) {
        let entry = entry as usize;
        let sketch = Sketch { epoch: self.epoch, root: NO_ROOT, services: EMPTY, last: None };
        match self.sketches.get_mut(entry) {
            Some(known) => *known = sketch,
            None => self.sketches.resize(entry + 1, sketch),
        }
    }

    /// The number of a service, as long as `epoch` is the same.
    pub fn service(&mut self, name: &[u8]) -> u32 {
        self.services.number(cut(name))
    }

    /// Changes when numbers mean something else.
    #[inline]
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// A span of a trace came, of the service of that number.
    #[inline]
    pub fn note(&mut self, entry: u32, service: u32, has_error: bool) {
        let member = Member::new(service, has_error);
        let Some(sketch) = self.sketches.get_mut(entry as usize) else { return };
        if sketch.last == Some(member) || sketch.epoch != self.epoch {
            return;
        }
        sketch.last = Some(member);
        sketch.services = self.sets.with(sketch.services, member);
    }

    /// The root span of a trace came. Of several the first counts.
    pub fn note_root(&mut self, entry: u32, service: &[u8], (name, route): (&[u8], &[u8])) {
        let Some(sketch) = self.sketches.get_mut(entry as usize) else { return };
        if sketch.root != NO_ROOT || sketch.epoch != self.epoch {
            return;
        }
        self.scratch.clear();
        for part in [service, name, route] {
            self.scratch.extend_from_slice(cut(part));
            self.scratch.push(SEPARATOR);
        }
        sketch.root = self.roots.number(&self.scratch);
    }

    /// A trace was dropped.
    pub fn dropped(&mut self, entry: u32, trace: &DroppedTrace) {
        let sketch = self.sketches.get(entry as usize);
        let known = sketch.filter(|sketch| sketch.epoch == self.epoch && sketch.services != LOST);
        if let Some(Sketch { root, services, .. }) = known {
            let key = (*root, *services);
            if let Some(row) = self.rows.get_mut(&key) {
                return row.count(trace);
            }
            if self.rows.len() < self.plan.shapes_max {
                let mut row = Counted::default();
                row.count(trace);
                self.rows.insert(key, row);
                return;
            }
        }
        self.overflowed += 1;
        self.overflow.get_or_insert_default().count(trace);
    }

    /// Traces that count for the shape of what is past the bounds.
    #[must_use]
    pub fn overflowed(&self) -> u64 {
        self.overflowed
    }

    /// Gives away what it has counted. Where names or sets had no room, pending traces are without a shape from now on.
    pub fn take(&mut self) -> Partial {
        let mut partial = Partial { rows: Vec::with_capacity(self.rows.len()), overflow: self.overflow.take() };
        let rows = std::mem::replace(&mut self.rows, HashMap::with_hasher(self.hasher.clone()));
        partial.rows.extend(rows.into_iter().map(|((root, services), row)| (self.shape(root, services), row)));
        if self.services.is_full() || self.roots.is_full() || self.sets.is_full() {
            self.services.clear();
            self.roots.clear();
            self.sets = Sets::new(self.hasher.clone());
            self.epoch = self.epoch.wrapping_add(1);
        }
        partial
    }

    fn shape(&self, root: u32, services: u32) -> Shape {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let root = match self.roots.text(root) {
            Some(name) => {
                let mut parts = name.split(|byte| *byte == SEPARATOR).map(text);
                let mut next = || parts.next().unwrap_or_default();
                Some(Root { service: next(), name: next(), route: next() })
            }
            None if root == OTHERS => Some(Root { name: "*".to_string(), ..Root::default() }),
            None => None,
        };
        let members = self.sets.members(services);
        let mut named: Vec<(String, bool)> = members
            .iter()
            .map(|member| {
                (self.services.text(member.service()).map_or_else(|| "*".to_string(), text), member.has_error())
            })
            .collect();
        named.sort_unstable();
        let error_services = named.iter().filter(|(_, has_error)| *has_error).map(|(name, _)| name.clone()).collect();
        Shape { root, services: named.into_iter().map(|(name, _)| name).collect(), error_services }
    }
}
