//! From records to entries: reads a list on a thread of its own, ahead of whoever writes to the database.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc::Sender;

use super::REJECTS_SHOWN;
use super::list::{ListReader, Record};
use super::seen::Seen;
use super::tally::Verdict;
use super::temporary::failure;
use crate::domain::contact_row::{ContactRow, RowProblem, RowReader, RowReason};
use crate::domain::phone::Phone;
use crate::error::Failure;

/// Rows that are handed over, and written, together. Few where this is tested, so that lists have several chunks.
pub(super) const CHUNK_ROWS: usize = if cfg!(test) { 16 } else { 4096 };

/// A chunk ends when its rows have so much text, however few they are.
const CHUNK_BYTES: usize = 2 * 1024 * 1024;

/// A row on its way to its verdict.
pub(super) struct Entry {
    /// Its place in the list, from 1.
    pub(super) record: u64,
    /// The line on which it begins.
    pub(super) line: u64,
    /// What it says; none where it cannot be read.
    pub(super) row: Option<ContactRow>,
    /// Whether the row's external id may say whose row it is: an earlier row did not bear it.
    pub(super) identifies: bool,
    /// The row's bytes in the file, where it is or may still be rejected and rejected rows are written.
    pub(super) raw: Option<Raw>,
    pub(super) verdict: Option<Verdict>,
    pub(super) reason: Option<Reason>,
    /// A sentence about the problem, for the first few rejected rows.
    pub(super) detail: Option<String>,
}

impl Entry {
    /// Whether it can be used and has no verdict yet.
    pub(super) fn is_open(&self) -> bool {
        self.row.is_some() && self.verdict.is_none()
    }

    /// The number to call, of an entry with a row.
    pub(super) fn phone(&self) -> &str {
        self.row.as_ref().map_or("", |row| row.phone.as_str())
    }
}

/// A record's bytes in the file.
pub(in crate::commands) struct Raw {
    pub(super) bytes: Vec<u8>,
    /// Its text, where that is other bytes.
    pub(super) text: Option<Vec<u8>>,
    pub(super) cells: usize,
    /// Whether a quote of it is never closed.
    pub(super) is_unclosed: bool,
}

impl Raw {
    pub(in crate::commands) fn of(record: &Record<'_>) -> Self {
        let (bytes, text) = (record.raw().to_vec(), record.text());
        let text = (bytes != text).then(|| text.to_vec());
        Self { bytes, text, cells: record.cells.len(), is_unclosed: record.unclosed_quote_line.is_some() }
    }
}

/// Why a row has its verdict. Its text is an API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// Why it was rejected.
    Rejected(&'static str),
    /// An earlier row, on this line, has the phone.
    SamePhone {
        /// Of the first row with the phone.
        line: u64,
        /// Whether the first row has another extension.
        other_extension: bool,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(code) => f.write_str(code),
            Self::SamePhone { line, other_extension: false } => write!(f, "same_phone_as_line_{line}"),
            Self::SamePhone { line, other_extension: true } => write!(f, "same_phone_other_extension_as_line_{line}"),
        }
    }
}

/// What the reading thread hands over.
pub(super) enum Message {
    /// Rows, and how many bytes of the file were read so far.
    Rows(Vec<Entry>, u64),
    /// There are no more.
    End {
        /// SHA-256 of the file, in hexadecimal.
        sha256: String,
        /// How many there were.
        records: u64,
    },
}

/// The phones of the rows that were read so far, each with the line of its first row.
#[derive(Clone, Default)]
pub(super) struct FirstLines(Arc<Mutex<Seen>>);

impl FirstLines {
    const EXTENSION_BITS: u32 = 24;

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The line of the first row that has this phone, of those that were read.
    pub(super) fn line_of(&self, phone: Phone) -> Result<Option<u64>, Failure> {
        let value = self.lock().get(phone.digits()).map_err(|error| failure(&error))?;
        Ok(value.map(|value| value >> Self::EXTENSION_BITS))
    }

    /// Remembers a row's phone, or says which row had it first.
    fn duplicate_of(&self, row: &ContactRow, line: u64) -> Result<Option<Reason>, Failure> {
        let extension = hash_of(&row.extension) & ((1 << Self::EXTENSION_BITS) - 1);
        let first = self.lock().get_or_add(row.phone.digits(), line << Self::EXTENSION_BITS | extension);
        let first = first.map_err(|error| failure(&error))?;
        Ok(first.map(|first| Reason::SamePhone {
            line: first >> Self::EXTENSION_BITS,
            other_extension: first & ((1 << Self::EXTENSION_BITS) - 1) != extension,
        }))
    }
}

/// Reads a list to its end.
pub(super) struct Reading {
    pub(super) list: ListReader,
    pub(super) rows: RowReader,
    pub(super) first_lines: FirstLines,
    /// Whether rejected rows are written to a file.
    pub(super) keeps_raw: bool,
    /// Chunks that are done with. They are given back, because memory is freed soonest where it was taken.
    pub(super) done: Receiver<Vec<Entry>>,
}

impl Reading {
    /// Hands the rows over, chunk by chunk. Ends early when nobody takes them any more.
    ///
    /// # Errors
    /// When the file breaks, or a record has no end.
    pub(super) fn run(mut self, out: &Sender<Message>) -> anyhow::Result<()> {
        let mut external_ids = Seen::default();
        let mut details_left = REJECTS_SHOWN;
        let mut records = 0;
        loop {
            let mut entries = self.done.try_recv().unwrap_or_default();
            entries.clear();
            entries.reserve(CHUNK_ROWS);
            let (mut bytes, mut is_end) = (0, false);
            while entries.len() < CHUNK_ROWS && bytes < CHUNK_BYTES {
                let Some(record) = self.list.next()? else {
                    is_end = true;
                    break;
                };
                bytes += record.text().len();
                records = record.number;
                let mut entry = read(&self.rows, &record, self.keeps_raw);
                if entry.row.is_none() {
                    if details_left == 0 {
                        entry.detail = None;
                    }
                    details_left = details_left.saturating_sub(1);
                }
                if let Some(row) = &entry.row {
                    entry.reason = self.first_lines.duplicate_of(row, record.line)?;
                    if entry.reason.is_some() {
                        entry.verdict = Some(Verdict::Duplicate);
                    } else if let Some(external_id) = &row.external_id {
                        let first =
                            external_ids.get_or_add(hash_of(external_id), 0).map_err(|error| failure(&error))?;
                        entry.identifies = first.is_none();
                        entry.raw = (self.keeps_raw && entry.identifies).then(|| Raw::of(&record));
                    }
                }
                entries.push(entry);
            }
            if out.blocking_send(Message::Rows(entries, self.list.bytes_read())).is_err() {
                return Ok(());
            }
            if is_end {
                // Nobody minds when the other side has gone: it says itself why.
                let _ = out.blocking_send(Message::End { sha256: self.list.sha256(), records });
                return Ok(());
            }
        }
    }
}

fn read(rows: &RowReader, record: &Record<'_>, keeps_raw: bool) -> Entry {
    let read = match record.unclosed_quote_line {
        Some(line) => Err(RowProblem {
            reason: RowReason::UnclosedQuote,
            detail: format!("the quote that opens on line {line} is never closed"),
        }),
        None => rows.read(record.cells),
    };
    let mut entry = Entry {
        record: record.number,
        line: record.line,
        row: None,
        identifies: false,
        raw: None,
        verdict: None,
        reason: None,
        detail: None,
    };
    match read {
        Ok(row) => entry.row = Some(row),
        Err(problem) => {
            entry.raw = keeps_raw.then(|| Raw::of(record));
            entry.verdict = Some(Verdict::Rejected);
            entry.reason = Some(Reason::Rejected(problem.reason.code()));
            entry.detail = Some(format!("line {}: {problem}", record.line));
        }
    }
    entry
}

fn hash_of(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::super::list::{ReadAs, Source};
    use super::*;
    use crate::domain::contact_row::Mapping;
    use crate::domain::phone::CallAlso;

    #[test]
    fn a_chunk_has_few_bytes_however_large_its_rows_are() {
        const ROWS: usize = 12;
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let row = format!("802-223-6942,{}\n", "x".repeat(1 << 20));
        std::io::Write::write_all(&mut file, format!("phone,note\n{}", row.repeat(ROWS)).as_bytes()).unwrap();
        let mut list = ListReader::open(&Source::open(file.path(), None).unwrap(), ReadAs::default()).unwrap();
        let mapping = Mapping::new(&list.header().unwrap().unwrap(), &[]).unwrap();
        let rows = RowReader::new(mapping, Some("US".parse().unwrap()), CallAlso::default());
        let (_, done) = std::sync::mpsc::channel();
        let reading = Reading { list, rows, first_lines: FirstLines::default(), keeps_raw: true, done };
        let (sender, mut receiver) = tokio::sync::mpsc::channel(ROWS + 2);
        reading.run(&sender).unwrap();
        let mut sizes = Vec::new();
        while let Ok(message) = receiver.try_recv() {
            if let Message::Rows(entries, _) = message {
                sizes.push(entries.len());
            }
        }
        assert_eq!(sizes, [2, 2, 2, 2, 2, 2, 0]);
    }
}
