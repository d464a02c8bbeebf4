//! The patterns of a node: partials of its cores put together.

use super::body::Reader;
use super::emit;
use super::mask::NamedMask;
use super::partial::Partial;
use super::severity::Severity;
use super::table::{Bounds, Table};
use super::token::Shape;
use super::{PatternInput, PatternsError, PatternsPlan, compile};

/// Windows without a line after which a shape is forgotten. Until then it tells what varies in others.
const IDLE_WINDOWS_MAX: u16 = 60;

/// Sums of patterns. Counts of a service and severity are exact in whatever order partials come.
#[derive(Debug)]
pub struct PatternSums {
    table: Table,
    masks: Vec<NamedMask>,
}

impl PatternSums {
    /// Sums in which nothing was counted. The seed is the node's own.
    ///
    /// # Errors
    /// As `Patterns::new`.
    pub fn new(plan: &PatternsPlan, seed: u64) -> Result<Self, PatternsError> {
        let bounds = Bounds::of(plan)?;
        Ok(Self { table: Table::new(bounds, seed), masks: compile(plan)? })
    }

    /// Adds what was counted somewhere.
    pub fn merge(&mut self, partial: &Partial) {
        self.table.merge(partial);
    }

    /// All there is, to be stored. Read back and merged into new sums it gives the same.
    #[must_use]
    pub fn to_partial(&self) -> Partial {
        self.table.to_partial()
    }

    /// Ends the window: the patterns of the lines counted in it as OTLP log requests, of about `request_bytes_max` bytes
    /// each, and begins the next. Shapes are remembered.
    pub fn take_requests(&mut self, emitted_unix_nano: u64, request_bytes_max: usize) -> Vec<Vec<u8>> {
        self.table.cluster();
        let requests = emit::requests(&self.table, emitted_unix_nano, request_bytes_max);
        self.table.begin_window(IDLE_WINDOWS_MAX);
        requests
    }

    /// Puts together what is the same message. `take_requests` does so too.
    pub fn cluster(&mut self) {
        self.table.cluster();
    }

    /// Lines of this window whose pattern did not fit.
    #[must_use]
    pub fn overflowed(&self) -> u64 {
        self.table.overflowed
    }

    /// Memory of what is counted.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.table.bytes()
    }

    /// Lines counted, and patterns that had some.
    #[must_use]
    pub fn counts(&self) -> (u64, usize) {
        let counted = self.table.rows().filter(|row| row.count > 0);
        counted.fold((0, 0), |(lines, patterns), row| (lines + row.count, patterns + 1))
    }

    /// The pattern that a line is counted in, as it is shown: for tools, it makes a text.
    #[must_use]
    pub fn pattern_of(&self, service: &[u8], input: &PatternInput<'_>) -> Option<String> {
        let (mut reader, mut shape) = (Reader::default(), Shape::default());
        reader.read(&mut shape, input.body, &self.masks);
        let severity = Severity::of(input.severity_number, input.severity_text);
        let row = self.table.row_for(service, severity, shape.bytes())?;
        let mut readable = Vec::new();
        super::token::put_readable(&mut readable, &row.shape);
        String::from_utf8(readable).ok()
    }
}
