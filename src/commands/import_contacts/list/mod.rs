//! Reading a list: from bytes of any encoding to records, holding one record at a time.

mod decode;
mod dialect;
mod encoding;
mod records;
mod source;

pub(in crate::commands) use dialect::{cell_starts, delimiter_option, looks_like_a_phone};
pub(in crate::commands) use encoding::encoding_option;
pub(in crate::commands) use records::{ListReader, Record, unit_bytes};
pub(in crate::commands) use source::Source;

use crate::error::Failure;

/// What the command line says about how a list is written; none: look at the list.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::commands) struct ReadAs {
    /// The list's encoding.
    pub(in crate::commands) encoding: Option<&'static encoding_rs::Encoding>,
    /// What parts cells.
    pub(in crate::commands) delimiter: Option<u8>,
}

/// Puts the name of the list in front of what is wrong with it.
fn named(name: &str, error: anyhow::Error) -> anyhow::Error {
    match error.downcast::<Failure>() {
        Ok(failure) => {
            let hints = failure.hints().to_vec();
            let renamed = Failure::new(failure.exit(), format!("cannot read {name}: {failure}"));
            hints.into_iter().fold(renamed, Failure::hint).into()
        }
        Err(error) => error.context(format!("cannot read {name}")),
    }
}
