//! Tests of a link between two peers, without a network.

use super::*;

const START: Duration = Duration::from_secs(1);
const WAITS: Waits = Waits {
    resend: Duration::from_millis(100),
    resend_max: Duration::from_secs(1),
    acknowledge: Duration::from_millis(20),
    gather: Duration::from_millis(20),
};
const BUNDLE_BYTES: usize = 100;

/// What [`Link::send`] writes: epoch, number and bundle.
fn sent(link: &mut Link, now: Duration) -> Vec<(u32, u64, Vec<u8>)> {
    let mut frames = Vec::new();
    link.send(now, |frame| frames.extend_from_slice(frame));
    let read = crate::frame::Frames::new(&frames).map(|frame| match frame {
        Ok(crate::frame::Frame::Told(epoch, number, bundle)) => (epoch, number, bundle.to_vec()),
        other => panic!("{other:?}"),
    });
    read.collect()
}

fn numbers(sent: &[(u32, u64, Vec<u8>)]) -> Vec<u64> {
    sent.iter().map(|(_, number, _)| *number).collect()
}

/// A link with so many bundles of one payload each.
fn told(count: usize) -> Link {
    let mut link = Link::new(WAITS, 1);
    for _ in 0..count {
        link.tell(START, &[7; BUNDLE_BYTES], BUNDLE_BYTES);
    }
    link.send(START + WAITS.gather, |_| ());
    link
}

/// Breaks with `places` of `has_room`: what is gathered would have no place when it is closed.
#[test]
fn the_window_is_full_at_its_bound() {
    let mut link = told(WINDOW_BUNDLES_MAX - 1);
    assert!(link.has_room(10, BUNDLE_BYTES));
    link.tell(START, &[1; 10], BUNDLE_BYTES);
    assert!(link.has_room(10, BUNDLE_BYTES), "it joins what is gathered");
    assert!(!link.has_room(90, BUNDLE_BYTES), "it would begin another bundle");
    assert_eq!(link.unacknowledged(), 1_024);
}

/// Breaks with `sent.wait` in `Link::send`: doubled from 100 ms, or from three round trips, up to a second.
#[test]
fn a_bundle_is_sent_again_later_and_later() {
    for (round_trip, waits) in [(10, [100, 200, 400, 800, 1_000, 1_000]), (100, [300, 600, 1_000, 1_000, 1_000, 1_000])]
    {
        let mut link = told(0);
        link.measure(Duration::from_millis(round_trip));
        link.tell(START, b"x", BUNDLE_BYTES);
        let mut now = START + WAITS.gather;
        assert_eq!(numbers(&sent(&mut link, now)), [0]);
        for wait in waits {
            now += Duration::from_millis(wait);
            assert_eq!(sent(&mut link, now - Duration::from_millis(1)), []);
            assert_eq!(link.send_due(), Some(now));
            assert_eq!(numbers(&sent(&mut link, now)), [0], "after {wait} ms");
        }
    }
}

/// Breaks with `number < *floor`, with the mask and with its bound of 256.
#[test]
fn what_was_heard_is_not_sent_again() {
    let mut link = told(600);
    let mut mask = [0; 4];
    set_bit(&mut mask, 0);
    set_bit(&mut mask, 255);
    link.acknowledged(&Acknowledge { epoch: 1, floor: 3, next: 500, mask });
    let later = START + Duration::from_secs(1);
    let mut again = Vec::new();
    for step in 0..20 {
        again.extend(numbers(&sent(&mut link, later + RESEND_PAUSE * step)));
    }
    let expected: Vec<u64> = (3..600).filter(|number| ![499, 244].contains(number)).collect();
    assert_eq!(again, expected);
}

/// Breaks with the epoch in `acknowledged`: an acknowledgement of what was given up would take away what is told now.
#[test]
fn an_acknowledgement_of_a_former_epoch_is_late() {
    let mut link = told(3);
    assert_eq!(link.restart(2), 3);
    link.tell(START, b"x", BUNDLE_BYTES);
    link.send(START + WAITS.gather, |_| ());
    link.acknowledged(&Acknowledge { epoch: 1, floor: 3, next: 3, mask: [0; 4] });
    assert_eq!(link.unacknowledged(), 1);
    link.acknowledged(&Acknowledge { epoch: 2, floor: 1, next: 1, mask: [0; 4] });
    assert_eq!(link.unacknowledged(), 0);
}

/// Breaks with either comparison of epochs in `hear`.
#[test]
fn a_new_epoch_begins_anew_and_the_former_is_late() {
    let mut link = Link::new(WAITS, 1);
    let mut bundle = Vec::new();
    put_payload(&mut bundle, b"x");
    let mut hear = |epoch, number| link.hear(START, (epoch, number), &bundle, |_| true);
    assert_eq!((hear(1, 0), hear(1, 0)), (Bundle::Taken, Bundle::Duplicate));
    assert_eq!((hear(2, 0), hear(1, 1), hear(2, 0)), (Bundle::Taken, Bundle::Late, Bundle::Duplicate));
}

/// Breaks with the bound in `hear`: the ring of bits would take one bundle for another.
#[test]
fn a_bundle_beyond_the_window_is_malformed() {
    let mut link = Link::new(WAITS, 1);
    let mut bundle = Vec::new();
    put_payload(&mut bundle, b"x");
    let mut hear = |number| link.hear(START, (1, number), &bundle, |_| true);
    assert_eq!((hear(1_023), hear(1_024), hear(u64::MAX)), (Bundle::Taken, Bundle::Malformed, Bundle::Malformed));
    assert_eq!((hear(0), hear(1_024)), (Bundle::Taken, Bundle::Taken));
    assert_eq!(link.hear(START, (1, 2), b"\x05\x00x", |_| true), Bundle::Malformed);
}

/// Breaks with `clear_bit` of `Heard::take`: after 1,024 bundles all would be taken for known.
#[test]
fn thousands_of_bundles_in_any_order_are_taken_once_each() {
    use rand::seq::SliceRandom;
    use rand::{RngExt, SeedableRng};
    let mut rng = rand::rngs::SmallRng::seed_from_u64(3);
    let (mut one, mut other) = (Link::new(WAITS, 1), Link::new(WAITS, 1));
    let (mut now, mut next, mut heard) = (START, 0_u32, Vec::new());
    while heard.len() < 20_000 {
        now += Duration::from_millis(10);
        for _ in 0..200 {
            if one.has_room(4, BUNDLE_BYTES) {
                one.tell(now, &next.to_le_bytes(), BUNDLE_BYTES);
                next += 1;
            }
        }
        let mut bundles = sent(&mut one, now);
        bundles.shuffle(&mut rng);
        for (epoch, number, bundle) in bundles {
            if rng.random_range(0..10) < 7 {
                other.hear(now, (epoch, number), &bundle, |payload| {
                    heard.push(u32::from_le_bytes(payload.try_into().unwrap()));
                    true
                });
            }
        }
        if let Some(acknowledge) = other.take_acknowledge().filter(|_| rng.random_range(0..10) < 7) {
            one.acknowledged(&acknowledge);
        }
    }
    let count = heard.len();
    heard.sort_unstable();
    heard.dedup();
    assert_eq!(heard.len(), count);
}
