//! The backups of a rotated file: `kept.jsonl` becomes `kept-2026-11-30T02-27-13.543.jsonl`, by universal time, as the
//! Collector's file exporter names them. By name they are in the order of their times.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tailwater_config::FileExporter;

/// Length of the time in a name.
const TIME_LENGTH: usize = "2026-11-30T02-27-13.543".len();
const MILLISECONDS_PER_DAY: u64 = 24 * 3600 * 1000;

/// What is kept, and for how long.
#[derive(Debug, Clone)]
pub(super) struct Backups {
    path: PathBuf,
    count_max: usize,
    age_max: Duration,
    /// The time of the last name: the next one is later, whatever the clock says.
    last_milliseconds: u64,
}

impl Backups {
    pub(super) fn of(settings: &FileExporter) -> Self {
        let count_max = if settings.backups_max == 0 {
            usize::MAX
        } else {
            usize::try_from(settings.backups_max).unwrap_or(usize::MAX)
        };
        Self { path: settings.path.clone(), count_max, age_max: settings.backup_age_max, last_milliseconds: 0 }
    }

    /// A name for the file as it is now that no file has yet.
    pub(super) fn fresh(&mut self, unix_nano: u64) -> PathBuf {
        let (stem, ending) = self.parts();
        let mut milliseconds = (unix_nano / 1_000_000).max(self.last_milliseconds + 1);
        loop {
            let path = self.path.with_file_name(format!("{stem}-{}{ending}", time_text(milliseconds)));
            if path.symlink_metadata().is_err() {
                self.last_milliseconds = milliseconds;
                return path;
            }
            milliseconds += 1;
        }
    }

    /// Those that are too many or too old at that time.
    pub(super) fn surplus(&self, unix_nano: u64) -> io::Result<Vec<PathBuf>> {
        let (stem, ending) = self.parts();
        let directory = self.path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut times = Vec::new();
        for entry in std::fs::read_dir(directory)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let time = name.strip_prefix(&format!("{stem}-")).and_then(|rest| rest.strip_suffix(&ending));
            times.extend(time.filter(|time| is_time(time)).map(ToString::to_string));
        }
        times.sort_unstable();
        let oldest = match self.age_max {
            Duration::ZERO => String::new(),
            age => time_text(unix_nano.saturating_sub(u64::try_from(age.as_nanos()).unwrap_or(u64::MAX)) / 1_000_000),
        };
        let too_many = times.len().saturating_sub(self.count_max);
        let surplus = times.iter().enumerate().filter(|(number, time)| *number < too_many || **time < oldest);
        Ok(surplus.map(|(_, time)| self.path.with_file_name(format!("{stem}-{time}{ending}"))).collect())
    }

    /// The file's name before and behind the time.
    fn parts(&self) -> (String, String) {
        let text = |part: Option<&std::ffi::OsStr>| part.map(|part| part.to_string_lossy().into_owned());
        let ending = text(self.path.extension()).map(|ending| format!(".{ending}")).unwrap_or_default();
        (text(self.path.file_stem()).unwrap_or_default(), ending)
    }
}

fn is_time(text: &str) -> bool {
    let mut pattern = "0000-00-00T00-00-00.000".bytes();
    text.len() == TIME_LENGTH
        && text.bytes().all(|byte| match pattern.next() {
            Some(b'0') => byte.is_ascii_digit(),
            other => other == Some(byte),
        })
}

/// Universal time, so written that its order is that of texts.
fn time_text(milliseconds: u64) -> String {
    let (days, rest) = (milliseconds / MILLISECONDS_PER_DAY, milliseconds % MILLISECONDS_PER_DAY);
    let (year, month, day) = date(days);
    let (hours, minutes) = (rest / 3_600_000, rest / 60_000 % 60);
    let (seconds, milliseconds) = (rest / 1000 % 60, rest % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hours:02}-{minutes:02}-{seconds:02}.{milliseconds:03}")
}

/// The date of a day after 1970-01-01: in eras of 400 years that begin in March, so that leap days come last.
fn date(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (milliseconds, text) in [
            (0, "1970-01-01T00-00-00.000"),
            (951_782_400_000, "2000-02-29T00-00-00.000"),
            (1_709_251_199_999, "2024-02-29T23-59-59.999"),
            (1_796_005_633_543, "2026-11-30T02-27-13.543"),
        ] {
            assert_eq!(time_text(milliseconds), text);
            assert!(is_time(text));
        }
        assert!(!is_time("2026-11-30T02-27-13x543") && !is_time("2026-11-30"));
    }
}
