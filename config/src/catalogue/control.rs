//! The knobs of when a node does less: `control.` in the file.

use super::{Key, Kind, Slot};
use crate::draft::Draft;
use crate::settings::ControlPreset;
use std::time::Duration;

/// The knobs in the order of the reference page.
pub(super) const KEYS: &[Key<Draft>] = &[
    Key::<Draft>::new(
        "control.dry_run",
        Kind::Bool,
        |d| Slot::Bool(&mut d.config.control.dry_run),
        "Watch signals, follow triggers, log and show every step, and do nothing of it.",
    ),
    Key::<Draft>::new(
        "control.step_interval",
        Kind::Duration { min: Duration::ZERO, max: Duration::from_secs(3600) },
        |d| Slot::Duration(&mut d.config.control.step_interval),
        "The least time between two steps of actions with degrees: `window`, `budget` and `percentage` at most double or halve in each, on the way there and back. `0` goes there at once.",
    ),
    Key::<Draft>::new(
        "control.preset",
        Kind::Choice(ControlPreset::CHOICES),
        |d| Slot::Choice(&mut d.config.control.preset),
        "Triggers that are known by a name. `high_load`: while `cpu` or `memory` is at 0.85 or more, and until it is at 0.6 or less, windows of summaries are 4 times as long, span metrics are without further `dimensions`, and log patterns are coarser.",
    ),
    Key::<Draft>::new(
        "control.triggers",
        Kind::Triggers,
        |d| Slot::Triggers(&mut d.config.control.triggers),
        "When the node does less, and what: `{name, signal, service, window: 30s, on, off, for: 10s, hold: 1m, actions: {window: 4x, drop_dimensions: [name], mask: strong, budget: 0.5, percentage: 0.5}}`. Of several that are on the strongest holds, action by action. See [control.md](control.md).",
    ),
];
