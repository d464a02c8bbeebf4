//! The numbers by which the parts of a node name each other, told apart by the compiler.
//!
//! ```text
//! CoreNumber      a core among those of its pipeline: its shard, its log, its part of the limits
//! ChannelNumber   a control channel among those of all cores of all pipelines
//! PortNumber      a port of a pipeline's mesh (`tailwater_runtime::mesh`); `core::peers` says which are cores
//! ```

use tailwater_engine::vocabulary::{ShardIndex, Unit};

/// A core among those of its pipeline, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CoreNumber(u16);

impl CoreNumber {
    /// The one that does what is done once a pipeline.
    pub const FIRST: Self = Self(0);

    /// All of a pipeline with so many.
    pub fn all(cores: u16) -> impl ExactSizeIterator<Item = Self> + Clone {
        (0..cores).map(Self)
    }

    /// The core in whose log a unit lies.
    pub fn owner(unit: Unit) -> Self {
        Self(unit.segment.core())
    }

    /// Its shard.
    pub fn shard(self) -> ShardIndex {
        ShardIndex(self.0)
    }

    /// Its place in a list of all.
    pub fn position(self) -> usize {
        usize::from(self.0)
    }
}

impl From<ShardIndex> for CoreNumber {
    fn from(shard: ShardIndex) -> Self {
        Self(shard.0)
    }
}

/// A control channel among those of all cores of all pipelines: those of the first pipeline's cores, then those of the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelNumber(usize);

impl ChannelNumber {
    /// That of a core of a pipeline, of which each has so many.
    pub fn of(pipeline: usize, core: CoreNumber, cores: usize) -> Self {
        Self(pipeline * cores + core.position())
    }

    /// Its place in a list of all.
    pub fn position(self) -> usize {
        self.0
    }
}
