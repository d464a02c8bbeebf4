//! What the admin endpoint shows of control, as JSON.

use serde_json::{Map, Value, json};
use std::time::Duration;
use tailwater_dial::{Cause, Dial, Lever, Machine, Signal, Step, TriggerView};

/// The window over which signals are shown that have no trigger.
pub const SHOWN_WINDOW: Duration = Duration::from_secs(30);

/// All of it.
pub(super) fn all(machine: &Machine, now: Duration, unix_nano: u64) -> Value {
    let left = |until: Duration| until.saturating_sub(now).as_secs_f64();
    let signals: Map<String, Value> = Signal::ALL
        .into_iter()
        .map(|signal| (signal.word().to_string(), machine.lately(signal, SHOWN_WINDOW).into()))
        .collect();
    let settings = machine.settings().map(
        |(setting, until)| json!({ "set": setting.subject(), "to": setting.value(), "seconds_left": left(until) }),
    );
    let unix = |at: Duration| {
        let ago = now.saturating_sub(at);
        Duration::from_nanos(unix_nano).saturating_sub(ago).as_secs_f64()
    };
    json!({
        "dry_run": machine.is_dry_run(),
        "in_force": dial(machine.in_force()),
        "wanted": dial(machine.wanted()),
        "signals": { "window_seconds": SHOWN_WINDOW.as_secs(), "values": signals },
        "triggers": machine.triggers().map(|view| trigger(&view, left)).collect::<Vec<_>>(),
        "set_by_hand": settings.collect::<Vec<_>>(),
        "steps": machine.steps().map(|one| step(one, unix)).collect::<Vec<_>>(),
        "steps_total": machine.steps_total(),
    })
}

/// Where all levers stand.
pub(super) fn dial(dial: &Dial) -> Value {
    json!({
        "window": dial.window,
        "drop_dimensions": dial.drop_dimensions,
        "mask": dial.text(Lever::Mask),
        "budget": dial.budget,
        "percentage": dial.percentage,
    })
}

fn word(is_on: bool) -> &'static str {
    if is_on { "on" } else { "off" }
}

fn trigger(view: &TriggerView<'_>, left: impl Fn(Duration) -> f64) -> Value {
    let one = view.trigger;
    json!({
        "name": one.name,
        "signal": one.signal.word(),
        "service": one.service,
        "window_seconds": one.window.as_secs_f64(),
        "on": one.on,
        "off": one.off,
        "for_seconds": one.least_on.as_secs_f64(),
        "hold_seconds": one.least_off.as_secs_f64(),
        "actions": one.actions.to_string(),
        "value": view.value,
        "state": word(view.is_on),
        "by_hand": view.forced.map(|(is_on, until)| json!({ "state": word(is_on), "seconds_left": left(until) })),
        "times_on": view.times,
    })
}

fn step(step: &Step, unix: impl Fn(Duration) -> f64) -> Value {
    let mut said = json!({
        "unix_seconds": unix(step.at),
        "cause": step.cause.word(),
        "before": step.before.to_string(),
        "after": step.after.to_string(),
        "dry_run": step.is_dry_run,
    });
    match &step.cause {
        Cause::Trigger { name, signal, service, value, level, .. } => {
            said["trigger"] = name.as_str().into();
            said["signal"] = signal.word().into();
            said["service"] = service.as_deref().into();
            said["value"] = (*value).into();
            said["level"] = (*level).into();
        }
        Cause::Set(setting, lasts) => {
            said["set"] = setting.subject().into();
            said["to"] = setting.value().into();
            said["seconds"] = lasts.as_secs_f64().into();
        }
        Cause::Expired(setting) => said["set"] = setting.subject().into(),
        Cause::Cleared | Cause::Approached | Cause::Configured => {}
    }
    said
}
