//! What kind of file system a path is on, and how full it is: whether a log on it is worth its name.
//!
//! The kind is the kernel's word in `/proc/self/mountinfo`, which tells ext4 from ext3 and one FUSE file system from
//! another. Where that file cannot be read, the magic number of `statfs` has to do.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FsWord, StatVfsMountFlags, statfs, statvfs};

/// Mounts looked at. A host with containers has hundreds; beyond this the rest is not looked at.
const MOUNTS_MAX: usize = 65_536;

/// A file system as it was when it was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSystem {
    /// The kernel's name for it, such as `ext4`, `xfs`, `tmpfs`, `overlay`, `nfs4` or `fuse.sshfs`; if it is not known,
    /// the magic number as `0x` and hex digits.
    pub kind: String,
    /// Whether it is on another machine, where a sync may promise less and take longer.
    pub is_network: bool,
    /// Whether it is in memory and gone with the next boot, or with the container's end.
    pub is_volatile: bool,
    /// Whether it is the writable layer of a container image, which goes with the container.
    pub is_overlay: bool,
    /// Whether it is mounted read-only.
    pub is_read_only: bool,
    /// Bytes that this user may still take.
    pub free_bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
}

/// The file systems that are worth knowing by number, or that have a property: kind, magic number, network, volatile.
const KNOWN: &[(&str, u64, bool, bool)] = &[
    ("ext4", 0xEF53, false, false),
    ("xfs", 0x5846_5342, false, false),
    ("btrfs", 0x9123_683E, false, false),
    ("zfs", 0x2FC1_2FC1, false, false),
    ("f2fs", 0xF2F5_2010, false, false),
    ("bcachefs", 0xCA45_1A4E, false, false),
    ("overlay", 0x794C_7630, false, false),
    ("tmpfs", 0x0102_1994, false, true),
    ("ramfs", 0x8584_58F6, false, true),
    ("nfs", 0x6969, true, false),
    ("nfs4", 0x6969, true, false),
    ("cifs", 0xFF53_4D42, true, false),
    ("smb3", 0xFE53_4D42, true, false),
    ("ceph", 0x00C3_6400, true, false),
    ("lustre", 0x0BD0_0BD0, true, false),
    ("afs", 0x5346_414F, true, false),
    ("9p", 0x0102_1997, true, false),
    ("fuse", 0x6573_5546, false, false),
];

/// FUSE file systems by the name after `fuse.` that are known to be on other machines.
const NETWORK_FUSE: &[&str] =
    &["sshfs", "glusterfs", "s3fs", "gcsfuse", "rclone", "ceph", "ceph-fuse", "juicefs", "mfs"];

/// Looks at the file system that a path is on; if the path does not exist yet, at that of its nearest ancestor. Blocks
/// for as long as the file system takes to answer.
///
/// # Errors
/// The system's answer, such as a directory on the way that may not be searched.
pub fn inspect(path: &Path) -> io::Result<FileSystem> {
    let path = existing(path)?;
    let (numbers, space) = (statfs(&path)?, statvfs(&path)?);
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let kind = mounted_kind(&mounts, &path).map_or_else(|| kind_by_magic(numbers.f_type), ToOwned::to_owned);
    let known = KNOWN.iter().find(|(name, ..)| *name == kind);
    let fuse_is_network = kind.strip_prefix("fuse.").is_some_and(|name| NETWORK_FUSE.contains(&name));
    Ok(FileSystem {
        is_network: fuse_is_network || known.is_some_and(|(_, _, is_network, _)| *is_network),
        is_volatile: known.is_some_and(|(_, _, _, is_volatile)| *is_volatile),
        is_overlay: kind == "overlay",
        is_read_only: space.f_flag.contains(StatVfsMountFlags::RDONLY),
        free_bytes: space.f_bavail.saturating_mul(space.f_frsize),
        total_bytes: space.f_blocks.saturating_mul(space.f_frsize),
        kind,
    })
}

/// The path without links, or the nearest ancestor of it that is there.
fn existing(path: &Path) -> io::Result<PathBuf> {
    let absolute = std::path::absolute(path)?;
    for ancestor in absolute.ancestors() {
        match fs::canonicalize(ancestor) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            outcome => return outcome,
        }
    }
    Err(io::Error::from(io::ErrorKind::NotFound))
}

/// The type of the innermost mount above a path. Of two mounts at one point the later hides the earlier.
///
/// ```text
/// 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
///                  mount point               type, after the lone dash
/// ```
fn mounted_kind<'a>(mounts: &'a str, path: &Path) -> Option<&'a str> {
    let mut innermost: Option<(usize, &str)> = None;
    for line in mounts.lines().take(MOUNTS_MAX) {
        let Some((mount, source)) = line.split_once(" - ") else { continue };
        let (Some(point), Some(kind)) = (mount.split(' ').nth(4), source.split(' ').next()) else { continue };
        let point = PathBuf::from(unescape(point));
        let depth = point.components().count();
        if path.starts_with(&point) && innermost.is_none_or(|(other, _)| depth >= other) {
            innermost = Some((depth, kind));
        }
    }
    innermost.map(|(_, kind)| kind)
}

/// Undoes the kernel's `\040` for a space and the like.
fn unescape(point: &str) -> String {
    point.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

fn kind_by_magic(magic: FsWord) -> String {
    // The word is signed and magic numbers have 32 bits, so that the upper half is a copy of the sign.
    let magic = u64::from_ne_bytes(magic.to_ne_bytes()) & 0xFFFF_FFFF;
    KNOWN
        .iter()
        .find(|(_, known, ..)| *known == magic)
        .map_or_else(|| format!("{magic:#x}"), |(name, ..)| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
        22 1 8:1 / / rw,relatime shared:1 - overlay overlay rw\n\
        23 22 0:5 / /data rw shared:2 - tmpfs tmpfs rw\n\
        24 22 8:2 / /data rw shared:2 master:7 - ext4 /dev/sda2 rw\n\
        25 24 0:40 / /data/with\\040space rw - fuse.sshfs host:/x rw\n\
        nonsense\n";

    #[test]
    fn the_innermost_and_latest_mount_counts() {
        for (path, kind) in [
            ("/", "overlay"),
            ("/database", "overlay"),
            ("/data", "ext4"),
            ("/data/log/x", "ext4"),
            ("/data/with space/log", "fuse.sshfs"),
        ] {
            assert_eq!(mounted_kind(MOUNTS, Path::new(path)), Some(kind), "{path}");
        }
        assert_eq!(mounted_kind("", Path::new("/")), None);
    }

    #[test]
    fn magic_numbers_have_names() {
        assert_eq!(kind_by_magic(0xEF53), "ext4");
        assert_eq!(kind_by_magic(0x1234_5678), "0x12345678");
        assert_eq!(kind_by_magic(-11_317_950), "cifs");
    }

    #[test]
    fn a_missing_path_is_inspected_by_its_ancestor() {
        let directory = tempfile::tempdir().unwrap();
        let here = inspect(directory.path()).unwrap();
        let below = inspect(&directory.path().join("not/yet")).unwrap();
        assert_eq!((&here.kind, here.total_bytes), (&below.kind, below.total_bytes));
        assert!(!here.kind.is_empty() && !here.is_read_only && here.total_bytes >= here.free_bytes);
        assert!(here.total_bytes > 0, "{here:?}");
    }

    #[test]
    fn proc_is_neither_volatile_nor_on_a_network() {
        let proc = inspect(Path::new("/proc/self")).unwrap();
        assert_eq!((proc.kind.as_str(), proc.is_network, proc.is_overlay), ("proc", false, false));
    }
}
