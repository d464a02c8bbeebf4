//! Windows of the real program: they wait for the next hop, and a stop tells the last.

use super::told::Told;
use super::{Kind, but, of_signal, send, start, start_in, stop, summaries};
use std::net::SocketAddr;
use tailwater_tests::next_hop::{GOOD, Mood, Server};

const WINDOWS: &str = "tailwater_summaries_windows_total";
const RETRIES: &str = "tailwater_summaries_retries_total";

/// Sends requests of these numbers, of every kind.
fn send_each(to: SocketAddr, numbers: std::ops::Range<u64>) {
    for number in numbers {
        Kind::ALL.iter().for_each(|kind| send(to, kind.path(), &kind.body(number)));
    }
}

fn assert_told_once(told: &Told, numbers: std::ops::Range<u64>) {
    let expected = Kind::ALL.iter().flat_map(|kind| numbers.clone().map(|number| ((*kind, number), kind.amount())));
    assert_eq!(told.counts(), expected.collect());
}

/// Without `may_close` in `Summaries::to_close` windows go on to be closed, and only the last would be delivered; without the
/// retry in `Summaries::sent` the one on its way is lost. A kill in between leaves both as they are.
#[test]
fn a_window_grows_while_the_next_hop_is_down_and_nothing_is_lost() {
    let server = Server::collecting();
    server.set(Mood::Answers(503, None));
    let arguments = summaries(&server);
    let node = start(&arguments);
    send_each(node.http, 0..10);
    node.until(|metrics| metrics[WINDOWS] == 1.0 && metrics[RETRIES] >= 1.0);
    send_each(node.http, 10..20);
    // Each retry is a second after the one before, and so long is a window.
    node.until(|metrics| metrics[RETRIES] >= 3.0);
    assert_eq!(node.metrics()[WINDOWS], 1.0, "the second is open still");
    let node = start_in(node.crash(), &arguments);
    send_each(node.http, 20..30);
    node.until(|metrics| metrics[RETRIES] >= 2.0);
    assert_eq!(node.metrics()[WINDOWS], 0.0);
    server.set(GOOD);
    node.until(|metrics| metrics[WINDOWS] >= 1.0 && metrics["tailwater_summaries_delivered_items_total"] > 0.0);
    send_each(node.http, 30..40);
    stop(node);
    let mut told = Told::default();
    told.take(&server);
    assert_told_once(&told, 0..40);
}

/// Leans on `Core::end_summaries`: without it the window would be told by the next start only, and if there is none by nobody.
/// Without `Emitting::delivered` in the tally of the end it would be told again.
#[test]
fn a_stop_tells_the_last_window_and_the_next_start_does_not_tell_it_again() {
    let server = Server::collecting();
    let arguments = but(&summaries(&server), &[("--summaries-window", "1h")]);
    let node = start(&arguments);
    send_each(node.http, 0..10);
    for (signal, items) in [("metric_points", 30.0), ("log_records", 100.0), ("spans", 200.0)] {
        // One look may be off by what moves meanwhile.
        node.until(|metrics| {
            let parts = ["exported_total", "summarised_total", "dropped_total", "pending"];
            let parts = parts.map(|part| of_signal(metrics, &format!("tailwater_items_{part}"), signal));
            of_signal(metrics, "tailwater_items_received_total", signal) == items
                && parts.iter().sum::<f64>() == items
                && (signal != "metric_points" || parts[1..3] == [20.0, 10.0])
        });
    }
    let directory = stop(node);
    let mut told = Told::default();
    told.take(&server);
    assert_told_once(&told, 0..10);
    stop(start_in(directory, &arguments));
    told.take(&server);
    assert_told_once(&told, 0..10);
}
