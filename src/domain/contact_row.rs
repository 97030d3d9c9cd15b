//! One row of a contact list: which column is what, and what the row says.

mod columns;
mod row;
mod synonyms;
mod zone_tally;

pub use columns::{Field, Mapping, MappingProblem, REJECT_COLUMNS, nearest};
pub use row::{ContactRow, RowProblem, RowReader, RowReason};
pub use zone_tally::ZoneTally;
