//! The kernel boundary: executors, pinning, sockets, files, the mesh between threads, clocks, locks and signals.
//!
//! This crate hides the executor library: nothing else in the workspace names it. There are two backends, chosen per
//! executor when it is started: [`Backend::Uring`] (glommio on `io_uring`) and [`Backend::Epoll`] (one tokio
//! current-thread runtime per core) for hosts that forbid `io_uring`. Code above this crate is the same for both: it
//! spawns with [`executor::spawn`], waits with [`executor::sleep`], and reads and writes through [`net::TcpStream`],
//! which speaks tokio's I/O traits on either backend.
//!
//! `unsafe` is confined to `allocator` (one call of a library), `net/listener`, `net/stream` (descriptors change owner, reads go into memory that was not
//! cleared) and `probe` (one system call), each use with its proof.
#![cfg_attr(
    test,
    allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss, missing_docs)
)]

pub mod affinity;
pub mod allocator;
pub mod clock;
pub mod executor;
pub mod file_system;
pub mod files;
pub mod limits;
pub mod lock;
pub mod mesh;
pub mod net;
pub mod probe;
pub mod signal;

/// Which machinery drives an executor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Backend {
    /// glommio: `io_uring`, kernel 5.8 or later, not forbidden by seccomp or sysctl.
    Uring,
    /// tokio's current-thread runtime: epoll, runs everywhere.
    Epoll,
}

impl Backend {
    /// The word used in flags, logs and metrics: `uring` or `epoll`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uring => "uring",
            Self::Epoll => "epoll",
        }
    }
}

impl std::fmt::Display for Backend {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name())
    }
}
