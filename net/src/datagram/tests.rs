//! Sealing and opening together: what opens, what does not, and that the bytes are those of the format's page.

use super::*;

const KEY: &str = "0123456789abcdef0123456789abcdef";
const OTHER_KEY: &str = "fedcba9876543210fedcba9876543210";
const A: Run = (NodeId(0x1122_3344_5566_7788), Incarnation(0x0102_0304_0506_0708));
const B: Run = (NodeId(0x99aa_bbcc_ddee_ff00), Incarnation(0x1a2b_3c4d_5e6f_7081));

fn ring(keys: &[&str]) -> Keyring {
    Keyring::new("tailwater", keys).unwrap()
}

fn pair() -> (Sealer, Opener) {
    (Sealer::new(A, ring(&[KEY])), Opener::new(B, ring(&[KEY])))
}

fn sealed(sealer: &mut Sealer, to: Option<Run>, frames: &[u8]) -> Vec<u8> {
    let mut out = b"what was there".to_vec();
    sealer.seal(to, frames, &mut out).unwrap();
    out
}

fn refusal(opener: &mut Opener, datagram: &[u8]) -> Option<Refusal> {
    opener.open(&mut datagram.to_vec()).err()
}

fn counted(opener: &Opener, refusal: Refusal) -> u64 {
    opener.refused().find(|(other, _)| *other == refusal).unwrap().1
}

fn unhex(text: &str) -> Vec<u8> {
    text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// Made with the `cryptography` package of Python from the page of the format: another release must write and read these very
/// bytes.
#[test]
fn the_bytes_are_those_of_the_format() {
    let bound = "817088776655443322110807060504030201010000000000000018362381d9d0e74f29cefe86018dc5034140a96a52e4";
    let unbound = "01708877665544332211080706050403020102000000000000003082595fc488794cb427e7352170c784";
    let (mut sealer, mut opener) = pair();
    assert_eq!(sealed(&mut sealer, Some(B), b"frames"), unhex(bound));
    assert_eq!(sealed(&mut sealer, None, b""), unhex(unbound));
    let mut datagram = unhex(bound);
    let opened = opener.open(&mut datagram).unwrap();
    assert_eq!(opened, Opened { sender: A.0, incarnation: A.1, is_bound: true, frames: b"frames" });
    let mut datagram = unhex(unbound);
    let opened = opener.open(&mut datagram).unwrap();
    assert_eq!(opened, Opened { sender: A.0, incarnation: A.1, is_bound: false, frames: b"" });
    assert_eq!(opener.opened(), 2);
}

#[test]
fn every_flipped_bit_and_every_cut_is_refused() {
    let (mut sealer, _) = pair();
    for to in [Some(B), None] {
        let datagram = sealed(&mut sealer, to, b"some frames");
        // Once for a sender of whom nothing is known, once for one whose key is at hand.
        for first in [None, Some(sealed(&mut sealer, to, b"first"))] {
            let mut opener = Opener::new(B, ring(&[KEY]));
            assert!(first.is_none_or(|first| refusal(&mut opener, &first).is_none()));
            for bit in 0..datagram.len() * 8 {
                let mut changed = datagram.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                assert!(refusal(&mut opener, &changed).is_some(), "bit {bit}");
            }
            for length in 0..datagram.len() {
                assert!(refusal(&mut opener, &datagram[..length]).is_some(), "{length} bytes");
            }
            assert_eq!(counted(&opener, Refusal::TooShort), (HEADER_BYTES + TAG_BYTES) as u64);
            // Nothing of that was taken for what is yet to come.
            assert_eq!(refusal(&mut opener, &datagram), None);
        }
    }
}

#[test]
fn each_datagram_opens_once_in_any_order_within_the_window() {
    let (mut sealer, mut opener) = pair();
    let datagrams: Vec<Vec<u8>> = (0..1100_u32).map(|n| sealed(&mut sealer, Some(B), &n.to_le_bytes())).collect();
    // The last first, then backwards: 1,024 are within the window.
    let outcomes: Vec<_> = datagrams.iter().rev().map(|datagram| refusal(&mut opener, datagram)).collect();
    assert!(outcomes[..1024].iter().all(Option::is_none));
    assert!(outcomes[1024..].iter().all(|outcome| *outcome == Some(Refusal::Replayed)));
    assert!(datagrams.iter().all(|datagram| refusal(&mut opener, datagram) == Some(Refusal::Replayed)));
    assert_eq!((opener.opened(), counted(&opener, Refusal::Replayed)), (1024, 76 + 1100));
}

#[test]
fn what_was_for_another_run_or_node_does_not_open() {
    let (mut sealer, mut opener) = pair();
    let recorded = sealed(&mut sealer, Some(B), b"x");
    let greeting = sealed(&mut sealer, None, b"hello");
    opener.renew(Incarnation(B.1.0 + 1));
    assert_eq!(refusal(&mut opener, &recorded), Some(Refusal::WrongSeal));
    assert_eq!(refusal(&mut opener, &greeting), None);
    let mut other = Opener::new((NodeId(7), B.1), ring(&[KEY]));
    assert_eq!(refusal(&mut other, &recorded), Some(Refusal::WrongSeal));
    // A bound datagram for nobody is not an unbound one.
    let to_nobody = sealed(&mut sealer, Some((NodeId(0), Incarnation(0))), b"x");
    assert_eq!(refusal(&mut other, &to_nobody), Some(Refusal::WrongSeal));
}

#[test]
fn a_later_run_of_a_sender_ends_the_one_before() {
    let (mut sealer, mut opener) = pair();
    let before = [sealed(&mut sealer, Some(B), b"1"), sealed(&mut sealer, Some(B), b"2")];
    assert_eq!(refusal(&mut opener, &before[0]), None);
    sealer.renew(Incarnation(A.1.0 + 1));
    let after = sealed(&mut sealer, Some(B), b"3");
    assert_eq!(refusal(&mut opener, &after), None);
    assert_eq!(refusal(&mut opener, &before[1]), Some(Refusal::OldRun));
    let again = Sealer::new((A.0, Incarnation(A.1.0 + 2)), ring(&[KEY])).seal_all(3);
    assert!(again.iter().all(|datagram| refusal(&mut opener, datagram).is_none()), "counters begin anew with a run");
}

impl Sealer {
    fn seal_all(mut self, count: usize) -> Vec<Vec<u8>> {
        (0..count).map(|_| sealed(&mut self, Some(B), b"x")).collect()
    }
}

#[test]
fn a_key_is_replaced_in_two_steps_and_nothing_is_lost() {
    let rings = [ring(&[KEY]), ring(&[KEY, OTHER_KEY]), ring(&[OTHER_KEY, KEY]), ring(&[OTHER_KEY])];
    let mut nodes = [A, B].map(|run| (Sealer::new(run, rings[0].clone()), Opener::new(run, rings[0].clone())));
    let mut opened = 0;
    let exchange = |nodes: &mut [(Sealer, Opener); 2]| {
        for (from, to, run) in [(0, 1, B), (1, 0, A)] {
            let datagram = sealed(&mut nodes[from].0, Some(run), b"x");
            assert_eq!(refusal(&mut nodes[to].1, &datagram), None);
        }
    };
    // Two steps, and the old key goes once nobody seals with it.
    for ring in &rings[1..] {
        // Nodes look at their files at different times, and datagrams are under way meanwhile.
        for node in 0..2 {
            let under_way = sealed(&mut nodes[1 - node].0, Some([A, B][node]), b"under way");
            nodes[node].0.replace(ring.clone());
            nodes[node].1.replace(ring.clone());
            assert_eq!(refusal(&mut nodes[node].1, &under_way), None);
            exchange(&mut nodes);
            opened += 3;
        }
    }
    assert_eq!(nodes[0].1.opened() + nodes[1].1.opened(), opened);
    let mut outsider = Sealer::new((NodeId(5), Incarnation(5)), rings[0].clone());
    let datagram = sealed(&mut outsider, Some(A), b"x");
    assert_eq!(refusal(&mut nodes[0].1, &datagram), Some(Refusal::UnknownKey));
}

#[test]
fn counters_go_on_when_a_key_comes_back() {
    let (mut sealer, mut opener) = pair();
    let first = sealed(&mut sealer, Some(B), b"x");
    sealer.replace(ring(&[OTHER_KEY]));
    sealer.replace(ring(&[KEY]));
    let second = sealed(&mut sealer, Some(B), b"x");
    // The same counter with the same key would give the same bytes.
    assert_ne!(first, second);
    assert_eq!((refusal(&mut opener, &first), refusal(&mut opener, &second)), (None, None));
    sealer.skip_to(u64::MAX);
    let mut out = vec![1];
    assert_eq!(sealer.seal(None, b"x", &mut out), Err(SealError::Exhausted));
    assert!(out.is_empty());
}

/// Without the clearing in `Opener::replace` the key of a run that is at hand would be the former one.
#[test]
fn a_key_that_has_the_number_of_the_former_one_is_another() {
    let number = |key: &str| ring(&[key]).first().unwrap().number;
    let alike = (0..).map(|n| format!("{OTHER_KEY}{n}")).find(|key| number(key) == number(KEY)).unwrap();
    let (mut sealer, mut opener) = pair();
    assert_eq!(refusal(&mut opener, &sealed(&mut sealer, Some(B), b"x")), None);
    let late = sealed(&mut sealer, Some(B), b"x");
    sealer.replace(ring(&[&alike]));
    opener.replace(ring(&[&alike]));
    assert_eq!(refusal(&mut opener, &sealed(&mut sealer, Some(B), b"x")), None);
    assert_eq!(refusal(&mut opener, &late), Some(Refusal::WrongSeal));
}

#[test]
fn plain_text_and_sealed_nodes_do_not_hear_each_other() {
    let mut plain = (Sealer::new(A, Keyring::plaintext()), Opener::new(B, Keyring::plaintext()));
    let mut sealing = pair();
    let (open, shut) = (sealed(&mut plain.0, Some(B), b"frames"), sealed(&mut sealing.0, Some(B), b"frames"));
    assert_eq!((open[1], &open[HEADER_BYTES..]), (0, b"frames".as_slice()));
    assert_eq!(refusal(&mut sealing.1, &open), Some(Refusal::Plaintext));
    assert_eq!(refusal(&mut plain.1, &shut), Some(Refusal::Sealed));
    let mut datagram = open.clone();
    let opened = plain.1.open(&mut datagram).unwrap();
    assert_eq!(opened, Opened { sender: A.0, incarnation: A.1, is_bound: true, frames: b"frames" });
    let own = sealed(&mut Sealer::new(B, Keyring::plaintext()), None, b"");
    assert_eq!(refusal(&mut plain.1, &own), Some(Refusal::Own));
}

#[test]
fn strangers_are_counted_by_what_is_wrong_and_leave_nothing() {
    let (mut sealer, mut opener) = pair();
    let datagram = sealed(&mut sealer, Some(B), b"x");
    let changed = |at: usize, value: u8| [&datagram[..at], &[value], &datagram[at + 1..]].concat();
    for (datagram, expected) in [
        (changed(0, 0x82), Refusal::Version),
        (b"GET / HTTP/1.1\r\n\r\n and more".to_vec(), Refusal::Version),
        (changed(1, datagram[1] ^ 1), Refusal::UnknownKey),
        (changed(2, 0), Refusal::WrongSeal),
        (changed(10, 0), Refusal::WrongSeal),
        (sealed(&mut Sealer::new(A, ring(&[OTHER_KEY])), Some(B), b""), Refusal::UnknownKey),
        (sealed(&mut Sealer::new(A, Keyring::new("other", &[KEY]).unwrap()), Some(B), b""), Refusal::UnknownKey),
        (sealed(&mut Sealer::new(B, ring(&[KEY])), None, b""), Refusal::Own),
    ] {
        let before = counted(&opener, expected);
        assert_eq!(refusal(&mut opener, &datagram), Some(expected));
        assert_eq!(counted(&opener, expected), before + 1, "{}", expected.name());
    }
    assert_eq!(opener.refused().map(|(_, count)| count).sum::<u64>(), 8);
    assert!(format!("{opener:?}").contains("senders: 0"), "{opener:?}");
}

#[test]
fn senders_are_bounded_and_those_that_leave_make_room() {
    let mut opener = Opener::new(B, ring(&[KEY]));
    let mut first = Sealer::new((NodeId(1), Incarnation(1)), ring(&[KEY]));
    let [one, two, three, four] = std::array::from_fn(|_| sealed(&mut first, Some(B), b"x"));
    assert_eq!(refusal(&mut opener, &two), None);
    // Without the bound in `admit` the table would grow with each.
    for node in 2..=1024 {
        let datagram = sealed(&mut Sealer::new((NodeId(node), Incarnation(1)), ring(&[KEY])), Some(B), b"x");
        assert_eq!(refusal(&mut opener, &datagram), None);
    }
    let beyond = sealed(&mut Sealer::new((NodeId(1025), Incarnation(1)), ring(&[KEY])), Some(B), b"x");
    assert_eq!(refusal(&mut opener, &beyond), Some(Refusal::TooManySenders));
    opener.retain(|node| node.0 > 10);
    assert_eq!(refusal(&mut opener, &beyond), None);
    // Of who has left nothing opens twice, and nothing from before; what is new does.
    assert_eq!(refusal(&mut opener, &two), Some(Refusal::Replayed));
    assert_eq!(refusal(&mut opener, &four), None);
    assert_eq!(refusal(&mut opener, &one), Some(Refusal::Replayed));
    assert_eq!(refusal(&mut opener, &three), None);
    opener.retain(|node| node.0 != 1);
    let earlier = sealed(&mut Sealer::new((NodeId(1), Incarnation(0)), ring(&[KEY])), Some(B), b"x");
    assert_eq!(refusal(&mut opener, &earlier), Some(Refusal::OldRun));
}

#[test]
fn keys_that_cannot_be_used_are_told_without_saying_them() {
    let text = format!("# in use\n{KEY}\n\n  {OTHER_KEY}  \n");
    let ring = Keyring::read("tailwater", &text).unwrap();
    let numbers = |ring: &Keyring| ring.keys().iter().map(|key| key.number).collect::<Vec<_>>();
    assert_eq!(numbers(&ring), numbers(&super::tests::ring(&[KEY, OTHER_KEY])));
    let short = Keyring::read("c", "0123456789abcdef0123456789abcde\n").unwrap_err();
    assert_eq!(short, KeyringError::TooShort(1, 31));
    assert_eq!(Keyring::read("c", "# none\n\n").unwrap_err(), KeyringError::Empty);
    assert_eq!(Keyring::read("c", &format!("{KEY}\n{KEY}\n")).unwrap_err(), KeyringError::Alike(1, 2));
    assert_eq!(Keyring::new("c", &[KEY; 5]).unwrap_err(), KeyringError::TooMany(5));
    for told in [short.to_string(), format!("{ring:?}"), format!("{:?}", pair().0)] {
        assert!(!told.contains("0123456789"), "{told}");
    }
    // Of 254 other keys none has the number of plain text.
    assert!((0..254).all(|n| numbers(&super::tests::ring(&[&format!("{KEY}{n}")]))[0] != PLAINTEXT));
}
