//! Signals, in a process of their own: once listened for, SIGTERM no longer ends it.
#![allow(missing_docs)]

use rustix::process::{Signal as Number, getpid, kill_process};
use tailwater_runtime::Backend;
use tailwater_runtime::executor::{ExecutorOptions, start};
use tailwater_runtime::signal::{Signal, Signals};

#[test]
fn each_signal_to_the_process_is_seen() {
    let options = ExecutorOptions { name: "signals".to_owned(), core: None, backend: Backend::Epoll };
    let handle = start(options, || async {
        let mut signals = Signals::listen().unwrap();
        let mut seen = Vec::new();
        for number in [Number::HUP, Number::TERM, Number::INT] {
            kill_process(getpid(), number).unwrap();
            seen.push(signals.next().await);
        }
        seen
    })
    .unwrap();
    assert_eq!(handle.join().unwrap(), [Signal::Reload, Signal::Terminate, Signal::Interrupt]);
}
