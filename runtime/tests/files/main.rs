//! The files of a log, on both backends, on the machine's own file system and on tmpfs.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stderr)]

mod faults;

use std::fs;
use std::future::{Future, poll_fn};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tailwater_runtime::Backend;
use tailwater_runtime::executor::{ExecutorHandle, ExecutorOptions, spawn, start, yield_now};
use tailwater_runtime::files::{BLOCK_BYTES, Directory, Entry, FileError, Piece, ReadBuffers};

const BLOCK: u64 = BLOCK_BYTES as u64;

/// The backends that work here.
fn backends() -> Vec<Backend> {
    match tailwater_runtime::probe::uring() {
        Ok(()) => vec![Backend::Uring, Backend::Epoll],
        Err(cause) => {
            eprintln!("skipped on io_uring: {cause}");
            vec![Backend::Epoll]
        }
    }
}

fn run<F: Future<Output = ()> + 'static>(
    backend: Backend,
    make: impl FnOnce() -> F + Send + 'static,
) -> ExecutorHandle<()> {
    start(ExecutorOptions { name: "test".to_owned(), core: None, backend }, make).unwrap()
}

fn finish(handle: ExecutorHandle<()>) {
    handle.join().unwrap();
}

/// Blocks that can be told apart: each byte of block `n` is `seed + n`.
fn blocks(seed: u8, count: usize) -> Vec<u8> {
    (0..count).flat_map(|block| [seed.wrapping_add(block.to_le_bytes()[0]); BLOCK_BYTES]).collect()
}

/// How many descriptors of this process lead to a path.
fn descriptors(path: &Path) -> usize {
    let open = fs::read_dir("/proc/self/fd").unwrap();
    open.filter(|entry| fs::read_link(entry.as_ref().unwrap().path()).is_ok_and(|target| target == path)).count()
}

async fn wait_until_closed(path: &Path) {
    let begun = Instant::now();
    while descriptors(path) > 0 {
        assert!(begun.elapsed() < Duration::from_secs(10), "{} is still open", path.display());
        yield_now().await;
    }
}

/// A directory on the machine's file system and, where there is one, on tmpfs.
fn directories() -> Vec<tempfile::TempDir> {
    let own = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let memory = tempfile::tempdir_in("/dev/shm");
    if memory.is_err() {
        eprintln!("skipped: no tmpfs at /dev/shm");
    }
    [own].into_iter().chain(memory).collect()
}

/// Runs a test body on each backend in each kind of directory, on an executor.
fn everywhere<F: Future<Output = ()> + 'static>(body: impl Fn(Backend, PathBuf) -> F + Copy + Send + 'static) {
    for backend in backends() {
        for directory in directories() {
            let path = directory.path().to_owned();
            finish(run(backend, move || body(backend, path)));
        }
    }
}

/// As a reader of records asks: a piece from the record on that the last one cut, now and then a record that is longer than
/// a piece, and once from somewhere else. Without the tail in front of a piece, or with a buffer that is still somebody's
/// used again, the bytes are wrong.
#[test]
fn a_file_is_read_from_front_to_back_in_pieces_that_go_back_to_the_start_of_a_cut_record() {
    const PIECE: u64 = 16 * BLOCK;
    everywhere(|backend, path| async move {
        // No whole number of pieces, nor of blocks.
        let length = 300 * BLOCK_BYTES + 100;
        let data: Vec<u8> = (0..length).map(|at| u8::try_from(at / 7 % 251).unwrap()).collect();
        fs::write(path.join("a"), &data).unwrap();
        let file = Directory::open(&path).await.unwrap().open_file("a").await.unwrap();
        let buffers = ReadBuffers::default();
        for round in 0..3 {
            let mut reader = file.sequential(16 * BLOCK_BYTES, &buffers);
            let (mut at, mut last, mut reads) = (round * BLOCK, None, 0);
            while at < length as u64 {
                let wanted = if reads % 5 == 4 { PIECE + 3 * BLOCK } else { PIECE };
                let piece = reader.read(at..at + wanted).await.unwrap();
                let from = usize::try_from(at).unwrap();
                let given = piece.as_ref().len();
                assert!(
                    given >= usize::try_from(wanted).unwrap().min(length - from),
                    "{backend}: {given} bytes at {at}"
                );
                assert_eq!(piece.as_ref(), &data[from..from + given], "{backend}: at {at}");
                if let Some((from, last)) = last.replace((from, piece)) {
                    let last: Piece = last;
                    assert_eq!(last.as_ref(), &data[from..from + last.as_ref().len()], "{backend}: kept from {from}");
                }
                let cut = if reads == 7 { given as u64 + 2 * BLOCK } else { given as u64 - reads % 4 * BLOCK };
                at = if from + given == length { length as u64 } else { at + cut / BLOCK * BLOCK };
                reads += 1;
            }
            assert!(reads > 10, "{reads}");
            let past = reader.read(400 * BLOCK..401 * BLOCK).await.unwrap();
            assert!(past.as_ref().is_empty());
            // More than there is, and more than there could be memory for.
            assert_eq!(reader.read(BLOCK..u64::MAX).await.unwrap().as_ref(), &data[BLOCK_BYTES..]);
        }
        let path = file.path().to_owned();
        drop(file);
        wait_until_closed(&path).await;
    });
}

#[test]
fn what_is_written_is_read_back_whole_in_part_and_past_the_end() {
    everywhere(|backend, path| async move {
        let directory = Directory::open(&path).await.unwrap();
        let file = directory.create("a", 64 * BLOCK).await.unwrap();
        assert_eq!((file.bytes(), file.path()), (64 * BLOCK, path.join("a").as_path()));
        let data = blocks(1, 5);
        file.write_at(2 * BLOCK, &data).await.unwrap();
        file.write_at(0, &[]).await.unwrap();
        file.sync().await.unwrap();
        assert_eq!(file.read_at(2 * BLOCK, data.len()).await.unwrap(), data, "{backend}");
        assert_eq!(file.read_at(2 * BLOCK + 100, 5000).await.unwrap(), data[100..5100]);
        assert_eq!(file.read_at(0, BLOCK_BYTES).await.unwrap(), [0; BLOCK_BYTES]);
        assert_eq!(file.read_at(64 * BLOCK - 10, usize::MAX).await.unwrap(), [0; 10]);
        assert!(file.read_at(64 * BLOCK + 1, 10).await.unwrap().is_empty());
        // Overwritten after having been read, so that a stale page cache would show.
        file.write_at(3 * BLOCK, &blocks(99, 1)).await.unwrap();
        assert_eq!(file.read_at(3 * BLOCK, BLOCK_BYTES).await.unwrap(), blocks(99, 1));
        // Opened once more, it shows the same and can be written to.
        let again = directory.open_file("a").await.unwrap();
        assert_eq!(again.bytes(), 64 * BLOCK);
        again.write_at(63 * BLOCK, &blocks(7, 1)).await.unwrap();
        again.sync().await.unwrap();
        assert_eq!(file.read_at(63 * BLOCK, BLOCK_BYTES).await.unwrap(), blocks(7, 1));
        assert_eq!(fs::metadata(path.join("a")).unwrap().len(), 64 * BLOCK);
    });
}

#[test]
fn a_write_larger_than_one_operation_is_complete() {
    everywhere(|backend, path| async move {
        let directory = Directory::open(&path).await.unwrap();
        let data = blocks(3, 2500);
        let file = directory.create("large", 2500 * BLOCK).await.unwrap();
        file.write_at(0, &data).await.unwrap();
        file.sync().await.unwrap();
        assert!(fs::read(path.join("large")).unwrap() == data, "{backend}");
    });
}

#[test]
fn a_new_file_has_all_its_blocks() {
    use std::os::unix::fs::MetadataExt;
    everywhere(|_, path| async move {
        let directory = Directory::open(&path).await.unwrap();
        let _file = directory.create("a", 100 * BLOCK).await.unwrap();
        let metadata = fs::metadata(path.join("a")).unwrap();
        assert_eq!(metadata.len(), 100 * BLOCK);
        assert!(metadata.blocks() * 512 >= 100 * BLOCK, "{metadata:?}");
        assert_eq!(metadata.mode() & 0o777, 0o600);
    });
}

#[test]
fn mistakes_are_refused_and_change_nothing() {
    everywhere(|_, path| async move {
        let directory = Directory::open(&path).await.unwrap();
        let file = directory.create("a", 2 * BLOCK).await.unwrap();
        for (offset, length) in [(1, BLOCK_BYTES), (0, 100), (512, 512)] {
            let refused = file.write_at(offset, &vec![1; length]).await.unwrap_err();
            assert!(matches!(refused, FileError::Misaligned { .. }), "{refused}");
            let text = refused.to_string();
            assert!(text.contains("multiples of 4096") && text.contains(path.to_str().unwrap()), "{text}");
        }
        for offset in [BLOCK, 2 * BLOCK, u64::MAX - BLOCK + 1] {
            let refused = file.write_at(offset, &blocks(1, 2)).await.unwrap_err();
            assert!(matches!(refused, FileError::PastEnd { bytes, .. } if bytes == 2 * BLOCK), "{refused}");
        }
        assert_eq!(file.read_at(0, 3 * BLOCK_BYTES).await.unwrap(), [0; 2 * BLOCK_BYTES]);
        for bytes in [0, 1, BLOCK + 512] {
            let refused = directory.create("b", bytes).await.unwrap_err();
            assert!(matches!(refused, FileError::Misaligned { .. }), "{refused}");
        }
        for name in ["", ".", "..", "a/b", "../a", "a\0b"] {
            let refused = directory.create(name, BLOCK).await.unwrap_err();
            assert!(matches!(refused, FileError::BadName { .. }), "{refused}");
            assert!(matches!(directory.rename("a", name).await, Err(FileError::BadName { .. })));
        }
        let refused = directory.create("a", BLOCK).await.unwrap_err();
        assert!(matches!(refused, FileError::Exists { .. }), "{refused}");
        assert_eq!(directory.list().await.unwrap(), [Entry { name: "a".to_owned(), bytes: 2 * BLOCK }]);
    });
}

#[test]
fn directories_are_made_and_what_is_missing_is_said() {
    everywhere(|_, path| async move {
        let nested = path.join("x/y/z");
        let directory = Directory::open(&nested).await.unwrap();
        assert_eq!(directory.path(), nested);
        assert!(directory.list().await.unwrap().is_empty());
        let missing = |outcome: Result<(), FileError>| {
            assert!(matches!(outcome, Err(FileError::Missing { .. })), "{outcome:?}");
        };
        missing(directory.open_file("none").await.map(|_| ()));
        missing(directory.remove("none").await);
        missing(directory.rename("none", "other").await);
        missing(directory.recycle("none", "other", BLOCK).await.map(|_| ()));
        // The directory goes away below the open handle.
        fs::remove_dir(&nested).unwrap();
        missing(directory.create("a", BLOCK).await.map(|_| ()));
        fs::write(path.join("file"), b"").unwrap();
        let refused = Directory::open(&path.join("file")).await.unwrap_err();
        assert!(matches!(&refused, FileError::Io { .. } | FileError::Exists { .. }), "{refused}");
        assert!(Directory::open(&path.join("file/below")).await.is_err());
    });
}

#[test]
fn a_recycled_file_keeps_its_content_and_never_replaces_another() {
    everywhere(|_, path| async move {
        let directory = Directory::open(&path).await.unwrap();
        let file = directory.create("old", 4 * BLOCK).await.unwrap();
        file.write_at(0, &blocks(5, 4)).await.unwrap();
        drop(file);
        let short = directory.recycle("old", "new", 5 * BLOCK).await.unwrap_err();
        assert!(matches!(short, FileError::TooShort { bytes, .. } if bytes == 4 * BLOCK), "{short}");
        let file = directory.recycle("old", "new", 2 * BLOCK).await.unwrap();
        assert_eq!(file.bytes(), 4 * BLOCK);
        file.write_at(BLOCK, &blocks(50, 1)).await.unwrap();
        file.sync().await.unwrap();
        let content = file.read_at(0, 4 * BLOCK_BYTES).await.unwrap();
        assert_eq!(content, [blocks(5, 1), blocks(50, 1), blocks(7, 2)].concat());
        directory.create("other", BLOCK).await.unwrap();
        for outcome in
            [directory.recycle("new", "other", BLOCK).await.map(|_| ()), directory.rename("new", "other").await]
        {
            assert!(matches!(outcome, Err(FileError::Exists { .. })), "{outcome:?}");
        }
        directory.rename("new", "newer").await.unwrap();
        // An open file goes on under its new name.
        assert_eq!(file.read_at(BLOCK, BLOCK_BYTES).await.unwrap(), blocks(50, 1));
        directory.remove("other").await.unwrap();
        assert_eq!(directory.list().await.unwrap(), [Entry { name: "newer".to_owned(), bytes: 4 * BLOCK }]);
    });
}

#[test]
fn a_recycled_file_that_lacks_blocks_is_given_them() {
    use std::os::unix::fs::MetadataExt;
    everywhere(|_, path| async move {
        let directory = Directory::open(&path).await.unwrap();
        fs::File::create(path.join("sparse")).unwrap().set_len(100 * BLOCK).unwrap();
        let file = directory.recycle("sparse", "full", 100 * BLOCK).await.unwrap();
        assert!(fs::metadata(file.path()).unwrap().blocks() * 512 >= 100 * BLOCK);
    });
}

#[test]
fn the_list_is_ordered_and_has_regular_files_only() {
    everywhere(|_, path| async move {
        let directory = Directory::open(&path).await.unwrap();
        for (name, bytes) in [("b", 2), ("c", 3), ("a", 1)] {
            directory.create(name, bytes * BLOCK).await.unwrap();
        }
        fs::create_dir(path.join("directory")).unwrap();
        std::os::unix::fs::symlink(path.join("a"), path.join("link")).unwrap();
        let listed = directory.list().await.unwrap();
        let expected = [("a", 1), ("b", 2), ("c", 3)];
        let expected = expected.map(|(name, bytes)| Entry { name: name.to_owned(), bytes: bytes * BLOCK });
        assert_eq!(listed, expected);
        // A link could lead out of the directory.
        assert!(directory.open_file("link").await.is_err());
    });
}

#[test]
fn a_file_dropped_in_mid_write_is_closed_and_holds_nothing_foreign() {
    everywhere(|backend, path| async move {
        let directory = Directory::open(&path).await.unwrap();
        let data = blocks(1, 700);
        for round in 0..5 {
            let name = format!("{round}");
            let file = directory.create(&name, 700 * BLOCK).await.unwrap();
            let write = file.write_at(0, &data).now_or_never();
            let sync = file.sync().now_or_never();
            // The ring is not even asked before this task yields; a thread may be done by now.
            assert!(backend == Backend::Epoll || (write.is_none() && sync.is_none()));
            drop(file);
            wait_until_closed(&path.join(&name)).await;
            let content = fs::read(path.join(&name)).unwrap();
            for (found, wanted) in content.chunks(BLOCK_BYTES).zip(data.chunks(BLOCK_BYTES)) {
                assert!(found == wanted || found == [0; BLOCK_BYTES], "{backend}");
            }
        }
    });
}

#[test]
fn a_waiting_call_may_be_polled_any_number_of_times() {
    everywhere(|_, path| async move {
        let directory = Directory::open(&path).await.unwrap();
        let file = directory.create("a", BLOCK).await.unwrap();
        let data = blocks(1, 1);
        let mut write = pin!(async {
            file.write_at(0, &data).await?;
            file.sync().await
        });
        // glommio's own futures would take a waker each time, of which a task has 32,767.
        poll_fn(|context| {
            for _ in 0..100_000 {
                if let Poll::Ready(outcome) = write.as_mut().poll(context) {
                    return Poll::Ready(outcome);
                }
            }
            Poll::Pending
        })
        .await
        .unwrap();
    });
}

#[test]
fn an_executor_may_end_in_mid_write() {
    for backend in backends() {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        for round in 0..10 {
            let (path, name) = (directory.path().to_owned(), format!("{round}"));
            finish(run(backend, move || async move {
                let directory = Directory::open(&path).await.unwrap();
                let file = directory.create(&name, 700 * BLOCK).await.unwrap();
                let other = file.clone();
                spawn(async move {
                    let _outcome = other.write_at(0, &blocks(1, 700)).await;
                });
                yield_now().await;
                let _dropped = file.sync().now_or_never();
            }));
        }
        let path = directory.path().to_owned();
        finish(run(backend, move || async move {
            let directory = Directory::open(&path).await.unwrap();
            assert_eq!(directory.list().await.unwrap().len(), 10);
            let file = directory.open_file("0").await.unwrap();
            file.write_at(0, &blocks(9, 700)).await.unwrap();
            file.sync().await.unwrap();
        }));
    }
}

#[test]
fn files_left_open_at_the_end_of_an_executor_are_closed() {
    for backend in backends() {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let path = directory.path().to_owned();
        finish(run(backend, move || async move {
            let directory = Directory::open(&path).await.unwrap();
            let file = directory.create("a", BLOCK).await.unwrap();
            file.write_at(0, &blocks(1, 1)).await.unwrap();
            assert!(descriptors(&path.join("a")) > 0);
        }));
        let begun = Instant::now();
        while descriptors(&directory.path().join("a")) > 0 || descriptors(directory.path()) > 0 {
            assert!(begun.elapsed() < Duration::from_secs(10), "{backend}");
            std::thread::yield_now();
        }
    }
}

#[test]
fn two_executors_write_to_one_directory_and_many_tasks_to_one_file() {
    const WRITERS: u8 = 8;
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let handles: Vec<_> = backends()
        .into_iter()
        .chain(backends())
        .enumerate()
        .map(|(number, backend)| {
            let path = directory.path().join("log");
            run(backend, move || async move {
                let directory = Directory::open(&path).await.unwrap();
                let file = directory.create(&format!("{number}"), u64::from(WRITERS) * 20 * BLOCK).await.unwrap();
                let (done, finished) = async_channel::bounded(usize::from(WRITERS));
                for writer in 0..WRITERS {
                    let (file, done) = (file.clone(), done.clone());
                    spawn(async move {
                        for block in 0..20 {
                            let offset = (u64::from(writer) * 20 + block) * BLOCK;
                            file.write_at(offset, &blocks(writer, 1)).await.unwrap();
                            file.sync().await.unwrap();
                        }
                        done.send(()).await.unwrap();
                    });
                }
                for _ in 0..WRITERS {
                    finished.recv().await.unwrap();
                }
                let content = file.read_at(0, usize::MAX).await.unwrap();
                let expected: Vec<u8> = (0..WRITERS).flat_map(|writer| [writer; 20 * BLOCK_BYTES]).collect();
                assert!(content == expected);
            })
        })
        .collect();
    handles.into_iter().for_each(finish);
}

#[test]
fn the_helper_thread_does_not_stay_on_its_executors_core() {
    let allowed = tailwater_runtime::affinity::allowed_cores();
    if allowed.len() < 2 {
        eprintln!("skipped: there is one core only");
        return;
    }
    for backend in backends() {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let (path, core) = (directory.path().to_owned(), allowed[0]);
        let options = ExecutorOptions { name: "test".to_owned(), core: Some(core), backend };
        let handle = start(options, move || async move {
            let _directory = Directory::open(&path).await.unwrap();
            let mut helpers = 0;
            for thread in fs::read_dir("/proc/self/task").unwrap() {
                let status = fs::read_to_string(thread.unwrap().path().join("status")).unwrap_or_default();
                if status.starts_with("Name:\tfiles\n") {
                    assert!(!status.contains(&format!("Cpus_allowed_list:\t{core}\n")), "{status}");
                    helpers += 1;
                }
            }
            assert!(helpers > 0);
        });
        finish(handle.unwrap());
    }
}
