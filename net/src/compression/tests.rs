//! Round trips, bombs, members, cuts and garbage.

use super::*;
use flate2::{Compression, write::GzEncoder};
use std::io::Write as _;
use tailwater_runtime::Backend;
use tailwater_runtime::executor::{ExecutorOptions, start};

const LIMIT: usize = 1 << 20;

fn text(length: usize) -> Vec<u8> {
    b"the quick brown fox jumps over the lazy dog 0123456789 ".iter().copied().cycle().take(length).collect()
}

fn gzip(input: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(6));
    encoder.write_all(input).unwrap();
    encoder.finish().unwrap()
}

fn inflate(encoding: Encoding, input: Vec<u8>) -> Result<Bytes, InflateError> {
    Inflater::new().inflate(encoding, &Bytes::from(input), LIMIT)
}

#[test]
fn what_is_deflated_comes_back_also_from_a_reused_inflater() {
    let mut inflater = Inflater::new();
    for encoding in [Encoding::Identity, Encoding::Gzip, Encoding::Zstd] {
        for length in [0, 1, 17, 70_000, 300, LIMIT] {
            let input = text(length);
            let packed = deflate(encoding, &input, 6).unwrap();
            assert_eq!(inflater.inflate(encoding, &packed, LIMIT).unwrap(), input, "{encoding:?} {length}");
        }
    }
}

#[test]
fn a_recycled_buffer_does_not_touch_an_output_still_held() {
    let mut inflater = Inflater::new();
    let first = inflater.inflate(Encoding::Gzip, &gzip(&text(1000)).into(), LIMIT).unwrap();
    let second = inflater.inflate(Encoding::Gzip, &gzip(&[7; 900]).into(), LIMIT).unwrap();
    assert_eq!(first, text(1000));
    assert_eq!(second, vec![7; 900]);
    let address = second.as_ptr();
    drop(second);
    let third = inflater.inflate(Encoding::Gzip, &gzip(&[8; 800]).into(), LIMIT).unwrap();
    assert_eq!(third, vec![8; 800]);
    assert_eq!(third.as_ptr(), address, "the buffer was free and should have been reused");
}

#[test]
fn output_of_exactly_the_limit_passes_and_one_byte_more_is_too_large() {
    for encoding in [Encoding::Identity, Encoding::Gzip, Encoding::Zstd] {
        assert!(inflate(encoding, deflate(encoding, &text(LIMIT), 1).unwrap().to_vec()).is_ok());
        let result = inflate(encoding, deflate(encoding, &text(LIMIT + 1), 1).unwrap().to_vec());
        assert_eq!(result, Err(InflateError::TooLarge { limit: LIMIT }), "{encoding:?}");
    }
}

#[test]
fn bombs_stop_at_the_limit() {
    let zeros = vec![0; 64 << 20];
    let too_large = Err(InflateError::TooLarge { limit: LIMIT });
    let bomb = gzip(&zeros);
    assert!(bomb.len() < zeros.len() / 900);
    assert_eq!(inflate(Encoding::Gzip, bomb.clone()), too_large);
    // A trailer that lies small, and a bomb hidden in the second member behind a harmless one, are streamed and stopped.
    let mut lying = bomb.clone();
    let size_at = lying.len() - 4;
    lying[size_at..].copy_from_slice(&10_u32.to_le_bytes());
    assert_eq!(inflate(Encoding::Gzip, lying), too_large);
    assert_eq!(inflate(Encoding::Gzip, [gzip(b"a"), bomb, gzip(b"b")].concat()), too_large);
    assert_eq!(inflate(Encoding::Zstd, zstd::bulk::compress(&zeros, 3).unwrap()), too_large);
    assert_eq!(inflate(Encoding::Zstd, zstd::stream::encode_all(&zeros[..], 3).unwrap()), too_large);
    let frames = [zstd::bulk::compress(b"a", 3).unwrap(), zstd::bulk::compress(&zeros, 3).unwrap()].concat();
    assert_eq!(inflate(Encoding::Zstd, frames), too_large);
}

#[test]
fn a_trailer_that_promises_more_than_deflate_can_hold_reserves_nothing() {
    let mut input = gzip(b"tiny");
    let size_at = input.len() - 4;
    input[size_at..].copy_from_slice(&1_000_000_u32.to_le_bytes());
    assert_eq!(inflate(Encoding::Gzip, input), Err(InflateError::Malformed));
}

#[test]
fn several_members_are_joined_also_of_equal_size_and_content() {
    // Without the search for a second member the fast decoder would return the first one only.
    let different = [gzip(b"first"), gzip(b"second member")].concat();
    assert_eq!(inflate(Encoding::Gzip, different).unwrap(), "firstsecond member");
    let equal_size = [gzip(b"abc"), gzip(b"xyz")].concat();
    assert_eq!(inflate(Encoding::Gzip, equal_size).unwrap(), "abcxyz");
    let identical = [gzip(b"same"), gzip(b"same"), gzip(b"same")].concat();
    assert_eq!(inflate(Encoding::Gzip, identical).unwrap(), "samesamesame");
    let frames = [zstd::bulk::compress(b"one", 1).unwrap(), zstd::bulk::compress(b"two", 1).unwrap()].concat();
    assert_eq!(inflate(Encoding::Zstd, frames).unwrap(), "onetwo");
    let unsized_frames = [zstd::stream::encode_all(&b"one"[..], 1).unwrap(), zstd::bulk::compress(b"two", 1).unwrap()];
    assert_eq!(inflate(Encoding::Zstd, unsized_frames.concat()).unwrap(), "onetwo");
}

#[test]
fn every_cut_is_malformed() {
    let streamed = zstd::stream::encode_all(&text(3000)[..], 3).unwrap();
    for (encoding, whole) in [
        (Encoding::Gzip, gzip(&text(3000))),
        (Encoding::Zstd, zstd::bulk::compress(&text(3000), 3).unwrap()),
        (Encoding::Zstd, streamed),
    ] {
        for length in 0..whole.len() {
            assert!(inflate(encoding, whole[..length].to_vec()).is_err(), "{encoding:?} cut at {length}");
        }
        assert_eq!(inflate(encoding, whole).unwrap(), text(3000));
    }
}

#[test]
fn garbage_never_panics_and_flipped_bits_are_noticed() {
    let mut random = 1_u64;
    let mut next = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) as usize
    };
    for encoding in [Encoding::Gzip, Encoding::Zstd] {
        let valid = deflate(encoding, &text(2000), 3).unwrap();
        for _ in 0..500 {
            let noise: Vec<u8> = (0..next() % 200).map(|_| next() as u8).collect();
            assert!(inflate(encoding, noise).is_err());
            let mut flipped = valid.to_vec();
            let at = next() % flipped.len();
            flipped[at] ^= 1 << (next() % 8);
            if let Ok(output) = inflate(encoding, flipped) {
                // Only fields without meaning for the content (times, flags) may differ unnoticed; zstd frames of the
                // library carry no checksum.
                assert!(output == text(2000) || encoding == Encoding::Zstd);
            }
        }
        assert_eq!(inflate(encoding, Vec::new()), Err(InflateError::Malformed));
    }
    let trailing = [gzip(b"body"), b"trailing garbage".to_vec()].concat();
    assert_eq!(inflate(Encoding::Gzip, trailing), Err(InflateError::Malformed));
}

#[test]
fn a_zstd_frame_that_asks_for_a_huge_window_gets_none() {
    // Magic number, a header without content size, window descriptor, then an empty last raw block (RFC 8878, 3.1.1).
    let frame = |window_log: u8| vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, (window_log - 10) << 3, 0x01, 0x00, 0x00];
    let mut inflater = Inflater::new();
    let empty = inflater.zstd.sizeof();
    for window_log in [20, 27, 31] {
        assert_eq!(inflater.inflate(Encoding::Zstd, &frame(window_log).into(), LIMIT).unwrap(), "");
    }
    let long = zstd::stream::encode_all(&text(LIMIT)[..], 19).unwrap();
    assert_eq!(inflater.inflate(Encoding::Zstd, &long.into(), LIMIT).unwrap(), text(LIMIT));
    // A decoder of streams would keep its window, up to 2 GiB of it.
    assert_eq!(inflater.zstd.sizeof(), empty);
}

#[test]
fn the_room_asked_for_is_what_it_takes() {
    for length in [0, 1, 70_000, LIMIT] {
        let input = text(length);
        for (encoding, packed) in [
            (Encoding::Gzip, gzip(&input)),
            (Encoding::Gzip, [gzip(&input[..length / 2]), gzip(&input[length / 2..])].concat()),
            (Encoding::Zstd, zstd::bulk::compress(&input, 3).unwrap()),
            (Encoding::Zstd, zstd::stream::encode_all(&input[..], 3).unwrap()),
        ] {
            let room = inflated_bytes_max(encoding, &packed, LIMIT).unwrap();
            assert!((length..=LIMIT).contains(&room), "{encoding:?} of {length}: {room}");
            assert_eq!(Inflater::new().inflate(encoding, &packed.into(), room).unwrap(), input);
        }
    }
    let declared = zstd::bulk::compress(&text(70_000), 3).unwrap();
    assert_eq!(inflated_bytes_max(Encoding::Zstd, &declared, LIMIT), Ok(70_000));
    let beyond = inflated_bytes_max(Encoding::Gzip, &gzip(&text(LIMIT + 1)), LIMIT);
    assert_eq!(beyond, Err(InflateError::TooLarge { limit: LIMIT }));
    assert_eq!(inflated_bytes_max(Encoding::Identity, b"as it is", LIMIT), Ok(0));
}

#[test]
fn slices_make_the_same_of_a_body_as_one_go() {
    let options = ExecutorOptions { name: "slices".into(), core: None, backend: Backend::Epoll };
    let sliced = start(options, || async {
        let large = text(5 << 20);
        for (encoding, packed) in [
            (Encoding::Gzip, gzip(&large)),
            (Encoding::Gzip, [gzip(&large[..99]), gzip(&large[99..])].concat()),
            (Encoding::Zstd, zstd::bulk::compress(&large, 3).unwrap()),
            (Encoding::Zstd, zstd::stream::encode_all(&large[..], 3).unwrap()),
        ] {
            let packed = Bytes::from(packed);
            assert_eq!(inflate_in_slices(encoding, &packed, large.len()).await.unwrap(), large, "{encoding:?}");
            let less = inflate_in_slices(encoding, &packed, large.len() - 1).await;
            assert_eq!(less, Err(InflateError::TooLarge { limit: large.len() - 1 }), "{encoding:?}");
            let cut = inflate_in_slices(encoding, &packed.slice(..packed.len() / 2), large.len()).await;
            assert_eq!(cut, Err(InflateError::Malformed), "{encoding:?}");
        }
    });
    sliced.unwrap().join().unwrap();
}

#[test]
fn tokens_are_read_in_any_case_and_unknown_ones_are_not() {
    assert_eq!(Encoding::from_token("GZip"), Some(Encoding::Gzip));
    assert_eq!(Encoding::from_token(" zstd "), Some(Encoding::Zstd));
    assert_eq!(Encoding::from_token(""), Some(Encoding::Identity));
    assert_eq!(Encoding::from_token("br"), None);
}
