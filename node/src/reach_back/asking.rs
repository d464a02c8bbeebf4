//! Has the cores of this node look through their logs, and keep by hand what was found.

use super::answer::{Found, shown};
use super::{Question, answer_bytes_max};
use crate::control::{Control, Cores, KeptByHand, ToKeep};
use crate::reload::Reloader;
use async_channel::Sender;
use bytes::Bytes;
use serde_json::{Value, json};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use tailwater_engine::reach_back::{Cut, Gathered, Sought};
use tailwater_engine::shard::ByHand;
use tailwater_engine::vocabulary::TraceId;

/// Spans of kept traces go to a core in requests of about so many bytes, each scanned in one go.
const AGAIN_BYTES: usize = 256 << 10;

/// Asks the cores; one question at a time.
pub struct Recaller {
    cores: Cores,
    reloader: Rc<Reloader>,
    is_busy: Cell<bool>,
}

/// Why nothing is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// Another question is being answered.
    Busy,
    /// The node has no log.
    NoLog,
    /// There is no pipeline of that name.
    NoPipeline(String),
    /// A policy has the name under which traces are kept by hand.
    NameTaken,
}

impl Refused {
    /// What is wrong, and what to do about it.
    pub fn told(&self) -> Value {
        let (error, remedy) = match self {
            Self::Busy => ("another recall is being answered", "ask again in some seconds"),
            Self::NoLog => ("this node has no log", "set ack of a receiver to written or synced"),
            Self::NoPipeline(_) => ("no pipeline is called so", "see /api/v1/status"),
            Self::NameTaken => {
                ("a policy is called recall", "give it another name: traces are kept by hand under that one")
            }
        };
        json!({ "error": error, "remedy": remedy })
    }
}

/// Holds the place of the one question.
struct Turn<'a>(&'a Cell<bool>);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

impl Recaller {
    /// For these cores.
    pub fn new(cores: Cores, reloader: Rc<Reloader>) -> Self {
        Self { cores, reloader, is_busy: Cell::new(false) }
    }

    fn turn(&self) -> Result<Turn<'_>, Refused> {
        if self.is_busy.replace(true) { Err(Refused::Busy) } else { Ok(Turn(&self.is_busy)) }
    }

    /// What the logs of this node have.
    ///
    /// # Errors
    /// `Refused`.
    pub async fn ask(&self, question: &Question) -> Result<Found, Refused> {
        let _turn = self.turn()?;
        self.find(question).await
    }

    async fn find(&self, question: &Question) -> Result<Found, Refused> {
        if !self.reloader.state().config.needs_wal() {
            return Err(Refused::NoLog);
        }
        let mut found = Found::default();
        let mut ids = question.ids.clone();
        if let Some(sought) = question.matching() {
            ids = self.matching(sought, &mut found, question.limit).await?;
        }
        while !ids.is_empty() && !self.traces(question, &ids, &mut found).await? {
            found.cuts.insert(Cut::Bytes);
            if ids.len() == 1 {
                break;
            }
            // Fewer, and each of those whole.
            found.begin_again();
            ids = ids.iter().take(ids.len() / 2).copied().collect();
        }
        Ok(found.finish())
    }

    /// The traces that match, in the logs of all executors.
    async fn matching(&self, sought: Sought, found: &mut Found, limit: usize) -> Result<BTreeSet<TraceId>, Refused> {
        let sought = Arc::new(sought);
        let each = self.cores.ask_pipeline(0, |answer| Control::ReachBack(sought.clone(), answer)).await;
        let mut ids = BTreeSet::new();
        for mut gathered in each.into_iter().flatten() {
            if gathered.is_busy {
                return Err(Refused::Busy);
            }
            ids.append(&mut gathered.matching);
            found.add(&mut gathered);
        }
        if ids.len() > limit {
            found.cuts.insert(Cut::Limit);
        }
        Ok(ids.into_iter().take(limit).collect())
    }

    /// Takes what there is of these traces, from one log after the other, so that it is never more than an answer. False when
    /// it would be.
    async fn traces(&self, question: &Question, ids: &BTreeSet<TraceId>, found: &mut Found) -> Result<bool, Refused> {
        let mut left = answer_bytes_max(&self.reloader.state().config);
        for core in 0..self.cores.shards {
            let sought = Arc::new(question.traces(ids, left));
            let ask = |answer: Sender<Gathered>| Control::ReachBack(sought.clone(), answer);
            let Some(mut gathered) = self.cores.ask_one(core, ask).await else { continue };
            if gathered.is_busy {
                return Err(Refused::Busy);
            }
            let is_cut = gathered.cut == Some(Cut::Bytes);
            left = left.saturating_sub(gathered.parts_bytes);
            found.add(&mut gathered);
            if is_cut {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Keeps what was found in the pipelines that dropped it, and has its spans sent on. Tells what became of each trace.
    ///
    /// # Errors
    /// `Refused`.
    pub async fn send(&self, question: &Question) -> Result<(Found, Value), Refused> {
        let _turn = self.turn()?;
        let names: Vec<(usize, String, bool)> = {
            let state = self.reloader.state();
            let named = state.pipelines.iter().enumerate();
            let meant =
                named.filter(|(_, pipeline)| question.pipeline.as_ref().is_none_or(|name| *name == pipeline.name));
            meant
                .map(|(number, pipeline)| (number, pipeline.name.clone(), pipeline.rules.by_hand().is_some()))
                .collect()
        };
        if let (true, Some(name)) = (names.is_empty(), &question.pipeline) {
            return Err(Refused::NoPipeline(name.clone()));
        }
        if names.iter().any(|(.., has_name)| !has_name) {
            return Err(Refused::NameTaken);
        }
        let found = self.find(question).await?;
        let (mut each, mut sent) = (Vec::new(), 0);
        for (number, name, _) in names {
            // A pipeline has nothing of what its receivers did not take.
            let taken = found.traces.iter().filter_map(|(id, trace)| Some((*id, trace.received_by(number)?)));
            let to_keep = Arc::new(ToKeep { traces: taken.collect(), again: question.again });
            let kept = self.cores.ask_pipeline(number, |answer| Control::KeepByHand(to_keep.clone(), answer)).await;
            let of_core = kept.into_iter().flatten().flat_map(|KeptByHand { traces, is_durable }| {
                traces.into_iter().map(move |(id, outcome)| (id, Outcome { outcome, is_durable }))
            });
            let kept: BTreeMap<TraceId, Outcome> = of_core.collect();
            let own = found.traces.iter().filter(|(id, _)| kept.get(*id).is_some_and(|kept| kept.sends()));
            let bodies = own.flat_map(|(_, trace)| &trace.bodies);
            let bodies = bodies.filter(|(_, takers, _)| takers.has(number)).map(|(.., body)| body);
            sent += self.come_again(number, bodies).await;
            each.extend(kept.iter().map(|(id, outcome)| {
                let spans = found.traces.get(id).map_or(0, |trace| trace.spans);
                let mut told = json!({ "trace_id": shown(id), "spans": spans, "outcome": outcome.word() });
                if let Some(remedy) = outcome.remedy() {
                    told["remedy"] = remedy.into();
                }
                if !name.is_empty() {
                    told["pipeline"] = name.as_str().into();
                }
                told
            }));
        }
        let mut told = found.told(question);
        told["sent_spans"] = sent.into();
        let said = json!({ "traces": each, "recall": told });
        Ok((found, said))
    }

    /// Has the spans of these requests come again to a pipeline. Returns how many they are.
    async fn come_again<'a>(&self, pipeline: usize, bodies: impl Iterator<Item = &'a Vec<u8>>) -> u64 {
        // Requests one behind the other are one request.
        let mut requests: Vec<Vec<u8>> = Vec::new();
        for body in bodies {
            match requests.last_mut() {
                Some(last) if last.len() + body.len() <= AGAIN_BYTES => last.extend_from_slice(body),
                _ => requests.push(body.clone()),
            }
        }
        let mut sent = 0;
        for (number, request) in requests.into_iter().enumerate() {
            let core = pipeline * self.cores.shards + number % self.cores.shards.max(1);
            let request = Bytes::from(request);
            sent += self.cores.ask_one(core, |answer| Control::ComeAgain(request.clone(), answer)).await.unwrap_or(0);
        }
        sent
    }
}

/// What became of a trace.
struct Outcome {
    outcome: ByHand,
    /// Whether the log has it.
    is_durable: bool,
}

impl Outcome {
    fn sends(&self) -> bool {
        self.outcome == ByHand::Kept && self.is_durable
    }

    fn word(&self) -> &'static str {
        match self.outcome {
            ByHand::Kept if !self.is_durable => "not sent: the log does not take the verdict",
            ByHand::Kept => "sent",
            ByHand::RecalledBefore => "recalled before",
            ByHand::KeptBefore => "kept by a policy before",
            ByHand::Pending => "pending: it will be judged",
            ByHand::Forgotten => "verdict forgotten: it may have been exported",
        }
    }

    /// What a person can do about it.
    fn remedy(&self) -> Option<&'static str> {
        match self.outcome {
            ByHand::Kept if !self.is_durable => Some("see the disk of data_directory, then send it with --again"),
            ByHand::RecalledBefore => Some("--again sends it once more, where it was lost on its way"),
            ByHand::Forgotten => {
                Some("for the next time raise sampling.decision_cache.sampled_cache_size and .non_sampled_cache_size")
            }
            ByHand::Kept | ByHand::KeptBefore | ByHand::Pending => None,
        }
    }
}
