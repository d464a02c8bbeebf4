//! Both ways to spend a limit. Cases: the Collector's `rate.Limiter` and `budget_limiting`.

mod left;

use super::*;

const SECOND: Nanos = Nanos(Nanos::PER_SECOND);

fn at(seconds: u64) -> Nanos {
    Nanos(SECOND.0 * (seconds + 1))
}

impl Limits {
    fn in_force(&mut self) -> ViewMut<'_> {
        self.view_mut(self.generations.last().unwrap().generation, false)
    }

    fn as_in_force(&self) -> View<'_> {
        self.view(self.generations.last().unwrap().generation, false)
    }
}

fn one(limit: Limit) -> Limits {
    Limits::new(&[limit], 0, 1, at(0))
}

#[test]
fn a_bucket_starts_full_and_is_refilled() {
    let mut limits = one(Limit::bucket(Cost::Spans, 10, 0));
    assert!(limits.in_force().allow(0, 20, at(0)), "a burst of twice the rate");
    assert!(!limits.in_force().allow(0, 1, at(0)));
    assert!(limits.in_force().allow(0, 0, at(0)), "nothing costs nothing");
    assert!(!limits.in_force().allow(0, 11, at(1)), "a refusal costs nothing");
    assert!(limits.in_force().allow(0, 10, at(1)));
    assert!(limits.in_force().allow(0, 20, at(100)));
    assert!(!limits.in_force().allow(0, 1, at(100)), "never more than the burst");
    assert!(!limits.in_force().allow(0, 21, at(1000)), "what is larger than the burst never passes");
}

#[test]
fn a_bucket_without_refill_spends_its_burst_once() {
    let mut limits = one(Limit::bucket(Cost::Spans, 0, 5));
    assert!(limits.in_force().allow(0, 5, at(0)));
    assert!(!limits.in_force().allow(0, 1, at(1_000_000)));
    let mut nothing = one(Limit::bucket(Cost::Spans, -3, -3));
    assert!(!nothing.in_force().allow(0, 1, at(9)));
}

#[test]
fn a_composite_counts_each_second_anew() {
    let mut limits = one(Limit::by_second(10));
    assert!(
        limits.in_force().allow(0, 6, at(0))
            && !limits.in_force().allow(0, 5, at(0))
            && limits.in_force().allow(0, 4, at(0))
    );
    assert!(
        limits.in_force().allow(0, 10, at(7)) && !limits.in_force().allow(0, 1, at(7)),
        "what is left is not carried over"
    );
}

#[test]
fn what_a_kept_trace_has_at_its_own_randomness_does_not_move_the_threshold() {
    // Fifty traces that have two spans at any randomness; the twenty highest may have more of them at theirs.
    let traces = |high: u64| (0..50).map(move |place| (1000 - place, if place < 20 { high } else { 2 }));
    let window = |limits: &mut Limits, second: u64, high: u64| {
        traces(high).for_each(|(randomness, paid)| limits.in_force().offer(0, 0, randomness, (2, paid)));
        limits.cut(at(second));
        limits.as_in_force().threshold(0, 0, 1)
    };
    let mut all_alike = one(Limit::bucket(Cost::Spans, 80, 80));
    assert_eq!(window(&mut all_alike, 0, 2), 961, "forty of two");
    let mut limits = one(Limit::bucket(Cost::Spans, 80, 80));
    assert_eq!(window(&mut limits, 0, 6), 988, "thirteen of six: the first window goes by itself");
    let mut more = limits.clone();
    assert_eq!(window(&mut limits, 1, 6), window(&mut more, 1, 9), "whatever those that are kept have now");
    assert!(window(&mut more, 2, 9) > window(&mut limits, 2, 6), "but they paid for it");
    let mut kept = 0;
    for second in 3..200 {
        let threshold = window(&mut limits, second, 6);
        kept += traces(6).filter(|(randomness, _)| *randomness >= threshold).map(|(_, paid)| paid).sum::<u64>();
    }
    assert!((14_500..=16_000).contains(&kept), "{kept} spans in 197 s of 80 each");
}

fn cut(limits: &mut Limits, now: Nanos, window: &[(u64, u64)]) -> u64 {
    for (randomness, cost) in window {
        limits.in_force().offer(0, 0, *randomness, (*cost, *cost));
    }
    limits.cut(now);
    limits.as_in_force().threshold(0, 0, 1)
}

#[test]
fn the_threshold_is_one_above_the_first_rejected() {
    let mut limits = one(Limit::bucket(Cost::Spans, 10, 10));
    assert_eq!(cut(&mut limits, at(0), &[(5, 3), (9, 3), (7, 4)]), 0, "all fit");
    assert_eq!(cut(&mut limits, at(1), &[(5, 4), (9, 4), (7, 4), (1, 1)]), 6, "no skipping to smaller ones");
    assert_eq!(
        cut(&mut limits, at(1), &[(8, 3)]),
        threshold_of(2.0 / 3.0, PRECISION_DEFAULT).unwrap(),
        "two are left: a chance"
    );
    assert_eq!(cut(&mut limits, at(1), &[(8, 2)]), 0, "what kept nothing cost nothing");
    assert_eq!(cut(&mut limits, at(2), &[(9, 5), (7, 3), (7, 3), (3, 1)]), 8, "what ties goes together");
    assert_eq!(cut(&mut limits, at(3), &[(9, 11), (3, 10)]), 0, "what can't ever fit is no candidate");
    assert_eq!(limits.as_in_force().threshold(0, 0, 11), NEVER);
    assert_eq!(limits.unreachable(), 1);
}

#[test]
fn what_passes_between_windows_is_paid_for_by_the_next() {
    let mut limits = one(Limit::bucket(Cost::Spans, 10, 10));
    cut(&mut limits, at(0), &[]);
    limits.in_force().charge(0, 0, (1, true), 8);
    limits.in_force().charge(0, 0, (2, true), 8);
    assert_eq!(cut(&mut limits, at(1), &[(9, 3), (8, 3)]), 9, "four were left of ten");
}

#[test]
fn shards_share_a_limit_by_demand_and_keep_what_was_saved_over_a_change_of_rules() {
    let limit = Limit::bucket(Cost::Spans, 10, 10);
    let mut limits = Limits::new(&[limit.clone(), limit.clone()], 0, 4, at(0));
    assert!(!limits.in_force().allow(0, 5, at(0)), "a quarter of ten");
    assert!(limits.in_force().allow(0, 5, at(1)), "a single trace may be larger than the part: it is saved up for");
    assert_eq!(limits.take_demand(), [10, 0]);
    limits.set_shares(&[1.0, 0.0]);
    assert!(limits.in_force().allow(0, 9, at(2)) && !limits.in_force().allow(1, 9, at(2)));
    limits.add(1, &[limit], |_| Some((0, 0)), 4, at(2));
    limits.retain(|_| false);
    assert!(!limits.in_force().allow(0, 9, at(2)), "no fresh burst");
}

#[test]
fn groups_share_equally_beyond_what_they_are_promised_and_pass_on_what_they_do_not_use() {
    let mut limits = one(Limit { burst: 10.0, ..Limit::grouped(Cost::Spans, 10, vec![0.0, 6.0]) });
    // Group 2 wants 20 and is promised 6; group 3 wants 1; group 4 wants 10.
    let window: Vec<(u64, u64, u64)> = (0..20)
        .map(|number| (2, 100 + number, 1))
        .chain([(3, 5, 1)])
        .chain((0..10).map(|number| (4, 200 + number, 1)))
        .collect();
    window.iter().for_each(|(group, randomness, cost)| limits.in_force().offer(0, *group, *randomness, (*cost, *cost)));
    limits.cut(at(0));
    let kept = |group: u64| {
        window.iter().filter(|(of, r, _)| *of == group && *r >= limits.as_in_force().threshold(0, group, 1)).count()
    };
    assert_eq!((kept(2), kept(3), kept(4)), (7, 1, 1), "6 and half of the 3 that are left, 1, half of 3");
    assert_eq!(
        limits.as_in_force().threshold(0, 9, 1),
        0,
        "a group that was not there is let through until the next window"
    );
}

#[test]
fn one_of_so_many_follows_the_traffic() {
    let mut limits = one(Limit::one_in(4.0));
    for (window, traces) in [(1u64, 100u64), (2, 1000)] {
        (0..traces).for_each(|number| limits.in_force().offer(0, 0, number, (1, 1)));
        limits.cut(at(window));
        let kept = (0..traces).filter(|number| *number >= limits.as_in_force().threshold(0, 0, 1)).count() as u64;
        assert_eq!(kept, traces / 4);
    }
}

/// Cost of what a limit keeps in so many windows, and the estimate of what came, weighted by the thresholds.
fn kept_and_estimate(limits: &mut Limits, windows: u64, groups: u64, traces: u64, cost: u64) -> (f64, f64) {
    let (mut kept, mut estimate, mut state) = (0.0, 0.0, 1u64);
    for window in 0..windows {
        let mut all = Vec::new();
        for number in 0..groups * traces {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            all.push((1 + number % groups, state >> 8));
        }
        all.iter().for_each(|(group, randomness)| limits.in_force().offer(0, *group, *randomness, (cost, cost)));
        limits.cut(at(window));
        for (group, randomness) in all {
            let threshold = limits.as_in_force().threshold(0, group, cost);
            if randomness >= threshold {
                kept += cost as f64;
                estimate += cost as f64 / (1.0 - threshold as f64 / NEVER as f64);
            }
        }
    }
    (kept, estimate)
}

#[test]
fn groups_whose_part_is_less_than_a_trace_are_kept_with_a_chance() {
    // 100 routes of 2 traces of 8 spans each second, and 100 spans a second for all: a span for each.
    let mut limits = one(Limit::grouped(Cost::Spans, 100, Vec::new()));
    let (kept, estimate) = kept_and_estimate(&mut limits, 1000, 100, 2, 8);
    assert!((kept / 100_000.0 - 1.0).abs() < 0.05, "{kept} spans in 1000 seconds");
    assert!((estimate / 1_600_000.0 - 1.0).abs() < 0.05, "{estimate} of 1600000");
}

#[test]
fn one_of_so_many_holds_where_a_second_has_fewer() {
    for is_grouped in [false, true] {
        let mut limits = one(Limit { is_grouped, ..Limit::one_in(20.0) });
        let (kept, estimate) = kept_and_estimate(&mut limits, 20_000, 1, 2, 8);
        assert!((kept / 16_000.0 - 1.0).abs() < 0.1, "{kept} spans of 320000");
        assert!((estimate / 320_000.0 - 1.0).abs() < 0.1, "{estimate} of 320000");
    }
}

#[test]
fn a_trace_kept_for_another_reason_between_windows_does_not_pay() {
    let mut limits = one(Limit::bucket(Cost::Spans, 10, 10));
    assert_eq!(cut(&mut limits, at(0), &[(9, 6), (5, 6)]), 6);
    limits.in_force().charge(0, 0, (5, true), 10);
    assert_eq!(cut(&mut limits, at(1), &[(9, 10)]), 0, "the threshold was 6: it did not pass here");
}

#[test]
fn what_groups_had_left_and_what_was_counted_outlive_a_change_of_rules() {
    let limit = Limit::grouped(Cost::Spans, 4, Vec::new());
    let mut limits = one(limit.clone());
    (0..20).for_each(|number| limits.in_force().offer(0, 3, number, (1, 1)));
    limits.in_force().offer(0, 3, 1, (100, 100));
    limits.cut(at(0));
    // The same limit under another number, beside one that is new.
    let same = |number| (number == 1).then_some((0, 0));
    limits.add(1, &[Limit::one_in(2.0), limit], same, 1, at(0));
    limits.retain(|_| false);
    assert_eq!((limits.as_in_force().threshold(1, 3, 1), limits.as_in_force().threshold(0, 3, 1)), (12, 0));
    assert_eq!(limits.unreachable(), 1);
    limits.add(2, &[], |_| None, 1, at(0));
    limits.retain(|_| false);
    assert_eq!((limits.unreachable(), limits.as_in_force().threshold(0, 3, 1)), (1, NEVER), "a counter never falls");
}

#[test]
fn generations_have_what_is_the_same_in_common_and_the_rest_apart() {
    let (common, other) = (Limit::bucket(Cost::Spans, 10, 10), Limit::bucket(Cost::Bytes, 10, 10));
    let mut limits = Limits::new(&[common.clone(), other], 0, 1, at(0));
    limits.add(1, &[Limit::bucket(Cost::Spans, 7, 7), common], |number| (number == 1).then_some((0, 0)), 1, at(0));
    for (generation, number, cost, passes) in [
        (1, 1, 6, true),
        (0, 0, 6, false),
        (0, 0, 4, true),
        (1, 1, 1, false),
        // Of the same number, but others.
        (1, 0, 7, true),
        (0, 1, 10, true),
        // There is no such generation.
        (7, 0, 0, false),
    ] {
        assert_eq!(
            limits.view_mut(generation, false).allow(number, cost, at(0)),
            passes,
            "{generation} {number} {cost}"
        );
    }
    assert_eq!(limits.take_demand(), [7, 17], "in the numbers of the rules in force");
    limits.retain(|generation| generation == 0);
    let mut former = limits.view_mut(0, false);
    assert!(former.allow(0, 10, at(1)) && !former.allow(0, 1, at(1)));
    assert!(!limits.in_force().allow(1, 1, at(1)), "still the same");
}

#[test]
fn a_limit_holds_also_where_every_trace_is_judged_early() {
    let mut limits = one(Limit::bucket(Cost::Spans, 100, 0));
    let (mut kept, mut estimate, mut state) = (0.0, 0.0, 1u64);
    for window in 1..=1000u64 {
        limits.cut(at(window));
        for _ in 0..200 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let randomness = state >> 8;
            let mut early = limits.view_mut(0, true);
            let threshold = early.view().threshold(0, 0, 8);
            early.charge(0, 0, (randomness, randomness >= threshold), 8);
            if randomness >= threshold {
                kept += 8.0;
                estimate += 8.0 / (1.0 - threshold as f64 / NEVER as f64);
            }
        }
    }
    assert!((0.95..1.05).contains(&(kept / 100_000.0)), "{kept} spans in 1000 seconds");
    assert!((0.9..1.1).contains(&(estimate / 1_600_000.0)), "{estimate} of 1600000");
}

#[test]
fn a_window_is_not_cut_as_early_because_the_trace_before_it_was() {
    let mut limits = one(Limit::bucket(Cost::Spans, 10, 10));
    (0..100).for_each(|number| limits.view_mut(0, true).charge(0, 0, (number, false), 10));
    limits.cut(at(1));
    assert_eq!(limits.as_in_force().threshold(0, 0, 1), 0, "nothing of the window wanted to pass");
    assert!(limits.view(0, true).threshold(0, 0, 1) > 0, "a thousand spans wanted to pass early");
}

/// Bytes that the candidates of all limits have reserved.
fn candidate_bytes_of(limits: &Limits) -> usize {
    limits.buckets.iter().map(|bucket| bucket.candidates.capacity() * size_of::<Candidate>()).sum()
}

#[test]
fn more_candidates_than_are_ranked_take_no_more_memory_and_bias_nothing() {
    const TRACES: u64 = 4 * CANDIDATES_MAX as u64;
    for is_grouped in [false, true] {
        // More than can be ranked would fit: the bound takes the budget's place.
        let wide = Limit { is_grouped, ..Limit::bucket(Cost::Spans, 1 << 40, 0) };
        let narrow = Limit::bucket(Cost::Spans, 1000, 1000);
        let mut limits = Limits::new(&[wide, narrow], 0, 1, at(0));
        let mut all = Vec::new();
        let mut state = 7u64;
        for number in 0..TRACES {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (group, randomness) = (if is_grouped { number % 50 } else { 0 }, state >> 8);
            limits.in_force().offer(0, group, randomness, (1, 1));
            limits.in_force().offer(1, 0, randomness, (1, 1));
            all.push((group, randomness));
            assert!(candidate_bytes_of(&limits) <= candidate_bytes_max(), "{}", candidate_bytes_of(&limits));
        }
        assert!(limits.unranked() > TRACES);
        limits.cut(at(1));
        assert_eq!(candidate_bytes_of(&limits), 0, "the next window needs other rooms");
        for (limit, expected) in [(0, None), (1, Some(1000.0))] {
            let (mut kept, mut estimate) = (0.0, 0.0);
            for (group, randomness) in &all {
                let threshold = limits.as_in_force().threshold(limit, if limit == 0 { *group } else { 0 }, 1);
                if *randomness >= threshold {
                    kept += 1.0;
                    estimate += 1.0 / (1.0 - threshold as f64 / NEVER as f64);
                }
            }
            let spread = 4.0 / f64::sqrt(kept);
            assert!((estimate / TRACES as f64 - 1.0).abs() < spread, "{estimate} of {TRACES}, {kept} kept");
            assert!(expected.is_none_or(|expected| kept == expected), "a budget that holds fewer is spent: {kept}");
        }
        let unknown = limits.as_in_force().threshold(0, 1 << 40, 1);
        assert!(unknown > 0, "a group of which nothing was ranked is rejected as far as others were");
    }
}

#[test]
fn one_of_so_many_counts_those_that_were_too_many_to_be_ranked() {
    let mut limits = one(Limit::one_in(20.0));
    let traces = 3 * CANDIDATES_MAX as u64;
    (0..traces)
        .for_each(|number| limits.in_force().offer(0, 0, number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 8, (1, 1)));
    limits.cut(at(1));
    let threshold = limits.as_in_force().threshold(0, 0, 1);
    let kept = (0..traces).filter(|number| number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 8 >= threshold).count();
    assert!((0.99..1.01).contains(&(kept as f64 / (traces as f64 / 20.0))), "{kept}");
}

#[test]
fn former_rules_and_those_in_force_rank_no_more_than_one_generation() {
    let mut limits = one(Limit::bucket(Cost::Spans, 1 << 40, 0));
    limits.add(1, &[Limit::bucket(Cost::Spans, 1 << 41, 0)], |_| None, 1, at(0));
    for number in 0..CANDIDATES_MAX as u64 {
        let mut asked = limits.view_mut(u32::from(number % 2 == 1), false);
        asked.offer(0, 0, number, (1, 1));
        asked.offer(0, 0, number, (1, 1));
    }
    assert!(candidate_bytes_of(&limits) <= candidate_bytes_max());
    limits.retain(|_| false);
    // What those that have gone wanted is not counted any more.
    limits.cut(at(1));
    limits.in_force().offer(0, 0, 1, (1, 1));
    assert_eq!(limits.candidates, 1);
}
