//! Functions about networks and their flows.

use crate::error::Failure;
use crate::function::{Arguments, Function, ParameterKind as Kind, needed, optional};
use crate::tree::Expression;
use crate::value::Value;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};
use std::net::IpAddr;

/// Source: corelight, community-id-spec, version 1.
pub(super) static COMMUNITY_ID: Function = Function::new(
    "CommunityID",
    &[
        needed("source_ip", Kind::Text),
        needed("source_port", Kind::Integer),
        needed("destination_ip", Kind::Text),
        needed("destination_port", Kind::Integer),
        optional("protocol", Kind::Text),
        optional("seed", Kind::Integer),
    ],
    community_id,
);

pub(super) static IS_IN_CIDR: Function =
    Function::new("IsInCIDR", &[needed("target", Kind::Text), needed("networks", Kind::ManyText)], |arguments| {
        is_in_networks(arguments).map(Value::Boolean)
    })
    .checked(|written| {
        let wrong = written.many("networks").unwrap_or_default().iter().find_map(|network| match network {
            Expression::Text(text) if cidr(text.as_bytes()).is_none() => Some(text),
            _ => None,
        });
        match wrong {
            Some(text) => Err(format!("{text:?} is no network, as in 10.0.0.0/8")),
            None => Ok(()),
        }
    });

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

fn community_id<'a>(arguments: &Arguments<'a, '_>) -> Result<Value<'a>, Failure> {
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

fn is_in_networks(arguments: &Arguments<'_, '_>) -> Result<bool, Failure> {
    let text = arguments.text(0)?;
    let Some(address) = std::str::from_utf8(&text).ok().and_then(|text| text.parse::<IpAddr>().ok()) else {
        return Ok(false);
    };
    for node in arguments.many(1).unwrap_or_default() {
        let Value::Text(network) = arguments.value(node)? else { return Err(Failure::Type) };
        let (base, bits) = cidr(&network).ok_or(Failure::Value)?;
        if contains(base, bits, address) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A network, as in `10.0.0.0/8`.
fn cidr(network: &[u8]) -> Option<(IpAddr, u32)> {
    let (base, bits) = std::str::from_utf8(network).ok()?.split_once('/')?;
    let base: IpAddr = base.parse().ok()?;
    let bits_max = if base.is_ipv4() { 32 } else { 128 };
    let bits = bits.bytes().all(|byte| byte.is_ascii_digit()).then(|| bits.parse().ok()).flatten()?;
    (bits <= bits_max).then_some((base, bits))
}

fn contains(base: IpAddr, bits: u32, address: IpAddr) -> bool {
    match (base, address.to_canonical()) {
        (IpAddr::V4(base), IpAddr::V4(address)) => {
            (base.to_bits() ^ address.to_bits()).checked_shr(32 - bits).unwrap_or(0) == 0
        }
        (IpAddr::V6(base), IpAddr::V6(address)) => {
            (base.to_bits() ^ address.to_bits()).checked_shr(128 - bits).unwrap_or(0) == 0
        }
        _ => false,
    }
}
