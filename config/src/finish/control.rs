//! The checks of when a node does less: what triggers name must be there.

use super::Checks;
use crate::draft::Draft;
use crate::problem::shown;
use crate::sampling::Thresholds;
use crate::settings::{Ack, ControlPreset};
use tailwater_dial::{Dial, Lever, Signal};

/// Checks the keys of `control`.
pub(super) fn control(draft: &mut Draft, checks: &mut Checks<'_>) {
    const KEY: &str = "control.triggers";
    let level = draft.config.ack;
    let is_logged =
        draft.listeners().any(|listener| listener.enabled && listener.ack.unwrap_or(level) != Ack::Received);
    let says = draft.config.samplings().any(|(_, sampling)| sampling.thresholds == Thresholds::Otep235);
    let (control, summaries) = (&draft.config.control, &draft.config.summaries);
    for trigger in &control.triggers {
        let name = &trigger.name;
        if ControlPreset::HighLoad.triggers().iter().any(|known| known.name == *name) {
            let remedy = "give it another";
            checks.refuse(KEY, Some(shown(name)), "is the name of a trigger of `control.preset`", remedy);
        }
        let metrics = &summaries.span_metrics;
        if let Some(unknown) = trigger.actions.drop_dimensions.iter().find(|name| !metrics.tells_apart(name)) {
            let cause = "tells no series of `summaries.span_metrics` apart";
            let remedy = "name one of its dimensions or resource_attributes, or write *";
            checks.refuse(KEY, Some(shown(unknown)), cause, remedy);
        }
        if trigger.signal == Signal::LogBytes && !is_logged {
            checks.note(KEY, format!("`{name}` watches the log, and there is none: it never comes on"));
        }
        for lever in idle(&trigger.actions, (summaries.span_metrics.enabled, summaries.log_patterns.enabled), says) {
            let cause = match lever {
                Lever::Budget | Lever::Percentage => "no pipeline says thresholds",
                _ => "nothing of that kind is summed up",
            };
            checks.note(KEY, format!("`{}` of `{name}` has no effect: {cause}", lever.word()));
        }
    }
}

/// The levers that are turned for nothing.
fn idle(dial: &Dial, (has_spans, has_patterns): (bool, bool), says_thresholds: bool) -> Vec<Lever> {
    let rest = Dial::default();
    let is_idle = |lever: &Lever| match lever {
        Lever::DropDimensions => !has_spans,
        Lever::Mask => !has_patterns,
        Lever::Budget | Lever::Percentage => !says_thresholds,
        Lever::Window => false,
    };
    dial.differing(&rest).filter(is_idle).collect()
}
