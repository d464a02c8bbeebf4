//! One thread of the generator: paces, patches, sends and accounts.

use super::Message;
use super::account::{Accounts, Counters, latencies};
use super::beside::Beside;
use super::bodies::Bodies;
use super::deliver::{Delivery, Shared, WorkerReport, nanos};
use super::lane::Lane;
use super::options::Settings;
use super::rounds::positions;
use super::schedule::{Next, Schedule, Turn};
use crate::corpus::RoundPosition;
use crate::corpus::plan::RoundPlan;
use crate::visible::Visible;
use bytes::Bytes;
use hdrhistogram::Histogram;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::Sender;
use std::time::Duration;
use tailwater_proto::otlp::Signal;
use tailwater_runtime::Backend;
use tailwater_runtime::clock::{monotonic_nanos, unix_nanos};
use tailwater_runtime::executor;

/// Timers are late by up to this many nanoseconds; the rest of a wait is spent yielding, so that requests leave when they
/// should. tokio's timers count milliseconds, the kernel's are finer.
const fn timer_lateness(backend: Backend) -> u64 {
    match backend {
        Backend::Uring => 300_000,
        Backend::Epoll => 1_500_000,
    }
}
/// A worker before it runs.
pub struct Worker {
    /// 0 and up
    pub number: u64,
    /// what to do
    pub settings: Arc<Settings>,
    /// live counters
    pub counters: Arc<Counters>,
    /// says when to begin
    pub started: async_channel::Receiver<u64>,
}

impl Worker {
    /// Prepares, waits for the start, sends everything, and reports to the main thread.
    pub async fn run(self, sender: Sender<Message>) {
        let outcome = match self.prepare().await {
            Err(text) => Message::Failed(text),
            Ok((driver, started)) => {
                let _ = sender.send(Message::Ready);
                match started.recv().await {
                    // The main thread gave up before the start.
                    Err(_closed) => return,
                    Ok(begin) => Message::Done(Box::new(driver.drive(begin).await)),
                }
            }
        };
        let _ = sender.send(outcome);
    }

    async fn prepare(self) -> Result<(Driver, async_channel::Receiver<u64>), String> {
        let bodies = Bodies::prepare(&self.settings, self.number)?;
        let mut lanes = Vec::new();
        for number in 0..self.settings.connections {
            let target = &self.settings.targets[number % self.settings.targets.len()];
            let lane = Lane::new(&self.settings, target)?;
            lane.connect().await.map_err(|error| error.to_string())?;
            lanes.push(Rc::new(lane));
        }
        let span_bytes: u64 = bodies.template(0).span_bytes;
        let (answered, answers) = async_channel::bounded(self.settings.in_flight.max(1));
        #[expect(clippy::cast_precision_loss, reason = "a mean needs no 53 bits")]
        let tally = WorkerReport {
            sent: 0,
            acked: 0,
            refused: 0,
            unsent: 0,
            together: 0,
            rejected: 0,
            retried: 0,
            requests: 0,
            body_bytes: 0,
            body_bytes_plain: 0,
            span_bytes_mean: span_bytes as f64 / bodies.template(0).spans().max(1) as f64,
            ids_repeated: false,
            copies: 0,
            must_keep: Vec::new(),
            unsure: Vec::new(),
            latency: latencies()?,
            first_error: None,
            beside: Accounts::new(),
            visible: Visible::default(),
        };
        let shared = Rc::new(Shared {
            settings: self.settings,
            counters: self.counters,
            bodies: RefCell::new(bodies),
            ledger: RefCell::default(),
            tally: RefCell::new(tally),
            answered,
            measure_from: Cell::new(0),
            give_up_at: Cell::new(u64::MAX),
            rounds_begun: Cell::new(0),
            has_ended: Cell::new(false),
        });
        let beside = beside(self.number, &shared)?;
        let schedule = Schedule::new(nanos(shared.settings.spread));
        let driver = Driver {
            number: self.number,
            shared,
            lanes,
            answers,
            schedule,
            in_flight: 0,
            late: VecDeque::new(),
            spans: 0,
            spans_begun: 0,
            beside,
        };
        Ok((driver, self.started))
    }
}

/// The task that sends.
struct Driver {
    number: u64,
    shared: Rc<Shared>,
    lanes: Vec<Rc<Lane>>,
    answers: async_channel::Receiver<()>,
    schedule: Schedule,
    in_flight: usize,
    /// late requests by the time they are due
    late: VecDeque<Delivery>,
    /// spans sent so far, which say when the next request is due
    spans: u64,
    /// spans of the rounds begun so far
    spans_begun: u64,
    /// what sends logs and metrics, until it runs
    beside: Vec<Beside>,
}

/// What sends logs and metrics, where that was asked for.
fn beside(worker: u64, shared: &Rc<Shared>) -> Result<Vec<Beside>, String> {
    let settings = &shared.settings;
    let signals = [(settings.signals.logs, Signal::Logs), (settings.signals.metrics, Signal::Metrics)];
    let target = &settings.targets[usize::try_from(worker).unwrap_or(0) % settings.targets.len()];
    let wanted = signals.into_iter().filter(|(is_wanted, _)| *is_wanted);
    wanted
        .map(|(_, signal)| {
            let lane = Lane::of(signal, settings, target)?;
            Ok(Beside { signal, worker, lane, shared: Rc::clone(shared) })
        })
        .collect()
}

impl Driver {
    async fn drive(mut self, begin: u64) -> WorkerReport {
        let settings = Arc::clone(&self.shared.settings);
        let end = begin.saturating_add(nanos(settings.duration));
        self.shared.measure_from.set(begin.saturating_add(nanos(settings.warm_up)));
        // What was due in time is sent even if it is late, but the end does not move without limit.
        let late_end = end.saturating_add(nanos(settings.timeout));
        let beside = self.begin_beside(begin);
        let mut round = 0;
        let mut may_begin = settings.signals.traces;
        if !may_begin {
            self.wait_until(end).await;
        }
        loop {
            let now = monotonic_nanos();
            let is_stopped = self.shared.counters.stop.load(Relaxed);
            may_begin &= !is_stopped && round < settings.rounds_max && self.due_at(begin).unwrap_or(now) < end;
            if may_begin && now >= late_end {
                self.shared.tally.borrow_mut().unsent = self.spans_due(end - begin).saturating_sub(self.spans_begun);
                may_begin = false;
            }
            match self.schedule.next(now, may_begin) {
                Next::Begin { is_spread } => {
                    self.begin_round(round, is_spread, now);
                    round += 1;
                }
                Next::Send(turn) => self.send(turn, begin).await,
                Next::Wait(until) => self.wait_until(until).await,
                Next::End => break,
            }
            if is_stopped && !settings.spread.is_zero() {
                // The rounds that are not whole count as torn.
                break;
            }
        }
        while let Some(due) = self.late.front().map(|delivery| delivery.intended) {
            if self.shared.counters.stop.load(Relaxed) {
                // The rounds whose late spans are not sent count as torn.
                break;
            }
            self.wait_until(due).await;
            self.send_late().await;
        }
        self.shared.give_up_at.set(monotonic_nanos().saturating_add(nanos(settings.timeout)));
        self.shared.has_ended.set(true);
        // The channel closes with the last of them.
        while beside.recv().await.is_ok() {}
        while self.in_flight > 0 {
            self.await_answer().await;
        }
        self.finish(round)
    }

    /// Starts what sends logs and metrics; what is returned closes when they have ended.
    fn begin_beside(&mut self, begin: u64) -> async_channel::Receiver<()> {
        let (done, ended) = async_channel::bounded(2);
        for each in self.beside.drain(..) {
            executor::spawn(each.run(begin, done.clone()));
        }
        ended
    }

    fn begin_round(&mut self, round: u64, is_spread: bool, now: u64) {
        let (requests, spans) = {
            let bodies = self.shared.bodies.borrow();
            let template = bodies.template(round);
            (template.requests.len(), template.spans())
        };
        self.schedule.begin(round, requests, is_spread, now, unix_nanos());
        self.shared.ledger.borrow_mut().begin(round, requests);
        self.spans_begun += spans;
        self.shared.rounds_begun.set(round + 1);
    }

    async fn send(&mut self, turn: Turn, begin: u64) {
        let Turn { round, request, unix_nanos, is_spread, due, .. } = turn;
        let position = positions(&self.shared.settings, self.number, round, unix_nanos);
        let (spans, late) = {
            let bodies = self.shared.bodies.borrow();
            let template = &bodies.template(round).requests[request];
            (template.spans, template.late)
        };
        if !is_spread && !self.shared.settings.spread.is_zero() {
            self.shared.tally.borrow_mut().together += spans;
        }
        if late {
            self.defer(round, request, spans, position).await;
            return;
        }
        // What is spread is not due before its own time, also where the rate would have it so at the end.
        let intended = self.due(begin).await.max(if is_spread { due } else { 0 });
        self.send_late().await;
        self.wait_for_room(round, request).await;
        let (body, variant, plain_bytes) = {
            let mut bodies = self.shared.bodies.borrow_mut();
            let plain_bytes = bodies.template(round).requests[request].bytes.len() as u64;
            (bodies.take(round, request, position), bodies.variant(round), plain_bytes)
        };
        self.spans += spans;
        let memory = Some((variant, request));
        self.launch(Delivery { body, spans, round, memory, plain_bytes, intended }, request);
    }

    /// Time at which the next request should go out; `None` in the closed loop.
    fn due_at(&self, begin: u64) -> Option<u64> {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "hours in nanoseconds fit 53 bits closely enough"
        )]
        self.shared.settings.rate.map(|rate| begin.saturating_add((self.spans as f64 * 1e9 / rate) as u64))
    }

    /// Spans that were due after so many nanoseconds; 0 in the closed loop.
    fn spans_due(&self, nanos: u64) -> u64 {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "hours in nanoseconds fit 53 bits closely enough"
        )]
        self.shared.settings.rate.map_or(0, |rate| (nanos as f64 / 1e9 * rate) as u64)
    }

    /// Waits until the next request should go out and returns when that was; in the closed loop that is now.
    async fn due(&mut self, begin: u64) -> u64 {
        let Some(intended) = self.due_at(begin) else { return monotonic_nanos() };
        self.wait_until(intended).await;
        intended
    }

    async fn wait_until(&mut self, time: u64) {
        let lateness = timer_lateness(executor::backend());
        loop {
            let left = time.saturating_sub(monotonic_nanos());
            if left == 0 || self.shared.counters.stop.load(Relaxed) {
                return;
            }
            if left > lateness {
                // At most a moment at a time, so that an interrupt is seen.
                executor::sleep(Duration::from_nanos((left - lateness).min(200_000_000))).await;
            } else {
                executor::yield_now().await;
            }
        }
    }

    /// Waits until another request may be in flight and this one's memory is free.
    async fn wait_for_room(&mut self, round: u64, request: usize) {
        while self.answers.try_recv().is_ok() {
            self.in_flight -= 1;
        }
        while self.in_flight >= self.shared.settings.in_flight || !self.shared.bodies.borrow().is_free(round, request) {
            self.await_answer().await;
        }
    }

    async fn await_answer(&mut self) {
        if self.answers.recv().await.is_ok() {
            self.in_flight -= 1;
        }
    }

    /// Keeps a copy of the round's late request until it is due.
    async fn defer(&mut self, round: u64, request: usize, spans: u64, position: RoundPosition) {
        let intended = monotonic_nanos().saturating_add(nanos(self.shared.settings.late_after));
        let mut bodies = self.shared.bodies.borrow_mut();
        let body = bodies.take(round, request, position);
        let variant = bodies.variant(round);
        // Its memory is needed again long before it is sent.
        let copy = Bytes::copy_from_slice(&body);
        let plain_bytes = bodies.template(round).requests[request].bytes.len() as u64;
        bodies.give_back(variant, request, body);
        drop(bodies);
        self.late.push_back(Delivery { body: copy, spans, round, memory: None, plain_bytes, intended });
    }

    /// Sends the late requests that are due.
    async fn send_late(&mut self) {
        while self.late.front().is_some_and(|delivery| delivery.intended <= monotonic_nanos()) {
            while self.in_flight >= self.shared.settings.in_flight {
                self.await_answer().await;
            }
            if let Some(delivery) = self.late.pop_front() {
                let lane = usize::try_from(delivery.round % self.lanes.len() as u64).unwrap_or(0);
                self.launch(delivery, lane);
            }
        }
    }

    fn launch(&mut self, delivery: Delivery, lane: usize) {
        self.in_flight += 1;
        self.shared.tally.borrow_mut().sent += delivery.spans;
        self.shared.counters.sent.fetch_add(delivery.spans, Relaxed);
        self.shared.counters.in_flight.fetch_add(1, Relaxed);
        let lane = Rc::clone(&self.lanes[lane % self.lanes.len()]);
        let shared = Rc::clone(&self.shared);
        executor::spawn(async move { shared.deliver(&lane, delivery).await });
    }

    fn finish(self, rounds: u64) -> WorkerReport {
        let mut ledger = self.shared.ledger.take();
        ledger.close();
        let bodies = self.shared.bodies.borrow();
        let distinct = bodies.rounds_distinct();
        let keep_of = |round: u64| {
            let position = positions(&self.shared.settings, self.number, round % distinct, 0);
            let identity = bodies.identity();
            bodies.template(round).keep.iter().map(move |(trace, reason)| {
                let id = identity.trace(position.first_trace.wrapping_add(u64::from(*trace)));
                (u128::from_be_bytes(id.to_bytes()), *reason)
            })
        };
        let must_keep = ledger.whole.iter().flat_map(|round| keep_of(*round)).collect();
        let unsure = ledger.torn.iter().flat_map(|round| keep_of(*round)).map(|(id, _)| id).collect();
        let (copies, ids_repeated) = (bodies.copies, rounds > distinct);
        let mut visible = std::mem::take(&mut self.shared.tally.borrow_mut().visible);
        if self.shared.settings.tells_visible {
            let variants: BTreeSet<_> = ledger.whole.iter().map(|round| bodies.variant(*round % distinct)).collect();
            for variant in variants {
                visible
                    .round(&RoundPlan::draw(&self.shared.settings.corpus, Bodies::variant_seed(variant, self.number)));
            }
        }
        // Everything is answered, so nobody else holds the tally any more; its histogram is moved out.
        let mut tally = self.shared.tally.borrow_mut();
        let empty = Histogram::new_from(&tally.latency);
        WorkerReport {
            must_keep,
            unsure,
            copies,
            ids_repeated,
            latency: std::mem::replace(&mut tally.latency, empty),
            first_error: tally.first_error.take(),
            beside: std::mem::take(&mut tally.beside),
            visible,
            ..*tally
        }
    }
}
