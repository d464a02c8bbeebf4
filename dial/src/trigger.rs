//! A trigger: on while a signal is past a level. Between the levels for on and off it stays as it is, and neither is followed
//! before it has held for long enough, so that what goes up and down does not make it flap.
//!
//! ```text
//!            value past `on` for `least_on`                 +----+
//!   off -----------------------------------------> on ----->|    | value past `off` for `least_off`: off again
//! ```

use crate::dial::Dial;
use crate::error::DialError;
use crate::signal::Signal;
use std::time::Duration;

/// The longest window of a signal: readings of longer ago are not kept.
/// At the bound: the configuration is refused.
pub const WINDOW_MAX: Duration = Duration::from_secs(600);
/// The longest time that a level has to hold.
/// At the bound: the configuration is refused.
const HOLD_MAX: Duration = Duration::from_secs(86_400);
/// Services that triggers may name.
/// At the bound: the configuration is refused.
pub const SERVICES_MAX: usize = 32;
/// Bytes of the name of a service.
/// At the bound: the configuration is refused.
const SERVICE_BYTES_MAX: usize = 256;
/// Bytes of a name.
/// At the bound: the configuration is refused.
const NAME_BYTES_MAX: usize = 64;

/// When something is done, and what.
#[derive(Debug, Clone, PartialEq)]
pub struct Trigger {
    /// What it is called.
    pub name: String,
    /// What it watches.
    pub signal: Signal,
    /// Of which service; none is of all.
    pub service: Option<String>,
    /// Over how long.
    pub window: Duration,
    /// It comes on at this value or past it.
    pub on: f64,
    /// It goes off at this value or past it, on the other side. Where this is above `on`, it is a trigger for low values.
    pub off: f64,
    /// How long the value is past `on` before it comes on.
    pub least_on: Duration,
    /// How long the value is past `off` before it goes off.
    pub least_off: Duration,
    /// What is done while it is on.
    pub actions: Dial,
}

impl Trigger {
    /// Says what is wrong with it.
    ///
    /// # Errors
    /// The first of what is wrong.
    pub fn check(&self) -> Result<(), DialError> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b' ');
        if self.name.is_empty() || self.name.len() > NAME_BYTES_MAX || !self.name.bytes().all(is_plain) {
            return Err(DialError::Name);
        }
        let is_service = |name: &String| {
            let is_plain = !name.chars().any(char::is_control);
            self.signal.is_by_service() && is_plain && (1..=SERVICE_BYTES_MAX).contains(&name.len())
        };
        if !self.service.as_ref().is_none_or(is_service) {
            return Err(DialError::Service);
        }
        for level in [self.on, self.off] {
            let most = if self.signal.is_part() { 1.0 } else { f64::MAX };
            if !(level.is_finite() && (0.0..=most).contains(&level)) {
                return Err(DialError::Level(level));
            }
        }
        if self.on == self.off {
            return Err(DialError::NoHysteresis);
        }
        if !(Duration::from_secs(1)..=WINDOW_MAX).contains(&self.window) {
            return Err(DialError::Window);
        }
        if self.least_on.max(self.least_off) > HOLD_MAX {
            return Err(DialError::Time);
        }
        if self.actions.is_at_rest() { Err(DialError::NoActions) } else { Ok(()) }
    }

    /// Whether it is for high values.
    fn is_for_high(&self) -> bool {
        self.on > self.off
    }

    fn is_past_on(&self, value: f64) -> bool {
        if self.is_for_high() { value >= self.on } else { value <= self.on }
    }

    fn is_past_off(&self, value: f64) -> bool {
        if self.is_for_high() { value <= self.off } else { value >= self.off }
    }
}

/// How a trigger stands.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct TriggerState {
    pub(crate) is_on: bool,
    /// Since when the value has been past the level that would change it.
    past_since: Option<Duration>,
    /// The last value.
    pub(crate) value: Option<f64>,
    /// How often it came on.
    pub(crate) times: u64,
}

impl TriggerState {
    /// Follows the value of its signal. True if it came on or went off.
    pub(crate) fn follow(&mut self, trigger: &Trigger, value: Option<f64>, now: Duration) -> bool {
        self.value = value;
        // What cannot be read any more is no reason to stay on.
        let is_past = if self.is_on {
            value.is_none_or(|value| trigger.is_past_off(value))
        } else {
            value.is_some_and(|value| trigger.is_past_on(value))
        };
        if !is_past {
            self.past_since = None;
            return false;
        }
        let since = *self.past_since.get_or_insert(now);
        let least = if self.is_on { trigger.least_off } else { trigger.least_on };
        if now.saturating_sub(since) < least {
            return false;
        }
        self.is_on = !self.is_on;
        self.past_since = None;
        self.times += u64::from(self.is_on);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lever::Lever;

    fn trigger(on: f64, off: f64) -> Trigger {
        let mut actions = Dial::default();
        actions.put(Lever::Window, "4x").unwrap();
        Trigger {
            name: "busy".to_string(),
            signal: Signal::Cpu,
            service: None,
            window: Duration::from_secs(30),
            on,
            off,
            least_on: Duration::from_secs(10),
            least_off: Duration::from_secs(60),
            actions,
        }
    }

    /// Where `follow` says that it changed, of a value each second.
    fn changes(trigger: &Trigger, values: impl IntoIterator<Item = f64>) -> Vec<usize> {
        let mut state = TriggerState::default();
        let values = values.into_iter().enumerate();
        let changed =
            values.filter(|(second, value)| state.follow(trigger, Some(*value), Duration::from_secs(*second as u64)));
        changed.map(|(second, _)| second).collect()
    }

    #[test]
    fn it_comes_on_after_its_time_and_goes_off_after_its_time() {
        let busy = trigger(0.8, 0.6);
        let load = [vec![0.9; 20], vec![0.5; 70]].concat();
        assert_eq!(changes(&busy, load), [10, 80]);
        // Not without a break.
        assert_eq!(changes(&busy, [vec![0.9; 10], vec![0.7], vec![0.9; 10]].concat()), [0; 0]);
        let dips = [vec![0.9; 20], vec![0.5; 59], vec![0.7], vec![0.5; 59]].concat();
        assert_eq!(changes(&busy, dips), [10]);
    }

    #[test]
    fn what_swings_around_one_level_makes_one_step() {
        let busy = Trigger { least_on: Duration::ZERO, least_off: Duration::ZERO, ..trigger(0.8, 0.6) };
        assert_eq!(changes(&busy, (0..1000).map(|second| if second % 2 == 0 { 0.79 } else { 0.81 })), [1]);
        assert_eq!(changes(&busy, (0..1000).map(|second| if second % 2 == 0 { 0.81 } else { 0.61 })), [0]);
    }

    #[test]
    fn low_values_can_be_watched_too() {
        let quiet = Trigger { signal: Signal::ArrivalRate, ..trigger(10.0, 100.0) };
        assert_eq!(changes(&quiet, [vec![5.0; 11], vec![50.0; 100], vec![100.0; 61]].concat()), [10, 171]);
    }

    #[test]
    fn a_signal_that_is_gone_lets_it_go_off() {
        let busy = trigger(0.8, 0.6);
        let mut state = TriggerState { is_on: true, ..TriggerState::default() };
        assert!(!state.follow(&busy, None, Duration::from_secs(1)));
        assert!(state.follow(&busy, None, Duration::from_secs(61)));
        assert!(!state.follow(&busy, None, Duration::from_secs(600)), "nothing brings it on");
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(trigger(0.8, 0.6).check(), Ok(()));
        assert_eq!(trigger(0.8, 0.8).check(), Err(DialError::NoHysteresis));
        assert_eq!(trigger(1.2, 0.8).check(), Err(DialError::Level(1.2)));
        assert_eq!(Trigger { signal: Signal::QueueAge, ..trigger(1.2, 0.8) }.check(), Ok(()));
        assert!(trigger(f64::NAN, 0.8).check().is_err());
        assert_eq!(Trigger { name: String::new(), ..trigger(0.8, 0.6) }.check(), Err(DialError::Name));
        let of = |signal, service: &str| Trigger { signal, service: Some(service.to_string()), ..trigger(0.8, 0.6) };
        assert_eq!(of(Signal::ErrorRatio, "shop").check(), Ok(()));
        assert_eq!(of(Signal::Cpu, "shop").check(), Err(DialError::Service));
        assert_eq!(of(Signal::ErrorRatio, "").check(), Err(DialError::Service));
        assert_eq!(Trigger { actions: Dial::default(), ..trigger(0.8, 0.6) }.check(), Err(DialError::NoActions));
        for window in [Duration::from_millis(999), Duration::from_secs(601)] {
            assert_eq!(Trigger { window, ..trigger(0.8, 0.6) }.check(), Err(DialError::Window));
        }
        let least_off = Duration::from_secs(86_401);
        assert_eq!(Trigger { least_off, ..trigger(0.8, 0.6) }.check(), Err(DialError::Time));
    }
}
