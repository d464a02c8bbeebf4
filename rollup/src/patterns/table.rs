//! The rows that are counted: one for each shape of a service and severity, in a given number of bytes.
//!
//! ```text
//!   shape --hash--> row                     a shape that was seen before
//!   shape --skeleton--> bucket --covers--> general row    one that a merged row covers; remembered as an alias
//!   otherwise a new row; a bucket that has many is clustered
//! ```

use super::cluster::{self, classes, skeleton};
use super::partial::{Partial, PartialRow};
use super::row::{ROW_BYTES, Row, SAMPLE_BYTES_MAX, cut, held_bytes, row_bytes, samples_bytes};
use super::severity::Severity;
use super::token::{Value, WILDCARDS_MAX, tokens};
use super::values::{SLOT_BYTES, Values};
use hashbrown::HashTable;
use std::collections::BTreeMap;
use twox_hash::XxHash3_64;

/// Services and severities that are told apart.
/// At the bound: what others log is counted as one service `<*>`; counted in `overflowed`.
pub(super) const GROUPS_MAX: usize = 4096;

/// Shapes of one skeleton before they are clustered: enough to see which columns vary, few enough to take microseconds.
const BUCKET_ROWS_SOFT: usize = 128;

/// Shapes of one skeleton that could not be merged.
/// At the bound: further ones are counted in the pattern `<*>` of their service and severity; counted in `overflowed`.
const BUCKET_ROWS_MAX: usize = 1024;

/// Shapes that are remembered to be covered by a merged one, 16 bytes each.
/// At the bound: they are compared again whenever they come.
const ALIASES_MAX: usize = 16_384;

/// Memory of a group, with its row for what does not fit.
const GROUP_BYTES: usize = size_of::<Group>() + 64 + ROW_BYTES;

/// How much is kept of what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) bytes_max: usize,
    pub(super) samples_max: usize,
    pub(super) values_max: usize,
}

/// A service and a severity.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) service: Box<[u8]>,
    pub(super) severity: Severity,
    /// The row of what does not fit: `<*>`.
    rest: u32,
}

#[derive(Debug, Default)]
struct Bucket {
    rows: Vec<u32>,
    /// Those of them that were merged.
    merged: Vec<u32>,
    /// How many rows there are when it is clustered next.
    cluster_at: usize,
}

/// What is added to a row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen<'a> {
    pub(super) count: u64,
    pub(super) first_unix_nano: u64,
    pub(super) last_unix_nano: u64,
    pub(super) sample: &'a [u8],
    pub(super) values: &'a [Value],
}

/// Rows by shape.
#[derive(Debug)]
pub(super) struct Table {
    seed: u64,
    bounds: Bounds,
    groups: Vec<Group>,
    group_index: HashTable<u32>,
    rows: Vec<Row>,
    free: Vec<u32>,
    by_shape: HashTable<u32>,
    buckets: BTreeMap<u64, Bucket>,
    aliases: HashTable<(u64, u32)>,
    bytes: usize,
    last_group: usize,
    /// Lines whose pattern did not fit.
    pub(super) overflowed: u64,
}

const WILDCARD_SHAPE: &[u8] = &[3];

impl Table {
    pub(super) fn new(bounds: Bounds, seed: u64) -> Self {
        Self {
            seed,
            bounds,
            groups: Vec::new(),
            group_index: HashTable::new(),
            rows: Vec::new(),
            free: Vec::new(),
            by_shape: HashTable::new(),
            buckets: BTreeMap::new(),
            aliases: HashTable::new(),
            bytes: 0,
            last_group: 0,
            overflowed: 0,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The rows there are, in no order.
    pub(super) fn rows(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| row.live)
    }

    /// The group of a service and severity; that of all others where there are too many.
    pub(super) fn group(&mut self, service: &[u8], severity: Severity) -> u32 {
        let same = |group: &Group| group.severity == severity && *group.service == *service;
        if self.groups.get(self.last_group).is_some_and(same) {
            return u32::try_from(self.last_group).unwrap_or(0);
        }
        let hash = group_hash(self.seed, service, severity);
        let found = self.group_index.find(hash, |at| same(&self.groups[*at as usize])).copied();
        let at = found.unwrap_or_else(|| self.add_group(service, severity, hash));
        self.last_group = at as usize;
        at
    }

    fn add_group(&mut self, service: &[u8], severity: Severity, hash: u64) -> u32 {
        let bytes = GROUP_BYTES + service.len();
        let is_last = self.groups.len() + Severity::COUNT >= GROUPS_MAX || self.bytes + bytes > self.bounds.bytes_max;
        if is_last && service != OTHER_SERVICES {
            return self.group(OTHER_SERVICES, severity);
        }
        let at = u32::try_from(self.groups.len()).unwrap_or(0);
        let rest =
            self.put_row(Row { group: at, shape: WILDCARD_SHAPE.into(), merged: true, live: true, ..Row::default() });
        self.groups.push(Group { service: service.into(), severity, rest });
        self.bytes += bytes;
        let (groups, seed) = (&self.groups, self.seed);
        self.group_index.insert_unique(hash, at, |at| {
            let group = &groups[*at as usize];
            group_hash(seed, &group.service, group.severity)
        });
        at
    }

    /// Gives a row a place, and puts it where its shape is found.
    fn put_row(&mut self, row: Row) -> u32 {
        let hash = shape_hash(self.seed, row.group, &row.shape);
        let at = match self.free.pop() {
            Some(at) => {
                self.rows[at as usize] = row;
                at
            }
            None => {
                self.rows.push(row);
                u32::try_from(self.rows.len() - 1).unwrap_or(0)
            }
        };
        let (rows, seed) = (&self.rows, self.seed);
        self.by_shape.insert_unique(hash, at, |at| {
            let row = &rows[*at as usize];
            shape_hash(seed, row.group, &row.shape)
        });
        at
    }

    fn find(&self, group: u32, shape: &[u8], hash: u64) -> Option<u32> {
        let same = |at: &u32| {
            let row = &self.rows[*at as usize];
            row.group == group && *row.shape == *shape
        };
        self.by_shape.find(hash, same).copied()
    }

    /// Counts lines of a shape.
    #[inline]
    pub(super) fn add(&mut self, group: u32, shape: &[u8], seen: &Seen<'_>) -> u32 {
        let hash = shape_hash(self.seed, group, shape);
        let at = self.find(group, shape, hash).unwrap_or_else(|| self.find_or_admit(group, shape, hash, seen.count));
        self.add_to(at, seen);
        at
    }

    fn add_to(&mut self, at: u32, seen: &Seen<'_>) {
        let row = &mut self.rows[at as usize];
        if row.count == 0 {
            (row.first_unix_nano, row.last_unix_nano) = (seen.first_unix_nano, seen.last_unix_nano);
        } else {
            row.first_unix_nano = row.first_unix_nano.min(seen.first_unix_nano);
            row.last_unix_nano = row.last_unix_nano.max(seen.last_unix_nano);
        }
        row.count = row.count.saturating_add(seen.count);
        if row.samples.len() < self.bounds.samples_max && !seen.sample.is_empty() {
            self.add_sample(at, seen.sample);
        }
        if *self.rows[at as usize].shape != *WILDCARD_SHAPE {
            self.add_values(at, seen);
        }
    }

    /// Keeps an example, if there is memory.
    #[cold]
    fn add_sample(&mut self, at: u32, sample: &[u8]) {
        let sample = cut(sample, SAMPLE_BYTES_MAX);
        let bytes = sample.len() + size_of::<Box<[u8]>>();
        let row = &mut self.rows[at as usize];
        if self.bytes + bytes <= self.bounds.bytes_max && !row.samples.iter().any(|known| **known == *sample) {
            row.samples.reserve_exact(1);
            row.samples.push(sample.into());
            self.bytes += bytes;
        }
    }

    fn add_values(&mut self, at: u32, seen: &Seen<'_>) {
        let row = &mut self.rows[at as usize];
        for (values, value) in row.values.iter_mut().zip(seen.values) {
            let room = self.bounds.bytes_max.saturating_sub(self.bytes) / SLOT_BYTES;
            self.bytes += values.add(value, seen.count, self.bounds.values_max, room) * SLOT_BYTES;
        }
    }

    /// The row of a shape that has none of its own yet.
    #[inline(never)]
    fn find_or_admit(&mut self, group: u32, shape: &[u8], hash: u64, count: u64) -> u32 {
        if let Some((_, at)) = self.aliases.find(hash, |(known, _)| *known == hash) {
            return *at;
        }
        let key = skeleton(shape, self.seed ^ u64::from(group).rotate_left(32));
        if let Some(at) = self.covering(key, group, shape) {
            let bytes = size_of::<(u64, u32)>() * 2;
            if self.aliases.len() < ALIASES_MAX && self.bytes + bytes <= self.bounds.bytes_max {
                self.aliases.insert_unique(hash, (hash, at), |(hash, _)| *hash);
                self.bytes += bytes;
            }
            return at;
        }
        let bucket_rows = self.buckets.get(&key).map_or(0, |bucket| bucket.rows.len());
        if bucket_rows >= BUCKET_ROWS_MAX || self.bytes + row_bytes(shape) > self.bounds.bytes_max {
            self.overflowed = self.overflowed.saturating_add(count);
            return self.groups[group as usize].rest;
        }
        let at = self.admit(key, group, shape, false);
        let bucket = self.buckets.entry(key).or_default();
        if bucket.rows.len() >= bucket.cluster_at {
            self.cluster_bucket(key);
            return self.find(group, shape, hash).or_else(|| self.covering(key, group, shape)).unwrap_or(at);
        }
        at
    }

    /// The merged row that covers a shape; of several the one whose shape is first.
    fn covering(&self, key: u64, group: u32, shape: &[u8]) -> Option<u32> {
        let merged = self.buckets.get(&key)?.merged.iter();
        let covers = merged.filter(|at| {
            let row = &self.rows[**at as usize];
            row.group == group && cluster::covers(&row.shape, shape)
        });
        covers.min_by(|a, b| self.rows[**a as usize].shape.cmp(&self.rows[**b as usize].shape)).copied()
    }

    /// Makes a row.
    fn admit(&mut self, key: u64, group: u32, shape: &[u8], merged: bool) -> u32 {
        let wildcards = tokens(shape).filter(|token| token.is_wild()).count().min(WILDCARDS_MAX);
        let values = vec![Values::default(); wildcards];
        let at = self.put_row(Row { group, shape: shape.into(), merged, values, live: true, ..Row::default() });
        self.bytes += row_bytes(shape);
        let bucket =
            self.buckets.entry(key).or_insert_with(|| Bucket { cluster_at: BUCKET_ROWS_SOFT, ..Bucket::default() });
        bucket.rows.push(at);
        if merged {
            bucket.merged.push(at);
        }
        at
    }

    /// Clusters every bucket.
    pub(super) fn cluster(&mut self) {
        let keys: Vec<u64> = self.buckets.keys().copied().collect();
        for key in keys {
            self.cluster_bucket(key);
        }
    }

    /// Merges the rows of a bucket that are the same message.
    fn cluster_bucket(&mut self, key: u64) {
        let Some(bucket) = self.buckets.get_mut(&key) else { return };
        let mut rows = std::mem::take(&mut bucket.rows);
        self.absorb(&mut rows);
        let shapes: Vec<&[u8]> = rows.iter().map(|at| &*self.rows[*at as usize].shape).collect();
        let found = classes(&shapes);
        for class in found {
            let members: Vec<u32> = class.members.iter().map(|at| rows[*at]).collect();
            let group = self.rows[members[0] as usize].group;
            let into = match members.iter().find(|at| *self.rows[**at as usize].shape == *class.shape) {
                Some(at) => *at,
                None => self.admit(key, group, &class.shape, true),
            };
            self.rows[into as usize].merged = true;
            for at in members.into_iter().filter(|at| *at != into) {
                self.merge_row(at, into);
            }
        }
        rows.retain(|at| self.rows[*at as usize].live);
        let bucket = self.buckets.entry(key).or_default();
        bucket.rows.extend(rows);
        bucket.rows.sort_unstable();
        bucket.rows.dedup();
        bucket.merged = bucket.rows.iter().copied().filter(|at| self.rows[*at as usize].merged).collect();
        bucket.cluster_at = (bucket.rows.len() * 2).max(BUCKET_ROWS_SOFT);
    }

    /// Gives rows to merged ones that cover them.
    fn absorb(&mut self, rows: &mut Vec<u32>) {
        let mut general: Vec<u32> = rows.iter().copied().filter(|at| self.rows[*at as usize].merged).collect();
        general.sort_unstable_by(|a, b| self.rows[*a as usize].shape.cmp(&self.rows[*b as usize].shape));
        for at in rows.iter() {
            let row = &self.rows[*at as usize];
            let into = general.iter().find(|into| {
                let known = &self.rows[**into as usize];
                **into != *at && known.live && cluster::covers(&known.shape, &row.shape)
            });
            if let Some(into) = into.copied() {
                self.merge_row(*at, into);
            }
        }
        rows.retain(|at| self.rows[*at as usize].live);
    }

    /// Adds one row to another that covers it, and frees it.
    fn merge_row(&mut self, from: u32, into: u32) {
        let row = std::mem::take(&mut self.rows[from as usize]);
        self.forget(from, &row);
        let target = &mut self.rows[into as usize];
        if row.count > 0 {
            let empty = target.count == 0;
            target.first_unix_nano =
                if empty { row.first_unix_nano } else { target.first_unix_nano.min(row.first_unix_nano) };
            target.last_unix_nano = target.last_unix_nano.max(row.last_unix_nano);
        }
        target.idle = target.idle.min(row.idle);
        target.count = target.count.saturating_add(row.count);
        let shape = std::mem::take(&mut target.shape);
        let mut own = row.values.iter();
        let mut wildcard = 0;
        for (general, special) in tokens(&shape).zip(tokens(&row.shape)) {
            let told = if special.is_wild() { own.next() } else { None };
            if !general.is_wild() {
                continue;
            }
            if let Some(values) = self.rows[into as usize].values.get_mut(wildcard) {
                let room = self.bounds.bytes_max.saturating_sub(self.bytes) / SLOT_BYTES;
                let values_max = self.bounds.values_max;
                let more = match told {
                    Some(told) => values.merge(told.slots(), values_max, room),
                    None if special.is_wild() || row.count == 0 => 0,
                    None => values.add(&Value::of(special.text), row.count, values_max, room),
                };
                self.bytes += more * SLOT_BYTES;
            }
            wildcard += 1;
        }
        self.rows[into as usize].shape = shape;
        self.merge_samples(into, row.samples);
    }

    /// Keeps those examples that are first by their bytes, so that it does not matter which came first.
    pub(super) fn merge_samples(&mut self, into: u32, samples: Vec<Box<[u8]>>) {
        let row = &mut self.rows[into as usize];
        self.bytes -= samples_bytes(&row.samples);
        row.samples.extend(samples);
        row.samples.sort_unstable();
        row.samples.dedup();
        row.samples.truncate(self.bounds.samples_max);
        while self.bytes + samples_bytes(&row.samples) > self.bounds.bytes_max && row.samples.pop().is_some() {}
        row.samples.shrink_to_fit();
        self.bytes += samples_bytes(&row.samples);
    }

    /// Takes a row out of the index and its memory out of the count.
    fn forget(&mut self, at: u32, row: &Row) {
        let hash = shape_hash(self.seed, row.group, &row.shape);
        if let Ok(entry) = self.by_shape.find_entry(hash, |known| *known == at) {
            entry.remove();
        }
        self.bytes -= row_bytes(&row.shape) + held_bytes(row);
        self.free.push(at);
        // A place that is used again must not be reached by what led to the row before.
        self.bytes -= self.aliases.len() * size_of::<(u64, u32)>() * 2;
        self.aliases.clear();
    }

    /// Adds what another table counted. Rows that were merged there stay so.
    pub(super) fn merge(&mut self, partial: &Partial) {
        for row in &partial.rows {
            let Some(service) = partial.services.get(row.service as usize) else { continue };
            let group = self.group(service, row.severity);
            let at = self.row_of(group, row);
            let is_rest = *self.rows[at as usize].shape == *WILDCARD_SHAPE;
            let values = if is_rest { &[][..] } else { &row.values[..] };
            if row.count > 0 {
                let (first, last) = (row.first_unix_nano, row.last_unix_nano);
                let seen =
                    Seen { count: row.count, first_unix_nano: first, last_unix_nano: last, sample: &[], values: &[] };
                self.add_to(at, &seen);
            }
            self.merge_values(at, &row.shape, values);
            self.merge_samples(at, row.samples.iter().map(|sample| sample.as_slice().into()).collect());
        }
        self.overflowed = self.overflowed.saturating_add(partial.overflowed);
    }

    /// The row for one of a partial.
    fn row_of(&mut self, group: u32, row: &PartialRow) -> u32 {
        let hash = shape_hash(self.seed, group, &row.shape);
        let at = match self.find(group, &row.shape, hash) {
            Some(at) => at,
            None => self.find_or_admit(group, &row.shape, hash, row.count),
        };
        let is_same = *self.rows[at as usize].shape == *row.shape && *row.shape != *WILDCARD_SHAPE;
        if row.merged && is_same && !self.rows[at as usize].merged {
            self.rows[at as usize].merged = true;
            let key = skeleton(&row.shape, self.seed ^ u64::from(group).rotate_left(32));
            self.buckets.entry(key).or_default().merged.push(at);
        }
        at
    }

    /// Adds the values of a row of this shape to one that is it or covers it.
    fn merge_values(&mut self, at: u32, shape: &[u8], values: &[Vec<(u64, Vec<u8>)>]) {
        let general = std::mem::take(&mut self.rows[at as usize].shape);
        let mut own = values.iter();
        let mut wildcard = 0;
        for (general, special) in tokens(&general).zip(tokens(shape)) {
            let told = if special.is_wild() { own.next() } else { None };
            if !general.is_wild() {
                continue;
            }
            if let (Some(told), Some(values)) = (told, self.rows[at as usize].values.get_mut(wildcard)) {
                let slots: Vec<_> = told
                    .iter()
                    .map(|(count, value)| super::values::Slot { count: *count, value: Value::of(value) })
                    .collect();
                let room = self.bounds.bytes_max.saturating_sub(self.bytes) / SLOT_BYTES;
                self.bytes += values.merge(&slots, self.bounds.values_max, room) * SLOT_BYTES;
            }
            wildcard += 1;
        }
        self.rows[at as usize].shape = general;
    }

    /// All rows as a partial.
    pub(super) fn to_partial(&self) -> Partial {
        partial_of(&self.groups, self.rows.iter().filter(|row| is_told(row)).cloned(), self.overflowed)
    }

    /// All rows as a partial; nothing is left. What they hold is moved, not copied.
    pub(super) fn take(&mut self) -> Partial {
        let Self { groups, rows, overflowed, .. } = std::mem::replace(self, Self::new(self.bounds, self.seed));
        partial_of(&groups, rows.into_iter().filter(is_told), overflowed)
    }

    /// Begins a new window: counts, examples and values go; shapes stay, so that what was seen to vary still does. Rows
    /// that have not occurred for `idle_max` windows go.
    pub(super) fn begin_window(&mut self, idle_max: u16) {
        self.overflowed = 0;
        for at in 0..self.rows.len() {
            let row = &mut self.rows[at];
            if !row.live {
                continue;
            }
            self.bytes -= held_bytes(row);
            row.idle = if row.count > 0 { 0 } else { row.idle.saturating_add(1) };
            (row.count, row.first_unix_nano, row.last_unix_nano) = (0, 0, 0);
            row.samples = Vec::new();
            for values in &mut row.values {
                *values = Values::default();
            }
            let goes = row.idle > idle_max && *row.shape != *WILDCARD_SHAPE;
            if goes && let Ok(at) = u32::try_from(at) {
                let row = std::mem::take(&mut self.rows[at as usize]);
                self.forget(at, &row);
            }
        }
        for bucket in self.buckets.values_mut() {
            bucket.rows.retain(|at| self.rows[*at as usize].live);
            bucket.merged.retain(|at| self.rows[*at as usize].live);
        }
        self.buckets.retain(|_, bucket| !bucket.rows.is_empty());
    }

    /// The row that a shape is counted in.
    pub(super) fn row_for(&self, service: &[u8], severity: Severity, shape: &[u8]) -> Option<&Row> {
        let hash = group_hash(self.seed, service, severity);
        let same = |at: &u32| {
            let group = &self.groups[*at as usize];
            group.severity == severity && *group.service == *service
        };
        let group = *self.group_index.find(hash, same)?;
        let hash = shape_hash(self.seed, group, shape);
        let key = skeleton(shape, self.seed ^ u64::from(group).rotate_left(32));
        let at = self.find(group, shape, hash).or_else(|| self.covering(key, group, shape))?;
        self.rows.get(at as usize)
    }
}

/// Whether a row says anything: all but that of what does not fit, where all did.
fn is_told(row: &Row) -> bool {
    row.live && (row.count > 0 || *row.shape != *WILDCARD_SHAPE)
}

fn partial_of(groups: &[Group], rows: impl Iterator<Item = Row>, overflowed: u64) -> Partial {
    let mut services: Vec<Vec<u8>> = groups.iter().map(|group| group.service.to_vec()).collect();
    services.sort_unstable();
    services.dedup();
    let place = |service: &[u8]| {
        let at = services.binary_search_by(|known| known.as_slice().cmp(service)).unwrap_or(0);
        u32::try_from(at).unwrap_or(0)
    };
    let told = |row: Row| {
        let group = &groups[row.group as usize];
        PartialRow::of(row, place(&group.service), group.severity)
    };
    let mut rows: Vec<PartialRow> = rows.map(told).collect();
    rows.sort_unstable_by(|a, b| (a.service, a.severity, &a.shape).cmp(&(b.service, b.severity, &b.shape)));
    Partial { services, rows, overflowed }
}

/// The service that stands for all that there is no room for.
const OTHER_SERVICES: &[u8] = b"<*>";

fn group_hash(seed: u64, service: &[u8], severity: Severity) -> u64 {
    XxHash3_64::oneshot_with_seed(seed ^ u64::from(severity.number()), service)
}

#[inline]
fn shape_hash(seed: u64, group: u32, shape: &[u8]) -> u64 {
    XxHash3_64::oneshot_with_seed(seed ^ u64::from(group).rotate_left(32), shape)
}
