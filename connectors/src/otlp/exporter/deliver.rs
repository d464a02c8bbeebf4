//! What is made of the outcome of a request: several that left together are sent one by one when one of them was refused,
//! and one that is too large for the next hop is cut in halves, down to its items.

use super::counters::count;
use super::reports::Kind;
use super::worker::{Lane, Outcome, Refusal};
use super::{Environment, Exporter, Job};
use bytes::Bytes;
use tailwater_engine::host::ExportFate;
use tailwater_proto::otlp::split::{Half, halves};

impl Exporter {
    /// Sends what left the queue together, and reports each request's fate.
    pub(super) async fn deliver(&self, lane: &mut Lane, jobs: Vec<Job>, environment: &impl Environment) {
        let [job] = &*jobs else { return self.deliver_merged(lane, jobs, environment).await };
        let items = job.delivery.items();
        let outcome = self.send(lane, job, (job.body.clone(), items), environment).await;
        let settlement = match outcome {
            Outcome::Taken(delivered) => job.delivery.report(job.destination, delivered, ExportFate::Refused),
            Outcome::GivenUp(fate) => job.delivery.give_up(job.destination, fate),
            Outcome::Refused(Refusal::Final) => job.delivery.report(job.destination, 0, ExportFate::Refused),
            Outcome::Refused(Refusal::TooLarge) => return self.deliver_in_parts(lane, job, environment).await,
        };
        self.release(job);
        settlement.into_iter().for_each(|settlement| environment.settled(settlement));
    }

    /// Sends several requests as one: their messages, one behind the other, are one message.
    async fn deliver_merged(&self, lane: &mut Lane, jobs: Vec<Job>, environment: &impl Environment) {
        let Some(first) = jobs.first() else { return };
        let bytes = jobs.iter().map(|job| job.body.len()).sum();
        let mut body = Vec::with_capacity(bytes);
        jobs.iter().for_each(|job| body.extend_from_slice(&job.body));
        let items = jobs.iter().fold(0_u32, |sum, job| sum.saturating_add(job.delivery.items()));
        count(&self.counters.requests_merged, jobs.len() as u64);
        let mut delivered = match self.send(lane, first, (body.into(), items), environment).await {
            Outcome::Taken(delivered) => delivered,
            Outcome::GivenUp(fate) => {
                for job in &jobs {
                    self.release(job);
                    let settlement = job.delivery.give_up(job.destination, fate);
                    settlement.into_iter().for_each(|settlement| environment.settled(settlement));
                }
                return;
            }
            Outcome::Refused(_) => {
                // One of them may be to blame; the others are not to suffer for it.
                for job in jobs {
                    Box::pin(self.deliver(lane, vec![job], environment)).await;
                }
                return;
            }
        };
        for job in &jobs {
            self.release(job);
            let own = job.delivery.items().min(delivered);
            delivered -= own;
            let settlement = job.delivery.report(job.destination, own, ExportFate::Refused);
            settlement.into_iter().for_each(|settlement| environment.settled(settlement));
        }
    }

    /// Sends a request in parts that was refused for its size. An item that is too large alone is lost.
    async fn deliver_in_parts(&self, lane: &mut Lane, job: &Job, environment: &impl Environment) {
        let items = job.delivery.items();
        // What is as large as this was refused before.
        let mut refused_bytes = job.body.len();
        let mut parts = vec![Half { body: job.body.to_vec(), items }];
        let (mut delivered, mut too_large) = (0, 0);
        let mut given_up = None;
        while let Some(part) = parts.pop() {
            let bytes = part.body.len();
            if bytes >= refused_bytes
                && let Some([first, second]) = halves(job.signal, &part.body)
            {
                count(&self.counters.requests_split, 1);
                parts.extend([second, first]);
                continue;
            }
            if bytes >= refused_bytes && bytes == job.body.len() {
                // It can't be cut and was refused as it is.
                too_large += part.items;
                continue;
            }
            match self.send(lane, job, (Bytes::from(part.body.clone()), part.items), environment).await {
                Outcome::Taken(taken) => delivered += taken,
                Outcome::Refused(Refusal::Final) => {}
                Outcome::Refused(Refusal::TooLarge) => {
                    refused_bytes = refused_bytes.min(bytes);
                    if part.items > 1 { parts.push(part) } else { too_large += part.items }
                }
                Outcome::GivenUp(fate) => {
                    given_up = Some(fate);
                    break;
                }
            }
        }
        if too_large > 0 {
            let what = "items are lost: each is larger alone than the next hop takes; raise the limit there \
                (max_recv_msg_size_mib, max_request_body_size)";
            self.reports.failed(&self.name, Kind::TooLarge, environment.now(), &format!("{too_large} {what}"), None);
        }
        self.release(job);
        let settlement = match given_up {
            Some(fate) if job.delivery.is_recoverable() => job.delivery.give_up(job.destination, fate),
            Some(fate) => job.delivery.report(job.destination, delivered, fate),
            None if too_large > 0 => job.delivery.report(job.destination, delivered, ExportFate::TooLarge),
            None => job.delivery.report(job.destination, delivered, ExportFate::Refused),
        };
        settlement.into_iter().for_each(|settlement| environment.settled(settlement));
    }
}
