//! Questions about a trace to all members, for a person who asks: each has a number and an end, so that nobody waits for a node
//! that says nothing. What others ask goes to the side thread, which knows what the cores and their rules say.

use super::State;
use async_channel::{Receiver, Sender, bounded};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tailwater_engine::vocabulary::TraceId;
use tailwater_proto::cluster::NodeId;
use tailwater_proto::cluster::question::{ANSWER_HEADER_BYTES, Asking};

/// Questions of this node that wait for answers.
/// At the bound: who asks gets what its own node knows, and is told that nobody else was asked.
const QUESTIONS_MAX: usize = 16;
/// Questions of other nodes that wait for the side thread.
/// At the bound: further ones are passed over, counted in `tailwater_cluster_questions_passed_over_total`; who asks is told
/// that this node did not answer.
const ASKED_MAX: usize = 64;
/// How long the others have: a question that was lost is sent again within it.
const ANSWER_WAIT: Duration = Duration::from_secs(1);

/// A question after a trace, for all members.
pub struct Question {
    /// Which trace.
    pub trace_id: TraceId,
    /// In which pipelines, by the hashes of their names.
    pub pipelines: Vec<u64>,
    /// What comes of it. Closed without an answer if too many questions wait.
    pub answer: Sender<Answers>,
}

/// What came of a question.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answers {
    /// What members have said, by the pipelines.
    pub said: Vec<(NodeId, u64, Vec<u8>)>,
    /// Members that have not said all that they were asked for.
    pub silent: BTreeSet<NodeId>,
}

/// A question of another node.
pub struct Asked {
    /// Who asks.
    pub node: NodeId,
    /// Of which pipeline, by the hash of its name.
    pub pipeline: u64,
    /// The number that goes back with the answer.
    pub number: u64,
    /// About which trace.
    pub trace_id: TraceId,
    /// Bytes that the answer may have.
    pub bytes_max: usize,
}

/// What is counted of questions.
#[derive(Debug, Clone, Copy, Default)]
pub struct QuestionCounts {
    /// Those asked of other nodes.
    pub asked: u64,
    /// Those of other nodes.
    pub heard: u64,
    /// Those of other nodes that there was no room for.
    pub passed_over: u64,
    /// Answers heard.
    pub answers_heard: u64,
    /// Questions of this node that a member did not answer.
    pub unanswered: u64,
}

/// A question that waits.
struct Open {
    missing: BTreeSet<(NodeId, u64)>,
    answers: Answers,
    until: Duration,
    answer: Sender<Answers>,
}

/// The questions that wait.
pub(super) struct Questions {
    last: u64,
    open: BTreeMap<u64, Open>,
    asked: Sender<Asked>,
    pub(super) counts: QuestionCounts,
    payload_bytes_max: usize,
}

/// The way of others' questions to the side thread.
pub fn asked() -> (Sender<Asked>, Receiver<Asked>) {
    bounded(ASKED_MAX)
}

impl Questions {
    pub(super) fn new(asked: Sender<Asked>, payload_bytes_max: usize) -> Self {
        Self { last: 0, open: BTreeMap::new(), asked, counts: QuestionCounts::default(), payload_bytes_max }
    }

    /// Begins a question to these members. Returns what is to be told to whom.
    fn begin(&mut self, now: Duration, members: &[NodeId], question: Question) -> Vec<(NodeId, Vec<u8>)> {
        let Question { trace_id, pipelines, answer } = question;
        if self.open.len() >= QUESTIONS_MAX {
            return Vec::new();
        }
        self.last += 1;
        let mut told = Vec::new();
        let mut open = Open { missing: BTreeSet::new(), answers: Answers::default(), until: now + ANSWER_WAIT, answer };
        for (member, pipeline) in
            members.iter().flat_map(|member| pipelines.iter().map(|pipeline| (*member, *pipeline)))
        {
            let mut message = Vec::new();
            Asking::Question(pipeline, self.last, trace_id).put(&mut message);
            told.push((member, message));
            open.missing.insert((member, pipeline));
        }
        self.counts.asked += u64::try_from(told.len()).unwrap_or(u64::MAX);
        self.open.insert(self.last, open);
        self.end(now, self.last);
        told
    }

    /// Takes a question of another node, or an answer to one of this.
    pub(super) fn hear(&mut self, now: Duration, node: NodeId, asking: &Asking<'_>) {
        match *asking {
            Asking::Question(pipeline, number, trace_id) => {
                let bytes_max = self.payload_bytes_max.saturating_sub(ANSWER_HEADER_BYTES);
                let asked = Asked { node, pipeline, number, trace_id, bytes_max };
                self.counts.heard += 1;
                self.counts.passed_over += u64::from(self.asked.try_send(asked).is_err());
            }
            Asking::Answer(pipeline, number, text) => {
                let Some(open) = self.open.get_mut(&number) else { return };
                // Only who was asked is heard, and once.
                if open.missing.remove(&(node, pipeline)) {
                    self.counts.answers_heard += 1;
                    open.answers.said.push((node, pipeline, text.to_vec()));
                    self.end(now, number);
                }
            }
        }
    }

    /// Ends a question for which all have answered, or whose time is over.
    fn end(&mut self, now: Duration, number: u64) {
        let is_over = |open: &Open| open.missing.is_empty() || now >= open.until;
        if !self.open.get(&number).is_some_and(is_over) {
            return;
        }
        if let Some(Open { missing, mut answers, answer, .. }) = self.open.remove(&number) {
            self.counts.unanswered += u64::try_from(missing.len()).unwrap_or(u64::MAX);
            answers.silent = missing.into_iter().map(|(node, _)| node).collect();
            // Who asked may have gone meanwhile.
            _ = answer.try_send(answers);
        }
    }

    /// Ends the questions whose time is over.
    pub(super) fn expire(&mut self, now: Duration) {
        let numbers: Vec<u64> = self.open.keys().copied().collect();
        numbers.into_iter().for_each(|number| self.end(now, number));
    }
}

impl State {
    /// Asks all other members.
    pub(super) fn ask(&self, question: Question) {
        self.with_hub(|hub, now, wire| {
            let members: Vec<NodeId> = hub.view().members().iter().map(|member| member.node).collect();
            let others: Vec<NodeId> = members.into_iter().filter(|node| *node != self.own.0).collect();
            for (node, message) in wire.questions.begin(now, &others, question) {
                // One that finds no room is not answered, of which who asks is told.
                _ = hub.tell(now, node, &message, wire);
            }
        });
    }

    /// Tells another node what it has asked for.
    pub(super) fn answer(&self, asked: &Asked, text: &[u8]) {
        let mut message = Vec::new();
        Asking::Answer(asked.pipeline, asked.number, text).put(&mut message);
        _ = self.with_hub(|hub, now, wire| hub.tell(now, asked.node, &message, wire));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(9);

    fn questions() -> (Questions, Receiver<Asked>) {
        let (sender, receiver) = asked();
        (Questions::new(sender, 100), receiver)
    }

    fn ask(questions: &mut Questions, members: &[u64]) -> (Vec<(NodeId, Vec<u8>)>, Receiver<Answers>) {
        let (answer, answers) = bounded(1);
        let members: Vec<NodeId> = members.iter().copied().map(NodeId).collect();
        let question = Question { trace_id: [1; 16], pipelines: vec![5, 6], answer };
        (questions.begin(NOW, &members, question), answers)
    }

    #[test]
    fn a_question_ends_when_all_have_answered_or_its_time_is_over() {
        let (mut questions, _asked) = questions();
        let (told, answers) = ask(&mut questions, &[1, 2]);
        assert_eq!(told.len(), 4);
        let say = |questions: &mut Questions, node, pipeline| {
            questions.hear(NOW, NodeId(node), &Asking::Answer(pipeline, 1, b"{}"));
        };
        // Without the look at `missing` strangers and doubles would count.
        for (node, pipeline) in [(3, 5), (1, 5), (1, 5), (1, 6), (2, 5)] {
            say(&mut questions, node, pipeline);
            questions.expire(NOW + ANSWER_WAIT / 2);
            assert!(answers.try_recv().is_err());
        }
        questions.expire(NOW + ANSWER_WAIT);
        let said = answers.try_recv().unwrap();
        assert_eq!((said.said.len(), said.silent), (3, BTreeSet::from([NodeId(2)])));
        let (_, answers) = ask(&mut questions, &[1]);
        questions.hear(NOW, NodeId(1), &Asking::Answer(5, 2, b"x"));
        questions.hear(NOW, NodeId(1), &Asking::Answer(6, 2, b"y"));
        assert_eq!(answers.try_recv().unwrap().silent, BTreeSet::new());
        // Nobody to ask is nobody to wait for.
        let (_, answers) = ask(&mut questions, &[]);
        assert_eq!(answers.try_recv(), Ok(Answers::default()));
        assert!(questions.open.is_empty());
    }

    #[test]
    fn questions_are_bounded_on_both_sides() {
        let (mut questions, asked) = questions();
        let kept: Vec<_> = (0..QUESTIONS_MAX).map(|_| ask(&mut questions, &[1])).collect();
        let (told, answers) = ask(&mut questions, &[1]);
        assert!(told.is_empty() && answers.is_closed(), "without the bound it would wait");
        drop(kept);
        let count = u64::try_from(ASKED_MAX).unwrap();
        (0..=count).for_each(|number| questions.hear(NOW, NodeId(1), &Asking::Question(5, number, [1; 16])));
        assert_eq!((questions.counts.heard, questions.counts.passed_over), (count + 1, 1));
        assert_eq!(asked.try_recv().map(|asked| asked.bytes_max).unwrap(), 100 - ANSWER_HEADER_BYTES);
    }
}
