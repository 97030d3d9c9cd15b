//! Where a list comes from: a file, or what is piped in.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom};
use std::path::Path;

use encoding_rs::Encoding;

use super::encoding::{self, Detected};
use super::named;
use crate::commands::import_contacts::temporary::spool;
use crate::error::Failure;

/// A list as a file that can be read from its beginning as often as need be.
#[derive(Debug)]
pub(in crate::commands) struct Source {
    file: File,
    name: String,
    size_bytes: u64,
    detected: Detected,
}

impl Source {
    /// Opens a file and finds its encoding. `-` is standard input; that, and whatever else is no regular file, is copied
    /// to a temporary file first: nothing may wait for a slow sender while a transaction is open.
    ///
    /// # Errors
    /// Usage errors that name the file: missing, a directory, empty, a workbook.
    pub(in crate::commands) fn open(path: &Path, encoding: Option<&'static Encoding>) -> anyhow::Result<Self> {
        let is_stdin = path.as_os_str() == "-";
        let name = if is_stdin { "standard input".to_owned() } else { path.display().to_string() };
        let opened = || {
            if is_stdin {
                return spool(io::stdin().lock());
            }
            let file = File::open(path).map_err(|error| Failure::usage(error.to_string()))?;
            let kind = file.metadata()?.file_type();
            if kind.is_dir() {
                return Err(Failure::usage("it is a directory").into());
            }
            if kind.is_file() { Ok(file) } else { spool(file) }
        };
        let detect = |mut file: File| {
            let size_bytes = file.metadata()?.len();
            let detected = encoding::detect(&mut file, encoding)?;
            Ok((file, size_bytes, detected))
        };
        match opened().and_then(detect) {
            Ok((file, size_bytes, detected)) => Ok(Self { file, name, size_bytes, detected }),
            Err(error) => Err(named(&name, error)),
        }
    }

    /// The file's name as it was given, or `standard input`.
    pub(in crate::commands) fn name(&self) -> &str {
        &self.name
    }

    /// The file's name without its folder, or `standard input`.
    pub(in crate::commands) fn file_name(&self) -> String {
        Path::new(&self.name).file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Its length.
    pub(in crate::commands) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// How its bytes become text.
    pub(super) fn detected(&self) -> Detected {
        self.detected
    }

    /// A handle to read it from its beginning; only one is to be used at a time.
    pub(super) fn reopen(&self) -> io::Result<File> {
        let mut file = self.file.try_clone()?;
        file.seek(SeekFrom::Start(0))?;
        Ok(file)
    }
}
