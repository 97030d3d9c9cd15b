//! Files that an import writes: complete, or not at all.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::entries::Entry;
use super::tally::Verdict;
use crate::domain::phone::Phone;
use crate::error::Failure;

/// One line for every record of the list, in its order.
pub(super) struct ReportFile {
    csv: csv::Writer<Output>,
}

impl ReportFile {
    pub(super) fn create(path: &Path) -> anyhow::Result<Self> {
        let mut csv = csv::Writer::from_writer(Output::create(path)?);
        csv.write_record(["record", "line", "result", "e164", "extension", "alternates", "reason"]).map_err(as_io)?;
        Ok(Self { csv })
    }

    pub(super) fn write(&mut self, entry: &Entry) -> anyhow::Result<()> {
        let row = entry.row.as_ref();
        let alternates: Vec<&str> = row.iter().flat_map(|row| &row.alternates).map(Phone::as_str).collect();
        self.csv
            .write_record([
                entry.record.to_string().as_str(),
                entry.line.to_string().as_str(),
                entry.verdict.unwrap_or(Verdict::Rejected).as_str(),
                entry.phone(),
                row.and_then(|row| row.extension.as_deref()).unwrap_or_default(),
                alternates.join(" ").as_str(),
                entry.reason.map(|reason| reason.to_string()).unwrap_or_default().as_str(),
            ])
            .map_err(as_io)?;
        Ok(())
    }

    /// Everything is on its way to the disk: a full one is an error now, and not later.
    pub(super) fn flush(&mut self) -> anyhow::Result<()> {
        Ok(self.csv.flush()?)
    }

    /// Gives the file its name.
    pub(super) fn publish(self) -> anyhow::Result<()> {
        self.csv.into_inner().map_err(|error| anyhow::Error::msg(error.to_string()))?.publish()
    }
}

/// What the file says, of which the CSV writer makes an error of its own.
fn as_io(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}

/// Refuses an output path that is the list itself, which creating it would empty.
pub(super) fn must_differ(option: &str, output: &Path, input: &Path) -> anyhow::Result<()> {
    let same = match (output.canonicalize(), input.canonicalize()) {
        (Ok(output), Ok(input)) => output == input,
        _ => false,
    };
    if same {
        return Err(Failure::usage(format!("{option} {} is the list itself", output.display())).into());
    }
    Ok(())
}

/// A file that takes its name only once it is complete, so that nobody takes half of one for the whole.
pub(super) struct Output {
    file: BufWriter<File>,
    /// The name while it is written; none for what is no regular file, such as `/dev/stderr`.
    unfinished: Option<PathBuf>,
    path: PathBuf,
}

impl Output {
    pub(super) fn create(path: &Path) -> anyhow::Result<Self> {
        let is_special = path.metadata().is_ok_and(|metadata| !metadata.is_file());
        let unfinished = (!is_special).then(|| {
            let mut name = path.as_os_str().to_owned();
            name.push(".part");
            PathBuf::from(name)
        });
        let file = File::create(unfinished.as_deref().unwrap_or(path))
            .map_err(|error| Failure::usage(format!("cannot write {}: {error}", path.display())))?;
        Ok(Self { file: BufWriter::new(file), unfinished, path: path.to_owned() })
    }

    fn named(&self, error: &io::Error) -> io::Error {
        io::Error::new(error.kind(), format!("cannot write {}: {error}", self.path.display()))
    }

    /// Gives the file its name.
    pub(super) fn publish(&mut self) -> anyhow::Result<()> {
        let failed = || format!("cannot write {}", self.path.display());
        if let Some(unfinished) = self.unfinished.take() {
            std::fs::rename(unfinished, &self.path).with_context(failed)?;
        }
        Ok(())
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes).map_err(|error| self.named(&error))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush().map_err(|error| self.named(&error))
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Some(unfinished) = &self.unfinished {
            // Nothing can be done about a leftover, and the reason for it is reported already.
            let _ = std::fs::remove_file(unfinished);
        }
    }
}
