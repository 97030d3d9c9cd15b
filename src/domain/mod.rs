//! The rules of calling people: pure values and functions, with no clock, environment or input and output.

pub mod preferred;
pub mod schedule;
pub mod slot;
pub mod window;
pub mod zone;
