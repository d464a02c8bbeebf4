//! Full and read-only file systems, each mounted for its test. Where mounting is not permitted the tests say so and pass.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tailwater_runtime::executor::yield_now;
use tailwater_runtime::file_system::inspect;
use tailwater_runtime::files::{Directory, Entry, FileError};

use super::{BLOCK, BLOCK_BYTES, backends, blocks, finish, run};

/// A file system of its own, gone when dropped.
struct Mount {
    directory: tempfile::TempDir,
}

impl Mount {
    fn point(&self) -> PathBuf {
        self.directory.path().join("mounted")
    }

    /// A tmpfs of so many bytes.
    fn tmpfs(bytes: u64) -> Option<Self> {
        Self::new(|_| Some(vec!["-t".into(), "tmpfs".into(), "-o".into(), format!("size={bytes}"), "tmpfs".into()]))
    }

    /// A disk file system of so many bytes, made by `mkfs` in a file.
    fn disk(kind: &str, bytes: u64) -> Option<Self> {
        Self::new(|directory| {
            let image = directory.join("image");
            fs::File::create(&image).ok()?.set_len(bytes).ok()?;
            succeeds(Command::new(format!("mkfs.{kind}")).arg("-q").arg(&image))?;
            Some(vec!["-o".into(), "loop".into(), image.display().to_string()])
        })
    }

    fn new(arguments: impl FnOnce(&Path) -> Option<Vec<String>>) -> Option<Self> {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        fs::create_dir(directory.path().join("mounted")).unwrap();
        let arguments = arguments(directory.path())?;
        succeeds(Command::new("mount").args(arguments).arg(directory.path().join("mounted")))?;
        Some(Self { directory })
    }

    fn set_read_only(&self) {
        succeeds(Command::new("mount").args(["-o", "remount,ro"]).arg(self.point())).unwrap();
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily, because files are closed in the background.
        let _unmounted = succeeds(Command::new("umount").arg("-l").arg(self.point()));
    }
}

fn succeeds(command: &mut Command) -> Option<()> {
    match command.output() {
        Ok(output) if output.status.success() => Some(()),
        Ok(output) => {
            eprintln!("skipped: {command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
            None
        }
        Err(error) => {
            eprintln!("skipped: {command:?}: {error}");
            None
        }
    }
}

/// Makes files until there is no space for another, and shows that the failure leaves nothing behind.
async fn fill(path: PathBuf, file_bytes: u64) {
    let directory = Directory::open(&path).await.unwrap();
    let mut files = 0;
    let refused = loop {
        match directory.create(&format!("{files}"), file_bytes).await {
            Ok(_) => files += 1,
            Err(error) => break error,
        }
        assert!(files < 1000, "the file system is never full");
    };
    assert!(files > 0, "{refused}");
    assert!(matches!(&refused, FileError::NoSpace { .. }), "{refused}");
    assert!(refused.to_string().contains("free space"), "{refused}");
    let entries = directory.list().await.unwrap();
    assert_eq!(entries.len(), files);
    assert!(entries.iter().all(|entry| entry.bytes == file_bytes), "{entries:?}");
    let free_bytes = inspect(&path).unwrap().free_bytes;
    assert!(free_bytes < file_bytes + 64 * BLOCK, "{free_bytes} bytes are free");
    // The blocks of the failed attempt are free again.
    let rest = directory.create("rest", BLOCK).await;
    assert!(rest.is_ok() || free_bytes < 2 * BLOCK, "{rest:?}");
    // What was allocated can be written although there is no space.
    let file = directory.open_file("0").await.unwrap();
    file.write_at(0, &blocks(1, 10)).await.unwrap();
    file.sync().await.unwrap();
    directory.recycle("0", "again", file_bytes).await.unwrap();
    directory.remove("again").await.unwrap();
    drop(file);
    // The blocks are free once the file has been closed in the background; btrfs frees them when somebody asks.
    let begun = Instant::now();
    while let Err(error) = directory.create("next", file_bytes / 2 / BLOCK * BLOCK).await {
        assert!(matches!(error, FileError::NoSpace { .. }), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(20), "a removed file's blocks are not freed");
        yield_now().await;
    }
}

#[test]
fn a_full_tmpfs_refuses_a_new_file_and_keeps_no_part_of_it() {
    for backend in backends() {
        let Some(mount) = Mount::tmpfs(4 << 20) else { return };
        let path = mount.point();
        finish(run(backend, move || fill(path, 1_500 << 10)));
        let kind = inspect(&mount.point()).unwrap();
        assert!(kind.is_volatile && !kind.is_network && kind.kind == "tmpfs", "{kind:?}");
        assert_eq!(kind.total_bytes, 4 << 20);
    }
}

#[test]
fn full_disks_refuse_a_new_file_and_keep_no_part_of_it() {
    for (kind, bytes) in [("ext4", 16 << 20), ("xfs", 320 << 20), ("btrfs", 128 << 20)] {
        for backend in backends() {
            let Some(mount) = Mount::disk(kind, bytes) else { continue };
            let path = mount.point();
            finish(run(backend, move || fill(path, bytes / 5 / BLOCK * BLOCK)));
            let found = inspect(&mount.point()).unwrap();
            assert!(!found.is_volatile && !found.is_network && found.kind == kind, "{found:?}");
        }
    }
}

#[test]
fn disks_are_written_past_the_page_cache_on_io_uring_only() {
    for backend in backends() {
        let Some(mount) = Mount::disk("ext4", 16 << 20) else { return };
        let path = mount.point();
        finish(run(backend, move || async move {
            let directory = Directory::open(&path).await.unwrap();
            let file = directory.create("a", 100 * BLOCK).await.unwrap();
            assert_eq!(file.is_direct(), backend == tailwater_runtime::Backend::Uring);
            file.write_at(BLOCK, &blocks(8, 50)).await.unwrap();
            file.sync().await.unwrap();
            assert_eq!(file.read_at(BLOCK, 50 * BLOCK_BYTES).await.unwrap(), blocks(8, 50));
            assert!(fs::metadata(file.path()).unwrap().blocks() * 512 >= 100 * BLOCK);
        }));
    }
}

/// ramfs has neither direct I/O nor a way to allocate blocks; an overlay has what the file system below it has.
#[test]
fn a_file_system_that_lacks_direct_writing_or_allocation_is_written_all_the_same() {
    let ramfs = || Mount::new(|_| Some(vec!["-t".into(), "ramfs".into(), "ramfs".into()]));
    let overlay = || {
        Mount::new(|directory| {
            let parts = ["lower", "upper", "work"].map(|part| directory.join(part));
            parts.iter().for_each(|part| fs::create_dir(part).unwrap());
            let [lower, upper, work] = parts.map(|part| part.display().to_string());
            let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
            Some(vec!["-t".into(), "overlay".into(), "-o".into(), options, "overlay".into()])
        })
    };
    for backend in backends() {
        for mount in [ramfs(), overlay()].into_iter().flatten() {
            let path = mount.point();
            let found = inspect(&path).unwrap();
            assert_eq!((found.is_volatile, found.is_overlay), (found.kind == "ramfs", found.kind == "overlay"));
            finish(run(backend, move || async move {
                let directory = Directory::open(&path).await.unwrap();
                let file = directory.create("a", 600 * BLOCK).await.unwrap();
                assert!(!found.is_volatile || !file.is_direct());
                assert_eq!(file.read_at(0, usize::MAX).await.unwrap().len(), 600 * BLOCK_BYTES);
                assert!(fs::metadata(file.path()).unwrap().blocks() * 512 >= 600 * BLOCK || found.is_volatile);
                for block in 0..10 {
                    file.write_at(block * BLOCK, &blocks(1, 1)).await.unwrap();
                    file.sync().await.unwrap();
                }
                assert_eq!(file.read_at(0, 10 * BLOCK_BYTES).await.unwrap(), blocks(1, 1).repeat(10));
                drop(file);
                let file = directory.recycle("a", "b", 600 * BLOCK).await.unwrap();
                assert_eq!(file.read_at(9 * BLOCK, BLOCK_BYTES).await.unwrap(), blocks(1, 1));
                directory.rename("b", "c").await.unwrap();
                directory.create("a", BLOCK).await.unwrap();
                assert!(matches!(directory.rename("c", "a").await, Err(FileError::Exists { .. })));
            }));
        }
    }
}

#[test]
fn a_read_only_file_system_is_read_and_not_written() {
    for backend in backends() {
        let Some(mount) = Mount::disk("ext4", 16 << 20) else { return };
        fs::write(mount.point().join("a"), blocks(4, 2)).unwrap();
        mount.set_read_only();
        let path = mount.point();
        assert!(inspect(&path).unwrap().is_read_only);
        finish(run(backend, move || async move {
            let directory = Directory::open(&path).await.unwrap();
            let file = directory.open_file("a").await.unwrap();
            assert_eq!(file.read_at(BLOCK, BLOCK_BYTES).await.unwrap(), blocks(5, 1));
            for outcome in [
                directory.create("b", BLOCK).await.map(|_| ()),
                file.write_at(0, &blocks(1, 1)).await,
                directory.recycle("a", "b", BLOCK).await.map(|_| ()),
                directory.rename("a", "b").await,
                directory.remove("a").await,
                Directory::open(&path.join("log")).await.map(|_| ()),
            ] {
                let error = outcome.unwrap_err();
                assert!(matches!(error, FileError::ReadOnly { .. }), "{error}");
                assert!(error.to_string().contains("read-only"), "{error}");
            }
            assert_eq!(directory.list().await.unwrap()[0], Entry { name: "a".to_owned(), bytes: 2 * BLOCK });
        }));
    }
}
