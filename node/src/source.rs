//! Where the configuration comes from: the file, the environment and the flags of this process, layered anew each time
//! the file is read.

use crate::machine;
use clap::ArgMatches;
use std::ffi::OsString;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;
use tailwater_config::{Inputs, Knob, Loaded, load_reading};

/// All that a configuration is made of, to be read again while the node runs.
#[derive(Debug, Clone)]
pub struct ConfigurationSource {
    file: Option<PathBuf>,
    flags: Vec<(String, String)>,
    environment: Vec<(String, String)>,
}

/// What tells one state of a file from another without reading it. Follows links, as a Kubernetes `ConfigMap` is changed
/// by pointing one elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    /// Nanoseconds since 1970, or 0.
    modified: u128,
}

impl ConfigurationSource {
    /// What the command line says, with the environment as it is now.
    pub fn of(matches: &ArgMatches, knobs: &[Knob]) -> Self {
        let flags = knobs
            .iter()
            .filter_map(|knob| Some((knob.path.clone(), matches.get_one::<String>(&knob.path)?.clone())))
            .collect();
        let named = || std::env::var_os("TAILWATER_CONFIG").filter(|name| !name.is_empty()).map(PathBuf::from);
        let file = matches.get_one::<PathBuf>("config").cloned().or_else(named);
        Self { file, flags, environment: environment() }
    }

    /// A file without flags, with the environment as it is now.
    pub fn of_file(file: &Path) -> Self {
        Self { file: Some(file.to_path_buf()), flags: Vec::new(), environment: environment() }
    }

    /// The file, when there is one.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Reads the file and layers the rest over it.
    ///
    /// # Errors
    /// Every problem, as it is shown to people; nothing has changed.
    pub fn load(&self) -> Result<Loaded, Refused> {
        let file = self.file.as_deref().map(read).transpose().map_err(Refused::because)?;
        let inputs = Inputs {
            file: file.as_ref().map(|(name, text)| (name.as_str(), text.as_str())),
            environment: &self.environment,
            flags: &self.flags,
            machine_memory_bytes: machine::memory_bytes(),
        };
        load_reading(&inputs, read_text).map_err(|refusal| Refused {
            problems: refusal.problems.iter().map(ToString::to_string).collect(),
            notes: refusal.notes.iter().map(ToString::to_string).collect(),
        })
    }

    /// The file's state; `None` when there is no file or it cannot be looked at.
    pub fn stamp(&self) -> Option<Stamp> {
        let metadata = std::fs::metadata(self.file.as_deref()?).ok()?;
        let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        Some(Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: modified.map_or(0, |time| time.as_nanos()),
        })
    }
}

/// A configuration that is not fit to be started, as it is shown to people.
#[derive(Debug, Default)]
pub struct Refused {
    /// Every problem.
    pub problems: Vec<String>,
    /// What should be known besides.
    pub notes: Vec<String>,
}

impl Refused {
    fn because(problem: String) -> Self {
        Self { problems: vec![problem], notes: Vec::new() }
    }
}

/// Largest file that a value of the configuration may name: a certificate or a password, not a log.
/// At the bound: the configuration is refused.
const VALUE_FILE_BYTES_MAX: u64 = 4 << 20;

/// The text of a file that a value names.
fn read_text(path: &str) -> Result<String, String> {
    let file = std::fs::File::open(path).map_err(|error| format!("cannot read the file: {error}"))?;
    let mut text = String::new();
    // A device or a pipe may never end.
    file.take(VALUE_FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(|error| format!("cannot read the file: {error}"))?;
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > VALUE_FILE_BYTES_MAX {
        return Err(format!("the file has more than {} MiB", VALUE_FILE_BYTES_MAX >> 20));
    }
    Ok(text)
}

fn environment() -> Vec<(String, String)> {
    let text = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
    std::env::vars_os().filter_map(text).collect()
}

fn read(path: &Path) -> Result<(String, String), String> {
    let name = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|error| {
        format!("{name}: cannot read the configuration file: {error}; give its path with --config or TAILWATER_CONFIG")
    })?;
    match decoded(bytes) {
        Some(text) => Ok((name, text)),
        None => Err(format!("{name}: the configuration file is not UTF-8; save it as UTF-8, or as UTF-16 with a mark")),
    }
}

/// The text, also of UTF-16 with a byte order mark, as some editors and shells of Windows write it.
fn decoded(bytes: Vec<u8>) -> Option<String> {
    let pairs = |order: fn([u8; 2]) -> u16| -> Vec<u16> {
        bytes[2..].chunks_exact(2).map(|pair| order([pair[0], pair[1]])).collect()
    };
    match bytes.get(..2) {
        Some([0xff, 0xfe]) => String::from_utf16(&pairs(u16::from_le_bytes)).ok(),
        Some([0xfe, 0xff]) => String::from_utf16(&pairs(u16::from_be_bytes)).ok(),
        _ => String::from_utf8(bytes).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::decoded;

    #[test]
    fn text_is_read_in_either_encoding() {
        let text = "ack: synced # \u{e4}\n";
        let little: Vec<u8> = [0xff, 0xfe].into_iter().chain(text.encode_utf16().flat_map(u16::to_le_bytes)).collect();
        let big: Vec<u8> = [0xfe, 0xff].into_iter().chain(text.encode_utf16().flat_map(u16::to_be_bytes)).collect();
        for bytes in [text.as_bytes().to_vec(), little, big] {
            assert_eq!(decoded(bytes).as_deref(), Some(text));
        }
        assert_eq!(decoded(vec![b'a', 0x80]), None);
    }
}
