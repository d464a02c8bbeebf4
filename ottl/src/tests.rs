//! Conditions as they are read, and as they come out on built spans.

mod fixture;
mod outcomes;
mod reading;
mod scan;
