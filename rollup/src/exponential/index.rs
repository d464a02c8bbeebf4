//! Which bucket of an exponential histogram a value is in, exact at every bound, as OTLP's data model has it:
//!
//! ```text
//! bucket i at scale s = (base^i, base^(i+1)],  base = 2^(2^-s)          upper bounds belong to their bucket
//! scale <= 0   of the exponent alone
//! scale <= 7   a table of the 128 bounds in one power of two, guessed by the top bits, and a shift
//! scale > 7    a logarithm; where it is near a bound, the value is compared with the bound itself
//! ```
//! Bounds other than powers of two are irrational, so that none is a double: comparing with the double just below it is
//! exact. Values below the least normal double are told apart too.

/// The finest scale of an exponential histogram: a base of 1.000 000 66.
/// At the bound: a finer histogram that is merged becomes as coarse.
pub const SCALE_MAX: i32 = 20;
/// The coarsest scale: all doubles above zero are in three buckets.
pub const SCALE_MIN: i32 = -10;

/// The scale of the table: 128 bounds take a KiB, and no two of them agree in the top eight bits.
const TABLE_SCALE: i32 = 7;
const TABLE_BOUNDS: usize = 1 << TABLE_SCALE;
/// Bits of a double's significand below its first.
const FRACTION_BITS: u32 = 52;
/// The significand of a power of two.
const ONE: u64 = 1 << FRACTION_BITS;
/// How near to a bound, in buckets, a logarithm is not trusted. It is wrong by less than 2^-30 of a bucket at the finest
/// scale.
const DOUBT: f64 = 1e-6;

/// `2^(2^-k)` for k from 1 to 20, times 2^127, rounded down.
const ROOTS: [u128; 20] = [
    0xb504_f333_f9de_6484_597d_89b3_754a_be9f,
    0x9837_f051_8db8_a96f_46ad_2318_2e42_f6f6,
    0x8b95_c1e3_ea8b_d6e6_fbe4_6287_58a5_3c90,
    0x85aa_c367_cc48_7b14_c5c9_5b8c_2154_c1b2,
    0x82cd_8698_ac2b_a1d7_3e2a_475b_4652_0bff,
    0x8164_d1f3_bc03_0773_7be5_6527_bd14_def4,
    0x80b1_ed4f_d999_ab6c_2533_5719_b6e6_fd20,
    0x8058_d7d2_d5e5_f6b0_94d5_89f6_08ee_4aa2,
    0x802c_6436_d0e0_4f50_ff8c_e94a_6797_b3ce,
    0x8016_302f_1746_7628_3690_dfe4_4d11_d008,
    0x800b_179c_8202_8fd0_945e_54e2_ae18_f2f0,
    0x8005_8baf_7fee_3b5d_1c71_8b38_e549_cb93,
    0x8002_c5d0_0fdc_fcb6_b656_6a58_c048_be1f,
    0x8001_62e6_1bed_4a48_e84c_2e1a_4634_73d9,
    0x8000_b172_92f7_02a3_aa22_beac_ca94_9013,
    0x8000_58b9_2abb_ae02_030c_5fa5_256f_41fe,
    0x8000_2c5c_8dad_e4d7_1776_c0f4_dbea_67d6,
    0x8000_162e_44ea_f636_526b_e456_600b_dbe4,
    0x8000_0b17_21fa_7c18_8307_016c_1cd4_e8b6,
    0x8000_058b_90de_7e4c_ecfc_4875_0348_8bb1,
];

/// The significands of the doubles just below the bounds in one power of two, at the scale of the table.
const BOUNDS: [u64; TABLE_BOUNDS] = bounds();
/// How many of them are below all significands with these top eight bits.
const BELOW: [u8; 256] = below();

const fn bounds() -> [u64; TABLE_BOUNDS] {
    let mut bounds = [0; TABLE_BOUNDS];
    let mut bound = 0;
    while bound < TABLE_BOUNDS {
        bounds[bound] = bound_significand(bound as u64, TABLE_SCALE.unsigned_abs());
        bound += 1;
    }
    bounds
}

const fn below() -> [u8; 256] {
    let mut below = [0; 256];
    let mut top = 0;
    let mut count = 0;
    let mut bound = 0;
    while top < 256 {
        while bound < TABLE_BOUNDS && BOUNDS[bound] < ONE + ((top as u64) << (FRACTION_BITS - 8)) {
            bound += 1;
            count += 1;
        }
        below[top] = count;
        top += 1;
    }
    below
}

/// The significand of the greatest double not above `2^(part / 2^scale)`, for parts up to `2^scale` and a scale above 0.
const fn bound_significand(part: u64, scale: u32) -> u64 {
    if part >> scale != 0 {
        return ONE << 1;
    }
    let mut product: u128 = 1 << 127;
    let mut bit = 0;
    while bit < scale {
        if (part >> (scale - 1 - bit)) & 1 == 1 {
            product = multiplied(product, ROOTS[bit as usize]);
        }
        bit += 1;
    }
    low_half(product >> (127 - FRACTION_BITS))
}

/// The product of two numbers that are times 2^127; it must be below two.
const fn multiplied(a: u128, b: u128) -> u128 {
    const LOW: u128 = u64::MAX as u128;
    let (a_high, a_low, b_high, b_low) = (a >> 64, a & LOW, b >> 64, b & LOW);
    let (cross, other) = (a_high * b_low, a_low * b_high);
    let carry = ((a_low * b_low) >> 64) + (cross & LOW) + (other & LOW);
    let high = a_high * b_high + (cross >> 64) + (other >> 64) + (carry >> 64);
    (high << 1) | ((carry & LOW) >> 63)
}

const fn low_half(value: u128) -> u64 {
    let bytes = value.to_le_bytes();
    u64::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7]])
}

/// The bucket of a value at a scale from `SCALE_MIN` to `SCALE_MAX`. The value is finite and above zero.
#[inline]
pub fn index(value: f64, scale: i32) -> i32 {
    let (exponent, significand) = parts(value);
    if scale <= 0 {
        return (exponent - i32::from(significand == ONE)) >> -scale;
    }
    if scale <= TABLE_SCALE {
        return ((exponent << TABLE_SCALE) + table_part(significand)) >> (TABLE_SCALE - scale);
    }
    (exponent << scale) + logarithm_part(significand, scale.unsigned_abs())
}

/// A double as `significand * 2^(exponent - 52)`, the significand from 2^52 below 2^53.
#[inline]
fn parts(value: f64) -> (i32, u64) {
    let bits = value.to_bits();
    let fraction = bits & (ONE - 1);
    let biased = i32::from(u16::try_from(bits >> FRACTION_BITS & 0x7ff).unwrap_or(0));
    if biased != 0 {
        return (biased - 1023, fraction | ONE);
    }
    let shift = fraction.leading_zeros().saturating_sub(63 - FRACTION_BITS);
    (-1022 - shift.cast_signed(), fraction << shift)
}

/// Bounds below the significand, less one: -1 for a power of two, which is the upper bound of the bucket below.
#[inline]
fn table_part(significand: u64) -> i32 {
    let top = significand >> (FRACTION_BITS - 8) & 0xff;
    let count = BELOW[top.to_le_bytes()[0] as usize];
    // Of two bounds no more than one is within values of the same top bits.
    let more = BOUNDS.get(usize::from(count)).is_some_and(|bound| *bound < significand);
    i32::from(count) + i32::from(more) - 1
}

#[inline]
fn logarithm_part(significand: u64, scale: u32) -> i32 {
    /// Added to a double that is not negative and less, it leaves the nearest integer in the low bits.
    const TO_INTEGER: f64 = 4_503_599_627_370_496.0;
    let between_one_and_two = f64::from_bits(significand & (ONE - 1) | 1023 << FRACTION_BITS);
    let buckets = between_one_and_two.log2() * f64::from(1_u32 << scale);
    let nearest = (buckets + TO_INTEGER).to_bits() & (ONE - 1);
    let beyond = buckets - ((buckets + TO_INTEGER) - TO_INTEGER);
    let is_above = if beyond.abs() < DOUBT { bound_significand(nearest, scale) < significand } else { beyond > 0.0 };
    i32::try_from(nearest).unwrap_or(i32::MAX) - i32::from(!is_above)
}

/// The greatest double of a bucket, which is its upper bound or the double just below it. Zero for a bucket below all
/// doubles, the greatest double for those past it.
pub fn upper_bound(index: i32, scale: i32) -> f64 {
    let end = i64::from(index) + 1;
    let (exponent, significand) = if scale <= 0 {
        (end << -scale, ONE)
    } else {
        let part = end & ((1 << scale) - 1);
        (end >> scale, bound_significand(part.unsigned_abs(), scale.unsigned_abs()))
    };
    if exponent > 1023 {
        return f64::MAX;
    }
    if exponent < -1074 {
        return 0.0;
    }
    let biased = u64::try_from(exponent + 1023).unwrap_or(0);
    if biased > 0 {
        return f64::from_bits(biased << FRACTION_BITS | (significand & (ONE - 1)));
    }
    // What is below the least normal double has a shorter significand, rounded down.
    f64::from_bits(significand >> (-1022 - exponent))
}

/// Buckets that hold doubles at a scale: the first and the last.
pub fn indexes(scale: i32) -> (i32, i32) {
    (index(f64::from_bits(1), scale), index(f64::MAX, scale))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Whether `significand / 2^52` is above `2^(part / 2^scale)`, by squaring it `scale` times in numbers of 128 bits, once
    /// rounded down and once rounded up. Knows no roots.
    fn is_above(significand: u64, part: u64, scale: u32) -> bool {
        // Nothing is lost of what is exact, such as a power of two.
        let squared = |(number, exponent): (u128, u64), rounding: u128| {
            let (high, low) = wide_square(number);
            let (square, lost, carry) =
                if high >> 127 == 1 { (high, low, 1) } else { (high << 1 | low >> 127, low << 1, 0) };
            (square + if lost == 0 { 0 } else { rounding }, exponent * 2 + carry)
        };
        let start = (u128::from(significand) << 75, 0_u64);
        let (mut low, mut high) = (start, start);
        for _ in 0..scale {
            (low, high) = (squared(low, 0), squared(high, 1));
        }
        let power = (1_u128 << 127, part);
        let above = |(number, exponent): (u128, u64)| (exponent, number) > (power.1, power.0);
        assert_eq!(above(low), above(high), "not enough digits");
        above(low)
    }

    /// The high and low half of a square.
    fn wide_square(a: u128) -> (u128, u128) {
        let (high, low) = (a >> 64, a & u128::from(u64::MAX));
        let (square, overflow) = (low * low).overflowing_add((high * low) << 65);
        (high * high + ((high * low) >> 63) + u128::from(overflow), square)
    }

    /// The bucket by the definition: the bound below the value and not below it the next.
    fn is_in(value: f64, index: i32, scale: i32) -> bool {
        let (exponent, significand) = parts(value);
        let above = |bound: i64| {
            let (whole, part) = (bound >> scale, bound & ((1 << scale) - 1));
            i64::from(exponent) > whole
                || i64::from(exponent) == whole && is_above(significand, part.unsigned_abs(), scale.unsigned_abs())
        };
        above(i64::from(index)) && !above(i64::from(index) + 1)
    }

    #[test]
    fn roots_are_what_they_say() {
        let mut former = 1 << 127;
        for (number, root) in ROOTS.iter().enumerate() {
            // Of 2 only the half fits.
            let square = multiplied(*root, *root);
            let error = if number == 0 { square } else { former - square };
            assert!(error < 4 || number == 0 && error > u128::MAX - 4, "{number}: {error}");
            former = *root;
        }
    }

    #[test]
    fn what_is_lost_in_products_never_reaches_a_significand() {
        // 20 products lose less than 2^6 of the last place; were a bound nearer to a double, it could be off by one.
        for part in 1..1_u64 << 20 {
            let mut product: u128 = 1 << 127;
            for bit in (0..20).filter(|bit| part >> (19 - bit) & 1 == 1) {
                product = multiplied(product, ROOTS[bit]);
            }
            let rest = product & ((1 << 75) - 1);
            assert!(rest > 1 << 32 && rest < (1 << 75) - (1 << 32), "{part}");
        }
    }

    #[test]
    fn every_bound_of_the_table_is_exact() {
        for scale in 1..=10 {
            for part in 0..1_i32 << scale {
                for exponent in [-1022, -1, 0, 1, 1023] {
                    let index = (exponent << scale) + part;
                    let bound = upper_bound(index, scale);
                    assert!(is_in(bound, index, scale), "{scale} {index}");
                    assert_eq!(super::index(bound, scale), index, "{scale} {index}");
                    if bound < f64::MAX {
                        assert_eq!(super::index(bound.next_up(), scale), index + 1, "{scale} {index}");
                    }
                }
            }
        }
    }

    #[test]
    fn powers_of_two_are_upper_bounds_at_every_scale() {
        for scale in SCALE_MIN..=SCALE_MAX {
            for power in -1074..=1023_i32 {
                let value = if power < -1022 {
                    f64::from_bits(1 << (power + 1074))
                } else {
                    f64::from_bits(((power + 1023) as u64) << 52)
                };
                let expected = if scale > 0 { (power << scale) - 1 } else { (power - 1) >> -scale };
                assert_eq!(index(value, scale), expected, "2^{power} at {scale}");
                if power > -1022 {
                    assert!(upper_bound(expected, scale) >= value);
                }
            }
        }
        assert_eq!(indexes(-10), (-2, 0));
        assert_eq!((index(1.0, 0), index(1.5, 0), index(2.0, 0), index(2.1, 0)), (-1, 0, 0, 1));
        assert_eq!((index(4.0, -1), index(4.1, -1), index(1.0, -1)), (0, 1, -1));
    }

    proptest! {
        #[test]
        fn a_value_is_in_its_bucket(bits in 1_u64..0x7ff0_0000_0000_0000, scale in 1..=SCALE_MAX) {
            let value = f64::from_bits(bits);
            prop_assert!(is_in(value, index(value, scale), scale));
        }

        #[test]
        fn doubles_beside_a_bound_are_told_apart(place in any::<u64>(), scale in 1..=SCALE_MAX) {
            let (first, last) = indexes(scale);
            let span = (i64::from(last) - i64::from(first)).unsigned_abs();
            let at = i32::try_from(i64::from(first) + (place % span).cast_signed()).unwrap();
            let bound = upper_bound(at, scale);
            if bound > f64::MIN_POSITIVE {
                prop_assert_eq!(index(bound, scale), at);
                prop_assert_eq!(index(bound.next_up(), scale), at + 1);
                prop_assert!(is_in(bound, at, scale));
            }
        }

        #[test]
        fn a_coarser_scale_is_a_shift(bits in 1_u64..0x7ff0_0000_0000_0000, fine in SCALE_MIN..=SCALE_MAX, by in 0..31_i32) {
            let coarse = i32::max(fine - by, SCALE_MIN);
            let value = f64::from_bits(bits);
            prop_assert_eq!(index(value, coarse), index(value, fine) >> (fine - coarse));
        }
    }
}
