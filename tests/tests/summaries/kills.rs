//! A node that is killed at any moment while all three signals come. `TAILWATER_CRASHES=n` makes n kills,
//! `TAILWATER_CRASH_SEED=n` repeats the moments, in requests.

use super::told::Told;
use super::{Kind, Outcome, but, control, offer, start_in, stop, summaries};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use tailwater_tests::next_hop::Server;
use tailwater_tests::process::PATIENCE;
use tempfile::TempDir;

/// Kills in the short form.
const CRASHES: u64 = 5;
/// Requests from a start to a kill at most: some seconds, so that windows are emitted and that some are not.
const REQUESTS_MAX: u64 = 1200;
/// Senders of each kind.
const SENDERS: usize = 2;

/// Where the node is, as senders know it.
#[derive(Default)]
struct Place {
    now: Mutex<Where>,
    changed: Condvar,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Where {
    #[default]
    Nowhere,
    /// After so many starts.
    At(u64, SocketAddr),
    /// There is nothing more to send.
    Over,
}

impl Place {
    fn set(&self, to: Where) {
        *self.now.lock().unwrap() = to;
        self.changed.notify_all();
    }

    /// Where the node is, once it was started again if that is where it was `before`.
    fn get(&self, before: Option<u64>) -> Option<(u64, SocketAddr)> {
        let now = self.now.lock().unwrap();
        let is_waiting = |now: &mut Where| match now {
            Where::Nowhere => true,
            Where::At(starts, _) => Some(*starts) == before,
            Where::Over => false,
        };
        match *self.changed.wait_while(now, is_waiting).unwrap() {
            Where::At(starts, address) => Some((starts, address)),
            Where::Nowhere | Where::Over => None,
        }
    }
}

type Seen = (Kind, u64, Outcome);

/// Sends requests of a kind to the node wherever it is, and tells what became of each.
fn send_all(kind: Kind, place: &Place, next: &AtomicU64, seen: &Sender<Seen>) {
    let mut at = place.get(None);
    while let Some((starts, address)) = at {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let outcome = offer(address, kind.path(), &kind.body(number));
        let is_gone = matches!(outcome, Outcome::Unsent | Outcome::Unknown);
        seen.send((kind, number, outcome)).unwrap();
        at = place.get(is_gone.then_some(starts));
    }
}

/// What senders know.
#[derive(Default)]
struct Sent {
    acknowledged: BTreeSet<(Kind, u64)>,
    unknown: BTreeSet<(Kind, u64)>,
}

impl Sent {
    fn take(&mut self, (kind, number, outcome): Seen) -> bool {
        match outcome {
            Outcome::Acknowledged => self.acknowledged.insert((kind, number)),
            Outcome::Unknown => !self.unknown.insert((kind, number)),
            Outcome::Refused | Outcome::Unsent => false,
        }
    }

    /// Waits until so many more are acknowledged.
    fn wait(&mut self, seen: &Receiver<Seen>, more: u64) {
        let mut left = more;
        while left > 0 {
            left -= u64::from(self.take(seen.recv_timeout(PATIENCE).unwrap()));
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|text| text.parse().ok())
}

/// Breaks without `log.lane.borrow_mut().give_tally` in `Summaries::checkpoint` (what was acknowledged is not counted), without
/// `is_uncounted` in `node/src/core/replay.rs`, and without `window > emitted_through` in `Former::of` (it is counted twice).
#[test]
fn whatever_was_acknowledged_is_told_once_over_kills() {
    let crashes = number("TAILWATER_CRASHES").unwrap_or(CRASHES);
    let seed = number("TAILWATER_CRASH_SEED").unwrap_or_else(|| fastrand::u64(..));
    eprintln!("TAILWATER_CRASH_SEED={seed} TAILWATER_CRASHES={crashes}");
    let mut random = fastrand::Rng::with_seed(seed);
    let server = Server::collecting();
    let graph = [("--summaries-service-graph-series-max", "200000"), ("--summaries-service-graph-histogram", "none")];
    let mut arguments = but(&summaries(&server), &graph);
    arguments.push("--service-graph".to_string());
    let (place, next) = (Arc::new(Place::default()), Arc::new(AtomicU64::new(1)));
    let (sender, seen) = channel();
    let senders: Vec<_> = Kind::ALL
        .iter()
        .cycle()
        .take(SENDERS * Kind::ALL.len())
        .map(|kind| {
            let (place, next, sender) = (place.clone(), next.clone(), sender.clone());
            std::thread::spawn(move || send_all(*kind, &place, &next, &sender))
        })
        .collect();
    drop(sender);
    let (mut sent, mut told) = (Sent::default(), Told::default());
    let mut directory = TempDir::new().unwrap();
    for starts in 0..crashes {
        let shards = random.u8(1..4).to_string();
        let node = start_in(directory, &but(&arguments, &[("--shards", &shards)]));
        place.set(Where::At(starts, node.http));
        // A start counts again under another dial than that of before the kill.
        control::turn(&node, &mut random);
        sent.wait(&seen, random.u64(1..REQUESTS_MAX));
        control::turn(&node, &mut random);
        directory = node.crash();
        place.set(Where::Nowhere);
        told.take(&server);
    }
    let node = start_in(directory, &but(&arguments, &[("--shards", "2")]));
    place.set(Where::At(crashes, node.http));
    sent.wait(&seen, REQUESTS_MAX);
    place.set(Where::Over);
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    seen.try_iter().for_each(|seen| _ = sent.take(seen));
    stop(node);
    told.take(&server);
    let (counts, edges) = (told.counts(), told.edges());
    let count = |of: &(Kind, u64)| counts.get(of).copied().unwrap_or(0);
    let (acknowledged, unknown) = (sent.acknowledged.len(), sent.unknown.len());
    eprintln!("{acknowledged} requests acknowledged, {unknown} without an answer, told in {} requests", told.requests);
    let wrong: Vec<_> = sent.acknowledged.iter().filter(|of| count(of) != of.0.amount()).collect();
    let told: Vec<_> = wrong.iter().take(9).map(|of| (of, count(of))).collect();
    assert!(wrong.is_empty(), "{} requests are not told once: {told:?}", wrong.len());
    // Spans without a parent are requests of users, which need no other end.
    let edge = |of: &(Kind, u64)| {
        let name = format!("client=user server=s{} connection_type=virtual_node failed=false", of.1);
        edges.get(&("request_total".to_string(), name)).map_or(0, |count| i64::try_from(*count).unwrap())
    };
    let spans = sent.acknowledged.iter().chain(&sent.unknown).filter(|of| of.0 == Kind::Spans);
    let differing: Vec<_> = spans.filter(|of| edge(of) != count(of)).take(9).collect();
    assert!(differing.is_empty(), "{differing:?} are other numbers of requests than of calls");
    // A request that nobody answered is there whole, or it is not.
    let partial: Vec<_> = sent.unknown.iter().filter(|of| ![0, of.0.amount()].contains(&count(of))).collect();
    assert!(partial.is_empty(), "{partial:?}");
    let strangers = counts.keys().filter(|of| !sent.acknowledged.contains(of) && !sent.unknown.contains(of));
    assert_eq!(strangers.count(), 0, "what was refused is not told");
}
