//! Summaries that are coarser for a time.

use super::*;

fn strong(has_strong_masks: bool) -> Coarseness {
    Coarseness { has_strong_masks, ..Coarseness::default() }
}

/// Of each pattern of a window how many lines, and its attributes besides.
fn patterns(outputs: &mut Outputs, summary: Summary, now: u64) -> Vec<(String, i64, Vec<String>)> {
    let mut patterns = Vec::new();
    for body in outputs.emit(summary, now, true).into_iter().filter(|body| body.signal == Signal::Logs) {
        let request = ExportLogsServiceRequest::decode(&*body.bytes).unwrap();
        let scopes = request.resource_logs.iter().flat_map(|resource| &resource.scope_logs);
        for record in scopes.flat_map(|scope| &scope.log_records) {
            let Some(Value::StringValue(pattern)) = record.body.clone().unwrap().value else { panic!("no text") };
            let count = record.attributes.iter().find(|attribute| attribute.key == "tailwater.pattern.count").unwrap();
            let Some(Value::IntValue(count)) = count.value.as_ref().unwrap().value else { panic!("no count") };
            let keys = record.attributes.iter().map(|attribute| attribute.key.clone()).collect();
            patterns.push((pattern, count, keys));
        }
    }
    patterns.sort();
    patterns
}

const LONG: [&str; 2] = [
    "cannot store order 17 of a customer in the first region because the disk is gone",
    "cannot store order 18 of a customer in the other region because nobody answers",
];

#[test]
fn strong_masks_tell_lines_by_how_they_begin_without_values() {
    let (mut tallies, mut summary, mut told) = (tallies(), Summary::default(), outputs(&[]));
    let has_values = |keys: &[String]| keys.iter().any(|key| key.contains("values") || key.contains("samples"));
    for (window, is_strong) in [(1, false), (2, true), (3, false)] {
        tallies.coarsen(&strong(is_strong), &mut summary);
        LONG.iter().for_each(|line| tallies.count_logs(&lines(line, 2), SECOND));
        tallies.count_logs(&lines("took 5 ms", 1), SECOND);
        tallies.close_into(&mut summary, 0);
        let told = patterns(&mut told, std::mem::take(&mut summary), window * SECOND);
        assert_eq!(told.iter().map(|(_, count, _)| count).sum::<i64>(), 5);
        let texts: Vec<&str> = told.iter().map(|(pattern, ..)| pattern.as_str()).collect();
        if is_strong {
            assert_eq!(texts, ["cannot store order <*> of a customer in <*>", "took <*>"]);
            assert!(told.iter().all(|(_, _, keys)| !has_values(keys)), "{told:?}");
        } else {
            assert_eq!(texts.len(), 3, "{texts:?}");
            assert!(told.iter().any(|(_, _, keys)| has_values(keys)), "{told:?}");
        }
    }
}

proptest! {
    /// Points and lines are all told, however coarsely and in however many windows.
    #[test]
    fn totals_are_the_same_under_any_sequence_of_dials_and_any_split(
        story in proptest::collection::vec((0..50_i64, 0..4_usize, 0..3_usize, any::<bool>(), 0..6_u8), 1..60),
    ) {
        let mut cores: Vec<(Tallies, Summary)> = (0..3).map(|_| (tallies(), Summary::default())).collect();
        let mut out = outputs(&[]);
        let (mut sum, mut told_lines, mut counted) = (0, 0, (0, 0));
        let mut now = SECOND;
        let close = |cores: &mut Vec<(Tallies, Summary)>, out: &mut Outputs, now: u64| {
            let mut all = Summary::default();
            for (tallies, summary) in cores {
                tallies.close_into(summary, 0);
                all.merge(Summary::read(&written(&std::mem::take(summary))).unwrap());
            }
            told(out, all, now)
        };
        for (value, count, core, is_strong, step) in story {
            let (tallies, summary) = &mut cores[core];
            tallies.coarsen(&strong(is_strong), summary);
            tallies.take_metrics(&metrics(value, "pod"), SECOND, true).unwrap();
            tallies.count_logs(&lines(&format!("{} {value}", LONG[core % 2]), count), SECOND);
            counted = (counted.0 + value, counted.1 + count as i64);
            if step == 0 {
                now += 2 * SECOND;
                let (total, lines) = close(&mut cores, &mut out, now);
                (sum, told_lines) = (total, told_lines + lines);
            }
        }
        let (total, lines) = close(&mut cores, &mut out, now + 2 * SECOND);
        sum = sum.max(total);
        prop_assert_eq!((sum, told_lines + lines), counted);
    }
}
