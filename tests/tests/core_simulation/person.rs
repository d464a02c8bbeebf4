//! A person who recalls traces that the rules drop while the node runs, is killed and stops: asks the cores as the admin
//! endpoint does, of one pipeline after the other.
//!
//! What must hold: a trace is kept by hand once in each pipeline, whatever crashes, and never one that the rules keep. Fails
//! when spans come again before the verdict on them is durable (`Core::keep_by_hand`), and when a start forgets a verdict that
//! was taken back.

use crate::control::{Control, Cores, KeptByHand, ToKeep};
use crate::executor::{pause, random};
use crate::world::Outside;
use bytes::Bytes;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use tailwater_engine::reach_back::{Received, Sought, What};
use tailwater_engine::shard::ByHand;
use tailwater_engine::vocabulary::TraceId;

/// Bytes of an answer.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Most traces of one question.
const TRACES_MAX: usize = 4;

/// Traces of all answers, by what became of them.
pub type Outcomes = BTreeMap<&'static str, u64>;

/// What the person has had.
#[derive(Debug, Default)]
pub struct Recalled {
    /// Asked for, by pipeline: they may be sent from now on.
    pub asked: BTreeSet<(usize, Vec<u8>)>,
    /// Kept by hand, with the verdict in the log.
    kept: BTreeSet<(usize, Vec<u8>)>,
    /// What the answers were.
    pub outcomes: Outcomes,
}

/// Recalls what the rules drop, as long as anything is sent.
pub async fn recall(cores: Cores, outside: Rc<RefCell<Outside>>, traces: usize) {
    let pipelines = cores.channels.len() / cores.shards;
    while !outside.borrow().is_calm() {
        pause(400_000).await;
        let wanted: BTreeSet<TraceId> = (0..random(|random| random.usize(1..=TRACES_MAX)))
            .map(|_| random(|random| random.u64(1..=traces as u64)))
            .map(|number| (u128::from(number) << 64).to_be_bytes())
            .collect();
        let sought = Arc::new(Sought { times: (0, u64::MAX), what: What::Traces(wanted, ANSWER_BYTES_MAX) });
        let each = cores.ask_pipeline(0, |answer| Control::ReachBack(sought.clone(), answer)).await;
        let mut parts: Vec<_> = each.into_iter().flatten().flat_map(|gathered| gathered.parts).collect();
        parts.sort_by_key(|received| received.unix_nano);
        for pipeline in 0..pipelines {
            let taken: Vec<&Received> = parts.iter().filter(|received| received.takers.has(pipeline)).collect();
            send_on(&cores, &outside, pipeline, &taken).await;
        }
    }
}

/// Has traces kept after all in a pipeline that took these parts of them, and the parts come again.
async fn send_on(cores: &Cores, outside: &RefCell<Outside>, pipeline: usize, parts: &[&Received]) {
    let mut first: BTreeMap<TraceId, u64> = BTreeMap::new();
    for Received { unix_nano, part, .. } in parts {
        first.entry(part.trace_id).or_insert(*unix_nano);
    }
    outside.borrow_mut().recalled.asked.extend(first.keys().map(|id| (pipeline, id.to_vec())));
    let to_keep = Arc::new(ToKeep { traces: first.into_iter().collect(), again: false });
    let kept = cores.ask_pipeline(pipeline, |answer| Control::KeepByHand(to_keep.clone(), answer)).await;
    for KeptByHand { traces, is_durable } in kept.into_iter().flatten() {
        for (id, outcome) in traces {
            outside.borrow_mut().note(pipeline, &id, (outcome, is_durable));
            if outcome != ByHand::Kept || !is_durable {
                continue;
            }
            let own = parts.iter().filter(|received| received.part.trace_id == id);
            for (number, Received { part, .. }) in own.enumerate() {
                let (core, body) = (pipeline * cores.shards + number % cores.shards, Bytes::from(part.body.clone()));
                _ = cores.ask_one(core, |answer| Control::ComeAgain(body.clone(), answer)).await;
            }
        }
    }
}

impl Outside {
    /// What became of a trace that was to be kept.
    fn note(&mut self, pipeline: usize, id: &TraceId, (outcome, is_durable): (ByHand, bool)) {
        let key = (pipeline, id.to_vec());
        let is_right = self.keeps(id) != matches!(outcome, ByHand::Kept | ByHand::RecalledBefore);
        let may_be_either = matches!(outcome, ByHand::Pending | ByHand::Forgotten);
        assert!(is_right || may_be_either, "{outcome:?} of trace {id:?}, which the rules judge otherwise");
        let word = match outcome {
            ByHand::Kept if is_durable => "kept",
            ByHand::Kept => "kept without the log",
            ByHand::RecalledBefore => "recalled before",
            ByHand::KeptBefore => "kept before",
            ByHand::Pending => "pending",
            ByHand::Forgotten => "forgotten",
        };
        *self.recalled.outcomes.entry(word).or_default() += 1;
        if outcome == ByHand::Kept && is_durable {
            assert!(self.recalled.kept.insert(key), "trace {id:?} is recalled twice in pipeline {pipeline}");
        }
    }
}
