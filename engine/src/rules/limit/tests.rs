//! Both ways to spend a limit. Cases: the Collector's `rate.Limiter` and `budget_limiting`.

use super::*;

const SECOND: Nanos = Nanos(Nanos::PER_SECOND);

fn at(seconds: u64) -> Nanos {
    Nanos(SECOND.0 * (seconds + 1))
}

fn one(limit: Limit) -> Limits {
    Limits::new(&[limit], 1, at(0))
}

#[test]
fn a_bucket_starts_full_and_is_refilled() {
    let mut limits = one(Limit::bucket(Cost::Spans, 10, 0));
    assert!(limits.allow(0, 20, at(0)), "a burst of twice the rate");
    assert!(!limits.allow(0, 1, at(0)));
    assert!(limits.allow(0, 0, at(0)), "nothing costs nothing");
    assert!(!limits.allow(0, 11, at(1)), "a refusal costs nothing");
    assert!(limits.allow(0, 10, at(1)));
    assert!(limits.allow(0, 20, at(100)));
    assert!(!limits.allow(0, 1, at(100)), "never more than the burst");
    assert!(!limits.allow(0, 21, at(1000)), "what is larger than the burst never passes");
}

#[test]
fn a_bucket_without_refill_spends_its_burst_once() {
    let mut limits = one(Limit::bucket(Cost::Spans, 0, 5));
    assert!(limits.allow(0, 5, at(0)));
    assert!(!limits.allow(0, 1, at(1_000_000)));
    let mut nothing = one(Limit::bucket(Cost::Spans, -3, -3));
    assert!(!nothing.allow(0, 1, at(9)));
}

#[test]
fn a_composite_counts_each_second_anew() {
    let mut limits = one(Limit::by_second(10));
    assert!(limits.allow(0, 6, at(0)) && !limits.allow(0, 5, at(0)) && limits.allow(0, 4, at(0)));
    assert!(limits.allow(0, 10, at(7)) && !limits.allow(0, 1, at(7)), "what is left is not carried over");
}

fn cut(limits: &mut Limits, now: Nanos, window: &[(u64, u64)]) -> u64 {
    for (randomness, cost) in window {
        limits.offer(0, 0, *randomness, *cost);
    }
    limits.cut(now);
    limits.threshold(0, 0, 1)
}

#[test]
fn the_threshold_is_one_above_the_first_rejected() {
    let mut limits = one(Limit::bucket(Cost::Spans, 10, 10));
    assert_eq!(cut(&mut limits, at(0), &[(5, 3), (9, 3), (7, 4)]), 0, "all fit");
    assert_eq!(cut(&mut limits, at(1), &[(5, 4), (9, 4), (7, 4), (1, 1)]), 6, "no skipping to smaller ones");
    assert_eq!(cut(&mut limits, at(1), &[(8, 3)]), NEVER, "two are left");
    assert_eq!(cut(&mut limits, at(1), &[(8, 2)]), 0, "what kept nothing cost nothing");
    assert_eq!(cut(&mut limits, at(2), &[(9, 5), (7, 3), (7, 3), (3, 1)]), 8, "what ties goes together");
    assert_eq!(cut(&mut limits, at(3), &[(9, 11), (3, 10)]), 0, "what can't ever fit is no candidate");
    assert_eq!(limits.threshold(0, 0, 11), NEVER);
    assert_eq!(limits.unreachable(), 1);
}

#[test]
fn what_passes_between_windows_is_paid_for_by_the_next() {
    let mut limits = one(Limit::bucket(Cost::Spans, 10, 10));
    cut(&mut limits, at(0), &[]);
    limits.charge(0, 16);
    assert_eq!(cut(&mut limits, at(1), &[(9, 3), (8, 3)]), 9, "four were left of ten");
}

#[test]
fn shards_share_a_limit_by_demand_and_keep_what_was_saved_over_a_change_of_rules() {
    let limit = Limit::bucket(Cost::Spans, 10, 10);
    let mut limits = Limits::new(&[limit.clone(), limit.clone()], 4, at(0));
    assert!(!limits.allow(0, 5, at(0)), "a quarter of ten");
    assert!(limits.allow(0, 5, at(1)), "a single trace may be larger than the part: it is saved up for");
    assert_eq!(limits.take_demand(), [10, 0]);
    limits.set_shares(&[1.0, 0.0]);
    assert!(limits.allow(0, 9, at(2)) && !limits.allow(1, 9, at(2)));
    let mut after = Limits::new(&[limit], 4, at(2));
    after.inherit(&mut limits, &[(0, 0)]);
    assert!(!after.allow(0, 9, at(2)), "no fresh burst");
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
    window.iter().for_each(|(group, randomness, cost)| limits.offer(0, *group, *randomness, *cost));
    limits.cut(at(0));
    let kept =
        |group: u64| window.iter().filter(|(of, r, _)| *of == group && *r >= limits.threshold(0, group, 1)).count();
    assert_eq!((kept(2), kept(3), kept(4)), (7, 1, 1), "6 and half of the 3 that are left, 1, half of 3");
    assert_eq!(limits.threshold(0, 9, 1), 0, "a group that was not there is let through until the next window");
}

#[test]
fn one_of_so_many_follows_the_traffic() {
    let mut limits = one(Limit::one_in(4.0));
    for (window, traces) in [(1u64, 100u64), (2, 1000)] {
        (0..traces).for_each(|number| limits.offer(0, 0, number, 1));
        limits.cut(at(window));
        let kept = (0..traces).filter(|number| *number >= limits.threshold(0, 0, 1)).count() as u64;
        assert_eq!(kept, traces / 4);
    }
}
