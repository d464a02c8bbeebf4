//! One scan for several sets of rules comes to what a scan for each of them does: random requests, sound and faulty.

use super::*;
use crate::fixture;
use tailwater_config::sampling::native::{NativeRule, Sampler};
use tailwater_config::sampling::{ErrorMode, Policy, Rule};

/// Spans, and what is around them, may be no larger.
const SPAN_BYTES_MAX: u32 = 300;

/// Field 16, of 4 bytes.
const FLAGS_TAG: [u8; 2] = [0x85, 0x01];

fn named(rules: impl IntoIterator<Item = Rule>) -> Vec<Policy> {
    (0..).zip(rules).map(|(number, rule): (u32, _)| Policy::new(&format!("p{number}"), rule)).collect()
}

fn text_is(key: &str, value: &str, regex: bool) -> Rule {
    Rule::StringAttribute { key: key.into(), values: vec![value.into()], regex, invert: false }
}

fn condition(error_mode: ErrorMode, span: &str) -> Rule {
    Rule::OttlCondition { error_mode, span: vec![span.into()], spanevent: vec![] }
}

/// Sets that differ in all that is evaluated: attributes, conditions, more leaves than one word has, keys, tracestate.
fn sets() -> Vec<Rules> {
    let compiled = |policies| Rules::compile(&Sampling { policies, ..Sampling::collector_default() }).unwrap();
    let states = Rule::TraceState { key: "vendor".into(), values: vec!["v".into()] };
    let bounds = Rule::NumericAttribute { key: "code".into(), min: 500, max: 599, invert: false };
    let conditions = [
        condition(ErrorMode::Ignore, r#"attributes["text"][9] == 1"#),
        condition(
            ErrorMode::Propagate,
            r#"instrumentation_scope.name == "s1" and resource.attributes["text"] == "t1""#,
        ),
    ];
    let many = (0..70).map(|number| text_is("text", &format!("t{number}"), false));
    let relative = Rule::RelativeLatency { quantile: 0.9, by: vec!["text".into()], at_least_ms: 1, traces_min: 1 };
    let own = NativeRule {
        name: "own".into(),
        line: 0,
        when: named([relative, text_is("text", "t2", false)]),
        sampler: Sampler::AlwaysOn,
        budget_minimum_per_second: 0,
        is_shadow: false,
    };
    let own = Sampling { rules: vec![own], ..Sampling::collector_default() };
    vec![
        compiled(named([Rule::AlwaysSample])),
        compiled(named([text_is("text", "t1", false), text_is("other", "^t.*3$", true), bounds])),
        compiled(named(conditions)),
        compiled(named(many)),
        Rules::compile(&own).unwrap(),
        compiled(named([states, Rule::TraceFlags])),
    ]
}

/// Draws from a sequence.
struct Draw(u64);

impl Draw {
    fn below(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % below
    }

    fn rarely(&mut self) -> bool {
        self.below(24) == 0
    }

    fn many(&mut self, at_most: usize, mut one: impl FnMut(&mut Self) -> Vec<u8>) -> Vec<u8> {
        (0..self.below(at_most + 1)).flat_map(|_| one(self)).collect()
    }

    fn attribute(&mut self, number: u32) -> Vec<u8> {
        let key: &[u8] = [&b"text"[..], b"other", b"code", b"beside"][self.below(4)];
        let value = match self.below(3) {
            0 => [&[3 << 3][..], &[0xf4, 0x03]].concat(),
            _ => field(1, format!("t{}", self.below(80)).as_bytes()),
        };
        let broken = if self.rarely() { field(1, b"\xc3") } else { value };
        field(number, &[field(1, key), field(2, &broken)].concat())
    }

    fn span(&mut self) -> Vec<u8> {
        let id = if self.rarely() { 3 } else { 16 };
        let trace = u8::try_from(1 + self.below(9)).unwrap();
        let state: &[u8] = [&b""[..], b"", b"vendor=v", b"ot=th:8;rv:0123456789abcd,vendor=v"][self.below(4)];
        let name = if self.rarely() { vec![b'n'; SPAN_BYTES_MAX as usize] } else { b"n".to_vec() };
        let attributes = self.many(4, |draw| draw.attribute(9));
        let flags = vec![FLAGS_TAG[0], FLAGS_TAG[1], u8::try_from(self.below(4)).unwrap(), 0, 0, 0];
        let parts =
            [field(1, &vec![trace; id]), field(2, &[7; 8]), field(3, state), field(5, &name), attributes, flags];
        field(2, &parts.concat())
    }

    fn scope(&mut self) -> Vec<u8> {
        let name =
            if self.rarely() { vec![b's'; SPAN_BYTES_MAX as usize] } else { self.below(3).to_string().into_bytes() };
        let scope = if self.rarely() { vec![8, 1] } else { field(1, &[&b"s"[..], &name].concat()) };
        // What is too large may come behind the spans.
        let (scope, spans) = (field(1, &scope), self.many(4, Self::span));
        field(2, &if self.rarely() { [spans, scope] } else { [scope, spans] }.concat())
    }

    fn request(&mut self) -> Vec<u8> {
        let mut request = self.many(3, |draw| {
            let resource = if draw.rarely() { vec![8, 1] } else { draw.many(2, |draw| draw.attribute(1)) };
            field(1, &[field(1, &resource), draw.many(3, Self::scope)].concat())
        });
        if self.rarely() && !request.is_empty() {
            let at = self.below(request.len());
            request[at] ^= 1 << self.below(8);
        }
        request
    }
}

/// Without the evaluator of its own that each set of rules has, or with one that keeps something of a request before, this
/// would fail: `Evaluator`.
#[test]
fn one_scan_for_all_comes_to_what_a_scan_for_each_does() {
    let sets = sets();
    let stages = || -> Vec<Intake> {
        let stage = |rules| Intake::new(Route::new([1, 2, 3, 4], 3), SPAN_BYTES_MAX, rules);
        sets.iter().map(stage).collect()
    };
    let (mut together, mut alone) = (stages(), stages());
    let mut draw = Draw(5);
    let mut seen = [0u64; 8];
    for turn in 0..4_000 {
        let body = match turn {
            0 => fixture::full(),
            1 => fixture::bare(),
            _ => draw.request(),
        };
        let body = Bytes::from(body);
        let all = Intake::scan_for_all(together.iter_mut().zip(&sets), &body, None);
        let each = alone.iter_mut().zip(&sets).map(|(stage, rules)| stage.scan(&body, rules));
        let each: Result<Vec<_>, _> = each.collect();
        assert_eq!(format!("{all:?}"), format!("{each:?}"), "turn {turn}");
        let Ok(all) = all else {
            seen[0] += 1;
            continue;
        };
        for (stage, scanned) in together.iter_mut().zip(all) {
            let envelope = matches!(scanned.fault, Some((_, SpanFault::EnvelopeTooLarge(_))));
            let of =
                |count: fn(&SpanBatch) -> usize| scanned.batches.iter().map(|(_, batch)| count(batch)).sum::<usize>();
            let (heads, more) = (of(|batch| batch.heads.len()), of(|batch| batch.leaves_more.len()));
            let leaves = of(|batch| batch.spans.iter().filter(|span| span.leaves != 0).count());
            let counts = [0, scanned.refused, scanned.repaired, scanned.condition_failures, u32::from(envelope)];
            let counts = counts.map(u64::from).into_iter().chain([heads, more, leaves].map(|count| count as u64));
            seen.iter_mut().zip(counts).for_each(|(seen, count)| *seen += count);
            // Lists come back, full.
            scanned.batches.into_iter().for_each(|(shard, batch)| stage.recycle(shard, batch));
        }
    }
    assert!(seen.iter().all(|seen| *seen > 20), "all of it was met: {seen:?}");
}

/// What each pipeline is told of is its own generation, though another has changed its rules already.
#[test]
fn each_gets_batches_of_its_own_generation() {
    let before = Rules::compile(&Sampling::default()).unwrap();
    let after = Rules::compile_after(&Sampling::default(), &before).unwrap();
    assert_ne!(before.generation(), after.generation());
    let stage = |rules| Intake::new(Route::new([1, 2, 3, 4], 1), 1 << 20, rules);
    let mut stages = [stage(&before), stage(&after)];
    let body = Bytes::from(under(b"r", b"s", &[span(1, b"a")]));
    let scanned = Intake::scan_for_all(stages.iter_mut().zip([&before, &after]), &body, None).unwrap();
    let generations: Vec<_> = scanned.iter().map(|scanned| scanned.batches[0].1.generation).collect();
    assert_eq!(generations, [before.generation(), after.generation()]);
}
