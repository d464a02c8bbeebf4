//! Vectors: the specification's table, the Collector's `pkg/sampling`, and a few that were worked out.

use super::*;

fn text(threshold: u64) -> String {
    let mut out = Vec::new();
    put_threshold(threshold, &mut out);
    String::from_utf8(out).unwrap()
}

fn at(probability: f64, digits: usize) -> String {
    text(threshold_of(probability, digits).unwrap())
}

#[test]
fn probabilities_become_the_thresholds_of_the_tables() {
    for (probability, four, all) in [
        (1.0, "0", "0"),
        (0.99, "028f6", "028f5c28f5c29"),
        (0.9, "199a", "19999999999998"),
        (0.75, "4", "4"),
        (2.0 / 3.0, "5555", "55555555555558"),
        (0.5, "8", "8"),
        (0.4, "999a", "99999999999998"),
        (1.0 / 3.0, "aaab", "aaaaaaaaaaaaac"),
        (0.25, "c", "c"),
        (0.2, "cccd", "cccccccccccccc"),
        (0.1, "e666", "e6666666666666"),
        (0.0625, "f", "f"),
        (0.05, "f3333", "f3333333333333"),
        (0.01, "fd70a", "fd70a3d70a3d71"),
        (0.001, "ffbe77", "ffbe76c8b43958"),
        (1e-4, "fff9724", "fff972474538ef"),
        (1e-6, "ffffef39", "ffffef39085f4a"),
        (2f64.powi(-28), "fffffff", "fffffff"),
        (2f64.powi(-52), "fffffffffffff", "fffffffffffff"),
        (3.0 * 2f64.powi(-56), "fffffffffffffd", "fffffffffffffd"),
        (2f64.powi(-55), "fffffffffffffe", "fffffffffffffe"),
        (2f64.powi(-56), "ffffffffffffff", "ffffffffffffff"),
        (1.0 - 2f64.powi(-8), "01", "01"),
        (1.0 - 2f64.powi(-52), "0000000000001", "0000000000001"),
    ] {
        assert_eq!((at(probability, 4).as_str(), at(probability, 14).as_str()), (four, all), "{probability}");
    }
    for outside in [0.0, 2f64.powi(-57), 1.1, -0.5, f64::NAN, f64::INFINITY] {
        assert_eq!(threshold_of(outside, 4), None, "{outside}");
    }
}

#[test]
fn precision_counts_from_the_first_digit_that_is_neither_f_nor_leading_zero() {
    for (probability, three, four, five) in [
        (1.0 / 3.0, "aab", "aaab", "aaaab"),
        (0.2, "ccd", "cccd", "ccccd"),
        (0.1, "e66", "e666", "e6666"),
        (0.01, "fd71", "fd70a", "fd70a4"),
        (0.001, "ffbe7", "ffbe77", "ffbe76d"),
        (1e-4, "fff972", "fff9724", "fff97247"),
        (1e-5, "ffff584", "ffff583a", "ffff583a5"),
        (1e-6, "ffffef4", "ffffef39", "ffffef391"),
    ] {
        let found = [at(probability, 3), at(probability, 4), at(probability, 5)];
        assert_eq!(found, [three, four, five], "{probability}");
    }
    let third = ["b", "ab", "aab", "aaab"];
    for (digits, expected) in (1..).zip(third) {
        assert_eq!(at(1.0 / 3.0, digits), expected);
    }
    let hundredth = "fd fd7 fd71 fd70a fd70a4 fd70a3d fd70a3d7 fd70a3d71 fd70a3d70a fd70a3d70a4 fd70a3d70a3d \
                     fd70a3d70a3d7 fd70a3d70a3d71 fd70a3d70a3d71";
    for (digits, expected) in (1..).zip(hundredth.split_whitespace()) {
        assert_eq!(at(0.01, digits), expected, "{digits} digits");
    }
    let cases: [(f64, usize, &str); 6] = [
        (1.0 - f64::from(0x0456_789a) * 2f64.powi(-28), 6, "45678a 45679 4568 456 45 4"),
        (1.0 - f64::from(0x0456_789a) * 2f64.powi(-40), 6, "00045678a 00045679 0004568 000456 00045 0004"),
        (1.0 - to_float(0x0007_89ab_cdef) * 2f64.powi(-40), 8, "0789abcdf 0789abce 0789abd 0789ac 0789b 078a 079 08"),
        (1.0 - f64::from(0x1234_5678) * 2f64.powi(-32), 7, "1234568 123456 12345 1234 123 12 1"),
        (1.0 - f64::from(0x80801) * 2f64.powi(-28), 3, "00808"),
        (
            1.0 - to_float(0xfff1_f2e3_d4c5) * 2f64.powi(-48),
            8,
            "fff1f2e3d4c fff1f2e3d5 fff1f2e3d fff1f2e4 fff1f2e fff1f3",
        ),
    ];
    for (probability, most, expected) in cases {
        for (less, expected) in expected.split_whitespace().enumerate() {
            assert_eq!(at(probability, most - less), expected, "{probability} with {} digits", most - less);
        }
    }
    for (probability, expected) in [(15.0 / 16.0, "10000000000008 1000000000001 10000000000018")] {
        let mut below = f64::from_bits(f64::to_bits(probability) - 1);
        for expected in expected.split_whitespace() {
            assert_eq!(at(below, 14), expected);
            below = f64::from_bits(below.to_bits() - 1);
        }
    }
}

#[test]
fn thresholds_are_read_as_fractions() {
    for (written, probability) in [
        ("8", 0.5),
        ("c", 0.25),
        ("4", 0.75),
        ("08", 0.96875),
        ("0", 1.0),
        ("444", 1.0 - f64::from(0x444) / 4096.0),
        ("3", 1.0 - 3.0 / 16.0),
        ("1", 0.9375),
        ("80000000000000", 0.5),
    ] {
        let threshold = read_threshold(written.as_bytes()).unwrap();
        assert!((probability_of(threshold) - probability).abs() < 1e-15, "{written}");
    }
    for (greater, less) in [("5", "4"), ("4", "04"), ("4", "234")] {
        assert!(read_threshold(greater.as_bytes()) > read_threshold(less.as_bytes()));
    }
    for bad in ["", "100000000000000", "ffffffffffffffff", "0x1", "-1", "14.5", "g", " 8"] {
        assert_eq!(read_threshold(bad.as_bytes()), None, "{bad}");
    }
    for bad in ["", "3", "1234567890123", "123456789012345", "abcdefgabcdefg"] {
        assert_eq!(read_randomness(bad.as_bytes()), None, "{bad}");
    }
    assert_eq!(read_randomness(b"FD70A3D70A3D71"), read_randomness(b"fd70a3d70a3d71"));
}

#[test]
fn adjusted_counts_are_those_of_the_specification() {
    for (written, count) in [
        ("aab", 3.000_732_600_732_600_7),
        ("aaab", 3.000_045_777_065_69),
        ("e666", 9.999_389_685_688_13),
        ("fd70a", 99.997_711_234_026_33),
        ("fd70a4", 100.000_095_367_522_59),
        ("ffffffffffffff", 72_057_594_037_927_936.0),
    ] {
        let found = adjusted_count(read_threshold(written.as_bytes()).unwrap());
        assert!((found / count - 1.0).abs() < 1e-12, "{written}: {found}");
    }
    assert!(adjusted_count(NEVER) == 0.0);
}

#[test]
fn the_randomness_of_an_id_is_its_last_seven_bytes_from_the_left() {
    let id = 0x1010_1010_1010_1010_1012_3456_789a_bcde_u128.to_be_bytes();
    assert_eq!(randomness_of(&id), 0x12_3456_789a_bcde);
    let half = threshold_of(0.5, 4).unwrap();
    for (low, keeps) in
        [(0u128, false), (0x7f_ffff_ffff_ffff, false), (0x80_0000_0000_0000, true), (u128::from(NEVER) - 1, true)]
    {
        let id = (u128::MAX << 56 | low).to_be_bytes();
        assert_eq!(randomness_of(&id) >= half, keeps);
    }
}

#[test]
fn shares_become_the_least_threshold_that_keeps_no_more() {
    assert_eq!(text(threshold_of_share(1, 2)), "8");
    assert_eq!(threshold_of_share(3, 2), 0);
    assert_eq!(threshold_of_share(0, 7), NEVER);
    assert_eq!(text(threshold_of_share(1, 4)), "c");
    assert!(probability_of(threshold_of_share(1, 3)) <= 1.0 / 3.0);
}
