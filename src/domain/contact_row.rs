//! One row of a contact list: which column is what, and what the row says.

mod cells;
mod columns;
mod row;
mod synonyms;

pub use cells::Cells;
pub use columns::{Field, Mapping, MappingProblem, REJECT_COLUMNS, nearest};
pub use row::{ALTERNATE_PHONES, ContactRow, RowProblem, RowReader, RowReason};
