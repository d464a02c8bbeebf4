//! Accepting connections and spreading them over the cores.
//!
//! Every core listens on its own socket of the shared port. The kernel picks the socket by a hash of the addresses, which
//! is fair for many short connections and unfair for the few long ones that telemetry senders keep. So each accepted
//! connection goes to the core that has the fewest: kept, or handed over as a plain descriptor.

use std::io;
use std::net::{SocketAddr, TcpStream as StdTcpStream};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::{Either, select};
use std::pin::pin;
use tailwater_runtime::executor::{sleep, spawn};
use tailwater_runtime::net::{Accepted, TcpListener, TcpStream};

use crate::server::{ListenerKind, Server, Service, serve};

/// Connections on their way to one core. A core that falls behind so far is not the one with the fewest.
/// At the bound: the accepting core keeps the connection.
const HAND_OFFS_MAX: usize = 1024;

/// The pause after the system had no descriptor or memory for a connection: trying again at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A connection handed to another core.
#[derive(Debug)]
struct Arrival {
    stream: StdTcpStream,
    peer: SocketAddr,
    kind: ListenerKind,
    place: Place,
}

/// Open connections per core, written by every core when it accepts and by the owner when one ends. Only a hint: relaxed,
/// and nothing depends on its being exact.
type Loads = Arc<Vec<AtomicUsize>>;

/// A connection's place in the load of its core, given back when dropped.
#[derive(Debug)]
struct Place {
    loads: Loads,
    core: usize,
}

impl Place {
    fn take(loads: &Loads, core: usize) -> Self {
        loads[core].fetch_add(1, Ordering::Relaxed);
        Self { loads: Arc::clone(loads), core }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.loads[self.core].fetch_sub(1, Ordering::Relaxed);
    }
}

/// One core's part in spreading connections. Made on any thread, moved to its core.
#[derive(Debug)]
pub struct Acceptor {
    core: usize,
    loads: Loads,
    targets: Vec<async_channel::Sender<Arrival>>,
    arrivals: async_channel::Receiver<Arrival>,
}

impl Acceptor {
    /// The acceptors of all cores.
    #[must_use]
    pub fn for_cores(cores: usize) -> Vec<Self> {
        let loads: Loads = Arc::new((0..cores).map(|_| AtomicUsize::new(0)).collect());
        let (targets, arrivals): (Vec<_>, Vec<_>) = (0..cores).map(|_| async_channel::bounded(HAND_OFFS_MAX)).unzip();
        arrivals
            .into_iter()
            .enumerate()
            .map(|(core, arrivals)| Self { core, loads: Arc::clone(&loads), targets: targets.clone(), arrivals })
            .collect()
    }

    /// Accepts on these listeners and serves what this core gets, until the server drains. The listeners are closed then;
    /// connections go on (see [`Server::drained`]).
    pub async fn run<S: Service>(self, listeners: Vec<(TcpListener, ListenerKind)>, server: Rc<Server<S>>) {
        let acceptor = Rc::new(self);
        for (listener, kind) in listeners {
            spawn(accept(Rc::clone(&acceptor), listener, kind, Rc::clone(&server)));
        }
        loop {
            let arrival = pin!(acceptor.arrivals.recv());
            match select(arrival, pin!(server.drain_begun())).await {
                Either::Left((Ok(arrival), _)) => begin(&server, arrival),
                Either::Left((Err(_), _)) | Either::Right(_) => break,
            }
        }
        // What is on its way was accepted by us, so it is served, if only with a word of goodbye.
        acceptor.arrivals.close();
        while let Ok(arrival) = acceptor.arrivals.try_recv() {
            begin(&server, arrival);
        }
    }

    /// The core with the fewest connections, this one if it is among them.
    fn least_loaded(&self) -> (usize, usize) {
        let load = |core: usize| self.loads[core].load(Ordering::Relaxed);
        let mut best = (self.core, load(self.core));
        for core in 0..self.loads.len() {
            if load(core) < best.1 {
                best = (core, load(core));
            }
        }
        best
    }

    fn place<S: Service>(&self, accepted: Accepted, kind: ListenerKind, server: &Rc<Server<S>>) {
        let stats = server.stats();
        let add = |counter: &std::cell::Cell<u64>| counter.set(counter.get().wrapping_add(1));
        add(&stats.accepted);
        let (core, load) = self.least_loaded();
        if load >= server.limits().connections_max {
            // Closed by being dropped.
            add(&stats.refused_at_connections_max);
            return;
        }
        if accepted.stream.as_raw_fd() >= server.limits().descriptors_max {
            add(&stats.refused_at_descriptors_max);
            return;
        }
        let Accepted { stream, peer } = accepted;
        let arrival = Arrival { stream, peer, kind, place: Place::take(&self.loads, core) };
        if core == self.core {
            return begin(server, arrival);
        }
        match self.targets[core].try_send(arrival) {
            Ok(()) => add(&stats.handed_off),
            // That core drains or has fallen far behind.
            Err(refused) => {
                let arrival = refused.into_inner();
                begin(server, Arrival { place: Place::take(&self.loads, self.core), ..arrival });
            }
        }
    }
}

/// Accepts on one listener until the drain begins.
async fn accept<S: Service>(acceptor: Rc<Acceptor>, listener: TcpListener, kind: ListenerKind, server: Rc<Server<S>>) {
    loop {
        let accepted = pin!(listener.accept());
        match select(accepted, pin!(server.drain_begun())).await {
            Either::Right(_) => return,
            Either::Left((Ok(accepted), _)) => acceptor.place(accepted, kind, &server),
            Either::Left((Err(error), _)) => {
                // A connection that went away before it was accepted is no failure of ours.
                if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
                    continue;
                }
                let errors = &server.stats().accept_errors;
                errors.set(errors.get().wrapping_add(1));
                tracing::warn!(%error, address = %listener.local_addr(), "cannot accept a connection, pausing");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Serves a connection on this core.
fn begin<S: Service>(server: &Rc<Server<S>>, arrival: Arrival) {
    let Arrival { stream, peer, kind, place } = arrival;
    match TcpStream::adopt(stream) {
        Ok(stream) => {
            let server = Rc::clone(server);
            spawn(async move {
                let _place = place;
                serve(server, stream, peer, kind).await;
            });
        }
        Err(error) => tracing::debug!(%error, %peer, "cannot serve a connection"),
    }
}
