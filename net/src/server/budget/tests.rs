//! The budgets: limits hold, nobody waits for ever, everything comes back.

use std::pin::pin;

use super::*;

fn poll_once(future: impl Future<Output = ()>) -> Poll<()> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn a_body_that_does_not_fit_waits_until_another_ends() {
    let budget = BodyBudget::new(100);
    let mut first = budget.reserve();
    let mut second = budget.reserve();
    let mut third = budget.reserve();
    assert!(first.try_grow(60));
    // The first one that does not fit is favoured and goes beyond the limit: without it nothing would ever end.
    assert!(poll_once(second.grow(60)).is_ready());
    assert_eq!(budget.used(), 120);
    let mut waiting = pin!(third.grow(10));
    let mut context = Context::from_waker(Waker::noop());
    assert!(waiting.as_mut().poll(&mut context).is_pending());
    assert_eq!(budget.waits(), 2);
    drop(second);
    assert!(waiting.as_mut().poll(&mut context).is_ready());
    assert_eq!(budget.used(), 70);
}

#[test]
fn the_favoured_body_may_go_on_growing_and_only_one_is_favoured() {
    let budget = BodyBudget::new(10);
    let mut first = budget.reserve();
    let mut second = budget.reserve();
    assert!(poll_once(first.grow(20)).is_ready());
    assert!(first.try_grow(5));
    assert!(poll_once(second.grow(20)).is_pending());
    drop(first);
    // `second` is still in line from its abandoned wait; its next wait takes a new place and must not block itself.
    drop(second);
    let mut fourth = budget.reserve();
    assert!(poll_once(fourth.grow(20)).is_ready());
    drop(fourth);
    assert_eq!(budget.used(), 0);
    assert!(budget.line.borrow().is_empty());
}

#[test]
fn nobody_overtakes_the_line() {
    let budget = BodyBudget::new(10);
    let mut first = budget.reserve();
    let mut waiting = budget.reserve();
    let mut late = budget.reserve();
    assert!(poll_once(first.grow(11)).is_ready());
    let mut wait = pin!(waiting.grow(5));
    let mut context = Context::from_waker(Waker::noop());
    assert!(wait.as_mut().poll(&mut context).is_pending());
    drop(first);
    assert!(!late.try_grow(1), "there is room, but somebody was first");
    assert!(wait.as_mut().poll(&mut context).is_ready());
    assert!(late.try_grow(1));
}

#[test]
fn windows_are_lent_while_they_last_and_come_back() {
    let windows = WindowBudget::new(10);
    let first = windows.take(6).unwrap();
    assert!(windows.take(6).is_none());
    drop(first);
    assert!(windows.take(10).is_some());
}
