//! What a former run has left in all directories of the log, put together: each segment with the pipelines that may have
//! something left to do in it.

use super::{Holder, OldPast, OldSegment, Spare, Survey, ToldOfSegment};
use std::collections::BTreeSet;
use tailwater_engine::log::format::VerdictEntry;
use tailwater_engine::log::tally::Tallies;

/// What is there for all pipelines. Directories are numbers: 0 is that of the requests, and the n-th pipeline's is n + 1
/// where it has one of its own.
#[derive(Debug, Default)]
pub struct LogSurvey {
    /// Segments of requests, oldest first.
    pub segments: Vec<OldSegment>,
    /// By pipeline, the last verdict on each trace, oldest first.
    pub verdicts: Vec<Vec<VerdictEntry>>,
    /// Names of journal segments, with their directories: to be removed once their content was said again.
    pub journals: Vec<(usize, String)>,
    /// Files to be recycled, with their directories.
    pub spares: Vec<(usize, Spare)>,
    /// Segments of requests that were done with and stayed.
    pub past: Vec<OldPast>,
    /// One more than the largest number ever used.
    pub next_number: u64,
    /// The latest time that journals tell, nanoseconds since 1970.
    pub latest_unix_nano: u64,
    /// What lanes had counted.
    pub tallies: Tallies,
}

/// What is there for one of several pipelines.
pub struct PipelineSurvey {
    /// Its name.
    pub name: String,
    /// Its directory.
    pub found: Survey,
    /// Shared segments with lower numbers owe it nothing any more.
    pub given_up_below: u64,
}

impl LogSurvey {
    /// Of a single pipeline, which has all in one directory.
    pub fn single(found: Survey, next_number: u64) -> Self {
        let mut whole = Self { next_number, ..Self::default() };
        whole.add(0, 0, "", found);
        whole
    }

    /// Of pipelines that share what is in `requests`.
    pub fn shared(requests: Survey, pipelines: Vec<PipelineSurvey>, next_number: u64) -> Self {
        let mut whole = Self { next_number, ..Self::default() };
        let mut shared = requests.segments;
        whole.spares.extend(requests.spares.into_iter().map(|spare| (0, spare)));
        for (pipeline, PipelineSurvey { name, mut found, given_up_below }) in pipelines.into_iter().enumerate() {
            // What was set aside with a pipeline's log came back with it.
            let own: BTreeSet<u64> = found.segments.iter().map(|segment| segment.number).collect();
            for segment in shared.iter_mut().filter(|segment| segment.number >= given_up_below) {
                let place = segment.names.iter().position(|known| *known == name);
                if place.is_some() && !own.contains(&segment.number) {
                    let resolved = found.told_of.remove(&segment.number).unwrap_or_default();
                    segment.holders.push(Holder { pipeline, place, resolved });
                }
            }
            whole.add(pipeline, pipeline + 1, &name, found);
        }
        whole.segments.append(&mut shared);
        whole.segments.sort_by_key(|segment| segment.number);
        whole
    }

    /// What is in a directory of one pipeline.
    fn add(&mut self, pipeline: usize, directory: usize, name: &str, found: Survey) {
        let Survey { segments, mut told_of, verdicts, journals, spares, past, latest_unix_nano, tallies, .. } = found;
        self.tallies.merge(tallies);
        for segment in segments {
            let place = segment.names.iter().position(|known| known == name);
            let resolved: ToldOfSegment = told_of.remove(&segment.number).unwrap_or_default();
            let holders = vec![Holder { pipeline, place, resolved }];
            self.segments.push(OldSegment { directory, holders, ..segment });
        }
        self.verdicts.push(verdicts);
        self.journals.extend(journals.into_iter().map(|journal| (directory, journal)));
        self.spares.extend(spares.into_iter().map(|spare| (directory, spare)));
        self.past.extend(past.into_iter().map(|past| OldPast { directory, ..past }));
        self.latest_unix_nano = self.latest_unix_nano.max(latest_unix_nano);
    }

    /// The past segments for each of `cores` cores, in turn: each has old and new ones.
    pub fn spread_past(&mut self, cores: usize) -> Vec<Vec<OldPast>> {
        let mut past = std::mem::take(&mut self.past);
        past.sort_by_key(|past| past.times);
        let share = |core| past.iter().copied().skip(core).step_by(cores.max(1)).collect();
        (0..cores.max(1)).map(share).collect()
    }

    /// The segments for each of `cores` cores, spread by size.
    pub fn spread(&mut self, cores: usize) -> Vec<Vec<OldSegment>> {
        let mut shares: Vec<(u64, Vec<OldSegment>)> = (0..cores.max(1)).map(|_| (0, Vec::new())).collect();
        for segment in std::mem::take(&mut self.segments) {
            if let Some((bytes, share)) = shares.iter_mut().min_by_key(|(bytes, _)| *bytes) {
                *bytes += segment.bytes;
                share.push(segment);
            }
        }
        shares.into_iter().map(|(_, share)| share).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tailwater_engine::log::takers::Takers;

    fn segment(number: u64, names: &[&str]) -> OldSegment {
        let names = names.iter().map(|name| (*name).to_string()).collect();
        OldSegment { number, bytes: 1, directory: 0, names, holders: Vec::new() }
    }

    fn pipeline(name: &str, segments: Vec<OldSegment>, given_up_below: u64) -> PipelineSurvey {
        PipelineSurvey { name: name.to_string(), found: Survey { segments, ..Survey::default() }, given_up_below }
    }

    /// Without the places in the header a pipeline would take what others took when the file had them in another order.
    #[test]
    fn who_takes_what_follows_from_names_and_not_from_numbers() {
        let requests =
            Survey { segments: vec![segment(5, &["a", "b", "gone"]), segment(9, &["b", "a"])], ..Survey::default() };
        let pipelines =
            vec![pipeline("b", vec![segment(2, &[])], 0), pipeline("a", Vec::new(), 6), pipeline("new", Vec::new(), 0)];
        let whole = LogSurvey::shared(requests, pipelines, 10);
        let told: Vec<_> = whole.segments.iter().map(|segment| (segment.number, segment.directory)).collect();
        assert_eq!(told, [(2, 1), (5, 0), (9, 0)]);
        let [own, old, new] = &whole.segments[..] else { unreachable!("there are three") };
        assert_eq!(own.takers(Takers::ALL), Takers::of(0), "a log of its own");
        assert_eq!(old.takers(Takers::ALL), Takers::of(0), "it was given up for the other, and the third is new");
        assert_eq!(old.takers(Takers::of(0).with(Takers::of(2))), Takers::NONE);
        assert_eq!(new.takers(Takers::ALL), Takers::of(0).with(Takers::of(1)));
        assert_eq!(new.takers(Takers::of(1)), Takers::of(1));
        assert_eq!(whole.verdicts.len(), 3);
    }
}
