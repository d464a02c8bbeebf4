//! Logs and metrics beside the traces: so many records and points for each span that is sent, one request after the other on
//! a connection of their own, with books of their own.

use super::account::Account;
use super::deliver::{RETRY_FIRST, RETRY_LONGEST, Shared, nanos, rejected_items};
use super::lane::Lane;
use super::rounds::positions;
use crate::corpus::logs::{self, Moment};
use crate::corpus::metrics::Sources;
use crate::corpus::plan::service_name;
use crate::visible::Visible;
use bytes::Bytes;
use prost::Message as _;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tailwater_net::client::CallError;
use tailwater_proto::otlp::Signal;
use tailwater_runtime::clock::{monotonic_nanos, unix_nanos};
use tailwater_runtime::executor;

/// Records or points of a request.
const ITEMS_PER_REQUEST: u32 = 200;
/// Between two looks at how many are due.
const LOOK: Duration = Duration::from_millis(10);

/// A request, ready to go.
struct Prepared {
    body: Bytes,
    /// as far as it is known before the answer
    account: Account,
    /// what can be told apart in it, where that is asked for
    visible: Visible,
}

/// What sends one signal of a worker.
pub struct Beside {
    /// logs or metrics
    pub signal: Signal,
    /// number of the worker
    pub worker: u64,
    /// where to
    pub lane: Lane,
    /// shared with the driver
    pub shared: Rc<Shared>,
}

impl Beside {
    /// Sends what is due until the driver has ended and that, too, is sent. `begin` is the start of the run.
    pub async fn run(self, begin: u64, done: async_channel::Sender<()>) {
        let settings = &self.shared.settings;
        let mut random = fastrand::Rng::with_seed(settings.corpus.seed ^ (self.worker << 8) ^ self.signal as u64);
        let mut sources = Sources::new(self.worker, settings.corpus.services, unix_nanos());
        let mut sent = 0;
        let mut service = 0;
        loop {
            let has_ended = self.shared.has_ended.get();
            let due = self.due(begin);
            if due >= sent + u64::from(ITEMS_PER_REQUEST) {
                let prepared = self.prepare(service, &mut sources, &mut random);
                sent += prepared.account.sent;
                self.deliver(service, prepared).await;
                service = (service + 1) % settings.corpus.services;
            } else if has_ended {
                break;
            } else {
                executor::sleep(LOOK).await;
            }
        }
        // The driver waits for it.
        let _ = done.send(()).await;
    }

    /// Records or points that are due: by the spans sent, or by the rate where no spans are.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counts of a run are far below 2^53"
    )]
    fn due(&self, begin: u64) -> u64 {
        let settings = &self.shared.settings;
        let share = if self.signal == Signal::Logs { settings.logs_per_span } else { settings.points_per_span };
        let spans = if settings.signals.traces {
            self.shared.tally.borrow().sent as f64
        } else {
            let elapsed = monotonic_nanos().saturating_sub(begin).min(nanos(settings.duration));
            settings.rate.unwrap_or_default() * elapsed as f64 / 1e9
        };
        (spans * share) as u64
    }

    fn prepare(&self, service: u16, sources: &mut Sources, random: &mut fastrand::Rng) -> Prepared {
        let tells_visible = self.shared.settings.tells_visible;
        let mut visible = Visible::default();
        if self.signal == Signal::Logs {
            let (request, of_traces) = logs::request((service, self.worker), ITEMS_PER_REQUEST, self.moment(), random);
            let account = Account { sent: u64::from(ITEMS_PER_REQUEST), of_traces, ..Account::default() };
            if tells_visible {
                visible.logs(&request);
            }
            return Prepared { body: request.encode_to_vec().into(), account, visible };
        }
        let made = sources.request(service, ITEMS_PER_REQUEST, unix_nanos(), random);
        let account = Account { sent: made.points, delta: made.delta, ..Account::default() };
        if tells_visible {
            visible.metrics(&made.request);
        }
        Prepared { body: made.request.encode_to_vec().into(), account, visible }
    }

    /// The traces of the round that was begun last.
    fn moment(&self) -> Moment {
        let settings = &self.shared.settings;
        let bodies = self.shared.bodies.borrow();
        let begun = self.shared.rounds_begun.get();
        let round = begun.saturating_sub(1) % bodies.rounds_distinct();
        let first_trace = positions(settings, self.worker, round, 0).first_trace;
        let traces = if begun > 0 { u64::from(settings.corpus.traces_per_round()) } else { 0 };
        Moment { identity: bodies.identity(), first_trace, traces, unix_nanos: unix_nanos() }
    }

    async fn deliver(&self, service: u16, prepared: Prepared) {
        let answer = self.send(&prepared.body).await;
        let mut account = prepared.account;
        match answer {
            Ok(rejected) => {
                (account.acked, account.rejected) = (account.sent, rejected);
                account.bytes = prepared.body.len() as u64;
                if rejected == 0 {
                    self.shared.tally.borrow_mut().visible.merge(prepared.visible);
                }
            }
            Err(error) => {
                account = Account { sent: account.sent, refused: account.sent, ..Account::default() };
                self.shared.tally.borrow_mut().first_error.get_or_insert_with(|| error.to_string());
            }
        }
        let key = (self.signal.name(), service_name(service));
        self.shared.tally.borrow_mut().beside.entry(key).or_default().add(account);
    }

    /// Sends, again where the server allows it; returns how many items it says it rejected.
    async fn send(&self, body: &Bytes) -> Result<u64, CallError> {
        let mut pause = RETRY_FIRST;
        loop {
            let error = match self.lane.call(body.clone()).await {
                Ok(answer) => return Ok(rejected_items(&answer)),
                Err(error) => error,
            };
            let wait = error.retry_after().unwrap_or(pause);
            pause = (pause * 2).min(RETRY_LONGEST);
            let resume = monotonic_nanos().saturating_add(nanos(wait));
            if !error.is_retryable() || resume > self.shared.give_up_at.get() || self.shared.counters.stop.load(Relaxed)
            {
                return Err(error);
            }
            executor::sleep(wait).await;
        }
    }
}
