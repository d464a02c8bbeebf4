//! Whether the other nodes of a cluster can be reached, by datagrams of the size that is sent, and whether their clocks agree.

use super::Finding;
use super::probing::{Measured, Silence, measure};
use crate::cluster::keyring;
use std::collections::BTreeSet;
use std::net::{SocketAddr, ToSocketAddrs};
use std::thread;
use tailwater_config::{Config, JoinName, ListenAddress};
use tailwater_net::datagram::OVERHEAD_BYTES;
use tailwater_runtime::net::resolve_service_here;

/// Nodes that are tried, all at once.
/// At the bound: the others are not, which is told.
const PEERS_MAX: usize = 64;
/// Clocks that are further apart are told: logs and spans of the nodes do not fit together. Verdicts do not go by them.
const CLOCK_MS_MAX: u64 = 1_000;
/// Headers of IPv4 and UDP around a datagram.
const PACKET_BYTES: usize = 28;
/// Fewest bytes of frames that may be configured.
const FRAMES_BYTES_MIN: usize = 1_190;

/// Looks at each node that `cluster.join` names.
pub fn check(config: &Config) -> Vec<Finding> {
    let settings = &config.cluster;
    if settings.listen.is_none() {
        return Vec::new();
    }
    let keyring = match keyring(settings) {
        Ok(keyring) => keyring,
        Err(error) => return vec![Finding::bad("cluster key", error.to_string(), "all nodes have the same file")],
    };
    let (mut addresses, mut findings) = (BTreeSet::new(), Vec::new());
    for name in &settings.join {
        match look_up(name, settings.dns_server.as_ref()) {
            Ok(found) => addresses.extend(found),
            Err(error) => {
                let remedy = "correct cluster.join, or wait until the name is known";
                findings.push(Finding::warning("peer", format!("{name} has no address: {error}"), remedy));
            }
        }
    }
    if addresses.len() > PEERS_MAX {
        let detail = format!("{} nodes are named, the first {PEERS_MAX} are tried", addresses.len());
        findings.push(Finding::warning("peer", detail, "name the others in cluster.join to try them"));
    }
    let own_bytes = usize::try_from(settings.datagram_bytes_max).unwrap_or(usize::MAX).saturating_add(OVERHEAD_BYTES);
    thread::scope(|scope| {
        let addresses = addresses.into_iter().take(PEERS_MAX);
        let trials: Vec<_> = addresses
            .map(|address| {
                let keyring = &keyring;
                (address, scope.spawn(move || measure(address, keyring, own_bytes)))
            })
            .collect();
        for (address, trial) in trials {
            let measured = trial.join().unwrap_or(Err(Silence::NoAnswer));
            findings.extend(found(address, &measured, own_bytes));
        }
    });
    findings
}

fn look_up(name: &JoinName, server: Option<&ListenAddress>) -> Result<Vec<SocketAddr>, String> {
    let addresses = |address: &ListenAddress| {
        let found = (address.host(), address.port()).to_socket_addrs().map_err(|error| error.to_string())?;
        Ok::<_, String>(found.collect::<Vec<_>>())
    };
    match name {
        JoinName::Address(address) => addresses(address),
        JoinName::Service(service) => {
            let server = server.map(addresses).transpose()?.and_then(|found| found.first().copied());
            resolve_service_here(service, server).map_err(|error| error.to_string())
        }
    }
}

/// What follows from what was measured.
fn found(address: SocketAddr, measured: &Result<Measured, Silence>, own_bytes: usize) -> Vec<Finding> {
    let measured = match measured {
        Ok(measured) => measured,
        Err(silence) => return vec![silent(address, silence)],
    };
    let (node, largest) = (measured.node.0, measured.passed.last().copied().unwrap_or(0));
    let milliseconds = measured.round_trip.as_secs_f64() * 1e3;
    let mut findings = Vec::new();
    let who = format!("{address} is node {node}");
    if !measured.is_understood {
        let detail = format!("{who}, of a release that speaks no version of the wire that this one does");
        findings.push(Finding::bad("peer", detail, "update the older one: between neighbouring releases they mix"));
    }
    if !measured.passed.contains(&own_bytes) {
        let detail =
            format!("{who}: datagrams of {own_bytes} bytes do not come back, as nodes send them; up to {largest} do");
        findings.push(Finding::bad("peer", detail, remedy_of_size(largest, own_bytes)));
    }
    if measured.ahead_ms.unsigned_abs() > CLOCK_MS_MAX {
        let apart = f64::from(u32::try_from(measured.ahead_ms.unsigned_abs()).unwrap_or(u32::MAX)) / 1e3;
        let side = if measured.ahead_ms > 0 { "ahead of" } else { "behind" };
        let detail = format!("{who}: its clock is {apart:.1} s {side} this one");
        findings.push(Finding::warning("peer", detail, "set both by NTP, such as chrony"));
    }
    if findings.is_empty() {
        let clocks = format!("clocks are {} ms apart", measured.ahead_ms.unsigned_abs());
        let detail = format!(
            "{who}: answers in {milliseconds:.1} ms; datagrams of up to {largest} bytes come back (MTU {} or more); {clocks}",
            largest + PACKET_BYTES
        );
        findings.push(Finding::good("peer", detail));
    }
    findings
}

fn silent(address: SocketAddr, silence: &Silence) -> Finding {
    match silence {
        Silence::Refused => {
            let remedy = "start the node there, or correct its cluster.listen or cluster.join here";
            Finding::warning("peer", format!("{address}: no node listens there"), remedy)
        }
        // A node tells nobody without the key that it is there.
        Silence::NoAnswer => {
            let detail = format!("{address}: no answer: it refuses the key, or datagrams do not arrive");
            let remedy = "look at tailwater_cluster_datagrams_refused_total of that node: if it grows, give both the same \
                          cluster.key_file and cluster.name; if not, open this UDP port in both directions";
            Finding::warning("peer", detail, remedy)
        }
        Silence::Local(error) => {
            let remedy = "see whether this machine has a route there and may send over UDP";
            Finding::warning("peer", format!("{address}: nothing can be sent: {error}"), remedy)
        }
    }
}

fn remedy_of_size(largest: usize, own_bytes: usize) -> String {
    let wider = format!("have the network pass packets of {} bytes", own_bytes + PACKET_BYTES);
    match largest.checked_sub(OVERHEAD_BYTES).filter(|frames| *frames >= FRAMES_BYTES_MIN) {
        Some(frames) => format!("{wider}, or set cluster.datagram_bytes_max to {frames} on all nodes"),
        None => wider,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Health;
    use super::*;
    use std::time::Duration;
    use tailwater_proto::cluster::{Incarnation, NodeId};

    fn measured() -> Measured {
        Measured {
            node: (NodeId(7), Incarnation(1)),
            round_trip: Duration::from_micros(1_500),
            passed: [548, 1_232, 1_340, 1_472].into(),
            ahead_ms: -3,
            is_understood: true,
        }
    }

    fn told(measured: Result<Measured, Silence>) -> (Health, String) {
        let found = found(([10, 0, 0, 2], 7946).into(), &measured, 1_340);
        let [finding] = &found[..] else { panic!("{found:?}") };
        (finding.health, format!("{} -> {}", finding.detail, finding.remedy))
    }

    fn assert_told(measured: Result<Measured, Silence>, health: Health, parts: &[&str]) {
        let (found, text) = told(measured);
        assert_eq!(found, health, "{text}");
        for part in parts {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }

    #[test]
    fn what_is_measured_is_told_in_plain_words() {
        let good =
            ["10.0.0.2:7946 is node 0000000000000007", "in 1.5 ms", "up to 1472 bytes", "MTU 1500", "3 ms apart"];
        assert_told(Ok(measured()), Health::Good, &good);
        let small = Measured { passed: [548, 1_232].into(), ..measured() };
        let parts = ["1340 bytes do not come back", "up to 1232 do", "of 1368 bytes", "datagram_bytes_max to 1190"];
        assert_told(Ok(small), Health::Bad, &parts);
        let smaller = Measured { passed: [548].into(), ..measured() };
        assert!(!told(Ok(smaller)).1.contains("datagram_bytes_max"), "it may be no smaller");
        let slow = Measured { ahead_ms: -3_000, ..measured() };
        assert_told(Ok(slow), Health::Warning, &["its clock is 3.0 s behind this one", "NTP"]);
        let fast = Measured { ahead_ms: 1_001, ..measured() };
        assert_told(Ok(fast), Health::Warning, &["1.0 s ahead of this one"]);
        let old = Measured { is_understood: false, ..measured() };
        assert_told(Ok(old), Health::Bad, &["no version of the wire"]);
        assert_told(Err(Silence::Refused), Health::Warning, &["no node listens there"]);
        assert_told(Err(Silence::NoAnswer), Health::Warning, &["refuses the key", "datagrams_refused_total"]);
    }
}
