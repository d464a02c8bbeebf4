//! What the kernel says about this process: CPU time and resident memory.

/// Ticks per second of the times in `/proc`: fixed at 100 for user space on every Linux architecture we build for.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU seconds, user and system, that this process has used in all its threads; 0 where `/proc` is missing.
#[must_use]
pub fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name in parentheses may hold anything; utime and stime are fields 14 and 15, the 12th and 13th after it.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks: f64 = fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    ticks / TICKS_PER_SECOND
}

/// Resident memory in bytes; 0 where `/proc` is missing.
#[must_use]
pub fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_kernel_is_understood() {
        assert!(super::resident_bytes() > 100_000);
        let start = std::time::Instant::now();
        let before = super::cpu_seconds();
        while super::cpu_seconds() == before {
            assert!(start.elapsed().as_secs() < 20, "the process has run for long but its CPU time does not grow");
        }
    }
}
