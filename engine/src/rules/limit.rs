//! Limits: token buckets over spans or bytes a second. Two ways to spend them.
//!
//! In order of arrival, as the Collector does: a trace is let through while the bucket holds its cost.
//!
//! By randomness, for OTEP 235: the traces of one window are ranked, the highest that fit are kept, and the threshold is
//! one above the first that was rejected. That threshold does not depend on the randomness of any trace it keeps (for
//! each trace it is what the others leave), so that counts weighted by it are unbiased for every subset of the traces.
//! Source: Ting, "Adaptive Threshold Sampling"; the Collector's `budget_limiting`.
//! Traces judged between windows go by the threshold of the last window and are paid for by the next. Those that are judged
//! early, to make room, may be all that there are, so that no window has any: they also have the chance that spends what
//! is left on as many as wanted to pass early in the last second, and none passes while two seconds' worth is owed.
//! Spans that come late are paid for by the next window too, since they can't be refused any more.
//! Where what there is may not hold a single trace, ranking would keep nothing, and with it count nothing: such traces
//! are kept with the chance that spends the part in the mean. A chance depends on no trace's randomness either.

mod view;

pub use view::{View, ViewMut};

use super::left::Left;
use crate::vocabulary::Nanos;
use hashbrown::HashMap;
use std::cmp::Reverse;
use tailwater_proto::consistent::{NEVER, PRECISION_DEFAULT, threshold_of, to_float};

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cost {
    /// A trace's spans.
    Spans,
    /// The bytes of their messages.
    Bytes,
}

/// A limit of the configuration, for the whole node.
#[derive(Debug, Clone, PartialEq)]
pub struct Limit {
    /// What is counted.
    pub cost: Cost,
    /// Tokens a second.
    pub per_second: f64,
    /// Most tokens.
    pub burst: f64,
    /// What is left of a second is not carried into the next (the Collector's `composite`).
    pub is_by_second: bool,
    /// In place of a rate: one of so many of what wants to pass, by cost.
    pub one_in: Option<f64>,
    /// Each group of traces gets as much as the others, beyond what it is promised.
    pub is_grouped: bool,
    /// What groups 1, 2 and so on are promised, tokens a second.
    pub promises: Vec<f64>,
    /// It is the one over all rules, which goes by what the others let through.
    pub is_budget: bool,
    /// It stands in what is to be dropped, or not to be sampled: less of it would keep more, so that it stays as it is.
    pub is_fixed: bool,
}

impl Limit {
    /// A bucket as configured; a burst not above 0 is twice the rate.
    #[must_use]
    pub fn bucket(cost: Cost, per_second: i64, burst: i64) -> Self {
        let burst = if burst > 0 { burst } else { per_second.saturating_mul(2) };
        Self { cost, per_second: tokens(per_second), burst: tokens(burst), ..Self::nothing(cost) }
    }

    /// So many spans in each second.
    #[must_use]
    pub fn by_second(spans: i64) -> Self {
        let (per_second, burst) = (tokens(spans), tokens(spans));
        Self { per_second, burst, is_by_second: true, ..Self::nothing(Cost::Spans) }
    }

    fn nothing(cost: Cost) -> Self {
        Self {
            cost,
            per_second: 0.0,
            burst: 0.0,
            is_by_second: false,
            one_in: None,
            is_grouped: false,
            promises: Vec::new(),
            is_budget: false,
            is_fixed: false,
        }
    }

    /// A bucket for the groups of our own rules: two seconds' worth may gather.
    #[must_use]
    pub fn grouped(cost: Cost, per_second: u64, promises: Vec<f64>) -> Self {
        let per_second = to_float(per_second);
        Self { per_second, burst: 2.0 * per_second, is_grouped: true, promises, ..Self::nothing(cost) }
    }

    /// One of so many, by cost in spans.
    #[must_use]
    pub fn one_in(number: f64) -> Self {
        Self { one_in: Some(number.max(1.0)), burst: f64::MAX, ..Self::nothing(Cost::Spans) }
    }
}

fn tokens(number: i64) -> f64 {
    to_float(u64::try_from(number).unwrap_or(0))
}

/// Candidates of all limits of a shard in one window, those of former rules among them: more than a shard judges in a
/// second where each trace wants to pass one limit.
/// At the bound: the limit with the most gives up a quarter of them, those of lowest randomness; they are rejected, as
/// if its budget had been spent above them; counted in `tailwater_limit_unranked_traces_total`.
const CANDIDATES_MAX: usize = 1 << 16;
/// Bytes of candidates, of which a quarter more may be reserved than there are.
const fn candidate_bytes(candidates: usize) -> usize {
    (candidates + candidates / 4) * size_of::<Candidate>()
}
/// Bytes of the candidates of a shard: what the memory plan counts.
#[must_use]
pub const fn candidate_bytes_max() -> usize {
    candidate_bytes(CANDIDATES_MAX)
}
/// Bytes of the groups of a shard's limits besides: while thresholds are set four words of each and a reference, and by
/// group a table of thresholds that is half empty.
#[must_use]
pub const fn group_bytes_max() -> usize {
    CANDIDATES_MAX * (size_of::<&[Candidate]>() + 4 * size_of::<u64>())
        + 2 * CANDIDATES_MAX * (size_of::<(u64, u64)>() + 1)
}

/// A trace that wants to pass a limit.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    group: u64,
    randomness: u64,
    /// What it is ranked by: of a trace whose spans came with several thresholds only those that are there at any
    /// randomness. Were it all of them, traces of high randomness would cost more than the same at a lower one, the
    /// threshold would depend on a kept trace's own randomness, and counts would come out too high.
    cost: u64,
    /// What it takes when it is kept.
    paid: u64,
}

/// One limit's state on one shard.
#[derive(Debug, Clone)]
struct Bucket {
    limit: Limit,
    /// This shard's part of the node's limit.
    share: f64,
    /// What is left of it for a time, 0 to 1.
    left: f64,
    /// Below 0 after traces that were judged between windows.
    tokens: f64,
    refilled: Nanos,
    /// The second that `tokens` is for, where what is left is not carried over.
    second: u64,
    /// From the last window; of groups that were not in it, where there are groups.
    threshold: u64,
    /// From the last window, by group.
    thresholds: HashMap<u64, u64, ahash::RandomState>,
    /// The largest cost that wanted to pass of late: a part of the burst must hold it, or it could never pass.
    largest: f64,
    candidates: Vec<Candidate>,
    /// Candidates below this randomness were too many; 0 where there were not.
    floor: u64,
    /// What they would cost.
    below_floor: u64,
    /// Cost of what wanted to pass between windows since the last cut.
    between: u64,
    /// What traces that are judged early need besides, from the last window.
    early_threshold: u64,
    /// What was paid between windows since the last cut, and what spans took besides that came later to traces of which
    /// only pieces were judged.
    paid_between: f64,
    paid_later: f64,
    /// What a trace takes in the end for each token that its first piece paid, of late.
    later_per_paid: f64,
    /// Cost of all candidates since the last `take_demand`.
    demand: u64,
    /// Candidates too large to pass ever.
    unreachable: u64,
    /// What kept traces took of late for each token that they were ranked by; 1 where all spans count, none before any
    /// was kept.
    paid_per_cost: Option<f64>,
}

/// How far a trace may be above what the bucket holds and still pass: a nanosecond of refill (`x/time/rate`).
const REFILL_SLACK_SECONDS: f64 = 1e-9;
/// The share of `largest` that is forgotten with each window.
const LARGEST_DECAY: f64 = 0.9;
/// How fast what is known of costs follows what was paid in the last window.
const RATIO_SHARE: f64 = 0.5;
/// Candidates for which room is reserved at least.
const CANDIDATES_STEP: usize = 64;

impl Bucket {
    fn new(limit: Limit, share: f64, now: Nanos) -> Self {
        Self {
            tokens: limit.burst * share,
            limit,
            share,
            left: 1.0,
            refilled: now,
            second: 0,
            threshold: 0,
            thresholds: HashMap::with_hasher(ahash::RandomState::with_seeds(9, 10, 11, 12)),
            largest: 0.0,
            candidates: Vec::new(),
            floor: 0,
            below_floor: 0,
            between: 0,
            early_threshold: 0,
            paid_between: 0.0,
            paid_later: 0.0,
            later_per_paid: 1.0,
            demand: 0,
            unreachable: 0,
            paid_per_cost: None,
        }
    }

    /// This shard's part of what is left of the limit. The burst that a single trace must fit in is as it was, so that what
    /// could pass before still can.
    fn part(&self) -> f64 {
        self.share * self.left
    }

    /// Most tokens here: this shard's part of the burst, more where single traces need more.
    fn burst(&self) -> f64 {
        (self.limit.burst * self.part()).max(self.limit.burst.min(2.0 * self.largest))
    }

    fn refill(&mut self, now: Nanos) {
        if self.limit.is_by_second {
            let second = now.0 / Nanos::PER_SECOND;
            if second != self.second {
                self.second = second;
                // Only a shard whose part would not hold a single trace saves up for it.
                let part = self.limit.burst * self.part();
                self.tokens = self.tokens.min((self.burst() - part).max(0.0)) + part;
            }
            return;
        }
        let elapsed = seconds(now.0.saturating_sub(self.refilled.0));
        self.refilled = self.refilled.max(now);
        self.tokens = (self.tokens + elapsed * self.limit.per_second * self.part()).min(self.burst());
    }

    fn allow(&mut self, cost: u64, now: Nanos) -> bool {
        let cost = to_float(cost);
        self.largest = self.largest.max(cost);
        self.refill(now);
        let slack = if self.limit.is_by_second { 0.0 } else { self.limit.per_second * REFILL_SLACK_SECONDS };
        let passes = cost <= self.limit.burst && (cost <= self.tokens || cost < self.tokens + slack);
        if passes {
            self.tokens -= cost;
        }
        passes
    }

    /// Adds a candidate of this window, if it is not below those that were given up already. Their memory grows in small
    /// steps, so that little of it is never used.
    fn push(&mut self, candidate: Candidate) -> bool {
        if candidate.randomness < self.floor {
            self.below_floor = self.below_floor.saturating_add(candidate.cost);
            return false;
        }
        if self.candidates.len() == self.candidates.capacity() {
            self.candidates.reserve_exact((self.candidates.len() / 4).max(CANDIDATES_STEP));
        }
        self.candidates.push(candidate);
        true
    }

    /// Gives up the quarter of the candidates that has the lowest randomness. Whether a trace is among them depends on the
    /// others and not on what its own randomness is above theirs, so that counts stay unbiased. Returns how many it were.
    fn give_up_lowest(&mut self) -> usize {
        let given_up = (self.candidates.len() / 4).max(1).min(self.candidates.len());
        let kept = self.candidates.len() - given_up;
        if given_up > 0 {
            self.candidates.select_nth_unstable_by_key(kept, |candidate| Reverse(candidate.randomness));
        }
        for candidate in self.candidates.drain(kept..) {
            self.floor = self.floor.max(candidate.randomness + 1);
            self.below_floor = self.below_floor.saturating_add(candidate.cost);
        }
        self.candidates.shrink_to(kept + kept / 4);
        given_up
    }

    /// The threshold that the budget allows over the candidates of a window; they are gone then.
    fn cut(&mut self, now: Nanos) {
        let (floor, mut below_floor) = (std::mem::take(&mut self.floor), std::mem::take(&mut self.below_floor));
        // Those that tie with one that was given up can't be told from it.
        self.candidates.retain(|candidate| {
            let is_above = candidate.randomness >= floor;
            below_floor = below_floor.saturating_add(if is_above { 0 } else { candidate.cost });
            is_above
        });
        let below_floor = to_float(below_floor);
        self.largest *= LARGEST_DECAY;
        let largest = self.candidates.iter().map(|candidate| candidate.cost).max().unwrap_or(0);
        self.refill(now);
        // From earlier windows, so that it does not depend on this one's randomness, save for the first.
        let scale = self.paid_per_cost.unwrap_or_else(|| self.paid_per_cost_within(self.tokens));
        self.largest = self.largest.max(to_float(largest) * scale);
        let demand: f64 = self.candidates.iter().map(|candidate| to_float(candidate.cost)).sum();
        if let Some(one_in) = self.limit.one_in {
            self.tokens = (demand + below_floor) / one_in * self.left * scale;
        }
        // By group, and in each the highest randomness first.
        self.candidates.sort_unstable_by_key(|candidate| (candidate.group, Reverse(candidate.randomness)));
        let parts: Vec<&[Candidate]> = self.candidates.chunk_by(|one, other| one.group == other.group).collect();
        let budgets = self.budgets(&parts, scale);
        // As large as this window needs and no larger.
        let groups = if self.limit.is_grouped { parts.len() } else { 0 };
        self.thresholds = HashMap::with_capacity_and_hasher(groups, self.thresholds.hasher().clone());
        let (mut ranked, mut paid) = (0.0, 0.0);
        let mut single = floor;
        for (part, budget) in parts.iter().zip(budgets) {
            // What was given up wanted its part as well.
            let threshold = threshold_or_chance(part, budget / scale, below_floor / demand).max(floor);
            for candidate in part.iter().take_while(|candidate| candidate.randomness >= threshold) {
                (ranked, paid) = (ranked + to_float(candidate.cost), paid + to_float(candidate.paid));
            }
            if self.limit.is_grouped {
                self.thresholds.insert(part[0].group, threshold);
            } else {
                single = threshold;
            }
        }
        self.threshold = single;
        self.tokens -= paid;
        if ranked > 0.0 {
            self.paid_per_cost = Some(scale + (paid / ranked - scale) * RATIO_SHARE);
        }
        self.candidates = Vec::new();
        self.early_threshold = self.threshold_early();
    }

    /// What the candidates of highest randomness that `budget` pays for take for each token that they are ranked by.
    fn paid_per_cost_within(&self, budget: f64) -> f64 {
        let mut highest: Vec<&Candidate> = self.candidates.iter().collect();
        highest.sort_unstable_by_key(|candidate| Reverse(candidate.randomness));
        let (mut ranked, mut paid) = (0.0, 0.0);
        for candidate in highest {
            (ranked, paid) = (ranked + to_float(candidate.cost), paid + to_float(candidate.paid));
            if paid > budget {
                break;
            }
        }
        if ranked > 0.0 { paid / ranked } else { 1.0 }
    }

    /// The chance that spends what the next second has on what wants to pass between windows, if that is as much as before.
    fn threshold_early(&mut self) -> u64 {
        let (paid, later) = (std::mem::take(&mut self.paid_between), std::mem::take(&mut self.paid_later));
        if paid > 0.0 {
            self.later_per_paid += (1.0 + later / paid - self.later_per_paid) * RATIO_SHARE;
        }
        // What passes takes more later.
        let demand = to_float(std::mem::take(&mut self.between)) * self.later_per_paid;
        let share = match self.limit.one_in {
            Some(one_in) => self.left / one_in,
            None => (self.tokens + self.limit.per_second * self.part()) / demand,
        };
        if demand <= 0.0 || share >= 1.0 { 0 } else { threshold_of(share, PRECISION_DEFAULT).unwrap_or(NEVER) }
    }

    /// What each group may spend: first what it is promised, then equal parts of the rest; what one does not use goes to
    /// the others.
    fn budgets(&self, parts: &[&[Candidate]], scale: f64) -> Vec<f64> {
        if !self.limit.is_grouped {
            return vec![self.tokens; parts.len()];
        }
        let demands =
            parts.iter().map(|part| part.iter().map(|candidate| to_float(candidate.cost) * scale).sum::<f64>());
        let demands: Vec<f64> = demands.collect();
        let promised = |group: u64| {
            let place = usize::try_from(group).ok().and_then(|group| group.checked_sub(1));
            place.and_then(|place| self.limit.promises.get(place)).map_or(0.0, |promise| promise * self.part())
        };
        let mut budgets: Vec<f64> =
            parts.iter().zip(&demands).map(|(part, demand)| demand.min(promised(part[0].group))).collect();
        let mut rest = (self.tokens - budgets.iter().sum::<f64>()).max(0.0);
        let mut by_want: Vec<usize> = (0..parts.len()).collect();
        by_want.sort_by(|one, other| (demands[*one] - budgets[*one]).total_cmp(&(demands[*other] - budgets[*other])));
        let mut left = parts.len();
        for place in by_want {
            let equal = rest / to_float(left as u64);
            let given = (demands[place] - budgets[place]).min(equal);
            budgets[place] += given;
            rest -= given;
            left -= 1;
        }
        budgets
    }
}

/// The threshold that a budget allows over candidates of falling randomness.
fn threshold_within(candidates: &[Candidate], budget: f64) -> u64 {
    let mut spent = 0.0;
    let mut kept = 0;
    let first_rejected = loop {
        let Some(candidate) = candidates.get(kept) else { return 0 };
        if spent + to_float(candidate.cost) > budget {
            break candidate.randomness;
        }
        spent += to_float(candidate.cost);
        kept += 1;
    };
    // What ties with the first rejected can't be told from it by a threshold.
    while kept > 0 && candidates[kept - 1].randomness == first_rejected {
        kept -= 1;
    }
    if kept == 0 { NEVER } else { first_rejected + 1 }
}

/// As `threshold_within`; where the budget may not hold one trace, the chance that spends it in the mean. `besides`: what
/// wants to pass besides these, as a part of what they cost.
fn threshold_or_chance(candidates: &[Candidate], budget: f64, besides: f64) -> u64 {
    let largest = candidates.iter().map(|candidate| candidate.cost).max().unwrap_or(0);
    let demand: f64 = candidates.iter().map(|candidate| to_float(candidate.cost)).sum::<f64>() * (1.0 + besides);
    if budget >= to_float(largest) || budget >= demand {
        return threshold_within(candidates, budget);
    }
    threshold_of(budget / demand, PRECISION_DEFAULT).unwrap_or(NEVER)
}

fn seconds(nanos: u64) -> f64 {
    to_float(nanos) / to_float(Nanos::PER_SECOND)
}

/// Where the limits of one generation of the rules are.
#[derive(Debug, Clone)]
struct Places {
    generation: u32,
    /// By the number of a limit: its bucket.
    buckets: Vec<usize>,
}

/// The limits of the rules in force on one shard, and of former rules that still have traces. A limit that several
/// generations have in common is one, so that all of them together keep to it. Limits are asked for through a view, by the
/// numbers that they have in its generation.
#[derive(Debug, Clone)]
pub struct Limits {
    buckets: Vec<Bucket>,
    /// What is left of each for a time, and of percentages.
    left: Left,
    /// Candidates of all of them, `CANDIDATES_MAX` at most.
    candidates: usize,
    /// Candidates that were given up since there were too many.
    unranked: u64,
    /// Oldest first; the last are the rules in force.
    generations: Vec<Places>,
    /// What limits that are gone have counted.
    unreachable_before: u64,
}

impl Limits {
    /// Full buckets for the `limits` of the rules of `generation`, on one of `shards` shards.
    #[must_use]
    pub fn new(limits: &[Limit], generation: u32, shards: u16, now: Nanos) -> Self {
        let mut made = Self {
            buckets: Vec::new(),
            left: Left::default(),
            candidates: 0,
            unranked: 0,
            generations: Vec::new(),
            unreachable_before: 0,
        };
        made.add(generation, limits, |_| None, shards, now);
        made
    }

    /// From now on the `limits` of the rules of `generation` are in force. `same` says of each number which limit of an
    /// earlier generation it is to be one with: that generation and its number there.
    pub fn add(
        &mut self,
        generation: u32,
        limits: &[Limit],
        same: impl Fn(usize) -> Option<(u32, usize)>,
        shards: u16,
        now: Nanos,
    ) {
        let share = 1.0 / f64::from(shards.max(1));
        let mut buckets: Vec<usize> = Vec::with_capacity(limits.len());
        for (number, limit) in limits.iter().enumerate() {
            let known = same(number).and_then(|(generation, number)| {
                let places = self.generations.iter().find(|places| places.generation == generation)?;
                places.buckets.get(number).copied()
            });
            buckets.push(known.filter(|place| !buckets.contains(place)).unwrap_or_else(|| {
                let left = if limit.is_fixed { 1.0 } else { self.left.limits };
                self.buckets.push(Bucket { left, ..Bucket::new(limit.clone(), share, now) });
                self.buckets.len() - 1
            }));
        }
        self.generations.push(Places { generation, buckets });
    }

    /// Forgets the limits of generations that have no traces any more; those in force stay.
    pub fn retain(&mut self, has_traces: impl Fn(u32) -> bool) {
        let in_force = self.generations.last().map(|places| places.generation);
        self.generations.retain(|places| Some(places.generation) == in_force || has_traces(places.generation));
        let mut moved: Vec<Option<usize>> = vec![None; self.buckets.len()];
        let mut kept = Vec::with_capacity(self.buckets.len());
        for (place, bucket) in self.buckets.drain(..).enumerate() {
            if self.generations.iter().any(|places| places.buckets.contains(&place)) {
                moved[place] = Some(kept.len());
                kept.push(bucket);
            } else {
                self.unreachable_before += bucket.unreachable;
                self.candidates -= bucket.candidates.len();
            }
        }
        self.buckets = kept;
        for place in self.generations.iter_mut().flat_map(|places| &mut places.buckets) {
            *place = moved.get(*place).copied().flatten().unwrap_or(usize::MAX);
        }
    }

    /// The limits of the rules of `generation`. `is_early`: those who ask are judged early, to make room.
    #[inline]
    #[must_use]
    pub fn view(&self, generation: u32, is_early: bool) -> View<'_> {
        let places = self.generations.iter().find(|places| places.generation == generation);
        let places = places.map_or(&[][..], |places| &places.buckets);
        View { all: &self.buckets, places, is_early, left: self.left, is_open: false }
    }

    /// The same, to be spent.
    #[inline]
    pub fn view_mut(&mut self, generation: u32, is_early: bool) -> ViewMut<'_> {
        let place = self.generations.iter().position(|places| places.generation == generation);
        ViewMut { place: place.unwrap_or(usize::MAX), limits: self, is_early }
    }

    fn add_candidate(&mut self, bucket: usize, candidate: Candidate) {
        let Some(bucket) = self.buckets.get_mut(bucket) else { return };
        bucket.demand = bucket.demand.saturating_add(candidate.paid);
        if to_float(candidate.paid) > bucket.limit.burst {
            bucket.unreachable += 1;
        } else {
            let is_ranked = bucket.push(candidate);
            self.candidates += usize::from(is_ranked);
            self.unranked += u64::from(!is_ranked);
            if self.candidates > CANDIDATES_MAX {
                self.give_up_lowest();
            }
        }
    }

    #[cold]
    fn give_up_lowest(&mut self) {
        let largest = self.buckets.iter_mut().max_by_key(|bucket| bucket.candidates.len());
        let given_up = largest.map_or(0, Bucket::give_up_lowest);
        self.candidates -= given_up;
        self.unranked += given_up as u64;
    }

    /// By randomness: sets every limit's threshold but that of budgets from what was offered since the last call; budgets
    /// let all through until they are cut.
    pub fn cut(&mut self, now: Nanos) {
        for bucket in &mut self.buckets {
            if bucket.limit.is_budget {
                bucket.threshold = 0;
                bucket.thresholds.clear();
            } else {
                self.candidates -= bucket.candidates.len();
                bucket.cut(now);
            }
        }
    }

    /// By randomness: sets the thresholds of budgets, after those of the others.
    pub fn cut_budget(&mut self, now: Nanos) {
        for bucket in self.buckets.iter_mut().filter(|bucket| bucket.limit.is_budget) {
            self.candidates -= bucket.candidates.len();
            bucket.cut(now);
        }
    }

    /// What wanted to pass each limit in force since the last call: by this the shards of a node divide the limits.
    pub fn take_demand(&mut self) -> Vec<u64> {
        let Some(Places { buckets, .. }) = self.generations.last() else { return Vec::new() };
        let demand =
            |place: &usize| self.buckets.get_mut(*place).map_or(0, |bucket| std::mem::take(&mut bucket.demand));
        buckets.iter().map(demand).collect()
    }

    /// Sets this shard's part of each limit in force, 0 to 1.
    pub fn set_shares(&mut self, shares: &[f64]) {
        let Some(Places { buckets, .. }) = self.generations.last() else { return };
        for (place, share) in buckets.iter().zip(shares) {
            if let Some(bucket) = self.buckets.get_mut(*place) {
                bucket.share = share.clamp(0.0, 1.0);
            }
        }
    }

    /// Leaves these parts until it is called again: windows that are cut from now on go by it, and so do limits of rules to
    /// come.
    pub fn leave(&mut self, left: Left) {
        self.left = left.clamped();
        for bucket in self.buckets.iter_mut().filter(|bucket| !bucket.limit.is_fixed) {
            bucket.left = self.left.limits;
        }
    }

    /// Traces of a window that were too many to be ranked, over all limits and those before them: they counted as rejected.
    #[must_use]
    pub fn unranked(&self) -> u64 {
        self.unranked
    }

    /// Traces too large to pass a limit ever, over all limits and those before them.
    #[must_use]
    pub fn unreachable(&self) -> u64 {
        self.unreachable_before + self.buckets.iter().map(|bucket| bucket.unreachable).sum::<u64>()
    }
}

#[cfg(test)]
mod tests;
