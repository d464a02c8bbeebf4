//! Which request goes out next: one round after the other, or many rounds at a time, so that the spans of a trace arrive over
//! a while and the traces of all these rounds are interleaved.
//!
//! A spread round has its requests due at even distances from its begin on. One begins for each round's worth of requests
//! sent, so that as much falls due as goes out; after the pace has dropped all goes out later by the same time. What is left
//! of the pace, above all at the start, when little is due yet, is filled with rounds that go out at once; how much that was
//! is counted.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Spread rounds under way, at most: each is a few words here and an entry in the books. At a million spans a second rounds
/// of 8,000 spans reach it with a spread of half a minute.
const OPEN_MAX: usize = 4_096;

/// One request of a round, and what must be remembered of the round until it goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Turn {
    /// monotonic time from which on it may go out, nanoseconds
    pub due: u64,
    /// its round
    pub round: u64,
    /// index of the request in the round
    pub request: usize,
    /// requests of the round
    requests: usize,
    /// monotonic time at which the first request of the round went out, nanoseconds
    begun: u64,
    /// Unix time that the round is stamped with, nanoseconds
    pub unix_nanos: u64,
    /// whether the round is spread
    pub is_spread: bool,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// begin a round, spread or not
    Begin {
        /// over the time asked for, not at once
        is_spread: bool,
    },
    /// send this request
    Send(Turn),
    /// nothing is due before this monotonic time
    Wait(u64),
    /// all that was begun is sent
    End,
}

/// The rounds under way.
#[derive(Debug)]
pub struct Schedule {
    /// time from the first to the last request of a round, nanoseconds; 0 sends round after round
    spread: u64,
    open: BinaryHeap<Reverse<Turn>>,
    filling: Option<Turn>,
    /// requests sent for which no spread round has begun yet
    credit: usize,
    /// requests of a round, as far as is known
    requests: usize,
}

impl Schedule {
    /// Nothing is under way.
    #[must_use]
    pub const fn new(spread: u64) -> Self {
        Self { spread, open: BinaryHeap::new(), filling: None, credit: 1, requests: 1 }
    }

    /// What to do at `now`; nothing new begins unless `may_begin`.
    pub fn next(&mut self, now: u64, may_begin: bool) -> Next {
        let due = self.open.peek().map(|Reverse(turn)| turn.due);
        let has_room = self.open.len() < OPEN_MAX && self.credit >= self.requests;
        if self.spread > 0 && may_begin && has_room {
            return Next::Begin { is_spread: true };
        }
        // A round that fills is not left half sent for longer than a spread one: its traces would be judged without the rest.
        let is_old = |turn: &mut Turn| self.spread > 0 && turn.request > 0 && turn.due <= now;
        if let Some(turn) = self.filling.take_if(is_old) {
            return self.send(turn, now);
        }
        if due.is_some_and(|due| due <= now)
            && let Some(Reverse(turn)) = self.open.pop()
        {
            return self.send(turn, now);
        }
        if let Some(turn) = self.filling.take() {
            return self.send(turn, now);
        }
        if may_begin {
            return Next::Begin { is_spread: false };
        }
        due.map_or(Next::End, Next::Wait)
    }

    /// A round of so many requests begins, as [`Schedule::next`] said.
    pub fn begin(&mut self, round: u64, requests: usize, is_spread: bool, begun: u64, unix_nanos: u64) {
        self.requests = requests;
        let turn = Turn { due: begun, round, request: 0, requests, begun, unix_nanos, is_spread };
        if is_spread {
            self.credit = self.credit.saturating_sub(requests);
            self.open.push(Reverse(turn));
        } else {
            self.filling = Some(turn);
        }
    }

    /// The request goes out, and the next one of its round takes its place.
    fn send(&mut self, turn: Turn, now: u64) -> Next {
        // A pause does not let many rounds begin at once afterwards.
        self.credit = (self.credit + 1).min(2 * self.requests);
        let request = turn.request + 1;
        if request < turn.requests {
            // Its time counts from the first that went out: one that others held up is not hurried afterwards.
            let begun = if turn.request == 0 { now } else { turn.begun };
            let steps = (turn.requests - 1) as u64;
            let after = self.spread / steps * request as u64;
            let next = Turn { request, begun, due: begun.saturating_add(after), ..turn };
            if turn.is_spread {
                self.open.push(Reverse(next));
            } else {
                self.filling = Some(next);
            }
        }
        Next::Send(turn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    const REQUESTS: usize = 8;
    const SPREAD: u64 = 8_000;

    /// What went out when, one request each `pace`, with rounds that begin until `end`.
    fn sent(spread: u64, pace: u64, end: u64) -> Vec<(u64, Turn)> {
        let mut schedule = Schedule::new(spread);
        let (mut now, mut round, mut sent) = (0, 0, Vec::new());
        loop {
            match schedule.next(now, now < end) {
                Next::Begin { is_spread } => {
                    schedule.begin(round, REQUESTS, is_spread, now, now);
                    round += 1;
                }
                Next::Send(turn) => {
                    sent.push((now, turn));
                    now += pace;
                }
                Next::Wait(until) => {
                    assert!(until > now);
                    now = until;
                }
                Next::End => return sent,
            }
        }
    }

    fn rounds(sent: &[(u64, Turn)]) -> HashMap<u64, Vec<(u64, Turn)>> {
        let mut rounds: HashMap<_, Vec<_>> = HashMap::new();
        for (now, turn) in sent {
            rounds.entry(turn.round).or_default().push((*now, *turn));
        }
        rounds
    }

    /// Without `is_old` the second request of the round that fills would wait for as long as something else is due.
    #[test]
    fn a_round_that_fills_is_not_left_behind() {
        let mut schedule = Schedule::new(100);
        schedule.begin(0, 2, false, 0, 0);
        assert!(matches!(schedule.next(0, false), Next::Send(Turn { round: 0, request: 0, .. })));
        schedule.begin(1, 300, true, 0, 0);
        assert!(matches!(schedule.next(99, false), Next::Send(Turn { round: 1, .. })));
        assert!(matches!(schedule.next(100, false), Next::Send(Turn { round: 0, request: 1, .. })));
        assert!(matches!(schedule.next(100, false), Next::Send(Turn { round: 1, .. })));
    }

    #[test]
    fn without_a_spread_round_follows_round() {
        let sent = sent(0, 1, 80);
        let expected: Vec<_> = (0..80).map(|number| (number / 8, number as usize % 8)).collect();
        assert_eq!(sent.iter().map(|(_, turn)| (turn.round, turn.request)).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn every_request_goes_out_once_and_a_spread_round_takes_its_time() {
        // Without `has_room` all rounds begin at once and none keeps its time.
        for pace in [10, 100, 500] {
            let sent = sent(SPREAD, pace, 10 * SPREAD);
            for (round, turns) in rounds(&sent) {
                assert_eq!(
                    turns.iter().map(|(_, turn)| turn.request).collect::<Vec<_>>(),
                    (0..REQUESTS).collect::<Vec<_>>()
                );
                let (begin, end) = (turns[0].0, turns[REQUESTS - 1].0);
                if turns[0].1.is_spread {
                    assert!(
                        (SPREAD - 2 * pace..SPREAD * 5 / 4).contains(&(end - begin)),
                        "{pace}: {round} took {}",
                        end - begin
                    );
                }
            }
        }
    }

    #[test]
    fn once_as_much_is_due_as_goes_out_nearly_all_is_spread_and_interleaved() {
        let sent = sent(SPREAD, 10, 10 * SPREAD);
        let steady: Vec<_> = sent.iter().filter(|(now, _)| (2 * SPREAD..10 * SPREAD).contains(now)).collect();
        assert_eq!(steady.len() as u64, 8 * SPREAD / 10, "the pace is kept");
        let together = steady.iter().filter(|(_, turn)| !turn.is_spread).count();
        assert!(together * 50 < steady.len(), "{together} of {}", steady.len());
        let window: std::collections::HashSet<_> = steady[..100].iter().map(|(_, turn)| turn.round).collect();
        assert!(window.len() > 50, "only {} rounds in a hundred requests", window.len());
    }
}
