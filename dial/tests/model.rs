//! Triggers and settings against a model that looks at all that ever happened, in any order of events.
#![allow(clippy::expect_used, clippy::cast_possible_truncation, clippy::cast_precision_loss)]

use proptest::prelude::*;
use std::time::Duration;
use tailwater_dial::{Dial, Lever, Machine, Plan, Reading, Setting, Signal, Trigger};

fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

fn dial(lever: Lever, text: &str) -> Dial {
    let mut dial = Dial::default();
    dial.put(lever, text).expect("a value");
    dial
}

fn trigger(name: &str, signal: Signal, (least_on, least_off): (u64, u64), actions: Dial) -> Trigger {
    Trigger {
        name: name.to_string(),
        signal,
        service: None,
        window: seconds(1),
        on: 0.75,
        off: 0.5,
        least_on: seconds(least_on),
        least_off: seconds(least_off),
        actions,
    }
}

/// Whether a trigger is on after the last of these values, one a second: from the definition, without a state between them.
fn is_on(trigger: &Trigger, values: &[f64]) -> bool {
    let (mut on, mut changed) = (false, 0);
    for at in 0..values.len() {
        let least = if on { trigger.least_off } else { trigger.least_on }.as_secs() as usize;
        let Some(begin) = at.checked_sub(least).filter(|begin| *begin >= changed) else { continue };
        let held = &values[begin..=at];
        let is_past = if on {
            held.iter().all(|value| *value <= trigger.off)
        } else {
            held.iter().all(|value| *value >= trigger.on)
        };
        if is_past {
            (on, changed) = (!on, at + 1);
        }
    }
    on
}

/// What may happen in a second besides a reading.
#[derive(Debug, Clone)]
enum Event {
    Nothing,
    Lever(Lever, &'static str, u64),
    Force(usize, bool, u64),
    Clear,
}

fn events() -> impl Strategy<Value = Event> {
    let levers = [
        (Lever::Window, "1x"),
        (Lever::Window, "8x"),
        (Lever::Budget, "0.25"),
        (Lever::Mask, "usual"),
        (Lever::Mask, "strong"),
        (Lever::DropDimensions, "c"),
    ];
    prop_oneof![
        6 => Just(Event::Nothing),
        2 => (prop::sample::select(levers.to_vec()), 1..12_u64).prop_map(|((lever, text), ttl)| Event::Lever(lever, text, ttl)),
        2 => (0..2_usize, any::<bool>(), 1..12_u64).prop_map(|(which, on, ttl)| Event::Force(which, on, ttl)),
        1 => Just(Event::Clear),
    ]
}

fn levels() -> impl Strategy<Value = f64> {
    prop::sample::select(vec![0.0, 0.5, 0.51, 0.6, 0.74, 0.75, 0.9])
}

proptest! {
    /// Breaks if a trigger forgets how long a level has held, or follows one that has not (`TriggerState::follow`).
    #[test]
    fn a_trigger_is_on_as_the_definition_says(
        values in prop::collection::vec(levels(), 1..120),
        least_on in 0..4_u64,
        least_off in 0..8_u64,
    ) {
        let busy = trigger("busy", Signal::Cpu, (least_on, least_off), dial(Lever::Window, "4x"));
        let mut machine = Machine::new(Plan { triggers: vec![busy.clone()], ..Plan::default() });
        machine.follow(seconds(9), Reading::default());
        for (at, value) in values.iter().enumerate() {
            machine.follow(seconds(10 + at as u64), Reading { cpu: Some(*value), ..Reading::default() });
            let expected = is_on(&busy, &values[..=at]);
            prop_assert_eq!(machine.triggers().next().map(|view| view.is_on), Some(expected), "second {}", at);
            prop_assert_eq!(machine.in_force().is_at_rest(), !expected);
        }
    }

    /// Breaks if what is in force depends on the order in which triggers and hands came to it (`Machine::come_to`).
    #[test]
    fn what_is_in_force_follows_from_what_is_on_and_what_is_set(
        story in prop::collection::vec((levels(), levels(), events()), 1..60),
    ) {
        let actions = {
            let mut both = dial(Lever::Window, "4x");
            both.join(&dial(Lever::DropDimensions, "a,b"));
            both
        };
        let other = {
            let mut both = dial(Lever::Budget, "0.5");
            both.join(&dial(Lever::DropDimensions, "b,z"));
            both
        };
        let triggers = vec![trigger("one", Signal::Cpu, (1, 2), actions), trigger("two", Signal::Memory, (0, 3), other)];
        let mut machine = Machine::new(Plan { triggers: triggers.clone(), ..Plan::default() });
        machine.follow(seconds(9), Reading::default());
        let mut set: Vec<(String, Setting, u64)> = Vec::new();
        let (mut of_one, mut of_two) = (Vec::new(), Vec::new());
        for (at, (one, two, event)) in story.iter().enumerate() {
            let now = 10 + at as u64;
            let reading = Reading { cpu: Some(*one), memory: Some(*two), ..Reading::default() };
            machine.follow(seconds(now), reading);
            of_one.push(*one);
            of_two.push(*two);
            set.retain(|(_, _, until)| *until > now);
            let setting = match event {
                Event::Nothing => None,
                Event::Clear => {
                    machine.clear(seconds(now));
                    set.clear();
                    None
                }
                Event::Lever(lever, text, ttl) => Some((Setting::Lever(*lever, dial(*lever, text)), *ttl)),
                Event::Force(which, is_on, ttl) => {
                    Some((Setting::Trigger { name: triggers[*which].name.clone(), is_on: *is_on }, *ttl))
                }
            };
            if let Some((setting, ttl)) = setting {
                machine.set(seconds(now), setting.clone(), seconds(ttl)).expect("a trigger");
                set.retain(|(subject, _, _)| *subject != setting.subject());
                set.push((setting.subject(), setting, now + ttl));
            }
            let forced = |name: &str| set.iter().find_map(|(_, setting, _)| match setting {
                Setting::Trigger { name: known, is_on } if known == name => Some(*is_on),
                _ => None,
            });
            let mut expected = Dial::default();
            // In the other order than the machine has them.
            for (trigger, values) in [(&triggers[1], &of_two), (&triggers[0], &of_one)] {
                if forced(&trigger.name).unwrap_or_else(|| is_on(trigger, values)) {
                    expected.join(&trigger.actions);
                }
            }
            for (_, setting, _) in set.iter().rev() {
                if let Setting::Lever(lever, other) = setting {
                    expected.set(*lever, other);
                }
            }
            prop_assert_eq!(machine.in_force(), &expected, "second {}", at);
        }
        // All of it can be taken back.
        let end = seconds(10 + story.len() as u64);
        machine.clear(end);
        for second in 0..10 {
            machine.follow(end + seconds(second), Reading { cpu: Some(0.0), memory: Some(0.0), ..Reading::default() });
        }
        prop_assert!(machine.in_force().is_at_rest());
    }
}
