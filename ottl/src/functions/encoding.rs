//! Texts written in other alphabets.

use crate::error::Failure;
use crate::function::{Arguments, Function, ParameterKind as Kind, needed, optional};
use crate::value::Value;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};

/// The alphabets of base64.
const ALPHABETS: &[&str] = &["base64", "base64-raw", "base64-url", "base64-raw-url"];

/// What `Decode` reads: those, and the texts that need no table.
const DECODINGS: &[&str] =
    &["base64", "base64-raw", "base64-url", "base64-raw-url", "utf-8", "utf8", "us-ascii", "ascii"];

pub(super) static BASE64_ENCODE: Function =
    Function::new("Base64Encode", &[needed("target", Kind::Text), optional("variant", Kind::Text)], base64_encode)
        .checked(|written| written.one_of("variant", ALPHABETS));

pub(super) static DECODE: Function =
    Function::new("Decode", &[needed("target", Kind::Any), needed("encoding", Kind::LiteralText)], decode)
        .checked(|written| written.one_of("encoding", DECODINGS));

fn base64_encode<'a>(arguments: &Arguments<'a, '_>) -> Result<Value<'a>, Failure> {
    let text = arguments.text(0)?;
    arguments.read(&text)?;
    let variant = arguments.text_or(1, b"base64")?;
    Ok(Value::built(alphabet(&variant).ok_or(Failure::Value)?.encode(&text)))
}

fn decode<'a>(arguments: &Arguments<'a, '_>) -> Result<Value<'a>, Failure> {
    let (Value::Text(source) | Value::Bytes(source)) = arguments.any(0)? else { return Err(Failure::Type) };
    arguments.read(&source)?;
    let encoding = arguments.text(1)?;
    if let Some(alphabet) = alphabet(&encoding) {
        // Line ends are no part of the text.
        let plain: Vec<u8> = source.iter().copied().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
        return alphabet.decode(plain).map(Value::built).map_err(|_| Failure::Value);
    }
    let is_ascii = matches!(&*encoding, b"us-ascii" | b"ascii");
    if is_ascii && !source.is_ascii() || std::str::from_utf8(&source).is_err() {
        return Ok(Value::built(String::from_utf8_lossy(&source).into_owned()));
    }
    Ok(Value::Text(source))
}

fn alphabet(variant: &[u8]) -> Option<&'static base64::engine::GeneralPurpose> {
    Some(match variant {
        b"base64" => &STANDARD,
        b"base64-raw" => &STANDARD_NO_PAD,
        b"base64-url" => &URL_SAFE,
        b"base64-raw-url" => &URL_SAFE_NO_PAD,
        _ => return None,
    })
}
