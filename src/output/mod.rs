//! What people and programs read: stdout is data, stderr is talk.

mod printer;
mod table;

pub use printer::{Captured, Format, Printer};
pub use table::{Cell, Rows};
