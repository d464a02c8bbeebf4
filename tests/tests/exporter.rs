//! The exporter against servers that fail, over real sockets on both backends: its breaker opens and closes, and what the
//! log holds is parked, never lost.

#![allow(clippy::unwrap_used, reason = "test code fails by panicking")]

use std::time::Duration;
use tailwater_config::ExportProtocol;
use tailwater_connectors::delivery::Settlement;
use tailwater_connectors::otlp::exporter::BreakerState;
use tailwater_engine::host::ExportFate;
use tailwater_engine::vocabulary::Destinations;
use tailwater_proto::otlp::Signal;
use tailwater_runtime::executor;
use tailwater_tests::next_hop::{Bench, GOOD, Mood, NUMBER, PATIENCE, Server, on_both_backends, request, settings};

fn is_parked(settlement: &Settlement) -> bool {
    assert_eq!((settlement.delivered, settlement.lost), (0, 0), "{settlement:?}");
    settlement.parked == Destinations::of(NUMBER) && settlement.units.len() == 1
}

#[test]
fn a_server_that_goes_and_comes_back_costs_nothing() {
    on_both_backends(|| async {
        let server = Server::start(Mood::Down);
        let bench = Bench::new(&settings(&[&server]), true);
        for _ in 0..4 {
            assert_eq!(bench.offer(&mut request(true)), None);
        }
        assert!(is_parked(&bench.offer(&mut request(true)).unwrap()), "the queue is full");
        assert!(!bench.exporter.is_pressed(), "what can be parked holds nobody back");
        bench.until("open", || bench.exporter.breaker_state() == BreakerState::Open).await;
        // Probes fail and nothing is given up.
        let probes = server.came().len();
        bench.until("probed", || server.came().len() > probes + 3).await;
        assert!(!bench.exporter.can_take_back(Signal::Traces, bench.now()));
        server.set(GOOD);
        for _ in 0..4 {
            let settlement = bench.next().await;
            assert_eq!((settlement.delivered, settlement.lost, settlement.units.len()), (1, 0, 1));
        }
        assert_eq!(bench.exporter.breaker_state(), BreakerState::Closed);
        assert!(bench.exporter.can_take_back(Signal::Traces, bench.now()));
        assert_eq!(bench.offer(&mut request(true)), None);
        assert_eq!(bench.next().await.delivered, 1);
        let counters = &bench.exporter.counters;
        assert_eq!((counters.requests_parked.get(), counters.requests_delivered.get()), (1, 5));
        assert_eq!((counters.breaker_opened.get(), counters.requests_exhausted.get()), (1, 0));
        assert_eq!(bench.exporter.queue_bytes(), 0);
    });
}

#[test]
fn when_retries_run_out_the_log_decides_between_parked_and_lost() {
    on_both_backends(|| async {
        for protocol in [ExportProtocol::HttpProtobuf, ExportProtocol::Grpc] {
            let server = Server::start(Mood::Down);
            let mut settings = settings(&[&server]);
            settings.protocol = protocol;
            settings.retry.max_elapsed_time = Duration::from_millis(50);
            let bench = Bench::new(&settings, true);
            assert_eq!(bench.offer(&mut request(true)), None);
            assert!(is_parked(&bench.next().await));
            assert_eq!(bench.offer(&mut request(false)), None);
            let lost = bench.next().await;
            assert_eq!((lost.lost, lost.fate, lost.parked), (1, ExportFate::Exhausted, Destinations::NONE));
            assert_eq!(bench.exporter.counters.requests_exhausted.get(), 1);
            assert_ne!(bench.exporter.breaker_state(), BreakerState::Closed);
        }
    });
}

#[test]
fn what_was_parked_is_taken_back_as_the_probe() {
    on_both_backends(|| async {
        let server = Server::start(Mood::Down);
        let mut settings = settings(&[&server]);
        settings.retry.enabled = false;
        settings.breaker.failures_max = 1;
        let bench = Bench::new(&settings, true);
        assert_eq!(bench.offer(&mut request(true)), None);
        assert!(is_parked(&bench.next().await));
        // Nothing is queued: without this the server's return would go unnoticed.
        let wait = bench.exporter.wait_to_take_back(Signal::Traces, &*bench.host);
        executor::timeout(PATIENCE, wait).await.unwrap();
        assert_eq!(bench.exporter.breaker_state(), BreakerState::Open, "it is the time for a probe");
        server.set(GOOD);
        assert_eq!(bench.offer(&mut request(true)), None);
        assert!(!bench.exporter.can_take_back(Signal::Traces, bench.now()), "one is enough for a probe");
        assert_eq!(bench.next().await.delivered, 1);
        assert_eq!(bench.exporter.breaker_state(), BreakerState::Closed);
    });
}

#[test]
fn the_server_s_wish_is_kept_by_all() {
    on_both_backends(|| async {
        let server = Server::start(Mood::Answers(503, Some(1)));
        let mut settings = settings(&[&server]);
        settings.breaker.failures_max = 1;
        settings.connections_per_shard = 3;
        let bench = Bench::new(&settings, true);
        assert_eq!(bench.offer(&mut request(true)), None);
        bench.until("open", || bench.exporter.breaker_state() == BreakerState::Open).await;
        server.set(GOOD);
        for _ in 0..3 {
            assert_eq!(bench.offer(&mut request(true)), None);
        }
        for _ in 0..4 {
            assert_eq!(bench.next().await.delivered, 1);
        }
        let came = server.came();
        assert_eq!(came.len(), 5);
        let pause = came[1] - came[0];
        // The answer takes its way first; the pause begins when it is there.
        assert!(pause >= Duration::from_millis(990), "{pause:?}");
    });
}

#[test]
fn small_requests_that_wait_leave_together_and_are_not_refused_together() {
    on_both_backends(|| async {
        let server = Server::start(GOOD);
        let mut settings = settings(&[&server]);
        settings.batch.spans_max = 100;
        let bench = Bench::new(&settings, true);
        let offer_all = || {
            for is_logged in [true, true, false, false] {
                assert_eq!(bench.offer(&mut request(is_logged)), None);
            }
        };
        offer_all();
        for _ in 0..4 {
            assert_eq!(bench.next().await.delivered, 1);
        }
        assert_eq!(server.came().len(), 2, "what can be parked is apart from what can't");
        assert_eq!(bench.exporter.counters.requests_merged.get(), 4);
        // One of them may be to blame: each is asked about alone.
        server.set(Mood::Answers(400, None));
        offer_all();
        for _ in 0..4 {
            assert_eq!(bench.next().await.lost, 1);
        }
        assert_eq!(server.came().len(), 2 + 2 + 4);
        assert_eq!(bench.exporter.queue_bytes(), 0);
    });
}

#[test]
fn an_answer_that_is_none_is_no_success() {
    on_both_backends(|| async {
        for mood in
            [Mood::Says("text/html", "<html>please log in</html>"), Mood::Says("application/x-protobuf", "hello")]
        {
            let server = Server::start(mood);
            let bench = Bench::new(&settings(&[&server]), true);
            assert_eq!(bench.offer(&mut request(true)), None);
            bench.until("asked again", || server.came().len() > 2).await;
            assert_eq!(bench.exporter.counters.requests_delivered.get(), 0);
            server.set(GOOD);
            assert_eq!(bench.next().await.delivered, 1);
        }
    });
}

#[test]
fn refused_credentials_wait_in_the_log_where_that_is_wished() {
    on_both_backends(|| async {
        let server = Server::start(Mood::Answers(401, None));
        let mut settings = settings(&[&server]);
        settings.retry.park_on = vec![401, 403];
        let bench = Bench::new(&settings, true);
        assert_eq!(bench.offer(&mut request(true)), None);
        assert!(is_parked(&bench.next().await));
        assert_eq!(bench.offer(&mut request(false)), None);
        assert_eq!((bench.next().await.lost, bench.exporter.counters.requests_refused.get()), (1, 1));
    });
}

#[test]
fn refusals_do_not_open_it() {
    on_both_backends(|| async {
        let server = Server::start(Mood::Answers(400, None));
        let mut settings = settings(&[&server]);
        settings.breaker.failures_max = 1;
        let bench = Bench::new(&settings, true);
        for _ in 0..10 {
            assert_eq!(bench.offer(&mut request(true)), None);
            let refused = bench.next().await;
            assert_eq!((refused.lost, refused.fate, refused.parked), (1, ExportFate::Refused, Destinations::NONE));
        }
        assert_eq!(bench.exporter.breaker_state(), BreakerState::Closed);
        assert_eq!(bench.exporter.counters.requests_refused.get(), 10);
    });
}

#[test]
fn another_endpoint_takes_what_one_cannot() {
    on_both_backends(|| async {
        let (bad, good) = (Server::start(Mood::Down), Server::start(GOOD));
        let mut settings = settings(&[&bad, &good]);
        settings.breaker.failures_max = 1;
        settings.breaker.open_interval = Duration::from_secs(600);
        settings.breaker.open_interval_max = Duration::from_secs(600);
        let bench = Bench::new(&settings, true);
        for _ in 0..10 {
            assert_eq!(bench.offer(&mut request(true)), None);
            assert_eq!(bench.next().await.delivered, 1);
        }
        assert_eq!((bad.came().len(), good.came().len()), (1, 10));
        assert_eq!(bench.exporter.breaker_state(), BreakerState::Open, "the worst of them");
        assert!(bench.exporter.can_take_back(Signal::Traces, bench.now()), "the other one takes it");
    });
}

#[test]
fn an_exporter_that_ends_waits_for_nobody() {
    on_both_backends(|| async {
        for is_logged in [true, false] {
            let server = Server::start(Mood::Down);
            let mut settings = settings(&[&server]);
            settings.breaker.failures_max = 1;
            settings.breaker.open_interval = Duration::from_secs(600);
            settings.breaker.open_interval_max = Duration::from_secs(600);
            let bench = Bench::new(&settings, true);
            assert_eq!(bench.offer(&mut request(is_logged)), None);
            bench.until("open", || bench.exporter.breaker_state() == BreakerState::Open).await;
            assert_eq!(bench.offer(&mut request(is_logged)), None);
            bench.exporter.abandon(&*bench.host);
            // One was queued, one was waiting for the breaker.
            for _ in 0..2 {
                let settlement = bench.next().await;
                if is_logged {
                    assert!(is_parked(&settlement));
                } else {
                    assert_eq!((settlement.lost, settlement.fate), (1, ExportFate::Shutdown));
                }
            }
            assert_eq!(server.came().len(), 2, "the server is asked once more");
            assert_eq!(bench.exporter.queue_bytes(), 0);
        }
    });
}

#[test]
fn what_cannot_be_parked_keeps_its_half_of_the_queue() {
    on_both_backends(|| async {
        let server = Server::start(GOOD);
        let bench = Bench::new(&settings(&[&server]), false);
        assert_eq!(bench.offer(&mut request(false)), None);
        assert_eq!(bench.offer(&mut request(true)), None);
        assert!(is_parked(&bench.offer(&mut request(true)).unwrap()), "half of the queue is taken");
        assert!(!bench.exporter.is_pressed());
        assert!(!bench.exporter.can_take_back(Signal::Traces, bench.now()), "half of the queue is taken");
        assert_eq!(bench.offer(&mut request(false)), None);
        assert!(bench.exporter.is_pressed(), "senders are held back before anything is lost");
        assert_eq!(bench.offer(&mut request(false)), None);
        let lost = bench.offer(&mut request(false)).unwrap();
        assert_eq!((lost.lost, lost.fate), (1, ExportFate::QueueFull));
        let counters = &bench.exporter.counters;
        assert_eq!((counters.requests_parked.get(), counters.requests_queue_full.get()), (1, 1));
    });
}

/// Offers so many requests, one after the other, and waits until each is delivered.
async fn deliver(bench: &Bench, count: usize) {
    for _ in 0..count {
        assert_eq!(bench.offer(&mut request(true)), None);
        assert_eq!(bench.next().await.delivered, 1);
    }
}

#[test]
fn a_name_with_several_addresses_is_several_servers_and_changes_are_taken_over() {
    on_both_backends(|| async {
        let servers = [Server::start(GOOD), Server::start(GOOD), Server::start(GOOD)];
        let [first, second, third] = &servers;
        let came = || servers.each_ref().map(|server| server.came().len());
        let mut settings = settings(&[first]);
        settings.endpoints = vec!["http://hop.test:1".to_string()];
        settings.lookup_interval = Duration::from_millis(5);
        settings.breaker.failures_max = 1;
        settings.breaker.open_interval = Duration::from_secs(600);
        settings.breaker.open_interval_max = Duration::from_secs(600);
        let bench = Bench::new(&settings, true);
        bench.set_addresses(&[first, second]);
        bench.look_up();
        bench.until("looked up", || bench.looked_up() > 1).await;
        deliver(&bench, 10).await;
        assert_eq!(came(), [5, 5, 0], "each gets its part");
        // One fails: the other takes its part, and nothing is lost. Its breaker is its own.
        second.set(Mood::Down);
        deliver(&bench, 10).await;
        assert_eq!((came()[0], bench.exporter.breaker_state()), (15, BreakerState::Open));
        // One goes, another comes.
        bench.set_addresses(&[first, third]);
        let before = bench.looked_up();
        bench.until("looked up again", || bench.looked_up() > before + 1).await;
        let before = came();
        deliver(&bench, 10).await;
        assert_eq!(came(), [before[0] + 5, before[1], 5]);
        assert_eq!(bench.exporter.breaker_state(), BreakerState::Closed, "the one that failed is gone");
        // A name server that fails changes nothing.
        bench.set_addresses(&[]);
        let before = bench.looked_up();
        bench.until("failed", || bench.looked_up() > before + 1).await;
        deliver(&bench, 2).await;
    });
}

#[test]
fn an_address_where_nobody_listens_costs_no_time() {
    on_both_backends(|| async {
        let good = Server::start(GOOD);
        let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut settings = settings(&[&good]);
        settings.endpoints.insert(0, format!("http://{gone}"));
        settings.retry.initial_interval = Duration::from_secs(600);
        settings.retry.max_interval = Duration::from_secs(600);
        let bench = Bench::new(&settings, true);
        deliver(&bench, 6).await;
        assert_eq!(good.came().len(), 6);
    });
}

#[test]
fn with_the_defaults_a_server_that_is_back_is_found_within_seconds() {
    on_both_backends(|| async {
        for mood in [Mood::Down, Mood::Answers(503, None)] {
            let server = Server::start(mood);
            let mut settings = settings(&[&server]);
            settings.retry = tailwater_config::Retry::default();
            settings.breaker = tailwater_config::Breaker::default();
            let bench = Bench::new(&settings, true);
            assert_eq!(bench.offer(&mut request(true)), None);
            bench.until("asked again", || server.came().len() > 2).await;
            server.set(GOOD);
            let since = std::time::Instant::now();
            assert_eq!(bench.next().await.delivered, 1);
            // Two seconds between attempts; the rest is for a busy machine.
            assert!(since.elapsed() < Duration::from_millis(3500), "{:?}", since.elapsed());
        }
    });
}
