//! A node among others: where its settings come from, what is refused with which remedy, and that keys stay secret.

use std::time::Duration;

use crate::support::{again, layered, loaded, problems};
use tailwater_config::{Cluster, JoinName, ListenAddress, Secret, effective, needs_restart, with_changes};

const KEY: &str = "0123456789abcdef0123456789abcdef";
const LISTEN: (&str, &str) = ("cluster.listen", "10.0.0.1:7946");
const KEYED: (&str, &str) = ("TAILWATER_CLUSTER_KEY", KEY);

fn address(text: &str) -> ListenAddress {
    ListenAddress::parse(text).unwrap_or_else(|| panic!("{text}"))
}

fn joined(text: &str) -> JoinName {
    JoinName::parse(text).unwrap_or_else(|| panic!("{text}"))
}

/// The only problem of a node with that key and these flags.
fn problem(flags: &[(&str, &str)]) -> String {
    let told = problems("", &[KEYED], flags);
    assert_eq!(told.len(), 1, "{told:?}");
    told[0].clone()
}

#[test]
fn a_node_is_by_itself_unless_it_listens() {
    let cluster = loaded("", &[], &[]).config.cluster;
    assert_eq!(cluster, Cluster::default());
    assert!(cluster.listen.is_none() && cluster.advertised().is_none());
    let flags = [("sampling.num_traces", "77"), ("cluster.listen", "none")];
    assert_eq!(loaded("", &[], &flags).config.cluster.docket_traces_max, 77);
    let noted = loaded("cluster: {answer_wait: 2s}\n", &[], &[]).notes;
    assert!(
        noted.len() == 1 && noted[0].to_string().contains("t.yaml:1: cluster.answer_wait: has no effect"),
        "{noted:?}"
    );
    let told = problems("", &[], &[("cluster.join", "a:1")]);
    assert!(told[0].contains("there is no cluster.listen") && told[0].contains("10.0.0.1:7946"), "{told:?}");
}

#[test]
fn every_key_is_read_from_file_variables_and_flags() {
    let file = "
cluster:
  listen: :7946
  join: [tailwater-headless:7946, '[::1]:7947', dnssrv+_tailwater._udp.tailwater]
  dns_server: 127.0.0.1:8600
  name: eu
  key_file: /etc/tailwater/keys
  evidence_delay: 100ms
  answer_wait: 2s
  hold_max: 20s
  docket_traces_max: 5000
  datagram_bytes_max: 1_400
  shed_halvings_max: 3
";
    let flags = [("cluster.rules_wait", "1m"), ("cluster.advertise", "10.1.2.3:0")];
    let cluster = loaded(file, &[("TAILWATER_CLUSTER_HOLD_MAX", "30s")], &flags).config.cluster;
    let expected = Cluster {
        listen: Some(address("0.0.0.0:7946")),
        join: ["tailwater-headless:7946", "[::1]:7947", "dnssrv+_tailwater._udp.tailwater"].map(joined).into(),
        dns_server: Some(address("127.0.0.1:8600")),
        advertise: Some(address("10.1.2.3:0")),
        name: "eu".to_string(),
        key_file: Some("/etc/tailwater/keys".into()),
        key: None,
        allow_plaintext: false,
        evidence_delay: Duration::from_millis(100),
        answer_wait: Duration::from_secs(2),
        hold_max: Duration::from_secs(30),
        docket_traces_max: 5000,
        datagram_bytes_max: 1400,
        rules_wait: Duration::from_secs(60),
        shed_halvings_max: 3,
    };
    assert_eq!(cluster, expected);
    assert_eq!(cluster.advertised(), expected.advertise.as_ref());
    let other = loaded("", &[KEYED, ("TAILWATER_CLUSTER_JOIN", "a:1, b:2")], &[LISTEN]).config.cluster;
    assert_eq!(other.join, ["a:1", "b:2"].map(joined));
    assert_eq!((other.key, other.listen), (Some(Secret::new(KEY)), Some(address(LISTEN.1))));
    let plain = loaded("", &[], &[LISTEN, ("cluster.allow_plaintext", "true")]).config.cluster;
    assert!(plain.allow_plaintext && plain.key.is_none());
}

#[test]
fn what_cannot_be_a_cluster_is_refused_with_a_remedy() {
    let told = problems("", &[], &[LISTEN]);
    assert!(
        told.len() == 1 && told[0].starts_with("flag --cluster-listen: cluster.listen = 10.0.0.1:7946"),
        "{told:?}"
    );
    for part in ["there is no key", "cluster.key_file", "TAILWATER_CLUSTER_KEY", "cluster.allow_plaintext"] {
        assert!(told[0].contains(part), "{part}: {told:?}");
    }
    for (flags, cause) in [
        ([("cluster.listen", "0.0.0.0:7946"), LISTEN], ""),
        ([("cluster.listen", "0.0.0.0:7946"); 2], "cluster.listen = 0.0.0.0:7946: is every address of this machine"),
        ([("cluster.listen", "[::]:7946"); 2], "--cluster-advertise=$POD_IP:7946"),
        ([LISTEN, ("cluster.advertise", ":7946")], "cluster.advertise = 0.0.0.0:7946: is every address of a machine"),
        ([LISTEN, ("cluster.join", "a")], "`a` is not an address to send to; write HOST:PORT"),
        ([LISTEN, ("cluster.join", "a:1,:2")], "`:2` is not an address to send to"),
        ([LISTEN, ("cluster.join", "a:0")], "`a:0` is not an address to send to"),
        ([LISTEN, ("cluster.key_file", "/x")], "there is cluster.key_file, too"),
        ([LISTEN, ("cluster.hold_max", "500ms")], "is shorter than cluster.answer_wait"),
        ([LISTEN, ("cluster.datagram_bytes_max", "1000")], "out of bounds; write 1190 to 65465"),
        ([LISTEN, ("cluster.evidence_delay", "1ms")], "out of bounds; write 10ms to 1m"),
        ([LISTEN, ("cluster.name", "")], "nothing written"),
        ([LISTEN, ("cluster.name", &"x".repeat(65))], "too long for a name"),
        ([LISTEN, ("cluster.join", &"a:1,".repeat(65))], "too many names"),
        ([LISTEN, ("cluster.joins", "a:1")], "unknown key; did you mean `cluster.join`?"),
    ] {
        if cause.is_empty() {
            loaded("", &[KEYED], &flags);
        } else {
            assert!(problem(&flags).contains(cause), "{cause}: {}", problem(&flags));
        }
    }
}

#[test]
fn pieces_of_traces_are_not_judged_by_several_nodes() {
    let told = problem(&[LISTEN, ("sampling.strategy", "span-ingest")]);
    assert!(told.contains("sampling.strategy = span-ingest") && told.contains("write trace-complete"), "{told}");
    let file = "
cluster: {listen: '10.0.0.1:7946'}
pipelines:
  a: {}
  b: {strategy: span-ingest}
";
    let told = problems(file, &[KEYED], &[]);
    assert!(told.len() == 1 && told[0].starts_with("t.yaml:5: pipelines.b.strategy"), "{told:?}");
}

#[test]
fn keys_are_never_shown() {
    let secret = "hunter2-hunter2-hunter2-hunter2-hunter2";
    let file = format!("cluster: {{listen: '10.0.0.1:7946', key: {secret}}}\n");
    let from_file = loaded(&file, &[], &[]);
    let from_flag = loaded("", &[], &[LISTEN, ("cluster.key", secret)]);
    for loaded in [&from_file, &from_flag] {
        assert_eq!(loaded.config.cluster.key, Some(Secret::new(secret)));
        let text = effective(loaded);
        assert!(text.contains("  key: \"[redacted]\"  # "), "{text}");
        assert!(!text.contains("hunter") && !format!("{loaded:?}").contains("hunter"), "{text}");
        // What is printed does not pass for a key.
        assert!(layered(&text, &[], &[]).is_err());
        let put_back = again(&loaded.config, &text.replace("[redacted]", secret), &[]);
        assert_eq!(put_back.cluster, loaded.config.cluster);
    }
    let notes: Vec<String> = from_flag.notes.iter().map(ToString::to_string).collect();
    assert!(notes.iter().any(|note| note.contains("flag --cluster-key: cluster.key: is seen by")), "{notes:?}");
    assert!(!from_file.notes.iter().any(|note| note.key == "cluster.key"));
    for (file, flag) in [("", "hunter2"), ("cluster: {key: [hunter2]}", ""), ("cluster: {key: hunter2}", "")] {
        let flags = [LISTEN, ("cluster.key", flag)];
        let flags = if flag.is_empty() { &flags[..1] } else { &flags[..] };
        let told = problems(file, &[], flags);
        assert!(told.len() == 1 && told[0].contains("cluster.key") && !told[0].contains("hunter"), "{told:?}");
    }
    // The end of a line is none of the key, wherever it comes from.
    let trimmed = loaded("", &[("TAILWATER_CLUSTER_KEY", &format!("{KEY}\n"))], &[LISTEN]).config.cluster.key;
    assert_eq!(trimmed, Some(Secret::new(KEY)));
}

#[test]
fn nothing_of_it_changes_at_a_reload() {
    let running = loaded("", &[KEYED], &[LISTEN]).config;
    let flags = [LISTEN, ("cluster.join", "a:1"), ("cluster.answer_wait", "2s")];
    let other = KEY.replace('0', "1");
    let wanted = loaded("", &[("TAILWATER_CLUSTER_KEY", &other)], &flags).config;
    assert_eq!(needs_restart(&running, &wanted), ["cluster.join", "cluster.key", "cluster.answer_wait"]);
    assert_eq!(with_changes(&running, &wanted), running);
}
