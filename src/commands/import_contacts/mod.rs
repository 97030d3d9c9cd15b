//! `import-contacts`: a list of contacts into a tenant, every row accounted for.

mod files;
mod reader;
mod tally;

pub use tally::{Tally, Verdict};
