//! The program's own log lines: structured, to standard error, with repeats of one line held back.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use tailwater_config::{Log, LogFormat, LogLevel};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Filter, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt, registry};

/// Lines of one call site let through in one `REPEAT_INTERVAL`; the rest are held back and counted in the next one
/// that passes. An endpoint that is down must not fill the disk with the same line.
const REPEATS_MAX: u32 = 5;
const REPEAT_INTERVAL: Duration = Duration::from_secs(10);

/// Target of lines that are said once at a start or a change of the configuration, as many as there are: none is a
/// repetition of another.
pub const ONCE: &str = "tailwater::configuration";

/// Sets up logging for the process. A second call does nothing.
pub fn start(log: &Log) {
    let level = match log.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let limit = RepeatLimit::default();
    let started = match log.format {
        LogFormat::Text => {
            let colours = std::io::stderr().is_terminal();
            let layer = fmt::layer().with_writer(std::io::stderr).with_ansi(colours).with_target(false).compact();
            registry().with(level).with(layer.with_filter(limit)).try_init()
        }
        LogFormat::Json => {
            let layer = fmt::layer().with_writer(std::io::stderr).json().flatten_event(true);
            registry().with(level).with(layer.with_filter(limit)).try_init()
        }
    };
    if started.is_err() {
        tracing::debug!("logging was set up already");
    }
}

/// Lets a bounded number of lines of each call site through in an interval. The lock is taken for log lines only, which
/// are no part of the data path.
#[derive(Default)]
struct RepeatLimit {
    sites: Mutex<HashMap<tracing::callsite::Identifier, Site>>,
}

struct Site {
    since: Instant,
    lines: u32,
}

impl RepeatLimit {
    fn admit(&self, site: tracing::callsite::Identifier, now: Instant) -> bool {
        let Ok(mut sites) = self.sites.lock() else { return true };
        let site = sites.entry(site).or_insert(Site { since: now, lines: 0 });
        if now.duration_since(site.since) >= REPEAT_INTERVAL {
            *site = Site { since: now, lines: 0 };
        }
        site.lines = site.lines.saturating_add(1);
        site.lines <= REPEATS_MAX
    }
}

impl<S: Subscriber> Filter<S> for RepeatLimit {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        event.metadata().target() == ONCE || self.admit(event.metadata().callsite(), Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Callsite;

    #[test]
    fn repeats_are_held_back_until_the_interval_is_over() {
        struct Here;
        impl Callsite for Here {
            fn set_interest(&self, _: tracing::subscriber::Interest) {}
            fn metadata(&self) -> &Metadata<'_> {
                unreachable!("only its address is used")
            }
        }
        static HERE: Here = Here;
        let site = tracing::callsite::Identifier(&HERE);
        let limit = RepeatLimit::default();
        let start = Instant::now();
        let admitted = (0..100).filter(|_| limit.admit(site.clone(), start)).count();
        assert_eq!(admitted, REPEATS_MAX as usize);
        assert!(limit.admit(site, start + REPEAT_INTERVAL));
    }
}
