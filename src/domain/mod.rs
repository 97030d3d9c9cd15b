//! The rules of calling people: pure values and functions, with no clock, environment or input and output.

pub mod contact_row;
pub mod phone;
pub mod preferred;
pub mod region;
pub mod schedule;
pub mod slot;
pub mod window;
pub mod zone;
