//! Facts in, chain out.
