//! Reading a segment file.
