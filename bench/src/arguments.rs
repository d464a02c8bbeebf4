//! What the command line's words mean: durations, byte counts, core lists and the choices shared by the commands.

use std::time::Duration;
use tailwater_runtime::probe::RuntimeChoice;

/// Which transport carries the requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ProtocolChoice {
    /// OTLP/gRPC
    Grpc,
    /// OTLP/HTTP over HTTP/1.1
    Http,
    /// OTLP/HTTP over HTTP/2 by prior knowledge
    H2c,
}

/// How request bodies are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum CompressionChoice {
    /// not at all
    None,
    /// gzip
    Gzip,
    /// zstd
    Zstd,
}

/// Which event loop runs the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum BackendChoice {
    /// `io_uring` where the kernel allows it
    Auto,
    /// `io_uring`
    Uring,
    /// epoll
    Epoll,
}

impl From<BackendChoice> for RuntimeChoice {
    fn from(choice: BackendChoice) -> Self {
        match choice {
            BackendChoice::Auto => Self::Auto,
            BackendChoice::Uring => Self::Uring,
            BackendChoice::Epoll => Self::Epoll,
        }
    }
}

/// Reads `250ms`, `10s`, `1.5m` or `1h`; a bare number is seconds.
///
/// # Errors
/// A text that says what is accepted.
pub fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let scale = match &text[digits.len()..] {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("{text:?} is no duration: write for example 250ms, 10s or 2m")),
    };
    let seconds: f64 = digits.parse().map_err(|_error| format!("{text:?} is no duration: write for example 10s"))?;
    Duration::try_from_secs_f64(seconds * scale).map_err(|error| format!("{text:?}: {error}"))
}

/// Reads a byte count: a number, alone or with KiB, MiB or GiB.
///
/// # Errors
/// A text that says what is accepted.
pub fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let scale = match &text[digits.len()..] {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(format!("{text:?} is no size: write for example 512MiB")),
    };
    let count: u64 = digits.parse().map_err(|_error| format!("{text:?} is no size: write for example 512MiB"))?;
    count.checked_mul(scale).ok_or_else(|| format!("{text:?} is too large"))
}

/// Reads a share from 0 to 1.
///
/// # Errors
/// A text that says what is accepted.
pub fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_error| format!("{text:?} is no number"))?;
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err(format!("{text} is not from 0 to 1")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_sizes_and_shares_are_read_or_refused() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("7"), Ok(Duration::from_secs(7)));
        assert!(duration("7d").is_err() && duration("s").is_err() && duration("-1s").is_err());
        assert_eq!(bytes("512MiB"), Ok(512 << 20));
        assert!(bytes("1.5GiB").is_err() && bytes("99999999999999GiB").is_err());
        assert_eq!(share("0.05"), Ok(0.05));
        assert!(share("1.1").is_err() && share("NaN").is_err());
    }
}
