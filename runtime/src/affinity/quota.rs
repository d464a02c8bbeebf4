//! The CPU quota of this process's control group, versions 1 and 2.

use std::fs;
use std::path::{Path, PathBuf};

/// CPU time this process may use, in cores; `None` without a limit. The tightest limit on the way from the process's
/// group to the root counts.
#[must_use]
pub fn cpu_quota() -> Option<f64> {
    let membership = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    groups(&membership, &mounts).into_iter().filter_map(|group| tightest(&group)).reduce(f64::min)
}

/// A control group of this process that may carry a quota.
#[derive(Debug, PartialEq, Eq)]
struct Group {
    version: Version,
    /// Where the hierarchy is mounted.
    mount: PathBuf,
    /// The group below the mount, without a leading slash.
    path: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// Finds the groups from `/proc/self/cgroup` (`ID:CONTROLLERS:PATH`) and `/proc/self/mountinfo`.
fn groups(membership: &str, mounts: &str) -> Vec<Group> {
    membership
        .lines()
        .filter_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let (controllers, path) = (parts.next()?, parts.next()?);
            let version = if controllers.is_empty() {
                Version::Two
            } else if controllers.split(',').any(|controller| controller == "cpu") {
                Version::One
            } else {
                return None;
            };
            let (mount, root) = mounts.lines().find_map(|mount| mount_of(mount, version))?;
            // In a container the mount may show only the subtree `root` of the hierarchy.
            let path = path.strip_prefix(root.as_str()).filter(|_| root != "/").unwrap_or(path);
            Some(Group { version, mount, path: path.trim_start_matches('/').into() })
        })
        .collect()
}

/// Mount point and root of a mountinfo line, if it is the hierarchy asked for. The line's form:
/// `ID PARENT MAJOR:MINOR ROOT MOUNTPOINT OPTIONS... - TYPE SOURCE SUPEROPTIONS`.
fn mount_of(line: &str, version: Version) -> Option<(PathBuf, String)> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ').skip(3);
    let (root, mount_point) = (left.next()?, left.next()?);
    let mut right = right.split(' ');
    let (kind, options) = (right.next()?, right.nth(1)?);
    let matches = match version {
        Version::Two => kind == "cgroup2",
        Version::One => kind == "cgroup" && options.split(',').any(|option| option == "cpu"),
    };
    matches.then(|| (mount_point.into(), root.to_owned()))
}

fn tightest(group: &Group) -> Option<f64> {
    let mut tightest: Option<f64> = None;
    for path in group.path.ancestors() {
        if let Some(quota) = quota_in(&group.mount.join(path), group.version) {
            tightest = Some(tightest.map_or(quota, |other| other.min(quota)));
        }
    }
    tightest
}

fn quota_in(directory: &Path, version: Version) -> Option<f64> {
    let read = |name: &str| fs::read_to_string(directory.join(name)).ok();
    match version {
        Version::Two => {
            let text = read("cpu.max")?;
            let (quota, period) = text.trim().split_once(' ')?;
            cores(quota, period)
        }
        Version::One => cores(read("cpu.cfs_quota_us")?.trim(), read("cpu.cfs_period_us")?.trim()),
    }
}

/// Quota over period, both in microseconds; `max` and `-1` mean no limit.
fn cores(quota: &str, period: &str) -> Option<f64> {
    let quota = quota.parse::<f64>().ok().filter(|quota| *quota > 0.0)?;
    let period = period.parse::<f64>().ok().filter(|period| *period > 0.0)?;
    Some(quota / period)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
        35 24 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n\
        36 24 0:31 /docker/abc /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
        37 24 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";

    #[test]
    fn groups_of_both_versions_are_found() {
        let found = groups("4:memory:/m\n2:cpu,cpuacct:/docker/abc/inner\n0::/a/b\n", MOUNTS);
        let one = Group { version: Version::One, mount: "/sys/fs/cgroup/cpu,cpuacct".into(), path: "inner".into() };
        let two = Group { version: Version::Two, mount: "/sys/fs/cgroup/unified".into(), path: "a/b".into() };
        assert_eq!(found, [one, two]);
    }

    #[test]
    fn the_tightest_limit_up_to_the_root_counts() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("a/b")).unwrap();
        fs::write(directory.path().join("cpu.max"), "max 100000\n").unwrap();
        fs::write(directory.path().join("a/cpu.max"), "150000 100000\n").unwrap();
        fs::write(directory.path().join("a/b/cpu.max"), "400000 100000\n").unwrap();
        let group = Group { version: Version::Two, mount: directory.path().into(), path: "a/b".into() };
        assert_eq!(tightest(&group), Some(1.5));
        let root = Group { version: Version::Two, mount: directory.path().into(), path: "".into() };
        assert_eq!(tightest(&root), None);
    }

    #[test]
    fn version_one_says_minus_one_for_no_limit() {
        assert_eq!(cores("-1", "100000"), None);
        assert_eq!(cores("50000", "100000"), Some(0.5));
        assert_eq!(cores("max", "100000"), None);
        assert_eq!(cores("100000", "0"), None);
    }
}
