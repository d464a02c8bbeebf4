//! A scenario played through the shards of several nodes that form a cluster: the spans of each request are dealt out to them
//! in turn, so that nearly every trace is on all, and what they tell one another arrives at once.

use super::engine::{BETWEEN, STEP, plan, sampling};
use super::{KeptSpan, Scenario, spans_of};
use crate::shard_host::Kept;
use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use std::sync::Arc;
use tailwater_engine::cluster::ClusterPlan;
use tailwater_engine::rules::Rules;
use tailwater_engine::shard::Shard;
use tailwater_engine::vocabulary::{Nanos, Origin, Said, SpanBatch};
use tailwater_proto::cluster::view::{Member, View};
use tailwater_proto::cluster::{Incarnation, NodeId};

const RUN: Incarnation = Incarnation(1);
/// Nodes know one another for so long when the first request comes: none asks another any more what it remembers.
const TOGETHER_STEPS: u32 = 70;
/// After the wait of traces, until all nodes have told and heard what there is.
const SETTLE_STEPS: u32 = 6;

/// What nodes keep of a scenario.
///
/// # Errors
/// Why its policies cannot be evaluated, or what nodes counted if they did not agree.
pub fn play(scenario: &Scenario, nodes: u16) -> Result<Vec<KeptSpan>, String> {
    let sampling = sampling(scenario)?;
    let rules = Arc::new(Rules::compile(&sampling).map_err(|error| error.to_string())?);
    let members: Vec<Member> = (0..nodes).map(member).collect();
    let shards = (0..nodes).map(|number| {
        let mut shard = Shard::new(plan(&sampling, 0, 1), rules.clone());
        shard.join(STEP, cluster_plan(), Arc::new(View::new(1, id(number), members.clone())));
        (shard, Kept::default())
    });
    let mut cluster = Cluster { now: STEP, nodes: shards.collect(), dealt: 0, kept: Vec::new() };
    cluster.step(TOGETHER_STEPS);
    let wait = sampling.decision_wait.as_secs() as u32;
    for is_late in [false, true] {
        for request in scenario.requests.iter().filter(|request| request.is_late == is_late) {
            cluster.now = cluster.now.plus(BETWEEN);
            cluster.send(&request.body);
        }
        cluster.step(wait + SETTLE_STEPS);
    }
    for (shard, _) in &cluster.nodes {
        let counts = shard.cluster().map(|cluster| cluster.counts).unwrap_or_default();
        if counts.judged_alone + counts.torn + counts.malformed > 0 || shard.ledger().traces.pending > 0 {
            return Err(format!("nodes did not agree: {counts:?}"));
        }
    }
    cluster.kept.sort();
    Ok(cluster.kept)
}

fn id(number: u16) -> NodeId {
    NodeId(u64::from(number) + 1)
}

fn member(number: u16) -> Member {
    Member { node: id(number), incarnation: RUN, shards: 1, is_leaving: false }
}

fn cluster_plan() -> ClusterPlan {
    ClusterPlan {
        pipeline: 1,
        evidence_delay: Nanos::from_millis(250),
        answer_wait: Nanos::from_millis(1_000),
        hold_max: Nanos::from_millis(10_000),
        rules_wait: Nanos::from_millis(30_000),
        docket_traces_max: usize::MAX,
        message_bytes_max: 1_200,
        shed_level_max: 0,
    }
}

/// Nodes of one shard each, and nothing between them.
struct Cluster {
    now: Nanos,
    nodes: Vec<(Shard, Kept)>,
    /// Spans dealt out so far.
    dealt: usize,
    kept: Vec<KeptSpan>,
}

impl Cluster {
    /// One request: each node gets a request with its part of the spans.
    fn send(&mut self, body: &Bytes) {
        let request = ExportTraceServiceRequest::decode(body.clone()).unwrap_or_default();
        let first = self.dealt;
        for number in 0..self.nodes.len() {
            let mut at = first;
            let part = part_of(request.clone(), |place| place % self.nodes.len() == number, &mut at);
            self.dealt = at;
            let (shard, host) = &mut self.nodes[number];
            let Ok(mut scanned) = shard.scan(&part.encode_to_vec().into()) else { continue };
            shard.accept(scanned.spans());
            scanned.place(Origin::NONE, self.now);
            for (_, spans) in scanned.batches {
                shard.take(self.now, SpanBatch { arrived: self.now, ..spans }, host);
            }
        }
    }

    fn step(&mut self, count: u32) {
        for _ in 0..count {
            self.now = self.now.plus(STEP);
            for (shard, host) in &mut self.nodes {
                while shard.tick(self.now, host) {}
            }
            while self.pass_on() {}
            for (_, host) in &mut self.nodes {
                self.kept.extend(host.requests.drain(..).flat_map(|request| spans_of(&request.body)));
            }
        }
    }

    /// Nodes hear what was said; whether anything was.
    fn pass_on(&mut self) -> bool {
        let mut is_any = false;
        for sender in 0..self.nodes.len() {
            let said = std::mem::take(&mut self.nodes[sender].1.said);
            is_any |= !said.is_empty();
            for (number, (shard, host)) in (0u16..).zip(&mut self.nodes) {
                let is_for = |said: &&Said| said.to.is_none_or(|to| to == id(number));
                for said in said.iter().filter(is_for).filter(|_| usize::from(number) != sender) {
                    shard.hear(self.now, (id(sender as u16), RUN), &said.bytes, host);
                }
            }
        }
        is_any
    }
}

/// The request with those of its spans alone whose place in all that is sent is wanted; `at` is the place of the next.
fn part_of(
    mut request: ExportTraceServiceRequest,
    is_wanted: impl Fn(usize) -> bool,
    at: &mut usize,
) -> ExportTraceServiceRequest {
    for resource in &mut request.resource_spans {
        for scope in &mut resource.scope_spans {
            scope.spans.retain(|_| {
                *at += 1;
                is_wanted(*at - 1)
            });
        }
        resource.scope_spans.retain(|scope| !scope.spans.is_empty());
    }
    request.resource_spans.retain(|resource| !resource.scope_spans.is_empty());
    request
}
