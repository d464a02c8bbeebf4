//! The real program does less and as much again: by hand for a time, and by a trigger of its own.

use super::{SPANS, but, send, start, stop, summaries, text};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Attribute;
use opentelemetry_proto::tonic::metrics::v1::{metric::Data, number_data_point};
use prost::Message;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tailwater_tests::next_hop::Server;
use tailwater_tests::process::{Tailwater, binary, http_request, post};

const CONTROL: &str = "/api/v1/control";
const STEPS: &str = "tailwater_control_steps_total";

fn level(metrics: &BTreeMap<String, f64>, action: &str) -> f64 {
    metrics[&format!("tailwater_control_level{{action=\"{action}\"}}")]
}

fn ask(node: &Tailwater, query: &str) -> (u16, Value) {
    let (status, body) = post(node.admin, &format!("{CONTROL}?{query}"), &[], b"");
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

/// Has a node count and tell more coarsely, or not, in one of some ways.
pub fn turn(node: &Tailwater, random: &mut fastrand::Rng) {
    let ways = [
        "drop_dimensions=span.kind",
        "drop_dimensions=&window=2x",
        "mask=strong",
        "drop_dimensions=span.name,span.kind&mask=usual",
    ];
    for _ in 0..random.usize(0..3) {
        let (status, said) = ask(node, &format!("{}&ttl=1h", ways[random.usize(0..ways.len())]));
        assert_eq!(status, 200, "{said}");
    }
}

fn shown(node: &Tailwater) -> Value {
    serde_json::from_str(&node.get(CONTROL).1).unwrap()
}

fn clear(node: &Tailwater) -> u16 {
    http_request(node.admin, &format!("DELETE {CONTROL} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"), &[])
        .0
}

/// As many spans as any request here has, of a route.
fn spans(route: &str) -> String {
    let span = |number: i64| {
        let trace = fastrand::u128(1..);
        json!({
            "traceId": format!("{trace:032x}"), "spanId": format!("{:016x}", number + 1), "kind": 2, "name": "call",
            "startTimeUnixNano": "1000000000", "endTimeUnixNano": "1005000000", "attributes": [text("route", route)],
        })
    };
    let resource = json!({ "attributes": [text("service.name", "shop")] });
    let spans: Vec<_> = (0..SPANS).map(span).collect();
    json!({ "resourceSpans": [{ "resource": resource, "scopeSpans": [{ "spans": spans }] }] }).to_string()
}

/// Calls by route, as they were told last; none is a series without one.
#[derive(Default)]
struct Calls {
    by_route: BTreeMap<Option<String>, i64>,
}

impl Calls {
    fn take(&mut self, server: &Server) {
        for (_, body) in server.take_requests().into_iter().filter(|(path, _)| path == "/v1/metrics") {
            let request = ExportMetricsServiceRequest::decode(&*body).unwrap();
            let scopes = request.resource_metrics.into_iter().flat_map(|resource| resource.scope_metrics);
            for metric in scopes.flat_map(|scope| scope.metrics) {
                let Some(Data::Sum(sum)) = metric.data.filter(|_| metric.name.ends_with(".calls")) else { continue };
                for point in sum.data_points {
                    let route = point.attributes.iter().find(|attribute| attribute.key == "route");
                    let route = route.map(|route| match route.value.clone().unwrap().value {
                        Some(Attribute::StringValue(text)) => text,
                        other => panic!("{other:?}"),
                    });
                    let Some(number_data_point::Value::AsInt(calls)) = point.value else { panic!("{point:?}") };
                    // Cumulative: what is told later holds.
                    let told = self.by_route.entry(route).or_default();
                    *told = calls.max(*told);
                }
            }
        }
    }

    /// Looks until these are told; each look is an exchange with the node.
    fn until(&mut self, node: &Tailwater, server: &Server, expected: &[(Option<&str>, i64)]) {
        let expected = expected.iter().map(|(route, calls)| (route.map(str::to_string), *calls)).collect();
        let windows = |metrics: &BTreeMap<String, f64>| metrics["tailwater_summaries_windows_total"];
        let begun = windows(&node.metrics());
        while self.by_route != expected {
            assert!(windows(&node.metrics()) < begun + 20.0, "{:?}", self.by_route);
            self.take(server);
        }
    }
}

fn node_with(server: &Server, flags: &[(&str, &str)]) -> Tailwater {
    let flags = [&[("--summaries-span-metrics-dimensions", "route")], flags].concat();
    start(&but(&summaries(server), &flags))
}

/// Without `Tally::leave_out` the route stays; without `Machine::expire` it stays away.
#[test]
fn a_dimension_is_gone_for_as_long_as_it_is_asked_for_and_totals_stay() {
    let server = Server::collecting();
    let node = node_with(&server, &[]);
    let mut calls = Calls::default();
    send(node.http, "/v1/traces", &spans("/a"));
    calls.until(&node, &server, &[(Some("/a"), SPANS)]);

    let (status, said) = ask(&node, "drop_dimensions=route&ttl=1h");
    assert_eq!((status, &said["in_force"]["drop_dimensions"]), (200, &json!(["route"])), "{said}");
    assert_eq!(said["set_by_hand"][0]["set"], "drop_dimensions");
    send(node.http, "/v1/traces", &spans("/a"));
    send(node.http, "/v1/traces", &spans("/b"));
    calls.until(&node, &server, &[(Some("/a"), SPANS), (None, 2 * SPANS)]);

    let (status, _) = ask(&node, "drop_dimensions=route&ttl=1s");
    assert_eq!(status, 200);
    node.until(|metrics| level(metrics, "drop_dimensions") == 0.0);
    let steps = shown(&node)["steps"].as_array().unwrap().clone();
    let causes: Vec<&str> = steps.iter().filter_map(|step| step["cause"].as_str()).collect();
    assert_eq!(causes, ["set", "set", "expired"]);
    // The gauge tells what is wanted; when the cores follow is when the next wish is answered.
    assert_eq!(clear(&node), 200);
    send(node.http, "/v1/traces", &spans("/a"));
    calls.until(&node, &server, &[(Some("/a"), 2 * SPANS), (None, 2 * SPANS)]);
    stop(node);
}

/// Without `follow` in `Dialer::read` nothing would come on; without `log` nobody would know why.
#[test]
fn a_trigger_comes_on_and_goes_off_by_itself_and_says_so() {
    let server = Server::collecting();
    let trigger = "[{name: busy, signal: arrival_rate, window: 1s, on: 5, off: 1, for: 0s, hold: 0s, actions: {window: 2x, budget: 0.5}}]";
    let node = node_with(&server, &[("--control-triggers", trigger), ("--control-step-interval", "0")]);
    node.until(|metrics| metrics.contains_key("tailwater_control_signal{signal=\"cpu\"}"));
    assert_eq!(shown(&node)["triggers"][0]["state"], "off");
    send(node.http, "/v1/traces", &spans("/a"));
    node.until(|metrics| metrics[STEPS] == 2.0);
    assert_eq!((level(&node.metrics(), "window"), level(&node.metrics(), "budget")), (1.0, 1.0));
    let said = shown(&node);
    assert_eq!((&said["triggers"][0]["state"], &said["triggers"][0]["times_on"]), (&json!("off"), &json!(1)));
    let steps = said["steps"].as_array().unwrap();
    assert_eq!((&steps[0]["cause"], &steps[0]["after"]), (&json!("trigger_on"), &json!("window=2x budget=0.5")));
    assert_eq!((&steps[1]["cause"], &steps[1]["after"]), (&json!("trigger_off"), &json!("nothing")));
    let (status, log, _) = node.stop();
    assert!(status.success());
    let lines: Vec<&String> = log.iter().filter(|line| line.contains("\"trigger\":\"busy\"")).collect();
    assert_eq!(lines.len(), 2, "{}", log.join("\n"));
    assert!(lines[0].contains("arrival_rate") && lines[0].contains("window=2x budget=0.5"), "{}", lines[0]);
}

/// Without `Shard::watch` no service would have a value; without `Machine::approach` a window would be 8 times as long at once.
#[test]
fn a_trigger_of_one_service_comes_on_for_that_alone_and_goes_step_by_step() {
    let server = Server::collecting();
    let trigger = |name: &str, on: u32, window: &str| {
        format!(
            "{{name: {name}, signal: arrival_rate, service: {name}, window: 1s, on: {on}, off: 0, for: 0s, hold: 1h, \
             actions: {{window: {window}, percentage: 0.5}}}}"
        )
    };
    let triggers = format!("[{}, {}]", trigger("shop", 1, "8x"), trigger("other", 1, "60x"));
    let node = node_with(&server, &[("--control-triggers", &triggers), ("--control-step-interval", "1s")]);
    // Watched for as long as its window: there is a value then.
    let value = |name: &str| format!("tailwater_control_trigger_value{{trigger=\"{name}\"}}");
    node.until(|metrics| metrics.get(&value("shop")) == Some(&0.0));
    send(node.http, "/v1/traces", &spans("/a"));
    node.until(|metrics| level(metrics, "window") == 8.0);
    let metrics = node.metrics();
    assert_eq!((level(&metrics, "percentage"), metrics[&value("other")]), (0.5, 0.0));
    let steps = shown(&node)["steps"].as_array().unwrap().clone();
    let told: Vec<(&str, &str)> = steps
        .iter()
        .map(|step| (step["cause"].as_str().unwrap_or_default(), step["after"].as_str().unwrap_or_default()))
        .collect();
    let expected = [
        ("trigger_on", "window=2x percentage=0.5"),
        ("approached", "window=4x percentage=0.5"),
        ("approached", "window=8x percentage=0.5"),
    ];
    assert_eq!((told.as_slice(), &steps[0]["service"]), (&expected[..], &json!("shop")));
    stop(node);
}

/// Without `Machine::is_idle` a node with nothing to follow would read its signals each second.
#[test]
fn without_triggers_nothing_is_read() {
    let server = Server::collecting();
    let node = node_with(&server, &[]);
    send(node.http, "/v1/traces", &spans("/a"));
    let mut calls = Calls::default();
    calls.until(&node, &server, &[(Some("/a"), SPANS)]);
    assert!(shown(&node)["signals"]["values"].as_object().unwrap().values().all(Value::is_null));
    assert_eq!(node.metrics()[STEPS], 0.0);
    stop(node);
}

/// Without the lines of `check::run` nobody would see what a preset stands for.
#[test]
fn a_check_shows_the_triggers_in_effect() {
    let mut check = std::process::Command::new(binary("tailwater"));
    let output = check.args(["check", "--control-preset", "high_load", "--control-dry-run"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    assert!(
        text.contains(
            "# Triggers in effect, as a dry run\n# {name: \"high_load.cpu\", signal: cpu, window: 30s, on: 0.85"
        ),
        "{text}"
    );
}

/// Without the guard of `accept_head` a page could do what only its reader may.
#[test]
fn what_is_asked_for_is_tried_refused_and_guarded() {
    let server = Server::collecting();
    let node = node_with(&server, &[("--control-preset", "high_load")]);
    let (status, said) = ask(&node, "window=3x&budget=0.25&dry_run=true");
    assert_eq!(
        (status, &said["would_be_in_force"]["window"], &said["in_force"]["window"]),
        (200, &json!(3), &json!(1))
    );
    assert_eq!(said["steps_total"], 0, "nothing was done");

    let (status, said) = ask(&node, "trigger=high_load.cpu&state=on&ttl=1h");
    assert_eq!((status, &said["in_force"]["window"], &said["in_force"]["mask"]), (200, &json!(4), &json!("strong")));
    let metrics = node.metrics();
    assert_eq!(metrics["tailwater_control_trigger_on{trigger=\"high_load.cpu\"}"], 1.0);
    assert_eq!((level(&metrics, "mask"), level(&metrics, "drop_dimensions")), (1.0, 1.0));
    let (_, said) = ask(&node, "window=2x&ttl=1h");
    assert_eq!(said["in_force"]["window"], 2, "what is set holds");

    for wrong in ["window=0", "drop_dimensions=tenant", "trigger=no&state=on", "keep=shop", "window=2x&ttl=0s", ""] {
        let (status, said) = ask(&node, wrong);
        assert_eq!(status, 400, "{wrong}");
        assert!(said["remedy"].as_str().is_some_and(|remedy| !remedy.is_empty()), "{said}");
    }
    let target = format!("{CONTROL}?window=2x");
    assert_eq!(post(node.admin, &target, &[("origin", "http://elsewhere.example")], b"").0, 403);
    let head = |method: &str| format!("{method} {CONTROL} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    assert_eq!(http_request(node.admin, &head("PUT"), &[]).0, 405);
    assert_eq!(clear(&node), 200);
    let metrics = node.metrics();
    assert_eq!((level(&metrics, "window"), level(&metrics, "mask")), (1.0, 0.0), "all is taken back");
    stop(node);
}
