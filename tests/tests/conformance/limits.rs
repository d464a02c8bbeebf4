//! What limiters let through of a minute of traffic, and what the Collector let through.

use tailwater_tests::conformance::{limits, recorded};

#[test]
fn limiters_let_through_what_the_collector_lets_through() {
    let theirs = limits::read(&recorded::directory().join(limits::FILE));
    let mut lines = Vec::new();
    for (number, (limiter, theirs)) in limits::limiters().iter().zip(&theirs).enumerate() {
        assert!(theirs.iter().sum::<u64>() > limiter.tolerance, "{} is of no use", limiter.name);
        lines.extend(limits::difference(limiter, theirs, &limits::play(number, limiter).unwrap()));
    }
    assert!(lines.is_empty(), "{} lines:\n{}", lines.len(), lines.join("\n"));
}

#[test]
fn a_limiter_that_lets_through_more_is_found() {
    let limiter = &limits::limiters()[0];
    let ours = limits::play(0, limiter).unwrap();
    let more: Vec<u64> = ours.iter().map(|spans| spans + spans / 20 + 3).collect();
    assert!(limits::difference(limiter, &ours, &ours).is_empty());
    assert!(!limits::difference(limiter, &ours, &more).is_empty());
}
