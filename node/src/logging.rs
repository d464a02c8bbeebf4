//! The program's own log lines: structured, to standard error, with repeats of one line held back. What is held back is
//! counted, and told by the next line of its kind.

use std::collections::HashMap;
use std::fmt::{Debug, Write as _};
use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tailwater_config::{Log, LogFormat, LogLevel};
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::{Context, Filter, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt, registry};

/// Lines of one call site let through in one `REPEAT_INTERVAL`. An endpoint that is down must not fill the disk with
/// the same line.
/// At the bound: the line is held back, and the next one that passes tells how many were; counted in
/// `tailwater_log_lines_held_back_total`.
const REPEATS_MAX: u32 = 5;
const REPEAT_INTERVAL: Duration = Duration::from_secs(10);
/// Of what a sender does wrong, one line of each kind and sender in one of these: it does the same with each request.
/// At the bound: the line is held back, and told by the next; counted in `tailwater_log_lines_held_back_total`.
const SENDER_INTERVAL: Duration = Duration::from_secs(60);
/// Senders told apart. An attacker has as many addresses as it likes.
/// At the bound: further senders count as one.
const SENDERS_MAX: usize = 4096;

/// Lines held back since the start.
static HELD_BACK: AtomicU64 = AtomicU64::new(0);

/// Lines held back since the start.
pub fn held_back() -> u64 {
    HELD_BACK.load(Ordering::Relaxed)
}

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
    let limit = Arc::new(RepeatLimit::default());
    let started = match log.format {
        LogFormat::Text => {
            let colours = std::io::stderr().is_terminal();
            let lines = fmt::format().with_ansi(colours).with_target(false).compact();
            let lines = Counted { lines, limit: limit.clone(), is_json: false };
            let layer = fmt::layer().with_writer(std::io::stderr).with_ansi(colours).event_format(lines);
            registry().with(level).with(layer.with_filter(Held(limit))).try_init()
        }
        LogFormat::Json => {
            let lines =
                Counted { lines: fmt::format().json().flatten_event(true), limit: limit.clone(), is_json: true };
            let layer = fmt::layer().with_writer(std::io::stderr).json().event_format(lines);
            registry().with(level).with(layer.with_filter(Held(limit))).try_init()
        }
    };
    if started.is_err() {
        tracing::debug!("logging was set up already");
    }
}

/// Lines that count as the same: of one call site, and where they name a sender and a kind, of these.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Kind {
    site: Identifier,
    sender: Option<(String, String)>,
}

impl Kind {
    fn of(event: &Event<'_>) -> Self {
        let mut names = Names::default();
        if event.metadata().fields().field("sender").is_some() {
            event.record(&mut names);
        }
        let sender = (!names.sender.is_empty()).then_some((names.sender, names.kind));
        Self { site: event.metadata().callsite(), sender }
    }
}

/// The two fields that tell senders and what they do wrong apart.
#[derive(Debug, Default)]
struct Names {
    sender: String,
    kind: String,
}

impl Visit for Names {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let into = match field.name() {
            "sender" => &mut self.sender,
            "kind" => &mut self.kind,
            _ => return,
        };
        // Writing to a string does not fail.
        _ = write!(into, "{value:?}");
    }
}

/// Lets a bounded number of lines of each kind through in an interval. The lock is taken for log lines only, which are no
/// part of the data path.
#[derive(Default)]
struct RepeatLimit {
    kinds: Mutex<HashMap<Kind, Repeats>>,
}

struct Repeats {
    since: Instant,
    lines: u32,
    /// Lines held back that no line has told of.
    untold: u64,
}

impl RepeatLimit {
    fn admit(&self, mut kind: Kind, now: Instant) -> bool {
        let Ok(mut kinds) = self.kinds.lock() else { return true };
        if kinds.len() >= SENDERS_MAX && !kinds.contains_key(&kind) {
            // Nothing is lost with those that have nothing to tell and may speak again.
            kinds.retain(|kind, of| of.untold > 0 || now.duration_since(of.since) < interval(kind));
            if kinds.len() >= SENDERS_MAX {
                kind.sender = None;
            }
        }
        let (interval, most) = (interval(&kind), if kind.sender.is_some() { 1 } else { REPEATS_MAX });
        let of = kinds.entry(kind).or_insert(Repeats { since: now, lines: 0, untold: 0 });
        if now.duration_since(of.since) >= interval {
            (of.since, of.lines) = (now, 0);
        }
        of.lines = of.lines.saturating_add(1);
        let passes = of.lines <= most;
        if !passes {
            of.untold += 1;
            HELD_BACK.fetch_add(1, Ordering::Relaxed);
        }
        passes
    }

    /// Lines of that kind that were held back since the last one that passed.
    fn take_untold(&self, kind: &Kind) -> u64 {
        let Ok(mut kinds) = self.kinds.lock() else { return 0 };
        kinds.get_mut(kind).map_or(0, |of| std::mem::take(&mut of.untold))
    }
}

fn interval(kind: &Kind) -> Duration {
    if kind.sender.is_some() { SENDER_INTERVAL } else { REPEAT_INTERVAL }
}

struct Held(Arc<RepeatLimit>);

impl<S: Subscriber> Filter<S> for Held {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        event.metadata().target() == ONCE || self.0.admit(Kind::of(event), Instant::now())
    }
}

/// Lines as another formatter has them, with how many of their kind were held back before.
struct Counted<F> {
    lines: F,
    limit: Arc<RepeatLimit>,
    is_json: bool,
}

impl<S, N, F> FormatEvent<S, N> for Counted<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'writer> FormatFields<'writer> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        let untold = self.limit.take_untold(&Kind::of(event));
        if untold == 0 {
            return self.lines.format_event(context, writer, event);
        }
        let mut line = String::new();
        let inner = Writer::new(&mut line);
        self.lines.format_event(context, inner, event)?;
        writer.write_str(&with_count(&line, untold, self.is_json))
    }
}

/// A line with how many similar ones were held back before it.
fn with_count(line: &str, untold: u64, is_json: bool) -> String {
    let line = line.trim_end();
    match line.strip_suffix('}') {
        Some(open) if is_json => format!("{open},\"held_back\":{untold}}}\n"),
        _ => format!("{line} held_back={untold}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Callsite;

    struct Here;
    impl Callsite for Here {
        fn set_interest(&self, _: tracing::subscriber::Interest) {}
        fn metadata(&self) -> &Metadata<'_> {
            unreachable!("only its address is used")
        }
    }
    static HERE: Here = Here;

    fn kind(sender: Option<(&str, &str)>) -> Kind {
        let sender = sender.map(|(sender, kind)| (sender.to_string(), kind.to_string()));
        Kind { site: Identifier(&HERE), sender }
    }

    #[test]
    fn repeats_are_held_back_until_the_interval_is_over() {
        let limit = RepeatLimit::default();
        let start = Instant::now();
        let admitted = (0..100).filter(|_| limit.admit(kind(None), start)).count();
        assert_eq!(admitted, REPEATS_MAX as usize);
        assert!(limit.admit(kind(None), start + REPEAT_INTERVAL));
        assert_eq!(limit.take_untold(&kind(None)), 100 - u64::from(REPEATS_MAX));
        assert_eq!(limit.take_untold(&kind(None)), 0);
    }

    #[test]
    fn a_sender_gets_one_line_of_each_kind() {
        let limit = RepeatLimit::default();
        let start = Instant::now();
        for sender in ["10.0.0.1", "10.0.0.2"] {
            for wrong in ["json", "too_large"] {
                let admitted = (0..50).filter(|_| limit.admit(kind(Some((sender, wrong))), start)).count();
                assert_eq!(admitted, 1, "{sender} {wrong}");
            }
        }
        assert!(!limit.admit(kind(Some(("10.0.0.1", "json"))), start + SENDER_INTERVAL / 2));
        assert!(limit.admit(kind(Some(("10.0.0.1", "json"))), start + SENDER_INTERVAL));
        assert_eq!(limit.take_untold(&kind(Some(("10.0.0.1", "json")))), 50);
    }

    #[test]
    fn senders_without_end_take_bounded_memory_and_count_as_one() {
        let limit = RepeatLimit::default();
        let start = Instant::now();
        let name = |number: usize| format!("10.0.{}.{}", number / 256, number % 256);
        let admitted = (0..SENDERS_MAX * 2).filter(|number| limit.admit(kind(Some((&name(*number), "json"))), start));
        assert_eq!(admitted.count(), SENDERS_MAX + REPEATS_MAX as usize);
        assert!(limit.kinds.lock().unwrap().len() <= SENDERS_MAX + 1);
        assert!(limit.admit(kind(Some(("new", "json"))), start + SENDER_INTERVAL));
    }

    #[test]
    fn the_count_is_a_field_of_the_line() {
        assert_eq!(with_count("WARN x a=1\n", 7, false), "WARN x a=1 held_back=7\n");
        assert_eq!(with_count("{\"a\":1}\n", 7, true), "{\"a\":1,\"held_back\":7}\n");
    }
}
