//! When a node does less, and what.

use std::time::Duration;

use super::SpanMetrics;
use crate::choices::choices;
use tailwater_dial::{Dial, Plan, Signal, Trigger};

choices! {
    /// Triggers that are known by a name.
    ControlPreset {
        /// None of them.
        #[default]
        None = "none",
        /// Under high load summaries are coarser.
        HighLoad = "high_load",
    }
}

/// When a node does less.
#[derive(Debug, Clone, PartialEq)]
pub struct Control {
    /// All is watched and told, and nothing is done.
    pub dry_run: bool,
    /// The least time between two steps of a lever with degrees.
    pub step_interval: Duration,
    /// Triggers that are known by a name.
    pub preset: ControlPreset,
    /// Triggers besides.
    pub triggers: Vec<Trigger>,
}

/// Long enough that what a step has saved can be seen before the next, short enough that a few steps are a minute.
const STEP_INTERVAL: Duration = Duration::from_secs(10);

impl Default for Control {
    fn default() -> Self {
        Self { dry_run: false, step_interval: STEP_INTERVAL, preset: ControlPreset::default(), triggers: Vec::new() }
    }
}

impl ControlPreset {
    /// What it stands for.
    #[must_use]
    pub fn triggers(self) -> Vec<Trigger> {
        if self == Self::None {
            return Vec::new();
        }
        let trigger = |name: &str, signal| Trigger {
            name: name.to_string(),
            signal,
            service: None,
            window: Duration::from_secs(30),
            on: 0.85,
            off: 0.6,
            least_on: Duration::from_secs(10),
            least_off: Duration::from_secs(60),
            actions: Dial {
                window: 4,
                drop_dimensions: vec!["*".to_string()],
                has_strong_masks: true,
                ..Dial::default()
            },
        };
        vec![trigger("high_load.cpu", Signal::Cpu), trigger("high_load.memory", Signal::Memory)]
    }
}

impl SpanMetrics {
    /// Whether an attribute may tell series apart; `*` is all further dimensions.
    #[must_use]
    pub fn tells_apart(&self, name: &str) -> bool {
        let is_named = |text: &String| text.split_once('=').map_or(text.as_str(), |(name, _)| name) == name;
        name == "*"
            || Self::STANDARD.contains(&name)
            || self.dimensions.iter().any(is_named)
            || self.resource_attributes.iter().any(|attribute| attribute == name || attribute == "*")
    }
}

impl Control {
    /// All triggers: those of the preset, then those that are written.
    #[must_use]
    pub fn plan(&self) -> Plan {
        let mut triggers = self.preset.triggers();
        triggers.extend(self.triggers.iter().cloned());
        Plan { is_dry_run: self.dry_run, step_every: self.step_interval, triggers }
    }
}
