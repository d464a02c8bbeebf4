//! The order of a stop: nobody sends any more, what is pending is judged, what is kept is sent, what follows from it is
//! logged.

use crate::control::{Control, Cores, Snapshot};
use std::time::Duration;
use tailwater_runtime::clock::monotonic_nanos;
use tailwater_runtime::executor::timeout;

/// Time for the last verdicts to reach the disk, whatever the drain has taken.
const LOG_CLOSING_MIN: Duration = Duration::from_secs(2);

/// How a drain went.
pub struct Drained {
    /// Whether all was judged and sent within the time for it.
    pub in_time: bool,
    /// Whether the log was closed within what was left of it.
    pub is_log_closed: bool,
    /// The books of all cores at their end.
    pub last: Vec<Snapshot>,
}

/// Drains all cores and ends them. Without `judges` undecided traces stay as they are.
pub async fn drain(cores: &Cores, budget: Duration, judges: bool) -> Drained {
    let begun = monotonic_nanos();
    let in_time = timeout(budget, send_all(cores, budget, judges)).await.is_ok();
    let taken = Duration::from_nanos(monotonic_nanos().saturating_sub(begun));
    // Once for verdicts and units, and when all cores have told the owners of the units, once for what these then log.
    let closed = timeout(log_closing_max(budget, taken), async {
        cores.ask(Control::CloseLog).await;
        cores.ask(Control::CloseLog).await;
    });
    let is_log_closed = closed.await.is_ok();
    let last = cores.ask(Control::End).await.into_iter().flatten().collect();
    Drained { in_time, is_log_closed, last }
}

async fn send_all(cores: &Cores, budget: Duration, judges: bool) {
    // Requests that were being read are answered and their connections closed; a third of the time at most.
    cores.ask(|answer| Control::StopIntake(budget / 3, answer)).await;
    if judges {
        // Batches may be on their way between cores, and each judging core may wait for none of the others: twice.
        cores.ask(Control::Decide).await;
        cores.ask(Control::Decide).await;
    }
    // What is counted and finds no taker now stays in the log, if there is one.
    _ = timeout(budget / 4, cores.ask(|answer| Control::EndSummaries(judges, answer))).await;
    // What one core reads from its log again may have been parked by another.
    loop {
        cores.ask(Control::Flush).await;
        let idle = |snapshot: &Snapshot| {
            !snapshot.ledger.has_exporting() && !snapshot.log.as_ref().is_some_and(|log| log.is_recalling)
        };
        if cores.snapshots().await.iter().all(idle) {
            break;
        }
    }
    // What was parked on its way to the core that has its segment is not to be delivered while the log is closed.
    cores.ask(Control::EndRecall).await;
    cores.ask(Control::Flush).await;
}

/// How long the log may take to be closed: what the drain has left of its budget. A slow disk must not have the next start
/// deliver again what was delivered, as long as there is time.
fn log_closing_max(budget: Duration, taken: Duration) -> Duration {
    budget.saturating_sub(taken).max(LOG_CLOSING_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_may_take_what_is_left_of_the_drain() {
        let seconds = Duration::from_secs;
        assert_eq!(log_closing_max(seconds(30), seconds(1)), seconds(29));
        assert_eq!(log_closing_max(seconds(30), seconds(30)), LOG_CLOSING_MIN);
        assert_eq!(log_closing_max(seconds(1), seconds(9)), LOG_CLOSING_MIN);
    }
}
