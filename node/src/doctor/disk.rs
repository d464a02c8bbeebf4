//! The data directory: can it be written, on which file system, how fast does it sync, how much room is there.

use super::Finding;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// Syncs timed; the 99th percentile of so many is the slowest but one.
const SYNCS: usize = 100;
/// A sync slower than this makes `--ack synced` felt by senders.
const SYNC_SLOW: Duration = Duration::from_millis(20);
/// Free space below which an outage of the next hop soon fills the disk.
const FREE_BYTES_MIN: u64 = 1 << 30;
/// Block size that every disk accepts for direct writes.
const BLOCK_BYTES: usize = 4096;

/// Magic numbers of file systems (statfs(2)).
const NFS: i64 = 0x6969;
const TMPFS: i64 = 0x0102_1994;
const OVERLAY: i64 = 0x794c_7630;

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
    let Ok(facts) = rustix::fs::statfs(directory) else {
        return Finding::warning("file system", format!("{shown}: unknown"), "use ext4 or xfs on a local disk");
    };
    match facts.f_type {
        NFS => {
            Finding::bad("file system", format!("{shown} is on NFS"), "use a local disk: NFS does not sync reliably")
        }
        TMPFS => Finding::warning(
            "file system",
            format!("{shown} is in memory"),
            "use a disk: nothing here survives a restart",
        ),
        OVERLAY => Finding::warning(
            "file system",
            format!("{shown} is on an overlay"),
            "mount a volume there: a container's own layer is slow and goes with it",
        ),
        other => Finding::good("file system", format!("{shown}, type {other:#x}")),
    }
}

fn free_space(directory: &Path) -> Finding {
    let Ok(facts) = rustix::fs::statvfs(directory) else {
        return Finding::warning("free space", "unknown", "");
    };
    let free = facts.f_bavail.saturating_mul(facts.f_frsize);
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
