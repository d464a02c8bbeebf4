//! Hashes of texts, in lower-case hexadecimal digits; FNV is an integer.

use crate::convert::hexadecimal;
use crate::error::Failure;
use crate::function::{Arguments, Function, Parameter, ParameterKind as Kind, needed};
use crate::value::Value;
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};
use twox_hash::{XxHash3_64, XxHash3_128};

const TARGET: Parameter = needed("target", Kind::Text);

pub(super) static FNV: Function =
    Function::new("FNV", &[TARGET], |arguments| hashed(arguments, |text| Value::Integer(fnv_1a(text).cast_signed())));

pub(super) static MD5: Function =
    Function::new("MD5", &[TARGET], |arguments| hashed(arguments, |text| digits(&Md5::digest(text))));

pub(super) static SHA1: Function =
    Function::new("SHA1", &[TARGET], |arguments| hashed(arguments, |text| digits(&Sha1::digest(text))));

pub(super) static SHA256: Function =
    Function::new("SHA256", &[TARGET], |arguments| hashed(arguments, |text| digits(&Sha256::digest(text))));

pub(super) static SHA512: Function =
    Function::new("SHA512", &[TARGET], |arguments| hashed(arguments, |text| digits(&Sha512::digest(text))));

pub(super) static XXH3: Function = Function::new("XXH3", &[TARGET], |arguments| {
    hashed(arguments, |text| digits(&XxHash3_64::oneshot(text).to_be_bytes()))
});

pub(super) static XXH128: Function = Function::new("XXH128", &[TARGET], |arguments| {
    hashed(arguments, |text| digits(&XxHash3_128::oneshot(text).to_be_bytes()))
});

pub(super) static MURMUR3_HASH: Function = Function::new("Murmur3Hash", &[TARGET], |arguments| {
    hashed(arguments, |text| digits(&murmur3_32(text).to_le_bytes()))
});

pub(super) static MURMUR3_HASH_128: Function = Function::new("Murmur3Hash128", &[TARGET], |arguments| {
    hashed(arguments, |text| {
        let (low, high) = murmur3_128(text);
        digits(&[low.to_le_bytes(), high.to_le_bytes()].concat())
    })
});

fn hashed<'a>(arguments: &Arguments<'a, '_>, hash: impl Fn(&[u8]) -> Value<'a>) -> Result<Value<'a>, Failure> {
    let text = arguments.text(0)?;
    arguments.read(&text)?;
    Ok(hash(&text))
}

fn digits<'a>(hash: &[u8]) -> Value<'a> {
    Value::built(hexadecimal(hash))
}

/// FNV-1a, 64 bits.
fn fnv_1a(data: &[u8]) -> u64 {
    data.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// MurmurHash3, x86, 32 bits, seed 0. Source: Appleby, smhasher.
fn murmur3_32(data: &[u8]) -> u32 {
    let mix = |block: u32| block.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
    let (blocks, tail) = data.as_chunks::<4>();
    let mut hash = blocks.iter().fold(0u32, |hash, block| {
        (hash ^ mix(u32::from_le_bytes(*block))).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64)
    });
    let mut last = [0; 4];
    last[..tail.len()].copy_from_slice(tail);
    hash ^= mix(u32::from_le_bytes(last));
    hash ^= u32::try_from(data.len() & 0xffff_ffff).unwrap_or(u32::MAX);
    hash = (hash ^ hash >> 16).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ hash >> 13).wrapping_mul(0xc2b2_ae35);
    hash ^ hash >> 16
}

/// MurmurHash3, x64, 128 bits, seed 0. Source: Appleby, smhasher.
fn murmur3_128(data: &[u8]) -> (u64, u64) {
    const C1: u64 = 0x87c3_7b91_1142_53d5;
    const C2: u64 = 0x4cf5_ad43_2745_937f;
    let mix_low = |block: u64| block.wrapping_mul(C1).rotate_left(31).wrapping_mul(C2);
    let mix_high = |block: u64| block.wrapping_mul(C2).rotate_left(33).wrapping_mul(C1);
    let halves = |block: &[u8; 16]| {
        let number = u128::from_le_bytes(*block);
        let half = |shift: u32| u64::try_from(number >> shift & u128::from(u64::MAX)).unwrap_or_default();
        (half(0), half(64))
    };
    let (blocks, tail) = data.as_chunks::<16>();
    let (mut low, mut high) = (0u64, 0u64);
    for block in blocks {
        let (first, second) = halves(block);
        low = (low ^ mix_low(first)).rotate_left(27).wrapping_add(high);
        low = low.wrapping_mul(5).wrapping_add(0x52dc_e729);
        high = (high ^ mix_high(second)).rotate_left(31).wrapping_add(low);
        high = high.wrapping_mul(5).wrapping_add(0x3849_5ab5);
    }
    let mut last = [0; 16];
    last[..tail.len()].copy_from_slice(tail);
    let (first, second) = halves(&last);
    (low, high) = (low ^ mix_low(first), high ^ mix_high(second));
    let length = u64::try_from(data.len()).unwrap_or(u64::MAX);
    (low, high) = (low ^ length, high ^ length);
    low = low.wrapping_add(high);
    high = high.wrapping_add(low);
    (low, high) = (finish(low), finish(high));
    low = low.wrapping_add(high);
    (low, high.wrapping_add(low))
}

fn finish(mut number: u64) -> u64 {
    number = (number ^ number >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    number = (number ^ number >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    number ^ number >> 33
}
