//! Resources and scopes, interned: each distinct content is held once and counted by reference. A trace from eight
//! services does not carry eight copies of their resources, and the export groups by them for free.

use ahash::RandomState;
use hashbrown::HashTable;

/// A resource and a scope in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ScopeHandle(pub(super) u32);

impl ScopeHandle {
    /// The handle of a number that `number` gave.
    #[must_use]
    pub fn from_number(number: u32) -> Self {
        Self(number)
    }

    /// A number that names the scope as long as it is held.
    #[must_use]
    pub fn number(self) -> u32 {
        self.0
    }
}

#[derive(Debug)]
struct Entry {
    hash: u64,
    bytes: Box<[u8]>,
    holders: u32,
}

#[derive(Debug)]
struct ScopeEntry {
    entry: Entry,
    resource: u32,
    /// The arena epoch whose chunk holds this scope already.
    epoch: u32,
}

/// Slots of either kind, with the numbers of the empty ones.
#[derive(Debug)]
struct Slots<T> {
    items: Vec<Option<T>>,
    vacant: Vec<u32>,
}

impl<T> Slots<T> {
    fn add(&mut self, item: T) -> u32 {
        if let Some(number) = self.vacant.pop() {
            self.items[number as usize] = Some(item);
            return number;
        }
        self.items.push(Some(item));
        u32::try_from(self.items.len() - 1).unwrap_or(u32::MAX)
    }

    fn take(&mut self, number: u32) -> Option<T> {
        let item = self.items.get_mut(number as usize)?.take();
        if item.is_some() {
            self.vacant.push(number);
        }
        item
    }

    #[inline]
    fn get(&self, number: u32) -> Option<&T> {
        self.items.get(number as usize)?.as_ref()
    }

    #[inline]
    fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        self.items.get_mut(number as usize)?.as_mut()
    }
}

/// The table of one shard. Its size is bounded by the arena, whose bound counts these bytes too.
#[derive(Debug)]
pub struct EnvelopeTable {
    hasher: RandomState,
    resources: Slots<Entry>,
    resource_index: HashTable<u32>,
    scopes: Slots<ScopeEntry>,
    scope_index: HashTable<u32>,
    bytes: usize,
}

/// Bytes an interned envelope takes besides its own.
const ENTRY_BYTES: usize = 64;

impl EnvelopeTable {
    /// An empty table whose hashes are keyed by `seed`.
    #[must_use]
    pub fn new(seed: [u64; 4]) -> Self {
        Self {
            hasher: RandomState::with_seeds(seed[0], seed[1], seed[2], seed[3]),
            resources: Slots { items: Vec::new(), vacant: Vec::new() },
            resource_index: HashTable::new(),
            scopes: Slots { items: Vec::new(), vacant: Vec::new() },
            scope_index: HashTable::new(),
            bytes: 0,
        }
    }

    /// Bytes held, with a flat charge for each entry.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The handle of this resource and scope, held once for the caller.
    pub fn intern(&mut self, resource: &[u8], scope: &[u8]) -> ScopeHandle {
        let resource = self.resource(resource);
        let hash = self.hasher.hash_one((resource, scope));
        let scopes = &self.scopes;
        let found = self.scope_index.find(hash, |number| {
            scopes.get(*number).is_some_and(|known| known.resource == resource && *known.entry.bytes == *scope)
        });
        if let Some(number) = found.copied() {
            let handle = ScopeHandle(number);
            self.hold(handle);
            return handle;
        }
        if let Some(entry) = self.resources.get_mut(resource) {
            entry.holders += 1;
        }
        self.bytes += scope.len() + ENTRY_BYTES;
        let entry = Entry { hash, bytes: scope.into(), holders: 1 };
        let number = self.scopes.add(ScopeEntry { entry, resource, epoch: 0 });
        let scopes = &self.scopes;
        self.scope_index.insert_unique(hash, number, |number| scopes.get(*number).map_or(0, |known| known.entry.hash));
        ScopeHandle(number)
    }

    /// The number of a resource; a new one is held by nobody yet.
    fn resource(&mut self, resource: &[u8]) -> u32 {
        let hash = self.hasher.hash_one(resource);
        let resources = &self.resources;
        let found = self.resource_index.find(hash, |number| {
            resources.get(*number).is_some_and(|known| known.hash == hash && *known.bytes == *resource)
        });
        if let Some(number) = found {
            return *number;
        }
        self.bytes += resource.len() + ENTRY_BYTES;
        let number = self.resources.add(Entry { hash, bytes: resource.into(), holders: 0 });
        let resources = &self.resources;
        self.resource_index.insert_unique(hash, number, |number| resources.get(*number).map_or(0, |known| known.hash));
        number
    }

    /// Holds `scope` once more.
    #[inline]
    pub fn hold(&mut self, scope: ScopeHandle) {
        if let Some(known) = self.scopes.get_mut(scope.0) {
            known.entry.holders += 1;
        }
    }

    /// Lets `scope` go once; with the last hold it is forgotten, and its resource with its last scope.
    pub fn release(&mut self, scope: ScopeHandle) {
        let Some(known) = self.scopes.get_mut(scope.0) else { return };
        assert!(known.entry.holders > 0, "a scope is released as often as it is held");
        known.entry.holders -= 1;
        if known.entry.holders > 0 {
            return;
        }
        let Some(ScopeEntry { entry, resource, .. }) = self.scopes.take(scope.0) else { return };
        self.bytes -= entry.bytes.len() + ENTRY_BYTES;
        forget(&mut self.scope_index, entry.hash, scope.0);
        let Some(holder) = self.resources.get_mut(resource) else { return };
        holder.holders -= 1;
        if holder.holders == 0
            && let Some(entry) = self.resources.take(resource)
        {
            self.bytes -= entry.bytes.len() + ENTRY_BYTES;
            forget(&mut self.resource_index, entry.hash, resource);
        }
    }

    /// Whether the chunk of `epoch` holds `scope` already.
    #[inline]
    #[must_use]
    pub fn held_in(&self, scope: ScopeHandle, epoch: u32) -> bool {
        self.scopes.get(scope.0).is_some_and(|known| known.epoch == epoch)
    }

    /// Notes that the chunk of `epoch` holds `scope`.
    pub fn mark(&mut self, scope: ScopeHandle, epoch: u32) {
        if let Some(known) = self.scopes.get_mut(scope.0) {
            known.epoch = epoch;
        }
    }

    /// The resource's number and envelope, and the scope's envelope.
    #[must_use]
    pub fn parts(&self, scope: ScopeHandle) -> (u32, &[u8], &[u8]) {
        let Some(known) = self.scopes.get(scope.0) else { return (u32::MAX, &[], &[]) };
        let resource = self.resources.get(known.resource).map_or(&[][..], |entry| &entry.bytes);
        (known.resource, resource, &known.entry.bytes)
    }
}

fn forget(index: &mut HashTable<u32>, hash: u64, number: u32) {
    if let Ok(occupied) = index.find_entry(hash, |candidate| *candidate == number) {
        occupied.remove();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_contents_share_and_the_last_release_forgets() {
        let mut table = EnvelopeTable::new([5, 6, 7, 8]);
        let first = table.intern(b"resource", b"scope");
        let again = table.intern(b"resource", b"scope");
        let other = table.intern(b"resource", b"other scope");
        assert_eq!(first, again);
        assert_ne!(first, other);
        assert_eq!(table.parts(first).0, table.parts(other).0, "one resource for both scopes");
        assert_eq!(table.parts(other), (table.parts(first).0, &b"resource"[..], &b"other scope"[..]));
        for handle in [first, again, other] {
            assert!(table.bytes() > 0);
            table.release(handle);
        }
        assert_eq!(table.bytes(), 0);
        assert!(table.resource_index.is_empty() && table.scope_index.is_empty());
    }
}
