//! Runs against our own sink: every transport and encoding, refusals, late spans, and a server that goes away.

use super::*;
use crate::arguments::{BackendChoice, CompressionChoice, ProtocolChoice};
use crate::corpus::BodyEncoding;
use crate::sink::{RunningSink, SinkOptions};
use clap::Parser as _;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

const QUIET: Output = Output { json: true, quiet: true };

#[derive(clap::Parser)]
struct GenerateLine {
    #[command(flatten)]
    options: GenerateOptions,
}

#[derive(clap::Parser)]
struct SinkLine {
    #[command(flatten)]
    options: SinkOptions,
}

fn options(words: &str) -> GenerateOptions {
    let mut options = GenerateLine::parse_from(["generate"].into_iter().chain(words.split_whitespace())).options;
    options.seed = Some(1);
    options
}

fn sink(words: &str) -> RunningSink {
    let listen = ["sink", "--listen", "127.0.0.1:0", "--listen-http", "127.0.0.1:0"];
    let options = SinkLine::parse_from(listen.into_iter().chain(words.split_whitespace())).options;
    RunningSink::start(&options, QUIET).unwrap()
}

fn temporary(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("tailwater-generate-{name}-{}", std::process::id()))
}

fn generate(options: &GenerateOptions) -> Report {
    run(options, &QUIET, Arc::new(AtomicBool::new(false))).unwrap()
}

#[test]
fn every_transport_and_encoding_delivers_every_span_once_and_whole() {
    let cases = [
        (ProtocolChoice::Grpc, BodyEncoding::Protobuf, CompressionChoice::None),
        (ProtocolChoice::Grpc, BodyEncoding::Protobuf, CompressionChoice::Gzip),
        (ProtocolChoice::Grpc, BodyEncoding::Protobuf, CompressionChoice::Zstd),
        (ProtocolChoice::Http, BodyEncoding::Protobuf, CompressionChoice::None),
        (ProtocolChoice::Http, BodyEncoding::Json, CompressionChoice::Gzip),
        (ProtocolChoice::H2c, BodyEncoding::Json, CompressionChoice::None),
    ];
    for (number, (protocol, encoding, compression)) in cases.into_iter().enumerate() {
        for runtime in [BackendChoice::Epoll, BackendChoice::Auto] {
            let expect = temporary(&format!("every-{number}-{runtime:?}"));
            let sink = sink(&format!("--expect {}", expect.display()));
            // The sink's gRPC port speaks HTTP/2 only; posts over HTTP/2 are for other servers.
            if protocol == ProtocolChoice::H2c {
                continue;
            }
            let address = sink.addresses()[usize::from(protocol != ProtocolChoice::Grpc)];
            let mut options = options(&format!(
                "--target http://{address} --traces 2000 --spans-per-request 250 --late-share 0.1 --late-after 50ms \
                 --threads 2 --connections 4"
            ));
            (options.protocol, options.encoding, options.compression) = (protocol, encoding, compression);
            (options.runtime, options.expect_out) = (runtime, Some(expect.clone()));
            let report = generate(&options);
            sink.stop().store(true, Ordering::Relaxed);
            let (judgement, malformed) = sink.judge().unwrap();
            std::fs::remove_file(&expect).unwrap();
            assert!(report.is_clean() && !report.ids_repeated, "{report:?}");
            assert_eq!(report.acked, report.sent);
            assert_eq!((judgement.traces * 8, judgement.spans, malformed), (report.sent, report.sent, 0));
            assert!(judgement.is_clean(false), "{judgement:?}");
            assert_eq!(judgement.demanded, Some(report.must_keep.len() as u64));
            assert!((40..200).contains(&report.must_keep.len()), "{}", report.must_keep.len());
        }
    }
}

#[test]
fn a_refusal_is_sent_again_after_the_delay_the_server_asked_for() {
    for protocol in [ProtocolChoice::Grpc, ProtocolChoice::Http] {
        // On HTTP the delay is whole seconds.
        let sink = sink("--refuse-every 3 --retry-after 300ms");
        let address = sink.addresses()[usize::from(protocol != ProtocolChoice::Grpc)];
        let mut options = options(&format!("--target http://{address} --traces 100"));
        options.protocol = protocol;
        let report = generate(&options);
        sink.stop().store(true, Ordering::Relaxed);
        let (judgement, _malformed) = sink.judge().unwrap();
        assert!(report.is_clean(), "{report:?}");
        assert!(report.retried > 0);
        assert_eq!(judgement.spans, report.sent);
        let delay = if protocol == ProtocolChoice::Grpc { 300.0 } else { 1000.0 };
        assert!(report.latency_ms(1.0) >= delay, "retried after {} ms", report.latency_ms(1.0));
    }
}

#[test]
fn traces_that_are_spread_arrive_whole_over_the_time_asked_for() {
    for words in ["", "--rate 60000", "--rate 60000 --compression gzip"] {
        let expect = temporary(&format!("spread-{}", words.len()));
        let sink = sink(&format!("--expect {}", expect.display()));
        let mut options = options(&format!(
            "--target http://{} --duration 500ms --spread 400ms --spans-per-request 50 --late-share 0.1 --late-after 50ms \
             {words}",
            sink.addresses()[0]
        ));
        options.expect_out = Some(expect.clone());
        let report = generate(&options);
        sink.stop().store(true, Ordering::Relaxed);
        let (judgement, _malformed) = sink.judge().unwrap();
        std::fs::remove_file(&expect).unwrap();
        assert!(report.is_clean() && !report.ids_repeated, "{}", report.line().text);
        assert_eq!((report.acked, judgement.spans, judgement.traces * 8), (report.sent, report.sent, report.sent));
        assert!(judgement.is_clean(false), "{judgement:?}");
        assert_eq!(judgement.demanded, Some(report.must_keep.len() as u64));
        assert!(report.unsure.is_empty() && !report.must_keep.is_empty());
        // The last round to begin is still sent over its time.
        assert!(report.elapsed >= Duration::from_millis(700), "{:?}", report.elapsed);
        assert!(report.together > 0 && report.together < report.sent, "{} of {}", report.together, report.sent);
    }
}

#[test]
fn an_open_loop_keeps_its_rate_and_charges_a_stalled_server() {
    let sink = sink("--delay 40ms");
    let address = sink.addresses()[0];
    // 20 requests a second, one at a time, 40 ms each: the queue never empties, and waiting counts.
    let words = format!(
        "--target http://{address} --rate 4000 --spans-per-request 50 --duration 1s --in-flight 1 --connections 1"
    );
    let report = generate(&options(&words));
    sink.stop().store(true, Ordering::Relaxed);
    sink.judge().unwrap();
    assert!(report.is_clean());
    // 80 requests were intended within the second; answered one after the other they take more than three.
    assert!(report.requests >= 80, "{}", report.requests);
    assert!(report.latency_ms(1.0) > 1000.0, "waiting was not counted: {} ms", report.latency_ms(1.0));
}

#[test]
fn requests_that_were_due_but_never_sent_are_reported() {
    let sink = sink("--delay 200ms");
    let address = sink.addresses()[0];
    let words = format!(
        "--target http://{address} --rate 40000 --spans-per-request 50 --duration 1s --in-flight 1 --timeout 300ms"
    );
    let report = generate(&options(&words));
    sink.stop().store(true, Ordering::Relaxed);
    sink.judge().unwrap();
    assert!(report.unsent > 20_000 && !report.is_clean(), "{report:?}");
}

#[test]
fn traces_of_a_refused_request_are_not_demanded() {
    let sink = sink("--refuse-every 2 --retry-after 60s");
    let mut options = options(&format!("--target http://{} --traces 50", sink.addresses()[0]));
    options.timeout = Duration::from_millis(10);
    options.keep_share = 1.0;
    let report = generate(&options);
    sink.stop().store(true, Ordering::Relaxed);
    sink.judge().unwrap();
    assert!(report.refused > 0 && !report.is_clean());
    assert_eq!((report.must_keep.len(), report.unsure.len()), (0, 50));
    assert!(report.first_error.is_some());
}

#[test]
fn nobody_listening_is_said_at_once_and_odd_options_are_refused() {
    // A port that was free a moment ago.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let stop = || Arc::new(AtomicBool::new(false));
    let outcome = run(&options(&format!("--target http://{gone} --traces 1")), &QUIET, stop());
    assert!(matches!(&outcome, Err(GenerateError::Worker(text)) if text.contains("refused")), "{outcome:?}");
    for words in [
        "--target grpc://x:1",
        "--target x:1 --encoding json",
        "--target x:1 --rate 0",
        "--target x:1 --threads 0",
        "--target x:1 --spread 2m",
    ] {
        assert!(matches!(run(&options(words), &QUIET, stop()), Err(GenerateError::Option(_))), "{words}");
    }
}

#[test]
fn logs_and_metrics_beside_the_traces_are_sent_and_counted_by_service() {
    for (protocol, encoding, compression, words) in [
        (ProtocolChoice::Grpc, BodyEncoding::Protobuf, CompressionChoice::Gzip, "--traces 4000 --signals all"),
        (ProtocolChoice::Http, BodyEncoding::Json, CompressionChoice::None, "--traces 4000 --signals all"),
        (
            ProtocolChoice::Grpc,
            BodyEncoding::Protobuf,
            CompressionChoice::None,
            "--rate 40000 --duration 400ms --signals logs,metrics",
        ),
    ] {
        let sink = sink("--refuse-every 7 --retry-after 10ms");
        let address = sink.addresses()[usize::from(protocol != ProtocolChoice::Grpc)];
        let mut options = options(&format!("--target http://{address} --threads 2 --services 3 {words}"));
        (options.protocol, options.encoding, options.compression) = (protocol, encoding, compression);
        let report = generate(&options);
        sink.stop().store(true, Ordering::Relaxed);
        let outcomes = sink.judge_all().unwrap();
        assert!(report.is_clean() && outcomes.malformed == 0, "{}", report.line().text);
        assert_eq!(outcomes.traces.spans, report.sent);
        assert_eq!(outcomes.visible, None);
        let seen = outcomes.beside.by_service();
        assert_eq!(seen.len(), 3, "{seen:?}");
        for (service, seen) in &seen {
            let of = |signal: &'static str| report.beside[&(signal, service.clone())];
            let (logs, metrics) = (of("logs"), of("metrics"));
            assert_eq!(
                (seen.records, seen.points, seen.delta),
                (logs.acked, metrics.acked, metrics.delta),
                "{service}"
            );
            assert!(logs.acked == logs.sent && logs.acked > 0 && metrics.delta > metrics.acked);
            // Without traces there is nothing to name; with them two records in three name one.
            let of_traces = logs.of_traces as f64 / logs.acked as f64;
            assert!(if report.sent == 0 { of_traces == 0.0 } else { (0.5..0.8).contains(&of_traces) }, "{of_traces}");
        }
        // A quarter of a record and a tenth of a point for each span, as far as whole requests of each worker go.
        let spans = if report.sent == 0 { 16_000 } else { report.sent };
        for (signal, account) in report.by_signal() {
            let due = spans / if signal == "logs" { 4 } else { 10 };
            assert!(account.sent <= due && account.sent + 2 * 200 >= due, "{signal}: {} of {due}", account.sent);
        }
    }
}

#[test]
fn a_sink_sees_all_that_was_sent_and_names_what_it_does_not_see() {
    for is_lost in [false, true] {
        let expect = temporary(&format!("visible-{is_lost}"));
        let sink = sink(&format!("--visible --expect {}", expect.display()));
        let mut options = options(&format!(
            "--target http://{} --traces 4000 --signals all --keep-share 0.3 --services 9 --threads 2",
            sink.addresses()[0]
        ));
        options.expect_out = Some(expect.clone());
        let report = generate(&options);
        if is_lost {
            let mut lines = std::fs::read_to_string(&expect).unwrap();
            lines.push_str("see line frontend ERROR a line that nobody wrote\n");
            std::fs::write(&expect, lines).unwrap();
        }
        sink.stop().store(true, Ordering::Relaxed);
        let visible = sink.judge_all().unwrap().visible.unwrap();
        std::fs::remove_file(&expect).unwrap();
        assert!(report.is_clean(), "{report:?}");
        let [services, operations, failing, exceptions, routes, lines] = visible.demanded;
        // Nine services of twelve routes each, ten kinds of lines each, four exceptions; which of them fail is chance.
        assert_eq!((services, operations, routes), (9, 108, 108), "{visible:?}");
        assert_eq!(lines, 90 + u64::from(is_lost));
        assert!(failing > 50 && (9..=36).contains(&exceptions), "{visible:?}");
        assert_eq!(visible.listed, ["line frontend ERROR a line that nobody wrote"][..usize::from(is_lost)]);
        assert_eq!(visible.is_clean(), !is_lost);
    }
}

#[test]
fn signals_without_traces_need_a_rate() {
    let refused = options("--target http://localhost:1 --signals logs").settings().unwrap_err().to_string();
    assert!(refused.contains("needs --rate"), "{refused}");
    let settings = options("--target http://localhost:1").settings().unwrap();
    assert!(settings.signals.traces && !settings.signals.logs && !settings.signals.metrics);
}
