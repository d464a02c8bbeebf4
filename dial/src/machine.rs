//! All triggers together, and what is set by hand: from readings to the dial that is in force, step by step.
//!
//! What triggers come to by themselves is gone to in bounded steps, with a least time between them:
//!
//! ```text
//! triggers that are on --joined--> goal --a step at a time--> reached --what is set by hand over it--> wanted
//! ```
//!
//! What is set by hand holds until its time is over, whatever triggers come to; they go on below it. A lever that is set stands
//! where it was put, a trigger that is forced has its actions or has them not. Both, and what takes them back, take no steps: a
//! person knows what they want.

use crate::dial::Dial;
use crate::error::DialError;
use crate::history::{History, Reading};
use crate::lever::Lever;
use crate::signal::Signal;
use crate::trigger::{Trigger, TriggerState};
use std::collections::VecDeque;
use std::time::Duration;

/// Steps that are shown.
/// At the bound: the oldest is no longer shown; all were logged.
pub const STEPS_KEPT_MAX: usize = 64;
/// Triggers of a configuration.
/// At the bound: the configuration is refused.
pub const TRIGGERS_MAX: usize = 64;

/// What the configuration says.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    /// All is done but for what it comes to.
    pub is_dry_run: bool,
    /// The least time between two steps of a lever with degrees; zero is none, and steps without a bound.
    pub step_every: Duration,
    /// In the order of the configuration; their names differ.
    pub triggers: Vec<Trigger>,
}

/// What is set by hand.
#[derive(Debug, Clone, PartialEq)]
pub enum Setting {
    /// A lever stands where it does in that dial.
    Lever(Lever, Dial),
    /// A trigger is on, or off.
    Trigger {
        /// Its name.
        name: String,
        /// Which.
        is_on: bool,
    },
}

impl Setting {
    /// What it sets.
    #[must_use]
    pub fn subject(&self) -> String {
        match self {
            Self::Lever(lever, _) => lever.word().to_string(),
            Self::Trigger { name, .. } => format!("trigger {name}"),
        }
    }

    /// To what.
    #[must_use]
    pub fn value(&self) -> String {
        match self {
            Self::Lever(lever, dial) => dial.text(*lever),
            Self::Trigger { is_on, .. } => if *is_on { "on" } else { "off" }.to_string(),
        }
    }
}

/// Why something changed.
#[derive(Debug, Clone, PartialEq)]
pub enum Cause {
    /// A trigger came on or went off.
    Trigger {
        /// Its name.
        name: String,
        /// Whether it is on now.
        is_on: bool,
        /// Its signal.
        signal: Signal,
        /// Of which service; none is of all.
        service: Option<String>,
        /// What that came to; none where it cannot be read any more.
        value: Option<f64>,
        /// What it was compared with.
        level: f64,
    },
    /// Somebody has set it, for so long.
    Set(Setting, Duration),
    /// The time of a setting is over.
    Expired(Setting),
    /// Somebody has taken back all settings.
    Cleared,
    /// One more step on the way to what triggers have come to.
    Approached,
    /// The configuration has changed.
    Configured,
}

impl Cause {
    /// Its word.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Trigger { is_on: true, .. } => "trigger_on",
            Self::Trigger { is_on: false, .. } => "trigger_off",
            Self::Set(..) => "set",
            Self::Expired(_) => "expired",
            Self::Cleared => "cleared",
            Self::Approached => "approached",
            Self::Configured => "configured",
        }
    }

    /// Whether a person wants what triggers come to at once.
    const fn is_by_hand(&self) -> bool {
        match self {
            Self::Set(setting, _) | Self::Expired(setting) => matches!(setting, Setting::Trigger { .. }),
            Self::Cleared | Self::Configured => true,
            Self::Trigger { .. } | Self::Approached => false,
        }
    }
}

/// Something that changed, and what all came to before and after it.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// When.
    pub at: Duration,
    /// Why.
    pub cause: Cause,
    /// What was wanted before.
    pub before: Dial,
    /// What is wanted since.
    pub after: Dial,
    /// Nothing of it is done.
    pub is_dry_run: bool,
}

/// A trigger as it is shown.
#[derive(Debug, Clone, PartialEq)]
pub struct TriggerView<'a> {
    /// The trigger.
    pub trigger: &'a Trigger,
    /// The last value of its signal; none where less than a window was read.
    pub value: Option<f64>,
    /// Whether it is on by itself.
    pub is_on: bool,
    /// Whether it is on or off by hand, and until when.
    pub forced: Option<(bool, Duration)>,
    /// How often it came on.
    pub times: u64,
}

/// A setting and until when it holds.
type Manual = (Setting, Duration);

/// The triggers of a node.
#[derive(Debug, Clone, Default)]
pub struct Machine {
    plan: Plan,
    history: History,
    /// By trigger.
    states: Vec<TriggerState>,
    /// One a lever and one a trigger at most.
    manual: Vec<Manual>,
    /// What triggers come to, as far as its steps go.
    reached: Dial,
    /// When the last of these was.
    reached_at: Option<Duration>,
    wanted: Dial,
    in_force: Dial,
    steps: VecDeque<Step>,
    steps_total: u64,
}

impl Machine {
    /// Nothing was read yet, and nothing is on.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        Self { states: vec![TriggerState::default(); plan.triggers.len()], plan, ..Self::default() }
    }

    /// Has another plan from now on. What a trigger has come to stays, where it is the same.
    pub fn configure(&mut self, plan: Plan, now: Duration) {
        if plan == self.plan {
            return;
        }
        let known = |trigger: &Trigger| {
            let mut former = self.plan.triggers.iter().zip(&self.states);
            former.find(|(former, _)| *former == trigger).map(|(_, state)| *state).unwrap_or_default()
        };
        self.states = plan.triggers.iter().map(known).collect();
        self.plan = plan;
        let triggers = &self.plan.triggers;
        self.manual.retain(|(setting, _)| match setting {
            Setting::Trigger { name, .. } => triggers.iter().any(|trigger| trigger.name == *name),
            Setting::Lever(..) => true,
        });
        self.step(now, Cause::Configured);
    }

    /// Follows what was read at `now`.
    pub fn follow(&mut self, now: Duration, reading: Reading) {
        self.expire(now);
        self.history.add(now, reading);
        for position in 0..self.plan.triggers.len() {
            let (Some(trigger), Some(state)) = (self.plan.triggers.get(position), self.states.get_mut(position)) else {
                continue;
            };
            let level = if state.is_on { trigger.off } else { trigger.on };
            let value = match &trigger.service {
                Some(service) => self.history.value_of(service, trigger.signal, trigger.window),
                None => self.history.value(trigger.signal, trigger.window),
            };
            if state.follow(trigger, value, now) {
                let (name, signal, service) = (trigger.name.clone(), trigger.signal, trigger.service.clone());
                let cause = Cause::Trigger { name, is_on: state.is_on, signal, service, value, level };
                self.step(now, cause);
            }
        }
        if self.is_due(now) && self.reached != self.goal() {
            self.step(now, Cause::Approached);
        }
    }

    /// Whether a step may be taken now.
    fn is_due(&self, now: Duration) -> bool {
        self.reached_at.is_none_or(|before| now.saturating_sub(before) >= self.plan.step_every)
    }

    /// Goes towards what triggers come to.
    fn approach(&mut self, now: Duration, is_by_hand: bool) {
        let goal = self.goal();
        if self.reached == goal || !is_by_hand && !self.is_due(now) {
            return;
        }
        if is_by_hand || self.plan.step_every.is_zero() {
            self.reached = goal;
        } else {
            self.reached.approach(&goal);
        }
        self.reached_at = Some(now);
    }

    /// Lets go of settings whose time is over.
    pub fn expire(&mut self, now: Duration) {
        while let Some(position) = self.manual.iter().position(|(_, until)| *until <= now) {
            let (setting, _) = self.manual.remove(position);
            self.step(now, Cause::Expired(setting));
        }
    }

    /// Sets something by hand for a time. What was set of the same before is gone.
    ///
    /// # Errors
    /// There is no such trigger; nothing was changed.
    pub fn set(&mut self, now: Duration, setting: Setting, lasts: Duration) -> Result<(), DialError> {
        self.check(&setting)?;
        let subject = setting.subject();
        self.manual.retain(|(known, _)| known.subject() != subject);
        self.manual.push((setting.clone(), now.saturating_add(lasts)));
        self.step(now, Cause::Set(setting, lasts));
        Ok(())
    }

    /// What would be wanted if these were set now.
    ///
    /// # Errors
    /// There is no such trigger.
    pub fn preview(&self, settings: &[Setting]) -> Result<Dial, DialError> {
        let mut same = self.clone();
        for setting in settings {
            same.set(Duration::ZERO, setting.clone(), Duration::MAX)?;
        }
        Ok(same.wanted)
    }

    /// Takes back what was set by hand.
    pub fn clear(&mut self, now: Duration) {
        if !self.manual.is_empty() {
            self.manual.clear();
            self.step(now, Cause::Cleared);
        }
    }

    fn check(&self, setting: &Setting) -> Result<(), DialError> {
        match setting {
            Setting::Trigger { name, .. } if !self.plan.triggers.iter().any(|trigger| trigger.name == *name) => {
                Err(DialError::UnknownTrigger(name.clone()))
            }
            _ => Ok(()),
        }
    }

    fn step(&mut self, at: Duration, cause: Cause) {
        self.approach(at, cause.is_by_hand());
        let after = self.come_to();
        let is_dry_run = self.plan.is_dry_run;
        let before = std::mem::replace(&mut self.wanted, after.clone());
        self.in_force = if is_dry_run { Dial::default() } else { after.clone() };
        if cause == Cause::Approached && before == after {
            // Something set by hand stands over it.
            return;
        }
        self.steps_total += 1;
        if self.steps.len() >= STEPS_KEPT_MAX {
            self.steps.pop_front();
        }
        self.steps.push_back(Step { at, cause, before, after, is_dry_run });
    }

    /// What triggers come to.
    fn goal(&self) -> Dial {
        let mut dial = Dial::default();
        for view in self.triggers().filter(|view| view.forced.map_or(view.is_on, |(is_on, _)| is_on)) {
            dial.join(&view.trigger.actions);
        }
        dial
    }

    /// What is reached, with what is set by hand.
    fn come_to(&self) -> Dial {
        let mut dial = self.reached.clone();
        for (setting, _) in &self.manual {
            if let Setting::Lever(lever, other) = setting {
                dial.set(*lever, other);
            }
        }
        dial
    }

    /// What the cores are to follow.
    #[must_use]
    pub fn in_force(&self) -> &Dial {
        &self.in_force
    }

    /// What they would follow if it were no dry run.
    #[must_use]
    pub fn wanted(&self) -> &Dial {
        &self.wanted
    }

    /// Whether nothing of it is done.
    #[must_use]
    pub fn is_dry_run(&self) -> bool {
        self.plan.is_dry_run
    }

    /// How each trigger stands.
    pub fn triggers(&self) -> impl Iterator<Item = TriggerView<'_>> {
        self.plan.triggers.iter().zip(&self.states).map(|(trigger, state)| {
            let forced = self.manual.iter().find_map(|(setting, until)| match setting {
                Setting::Trigger { name, is_on } if *name == trigger.name => Some((*is_on, *until)),
                _ => None,
            });
            TriggerView { trigger, value: state.value, is_on: state.is_on, forced, times: state.times }
        })
    }

    /// What is set by hand, and until when.
    pub fn settings(&self) -> impl Iterator<Item = (&Setting, Duration)> {
        self.manual.iter().map(|(setting, until)| (setting, *until))
    }

    /// The services whose signals are watched, each once, in the order of their names.
    #[must_use]
    pub fn services(&self) -> Vec<String> {
        let mut services: Vec<String> =
            self.plan.triggers.iter().filter_map(|trigger| trigger.service.clone()).collect();
        services.sort();
        services.dedup();
        services
    }

    /// Nothing is read for now: what was read before says nothing about what comes after it.
    pub fn pause(&mut self) {
        self.history = History::default();
    }

    /// Whether there is nothing to watch, and nothing that is to end: nobody needs a reading then.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.plan.triggers.is_empty() && self.manual.is_empty() && self.reached.is_at_rest()
    }

    /// What a signal comes to over the last window, or as much of it as was read.
    #[must_use]
    pub fn lately(&self, signal: Signal, window: Duration) -> Option<f64> {
        self.history.lately(signal, window)
    }

    /// The last steps, oldest first.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter()
    }

    /// The steps after the first `before` of all; what is no longer kept is missing.
    pub fn steps_since(&self, before: u64) -> impl Iterator<Item = &Step> {
        let new = usize::try_from(self.steps_total.saturating_sub(before)).unwrap_or(usize::MAX);
        self.steps.iter().skip(self.steps.len().saturating_sub(new))
    }

    /// How many steps there were.
    #[must_use]
    pub fn steps_total(&self) -> u64 {
        self.steps_total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn trigger(name: &str, signal: Signal, actions: &[(Lever, &str)]) -> Trigger {
        let mut dial = Dial::default();
        actions.iter().for_each(|(lever, text)| dial.put(*lever, text).unwrap());
        let (on, off) = (0.8, 0.6);
        let (least_on, least_off) = (Duration::ZERO, Duration::ZERO);
        let name = name.to_string();
        Trigger { name, signal, service: None, window: SECOND, on, off, least_on, least_off, actions: dial }
    }

    fn plan() -> Plan {
        let cpu = trigger("cpu", Signal::Cpu, &[(Lever::Window, "4x"), (Lever::Budget, "0.5")]);
        let memory = trigger("memory", Signal::Memory, &[(Lever::Window, "2x"), (Lever::Mask, "strong")]);
        Plan { triggers: vec![cpu, memory], ..Plan::default() }
    }

    fn reading(cpu: f64, memory: f64) -> Reading {
        Reading { cpu: Some(cpu), memory: Some(memory), ..Reading::default() }
    }

    fn machine(plan: Plan) -> Machine {
        let mut machine = Machine::new(plan);
        machine.follow(SECOND, reading(0.0, 0.0));
        machine
    }

    fn setting(lever: Lever, text: &str) -> Setting {
        let mut dial = Dial::default();
        dial.put(lever, text).unwrap();
        Setting::Lever(lever, dial)
    }

    #[test]
    fn of_triggers_that_are_on_the_strongest_holds_and_all_is_undone_when_they_go_off() {
        let mut machine = machine(plan());
        machine.follow(2 * SECOND, reading(0.9, 0.9));
        assert_eq!(machine.in_force().to_string(), "window=4x mask=strong budget=0.5");
        machine.follow(3 * SECOND, reading(0.1, 0.9));
        assert_eq!(machine.in_force().to_string(), "window=2x mask=strong");
        machine.follow(4 * SECOND, reading(0.1, 0.1));
        assert!(machine.in_force().is_at_rest());
        let words: Vec<&str> = machine.steps().map(|step| step.cause.word()).collect();
        assert_eq!(words, ["trigger_on", "trigger_on", "trigger_off", "trigger_off"]);
        let Some(Step { cause: Cause::Trigger { value, level, signal, .. }, .. }) = machine.steps().next() else {
            panic!("no step")
        };
        assert_eq!((*signal, *value, *level), (Signal::Cpu, Some(0.9), 0.8));
    }

    #[test]
    fn levers_with_degrees_go_in_bounded_steps_and_a_person_goes_at_once() {
        let mut machine = machine(Plan { step_every: 2 * SECOND, ..plan() });
        let mut told = Vec::new();
        for second in 2..12 {
            machine.follow(second * SECOND, reading(if second < 7 { 0.9 } else { 0.1 }, 0.0));
            told.push(machine.in_force().to_string());
        }
        let (first, second, rest) = ("window=2x budget=0.5", "window=4x budget=0.5", "nothing");
        assert_eq!(told, [first, first, second, second, second, "window=2x", "window=2x", rest, rest, rest]);
        let words: Vec<&str> = machine.steps().map(|step| step.cause.word()).collect();
        assert_eq!(words, ["trigger_on", "approached", "trigger_off", "approached"]);
        let force = |is_on| Setting::Trigger { name: "cpu".to_string(), is_on };
        machine.set(12 * SECOND, force(true), SECOND).unwrap();
        assert_eq!(machine.in_force().to_string(), second);
        machine.follow(13 * SECOND, reading(0.1, 0.0));
        assert_eq!(machine.in_force().to_string(), rest, "it was forced, and is no longer");
    }

    #[test]
    fn what_is_set_by_hand_holds_until_its_time_is_over() {
        let mut machine = machine(plan());
        machine.follow(2 * SECOND, reading(0.9, 0.1));
        machine.set(2 * SECOND, setting(Lever::Window, "2x"), 3 * SECOND).unwrap();
        assert_eq!(machine.in_force().to_string(), "window=2x budget=0.5", "not the strongest: it was set");
        machine.set(2 * SECOND, Setting::Trigger { name: "memory".to_string(), is_on: true }, 2 * SECOND).unwrap();
        machine.set(2 * SECOND, Setting::Trigger { name: "cpu".to_string(), is_on: false }, 9 * SECOND).unwrap();
        assert_eq!(machine.in_force().to_string(), "window=2x mask=strong");
        machine.follow(4 * SECOND, reading(0.9, 0.1));
        assert_eq!(machine.in_force().to_string(), "window=2x");
        machine.follow(5 * SECOND, reading(0.9, 0.1));
        assert!(machine.in_force().is_at_rest());
        // The trigger went on below.
        machine.clear(6 * SECOND);
        assert_eq!(machine.in_force().to_string(), "window=4x budget=0.5");
        let unknown = machine.set(6 * SECOND, Setting::Trigger { name: "no".to_string(), is_on: true }, SECOND);
        assert_eq!(unknown, Err(DialError::UnknownTrigger("no".to_string())));
    }

    #[test]
    fn a_dry_run_does_all_but_act() {
        let mut machine = machine(Plan { is_dry_run: true, ..plan() });
        machine.follow(2 * SECOND, reading(0.9, 0.9));
        assert!(machine.in_force().is_at_rest());
        assert_eq!(machine.wanted().to_string(), "window=4x mask=strong budget=0.5");
        assert!(machine.steps().all(|step| step.is_dry_run));
        let before = machine.steps_total();
        let preview = machine.preview(&[setting(Lever::Budget, "0.1"), setting(Lever::Mask, "usual")]);
        assert_eq!(preview.unwrap().to_string(), "window=4x budget=0.1");
        assert_eq!((machine.steps_total(), machine.settings().count()), (before, 0));
        // In force as soon as it is none any more.
        machine.configure(plan(), 3 * SECOND);
        assert_eq!(machine.in_force().to_string(), "window=4x mask=strong budget=0.5");
    }

    #[test]
    fn triggers_that_stay_keep_their_state_in_another_plan() {
        let mut machine = machine(plan());
        machine.follow(2 * SECOND, reading(0.9, 0.9));
        machine.set(2 * SECOND, Setting::Trigger { name: "memory".to_string(), is_on: false }, 9 * SECOND).unwrap();
        let mut other = plan();
        other.triggers.pop();
        machine.configure(other, 3 * SECOND);
        assert_eq!(machine.in_force().to_string(), "window=4x budget=0.5");
        assert_eq!(machine.settings().count(), 0, "of a trigger that is gone");
        machine.configure(Plan::default(), 3 * SECOND);
        assert!(machine.in_force().is_at_rest());
        let total = machine.steps_total();
        machine.configure(Plan::default(), 4 * SECOND);
        assert_eq!((machine.steps_total(), machine.steps_since(total).count()), (total, 0), "nothing has changed");
        assert_eq!(machine.steps_since(total - 1).count(), 1);
    }
}
