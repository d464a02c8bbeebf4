//! When a node does less: triggers from text, and what is wrong with them.

use crate::support::{again, loaded, refused_with};
use std::time::Duration;
use tailwater_config::{Config, effective, needs_restart, with_changes};
use tailwater_dial::Signal;

const FILE: &str = r#"
summaries:
  span_metrics: {enabled: true, dimensions: [http.route, tenant=none]}
  log_patterns: {enabled: true}
control:
  dry_run: true
  step_interval: 3s
  preset: high_load
  triggers:
    - name: busy
      signal: cpu
      window: 45s
      on: 0.85
      off: 0.6
      for: 5s
      hold: 2m
      actions: {window: 4x, drop_dimensions: [http.route, tenant], mask: strong, budget: 0.5}
    - {name: late, signal: queue_age, on: 30, off: 5, actions: {budget: 0.25, percentage: 0.5}}
    - {name: broken, signal: error_ratio, service: 'a "b\c', on: 0.5, off: 0.1, actions: {window: 2x}}
"#;

#[test]
fn triggers_are_read_and_written_again() {
    let loaded = loaded(FILE, &[], &[]);
    let control = &loaded.config.control;
    let busy = &control.triggers[0];
    assert_eq!((busy.signal, busy.window), (Signal::Cpu, Duration::from_secs(45)));
    assert_eq!((busy.on, busy.off), (0.85, 0.6));
    assert_eq!((busy.least_on, busy.least_off), (Duration::from_secs(5), Duration::from_secs(120)));
    assert_eq!(busy.actions.to_string(), "window=4x drop_dimensions=http.route,tenant mask=strong budget=0.5");
    let late = &control.triggers[1];
    assert_eq!((late.window, late.least_on), (Duration::from_secs(30), Duration::from_secs(10)));
    assert_eq!(
        (control.triggers[2].service.as_deref(), control.step_interval),
        (Some("a \"b\\c"), Duration::from_secs(3))
    );
    let names: Vec<String> = control.plan().triggers.into_iter().map(|trigger| trigger.name).collect();
    assert_eq!(names, ["high_load.cpu", "high_load.memory", "busy", "late", "broken"]);
    assert!(control.plan().triggers.iter().all(|trigger| trigger.check().is_ok()));
    assert_eq!(loaded.notes.len(), 0, "{:?}", loaded.notes);
    assert_eq!(again(&loaded.config, &effective(&loaded), &[]), loaded.config);
}

#[test]
fn they_can_be_written_as_a_flag_and_change_without_a_restart() {
    let text = "[{name: busy, signal: memory, on: 0.9, off: 0.5, actions: {window: 2x}}]";
    let told = loaded("", &[], &[("control.triggers", text)]).config;
    assert_eq!(told.control.triggers.len(), 1);
    let running = loaded("", &[], &[]).config;
    assert_eq!(running.control.plan().triggers, []);
    assert_eq!(needs_restart(&running, &told), [""; 0]);
    assert_eq!(with_changes(&running, &told), Config { control: told.control.clone(), ..running });
}

#[test]
fn what_is_wrong_is_refused_with_its_line() {
    let with = |trigger: &str| format!("control:\n  triggers:\n    - {{{trigger}}}\n");
    let actions = "actions: {window: 2x}";
    for (trigger, cause) in [
        (format!("name: a, signal: cpus, on: 0.8, off: 0.6, {actions}"), "did you mean `cpu`?"),
        (format!("name: a, signal: cpu, on: 0.8, {actions}"), "control.triggers[0].off: no level"),
        (format!("name: a, signal: cpu, on: 80, off: 60, {actions}"), "80 is no level of its signal"),
        (format!("name: a, signal: cpu, on: 0.8, off: 0.8, {actions}"), "`on` and `off` are the same"),
        (
            format!("name: a, signal: cpu, service: shop, on: 0.8, off: 0.6, {actions}"),
            "name a service for arrival_rate",
        ),
        (format!("name: a, signal: cpu, on: 0.8, off: 0.6, window: 1h, {actions}"), "write 1s to 10m"),
        (format!("name: a, signal: cpu, on: 0.8, off: 0.6, for: long, {actions}"), "not a duration"),
        (format!("signal: cpu, on: 0.8, off: 0.6, {actions}"), "a trigger has a name"),
        ("name: a, signal: cpu, on: 0.8, off: 0.6".to_string(), "a trigger without actions"),
        ("name: a, signal: cpu, on: 0.8, off: 0.6, actions: {window: 0}".to_string(), "write a whole number from 1x"),
        ("name: a, signal: cpu, on: 0.8, off: 0.6, actions: {mask: weak}".to_string(), "write usual or strong"),
        ("name: a, signal: cpu, on: 0.8, off: 0.6, actions: {keep: {ratio: 1}}".to_string(), "unknown key"),
        ("name: a, signal: cpu, on: 0.8, off: 0.6, above: 3".to_string(), "unknown key"),
    ] {
        refused_with(&with(&trigger), 3, cause);
    }
    let dropped = "name: a, signal: cpu, on: 0.8, off: 0.6, actions: {drop_dimensions: [http.route]}";
    refused_with(&with(dropped), 2, "tells no series of `summaries.span_metrics` apart");
    let twice = format!(
        "{}    - {{name: a, signal: cpu, on: 0.8, off: 0.6, {actions}}}\n",
        with(&format!("name: a, signal: cpu, on: 0.8, off: 0.6, {actions}"))
    );
    refused_with(&twice, 4, "there is a trigger `a`");
    let one = |number: usize| {
        format!("{{name: a{number}, signal: error_rate, service: s{number}, on: 9, off: 1, {actions}}}")
    };
    let many = (0..33).map(one).collect::<Vec<_>>().join(", ");
    refused_with(&format!("control:\n  triggers: [{many}]\n"), 2, "name at most 32");
    let known = format!("name: high_load.cpu, signal: cpu, on: 0.8, off: 0.6, {actions}");
    refused_with(&with(&known), 2, "is the name of a trigger of `control.preset`");
}

#[test]
fn what_can_have_no_effect_is_noted() {
    let file = "ack: received\ncontrol:\n  triggers:\n    - {name: a, signal: log_bytes, on: 0.8, off: 0.6, actions: {mask: strong}}\n";
    let notes: Vec<String> = loaded(file, &[], &[]).notes.iter().map(ToString::to_string).collect();
    assert!(notes.iter().any(|note| note.contains("it never comes on")), "{notes:?}");
    assert!(notes.iter().any(|note| note.contains("`mask` of `a` has no effect")), "{notes:?}");
    let of = |thresholds: &str| {
        let trigger = "{name: a, signal: cpu, on: 0.8, off: 0.6, actions: {percentage: 0.5, budget: 0.5}}";
        let file = format!("sampling: {{thresholds: {thresholds}}}\ncontrol: {{triggers: [{trigger}]}}\n");
        let notes = loaded(&file, &[], &[]).notes;
        notes.iter().filter(|note| note.to_string().contains("no pipeline says thresholds")).count()
    };
    assert_eq!((of("otep235"), of("collector")), (0, 2));
}
