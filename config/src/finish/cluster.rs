//! The checks of a node among others: what it needs to be one, and what can't be judged by several.

use super::{Checks, prefix};
use crate::draft::Draft;
use crate::problem::{Source, shown};
use crate::sampling::Strategy;
use crate::settings::Cluster;
use crate::value::show_duration;

/// Names that other nodes may be found by. Each is looked up every 10 s; one that is up suffices.
/// At the bound: the configuration is refused.
const JOIN_NAMES_MAX: usize = 64;

/// Bytes of a cluster's name: it goes into every greeting.
/// At the bound: the configuration is refused.
const CLUSTER_NAME_BYTES_MAX: usize = 64;

const KEY_REMEDY: &str = "write at least 32 random bytes, such as `openssl rand -base64 32` prints, into a file for \
                          cluster.key_file or into TAILWATER_CLUSTER_KEY";

/// Checks the keys of `cluster`, and fills in what was left open.
pub(super) fn cluster(draft: &mut Draft, checks: &mut Checks<'_>) {
    if draft.config.cluster.docket_traces_max == 0 {
        let sum = draft.config.samplings().fold(0_u64, |sum, (_, sampling)| sum.saturating_add(sampling.traces_max));
        draft.config.cluster.docket_traces_max = sum;
    }
    let cluster = &draft.config.cluster;
    if let Some(key) = &cluster.key
        && key.reveal().len() < Cluster::KEY_BYTES_MIN
    {
        let cause = format!("has {} bytes, so that it could be guessed", key.reveal().len());
        checks.refuse("cluster.key", None, cause, KEY_REMEDY);
    }
    if cluster.name.len() > CLUSTER_NAME_BYTES_MAX {
        let remedy = format!("write at most {CLUSTER_NAME_BYTES_MAX} bytes");
        checks.refuse("cluster.name", Some(shown(&cluster.name)), "too long for a name", remedy);
    }
    if cluster.join.len() > JOIN_NAMES_MAX {
        let remedy =
            format!("write at most {JOIN_NAMES_MAX}: a name may have many addresses, and one node that is up suffices");
        checks.refuse("cluster.join", Some(cluster.join.len().to_string()), "too many names", remedy);
    }
    if cluster.listen.is_none() {
        alone(cluster, checks);
        return;
    }
    keys(cluster, checks);
    addresses(cluster, checks);
    if cluster.hold_max < cluster.answer_wait {
        let value = Some(show_duration(cluster.hold_max));
        let remedy = "raise it, or lower cluster.answer_wait";
        checks.refuse("cluster.hold_max", value, "is shorter than cluster.answer_wait: nobody would be asked", remedy);
    }
    for (name, sampling) in draft.config.samplings() {
        if sampling.strategy == Strategy::SpanIngest {
            let cause =
                "with it a node judges each piece of a trace by itself, so that several nodes can't judge as one";
            let remedy = "write trace-complete, or remove cluster.listen";
            let value = Some(sampling.strategy.to_string());
            checks.refuse(&format!("{}.strategy", prefix(name)), value, cause, remedy);
        }
    }
}

/// A node that hears no other.
fn alone(cluster: &Cluster, checks: &mut Checks<'_>) {
    if !cluster.join.is_empty() {
        let remedy = "write cluster.listen, such as 10.0.0.1:7946, or remove this";
        checks.refuse("cluster.join", None, "there is no cluster.listen, so that no other node could answer", remedy);
        return;
    }
    let written = checks.sources.keys().find(|path| path.starts_with("cluster.") && *path != "cluster.listen").cloned();
    if let Some(path) = written {
        checks.note(&path, "has no effect without cluster.listen");
    }
}

/// What nodes know each other by.
fn keys(cluster: &Cluster, checks: &mut Checks<'_>) {
    let has_key = cluster.key.is_some() || cluster.key_file.is_some();
    if cluster.key.is_some() && cluster.key_file.is_some() {
        let remedy = "keep the file, which may have several keys, or the key alone";
        checks.refuse("cluster.key", None, "there is cluster.key_file, too", remedy);
    }
    if cluster.allow_plaintext && has_key {
        checks.note("cluster.allow_plaintext", "has no effect: there is a key, so that everything is sealed");
    }
    if !cluster.allow_plaintext && !has_key && !checks.findings.is_refused_within("cluster.key") {
        let remedy = format!("{KEY_REMEDY}; where plain text does no harm write cluster.allow_plaintext: true");
        let cause = "there is no key: who reaches the port could join, read and write";
        checks.refuse("cluster.listen", cluster.listen.as_ref().map(ToString::to_string), cause, remedy);
    }
    if matches!(checks.source("cluster.key"), Source::Flag(_)) && cluster.key.is_some() {
        let text =
            "is seen by who may list processes; write it into TAILWATER_CLUSTER_KEY or a file for cluster.key_file";
        checks.note("cluster.key", text);
    }
}

/// What others can be told.
fn addresses(cluster: &Cluster, checks: &mut Checks<'_>) {
    let Some(told) = cluster.advertised() else { return };
    if !told.ip().is_some_and(|ip| ip.is_unspecified()) {
        return;
    }
    let remedy = "write the address that others reach this node by as cluster.advertise, such as \
                  --cluster-advertise=$POD_IP:7946, or listen on one address";
    match &cluster.advertise {
        Some(told) => {
            let cause = "is every address of a machine, which nobody can send to";
            checks.refuse("cluster.advertise", Some(told.to_string()), cause, remedy);
        }
        None => {
            let cause = "is every address of this machine, which nobody can be told to send to";
            checks.refuse("cluster.listen", Some(told.to_string()), cause, remedy);
        }
    }
}
