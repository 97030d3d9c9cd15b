//! Files that an import writes: complete, or not at all.

use std::fs::{File, OpenOptions};
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
pub(in crate::commands) fn as_io(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}

/// Refuses an output path that is the list itself, or that of another output.
pub(in crate::commands) fn must_differ(outputs: &[(&str, &Path)], list: &Path) -> anyhow::Result<()> {
    let same = |a: &Path, b: &Path| match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b && a.is_file(),
        _ => std::path::absolute(a).ok() == std::path::absolute(b).ok(),
    };
    for (index, (option, output)) in outputs.iter().enumerate() {
        if same(output, list) {
            return Err(Failure::usage(format!("{option} {} is the list itself", output.display())).into());
        }
        if let Some((other, _)) = outputs[..index].iter().find(|(_, path)| same(path, output)) {
            return Err(Failure::usage(format!("{other} and {option} are the same file, {}", output.display())).into());
        }
    }
    Ok(())
}

/// A file that takes its name only once it is complete, so that nobody takes half of one for the whole.
pub(in crate::commands) struct Output {
    file: BufWriter<Target>,
    path: PathBuf,
}

enum Target {
    /// A file beside the one that it will be, of a name that nothing else has. It goes when it is dropped.
    Unfinished(tempfile::NamedTempFile),
    /// What is no regular file, such as `/dev/stderr`.
    Special(File),
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unfinished(file) => file.write(bytes),
            Self::Special(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Unfinished(file) => file.flush(),
            Self::Special(file) => file.flush(),
        }
    }
}

impl Output {
    pub(in crate::commands) fn create(path: &Path) -> anyhow::Result<Self> {
        let target = || {
            if path.metadata().is_ok_and(|metadata| !metadata.is_file()) {
                return OpenOptions::new().write(true).open(path).map(Target::Special);
            }
            let mut prefix = path.file_name().unwrap_or_default().to_owned();
            prefix.push(".");
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let mut builder = tempfile::Builder::new();
            builder.prefix(&prefix).suffix(".part");
            // As readable as any other new file of this user.
            #[cfg(unix)]
            builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
            builder.tempfile_in(folder).map(Target::Unfinished)
        };
        let target =
            target().map_err(|error| Failure::usage(format!("cannot write {}: {}", path.display(), plain(&error))))?;
        Ok(Self { file: BufWriter::new(target), path: path.to_owned() })
    }

    fn named(&self, error: &io::Error) -> io::Error {
        io::Error::new(error.kind(), format!("cannot write {}: {}", self.path.display(), plain(error)))
    }

    /// Gives the file its name.
    pub(in crate::commands) fn publish(self) -> anyhow::Result<()> {
        let failed = format!("cannot write {}", self.path.display());
        match self.file.into_inner().map_err(io::IntoInnerError::into_error).context(failed.clone())? {
            Target::Unfinished(file) => drop(file.persist(&self.path).map_err(|error| error.error).context(failed)?),
            Target::Special(_) => {}
        }
        Ok(())
    }
}

/// An error without the temporary name that `tempfile` adds to it.
fn plain(error: &io::Error) -> String {
    error
        .raw_os_error()
        .or_else(|| error.get_ref()?.source()?.downcast_ref::<io::Error>()?.raw_os_error())
        .map_or_else(|| error.to_string(), |code| io::Error::from_raw_os_error(code).to_string())
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes).map_err(|error| self.named(&error))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush().map_err(|error| self.named(&error))
    }
}
