//! Placement over made-up machines, and the real machine's own mask.

use super::*;

fn machine(allowed: std::ops::Range<usize>, quota: Option<f64>) -> Machine {
    Machine { allowed: allowed.collect(), quota }
}

fn pinned(cores: &[usize]) -> Vec<Option<usize>> {
    cores.iter().copied().map(Some).collect()
}

#[test]
fn by_default_every_allowed_core_but_the_gossip_core_gets_a_shard() {
    assert_eq!(machine(0..4, None).plan(None, None, None).cores, pinned(&[0, 1, 2, 3]));
    let plan = machine(0..4, None).plan(None, None, Some(0));
    assert_eq!(plan.cores, pinned(&[1, 2, 3]));
    assert_eq!(plan.gossip_core, Some(0));
    assert_eq!(machine(3..4, None).plan(None, None, Some(3)).cores, pinned(&[3]));
    assert_eq!(machine(0..4, None).plan(None, None, Some(9)).gossip_core, None);
}

#[test]
fn named_cores_are_taken_in_their_order() {
    let plan = machine(0..8, None).plan(None, Some(vec![6, 2]), None);
    assert_eq!(plan.cores, pinned(&[6, 2]));
    assert_eq!(machine(0..8, None).plan(Some(1), Some(vec![6, 2]), None).cores, pinned(&[6]));
}

#[test]
fn a_core_outside_the_mask_a_fractional_quota_or_too_many_shards_run_unpinned_and_say_so() {
    let outside = machine(0..2, None).plan(None, Some(vec![1, 5]), None);
    assert_eq!(outside.cores, [None, None]);
    assert!(outside.reason.contains("core 5"), "{}", outside.reason);
    let fractional = machine(0..8, Some(2.5)).plan(None, None, None);
    assert_eq!(fractional.cores, [None, None]);
    assert!(fractional.reason.contains("2.50"), "{}", fractional.reason);
    let tiny = machine(0..8, Some(0.5)).plan(None, None, None);
    assert_eq!(tiny.cores, [None]);
    let crowded = machine(0..2, None).plan(Some(5), None, None);
    assert_eq!(crowded.cores, [None; 5]);
    assert!(crowded.reason.contains("5 shards on 2"), "{}", crowded.reason);
    let short = machine(0..8, Some(2.0)).plan(Some(4), None, None);
    assert_eq!(short.cores, [None; 4]);
}

#[test]
fn a_whole_quota_bounds_the_shards_and_keeps_them_pinned() {
    assert_eq!(machine(0..8, Some(3.0)).plan(None, None, None).cores, pinned(&[0, 1, 2]));
    assert_eq!(machine(0..2, Some(64.0)).plan(None, None, None).cores, pinned(&[0, 1]));
}

#[test]
fn lists_of_cores_are_read_and_their_mistakes_named() {
    assert_eq!(parse_cores("2-4,12, 0"), Ok(vec![2, 3, 4, 12, 0]));
    for bad in ["", "a", "3-1", "1-", "-1", "1,,2", "99999999"] {
        assert!(matches!(parse_cores(bad), Err(PlacementError::Malformed { .. })), "{bad}");
    }
    assert_eq!(parse_cores("1-3,2"), Err(PlacementError::Twice { list: "1-3,2".to_owned(), core: 2 }));
}

#[test]
fn this_machine_allows_the_core_that_a_thread_is_pinned_to() {
    let allowed = allowed_cores();
    let first = allowed[0];
    let seen = std::thread::spawn(move || {
        pin_current_thread(first).unwrap();
        allowed_cores()
    });
    assert_eq!(seen.join().unwrap(), [first]);
    assert!(pin_current_thread(usize::MAX).is_err());
    assert!(plan(Some(1), None, None).is_ok());
}
