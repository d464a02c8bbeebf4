//! What nodes of a cluster do about one trace while its owner changes, in every order there is: two nodes that have spans of
//! it, one that owned it and one that owns it next, messages that are lost and come twice. Whom a node obeys, whom a new owner
//! asks and when it may judge is asked of the engine itself (`Cluster`); what is said and heard follows `docs/cluster.md`.
//!
//! ```text
//! former owner   judges | sees the other come and hands over | is not heard any more
//! next owner     sees it | asks who may remember | judges
//! two holders    tell the owner that they see | ask it | follow; a last span, by which the trace is kept, comes to one of them
//! ```
//! What is taken for granted: all nodes have seen a change before the first takes it for settled, and a question to who may
//! remember is answered before it is judged. Where links are cut neither holds, and what follows is counted.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test, which says how many states it has met"
)]

use stateright::{Checker as _, HasDiscoveries, Model, Property};
use std::sync::Arc;
use tailwater_engine::cluster::{Cluster, ClusterPlan};
use tailwater_engine::vocabulary::Nanos;
use tailwater_proto::cluster::Incarnation;
use tailwater_proto::cluster::view::{Member, View};
use tailwater_tests::world::cluster::{id, number};

/// Places of nodes. The last span comes to the second holder.
const FORMER: usize = 0;
const NEXT: usize = 1;
const HOLDERS: [usize; 2] = [2, 3];
const NODES: usize = 4;
/// Spans of the second holder with which the trace is kept.
const KEPT_WITH: u8 = 2;

/// Messages that are lost or come twice.
const FAULTS_MAX: u8 = 1;

/// How the owner changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    /// A node comes that owns the trace.
    Join,
    /// The owner is not heard any more.
    Death,
}

/// A rule that is broken on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Broken {
    Nothing,
    /// New owners ask nobody what they remember.
    AsksNobody,
    /// Whoever says that a trace is dropped is obeyed.
    ObeysAnybody,
    /// Who hears nothing drops.
    TakesSilenceForADrop,
}

/// How long ago a node has seen the change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Phase {
    Before,
    Lately,
    Long,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum What {
    /// What a holder has, from itself or passed on once.
    Evidence { holder: usize, spans: u8, is_relayed: bool },
    /// What do you remember?
    Question,
    /// Whether the trace is kept.
    Ruling(bool),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Letter {
    from: usize,
    to: usize,
    what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Node {
    phase: Phase,
    /// What it knows to have come of the trace.
    verdict: Option<bool>,
    /// What it was told by each holder, if it is to judge the trace.
    docket: Option<[u8; 2]>,
    has_asked: bool,
    /// What it has told the owner that it sees.
    told: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    nodes: [Node; NODES],
    /// On their way, in no order.
    letters: Vec<Letter>,
    /// Messages that may still be lost or come twice.
    faults_left: u8,
    /// Whether the last span has come.
    has_last: bool,
    is_former_gone: bool,
    /// A node has kept what it dropped before.
    is_torn: bool,
    /// A node has dropped what it kept before.
    is_taken_back: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    LastSpan,
    Tell(usize),
    GiveUp(usize),
    AskAgain(usize),
    Judge(usize),
    FormerIsGone,
    Turn(usize),
    Settle,
    Deliver(Letter),
    Copy(Letter),
    Lose(Letter),
}

struct Protocol {
    change: Change,
    broken: Broken,
    hash: u64,
    /// By node and phase: its part of the cluster as the engine has it, and the time.
    minds: Vec<Vec<(Cluster, Nanos)>>,
}

fn view(change: u64, own: usize, nodes: &[usize]) -> Arc<View> {
    let member = |node: &usize| Member { node: id(*node), incarnation: Incarnation(1), shards: 1, is_leaving: false };
    Arc::new(View::new(change, id(own), nodes.iter().map(member).collect()))
}

impl Protocol {
    fn new(change: Change, broken: Broken) -> Self {
        let (before, after) = match change {
            Change::Join => (vec![FORMER, 2, 3], vec![FORMER, NEXT, 2, 3]),
            Change::Death => (vec![FORMER, NEXT, 2, 3], vec![NEXT, 2, 3]),
        };
        let owns = |nodes: &[usize], hash: u64| view(1, FORMER, nodes).owner_id(hash);
        let is_it = |hash: &u64| owns(&before, *hash) == id(FORMER) && owns(&after, *hash) == id(NEXT);
        let hash = (0..10_000u64).map(|number| number << 40).find(is_it).unwrap();
        let at = Nanos::from_millis;
        let mind = |node: usize, phase: Phase| {
            let plan = ClusterPlan {
                pipeline: 7,
                evidence_delay: at(250),
                answer_wait: at(1_000),
                hold_max: at(10_000),
                rules_wait: at(30_000),
                docket_traces_max: 10,
                message_bytes_max: 1_200,
                shed_level_max: 0,
            };
            let has_come = change == Change::Join && node == NEXT;
            let (nodes, since) = if has_come { (vec![NEXT], at(200_000)) } else { (before.clone(), at(0)) };
            let mut mind = Cluster::new(plan, view(1, node, &nodes), since);
            if phase > Phase::Before {
                mind.turn_to(at(200_000), view(2, node, &after));
            }
            (mind, at([200_000, 201_000, 203_000][phase as usize]))
        };
        let phases = [Phase::Before, Phase::Lately, Phase::Long];
        let minds = (0..NODES).map(|node| phases.map(|phase| mind(node, phase)).into()).collect();
        Self { change, broken, hash, minds }
    }

    fn mind(&self, state: &State, node: usize) -> &(Cluster, Nanos) {
        &self.minds[node][state.nodes[node].phase as usize]
    }

    fn owner(&self, state: &State, node: usize) -> usize {
        number(self.mind(state, node).0.view.owner_id(self.hash))
    }

    fn is_up(&self, state: &State, node: usize) -> bool {
        match self.change {
            Change::Join => node != NEXT || state.nodes[NEXT].phase > Phase::Before,
            Change::Death => node != FORMER || !state.is_former_gone,
        }
    }

    fn up<'a>(&'a self, state: &'a State) -> impl Iterator<Item = usize> + 'a {
        (0..NODES).filter(|node| self.is_up(state, *node))
    }

    fn who_may_remember(&self, state: &State, node: usize) -> Vec<usize> {
        let (mind, now) = self.mind(state, node);
        let asked = if self.broken == Broken::AsksNobody { Vec::new() } else { mind.who_may_remember(*now, self.hash) };
        asked.into_iter().map(number).collect()
    }

    /// Whether a holder has something to tell its owner, or would hear something if it asked.
    fn has_to_tell(&self, state: &State, holder: usize) -> bool {
        let node = &state.nodes[holder];
        let owner = &state.nodes[self.owner(state, holder)];
        let spans = spans(state, holder);
        let is_about = |letter: &Letter| match letter.what {
            What::Evidence { holder: of, .. } => of == holder,
            _ => letter.to == holder,
        };
        let is_waiting = state.letters.iter().any(is_about);
        let would_hear = owner.verdict.is_some() || owner.docket.is_none_or(|told| told[holder - 2] < spans);
        node.verdict.is_none() && (node.told < spans || (!is_waiting && would_hear))
    }

    fn may_judge(&self, state: &State, node: usize) -> bool {
        let (mind, now) = self.mind(state, node);
        let asked = self.who_may_remember(state, node);
        let is_answered = state.letters.iter().all(|letter| match letter.what {
            What::Question => letter.from != node,
            What::Ruling(_) => letter.to != node,
            What::Evidence { .. } => true,
        });
        state.nodes[node].docket.is_some()
            && !mind.stands_still(*now)
            && mind.waits_for_others(*now, self.hash).is_none()
            && (asked.is_empty() || (state.nodes[node].has_asked && is_answered))
    }

    /// A node hears a letter. Those that it writes are added.
    fn hear(&self, state: &mut State, letter: Letter) {
        let Letter { from, to: node, what } = letter;
        if !self.is_up(state, node) {
            return;
        }
        let owner = self.owner(state, node);
        match what {
            What::Evidence { is_relayed: true, .. } if owner != node => {}
            What::Evidence { holder, spans, .. } if owner != node => {
                state.send(node, owner, What::Evidence { holder, spans, is_relayed: true });
            }
            What::Evidence { holder, spans, .. } => match state.nodes[node].verdict {
                Some(is_kept) => state.send(node, holder, What::Ruling(is_kept)),
                None => {
                    let told = &mut state.nodes[node].docket.get_or_insert_default()[holder - 2];
                    *told = (*told).max(spans);
                }
            },
            What::Question => {
                if let Some(is_kept) = state.nodes[node].verdict {
                    state.send(node, from, What::Ruling(is_kept));
                }
            }
            What::Ruling(is_kept) => self.hear_ruling(state, (from, node, owner), is_kept),
        }
    }

    fn hear_ruling(&self, state: &mut State, (from, node, owner): (usize, usize, usize), is_kept: bool) {
        let (mind, now) = self.mind(state, node);
        let is_obeyed = self.broken == Broken::ObeysAnybody
            || mind.obeys(*now, id(from), (mind.view.owner_id(self.hash), self.hash));
        if !is_kept && owner != node && !is_obeyed {
            return;
        }
        if owner != node && owner != from && !mind.is_settled(*now) {
            state.send(node, owner, What::Ruling(is_kept));
        }
        let docket = state.nodes[node].docket.take();
        let has_any = HOLDERS.contains(&node) || docket.is_some();
        match state.nodes[node].verdict {
            None if has_any || is_kept => state.nodes[node].verdict = Some(is_kept),
            Some(false) if is_kept => {
                state.nodes[node].verdict = Some(true);
                state.is_torn = true;
            }
            _ => {}
        }
        if let Some(told) = docket {
            self.tell_ruling(state, (node, told), is_kept);
        }
    }

    /// Tells a keep to all, a drop to those who have spans.
    fn tell_ruling(&self, state: &mut State, (node, told): (usize, [u8; 2]), is_kept: bool) {
        let members = self.mind(state, node).0.view.members().iter().map(|member| number(member.node));
        let has_spans = |other: &usize| HOLDERS.contains(other) && told[*other - 2] > 0;
        let to: Vec<usize> = members.filter(|other| *other != node && (is_kept || has_spans(other))).collect();
        to.into_iter().for_each(|other| state.send(node, other, What::Ruling(is_kept)));
    }

    fn turn(&self, state: &mut State, node: usize) {
        state.nodes[node].phase = Phase::Lately;
        if self.mind(state, node).0.has_new_owner(self.hash) {
            state.nodes[node].told = 0;
        }
        let owner = self.owner(state, node);
        if owner == node {
            return;
        }
        for (holder, spans) in HOLDERS.into_iter().zip(state.nodes[node].docket.take().unwrap_or_default()) {
            if spans > 0 {
                state.send(node, owner, What::Evidence { holder, spans, is_relayed: true });
            }
        }
    }
}

fn spans(state: &State, holder: usize) -> u8 {
    1 + u8::from(holder == HOLDERS[1] && state.has_last)
}

impl State {
    fn send(&mut self, from: usize, to: usize, what: What) {
        let letter = Letter { from, to, what };
        // What is on its way twice may as well come twice.
        if let Err(place) = self.letters.binary_search(&letter) {
            self.letters.insert(place, letter);
        }
    }

    fn take(&mut self, letter: Letter) {
        let place = self.letters.iter().position(|other| *other == letter).unwrap();
        self.letters.remove(place);
    }
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let node = Node { phase: Phase::Before, verdict: None, docket: None, has_asked: false, told: 0 };
        let state = State {
            nodes: [node; NODES],
            letters: Vec::new(),
            faults_left: FAULTS_MAX,
            has_last: false,
            is_former_gone: false,
            is_torn: false,
            is_taken_back: false,
        };
        vec![state]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if !state.has_last {
            actions.push(Action::LastSpan);
        }
        if self.change == Change::Death && !state.is_former_gone {
            actions.push(Action::FormerIsGone);
        }
        let may_turn = match self.change {
            Change::Join => state.nodes[NEXT].phase > Phase::Before,
            Change::Death => state.is_former_gone,
        };
        let have_all_turned = self.up(state).all(|node| state.nodes[node].phase > Phase::Before);
        if have_all_turned && self.up(state).any(|node| state.nodes[node].phase == Phase::Lately) {
            actions.push(Action::Settle);
        }
        for node in 0..NODES {
            let Node { phase, .. } = state.nodes[node];
            let is_coming = self.change == Change::Join && node == NEXT;
            if phase == Phase::Before && (is_coming || (may_turn && self.is_up(state, node))) {
                actions.push(Action::Turn(node));
            }
            if !self.is_up(state, node) {
                continue;
            }
            if HOLDERS.contains(&node) && self.has_to_tell(state, node) {
                actions.push(Action::Tell(node));
            }
            let is_silent = self.broken == Broken::TakesSilenceForADrop && HOLDERS.contains(&node);
            if is_silent && state.nodes[node].verdict.is_none() && state.nodes[node].told > 0 {
                actions.push(Action::GiveUp(node));
            }
            let is_to_ask = phase == Phase::Long && state.nodes[node].docket.is_some() && !state.nodes[node].has_asked;
            if is_to_ask && !self.who_may_remember(state, node).is_empty() {
                actions.push(Action::AskAgain(node));
            }
            if self.may_judge(state, node) {
                actions.push(Action::Judge(node));
            }
        }
        for letter in state.letters.iter().copied() {
            actions.push(Action::Deliver(letter));
            if state.faults_left > 0 {
                actions.push(Action::Copy(letter));
            }
            // Of what is taken for granted nothing is lost.
            if state.faults_left > 0 && letter.what != What::Question && letter.to != NEXT {
                actions.push(Action::Lose(letter));
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::LastSpan => state.has_last = true,
            Action::FormerIsGone => state.is_former_gone = true,
            Action::Tell(holder) => {
                let (owner, spans) = (self.owner(&state, holder), spans(&state, holder));
                state.nodes[holder].told = spans;
                state.send(holder, owner, What::Evidence { holder, spans, is_relayed: false });
            }
            Action::GiveUp(holder) => state.nodes[holder].verdict = Some(false),
            Action::AskAgain(node) => {
                state.nodes[node].has_asked = true;
                for other in self.who_may_remember(&state, node) {
                    state.send(node, other, What::Question);
                }
            }
            Action::Judge(node) => {
                let told = state.nodes[node].docket.take()?;
                let is_kept = told[1] >= KEPT_WITH;
                state.nodes[node].verdict = Some(is_kept);
                self.tell_ruling(&mut state, (node, told), is_kept);
            }
            Action::Turn(node) => self.turn(&mut state, node),
            Action::Settle => self.up(last).for_each(|node| state.nodes[node].phase = Phase::Long),
            Action::Deliver(letter) => {
                state.take(letter);
                self.hear(&mut state, letter);
            }
            Action::Copy(letter) => {
                state.faults_left -= 1;
                self.hear(&mut state, letter);
            }
            Action::Lose(letter) => {
                state.faults_left -= 1;
                state.take(letter);
            }
        }
        let before = last.nodes.iter().zip(&state.nodes);
        state.is_taken_back |=
            before.into_iter().any(|(last, now)| (last.verdict, now.verdict) == (Some(true), Some(false)));
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ONE_VERDICT, |_, state: &State| {
                let [one, other] = HOLDERS.map(|holder| state.nodes[holder].verdict);
                !state.is_torn && (one.is_none() || other.is_none() || one == other)
            }),
            Property::always("a keep stays", |_, state: &State| !state.is_taken_back),
            Property::eventually("judged", |_, state: &State| {
                HOLDERS.iter().all(|holder| state.nodes[*holder].verdict.is_some())
            }),
            Property::sometimes("kept", |_, state: &State| state.nodes[HOLDERS[0]].verdict == Some(true)),
            Property::sometimes("dropped", |_, state: &State| state.nodes[HOLDERS[0]].verdict == Some(false)),
            Property::sometimes("both have judged", |_, state: &State| {
                state.nodes[FORMER].verdict.is_some() && state.nodes[NEXT].verdict.is_some()
            }),
        ]
    }
}

const ONE_VERDICT: &str = "one verdict";

/// Every order of a change. Fails when the engine obeys others than owners (`Cluster::obeys`), when a new owner asks nobody
/// (`Cluster::who_may_remember`).
#[test]
fn in_every_order_of_a_change_all_follow_one_verdict() {
    for change in [Change::Join, Change::Death] {
        let checker = Protocol::new(change, Broken::Nothing).checker().threads(2).spawn_bfs().join();
        println!("{change:?}: {} states", checker.unique_state_count());
        checker.assert_properties();
    }
}

/// The model tells right from wrong: each rule is needed.
#[test]
fn without_any_of_the_rules_there_is_an_order_that_tears_a_trace() {
    for (change, broken) in [
        (Change::Join, Broken::AsksNobody),
        (Change::Death, Broken::AsksNobody),
        (Change::Death, Broken::ObeysAnybody),
        (Change::Join, Broken::TakesSilenceForADrop),
    ] {
        let until = HasDiscoveries::AnyOf([ONE_VERDICT].into());
        let checker = Protocol::new(change, broken).checker().threads(2).finish_when(until).spawn_bfs().join();
        let path = checker.discovery(ONE_VERDICT);
        assert!(path.is_some(), "{change:?} {broken:?} tears nothing in {} states", checker.unique_state_count());
    }
}
