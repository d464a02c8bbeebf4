//! Asks the cores of this node about a trace, and the other nodes of the cluster; answers what these ask.

use super::everywhere::{Everywhere, cut};
use super::{answer, unknown};
use crate::control::{Control, Cores, Explained};
use crate::gossip::asking::{Answers, Asked, Question};
use crate::gossip::{Shared, Wish};
use crate::reload::Reloader;
use async_channel::{Receiver, Sender, bounded};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;
use tailwater_engine::cluster::pipeline_id;
use tailwater_engine::vocabulary::TraceId;
use tailwater_proto::cluster::NodeId;
use tailwater_runtime::executor::timeout;

/// A gossip thread that has not answered for so long, which waits a second for others, is not waited for.
const GOSSIP_WAIT: Duration = Duration::from_secs(3);

/// The way to the gossip thread.
#[derive(Clone)]
pub struct Line {
    /// To ask it something.
    pub wishes: Sender<Wish>,
    /// What it does.
    pub shared: Shared,
}

/// Who knows of traces.
pub struct Asker {
    cores: Cores,
    reloader: Rc<Reloader>,
    gossip: Option<Line>,
}

/// What this node knows of a trace in one pipeline.
struct Known {
    pipeline: String,
    owner: Option<NodeId>,
    said: Option<Value>,
}

impl Asker {
    /// With the cores and, in a cluster, the gossip thread.
    pub fn new(cores: Cores, reloader: Rc<Reloader>, gossip: Option<Line>) -> Self {
        Self { cores, reloader, gossip }
    }

    /// What is known of a trace, whose id is also given as text; `Err` where nobody knows anything.
    pub async fn ask(&self, id: &str, trace_id: TraceId) -> Result<Value, Value> {
        let known = self.known(id, trace_id).await;
        let names: Vec<String> = known.iter().map(|known| known.pipeline.clone()).collect();
        let (each, silent) = match &self.gossip {
            None => (known.into_iter().map(|known| known.said).collect(), BTreeSet::new()),
            Some(gossip) => with_others(gossip, known, (id, trace_id)).await,
        };
        let named = names.iter().zip(each).filter_map(|(name, said)| {
            let mut said = said?;
            if !name.is_empty() {
                said["pipeline"] = name.as_str().into();
            }
            Some(said)
        });
        let mut each: Vec<Value> = named.collect();
        if each.is_empty() {
            return Err(self.nothing_known(id, &silent));
        }
        Ok(match each.first() {
            Some(first) if first["pipeline"].is_null() => each.swap_remove(0),
            _ => json!({ "trace_id": id, "pipelines": each }),
        })
    }

    fn nothing_known(&self, id: &str, silent: &BTreeSet<NodeId>) -> Value {
        let state = self.reloader.state();
        let pipelines = u64::try_from(state.pipelines.len()).unwrap_or(u64::MAX);
        let verdicts_max = state.config.admin.explained_verdicts_max.div_ceil(pipelines.max(1));
        unknown(id, verdicts_max, self.gossip.as_ref().map(|_| silent))
    }

    /// What the cores of this node know, for each pipeline: each has judged it by itself.
    async fn known(&self, id: &str, trace_id: TraceId) -> Vec<Known> {
        let known = self.cores.ask(|answer| Control::Explain(trace_id, answer)).await;
        let state = self.reloader.state();
        let now = tailwater_runtime::clock::unix_nanos();
        let each = known.chunks(self.cores.shards).zip(&state.pipelines).map(|(known, pipeline)| {
            let known: Vec<&Explained> = known.iter().flatten().collect();
            Known {
                pipeline: pipeline.name.clone(),
                owner: known.iter().find_map(|known| known.owner),
                said: answer(id, &known, pipeline, now),
            }
        });
        each.collect()
    }

    /// Answers what other nodes ask, for as long as they do.
    pub async fn answer_others(self: Rc<Self>, asked: Receiver<Asked>) {
        let Some(gossip) = &self.gossip else { return };
        while let Ok(question) = asked.recv().await {
            let known = self.known("", question.trace_id).await;
            let known = known.into_iter().find(|known| pipeline_id(&known.pipeline) == question.pipeline);
            let said = known.and_then(|known| known.said).unwrap_or_else(|| json!({}));
            let text = cut(said, question.bytes_max);
            if gossip.wishes.send(Wish::Answer(question, text.into_bytes())).await.is_err() {
                return;
            }
        }
    }
}

/// What all nodes of the cluster know, in each pipeline, and who did not answer.
async fn with_others(
    gossip: &Line,
    known: Vec<Known>,
    (id, trace_id): (&str, TraceId),
) -> (Vec<Option<Value>>, BTreeSet<NodeId>) {
    let state = gossip.shared.get();
    let own = state.own.map_or(NodeId(0), |(node, _)| node);
    let pipelines = known.iter().map(|known| pipeline_id(&known.pipeline)).collect();
    let (sender, answers) = bounded(1);
    let question = Question { trace_id, pipelines, answer: sender };
    let answered = match gossip.wishes.send(Wish::Ask(question)).await {
        Ok(()) => timeout(GOSSIP_WAIT, answers.recv()).await.ok().and_then(Result::ok),
        Err(_) => None,
    };
    let others = || state.members.iter().map(|(member, ..)| member.node).filter(|node| *node != own);
    let Answers { said: others, silent } =
        answered.unwrap_or_else(|| Answers { said: Vec::new(), silent: others().collect() });
    let each = known.into_iter().map(|known| {
        let pipeline = pipeline_id(&known.pipeline);
        let mut everywhere = Everywhere { owner: known.owner, silent: silent.clone(), said: Vec::new() };
        everywhere.said.extend(known.said.map(|said| (own, said)));
        for (node, _, text) in others.iter().filter(|(_, of, _)| *of == pipeline) {
            let said = serde_json::from_slice::<Value>(text).unwrap_or_default();
            if said["state"].is_string() {
                everywhere.said.push((*node, said));
            }
        }
        let mut said = everywhere.answer()?;
        said["trace_id"] = id.into();
        Some(said)
    });
    (each.collect(), silent)
}
