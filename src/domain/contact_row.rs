//! One row of a contact list: which column is what, and what the row says.

mod columns;
mod row;
mod synonyms;

pub use columns::{EXPORT_COLUMNS, Field, Mapping, MappingProblem, REJECT_COLUMNS, attribute_header, nearest};
pub use row::{ContactRow, RowProblem, RowReader, RowReason};
