//! Temporary files: what is piped in, and what a long list has shown before.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write as _};

use crate::error::{Exit, Failure};

/// Copies what is piped in, to its end.
///
/// # Errors
/// [`failure`]; what the sender's end says.
pub(super) fn spool(mut input: impl Read) -> anyhow::Result<File> {
    let mut file = tempfile::tempfile().map_err(|error| failure(&error))?;
    let mut chunk = vec![0; 64 * 1024];
    loop {
        match input.read(&mut chunk) {
            Ok(0) => return Ok(file),
            Ok(read) => file.write_all(&chunk[..read]).map_err(|error| failure(&error))?,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Why a temporary file cannot be had: a full disk, which may go away, or a directory that is none.
pub(super) fn failure(error: &io::Error) -> Failure {
    let exit = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => Exit::Unreachable,
        _ => Exit::Configuration,
    };
    let folder = std::env::temp_dir();
    Failure::new(exit, format!("a temporary file in {} cannot be written or read: {error}", folder.display()))
        .hint("temporary files are as large as the list; TMPDIR names another directory for them")
}
