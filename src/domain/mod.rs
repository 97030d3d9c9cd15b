//! The rules of calling people: pure values and functions, with no clock, environment or input and output.

pub mod dial;
pub mod outcome;
pub mod secret;
