//! Names of the files in the log's directory. The number is unique whatever the kind, and as hexadecimal of fixed width
//! sorts as text.

use super::SegmentKind;

const ENDING: &str = ".log";
const SPARE: &str = "spare";
const PAST: &str = "past";
const DIGITS: usize = 16;

/// What a name in the log's directory stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileName {
    /// `requests-<number>.log` or `journal-<number>.log`.
    Segment {
        /// Which stream.
        kind: SegmentKind,
        /// The segment's number; its header must name the same, or the file has not been begun anew.
        number: u64,
    },
    /// `spare-<number>.log`: kept to be used again; what it holds means nothing.
    Spare {
        /// The number it was retired under.
        number: u64,
    },
    /// `past-<number>.log`: a segment of requests that is done with. A start reads nothing of it.
    Past {
        /// The segment's number; its header names the same.
        number: u64,
    },
}

impl FileName {
    /// The number in it.
    #[must_use]
    pub const fn number(self) -> u64 {
        match self {
            Self::Segment { number, .. } | Self::Spare { number } | Self::Past { number } => number,
        }
    }
}

/// The name of a segment's file.
#[must_use]
pub fn file_name(kind: SegmentKind, number: u64) -> String {
    format!("{}-{number:016x}{ENDING}", kind.word())
}

/// The name of a file that is kept to be used again.
#[must_use]
pub fn spare_file_name(number: u64) -> String {
    format!("{SPARE}-{number:016x}{ENDING}")
}

/// The name of a segment of requests that is done with.
#[must_use]
pub fn past_file_name(number: u64) -> String {
    format!("{PAST}-{number:016x}{ENDING}")
}

/// What a file's name says; none if it is no file of the log. Only names that this program writes are taken: 16 digits,
/// lower case.
#[must_use]
pub fn parse_file_name(name: &str) -> Option<FileName> {
    let (word, digits) = name.strip_suffix(ENDING)?.split_once('-')?;
    if digits.len() != DIGITS || !digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let number = u64::from_str_radix(digits, 16).ok()?;
    if word == SPARE {
        return Some(FileName::Spare { number });
    }
    if word == PAST {
        return Some(FileName::Past { number });
    }
    let kind = [SegmentKind::Requests, SegmentKind::Journal].into_iter().find(|kind| kind.word() == word)?;
    Some(FileName::Segment { kind, number })
}
