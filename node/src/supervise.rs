//! The side thread: signals, the admin endpoint, and the end. A core that ends by itself ends the process, so that a
//! supervisor starts it again; a node with a dead shard would silently lose its share of the traces.

use crate::admin;
use crate::cluster::GossipHandle;
use crate::control::{Control, Cores, Snapshot};
use crate::dial::Dialer;
use crate::drain::{Drained, drain};
use crate::explain::asking::{Asker, Line};
use crate::launch::{CoreHandle, Node};
use crate::reload::{Reloader, Trigger};
use crate::sockets::Addresses;
use crate::source::{ConfigurationSource, Stamp};
use async_channel::{Sender, bounded};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tailwater_config::Config;
use tailwater_engine::ledger::Ledger;
use tailwater_runtime::Backend;
use tailwater_runtime::clock::monotonic_nanos;
use tailwater_runtime::executor::{ExecutorOptions, sleep, spawn, start};
use tailwater_runtime::signal::{Signal, Signals};

/// Accepted data was lost at the end: not a clean stop.
const EXIT_DATA_LOST: u8 = 3;
/// Signals this close together are one.
const SECOND_SIGNAL_GRACE: Duration = Duration::from_millis(500);
/// A core died, or the side thread could not do its work: `EX_SOFTWARE`.
const EXIT_SOFTWARE: u8 = 70;

/// Runs the side thread to the end of the process. `source` is what the configuration was read from, with the state of
/// its file then.
pub fn supervise(config: &Config, source: (ConfigurationSource, Option<Stamp>), node: Node) -> ExitCode {
    let options = ExecutorOptions { name: "side".into(), core: node.side_core, backend: Backend::Epoll };
    let config = config.clone();
    let side = start(options, move || async move { side(config, source, node).await });
    match side.and_then(tailwater_runtime::executor::ExecutorHandle::join) {
        Ok(code) => code,
        Err(error) => {
            tracing::error!(%error, "the side thread failed");
            ExitCode::from(EXIT_SOFTWARE)
        }
    }
}

async fn side(config: Config, source: (ConfigurationSource, Option<Stamp>), node: Node) -> ExitCode {
    let Node { cores, handles, rules, backend, addresses, ports: _ports, gossip, .. } = node;
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => {
            tracing::error!(%error, "cannot listen for signals");
            return ExitCode::from(EXIT_SOFTWARE);
        }
    };
    let ready = Arc::new(AtomicBool::new(false));
    let wishes = gossip.as_ref().map(|gossip| gossip.wishes.clone());
    let reloader = Reloader::new(source.0, source.1, config.clone(), rules, cores.clone(), wishes);
    let line = gossip.as_ref().map(|gossip| Line { wishes: gossip.wishes.clone(), shared: gossip.shared.clone() });
    let asker = Rc::new(Asker::new(cores.clone(), reloader.clone(), line));
    if let Some(gossip) = &gossip {
        spawn(asker.clone().answer_others(gossip.asked.clone()));
    }
    let shared = gossip.as_ref().map(|gossip| gossip.shared.clone());
    let dialer = Dialer::new(cores.clone(), reloader.clone());
    let state =
        admin::State::new(cores.clone(), reloader.clone(), backend, ready.clone(), (shared, asker), dialer.clone());
    let admin = match admin::open(&config, state) {
        Ok(admin) => admin,
        Err(error) => {
            tracing::error!(%error, "the admin endpoint does not open");
            return ExitCode::from(EXIT_SOFTWARE);
        }
    };
    watch(&handles, gossip.as_ref(), &ready);
    let (event, events) = bounded(2);
    spawn(tell_opened(cores.clone(), event.clone()));
    let reloading = reloader.clone();
    spawn(async move {
        wait_for_end(&mut signals, Some(&reloading)).await;
        // The receiver lives until the process ends.
        _ = event.try_send(Event::End(signals));
    });
    let mut was_open = false;
    let mut signals = loop {
        match events.recv().await {
            Ok(Event::Opened) => {
                was_open = true;
                ready.store(true, Ordering::Relaxed);
                announce(&addresses, admin);
                reloader.start();
                dialer.start();
            }
            Ok(Event::End(signals)) => break signals,
            Ok(Event::Failed) | Err(_) => return join(handles),
        }
    };
    spawn(async move {
        // Some supervisors send their signal to the process and to its group: that is one wish, not two.
        sleep(SECOND_SIGNAL_GRACE).await;
        // What came in the meantime waits in the old listener and goes with it.
        if let Ok(fresh) = Signals::listen() {
            signals = fresh;
        }
        wait_for_end(&mut signals, None).await;
        tracing::warn!("second signal: ending at once; what is pending is lost");
        std::process::exit(i32::from(EXIT_DATA_LOST));
    });
    ready.store(false, Ordering::Relaxed);
    let code = stop(&config, &cores, gossip.as_ref(), was_open).await;
    join(handles);
    code
}

/// Has the process end when a thread does by itself.
fn watch(handles: &[CoreHandle], gossip: Option<&GossipHandle>, ready: &Arc<AtomicBool>) {
    for handle in handles.iter().chain(gossip.map(|gossip| &gossip.thread)) {
        let (ended, name, stopping) = (handle.ended(), handle.name().to_string(), ready.clone());
        spawn(async move {
            ended.await;
            if stopping.load(Ordering::Relaxed) {
                tracing::error!(
                    thread = name,
                    "a thread ended by itself; the process ends so that it is started again"
                );
                std::process::exit(i32::from(EXIT_SOFTWARE));
            }
        });
    }
}

/// What the side thread waits for.
enum Event {
    /// All cores accept requests.
    Opened,
    /// A core ended before it did.
    Failed,
    /// The node is to end.
    End(Signals),
}

async fn tell_opened(cores: Cores, event: Sender<Event>) {
    let count = cores.channels.len();
    let opened = cores.ask(Control::Opened).await.into_iter().flatten().count();
    // The receiver lives until the process ends.
    _ = event.send(if opened == count { Event::Opened } else { Event::Failed }).await;
}

fn announce(addresses: &Addresses, admin: Option<SocketAddr>) {
    let text = |addresses: &[SocketAddr]| match addresses {
        [] => "off".to_string(),
        some => some.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
    };
    let (grpc, http, admin) = (text(&addresses.grpc()), text(&addresses.http()), text(admin.as_slice()));
    tracing::info!(grpc, http, admin, "ready");
}

/// Waits for a signal that ends the node; SIGHUP has the configuration read again, unless the node is ending.
async fn wait_for_end(signals: &mut Signals, reloader: Option<&Rc<Reloader>>) {
    loop {
        match (signals.next().await, reloader) {
            (Signal::Terminate | Signal::Interrupt, _) => return,
            (Signal::Reload, Some(reloader)) => reloader.wish(Trigger::Signal),
            (Signal::Reload, None) => {}
        }
    }
}

/// Ends the node, within the configured time; one that was not open yet leaves all to its log. Says how it ended.
async fn stop(config: &Config, cores: &Cores, gossip: Option<&GossipHandle>, was_open: bool) -> ExitCode {
    let budget = config.node.drain_timeout;
    tracing::info!(
        budget_seconds = budget.as_secs_f64(),
        "draining: no new requests, pending traces are judged, kept ones sent"
    );
    let lost_before = lost_at_export(&cores.snapshots().await);
    let judges = was_open && !keeps_pending(config);
    let begun = monotonic_nanos();
    if let Some(gossip) = gossip.filter(|_| judges) {
        gossip.leave(cores, budget).await;
    }
    let left = budget.saturating_sub(Duration::from_nanos(monotonic_nanos().saturating_sub(begun)));
    let Drained { in_time, is_log_closed, last } = drain(cores, left, judges).await;
    if let Some(gossip) = gossip {
        gossip.part().await;
    }
    if !is_log_closed {
        tracing::warn!("the log was not closed in time; the next start reads more of it again");
    }
    let lost = lost_at_export(&last).saturating_sub(lost_before);
    let sum = summed(&last);
    let accounts = [&sum.spans, &sum.metrics, &sum.logs];
    let pending: i128 = accounts.iter().map(|account| account.pending()).sum();
    let in_log: i128 = accounts.iter().map(|account| i128::from(account.parked)).sum();
    let in_log = if keeps_pending(config) || !was_open { in_log + i128::from(sum.spans.buffered) } else { in_log };
    // What an exporter was still trying to send is in the log too; how much of it is known where all is logged.
    let in_log = if config.logs_all() { pending.max(in_log) } else { in_log };
    tracing::info!(
        received = sum.spans.received,
        exported = sum.spans.exported,
        dropped = sum.spans.dropped_total(),
        pending = whole(pending),
        in_log = whole(in_log),
        refused = accounts.iter().map(|account| account.refused_by_next_hop()).sum::<u64>(),
        lost,
        in_time,
        "stopped"
    );
    // Lines written by other threads reach the terminal before the process goes.
    sleep(Duration::from_millis(1)).await;
    if pending > in_log || lost > 0 { ExitCode::from(EXIT_DATA_LOST) } else { ExitCode::SUCCESS }
}

/// A number as other numbers are logged.
fn whole(number: i128) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Whether undecided traces stay in the log for the next start.
fn keeps_pending(config: &Config) -> bool {
    config.wal.keep_pending_at_shutdown && config.needs_wal()
}

fn summed(snapshots: &[Snapshot]) -> Ledger {
    let mut sum = Ledger::default();
    for snapshot in snapshots {
        sum.add(&snapshot.ledger);
    }
    sum
}

/// Kept items that did not reach the next hop.
fn lost_at_export(snapshots: &[Snapshot]) -> u64 {
    let sum = summed(snapshots);
    [&sum.spans, &sum.metrics, &sum.logs].iter().map(|account| account.lost_at_export()).sum()
}

/// Waits for the cores' threads and says how they ended.
fn join(handles: Vec<CoreHandle>) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for handle in handles {
        let outcome = handle.join();
        if let Err(error) = outcome.map_err(|error| error.to_string()).and_then(|ended| ended) {
            tracing::error!(%error, "a core failed");
            code = ExitCode::from(EXIT_SOFTWARE);
        }
    }
    code
}
