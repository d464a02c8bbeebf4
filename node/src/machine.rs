//! What this machine offers: memory, from the kernel and the control group.

use std::path::Path;

/// Memory of the machine or of its control group, whichever is less, bytes. Falls back to 1 GiB where neither can be
/// read.
pub fn memory_bytes() -> u64 {
    let machine = meminfo("MemTotal:").unwrap_or(1 << 30);
    control_group_limit().map_or(machine, |limit| limit.min(machine))
}

fn meminfo(key: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// The memory limit of the control group this process is in, version 2 or 1; the smallest on the way to the root.
fn control_group_limit() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let limits = groups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?.trim_start_matches('/'));
        match controllers {
            "" => smallest(Path::new("/sys/fs/cgroup"), path, "memory.max"),
            "memory" => smallest(Path::new("/sys/fs/cgroup/memory"), path, "memory.limit_in_bytes"),
            _ => None,
        }
    });
    limits.min()
}

/// The smallest limit in `file` from `root/path` up to `root`.
fn smallest(root: &Path, path: &str, file: &str) -> Option<u64> {
    let start = root.join(path);
    let levels = start.ancestors().take_while(|level| level.starts_with(root));
    levels.filter_map(|level| std::fs::read_to_string(level.join(file)).ok()?.trim().parse().ok()).min()
}

/// Resident memory of this process, bytes.
pub fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap_or(0) * 1024
}

/// Processor time this process has used, seconds.
pub fn processor_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name in parentheses may hold spaces; utime and stime are the 12th and 13th fields behind it.
    let rest = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u32 = rest.split_ascii_whitespace().skip(11).take(2).filter_map(|text| text.parse::<u32>().ok()).sum();
    // USER_HZ is 100 on every Linux that this runs on: the kernel fixes it for user space.
    f64::from(ticks) / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_memory_and_this_process_uses_some() {
        assert!(memory_bytes() > 1 << 20);
        assert!(resident_bytes() > 1 << 16 && resident_bytes() < memory_bytes());
    }
}
