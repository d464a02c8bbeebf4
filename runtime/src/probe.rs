//! Whether `io_uring` can be used here, found out before glommio is started: it panics with a misleading text where
//! `io_uring` is blocked.

use std::fs;

use rustix::io::Errno;
use rustix::io_uring::{IoringFeatureFlags, io_uring_params, io_uring_setup};

use crate::Backend;
use crate::limits::{self, MEMLOCK_BYTES_MIN};

/// The oldest kernel that glommio runs on.
const KERNEL_MIN: (u32, u32) = (5, 8);

/// Entries of the probe's ring: the least that tells.
const PROBE_ENTRIES: u32 = 4;

/// Which backend the user asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RuntimeChoice {
    /// `io_uring` if it works here, else epoll.
    #[default]
    Auto,
    /// `io_uring` or nothing.
    Uring,
    /// epoll, without asking.
    Epoll,
}

/// Why `io_uring` cannot be used. Nothing was changed. Each text ends with the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UringUnavailable {
    /// A seccomp filter forbids the system call.
    #[error(
        "a seccomp filter forbids io_uring (Docker 25, containerd 2 and later do by default); \
         allow io_uring_setup, io_uring_enter and io_uring_register in the profile, or use --runtime epoll"
    )]
    Seccomp,
    /// The sysctl forbids it.
    #[error(
        "the sysctl kernel.io_uring_disabled is {value}; \
         set it to 0 (with 1, a process with CAP_SYS_ADMIN or in kernel.io_uring_group may use it), or use --runtime epoll"
    )]
    Sysctl {
        /// The sysctl's value, 1 or 2.
        value: u32,
    },
    /// A security module or something unknown forbids it.
    #[error(
        "io_uring is not permitted (EPERM), and neither the sysctl nor a seccomp filter explains it; \
         look for a rule of SELinux or AppArmor, or use --runtime epoll"
    )]
    NotPermitted,
    /// The kernel has no such system call.
    #[error("the kernel {release} has no io_uring; use 5.8 or later with CONFIG_IO_URING, or use --runtime epoll")]
    Missing {
        /// `uname -r`.
        release: String,
    },
    /// The kernel's `io_uring` is too old.
    #[error("the kernel {release} is too old for io_uring as used here; use 5.8 or later, or use --runtime epoll")]
    KernelTooOld {
        /// `uname -r`.
        release: String,
    },
    /// Too little memory may be locked.
    #[error(
        "only {soft} bytes of memory may be locked, {} are needed; \
         raise it (LimitMEMLOCK= in the unit, --ulimit memlock= in Docker, ulimit -l), or use --runtime epoll",
        MEMLOCK_BYTES_MIN
    )]
    MemlockTooSmall {
        /// The soft limit, which is as high as the hard limit allows.
        soft: u64,
    },
    /// Anything else that the kernel said.
    #[error("the kernel refuses an io_uring: {0}; use --runtime epoll")]
    Refused(String),
}

/// What the host says about itself, gathered apart from the judgement so that the judgement can be tested.
#[derive(Debug, Clone)]
struct Host {
    release: String,
    io_uring_disabled: Option<u32>,
    seccomp_filter: bool,
    memlock_bytes: Option<u64>,
}

/// Makes and closes a small `io_uring` and says whether the backend [`Backend::Uring`] will work. Raises the soft limit on
/// locked memory first, since the backend needs that too.
///
/// # Errors
/// [`UringUnavailable`] with the cause and the remedy.
pub fn uring() -> Result<(), UringUnavailable> {
    let host = Host {
        release: rustix::system::uname().release().to_string_lossy().into_owned(),
        io_uring_disabled: read_number("/proc/sys/kernel/io_uring_disabled"),
        seccomp_filter: seccomp_filter(&fs::read_to_string("/proc/self/status").unwrap_or_default()),
        memlock_bytes: limits::raise().memlock_bytes.soft,
    };
    judge(&host, try_ring())
}

/// Settles the backend. The text says why, for the log and for `doctor`.
///
/// # Errors
/// [`UringUnavailable`] only if `io_uring` was asked for by name.
pub fn choose(choice: RuntimeChoice) -> Result<(Backend, String), UringUnavailable> {
    settle(choice, uring)
}

fn settle(
    choice: RuntimeChoice,
    probe: impl FnOnce() -> Result<(), UringUnavailable>,
) -> Result<(Backend, String), UringUnavailable> {
    match choice {
        RuntimeChoice::Epoll => Ok((Backend::Epoll, "asked for".to_owned())),
        RuntimeChoice::Uring => probe().map(|()| (Backend::Uring, "asked for, and it works here".to_owned())),
        RuntimeChoice::Auto => Ok(match probe() {
            Ok(()) => (Backend::Uring, "io_uring works here".to_owned()),
            Err(cause) => (Backend::Epoll, cause.to_string()),
        }),
    }
}

/// The kernel's features, or its refusal.
#[allow(unsafe_code)]
fn try_ring() -> Result<IoringFeatureFlags, Errno> {
    let mut parameters = io_uring_params::default();
    // SAFETY: the parameters are zeroed, so no flag is set; the only demand of the call is about `wq_fd` under
    // ATTACH_WQ. The ring is owned by the returned descriptor and closed on drop; nothing is mapped.
    let _ring = unsafe { io_uring_setup(PROBE_ENTRIES, &mut parameters) }?;
    Ok(parameters.features)
}

fn judge(host: &Host, ring: Result<IoringFeatureFlags, Errno>) -> Result<(), UringUnavailable> {
    match ring {
        // FAST_POLL came with 5.7, and nothing in the flags marks 5.8, so the release decides between the two.
        Ok(features) => {
            let release_is_old = kernel_version(&host.release).is_some_and(|version| version < KERNEL_MIN);
            if release_is_old || !features.contains(IoringFeatureFlags::FAST_POLL) {
                return Err(UringUnavailable::KernelTooOld { release: host.release.clone() });
            }
            match host.memlock_bytes {
                Some(soft) if soft < MEMLOCK_BYTES_MIN => Err(UringUnavailable::MemlockTooSmall { soft }),
                _ => Ok(()),
            }
        }
        Err(Errno::PERM | Errno::ACCESS) => Err(match host.io_uring_disabled {
            Some(value @ (1 | 2)) => UringUnavailable::Sysctl { value },
            _ if host.seccomp_filter => UringUnavailable::Seccomp,
            _ => UringUnavailable::NotPermitted,
        }),
        // Some profiles answer "no such call" instead of "not permitted", on kernels that have it.
        Err(Errno::NOSYS) if host.seccomp_filter && kernel_version(&host.release) >= Some(KERNEL_MIN) => {
            Err(UringUnavailable::Seccomp)
        }
        Err(Errno::NOSYS) => Err(UringUnavailable::Missing { release: host.release.clone() }),
        Err(Errno::NOMEM) => Err(UringUnavailable::MemlockTooSmall { soft: host.memlock_bytes.unwrap_or(u64::MAX) }),
        Err(errno) => Err(UringUnavailable::Refused(errno.to_string())),
    }
}

/// Major and minor of `uname -r`, such as `6.1.0-18-amd64`.
fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|character: char| !character.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Whether `/proc/self/status` says that a filter is in force (mode 2).
fn seccomp_filter(status: &str) -> bool {
    status.lines().any(|line| line.strip_prefix("Seccomp:").is_some_and(|mode| mode.trim() == "2"))
}

fn read_number(path: &str) -> Option<u32> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> Host {
        Host {
            release: "6.1.0-18-amd64".to_owned(),
            io_uring_disabled: Some(0),
            seccomp_filter: false,
            memlock_bytes: Some(8 << 20),
        }
    }

    #[test]
    fn each_refusal_is_told_apart() {
        let good = Ok(IoringFeatureFlags::FAST_POLL);
        let sysctl = Host { io_uring_disabled: Some(2), seccomp_filter: true, ..host() };
        let seccomp = Host { seccomp_filter: true, ..host() };
        let old = Host { release: "5.4.0".to_owned(), ..host() };
        let old_filtered = Host { seccomp_filter: true, ..old.clone() };
        let small = Host { memlock_bytes: Some(65_536), ..host() };
        let cases = [
            (host(), good, Ok(())),
            (Host { memlock_bytes: None, ..host() }, good, Ok(())),
            (sysctl, Err(Errno::PERM), Err(UringUnavailable::Sysctl { value: 2 })),
            (seccomp.clone(), Err(Errno::PERM), Err(UringUnavailable::Seccomp)),
            (seccomp, Err(Errno::NOSYS), Err(UringUnavailable::Seccomp)),
            (host(), Err(Errno::PERM), Err(UringUnavailable::NotPermitted)),
            (old.clone(), good, Err(UringUnavailable::KernelTooOld { release: "5.4.0".to_owned() })),
            (old_filtered, Err(Errno::NOSYS), Err(UringUnavailable::Missing { release: "5.4.0".to_owned() })),
            (small, good, Err(UringUnavailable::MemlockTooSmall { soft: 65_536 })),
            (host(), Err(Errno::MFILE), Err(UringUnavailable::Refused(Errno::MFILE.to_string()))),
        ];
        for (host, ring, expected) in cases {
            assert_eq!(judge(&host, ring), expected, "{host:?} {ring:?}");
        }
    }

    #[test]
    fn auto_falls_back_and_says_why_but_a_named_choice_fails() {
        let blocked = || Err(UringUnavailable::Seccomp);
        let (backend, reason) = settle(RuntimeChoice::Auto, blocked).unwrap();
        assert_eq!(backend, Backend::Epoll);
        assert!(reason.contains("seccomp"), "{reason}");
        assert_eq!(settle(RuntimeChoice::Uring, blocked), Err(UringUnavailable::Seccomp));
        assert_eq!(settle(RuntimeChoice::Auto, || Ok(())).unwrap().0, Backend::Uring);
        assert_eq!(settle(RuntimeChoice::Epoll, blocked).unwrap().0, Backend::Epoll);
    }

    #[test]
    fn status_and_release_are_read() {
        assert!(seccomp_filter("Name:\tx\nSeccomp:\t2\nSeccomp_filters:\t1\n"));
        assert!(!seccomp_filter("Seccomp:\t0\nSeccomp_filters:\t2\n"));
        assert_eq!(kernel_version("5.15.0-rc1"), Some((5, 15)));
        assert_eq!(kernel_version("weird"), None);
    }
}
