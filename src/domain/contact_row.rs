//! One row of a contact list: which column is what, and what the row says.

mod cells;
mod columns;
mod row;
mod synonyms;
mod zone_tally;

pub use cells::Cells;
pub use columns::{EXPORT_COLUMNS, Field, Mapping, MappingProblem, REJECT_COLUMNS, attribute_header, nearest};
pub(super) use columns::{column_named, fold};
pub(super) use row::value_of as cell_value;
pub use row::{ALTERNATE_PHONES, ContactRow, RowProblem, RowReader, RowReason, preferred_time};
pub use zone_tally::ZoneTally;
