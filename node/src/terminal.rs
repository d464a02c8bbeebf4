//! What all commands say to the person at the terminal, and the outcome that they share.

use std::io::Write;

/// The version and the commit that it was built from.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (commit ", env!("TAILWATER_COMMIT"), ")");

/// The configuration is wrong: `EX_CONFIG` of sysexits.h.
pub const EXIT_CONFIGURATION: u8 = 78;

/// A line to the person at the terminal, before logging is set up. A closed terminal is no failure.
pub fn say(line: &str) {
    _ = writeln!(std::io::stderr(), "{line}");
}

/// Text asked for, to standard output. A closed pipe is no failure.
pub fn print(text: &str) {
    _ = std::io::stdout().write_all(text.as_bytes());
}
