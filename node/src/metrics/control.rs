//! Metrics of control: signals, triggers, and what is in force.

use super::{Page, Type, number};
use crate::dial::SHOWN_WINDOW;
use tailwater_dial::{Lever, Machine, Signal};

pub(super) fn control(page: &mut Page, machine: &Machine) {
    let help = "What each signal of control came to over the last 30 seconds.";
    let values = Signal::ALL.into_iter().filter_map(|signal| {
        let value = machine.lately(signal, SHOWN_WINDOW)?;
        Some((vec![("signal", signal.word().to_string())], value))
    });
    page.family("tailwater_control_signal", Type::Gauge, help, values);
    let help = "1 while the trigger is on, by itself or by hand.";
    let triggers = machine.triggers().map(|view| {
        let is_on = view.forced.map_or(view.is_on, |(is_on, _)| is_on);
        (vec![("trigger", view.trigger.name.clone())], f64::from(u8::from(is_on)))
    });
    page.family("tailwater_control_trigger_on", Type::Gauge, help, triggers);
    let help = "What the signal of the trigger came to over its window.";
    let values =
        machine.triggers().filter_map(|view| Some((vec![("trigger", view.trigger.name.clone())], view.value?)));
    page.family("tailwater_control_trigger_value", Type::Gauge, help, values);
    let help = "Where each action stands: the factor of windows, attributes that are left out, 1 for strong masks, what is left of budgets and of percentages.";
    let levels = Lever::ALL.map(|lever| (vec![("action", lever.word().to_string())], machine.in_force().level(lever)));
    page.family("tailwater_control_level", Type::Gauge, help, levels);
    let help = "Steps of control: triggers that came on or went off, what was set or ended by hand, and steps on the way there.";
    page.single("tailwater_control_steps_total", Type::Counter, help, number(machine.steps_total()));
}
