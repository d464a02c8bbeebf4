//! What is left of limits for a time: less is kept, counts stay unbiased, and afterwards all is as it was.

use super::*;

fn limits_left(limits: f64) -> Left {
    Left { limits, ..Left::default() }
}

#[test]
fn what_is_left_of_a_limit_is_kept_and_thresholds_stay_true() {
    for (limit, share, groups) in [
        (Limit::bucket(Cost::Spans, 400, 400), 400.0, 1),
        (Limit::by_second(400), 400.0, 1),
        (Limit::grouped(Cost::Spans, 400, Vec::new()), 400.0, 20),
        (Limit { is_grouped: true, ..Limit::one_in(4.0) }, 400.0, 20),
    ] {
        // 1,600 spans a second.
        let (each, name) = (200 / groups, format!("{limit:?}"));
        let mut limits = one(limit.clone());
        limits.leave(limits_left(0.25));
        let (kept, estimate) = kept_and_estimate(&mut limits, 1000, groups, each, 8);
        assert!((kept / (share * 250.0) - 1.0).abs() < 0.1, "{kept}: {name}");
        assert!((estimate / 1_600_000.0 - 1.0).abs() < 0.1, "{estimate}: {name}");
        let mut limits = one(limit);
        limits.leave(limits_left(0.25));
        limits.leave(limits_left(1.0));
        let (kept, estimate) = kept_and_estimate(&mut limits, 1000, groups, each, 8);
        // Of ten traces of a group one of four is two.
        assert!((0.75..1.1).contains(&(kept / (share * 1000.0))), "{kept}: {name}");
        assert!((estimate / 1_600_000.0 - 1.0).abs() < 0.1, "{estimate}: {name}");
    }
}

/// Breaks if `leave(1.0)` is not what was there before `leave`.
#[test]
fn afterwards_all_is_as_it_was() {
    let mut turned = one(Limit::grouped(Cost::Spans, 10, vec![2.0]));
    let mut untouched = turned.clone();
    let mut after = (0.0, 0.0);
    for window in 0..40 {
        let left = if (5..10).contains(&window) { 0.5 } else { 1.0 };
        turned.leave(limits_left(left));
        for limits in [&mut turned, &mut untouched] {
            (0..20).for_each(|number| limits.in_force().offer(0, 1 + number % 3, number << 40, (1, 1)));
            limits.cut(at(window));
        }
        let of = |limits: &Limits| (1..4).map(|group| limits.as_in_force().threshold(0, group, 1)).collect::<Vec<_>>();
        let (turned, untouched) = (of(&turned), of(&untouched));
        let sums = (turned.iter().sum::<u64>(), untouched.iter().sum::<u64>());
        match window {
            0..5 => assert_eq!(turned, untouched, "window {window}"),
            5..10 => assert!(sums.0 > sums.1, "window {window}: {sums:?}"),
            // What could not be saved up is caught up with; which window has the odd token stays another matter.
            20.. => after = (after.0 + to_float(sums.0), after.1 + to_float(sums.1)),
            _ => {}
        }
    }
    assert!((after.0 / after.1 - 1.0).abs() < 0.05, "{after:?}");
}

#[test]
fn it_holds_in_order_of_arrival_and_for_rules_to_come() {
    let passed = |limits: &mut Limits, second| (0..30).filter(|_| limits.in_force().allow(0, 1, at(second))).count();
    let mut limits = one(Limit::by_second(10));
    limits.leave(limits_left(0.5));
    assert_eq!(passed(&mut limits, 1), 5);
    limits.add(1, &[Limit::by_second(20)], |_| None, 1, at(1));
    assert_eq!(passed(&mut limits, 2), 10);
    limits.leave(limits_left(1.0));
    assert_eq!(passed(&mut limits, 3), 20);
    // A trace that could pass before still can: it is saved up for.
    limits.leave(limits_left(0.1));
    let passes = (4..30).filter(|second| limits.in_force().allow(0, 15, at(*second))).count();
    assert!((1..4).contains(&passes), "{passes}");
}
