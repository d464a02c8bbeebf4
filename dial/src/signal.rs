//! What is watched.

/// A signal, by the word that the configuration has for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Signal {
    /// Processor time of the process, as a part of what its cores have.
    Cpu,
    /// Bytes that pending traces and their spans hold, as a part of what the memory plan gives them.
    Memory,
    /// Bytes of the log's segments, as a part of their bound.
    LogBytes,
    /// Seconds that the oldest of what is to be exported has waited.
    QueueAge,
    /// Requests a second that an exporter could not deliver.
    ExportFailures,
    /// Spans, points and records a second that are accepted; of a service its spans.
    ArrivalRate,
    /// Bytes a second of accepted messages before compression; of a service those of its spans.
    BytesRate,
    /// Traces a second that begin.
    TraceRate,
    /// Series that summaries tell.
    Series,
    /// Spans a second whose status is an error.
    ErrorRate,
    /// Those as a part of all spans.
    ErrorRatio,
}

impl Signal {
    /// All, in the order of the documentation.
    pub const ALL: [Self; 11] = [
        Self::Cpu,
        Self::Memory,
        Self::LogBytes,
        Self::QueueAge,
        Self::ExportFailures,
        Self::ArrivalRate,
        Self::BytesRate,
        Self::TraceRate,
        Self::Series,
        Self::ErrorRate,
        Self::ErrorRatio,
    ];
    /// Their words.
    pub const WORDS: [&str; 11] = [
        "cpu",
        "memory",
        "log_bytes",
        "queue_age",
        "export_failures",
        "arrival_rate",
        "bytes_rate",
        "trace_rate",
        "series",
        "error_rate",
        "error_ratio",
    ];

    /// Its word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        Self::WORDS[self as usize]
    }

    /// The signal of a word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|signal| signal.word() == word)
    }

    /// Whether it is a part of a whole: its levels are from 0 to 1.
    #[must_use]
    pub const fn is_part(self) -> bool {
        matches!(self, Self::Cpu | Self::Memory | Self::LogBytes | Self::ErrorRatio)
    }

    /// Whether one service alone can be watched: what is of all of them together can't be.
    #[must_use]
    pub const fn is_by_service(self) -> bool {
        matches!(self, Self::ArrivalRate | Self::BytesRate | Self::ErrorRate | Self::ErrorRatio)
    }
}
