//! Resource limits of the process: soft limits are raised to the hard ones at start.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Locked memory that glommio insists on having per process before it makes an executor, in bytes.
pub const MEMLOCK_BYTES_MIN: u64 = 512 * 1024;

/// One resource limit after raising. `None` is "unlimited".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What the process may use now.
    pub soft: Option<u64>,
    /// What it may raise that to.
    pub hard: Option<u64>,
    /// The soft limit before raising.
    pub soft_before: Option<u64>,
}

impl Limit {
    /// Whether the soft limit allows this much.
    #[must_use]
    pub fn allows(&self, amount: u64) -> bool {
        self.soft.is_none_or(|soft| soft >= amount)
    }
}

/// The limits that matter to this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Locked memory in bytes (`RLIMIT_MEMLOCK`): rings and registered buffers.
    pub memlock_bytes: Limit,
    /// Open files (`RLIMIT_NOFILE`): connections, log segments.
    pub open_files: Limit,
}

/// Raises the soft limits on locked memory and open files to the hard ones and says what they are now. A limit that
/// cannot be raised stays as it is.
#[must_use]
pub fn raise() -> Limits {
    Limits { memlock_bytes: raise_one(Resource::Memlock), open_files: raise_one(Resource::Nofile) }
}

/// The limits as they are, changing nothing.
#[must_use]
pub fn current() -> Limits {
    let read = |resource| {
        let Rlimit { current, maximum } = getrlimit(resource);
        Limit { soft: current, hard: maximum, soft_before: current }
    };
    Limits { memlock_bytes: read(Resource::Memlock), open_files: read(Resource::Nofile) }
}

fn raise_one(resource: Resource) -> Limit {
    let before = getrlimit(resource);
    if before.current != before.maximum {
        let wanted = Rlimit { current: before.maximum, maximum: before.maximum };
        if let Err(error) = setrlimit(resource, wanted) {
            tracing::debug!(?resource, %error, "the soft limit stays as it is");
        }
    }
    let after = getrlimit(resource);
    Limit { soft: after.current, hard: after.maximum, soft_before: before.current }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raising_makes_soft_equal_to_hard() {
        let limits = raise();
        assert_eq!(limits.open_files.soft, limits.open_files.hard);
        assert_eq!(limits.memlock_bytes.soft, limits.memlock_bytes.hard);
        assert_eq!(current().open_files.soft, limits.open_files.soft);
    }

    #[test]
    fn unlimited_allows_anything() {
        let limit = Limit { soft: None, hard: None, soft_before: None };
        assert!(limit.allows(u64::MAX));
        assert!(!Limit { soft: Some(1), ..limit }.allows(2));
    }
}
