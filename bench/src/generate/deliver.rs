//! One request on its way: sent, sent again where the server allows it, and accounted for.

use super::account::{Accounts, Counters};
use super::bodies::Bodies;
use super::lane::Lane;
use super::options::Settings;
use super::rounds::RoundLedger;
use crate::corpus::plan::KeepReason;
use crate::visible::Visible;
use bytes::Bytes;
use hdrhistogram::Histogram;
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tailwater_net::client::CallError;
use tailwater_runtime::clock::monotonic_nanos;
use tailwater_runtime::executor;

/// First pause before a refused request is sent again where the server names none; doubled each time.
pub(super) const RETRY_FIRST: Duration = Duration::from_millis(100);
/// Longest such pause.
pub(super) const RETRY_LONGEST: Duration = Duration::from_secs(5);

/// What one worker has done; the fields are those of [`super::Report`].
#[derive(Debug)]
pub struct WorkerReport {
    pub sent: u64,
    pub acked: u64,
    pub refused: u64,
    pub unsent: u64,
    pub together: u64,
    pub rejected: u64,
    pub retried: u64,
    pub requests: u64,
    pub body_bytes: u64,
    pub body_bytes_plain: u64,
    pub span_bytes_mean: f64,
    pub ids_repeated: bool,
    pub copies: u64,
    pub must_keep: Vec<(u128, KeepReason)>,
    pub unsure: Vec<u128>,
    pub latency: Histogram<u64>,
    pub first_error: Option<String>,
    pub beside: Accounts,
    pub visible: Visible,
}

/// What the driver and the tasks of one worker share.
pub struct Shared {
    /// what to do
    pub settings: Arc<Settings>,
    /// live counters
    pub counters: Arc<Counters>,
    /// what is sent
    pub bodies: RefCell<Bodies>,
    /// which rounds came through
    pub ledger: RefCell<RoundLedger>,
    /// what has been measured
    pub tally: RefCell<WorkerReport>,
    /// tells the driver that a request is answered
    pub answered: async_channel::Sender<()>,
    /// monotonic time from which on latencies count
    pub measure_from: Cell<u64>,
    /// monotonic time after which refused requests are given up
    pub give_up_at: Cell<u64>,
    /// rounds begun so far
    pub rounds_begun: Cell<u64>,
    /// whether no more spans are sent
    pub has_ended: Cell<bool>,
}

/// One request on its way.
pub struct Delivery {
    /// its body
    pub body: Bytes,
    /// spans in it
    pub spans: u64,
    /// its round
    pub round: u64,
    /// template and request whose memory the body is; `None` for late ones
    pub memory: Option<(usize, usize)>,
    /// bytes of the body before compression
    pub plain_bytes: u64,
    /// monotonic time at which it should go out
    pub intended: u64,
}

impl Shared {
    /// Sends until it is acknowledged or given up, then accounts for it.
    pub async fn deliver(&self, lane: &Lane, delivery: Delivery) {
        let Delivery { body, spans, round, memory, plain_bytes, intended } = delivery;
        let answer = self.send(lane, &body, spans).await;
        let latency = monotonic_nanos().saturating_sub(intended);
        {
            let mut tally = self.tally.borrow_mut();
            match &answer {
                Ok(rejected) => {
                    tally.acked += spans;
                    tally.rejected += rejected;
                    tally.requests += 1;
                    tally.body_bytes += body.len() as u64;
                    tally.body_bytes_plain += plain_bytes;
                    if intended >= self.measure_from.get() {
                        tally.latency.saturating_record(latency);
                    }
                    self.counters.acked.fetch_add(spans, Relaxed);
                    self.counters.rejected.fetch_add(*rejected, Relaxed);
                    self.counters.latency_max.fetch_max(latency, Relaxed);
                }
                Err(error) => {
                    tally.refused += spans;
                    self.counters.refused.fetch_add(spans, Relaxed);
                    tally.first_error.get_or_insert_with(|| error.to_string());
                }
            }
        }
        self.ledger.borrow_mut().settle(round, answer.is_ok_and(|rejected| rejected == 0));
        if let Some((variant, request)) = memory {
            self.bodies.borrow_mut().give_back(variant, request, body);
        }
        self.counters.in_flight.fetch_sub(1, Relaxed);
        // There is room for as many as may be in flight.
        let _ = self.answered.try_send(());
    }

    /// Sends, again where the server allows it; the number of spans it says it rejected is returned.
    async fn send(&self, lane: &Lane, body: &Bytes, spans: u64) -> Result<u64, CallError> {
        let mut pause = RETRY_FIRST;
        loop {
            let error = match lane.call(body.clone()).await {
                Ok(answer) => return Ok(rejected_items(&answer)),
                Err(error) => error,
            };
            let wait = error.retry_after().unwrap_or(pause);
            pause = (pause * 2).min(RETRY_LONGEST);
            let resume = monotonic_nanos().saturating_add(nanos(wait));
            if !error.is_retryable() || resume > self.give_up_at.get() {
                return Err(error);
            }
            {
                let mut tally = self.tally.borrow_mut();
                tally.retried += spans;
                tally.first_error.get_or_insert_with(|| error.to_string());
            }
            self.counters.retried.fetch_add(spans, Relaxed);
            executor::sleep(wait).await;
        }
    }
}

/// Nanoseconds, saturating.
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// How many items an answer in protobuf says that it rejected, or how many spans one in JSON; 0 where there is none.
pub(super) fn rejected_items(answer: &[u8]) -> u64 {
    if answer.first() == Some(&b'{') {
        let value: serde_json::Value = serde_json::from_slice(answer).unwrap_or_default();
        let rejected = &value["partialSuccess"]["rejectedSpans"];
        return rejected.as_u64().or_else(|| rejected.as_str()?.parse().ok()).unwrap_or(0);
    }
    // Field 1, a message; its field 1, a varint. Written first by every encoder in use.
    let Some([0x0a, _length, 0x08, rest @ ..]) = answer.get(..) else { return 0 };
    let mut value = 0;
    for (index, byte) in rest.iter().take(9).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            break;
        }
    }
    value
}
