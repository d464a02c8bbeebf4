//! Executors on both backends: results, panics, timers, waking from other threads.
#![allow(missing_docs, clippy::unwrap_used)]

use std::cell::Cell;
use std::future::{pending, ready};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tailwater_runtime::Backend;
use tailwater_runtime::executor::{
    Elapsed, ExecutorError, ExecutorHandle, ExecutorOptions, backend, contain, sleep, spawn, start, task_panics,
    timeout, yield_now,
};

const BACKENDS: [Backend; 2] = [Backend::Uring, Backend::Epoll];

fn run<F, T>(backend: Backend, make: impl FnOnce() -> F + Send + 'static) -> ExecutorHandle<T>
where
    F: Future<Output = T> + 'static,
    T: Send + 'static,
{
    start(ExecutorOptions { name: "test".to_owned(), core: None, backend }, make).unwrap()
}

#[test]
fn the_main_future_runs_on_its_backend_and_core_and_returns_its_output() {
    for wanted in BACKENDS {
        let core = tailwater_runtime::affinity::allowed_cores()[0];
        let options = ExecutorOptions { name: "pinned".to_owned(), core: Some(core), backend: wanted };
        let handle = start(options, || async { (backend(), tailwater_runtime::affinity::allowed_cores()) }).unwrap();
        assert_eq!(handle.name(), "pinned");
        assert_eq!(handle.join().unwrap(), (wanted, vec![core]));
    }
}

#[test]
fn a_core_that_is_not_there_leaves_the_thread_unpinned() {
    for backend in BACKENDS {
        let options = ExecutorOptions { name: "lost".to_owned(), core: Some(1023), backend };
        assert_eq!(start(options, || ready(7)).unwrap().join().unwrap(), 7);
    }
}

#[test]
fn a_panicking_task_is_counted_and_costs_the_others_nothing() {
    for backend in BACKENDS {
        let before = task_panics();
        let handle = run(backend, || async {
            let (sender, receiver) = async_channel::bounded(1);
            spawn(async { panic!("on purpose") });
            spawn(async move {
                yield_now().await;
                sender.send(1).await.unwrap();
            });
            let contained = contain(async { panic!("also on purpose: {}", 2) }).await;
            let contained = contained.unwrap_err();
            (receiver.recv().await.unwrap(), contained.message)
        });
        assert_eq!(handle.join().unwrap(), (1, "also on purpose: 2".to_owned()), "{backend}");
        assert!(task_panics() >= before + 2);
    }
}

#[test]
fn a_panic_of_the_main_future_is_reported() {
    for backend in BACKENDS {
        let handle = run(backend, || async { panic!("the main one") });
        let ended = handle.ended();
        let outcome: Result<(), _> = handle.join();
        assert!(
            matches!(&outcome, Err(ExecutorError::Panicked { message, .. }) if message == "the main one"),
            "{backend}: {outcome:?}"
        );
        run(backend, || ended).join().unwrap();
    }
}

#[test]
fn a_spawned_task_never_runs_inside_spawn() {
    for backend in BACKENDS {
        let handle = run(backend, || async {
            let ran = Rc::new(Cell::new(false));
            let seen = Rc::clone(&ran);
            spawn(async move { seen.set(true) });
            let at_once = ran.get();
            while !ran.get() {
                yield_now().await;
            }
            at_once
        });
        assert!(!handle.join().unwrap(), "{backend}");
    }
}

#[test]
fn timers_wait_at_least_as_long_as_asked_and_timeouts_cut_off() {
    for backend in BACKENDS {
        let handle = run(backend, || async {
            let begin = Instant::now();
            sleep(Duration::from_millis(20)).await;
            let slept = begin.elapsed();
            let cut_off = timeout(Duration::from_millis(5), pending::<()>()).await;
            let in_time = timeout(Duration::from_secs(3600), async {
                sleep(Duration::from_millis(1)).await;
                5
            });
            (slept, cut_off, in_time.await)
        });
        let (slept, cut_off, in_time) = handle.join().unwrap();
        assert!(slept >= Duration::from_millis(20), "{backend}: {slept:?}");
        assert_eq!((cut_off, in_time), (Err(Elapsed), Ok(5)), "{backend}");
    }
}

#[test]
fn a_task_is_woken_from_another_thread() {
    for backend in BACKENDS {
        let (to, from) = async_channel::bounded::<u32>(1);
        let (back, answer) = async_channel::bounded::<u32>(1);
        let handle = run(backend, move || async move {
            let mut sum = 0;
            while let Ok(number) = from.recv().await {
                sum += number;
                back.send(sum).await.unwrap();
            }
            sum
        });
        for number in 1..=1000 {
            to.send_blocking(number).unwrap();
            answer.recv_blocking().unwrap();
        }
        drop(to);
        assert_eq!(handle.join().unwrap(), 500_500, "{backend}");
    }
}

#[test]
fn tasks_left_over_are_dropped_with_the_executor() {
    struct Tell(async_channel::Sender<&'static str>);
    impl Drop for Tell {
        fn drop(&mut self) {
            self.0.try_send("dropped").unwrap();
        }
    }
    for backend in BACKENDS {
        let (sender, receiver) = async_channel::bounded(1);
        run(backend, move || async move {
            let tell = Tell(sender);
            spawn(async move {
                let _tell = tell;
                pending::<()>().await;
            });
            yield_now().await;
        })
        .join()
        .unwrap();
        assert_eq!(receiver.recv_blocking(), Ok("dropped"), "{backend}");
    }
}
