//! The live comparison with a running Collector; `scripts/conformance` says how to call it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what fails here ends the run, and says why"
)]
#![allow(clippy::cast_possible_wrap, clippy::cast_possible_truncation, reason = "small counts")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for the command line")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;
use tailwater_tests::conformance::recorded::{self, Recorded};
use tailwater_tests::conformance::{
    KeptSpan, Mode, Scenario, cases, collector, difference, engine, limits, pipelines, program, refusals, scenario,
    spans_of,
};

/// Differences that are printed; the count is of all.
const SHOWN_MAX: usize = 10;

struct Arguments(BTreeMap<String, String>);

impl Arguments {
    fn read() -> Self {
        let mut given = BTreeMap::new();
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let name = word.strip_prefix("--").unwrap_or_else(|| panic!("{word}: write --NAME VALUE"));
            given.insert(name.to_string(), words.next().unwrap_or_else(|| panic!("{word}: a value is missing")));
        }
        Self(given)
    }

    fn number(&self, name: &str, default: u64) -> u64 {
        self.0
            .get(name)
            .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("--{name} {text}: not a number")))
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::read();
    let binary = PathBuf::from(arguments.0.get("collector").expect("--collector PATH"));
    let (seed, count) = (arguments.number("seed", 1), arguments.number("scenarios", 500));
    let batch = arguments.number("batch", 250) as usize;
    let mut scenarios = cases::all();
    let by_hand = scenarios.len();
    scenarios.extend((seed..seed + count).map(scenario));
    let begin = Instant::now();
    let mut played = Vec::new();
    for batch in scenarios.chunks(batch) {
        played.extend(batch.iter().cloned().zip(collector::play(&binary, batch, Mode::Plain)));
        eprintln!("{} of {} played through the Collector, {:?}", played.len(), scenarios.len(), begin.elapsed());
    }
    println!("{by_hand} cases by hand and {count} scenarios from seed {seed}");
    let mut sound = as_expected(&played[..by_hand]);
    sound &= report("engine", &played, |scenario| engine::play(scenario, 1 + scenario.requests.len() as u16 % 3));
    let labelled = scenarios.iter().rev().filter(|scenario| scenario.labels_alike());
    let labelled: Vec<_> = labelled.take(arguments.number("labels", 100) as usize).cloned().collect();
    let labelled: Vec<_> = labelled.iter().cloned().zip(collector::play(&binary, &labelled, Mode::Recording)).collect();
    sound &= report("labels", &labelled, |scenario| engine::play_in(scenario, 1, Mode::Recording));
    let through_program = arguments.number("program", 10) as usize;
    let some: Vec<_> = played.iter().rev().take(through_program).cloned().collect();
    sound &= report("program", &some, |scenario| engine::play(scenario, 1).map(|_| program::play(scenario)));
    sound &= report_pipelines(&binary, &scenarios[by_hand..], arguments.number("pipelines", 10) as usize);
    if let Some(directory) = arguments.0.get("record").map(PathBuf::from) {
        std::fs::create_dir_all(&directory).unwrap();
        let sure = |(scenario, kept): &(Scenario, Option<Vec<_>>)| {
            Some(Recorded { scenario: scenario.clone(), kept: kept.clone()? })
        };
        let (by_hand, random) = played.split_at(by_hand);
        for (name, played) in
            [("cases.jsonl.gz", by_hand), ("random.jsonl.gz", random), ("labels.jsonl.gz", &labelled[..])]
        {
            recorded::write(&directory.join(name), &played.iter().filter_map(sure).collect::<Vec<_>>());
        }
        println!("recorded in {}", directory.display());
    }
    let processors: Vec<_> = (seed..seed + arguments.number("refusals", 150)).map(refusals::processor).collect();
    let taken: Vec<_> = processors.iter().cloned().zip(refusals::play_collector(&binary, &processors)).collect();
    if let Some(directory) = arguments.0.get("record") {
        refusals::write(&PathBuf::from(directory).join(refusals::FILE), &taken);
    }
    let lines = refusals::differences(&taken);
    let refused = taken.iter().filter(|(_, is_accepted)| !is_accepted).count();
    println!("refusals: {} processors, {refused} refused by the Collector, {} differ", taken.len(), lines.len());
    lines.iter().take(SHOWN_MAX).for_each(|line| println!("  {line}"));
    sound &= lines.is_empty();
    if arguments.number("limits", 1) > 0 {
        let theirs = limits::play_collector(&binary);
        if let Some(directory) = arguments.0.get("record") {
            limits::write(&PathBuf::from(directory).join(limits::FILE), &theirs);
        }
        sound &= report_limits(&theirs);
    }
    if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Plays pairs of scenarios as two samplers of one file, and prints what agrees.
fn report_pipelines(binary: &Path, scenarios: &[Scenario], pairs: usize) -> bool {
    let mut comparable = scenarios.iter().filter(|scenario| engine::play(scenario, 1).is_ok()).cloned();
    let (mut agree, mut differ, mut kept_spans) = (0, 0, 0);
    for _ in 0..pairs {
        let (Some(first), Some(second)) = (comparable.next(), comparable.next()) else { break };
        let pair = [first, second];
        let (theirs, ours) = (pipelines::play_collector(binary, &pair), pipelines::play(&pair));
        kept_spans += theirs.iter().map(Vec::len).sum::<usize>();
        let lines: Vec<String> = theirs.iter().zip(&ours).flat_map(|(theirs, ours)| difference(theirs, ours)).collect();
        if lines.is_empty() {
            agree += 1;
            continue;
        }
        differ += 1;
        println!("pipelines: {} and {} differ:\n  {}", pair[0].name, pair[1].name, lines.join("\n  "));
    }
    println!("pipelines: {agree} pairs of samplers agree, {differ} differ; {kept_spans} spans kept");
    differ == 0
}

/// Prints how much each limiter let through, here and there.
fn report_limits(theirs: &[Vec<u64>]) -> bool {
    let mut sound = true;
    for (number, (limiter, theirs)) in limits::limiters().iter().zip(theirs).enumerate() {
        match limits::play(number, limiter) {
            Err(error) => println!("limits: {}: not compared: {error}", limiter.name),
            Ok(ours) => {
                let lines = limits::difference(limiter, theirs, &ours);
                let (there, here) = (theirs.iter().sum::<u64>(), ours.iter().sum::<u64>());
                println!(
                    "limits: {}: the Collector {there}, tailwater {here}, {} seconds differ",
                    limiter.name,
                    lines.len()
                );
                let ahead = theirs.iter().zip(&ours).scan(0i64, |ahead, (theirs, ours)| {
                    *ahead += *ours as i64 - *theirs as i64;
                    Some(*ahead)
                });
                println!("  tailwater ahead by, every fifth second: {:?}", ahead.step_by(5).collect::<Vec<_>>());
                sound &= lines.is_empty();
            }
        }
    }
    sound
}

/// Whether the Collector does with the cases by hand what they say that it does.
fn as_expected(played: &[(Scenario, Option<Vec<KeptSpan>>)]) -> bool {
    let mut sound = true;
    for (case, (_, kept)) in cases::cases().iter().zip(played) {
        let lines = kept.as_ref().map(|kept| difference(kept, &case.kept)).unwrap_or_default();
        if !lines.is_empty() {
            println!("the case `{}` is not as the Collector does it:\n  {}", case.scenario.name, lines.join("\n  "));
            sound = false;
        }
    }
    sound
}

/// Prints what agrees and what does not. True when all that was comparable agrees.
fn report(
    what: &str,
    played: &[(Scenario, Option<Vec<KeptSpan>>)],
    play: impl Fn(&Scenario) -> Result<Vec<KeptSpan>, String>,
) -> bool {
    let (mut agree, mut differ, mut skipped, mut spans, mut kept_spans) = (0, 0, BTreeMap::new(), 0, 0);
    for (scenario, kept) in played {
        let Some(kept) = kept else {
            *skipped.entry("sent too slowly".to_string()).or_insert(0) += 1;
            continue;
        };
        let ours = match play(scenario) {
            Ok(ours) => ours,
            Err(error) => {
                let cause = error.rsplit(": ").next().unwrap_or_default().to_string();
                *skipped.entry(cause).or_insert(0) += 1;
                continue;
            }
        };
        spans += scenario.requests.iter().map(|request| spans_of(&request.body).len()).sum::<usize>();
        kept_spans += kept.len();
        let lines = difference(kept, &ours);
        if lines.is_empty() {
            agree += 1;
            continue;
        }
        differ += 1;
        if differ <= SHOWN_MAX {
            println!(
                "{what}: {} differs:\n  {}\n  policies: {}",
                scenario.name,
                lines.join("\n  "),
                scenario.processor["policies"]
            );
        }
    }
    println!("{what}: {agree} agree, {differ} differ, not compared {skipped:?}; {spans} spans sent, {kept_spans} kept");
    differ == 0
}
