//! The configuration, read again while the node runs: on SIGHUP, when the file has changed, and when the admin endpoint
//! is asked to. It is read, checked and compiled on a thread of its own; each core swaps its rules between two verdicts.
//! What is wrong leaves everything as it was.

use crate::blueprint::{Pipeline, blueprint, blueprint_after};
use crate::cluster::keyring;
use crate::control::{Change, Control, Cores};
use crate::explain::Names;
use crate::gossip::Wish as GossipWish;
use crate::logging::ONCE;
use crate::plan::shard_plan;
use crate::source::{ConfigurationSource, Stamp};
use async_channel::{Receiver, Sender, bounded};
use serde_json::{Value, json};
use std::cell::{Cell, Ref, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tailwater_config::{Config, Problem, is_same, needs_restart, with_changes};
use tailwater_engine::rules::Rules;
use tailwater_net::datagram::Keyring;
use tailwater_runtime::clock::unix_nanos;
use tailwater_runtime::executor::{sleep, spawn};

/// Wishes that wait for the one being carried out.
/// At the bound: one that waits will do for the next.
const WISHES_MAX: usize = 4;
/// How often a watch that is switched off looks whether it still is.
const OFF_RECHECK: Duration = Duration::from_secs(5);
/// Problems kept of the last attempt.
const PROBLEMS_MAX: usize = 100;
/// Generations whose sub-policies and conditions are known to explanations.
/// At the bound: verdicts of older ones are explained without.
const GENERATIONS_NAMED_MAX: usize = 16;

/// Who wants the configuration to be read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// SIGHUP.
    Signal,
    /// The file has changed.
    File,
    /// The admin endpoint.
    Request,
}

impl Trigger {
    fn label(self) -> &'static str {
        match self {
            Self::Signal => "signal",
            Self::File => "file",
            Self::Request => "request",
        }
    }
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A new generation is in force on every core.
    Applied,
    /// Nothing that can change while the node runs is different.
    Unchanged,
    /// The configuration is wrong; the rules are as they were.
    Refused,
}

impl Outcome {
    /// All, in the order of their counters.
    pub const ALL: [Self; 3] = [Self::Applied, Self::Unchanged, Self::Refused];

    /// The label value in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Unchanged => "unchanged",
            Self::Refused => "refused",
        }
    }
}

/// One attempt.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// What came of it.
    pub outcome: Outcome,
    trigger: Trigger,
    unix_nano: u64,
    /// Why it was refused.
    problems: Vec<String>,
    /// What takes effect at the next start only.
    notes: Vec<String>,
}

impl Attempt {
    fn json(&self) -> Value {
        json!({
            "outcome": self.outcome.label(),
            "trigger": self.trigger.label(),
            "unix_seconds": Duration::from_nanos(self.unix_nano).as_secs(),
            "problems": self.problems,
            "notes": self.notes,
        })
    }
}

/// The configuration in force and what was tried since the start.
#[derive(Debug)]
pub struct State {
    /// What the node does.
    pub config: Config,
    /// Each way of traces, in the order of the configuration the node was started with.
    pub pipelines: Vec<PipelineState>,
    /// Attempts by outcome.
    pub attempts: [u64; Outcome::ALL.len()],
    /// The last attempt.
    pub last: Option<Attempt>,
}

/// What is in force in one pipeline.
#[derive(Debug)]
pub struct PipelineState {
    /// Its name; none when it is the only one.
    pub name: String,
    /// The rules in force.
    pub rules: Arc<Rules>,
    /// Of recent generations.
    told: VecDeque<Told>,
}

/// What explanations tell of a generation of rules.
#[derive(Debug)]
struct Told {
    generation: u32,
    /// Names of sub-policies, which have numbers of their own.
    sub_policies: Vec<String>,
    /// The conditions of each policy.
    conditions: Vec<Vec<String>>,
}

impl State {
    /// Generation of the rules: all pipelines change at once.
    pub fn generation(&self) -> u32 {
        self.pipelines.first().map_or(0, |pipeline| pipeline.rules.generation())
    }

    fn former(&self) -> Vec<(String, Arc<Rules>)> {
        self.pipelines.iter().map(|pipeline| (pipeline.name.clone(), pipeline.rules.clone())).collect()
    }
}

impl PipelineState {
    fn new(name: String, rules: Arc<Rules>) -> Self {
        let mut state = Self { name, rules, told: VecDeque::new() };
        state.note_told();
        state
    }

    fn note_told(&mut self) {
        if self.told.len() >= GENERATIONS_NAMED_MAX {
            self.told.pop_front();
        }
        let conditions = (0..).zip(self.rules.policy_names()).map(|(number, _)| self.rules.conditions(number).to_vec());
        self.told.push_back(Told {
            generation: self.rules.generation(),
            sub_policies: self.rules.sub_policy_names().to_vec(),
            conditions: conditions.collect(),
        });
    }

    fn told_of(&self, generation: u32) -> Option<&Told> {
        self.told.iter().find(|told| told.generation == generation)
    }

    /// Names of the policies in force.
    fn in_force(&self) -> Vec<&str> {
        let names: Vec<&str> = self.rules.policy_names().collect();
        self.rules.in_force().map(|number| names[usize::from(number)]).collect()
    }
}

impl Names for PipelineState {
    fn policy(&self, policy: u16) -> String {
        self.rules.policy_names().nth(usize::from(policy)).unwrap_or_default().to_string()
    }

    fn sub_policy(&self, generation: u32, sub_policy: u16) -> Option<String> {
        self.told_of(generation)?.sub_policies.get(usize::from(sub_policy)).cloned()
    }

    fn conditions(&self, generation: u32, policy: u16) -> Vec<String> {
        let told = self.told_of(generation).and_then(|told| told.conditions.get(usize::from(policy)));
        told.cloned().unwrap_or_default()
    }
}

/// Carries out one wish after the other.
pub struct Reloader {
    source: Arc<ConfigurationSource>,
    cores: Cores,
    /// To the gossip thread, where there is one.
    gossip: Option<Sender<GossipWish>>,
    state: RefCell<State>,
    /// The file's state when it was last read.
    known: Cell<Option<Stamp>>,
    wish: Sender<Wish>,
    wishes: Receiver<Wish>,
}

/// Who wants it, and whom to tell.
type Wish = (Trigger, Option<Sender<Value>>);

/// A configuration that was read and checked.
enum Prepared {
    Unchanged,
    /// With a change for each pipeline.
    Changed(Box<Config>, Vec<Arc<Change>>),
}

impl Reloader {
    /// For a node that was started with `config` and runs `rules`, one a pipeline. `known` is the file's state before it was
    /// read.
    pub fn new(
        source: ConfigurationSource,
        known: Option<Stamp>,
        config: Config,
        rules: Vec<(String, Arc<Rules>)>,
        cores: Cores,
        gossip: Option<Sender<GossipWish>>,
    ) -> Rc<Self> {
        let (wish, wishes) = bounded(WISHES_MAX);
        let attempts = [0; Outcome::ALL.len()];
        let pipelines = rules.into_iter().map(|(name, rules)| PipelineState::new(name, rules)).collect();
        let state = State { config, pipelines, attempts, last: None };
        Rc::new(Self {
            source: Arc::new(source),
            cores,
            gossip,
            state: RefCell::new(state),
            known: Cell::new(known),
            wish,
            wishes,
        })
    }

    /// Begins to carry out wishes and to watch the file. Wishes made before wait for this.
    pub fn start(self: &Rc<Self>) {
        let (worker, watcher) = (self.clone(), self.clone());
        spawn(async move {
            while let Ok((trigger, answer)) = worker.wishes.recv().await {
                let said = worker.attempt(trigger).await;
                if let Some(answer) = answer {
                    // Whoever asked may have gone.
                    _ = answer.try_send(said);
                }
            }
        });
        spawn(watcher.watch());
    }

    /// What is in force. Not to be held across an await.
    pub fn state(&self) -> Ref<'_, State> {
        self.state.borrow()
    }

    /// Has the configuration read again; with a full queue one of those that wait will do.
    pub fn wish(&self, trigger: Trigger) {
        _ = self.wish.try_send((trigger, None));
    }

    /// As `wish`, and waits for what comes of it.
    pub async fn ask(&self) -> Value {
        let (answer, said) = bounded(1);
        // The receiver lives as long as this does.
        _ = self.wish.send((Trigger::Request, Some(answer))).await;
        said.recv().await.unwrap_or_default()
    }

    /// The status as JSON.
    pub fn status(&self) -> Value {
        let state = self.state.borrow();
        let attempts = Outcome::ALL.iter().zip(state.attempts).map(|(outcome, count)| (outcome.label(), count));
        let attempts: serde_json::Map<_, _> =
            attempts.map(|(label, count)| (label.to_string(), count.into())).collect();
        let mut said = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "generation": state.generation(),
            "reloads": attempts,
            "last_reload": state.last.as_ref().map(Attempt::json),
        });
        match state.pipelines.as_slice() {
            [only] if only.name.is_empty() => said["policies"] = only.in_force().into(),
            pipelines => {
                let each = pipelines
                    .iter()
                    .map(|pipeline| json!({ "pipeline": pipeline.name, "policies": pipeline.in_force() }));
                said["pipelines"] = each.collect();
            }
        }
        said
    }

    async fn watch(self: Rc<Self>) {
        let mut seen = None;
        loop {
            let interval = self.state.borrow().config.node.reload_interval;
            if interval.is_zero() {
                sleep(OFF_RECHECK).await;
                continue;
            }
            sleep(interval).await;
            let found = self.source.stamp();
            if found.is_none() || found == self.known.get() {
                // A file that is away is about to be replaced.
                seen = None;
            } else if found == seen {
                self.wish(Trigger::File);
                // What is found until it is read is known then.
                self.known.set(found);
            } else {
                // It may still be being written.
                seen = found;
            }
        }
    }

    async fn attempt(&self, trigger: Trigger) -> Value {
        self.known.set(self.source.stamp());
        let (running, rules) = {
            let state = self.state.borrow();
            (state.config.clone(), state.former())
        };
        let (source, shards) = (self.source.clone(), self.cores.shards);
        let (done, prepared) = bounded(1);
        let body = move || done.send_blocking(prepare(&source, &running, &rules, shards));
        let thread = std::thread::Builder::new().name("configuration".into()).spawn(body);
        let prepared = match thread {
            Ok(_) => prepared.recv().await.map_err(|_| "the program failed while it read the file".to_string()),
            Err(error) => Err(format!("cannot start a thread: {error}")),
        };
        let (prepared, notes) = match prepared {
            Ok((prepared, notes)) => (prepared, notes),
            Err(problem) => (Err(vec![problem]), Vec::new()),
        };
        // Keys are in a file of their own, which may have changed alone.
        let (prepared, keys) = match self.keys() {
            Ok(keys) => (prepared, keys),
            Err(problem) => (Err(vec![problem]), None),
        };
        let (outcome, problems) = match prepared {
            Ok(Prepared::Unchanged) => (Outcome::Unchanged, Vec::new()),
            Ok(Prepared::Changed(config, changes)) => {
                for (number, change) in changes.iter().enumerate() {
                    self.cores.ask_pipeline(number, |answer| Control::Reload(change.clone(), answer)).await;
                }
                let mut state = self.state.borrow_mut();
                state.config = *config;
                for (pipeline, change) in state.pipelines.iter_mut().zip(changes) {
                    pipeline.rules = change.rules.clone();
                    pipeline.note_told();
                }
                (Outcome::Applied, Vec::new())
            }
            Err(problems) => (Outcome::Refused, problems),
        };
        if let (Some(gossip), Some(keys)) = (&self.gossip, keys)
            && outcome != Outcome::Refused
        {
            // The thread that has ended needs no keys.
            _ = gossip.send(GossipWish::Keys(keys)).await;
        }
        self.close(Attempt { outcome, trigger, unix_nano: unix_nanos(), problems, notes })
    }

    /// The keys of the cluster, as their file has them now.
    fn keys(&self) -> Result<Option<Keyring>, String> {
        let state = self.state.borrow();
        let is_in_cluster = self.gossip.is_some() && state.config.cluster.key_file.is_some();
        is_in_cluster.then(|| keyring(&state.config.cluster)).transpose().map_err(|error| error.to_string())
    }

    /// Tells of an attempt and remembers it.
    fn close(&self, mut attempt: Attempt) -> Value {
        let generation = self.state.borrow().generation();
        let trigger = attempt.trigger.label();
        match attempt.outcome {
            Outcome::Applied => tracing::info!(generation, trigger, "the configuration was read again and is in force"),
            Outcome::Unchanged => tracing::info!(generation, trigger, "the configuration was read again: no change"),
            Outcome::Refused => {
                for problem in &attempt.problems {
                    tracing::error!(target: ONCE, "{problem}");
                }
                let problems = attempt.problems.len();
                tracing::error!(
                    generation,
                    trigger,
                    problems,
                    "the new configuration is refused, the rules are as they were"
                );
            }
        }
        for note in &attempt.notes {
            tracing::warn!(target: ONCE, "{note}");
        }
        attempt.problems.truncate(PROBLEMS_MAX);
        attempt.notes.truncate(PROBLEMS_MAX);
        let mut said = attempt.json();
        said["generation"] = generation.into();
        let mut state = self.state.borrow_mut();
        state.attempts[attempt.outcome as usize] += 1;
        state.last = Some(attempt);
        said
    }
}

impl Attempt {
    /// When it was, seconds since 1970.
    pub fn unix_seconds(&self) -> f64 {
        Duration::from_nanos(self.unix_nano).as_secs_f64()
    }
}

/// Rules by the name of their pipeline.
type Former = [(String, Arc<Rules>)];

/// Reads and checks the configuration: what can change, and notes on what cannot.
fn prepare(
    source: &ConfigurationSource,
    running: &Config,
    former: &Former,
    shards: usize,
) -> (Result<Prepared, Vec<String>>, Vec<String>) {
    let loaded = match source.load() {
        Ok(loaded) => loaded,
        Err(refused) => return (Err(refused.problems), refused.notes),
    };
    let restart = needs_restart(running, &loaded.config);
    let restart = restart.iter().map(|path| format!("{path} is different: it takes effect at the next start"));
    let notes: Vec<String> = loaded.notes.iter().map(ToString::to_string).chain(restart).collect();
    let told = |problem: Box<Problem>| vec![loaded.located(&problem).to_string()];
    (changed(&loaded.config, running, former, shards).map_err(told), notes)
}

fn changed(wanted: &Config, running: &Config, former: &Former, shards: usize) -> Result<Prepared, Box<Problem>> {
    let config = with_changes(running, wanted);
    // The whole must be fit to be started, too: a node that comes back must not find itself without a configuration.
    blueprint(wanted)?;
    if is_same(&config, running) {
        return Ok(Prepared::Unchanged);
    }
    let named = |name: &str| former.iter().find(|(known, _)| known == name).map(|(_, rules)| rules.clone());
    // The running node has as many.
    let count = u16::try_from(shards).unwrap_or(u16::MAX);
    let changes = blueprint_after(&config, named)?.pipelines.into_iter().map(|pipeline| {
        let Pipeline { config, pending_bytes, rules, .. } = pipeline;
        // Of the plan only what may change is looked at, so that the seed does not matter.
        let plan = shard_plan(&config, pending_bytes, [0; 4], (0, count), rules.leaf_words());
        Arc::new(Change { rules, plan, blocks_on_overflow: config.sampling.block_on_overflow })
    });
    Ok(Prepared::Changed(Box::new(config.clone()), changes.collect()))
}
