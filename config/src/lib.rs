//! The one catalogue of knobs: file, environment and flags become typed, checked values. Pure: the text of the
//! file and the environment are arguments.

pub mod sampling;
