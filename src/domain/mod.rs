//! The rules of calling people: pure values and functions, with no clock, environment or input and output.

pub mod phone;
pub mod region;
