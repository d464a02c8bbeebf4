//! SIGINT and SIGTERM: the first asks the command to finish, the second ends it at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tailwater_runtime::Backend;
use tailwater_runtime::executor::{self, ExecutorOptions};
use tailwater_runtime::signal::{Signal, Signals};

/// Exit status of a command that was interrupted twice, as shells report SIGINT.
const INTERRUPTED: i32 = 130;

/// A second signal this soon is the same one: timeout(1) sends it to the process and again to its group.
const ONE_SIGNAL: Duration = Duration::from_millis(500);

/// Sets `stop` at the first signal. Without signals (they cannot be listened to) the command just runs to its end.
pub fn watch(stop: Arc<AtomicBool>) {
    let options = ExecutorOptions { name: "signals".to_owned(), core: None, backend: Backend::Epoll };
    // The thread lives as long as the process.
    let _detached = executor::start(options, move || async move {
        let Ok(mut signals) = Signals::listen() else { return };
        let mut first: Option<Instant> = None;
        loop {
            if signals.next().await == Signal::Reload {
                continue;
            }
            stop.store(true, Ordering::Relaxed);
            if first.get_or_insert_with(Instant::now).elapsed() > ONE_SIGNAL {
                std::process::exit(INTERRUPTED);
            }
        }
    });
}
