//! Datagrams of a cluster: nothing panics, whatever comes; what was not sealed does not open, what was opens once and as it
//! was sealed. The first bytes say what is done to a sealed datagram on its way.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tailwater_net::datagram::{HEADER_BYTES, Keyring, Opener, Run, Sealer};
use tailwater_proto::cluster::{Incarnation, NodeId};

const SENDER: Run = (NodeId(1), Incarnation(2));
const RECEIVER: Run = (NodeId(3), Incarnation(4));

fuzz_target!(|input: (u16, u8, bool, &[u8])| {
    let (place, flip, is_bound, bytes) = input;
    let ring = Keyring::new("fuzz", &["0123456789abcdef0123456789abcdef"]).expect("it is long enough");
    let mut opener = Opener::new(RECEIVER, ring.clone());
    // As it is, and behind the header of a datagram that could have been sealed.
    let mut sealer = Sealer::new(SENDER, ring);
    let mut sealed = Vec::new();
    sealer.seal(is_bound.then_some(RECEIVER), bytes, &mut sealed).expect("it is short");
    let forged = [&sealed[..HEADER_BYTES], bytes].concat();
    for stranger in [bytes, &forged] {
        assert!(opener.open(&mut stranger.to_vec()).is_err());
    }
    let mut changed = sealed.clone();
    let place = usize::from(place) % changed.len();
    changed[place] ^= flip;
    if flip != 0 {
        assert!(opener.open(&mut changed).is_err());
    }
    let mut whole = sealed.clone();
    let opened = opener.open(&mut whole).expect("it was sealed");
    assert!(opened.frames == bytes && opened.is_bound == is_bound && (opened.sender, opened.incarnation) == SENDER);
    assert!(opener.open(&mut sealed.clone()).is_err(), "it has come already");
    // In plain text whatever has a header is opened as it is.
    let mut plain = Opener::new(RECEIVER, Keyring::plaintext());
    if let Ok(opened) = plain.open(&mut bytes.to_vec()) {
        assert_eq!(opened.frames, &bytes[HEADER_BYTES..]);
    }
});
