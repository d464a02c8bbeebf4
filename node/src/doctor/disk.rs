//! The data directory: can it be written, on which file system, how fast does it sync, how much room is there.

use super::Finding;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};
use tailwater_runtime::file_system::{FileSystem, inspect};

/// Syncs timed; the 99th percentile of so many is the slowest but one.
const SYNCS: usize = 100;
/// A sync slower than this makes `--ack synced` felt by senders.
const SYNC_SLOW: Duration = Duration::from_millis(20);
/// Free space below which an outage of the next hop soon fills the disk.
const FREE_BYTES_MIN: u64 = 1 << 30;
/// Block size that every disk accepts for direct writes.
const BLOCK_BYTES: usize = 4096;

/// Checks `directory`, which is created when it is missing.
pub fn check(directory: &Path) -> Vec<Finding> {
    let shown = directory.display();
    if let Err(error) = std::fs::create_dir_all(directory) {
        let remedy = "choose another with --data-dir, or give this user write access";
        return vec![Finding::bad("data dir", format!("{shown} cannot be created: {error}"), remedy)];
    }
    let scratch = directory.join(format!(".doctor-{}", std::process::id()));
    let mut findings = vec![file_system(directory), free_space(directory)];
    match time_syncs(&scratch) {
        Ok(slowest) => findings.push(sync_speed(slowest)),
        Err(error) => {
            findings.push(Finding::bad(
                "data dir",
                format!("{shown} cannot be written: {error}"),
                "give this user write access",
            ));
        }
    }
    findings.push(direct(&scratch));
    // A scratch file that was never made needs no removal.
    _ = std::fs::remove_file(&scratch);
    findings
}

fn file_system(directory: &Path) -> Finding {
    let shown = directory.display();
    let Ok(facts) = inspect(directory) else {
        return Finding::warning("file system", format!("{shown}: unknown"), "use ext4 or xfs on a local disk");
    };
    match Unfit::of(&facts) {
        Some(unfit @ (Unfit::Network | Unfit::ReadOnly)) => {
            Finding::bad("file system", format!("{shown} is {} ({})", unfit.what(), facts.kind), unfit.remedy())
        }
        Some(unfit) => {
            Finding::warning("file system", format!("{shown} is {} ({})", unfit.what(), facts.kind), unfit.remedy())
        }
        None => Finding::good("file system", format!("{shown}, {}", facts.kind)),
    }
}

/// Why a file system is not one to keep a log on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// Its server may acknowledge what it has not written, and locks are advisory at best.
    Network,
    /// Nothing can be written.
    ReadOnly,
    /// It does not survive a restart of the machine.
    Volatile,
    /// It goes with the container.
    Overlay,
}

impl Unfit {
    /// The worst that is wrong with a file system, if anything is.
    pub fn of(facts: &FileSystem) -> Option<Self> {
        let faults = [
            (facts.is_read_only, Self::ReadOnly),
            (facts.is_network, Self::Network),
            (facts.is_volatile, Self::Volatile),
            (facts.is_overlay, Self::Overlay),
        ];
        faults.into_iter().find(|(is_so, _)| *is_so).map(|(_, unfit)| unfit)
    }

    /// Said of a directory: it "is ...".
    pub const fn what(self) -> &'static str {
        match self {
            Self::Network => "on a network file system",
            Self::ReadOnly => "on a read-only file system",
            Self::Volatile => "in memory",
            Self::Overlay => "on a container's overlay",
        }
    }

    /// What to do.
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::Network => "use a local disk: over a network a sync may return before the data is safe",
            Self::ReadOnly => "mount it writable, or choose another with --data-dir",
            Self::Volatile => "use a disk: nothing here survives a restart of the machine",
            Self::Overlay => "mount a volume there: a container's own layer is slow and goes with it",
        }
    }
}

fn free_space(directory: &Path) -> Finding {
    let Ok(facts) = inspect(directory) else { return Finding::warning("free space", "unknown", "") };
    let free = facts.free_bytes;
    let detail = format!("{} MiB", free >> 20);
    if free >= FREE_BYTES_MIN {
        Finding::good("free space", detail)
    } else {
        Finding::warning("free space", detail, "free some, or use another disk with --data-dir")
    }
}

/// The slowest but one of many small writes with fdatasync.
fn time_syncs(path: &Path) -> io::Result<Duration> {
    let mut file = File::create(path)?;
    let mut times = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        let start = Instant::now();
        file.write_all(&[0; BLOCK_BYTES])?;
        file.sync_data()?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    Ok(times[SYNCS - 2])
}

fn sync_speed(slowest: Duration) -> Finding {
    let detail = format!("fdatasync p99 {:.2} ms", slowest.as_secs_f64() * 1000.0);
    if slowest <= SYNC_SLOW {
        Finding::good("disk sync", detail)
    } else {
        Finding::warning("disk sync", detail, "use a faster disk, or --ack written where a power cut may cost data")
    }
}

/// Whether the file system takes direct writes, which the log is written with.
fn direct(path: &Path) -> Finding {
    let flags = i32::try_from(rustix::fs::OFlags::DIRECT.bits()).unwrap_or(0);
    match OpenOptions::new().write(true).create(true).truncate(false).custom_flags(flags).open(path) {
        Ok(_) => Finding::good("direct I/O", "taken"),
        Err(error) => Finding::warning("direct I/O", error.to_string(), "use ext4 or xfs on a local disk"),
    }
}
