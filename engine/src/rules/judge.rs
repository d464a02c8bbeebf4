//! How the votes of the policies become a verdict, a reason and a threshold.

use super::limit::{View, ViewMut};
use super::tree::{Arrival, Evidence, Node};
use super::{CompiledPolicy, Rules};
use crate::evidence::Row;
use crate::ledger::{DropReason, PolicyCounts};
use crate::vocabulary::{Nanos, Verdict};
use tailwater_proto::consistent::NEVER;

/// A verdict and its reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ballot {
    /// What the trace came to.
    pub verdict: Verdict,
    /// The policy that decided: the one that kept it, the drop policy that matched, or of our own rules the first whose
    /// conditions held. `None` where none did.
    pub policy: Option<u16>,
    /// Why its spans are dropped, when they are.
    pub drop_reason: DropReason,
    /// The sub-policy of a composite that kept it: its number among `Rules::sub_policy_names`.
    pub sub_policy: Option<u16>,
    /// Rejection threshold of the policy that kept it, of 2^56; 0 when it was kept for certain.
    pub threshold: u64,
}

impl Ballot {
    /// A drop for `drop_reason`.
    #[must_use]
    pub fn dropped(drop_reason: DropReason) -> Self {
        Self { verdict: Verdict::Drop, policy: None, drop_reason, sub_policy: None, threshold: 0 }
    }

    fn dropped_by(policy: Option<u16>, drop_reason: DropReason) -> Self {
        Self { policy, ..Self::dropped(drop_reason) }
    }

    fn kept(policy: u16, sub_policy: Option<u16>, threshold: u64) -> Self {
        let (verdict, drop_reason) = (Verdict::Keep(policy), DropReason::NotSampled);
        Self { verdict, policy: Some(policy), drop_reason, sub_policy, threshold }
    }
}

/// What the policies come to for one set of spans.
#[derive(Debug, Clone, Copy)]
struct Outcome {
    threshold: u64,
    /// The policy with the least threshold, the first of several.
    policy: Option<u16>,
    is_dropped: bool,
}

impl Rules {
    /// Judges a trace in order of arrival, as the Collector does: drop policies first; then any policy that samples keeps
    /// it. Counts each vote in `counts`, one entry a policy.
    pub fn judge_arrival(
        &self,
        evidence: &Evidence<'_>,
        limits: &mut ViewMut<'_>,
        now: Nanos,
        counts: &mut [PolicyCounts],
    ) -> Ballot {
        let mut first = None;
        let mut first_class = None;
        let mut sampled = 0_u32;
        for index in &self.order {
            let policy = &self.policies[usize::from(*index)];
            let mut class = None;
            let vote = match &policy.node {
                // The commonest, without a call.
                Node::Leaf(leaf) => Some(evidence.leaf(*leaf)),
                node => {
                    let mut arrival = Arrival { limits: limits.reborrow(), now, class };
                    let vote = node.samples(evidence, &mut arrival);
                    class = arrival.class;
                    vote
                }
            };
            let count = &mut counts[usize::from(*index)];
            let Some(matched) = vote else {
                count.failed += 1;
                continue;
            };
            count.vote(matched);
            if !matched {
                continue;
            }
            if policy.is_drop {
                return Ballot::dropped_by(Some(*index), DropReason::DropPolicy);
            }
            sampled += 1;
            if first.is_none() {
                (first, first_class) = (Some(*index), class);
            }
            if self.sample_on_first_match {
                break;
            }
        }
        let Some(index) = first else { return Ballot::dropped(DropReason::NotSampled) };
        counts[usize::from(index)].decide(evidence.size.spans, evidence.size.bytes, sampled == 1);
        Ballot::kept(index, first_class, 0)
    }

    /// Judges a trace by its randomness (OTEP 235). `rows` are those of a trace whose spans came with several thresholds,
    /// lowest first. Counts each vote in `counts`, one entry a policy.
    pub fn judge_randomness(
        &self,
        evidence: &Evidence<'_>,
        rows: &[Row],
        randomness: u64,
        limits: View<'_>,
        counts: &mut [PolicyCounts],
    ) -> Ballot {
        let mut sampled = 0_u32;
        let mut count = |index: u16, threshold: Option<u64>| {
            let count = &mut counts[usize::from(index)];
            match threshold {
                Some(threshold) => count.vote(threshold <= randomness),
                None => count.failed += 1,
            }
            let samples = threshold.is_some_and(|threshold| threshold <= randomness);
            sampled += u32::from(samples && !self.policies[usize::from(index)].is_drop);
        };
        let outcome = self.outcome(evidence, limits, &mut count);
        if outcome.is_dropped {
            return Ballot::dropped_by(outcome.policy, DropReason::DropPolicy);
        }
        let Some(index) = outcome.policy.filter(|_| outcome.threshold <= randomness) else {
            let is_rule = |index: &u16| self.policies[usize::from(*index)].condition.is_some();
            return Ballot::dropped_by(outcome.policy.filter(is_rule), DropReason::NotSampled);
        };
        counts[usize::from(index)].decide(evidence.size.spans, evidence.size.bytes, sampled == 1);
        let sub_policy = self.policies[usize::from(index)].node.class(evidence, limits, randomness);
        let threshold = self.threshold_over(outcome.threshold, evidence, rows, limits);
        Ballot::kept(index, sub_policy, threshold)
    }

    /// Asks about a piece of a trace as it comes. `None` while nothing is decided: no policy samples it, or a drop policy
    /// does not match yet, since it might match what comes later.
    pub fn judge_piece(
        &self,
        evidence: &Evidence<'_>,
        randomness: u64,
        limits: &mut ViewMut<'_>,
        now: Nanos,
        counts: &mut [PolicyCounts],
    ) -> Option<Ballot> {
        let mut may_be_dropped = false;
        for index in &self.order {
            let CompiledPolicy { node, is_drop, .. } = &self.policies[usize::from(*index)];
            if !is_drop && may_be_dropped {
                break;
            }
            let vote = if self.is_by_randomness {
                node.threshold(evidence, Some(limits.view()))
            } else {
                let sampled = node.samples(evidence, &mut Arrival { limits: limits.reborrow(), now, class: None });
                sampled.map(|sampled| if sampled { 0 } else { NEVER })
            };
            let count = &mut counts[usize::from(*index)];
            let Some(threshold) = vote else {
                count.failed += 1;
                continue;
            };
            let matched = threshold <= randomness;
            count.vote(matched);
            match (is_drop, matched) {
                (true, true) => return Some(Ballot::dropped_by(Some(*index), DropReason::DropPolicy)),
                (true, false) => may_be_dropped = true,
                (false, true) => {
                    // The policies after it are not asked.
                    count.decide(evidence.size.spans, evidence.size.bytes, true);
                    return Some(Ballot::kept(*index, None, threshold));
                }
                (false, false) => {}
            }
        }
        None
    }

    /// Charges the limits that a piece wanted to pass, as of what is judged between windows: what it takes is missing in the
    /// next. `is_first` says whether it is all that has come of its trace; a trace that a limit has refused is asked about
    /// with each piece, and wants to pass once.
    pub fn charge_piece(
        &self,
        evidence: &Evidence<'_>,
        randomness: u64,
        (ballot, is_first): (Option<&Ballot>, bool),
        limits: &mut ViewMut<'_>,
        wants: &mut Vec<(u16, u64, u64)>,
    ) {
        let is_kept = ballot.is_some_and(|ballot| matches!(ballot.verdict, Verdict::Keep(_)));
        if !self.has_windows() || !is_kept && (ballot.is_some() || !is_first) {
            return;
        }
        for to_budget in [false, true] {
            let view = (limits.view(), to_budget);
            self.offers(evidence, randomness, view, &mut |limit, group, cost| wants.push((limit, group, cost)));
        }
        wants.drain(..).for_each(|(limit, group, cost)| limits.charge(limit, group, (randomness, is_kept), cost));
    }

    fn outcome(&self, evidence: &Evidence<'_>, limits: View<'_>, count: &mut impl FnMut(u16, Option<u64>)) -> Outcome {
        let mut outcome = Outcome { threshold: NEVER, policy: None, is_dropped: false };
        let mut floor = 0;
        for index in &self.order {
            let CompiledPolicy { node, condition, is_drop, .. } = &self.policies[usize::from(*index)];
            if let Some(condition) = condition {
                // Our own rules: the first whose conditions hold decides.
                let holds = condition.threshold(evidence, None);
                count(*index, holds);
                if holds == Some(0) {
                    let threshold = node.threshold(evidence, Some(limits)).unwrap_or(NEVER);
                    return Outcome { threshold, policy: Some(*index), is_dropped: false };
                }
                continue;
            }
            let own = node.threshold(evidence, Some(limits));
            count(*index, own);
            let Some(own) = own else { continue };
            if *is_drop {
                // What is dropped with some chance is kept with the opposite one.
                floor = floor.max(NEVER - own);
                if own == 0 {
                    (outcome.is_dropped, outcome.policy) = (true, Some(*index));
                    return outcome;
                }
                continue;
            }
            if own < outcome.threshold {
                (outcome.threshold, outcome.policy) = (own, Some(*index));
            }
            if own == 0 && self.sample_on_first_match {
                break;
            }
        }
        outcome.threshold = outcome.threshold.max(floor);
        outcome
    }

    /// The threshold of a trace that has `threshold` with all its spans: the least randomness from which on it would have
    /// been kept, were fewer spans to arrive at less.
    fn threshold_over(&self, threshold: u64, evidence: &Evidence<'_>, rows: &[Row], limits: View<'_>) -> u64 {
        let Some((top, lower)) = rows.split_last() else { return threshold };
        let mut reached = threshold.max(top.level);
        let mut above = top.level;
        for row in lower.iter().rev() {
            if reached > above {
                break;
            }
            let fewer = Evidence { seen: &row.seen, size: row.size, more: &row.more, ..*evidence };
            let own = self.outcome(&fewer, limits, &mut |_, _| {});
            let least = own.threshold.max(row.level);
            if own.is_dropped || least >= above {
                break;
            }
            (reached, above) = (least, row.level);
        }
        reached
    }

    /// The numbers of the annotations that the spans of a trace get, kept in the name of `policy`.
    pub fn annotations(&self, policy: u16, evidence: &Evidence<'_>, randomness: u64, limits: View<'_>) -> Vec<u16> {
        let mut numbers = Vec::new();
        if let Some(policy) = self.policies.get(usize::from(policy)).filter(|_| !self.annotations.is_empty()) {
            policy.node.annotations(evidence, limits, randomness, &mut numbers);
        }
        numbers
    }

    /// All annotations, each at the place of its number: encoded `Span.attributes` fields.
    #[must_use]
    pub fn all_annotations(&self) -> &[Vec<u8>] {
        &self.annotations
    }

    /// Annotations by their numbers, which are the same in all generations: encoded `Span.attributes` fields.
    pub fn encoded_annotations(&self, numbers: impl Iterator<Item = u16>) -> Vec<u8> {
        let encoded = numbers.filter_map(|number| self.annotations.get(usize::from(number)));
        encoded.flat_map(|bytes| bytes.iter().copied()).collect()
    }

    /// Tells `offer` of each limit that a trace wants to pass, with its group and cost, before the window is cut: of all but
    /// the budget, as if every limit let all through; or of the budget, as far as the others let through, whose thresholds
    /// are in the view.
    pub fn offers(
        &self,
        evidence: &Evidence<'_>,
        randomness: u64,
        (view, to_budget): (View<'_>, bool),
        offer: &mut impl FnMut(u16, u64, u64),
    ) {
        if to_budget && self.budget.is_none() {
            return;
        }
        let others = if to_budget { view } else { view.opened() };
        let offer = &mut |number: u16, group: u64, cost: u64| {
            if to_budget == (self.budget == Some(number)) {
                offer(number, group, cost);
            }
        };
        for index in &self.order {
            let CompiledPolicy { node, condition, is_drop, .. } = &self.policies[usize::from(*index)];
            if let Some(condition) = condition {
                if condition.threshold(evidence, None) == Some(0) {
                    node.offers(evidence, randomness, others, offer);
                    break;
                }
                continue;
            }
            if node.is_limited() {
                node.offers(evidence, randomness, others, offer);
            }
            let is_certain = || node.threshold(evidence, Some(view.opened())) == Some(0);
            let ends = if *is_drop { !node.is_limited() } else { self.sample_on_first_match && !node.is_limited() };
            if ends && is_certain() {
                break;
            }
        }
        for index in &self.shadows {
            let CompiledPolicy { node, condition, .. } = &self.policies[usize::from(*index)];
            if condition.as_ref().is_none_or(|condition| condition.threshold(evidence, None) == Some(0)) {
                node.offers(evidence, randomness, others, offer);
            }
        }
    }

    /// The number of the limit over all rules, if there is one.
    #[must_use]
    pub fn budget(&self) -> Option<u16> {
        self.budget
    }

    /// Whether limits are kept by randomness, so that traces are to be judged window by window.
    #[must_use]
    pub fn has_windows(&self) -> bool {
        self.is_by_randomness && !self.limits.is_empty()
    }
}
