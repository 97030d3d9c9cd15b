//! The two files that an import can write: rows that were rejected, and what became of every row.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use csv::ByteRecord;

use super::reader::Dialect;
use super::tally::Verdict;
use crate::domain::contact_row::REJECT_COLUMNS;
use crate::domain::phone::Phone;
use crate::error::Failure;

/// Rejected rows as they were, with the line and the reason behind: edited, the file can be imported again.
pub(super) struct RejectsFile {
    csv: csv::Writer<Output>,
    /// Columns of the list that are such a line and reason already, and are not repeated.
    dropped: Vec<usize>,
    width: usize,
}

impl RejectsFile {
    pub(super) fn create(path: &Path, header: &[String], dialect: Dialect) -> anyhow::Result<Self> {
        let mut file = Output::create(path)?;
        if dialect.has_bom {
            file.write_all(b"\xef\xbb\xbf")?;
        }
        let mut csv = csv::WriterBuilder::new().delimiter(dialect.delimiter).flexible(true).from_writer(file);
        let is_ours = |name: &String| REJECT_COLUMNS.contains(&name.trim());
        let dropped: Vec<usize> = (0..header.len()).filter(|index| is_ours(&header[*index])).collect();
        csv.write_record(header.iter().filter(|name| !is_ours(name)).map(String::as_str).chain(REJECT_COLUMNS))?;
        Ok(Self { csv, width: header.len(), dropped })
    }

    pub(super) fn write(&mut self, line: u64, cells: &ByteRecord, reason: &str) -> anyhow::Result<()> {
        // Short rows are filled up, so that line and reason stand below their header.
        let missing = self.width.saturating_sub(cells.len());
        let cells = cells.iter().chain(std::iter::repeat_n(&b""[..], missing));
        let own = cells.enumerate().filter(|(index, _)| !self.dropped.contains(index)).map(|(_, cell)| cell);
        let line = line.to_string();
        self.csv.write_record(own.chain([line.as_bytes(), reason.as_bytes()]))?;
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

/// One line for every record of the list, in its order.
pub(super) struct ReportFile {
    csv: csv::Writer<Output>,
}

/// A line of the report.
pub(super) struct ReportLine<'a> {
    pub(super) record: u64,
    pub(super) line: u64,
    pub(super) verdict: Verdict,
    pub(super) phone: Option<Phone>,
    pub(super) extension: Option<&'a str>,
    pub(super) alternates: &'a [Phone],
    pub(super) reason: Option<&'a str>,
}

impl ReportFile {
    pub(super) fn create(path: &Path) -> anyhow::Result<Self> {
        let mut csv = csv::Writer::from_writer(Output::create(path)?);
        csv.write_record(["record", "line", "result", "e164", "extension", "alternates", "reason"])?;
        Ok(Self { csv })
    }

    pub(super) fn write(&mut self, line: &ReportLine<'_>) -> anyhow::Result<()> {
        let alternates: Vec<&str> = line.alternates.iter().map(Phone::as_str).collect();
        self.csv.write_record([
            line.record.to_string().as_str(),
            line.line.to_string().as_str(),
            line.verdict.as_str(),
            line.phone.as_ref().map_or("", Phone::as_str),
            line.extension.unwrap_or_default(),
            alternates.join(" ").as_str(),
            line.reason.unwrap_or_default(),
        ])?;
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
struct Output {
    file: BufWriter<File>,
    /// The name while it is written; none for what is no regular file, such as `/dev/stderr`.
    unfinished: Option<PathBuf>,
    path: PathBuf,
}

impl Output {
    fn create(path: &Path) -> anyhow::Result<Self> {
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

    fn publish(&mut self) -> anyhow::Result<()> {
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
