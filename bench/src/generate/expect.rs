//! The file of traces that a sink must have received whole, and of what must be visible in all that it received.

use super::report::Report;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

/// First line of the file.
pub const HEADER: &str = "# tailwater-load expect 1";

/// Writes one line per trace: `keep ID SPANS REASON` for those that must have come whole, `unsure ID` for those of which a
/// request was refused, so that nothing can be demanded of them. Then `see KIND SERVICE NAME` for each thing that must be
/// visible ([`crate::visible`]).
pub fn write(path: &Path, report: &Report) -> std::io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    writeln!(file, "{HEADER}")?;
    for (id, reason) in &report.must_keep {
        writeln!(file, "keep {id:032x} {} {}", report.spans_per_trace, reason.word())?;
    }
    for id in &report.unsure {
        writeln!(file, "unsure {id:032x}")?;
    }
    for line in report.visible.lines() {
        writeln!(file, "{line}")?;
    }
    file.flush()
}
