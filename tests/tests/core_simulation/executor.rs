//! A deterministic executor in one thread with the interface of `tailwater_runtime::executor` and `clock`: a seed picks
//! which of the ready tasks runs next, and time passes only when the simulation says so. All cores of a node are tasks of
//! the same one.

use fastrand::Rng;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// Most of simulated time that one turn of a task takes, nanoseconds.
const TURN_NANOS_MAX: u64 = 20_000;
/// Wall time at the beginning, nanoseconds since 1970.
const UNIX_ORIGIN: u64 = 1_700_000_000_000_000_000;

struct State {
    random: Rng,
    now: u64,
    tasks: BTreeMap<u64, Task>,
    timers: BTreeMap<(u64, u64), Waker>,
    next_number: u64,
}

thread_local! {
    static STATE: RefCell<State> = RefCell::new(State {
        random: Rng::with_seed(0),
        now: 0,
        tasks: BTreeMap::new(),
        timers: BTreeMap::new(),
        next_number: 0,
    });
    /// Tasks that were woken. Apart from the rest: a task wakes others in the middle of its turn.
    static READY: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

struct TaskWaker(u64);

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        READY.with_borrow_mut(|ready| {
            if !ready.contains(&self.0) {
                ready.push(self.0);
            }
        });
    }
}

fn number() -> u64 {
    STATE.with_borrow_mut(|state| {
        state.next_number += 1;
        state.next_number
    })
}

/// Begins anew: no tasks, time zero, another seed.
pub fn reset(seed: u64) {
    stop_all();
    STATE.with_borrow_mut(|state| {
        state.random = Rng::with_seed(seed);
        state.now = 0;
    });
}

/// Ends all tasks where they are, as a kill does. Time stands still.
pub fn stop_all() {
    let (tasks, timers) =
        STATE.with_borrow_mut(|state| (std::mem::take(&mut state.tasks), std::mem::take(&mut state.timers)));
    drop((tasks, timers));
    READY.with_borrow_mut(Vec::clear);
}

/// Gives one ready task its turn; when none is ready, time passes until one is. False when nothing can ever happen.
pub fn turn() -> bool {
    let due: Vec<Waker> = STATE.with_borrow_mut(|state| {
        let is_idle = READY.with_borrow(Vec::is_empty);
        let first = state.timers.keys().next().map(|(deadline, _)| *deadline);
        if let Some(first) = first.filter(|_| is_idle) {
            state.now = state.now.max(first);
        }
        let later = state.timers.split_off(&(state.now + 1, 0));
        std::mem::replace(&mut state.timers, later).into_values().collect()
    });
    due.into_iter().for_each(Waker::wake);
    let picked = READY.with_borrow_mut(|ready| {
        if ready.is_empty() { None } else { Some(ready.swap_remove(random(|random| random.usize(0..ready.len())))) }
    });
    let Some(number) = picked else { return false };
    // A task that has ended may be woken once more.
    let Some(mut task) = STATE.with_borrow_mut(|state| state.tasks.remove(&number)) else { return true };
    let waker = Waker::from(Arc::new(TaskWaker(number)));
    if task.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
        STATE.with_borrow_mut(|state| state.tasks.insert(number, task));
    }
    STATE.with_borrow_mut(|state| state.now += state.random.u64(1..TURN_NANOS_MAX));
    true
}

/// The schedule's randomness.
pub fn random<T>(draw: impl FnOnce(&mut Rng) -> T) -> T {
    STATE.with_borrow_mut(|state| draw(&mut state.random))
}

/// A span of time below `max_micros`.
pub async fn pause(max_micros: u64) {
    sleep(Duration::from_micros(random(|random| random.u64(0..max_micros)))).await;
}

/// As the real one: the task first runs after the caller has yielded.
pub fn spawn(future: impl Future<Output = ()> + 'static) {
    let number = number();
    STATE.with_borrow_mut(|state| state.tasks.insert(number, Box::pin(future)));
    READY.with_borrow_mut(|ready| ready.push(number));
}

/// As the real one.
pub async fn sleep(duration: Duration) {
    let (deadline, number) = (now() + u64::try_from(duration.as_nanos()).unwrap(), number());
    poll_fn(move |context| {
        if now() >= deadline {
            return Poll::Ready(());
        }
        STATE.with_borrow_mut(|state| state.timers.insert((deadline, number), context.waker().clone()));
        Poll::Pending
    })
    .await;
}

/// As the real one.
pub async fn timeout<F: Future>(duration: Duration, future: F) -> Result<F::Output, ()> {
    let (mut future, mut alarm) = (pin!(future), pin!(sleep(duration)));
    poll_fn(move |context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Ok(output)),
        Poll::Pending => alarm.as_mut().poll(context).map(|()| Err(())),
    })
    .await
}

/// As the real one.
pub async fn yield_now() {
    let mut has_yielded = false;
    poll_fn(move |context| {
        if std::mem::replace(&mut has_yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Simulated time since the beginning, nanoseconds.
pub fn now() -> u64 {
    STATE.with_borrow(|state| state.now)
}

/// `tailwater_runtime::clock::monotonic_nanos`.
pub fn monotonic_nanos() -> u64 {
    now() + 1
}

/// `tailwater_runtime::clock::steady_unix_nanos`.
pub fn steady_unix_nanos() -> u64 {
    UNIX_ORIGIN + now()
}
