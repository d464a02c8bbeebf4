//! Skeletons: what traces looked like that are dropped. Traces of one *shape* are one row: how many they were and how long
//! they took, with one of them as an example. A shape is where a trace begins (service, name and route of its root span), and
//! which services it went through, with or without errors.
//!
//! ```text
//!   span --> sketch of its trace --the trace is dropped--> row of its shape --take--> partial --merge--> sums --> OTLP logs
//!            sketches.rs, names.rs, sets.rs                                           partial.rs   sums.rs      emit.rs
//! ```
//!
//! One window of sums comes out as log records in the scope `tailwater.skeletons`, one `ResourceLogs` a service that traces
//! begin in:
//!
//! | field | what it holds |
//! | --- | --- |
//! | resource `service.name` | the service of the root span; without a root there is none |
//! | `body` | the shape, in words |
//! | `severity_number`, `severity_text` | 9 `INFO`; 13 `WARN` for a shape with errors |
//! | `time_unix_nano`, `observed_time_unix_nano` | when the last trace ended; time of emission |
//! | `tailwater.skeleton.id` | 16 hexadecimal digits, the same for the same shape everywhere |
//! | `tailwater.skeleton.count`, `.spans` | traces of the window, and their spans |
//! | `tailwater.skeleton.root`, `.route` | name and `http.route` of the root span |
//! | `tailwater.skeleton.services`, `.error_services` | names, in order |
//! | `tailwater.skeleton.duration_ms.p50`, `.p90`, `.p99`, `.max` | from the first start to the last end of a trace |
//! | `tailwater.skeleton.first_unix_nano`, `.last_unix_nano` | the first start and the last end |
//! | `tailwater.skeleton.example_trace_id` | the slowest of them |
//!
//! At the bounds traces count for the shape `<*>`: counts always add up.

mod emit;
mod names;
mod partial;
mod sets;
mod sketches;
mod sums;

pub use emit::SCOPE_NAME;
pub use partial::{Counted, DroppedTrace, Partial as SkeletonsPartial, Root, Shape, StoredError};
pub use sketches::{NAMES_BYTES_MAX, SKETCH_BYTES, Skeletons};
pub use sums::SkeletonSums;

/// Buckets of durations of a shape at most: quantiles are within about two percent over a factor of ten, within a tenth over
/// a factor of ten thousand.
const BUCKETS_MAX: u16 = 80;

/// What is told of dropped traces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SkeletonsPlan {
    /// Most shapes of a window, on each core and for all.
    pub shapes_max: usize,
}

#[cfg(test)]
mod tests;
