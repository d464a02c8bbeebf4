//! Words that several stages share, a file for each idea: times, ids, places in the log, the spans on their way from intake
//! to their owner, what kept spans leave with, verdicts.

mod batch;
mod ids;
mod log;
mod marks;
mod said;
mod time;
mod verdict;

pub use batch::{Envelopes, ScopeEnvelope, SpanBatch, SpanHead, SpanRecord};
pub use ids::{ShardIndex, StatusMask, TraceId};
pub use log::{Destinations, Origin, SegmentHandle, Unit};
pub use marks::{Annotations, KeptUnit, RandomnessKind, SpanMark, UNKNOWN_POLICY};
pub use said::Said;
pub use time::{Nanos, TICK, elapsed_ticks, tick_of, tick_start, ticks};
pub use verdict::{Judged, Occasion, Verdict};
