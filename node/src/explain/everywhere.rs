//! What all nodes of the cluster know of a trace, put together: the verdict of who judged it, and where its spans lie.

use serde_json::{Value, json};
use std::collections::BTreeSet;
use tailwater_proto::cluster::NodeId;

/// What may be left out of an answer that is too long for a datagram, the first at first.
const CUT: [&str; 6] = ["votes", "conditions", "root_span", "service", "sub_policy", "policy"];

/// An answer to another node in so many bytes; without some of it where it would be longer.
pub fn cut(mut said: Value, bytes_max: usize) -> String {
    let mut text = said.to_string();
    for key in CUT {
        if text.len() <= bytes_max {
            break;
        }
        if let Some(said) = said.as_object_mut() {
            said.remove(key);
        }
        text = said.to_string();
    }
    if text.len() <= bytes_max { text } else { "{}".into() }
}

/// What is known of a trace in one pipeline.
#[derive(Debug, Default)]
pub struct Everywhere {
    /// Who judges it, as this node sees the cluster.
    pub owner: Option<NodeId>,
    /// What each node says that knows anything, this one among them.
    pub said: Vec<(NodeId, Value)>,
    /// Who did not answer.
    pub silent: BTreeSet<NodeId>,
}

impl Everywhere {
    /// The answer of the node with the verdict, with who that is, who owns the trace and what lies where; `None` where nobody
    /// knows anything.
    pub fn answer(mut self) -> Option<Value> {
        // The same answer, whichever node is asked.
        self.said.sort_by_key(|(node, _)| *node);
        let best = self.said.iter().max_by_key(|(node, said)| rank(said, Some(*node) == self.owner))?;
        let (teller, mut said) = best.clone();
        let is_judged = said["state"] != "pending";
        // Keeps are said to all: who has none of the spans remembers the verdict, too.
        let counted: u64 = self.said.iter().filter_map(|(_, said)| said["spans_here"].as_u64()).sum();
        let are_all = is_of_judge(&said) && said["evidence"]["spans"].as_u64() == Some(counted);
        let parts: Vec<Value> = self.said.iter().map(|(node, said)| part(*node, said, are_all)).collect();
        if let Some(said) = said.as_object_mut() {
            said.remove("spans_here");
        }
        said["judged_by"] = (is_judged && is_of_judge(&said)).then(|| teller.to_string()).into();
        said["told_by"] = teller.to_string().into();
        said["owner"] = self.owner.map(|owner| owner.to_string()).into();
        for key in ["service", "root_span"] {
            let other = || self.said.iter().map(|(_, said)| &said[key]).find(|value| value.is_string());
            if said[key].is_null()
                && let Some(other) = other()
            {
                said[key] = other.clone();
            }
        }
        said["parts"] = parts.into();
        said["silent"] = self.silent.iter().map(ToString::to_string).collect();
        Some(said)
    }
}

/// Whether it is told by the node that judged, and not by one that was told.
fn is_of_judge(said: &Value) -> bool {
    said["ended_by"].is_string() && said["ended_by"] != "owner"
}

/// How much what a node says counts.
fn rank(said: &Value, is_owner: bool) -> (u8, bool) {
    let rank = match said["state"].as_str() {
        Some("pending") => u8::from(is_owner) * 3,
        _ if is_of_judge(said) => 4,
        _ if said["ended_by"].is_string() => 2,
        _ => 1,
    };
    (rank, is_owner)
}

/// What lies on a node. How many spans that were is forgotten where only the verdict is remembered; none, where `are_all`
/// elsewhere.
fn part(node: NodeId, said: &Value, are_all: bool) -> Value {
    let spans = if said["spans_here"].is_null() && are_all { 0.into() } else { said["spans_here"].clone() };
    json!({ "node": node.to_string(), "state": said["state"], "spans": spans })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(ended_by: &str, spans_here: u32) -> Value {
        json!({ "state": "kept", "ended_by": ended_by, "spans_here": spans_here, "policy": "errors", "service": null })
    }

    fn told(owner: u64, said: Vec<(u64, Value)>, silent: &[u64]) -> Option<Value> {
        let said = said.into_iter().map(|(node, said)| (NodeId(node), said)).collect();
        let silent = silent.iter().copied().map(NodeId).collect();
        Everywhere { owner: Some(NodeId(owner)), said, silent }.answer()
    }

    #[test]
    fn who_judged_has_the_word_and_all_tell_what_lies_there() {
        let mut first = judged("owner", 2);
        first["service"] = "shop".into();
        let said = told(3, vec![(2, first), (3, judged("decision_wait", 0))], &[4]).unwrap();
        let node = |number: u64| NodeId(number).to_string();
        assert_eq!((&said["ended_by"], &said["judged_by"]), (&json!("decision_wait"), &json!(node(3))));
        assert_eq!((&said["owner"], &said["service"]), (&json!(node(3)), &json!("shop")));
        assert_eq!((&said["silent"], &said["spans_here"]), (&json!([node(4)]), &Value::Null));
        let parts = json!([
            { "node": node(2), "state": "kept", "spans": 2 },
            { "node": node(3), "state": "kept", "spans": 0 },
        ]);
        assert_eq!(said["parts"], parts);
    }

    /// Without `are_all` a node that has heard of a keep would look as if it had some of the trace.
    #[test]
    fn who_only_heard_of_a_keep_has_no_spans_of_it_where_all_are_counted() {
        let remembered = json!({ "state": "kept" });
        let spans = |total: u32| {
            let mut judge = judged("decision_wait", 1);
            judge["evidence"] = json!({ "spans": total });
            let said = told(3, vec![(1, remembered.clone()), (2, judged("owner", 2)), (3, judge)], &[]).unwrap();
            said["parts"].as_array().unwrap().iter().map(|part| part["spans"].clone()).collect::<Vec<_>>()
        };
        assert_eq!(spans(3), [json!(0), json!(2), json!(1)]);
        assert_eq!(spans(5), [Value::Null, json!(2), json!(1)]);
    }

    /// Without the ranks the answer would be of whichever node has the highest id.
    #[test]
    fn a_verdict_counts_more_than_what_is_pending_and_the_owners_more_than_others() {
        let pending = json!({ "state": "pending", "spans_here": 1 });
        let remembered = json!({ "state": "dropped" });
        let state = |owner, said| told(owner, said, &[]).map(|said| (said["state"].clone(), said["told_by"].clone()));
        let node = |number: u64| json!(NodeId(number).to_string());
        let both = || vec![(1, pending.clone()), (2, pending.clone())];
        assert_eq!(state(1, both()), Some((json!("pending"), node(1))));
        let late = vec![(1, remembered.clone()), (2, pending.clone())];
        assert_eq!(state(3, late), Some((json!("dropped"), node(1))), "an owner that is gone has told of it");
        let alone = vec![(1, judged("hold_max", 1)), (2, judged("owner", 1))];
        assert_eq!(state(2, alone), Some((json!("kept"), node(1))));
        assert_eq!(state(1, Vec::new()), None);
    }

    #[test]
    fn an_answer_is_cut_to_what_a_datagram_takes() {
        let said = json!({ "state": "kept", "votes": ["x".repeat(50)], "policy": "p".repeat(30), "spans_here": 3 });
        assert_eq!(cut(said.clone(), 500), said.to_string());
        let shorter = cut(said.clone(), 90);
        assert!(shorter.len() <= 90 && !shorter.contains("votes") && shorter.contains("ppp"), "{shorter}");
        assert_eq!(cut(said.clone(), 40), json!({ "state": "kept", "spans_here": 3 }).to_string());
        assert_eq!(cut(said, 10), "{}");
    }
}
