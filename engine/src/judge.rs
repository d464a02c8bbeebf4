//! Judging: what the rules say of a trace, by what is known of it. The bench has all that a verdict depends on besides the
//! trace itself: the rules, what their limits have left, how long traces of each kind take, where randomness comes from.
//! It holds no trace and changes no book: what it judges are cases, wherever they are held, and what it says is a ruling,
//! which others carry out.

mod ruling;
mod windows;

pub use ruling::Ruling;
pub use windows::{WINDOW_TICKS, Windows};

use crate::evidence::{Row, Summary, TraceHead};
use crate::ledger::{DropReason, PolicyCounts};
use crate::randomness::Randomness;
use crate::rules::limit::{Cost, Limits, View};
use crate::rules::quantile::Quantiles;
use crate::rules::{Ballot, Evidence, Left, Reading, Rules};
use crate::vocabulary::{Nanos, Occasion, TraceId, Verdict};
use std::sync::Arc;
use tailwater_config::sampling::RandomnessSource;

/// One trace as it is judged.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// What its spans said.
    pub evidence: Evidence<'a>,
    /// What their tracestates said, if anything.
    pub head: Option<&'a TraceHead>,
    /// The generation of the rules that the evidence was gathered under.
    pub generation: u32,
    /// The tick at which it is due.
    pub deadline: u32,
}

/// Traces that can be judged, each under a number.
pub trait Cases {
    /// The trace of that number.
    fn case(&self, entry: u32) -> Case<'_>;

    /// Sets what is not of any one span, before the trace is judged: its keys under `rules`, and what `set` does to its
    /// summary and the words past the first leaves.
    fn settle(&mut self, entry: u32, rules: &Rules, set: impl FnOnce(&mut Summary, &mut [u64]));
}

/// Where traces are judged.
#[derive(Debug)]
pub struct Bench {
    rules: Arc<Rules>,
    /// Rules that are not in force any more but for some traces, oldest first.
    former: Vec<Arc<Rules>>,
    limits: Limits,
    randomness: Randomness,
    quantiles: Quantiles,
    /// Which traces are due together.
    pub windows: Windows,
    /// Scratch: limits that a trace wants to pass, with its group and cost.
    wants: Vec<(u16, u64, u64)>,
    shards: u16,
    /// Traces with less randomness are shed.
    shed_below: u64,
    /// What is left of what rules keep, for a time.
    left: Left,
}

/// The rules of a generation; those in force where it is not known.
#[inline]
fn rules_of<'a>(in_force: &'a Rules, former: &'a [Arc<Rules>], generation: u32) -> &'a Rules {
    if generation == in_force.generation() {
        return in_force;
    }
    let found = former.iter().find(|rules| rules.generation() == generation);
    assert!(found.is_some(), "a trace is judged under the rules that its evidence was gathered under");
    found.map_or(in_force, |rules| rules)
}

impl Bench {
    /// A bench of one of `shards` shards on which nothing was judged yet.
    #[must_use]
    pub fn new(rules: Arc<Rules>, source: RandomnessSource, shards: u16) -> Self {
        let mut windows = Windows::default();
        windows.switch(rules.has_windows());
        Self {
            limits: Limits::new(rules.limits(), rules.generation(), shards, Nanos::default()),
            quantiles: Quantiles::new(rules.relative().len()),
            rules,
            former: Vec::new(),
            randomness: Randomness::new(source),
            windows,
            wants: Vec::new(),
            shards,
            shed_below: 0,
            left: Left::default(),
        }
    }

    /// The rules in force.
    #[inline]
    #[must_use]
    pub fn rules(&self) -> &Arc<Rules> {
        &self.rules
    }

    /// The rules that a trace is judged under whose evidence is of `generation`.
    #[inline]
    #[must_use]
    pub fn rules_of(&self, generation: u32) -> &Rules {
        rules_of(&self.rules, &self.former, generation)
    }

    /// `rules` come into force. Those before stay for traces that stay with them, if `has_traces`. A limit that the rules in
    /// force have, or else former rules that still have traces, is the same limit, and so is what is known of a kind.
    pub fn adopt(&mut self, now: Nanos, rules: &Arc<Rules>, has_traces: bool) {
        let mut same = vec![None; rules.limits().len()];
        for before in std::iter::once(&self.rules).chain(self.former.iter().rev()) {
            for (number, there) in rules.same_limits(before) {
                same[number] = same[number].or(Some((before.generation(), there)));
            }
        }
        let of = |number: usize| same.get(number).copied().flatten();
        self.limits.add(rules.generation(), rules.limits(), of, self.shards, now);
        let mut quantiles = Quantiles::new(rules.relative().len());
        let before = (&mut self.quantiles, self.rules.relative());
        quantiles.inherit(before, rules.relative(), &rules.same_kinds(&self.rules));
        self.quantiles = quantiles;
        self.windows.switch(rules.has_windows());
        let before = std::mem::replace(&mut self.rules, rules.clone());
        if has_traces {
            self.former.push(before);
        }
        self.follow_left();
    }

    /// Forgets rules that no trace stays with any more.
    pub fn retain(&mut self, has_traces: impl Fn(u32) -> bool) {
        self.former.retain(|rules| has_traces(rules.generation()));
        self.limits.retain(has_traces);
        self.follow_left();
    }

    /// Leaves these parts of what rules keep until it is called again.
    pub fn leave(&mut self, left: Left) {
        self.left = left;
        self.follow_left();
    }

    /// In order of arrival no threshold is said of what is kept: nothing is changed while any rules are kept to like that.
    fn follow_left(&mut self) {
        let says_thresholds = std::iter::once(&self.rules).chain(&self.former).all(|rules| rules.is_by_randomness());
        self.limits.leave(if says_thresholds { self.left } else { Left::default() });
    }

    /// From now on randomness comes from `source`.
    pub fn draw_from(&mut self, source: RandomnessSource) {
        self.randomness = Randomness::new(source);
    }

    /// What is known of kinds of traces is as of `now`.
    pub fn turn(&mut self, now: Nanos) {
        self.quantiles.turn(now);
    }

    /// Judges a trace whose evidence is up to date. Counts each vote in `counts`, one entry a policy.
    pub fn rule(
        &mut self,
        now: Nanos,
        (cases, entry): (&mut impl Cases, u32),
        occasion: Occasion,
        counts: &mut [PolicyCounts],
    ) -> Ruling {
        self.compare_with_its_kind(cases, entry);
        let case = cases.case(entry);
        let passed = self.shed_below > 0;
        let own = if passed { self.randomness_on_arrival(case.evidence.trace_id, case.head) } else { 0 };
        if own < self.shed_below {
            return Ruling::dropped(DropReason::Shed);
        }
        let mut ruling = self.rule_case(now, &case, occasion, counts);
        self.count_for_its_kind(&case);
        // It passed one threshold more. Where its randomness is another than that by which others were shed, that can't be
        // told: what it stands for is then counted too low.
        if passed && ruling.is_by_randomness && ruling.randomness.value == own {
            ruling.ballot.threshold = ruling.ballot.threshold.max(self.shed_below);
        }
        ruling
    }

    /// From now on traces are shed whose randomness on arrival is below that; 0 sheds none.
    pub fn shed_below(&mut self, randomness: u64) {
        self.shed_below = randomness;
    }

    /// By which a trace is shed, see `Randomness::on_arrival`.
    fn randomness_on_arrival(&self, trace_id: &TraceId, head: Option<&TraceHead>) -> u64 {
        self.randomness.on_arrival(trace_id, head.and_then(|head| head.randomness))
    }

    /// Whether a trace is shed of which a span comes with that randomness, if any.
    pub fn sheds_on_arrival(&self, below: u64, trace_id: &TraceId, given: Option<u64>) -> bool {
        self.randomness.on_arrival(trace_id, given) < below
    }

    fn rule_case(&mut self, now: Nanos, case: &Case<'_>, occasion: Occasion, counts: &mut [PolicyCounts]) -> Ruling {
        // One that is judged early but was in the window is in its thresholds.
        let is_between = (occasion.is_early() || occasion == Occasion::Drain) && !self.windows.has(case.deadline);
        let is_early = is_between && occasion.is_early();
        let rows = self.rows(case);
        let Self { rules, former, limits, randomness, wants, .. } = self;
        let rules = rules_of(rules, former, case.generation);
        let mut limits = limits.view_mut(case.generation, is_early);
        let Case { evidence, head, .. } = case;
        if !rules.is_by_randomness() {
            let ballot = rules.judge_arrival(evidence, &mut limits, now, counts);
            rules.judge_shadows(evidence, (0, now), &mut limits, &ballot, counts);
            return Ruling::without_randomness(ballot);
        }
        randomness.count(evidence.trace_id, *head, evidence.seen.is_random);
        let randomness = randomness.of(evidence.trace_id, *head, evidence.seen.is_random);
        let ballot = rules.judge_randomness(evidence, &rows, randomness.value, limits.view(), counts);
        rules.judge_shadows(evidence, (randomness.value, now), &mut limits, &ballot, counts);
        if is_between {
            // It goes by the last window's threshold: what it takes is missing in the next.
            let own = (randomness.value, matches!(ballot.verdict, Verdict::Keep(_)));
            for to_budget in [false, true] {
                let view = (limits.view(), to_budget);
                rules.offers(evidence, own.0, view, &mut |limit, group, cost| wants.push((limit, group, cost)));
            }
            wants.drain(..).for_each(|(limit, group, cost)| limits.charge(limit, group, own, cost));
        }
        let annotations = annotations(rules, &ballot, evidence, randomness.value, limits.view());
        Ruling { ballot, randomness, annotations, is_by_randomness: true, is_early }
    }

    /// Judges the `piece` of a trace as it comes, with the size of the whole trace so far, under the rules in force.
    /// `is_first` says whether it is all that has come of its trace. `None` when it decides nothing.
    pub fn rule_piece(
        &mut self,
        now: Nanos,
        (case, piece, is_first): (&Case<'_>, &Evidence<'_>, bool),
        counts: &mut [PolicyCounts],
    ) -> Option<Ruling> {
        let Self { rules, limits, randomness, wants, .. } = self;
        let Case { evidence: whole, head, .. } = case;
        randomness.count(whole.trace_id, *head, whole.seen.is_random);
        let own = randomness.of(whole.trace_id, *head, whole.seen.is_random);
        // No window ever has all that wants to pass: a piece goes by what passed in the last.
        let is_early = rules.has_windows();
        let mut limits = limits.view_mut(rules.generation(), is_early);
        let ballot = rules.judge_piece(piece, own.value, &mut limits, now, counts);
        rules.charge_piece(piece, own.value, (ballot.as_ref(), is_first), &mut limits, wants);
        let ballot = ballot?;
        rules.judge_shadows(piece, (own.value, now), &mut limits, &ballot, counts);
        let is_by_randomness = rules.is_by_randomness();
        let numbers =
            if is_by_randomness { annotations(rules, &ballot, whole, own.value, limits.view()) } else { Vec::new() };
        Some(Ruling { ballot, randomness: own, annotations: numbers, is_by_randomness, is_early })
    }

    /// What a trace would come to now, without a consequence. Its evidence is up to date.
    pub fn preview(
        &mut self,
        now: Nanos,
        (cases, entry): (&mut impl Cases, u32),
        counts: &mut [PolicyCounts],
    ) -> Ruling {
        self.compare_with_its_kind(cases, entry);
        let case = cases.case(entry);
        let Case { evidence, head, generation, .. } = &case;
        let rules = self.rules_of(*generation);
        // What limits let through may be paid at once: from a copy.
        let mut limits = self.limits.clone();
        let mut limits = limits.view_mut(*generation, false);
        let is_by_randomness = rules.is_by_randomness();
        let mut ruling = Ruling::dropped(DropReason::NotSampled);
        if is_by_randomness {
            let own = self.randomness.of(evidence.trace_id, *head, evidence.seen.is_random);
            let ballot = rules.judge_randomness(evidence, &self.rows(&case), own.value, limits.view(), counts);
            ruling = Ruling { ballot, randomness: own, is_by_randomness, ..ruling };
        } else {
            ruling.ballot = rules.judge_arrival(evidence, &mut limits, now, counts);
        }
        rules.judge_shadows(evidence, (ruling.randomness.value, now), &mut limits, &ruling.ballot, counts);
        ruling
    }

    /// Which conditions held of the policy that decided, for `evidence` of that generation: that of number n at bit n.
    #[must_use]
    pub fn held(&self, evidence: &Evidence<'_>, generation: u32, ruling: &Ruling) -> u64 {
        let Some(policy) = ruling.ballot.policy else { return 0 };
        let rules = self.rules_of(generation);
        let reading = if rules.is_by_randomness() {
            Reading::Randomness(self.limits.view(generation, ruling.is_early), ruling.randomness.value)
        } else {
            Reading::Arrival
        };
        rules.held(policy, evidence, reading, ruling.ballot.sub_policy)
    }

    /// Sets the keys of a trace that is about to be judged, and the leaves on its duration relative to that of its kind.
    fn compare_with_its_kind(&self, cases: &mut impl Cases, entry: u32) {
        let generation = cases.case(entry).generation;
        cases.settle(entry, self.rules_of(generation), |seen, more| self.compare(generation, seen, more));
    }

    /// Sets the leaves on a duration relative to that of its kind, which is known of the rules in force.
    fn compare(&self, generation: u32, seen: &mut Summary, more: &mut [u64]) {
        if generation == self.rules.generation() && !self.rules.relative().is_empty() {
            self.quantiles.compare(self.rules.relative(), seen, more);
        }
    }

    /// The rows of a trace whose spans came with several thresholds.
    fn rows(&self, case: &Case<'_>) -> Vec<Row> {
        let Some(head) = case.head else { return Vec::new() };
        let mut rows = head.rows(self.rules_of(case.generation), case.evidence.trace_id);
        rows.iter_mut().for_each(|row| self.compare(case.generation, &mut row.seen, &mut row.more));
        rows
    }

    /// Counts the duration of a judged trace for those of its kind that come after it.
    fn count_for_its_kind(&mut self, case: &Case<'_>) {
        let Self { rules, quantiles, .. } = self;
        if rules.relative().is_empty() || case.generation != rules.generation() {
            return;
        }
        let Evidence { seen, more, .. } = case.evidence;
        for (number, leaf) in rules.relative().iter().enumerate() {
            let key = more.get(usize::from(leaf.key)).copied().unwrap_or(0);
            quantiles.add(number, leaf, key, seen.duration_nanos());
        }
    }

    /// Sets the thresholds of limits by `due`, whose evidence is up to date, and by nothing else.
    pub fn cut(&mut self, now: Nanos, cases: &mut impl Cases, due: &[u32]) {
        due.iter().for_each(|entry| self.compare_with_its_kind(cases, *entry));
        self.offer(cases, due, false);
        self.limits.cut(now);
        // What a rule's own limits refuse is not to take a part of the budget.
        self.offer(cases, due, true);
        self.limits.cut_budget(now);
    }

    /// Sets the thresholds of limits where every piece of a trace wanted to pass when it came.
    pub fn cut_pieces(&mut self, now: Nanos) {
        self.limits.cut(now);
        self.limits.cut_budget(now);
    }

    /// Offers traces to the limits, or to the budget.
    fn offer(&mut self, cases: &impl Cases, due: &[u32], to_budget: bool) {
        let Self { rules, former, limits, randomness, wants, shed_below, .. } = self;
        for entry in due {
            let Case { evidence, head, generation, .. } = cases.case(*entry);
            let rules = rules_of(rules, former, generation);
            let own = randomness.of(evidence.trace_id, head, evidence.seen.is_random).value;
            if own < *shed_below {
                continue;
            }
            let mut limits = limits.view_mut(generation, false);
            let view = (limits.view(), to_budget);
            rules.offers(&evidence, own, view, &mut |limit, group, cost| wants.push((limit, group, cost)));
            let always = head.and_then(|head| head.least_size(evidence.trace_id));
            for (limit, group, paid) in wants.drain(..) {
                let cost = always.map_or(paid, |size| match limits.view().cost(limit) {
                    Cost::Spans => u64::from(size.spans),
                    Cost::Bytes => u64::from(size.bytes),
                });
                limits.offer(limit, group, own, (cost.min(paid), paid));
            }
        }
    }

    /// A span came after its trace was kept by `policy` of the rules in force: it takes from the limits that the trace has
    /// passed, `bytes` where they count bytes. `is_reckoned`: those who come first pay for those who come late.
    pub fn charge_late(&mut self, policy: u16, bytes: u64, is_reckoned: bool) {
        let Self { rules, limits, .. } = self;
        let mut limits = limits.view_mut(rules.generation(), false);
        for (number, cost) in rules.limits_passed(policy) {
            let cost = match cost {
                Cost::Spans => 1,
                Cost::Bytes => bytes,
            };
            if is_reckoned {
                limits.charge_later(number, cost);
            } else {
                limits.charge_late(number, cost);
            }
        }
    }

    /// Traces that were too large to pass a limit ever.
    #[must_use]
    pub fn unreachable_traces(&self) -> u64 {
        self.limits.unreachable()
    }

    /// Traces that were not counted for their kind, because too many kinds are told apart already.
    #[must_use]
    pub fn quantile_keys_refused(&self) -> u64 {
        self.quantiles.keys_refused()
    }

    /// Traces of a second that were too many to be ranked for a limit: they counted as rejected.
    #[must_use]
    pub fn unranked_traces(&self) -> u64 {
        self.limits.unranked()
    }

    /// What wanted to pass each limit since the last call; the shards of a node divide the limits by it.
    pub fn take_limit_demand(&mut self) -> Vec<u64> {
        self.limits.take_demand()
    }

    /// Sets this shard's part of each limit, 0 to 1; those of all shards sum to 1.
    pub fn set_limit_shares(&mut self, shares: &[f64]) {
        self.limits.set_shares(shares);
    }
}

fn annotations(rules: &Rules, ballot: &Ballot, evidence: &Evidence<'_>, own: u64, limits: View<'_>) -> Vec<u16> {
    match ballot.verdict {
        Verdict::Keep(policy) => rules.annotations(policy, evidence, own, limits),
        Verdict::Drop => Vec::new(),
    }
}
