//! Community IDs of network flows. Source: corelight, community-id-spec, version 1.

use super::Arguments;
use crate::error::Failure;
use crate::value::Value;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};
use std::net::IpAddr;

/// Protocols by name, with their IANA numbers.
const PROTOCOLS: &[(&[u8], u8)] =
    &[(b"ICMP", 1), (b"TCP", 6), (b"UDP", 17), (b"RSVP", 46), (b"ICMP6", 58), (b"SCTP", 132)];

/// One end of a flow. An address of four bytes comes before one of sixteen, as the reference orders them.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct End {
    address_bytes: usize,
    address: Vec<u8>,
    port: u16,
}

pub(super) fn id<'a>(arguments: &Arguments<'a, '_>) -> Result<Value<'a>, Failure> {
    let (source, destination) = (end(arguments, 0)?, end(arguments, 2)?);
    let protocol = arguments.text_or(4, b"TCP")?;
    let (_, protocol) = PROTOCOLS.iter().find(|(name, _)| *name == &*protocol).ok_or(Failure::Value)?;
    let seed = if arguments.is_given(5) { narrow(arguments.integer(5)?)? } else { 0 };
    let (first, second) = if source <= destination { (source, destination) } else { (destination, source) };
    let mut hash = Sha1::new();
    hash.update(seed.to_be_bytes());
    hash.update(&first.address);
    hash.update(&second.address);
    hash.update([*protocol, 0]);
    hash.update(first.port.to_be_bytes());
    hash.update(second.port.to_be_bytes());
    Ok(Value::built(format!("1:{}", STANDARD.encode(hash.finalize()))))
}

fn end(arguments: &Arguments<'_, '_>, index: usize) -> Result<End, Failure> {
    let text = arguments.text(index)?;
    let port = narrow(arguments.integer(index + 1)?)?;
    let address = std::str::from_utf8(&text).ok().and_then(|text| text.parse::<IpAddr>().ok());
    let address = match address.ok_or(Failure::Value)?.to_canonical() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    Ok(End { address_bytes: address.len(), address, port })
}

fn narrow(number: i64) -> Result<u16, Failure> {
    u16::try_from(number).map_err(|_| Failure::Value)
}
