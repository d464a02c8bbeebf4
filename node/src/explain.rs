//! Why a trace was kept or dropped, as JSON for the admin endpoint; `client` asks a node for it, `asking` the cores of this
//! node and the others of the cluster.

pub mod asking;
pub mod client;
mod everywhere;

use crate::control::Explained;
use crate::log_tool::moment::rfc3339;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;
use tailwater_engine::explain::{Explanation, Pending, Reason, Says};
use tailwater_engine::ledger::DropReason;
use tailwater_engine::vocabulary::{Nanos, Occasion, StatusMask, TraceId, Verdict};
use tailwater_proto::cluster::NodeId;
use tailwater_proto::consistent::{probability_of, put_randomness, put_threshold};

/// What policies are called.
pub trait Names {
    /// The policy of that number.
    fn policy(&self, policy: u16) -> String;
    /// A sub-policy of a generation; `None` when the generation is too long ago.
    fn sub_policy(&self, generation: u32, sub_policy: u16) -> Option<String>;
    /// The conditions of a policy in the words of the configuration; none when the generation is too long ago.
    fn conditions(&self, generation: u32, policy: u16) -> Vec<String>;
}

/// The id in 32 hexadecimal digits; `None` when it is none.
pub fn trace_id(text: &str) -> Option<TraceId> {
    let mut id = [0; 16];
    if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, at) in id.iter_mut().zip((0..32).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(id)
}

/// What one of a pipeline's cores knows, if any does. `unix_nano` is the time of the answers.
pub fn answer(id: &str, explained: &[&Explained], names: &impl Names, unix_nano: u64) -> Option<Value> {
    // A trace has one owner.
    let known = explained.iter().enumerate().find_map(|(shard, one)| Some((shard, one, one.explanation.as_ref()?)));
    let (shard, Explained { now, owner, .. }, explanation) = known?;
    let mut said = match explanation {
        Explanation::Judged(reason) => judged(reason, names, *now, unix_nano),
        Explanation::Remembered(kept_by) => json!({
            "state": if kept_by.is_some() { "kept" } else { "dropped" },
            // Verdicts of former runs may be without.
            "policy": kept_by.map(|policy| names.policy(policy)).filter(|name| !name.is_empty()),
            "why": "it was judged too long ago, or before the last start: only the verdict is remembered, \
                for spans that come late",
        }),
        Explanation::Pending(pending) => waiting(pending, names, *now),
    };
    if owner.is_some() {
        said["spans_here"] = match explanation {
            Explanation::Judged(reason) | Explanation::Pending(Pending { reason, .. }) => reason.spans_here.into(),
            Explanation::Remembered(_) => Value::Null,
        };
    }
    said["trace_id"] = id.into();
    said["shard"] = shard.into();
    Some(said)
}

/// What is said of a trace that no core knows, nor any other node but those that did not answer.
pub fn unknown(id: &str, verdicts_max: u64, silent: Option<&BTreeSet<NodeId>>) -> Value {
    let silent: Option<Vec<String>> = silent.map(|silent| silent.iter().map(ToString::to_string).collect());
    let remedy = match (verdicts_max, &silent) {
        (_, Some(silent)) if silent.is_empty() => {
            "it never came to any node, or was judged too long ago (explain.verdicts_max on each); \
            `tailwater log dump` finds older verdicts in the log"
                .to_string()
        }
        (_, Some(silent)) => format!("ask again: {} did not answer, and may know it", silent.join(", ")),
        (0, None) => "verdicts are not explained by this node: set explain.verdicts_max".to_string(),
        (most, None) => format!(
            "it never came to this node, or was judged more than {most} traces ago (explain.verdicts_max); \
            `tailwater log dump` finds older verdicts in the log"
        ),
    };
    let mut said = json!({ "trace_id": id, "error": "no trace of this id is known", "remedy": remedy });
    if let Some(silent) = silent {
        said["silent"] = silent.into();
    }
    said
}

fn judged(reason: &Reason, names: &impl Names, now: Nanos, unix_nano: u64) -> Value {
    let age = now.0.saturating_sub(reason.judged.0);
    let mut said = verdict(reason, names);
    said["judged"] = rfc3339(unix_nano.saturating_sub(age)).into();
    said["age_seconds"] = seconds(age).into();
    said["occasion"] = occasion(reason.occasion).into();
    said["ended_by"] = reason.occasion.word().into();
    said
}

fn verdict(reason: &Reason, names: &impl Names) -> Value {
    let (state, why) = match (reason.verdict, reason.policy) {
        (Verdict::Keep(_), _) => ("kept", "a policy sampled it"),
        (Verdict::Drop, Some(_)) if reason.drop_reason == DropReason::NotSampled => {
            ("dropped", "the first rule whose conditions hold did not keep it")
        }
        (Verdict::Drop, _) => ("dropped", dropped(reason.drop_reason)),
    };
    let policy = reason.policy.map(|policy| names.policy(policy));
    let conditions = reason.policy.map(|policy| names.conditions(reason.generation, policy)).unwrap_or_default();
    let held = conditions.into_iter().take(64).enumerate().filter(|(number, _)| reason.held >> number & 1 == 1);
    let held: Vec<String> = held.map(|(_, condition)| condition).collect();
    let named = |name: String| (!name.is_empty()).then_some(name);
    let sub_policy = reason.sub_policy.and_then(|number| names.sub_policy(reason.generation, number));
    let text = |put: fn(u64, &mut Vec<u8>), number: u64| {
        let mut text = Vec::new();
        put(number, &mut text);
        String::from_utf8_lossy(&text).into_owned()
    };
    json!({
        "state": state,
        "policy": policy,
        "sub_policy": sub_policy,
        "conditions": held,
        "why": why,
        "service": named(reason.origin.service.text()),
        "root_span": named(reason.origin.root.text()),
        "generation": reason.generation,
        "threshold": text(put_threshold, reason.threshold),
        "probability": probability_of(reason.threshold),
        "randomness": text(put_randomness, reason.randomness),
        "evidence": {
            "spans": reason.spans,
            "bytes": reason.bytes,
            "duration_seconds": seconds(reason.duration_nanos),
            "duration": lasting(reason.duration_nanos),
            "status": statuses(reason.status),
            "root_seen": reason.root_seen,
        },
    })
}

fn waiting(pending: &Pending, names: &impl Names, now: Nanos) -> Value {
    let mut said = verdict(&pending.reason, names);
    said["would_be"] = std::mem::replace(&mut said["state"], "pending".into());
    said["age_seconds"] = seconds(now.0.saturating_sub(pending.opened.0)).into();
    said["judged_in_seconds"] = seconds(pending.deadline.0.saturating_sub(now.0)).into();
    said["waits_for"] = pending.reason.occasion.word().into();
    said["is_partly_in_log_only"] = pending.has_cold.into();
    let votes = pending.votes.iter().map(|vote| {
        let says = match vote.says {
            Says::Yes => "yes",
            Says::No => "no",
            Says::Failed => "failed",
            Says::NotAsked => "not asked",
        };
        json!({ "policy": names.policy(vote.policy), "says": says })
    });
    said["votes"] = votes.collect();
    said
}

fn seconds(nanos: u64) -> f64 {
    Duration::from_nanos(nanos).as_secs_f64()
}

/// A duration as people read it, in the unit that fits.
pub fn lasting(nanos: u64) -> String {
    let milliseconds = nanos / Nanos::PER_MILLISECOND;
    let (seconds, minutes) = (milliseconds / 1000, milliseconds / 60_000);
    match milliseconds {
        // In thousandths, so that no fraction is needed.
        0 if nanos < 1000 => format!("{nanos} ns"),
        0 => format!("{} us", nanos / 1000),
        1..10 => format!("{milliseconds}.{:03} ms", nanos / 1000 % 1000),
        10..1000 => format!("{milliseconds} ms"),
        1000..60_000 => format!("{seconds}.{:02} s", milliseconds % 1000 / 10),
        60_000..3_600_000 => format!("{minutes} min {} s", seconds % 60),
        _ => format!("{} h {} min", minutes / 60, minutes % 60),
    }
}

fn statuses(mask: StatusMask) -> Vec<&'static str> {
    let names = ["unset", "ok", "error"].into_iter().enumerate();
    names.filter(|(bit, _)| mask >> bit & 1 == 1).map(|(_, name)| name).collect()
}

fn occasion(occasion: Occasion) -> &'static str {
    match occasion {
        Occasion::Deadline => "its wait was over: decision_wait since its first span",
        Occasion::AfterRoot => "its wait was over: decision_wait_after_root_received since its root span",
        Occasion::Inactivity => "its wait was over: no span of it came for inactivity_timeout",
        Occasion::DurationMax => "its wait was over: max_trace_duration since its first span",
        Occasion::Early => "early: memory for spans was full, and this trace was due next",
        Occasion::TracesMax => "early: num_traces were pending, and this trace was due next",
        Occasion::LogFull => "early: the log was full (wal.on_full), and this trace was due next",
        Occasion::Reload => "early: the configuration had changed, and its spans were in the log only",
        Occasion::Drain => "the node was stopping",
        Occasion::TooLarge => "it outgrew sampling.maximum_trace_size_bytes",
        Occasion::Ingest => "a piece of it came that decided",
        Occasion::Owner => "the node of the cluster that owns it had judged it",
        Occasion::ByHand => "a person has kept it after all (recall)",
        Occasion::Alone => "no node of the cluster that owns it answered for cluster.hold_max",
    }
}

fn dropped(reason: DropReason) -> &'static str {
    match reason {
        DropReason::NotSampled => "no policy sampled it",
        DropReason::DropPolicy => "a drop policy matched",
        DropReason::TraceTooLarge => "it outgrew sampling.maximum_trace_size_bytes",
        DropReason::ShutdownPending => "it was undecided when the node stopped",
        other => other.label(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tailwater_engine::explain::origin::{Origin, Prefix};

    #[test]
    fn durations_are_told_in_the_unit_that_fits() {
        let shown =
            [0, 850_000, 9_999_999, 10_000_000, 999_999_999, 1_500_000_000, 59_999_000_000].map(lasting).join(", ");
        assert_eq!(shown, "0 ns, 850 us, 9.999 ms, 10 ms, 999 ms, 1.50 s, 59.99 s");
        assert_eq!([125_000_000_000, 7_500_000_000_000].map(lasting).join(", "), "2 min 5 s, 2 h 5 min");
    }

    struct Numbers;

    impl Names for Numbers {
        fn policy(&self, policy: u16) -> String {
            format!("p{policy}")
        }

        fn sub_policy(&self, generation: u32, sub_policy: u16) -> Option<String> {
            Some(format!("s{generation}.{sub_policy}"))
        }

        fn conditions(&self, _: u32, policy: u16) -> Vec<String> {
            (0..3).map(|number| format!("c{policy}.{number}")).collect()
        }
    }

    #[test]
    fn a_verdict_is_told_with_its_threshold_and_evidence() {
        let reason = Reason {
            judged: Nanos(2_000_000_000),
            occasion: Occasion::Deadline,
            verdict: Verdict::Keep(3),
            policy: Some(3),
            held: 5,
            origin: Origin { service: Prefix::of(b"shop"), root: Prefix::of(b"GET /") },
            drop_reason: DropReason::NotSampled,
            sub_policy: Some(1),
            threshold: 1 << 55,
            randomness: 0xff << 48,
            generation: 4,
            spans: 5,
            spans_here: 2,
            bytes: 600,
            duration_nanos: 1_500_000_000,
            status: 5,
            root_seen: true,
        };
        let explanation = Some(Explanation::Judged(reason));
        let known = Explained { now: Nanos(5_000_000_000), explanation, owner: None };
        let cores = [&Explained { now: Nanos(0), explanation: None, owner: None }, &known];
        let said = answer("x", &cores, &Numbers, 1_700_000_003_000_000_000).unwrap();
        assert_eq!((&said["state"], &said["shard"], &said["policy"]), (&json!("kept"), &json!(1), &json!("p3")));
        assert_eq!((&said["threshold"], &said["probability"]), (&json!("8"), &json!(0.5)));
        assert_eq!((&said["sub_policy"], &said["age_seconds"]), (&json!("s4.1"), &json!(3.0)));
        assert_eq!(said["evidence"]["status"], json!(["unset", "error"]));
        assert_eq!((&said["service"], &said["root_span"]), (&json!("shop"), &json!("GET /")));
        assert_eq!((&said["conditions"], &said["ended_by"]), (&json!(["c3.0", "c3.2"]), &json!("decision_wait")));
        assert!(said["judged"].as_str().unwrap().starts_with("2023-11-14T22:13:20"), "{said}");
        assert_eq!(answer("x", &cores[..1], &Numbers, 0), None);
        assert_eq!(said["spans_here"], Value::Null, "there is nowhere else");
        let known = Explained { owner: Some(NodeId(1)), ..known };
        assert_eq!(answer("x", &[&known], &Numbers, 0).unwrap()["spans_here"], json!(2));
    }

    #[test]
    fn ids_are_32_hexadecimal_digits() {
        assert_eq!(trace_id("000102030405060708090a0b0c0d0eFF").map(|id| (id[1], id[15])), Some((1, 255)));
        for wrong in ["", "0001", "zz0102030405060708090a0b0c0d0e0f", "+00102030405060708090a0b0c0d0e0f0"] {
            assert_eq!(trace_id(wrong), None, "{wrong}");
        }
        assert_eq!(trace_id("+1020304050607080900a0b0c0d0e0f0"), None, "a sign is no digit");
    }
}
