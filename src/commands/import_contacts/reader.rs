//! Reads a delimited list record by record, holding one record at a time.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use csv::ByteRecord;
use sha2::{Digest as _, Sha256};

use crate::error::Failure;

/// A record is read no further than this: what is longer has a quote that was never closed.
const MAX_RECORD_BYTES: usize = 16 * 1024 * 1024;
const HEAD_BYTES: u64 = 64 * 1024;
/// Put behind the list's last byte. Inside an open quote it becomes part of the last record, and so tells on it.
const END_MARK: &str = "\u{1}callops end of list";
const BOM: &[u8] = b"\xef\xbb\xbf";

/// A list that is being read: its header, then its records.
pub(super) struct ListReader {
    csv: csv::Reader<Metered>,
    window: Arc<Mutex<Window>>,
    digest: Arc<Mutex<Sha256>>,
    header: Vec<String>,
    dialect: Dialect,
    record: ByteRecord,
    records_read: u64,
}

/// How the list is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dialect {
    /// What parts cells.
    pub(super) delimiter: u8,
    /// Whether the file begins with a byte order mark.
    pub(super) has_bom: bool,
    /// Lines before the header: 1 for Excel's `sep=;`, else 0.
    pub(super) skipped_lines: u64,
}

/// One record behind the header.
pub(super) struct Record<'a> {
    /// Its place in the list, from 1.
    pub(super) number: u64,
    /// The line on which it begins, from 1; the header is on line 1.
    pub(super) line: u64,
    /// Its cells, unquoted.
    pub(super) cells: &'a ByteRecord,
    /// Whether the list ended inside a quote of this record.
    pub(super) is_unclosed: bool,
}

impl ListReader {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// Usage errors that name the file: missing, a directory, empty, a workbook, not UTF-8.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let named = || format!("cannot read {}", path.display());
        let file = File::open(path).map_err(|error| Failure::usage(format!("{}: {error}", named())))?;
        let metadata = file.metadata().with_context(named)?;
        if metadata.is_dir() {
            return Err(Failure::usage(format!("{}: it is a directory", named())).into());
        }
        let digest = Arc::new(Mutex::new(Sha256::new()));
        let mut reader = Self::new(Box::new(Digesting { file, digest: Arc::clone(&digest) })).map_err(|error| {
            match error.downcast::<Failure>() {
                Ok(failure) => {
                    let hints = failure.hints().to_vec();
                    let renamed = Failure::new(failure.exit(), format!("{}: {failure}", named()));
                    hints.into_iter().fold(renamed, Failure::hint).into()
                }
                Err(error) => error.context(named()),
            }
        })?;
        reader.digest = digest;
        Ok(reader)
    }

    fn new(mut input: Box<dyn Read + Send>) -> anyhow::Result<Self> {
        let mut head = Vec::new();
        (&mut input).take(HEAD_BYTES).read_to_end(&mut head)?;
        let (dialect, skip) = recognise(&head)?;
        head.drain(..skip);
        let end = Cursor::new(format!("\n{END_MARK}\n"));
        let window = Arc::new(Mutex::new(Window::default()));
        let metered =
            Metered { inner: Box::new(Cursor::new(head).chain(input).chain(end)), window: Arc::clone(&window) };
        let csv = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(dialect.delimiter)
            .buffer_capacity(64 * 1024)
            .from_reader(metered);
        let mut reader = Self {
            csv,
            window,
            digest: Arc::default(),
            header: Vec::new(),
            dialect,
            record: ByteRecord::new(),
            records_read: 0,
        };
        reader.header = reader.read_header()?;
        Ok(reader)
    }

    fn read_header(&mut self) -> anyhow::Result<Vec<String>> {
        let dialect = self.dialect;
        let Some(record) = self.next()? else {
            return Err(Failure::usage("it has no header and no rows").into());
        };
        if record.is_unclosed {
            return Err(Failure::usage(format!("the quote that opens on line {} is never closed", record.line)).into());
        }
        let header = record
            .cells
            .iter()
            .map(|cell| match std::str::from_utf8(cell) {
                Ok(text) if !text.contains('\0') => Ok(text.to_owned()),
                _ => Err(Failure::usage(format!("the header (line {}) is not UTF-8 text", dialect.skipped_lines + 1))
                    .hint("save the list as UTF-8, for example as \"CSV UTF-8\" in Excel")),
            })
            .collect::<Result<_, _>>()?;
        self.records_read = 0;
        Ok(header)
    }

    /// The cells of the header.
    pub(super) fn header(&self) -> &[String] {
        &self.header
    }

    /// How the list is written.
    pub(super) fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// SHA-256 of what was read, which is the whole file once [`ListReader::next`] said that there is no more; in
    /// hexadecimal.
    pub(super) fn sha256(&self) -> String {
        let digest = self.digest.lock().unwrap_or_else(PoisonError::into_inner).clone().finalize();
        digest.iter().fold(String::with_capacity(64), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    /// The next record; none behind the last.
    ///
    /// # Errors
    /// When the file breaks, or a record has no end within 16 MiB.
    pub(super) fn next(&mut self) -> anyhow::Result<Option<Record<'_>>> {
        let before = self.csv.position().clone();
        lock(&self.window).record_starts_at = before.byte();
        let line = before.line() + self.dialect.skipped_lines;
        match self.csv.read_byte_record(&mut self.record) {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(error) => return Err(explain(error, line)),
        }
        let starts_on = line + lock(&self.window).line_ends_before_record();
        let mark = END_MARK.as_bytes();
        if self.record.len() == 1 && &self.record[0] == mark {
            return Ok(None);
        }
        let last = &self.record[self.record.len() - 1];
        let is_unclosed = last.windows(mark.len()).next_back().is_some() && last.trim_ascii_end().ends_with(mark);
        if is_unclosed {
            let end = last.trim_ascii_end().len() - mark.len();
            let cut = last[..end].strip_suffix(b"\n").unwrap_or(&last[..end]).to_vec();
            let keep = self.record.len() - 1;
            self.record.truncate(keep);
            self.record.push_field(&cut);
        }
        self.records_read += 1;
        Ok(Some(Record { number: self.records_read, line: starts_on, cells: &self.record, is_unclosed }))
    }
}

fn explain(error: csv::Error, line: u64) -> anyhow::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error)
            if error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<RecordTooLong>) =>
        {
            Failure::usage(format!("the record that begins on line {line} is longer than 16 MiB"))
                .hint("a quote that opens there is probably never closed")
                .into()
        }
        csv::ErrorKind::Io(error) => anyhow::Error::new(error).context(format!("reading stopped at line {line}")),
        other => anyhow::anyhow!("line {line} cannot be read: {other:?}"),
    }
}

/// Looks at the beginning of a file; also gives how many bytes stand before the header.
fn recognise(head: &[u8]) -> anyhow::Result<(Dialect, usize)> {
    let not_a_list = |what: &str| {
        Err(Failure::usage(format!("it is {what}, not a CSV file"))
            .hint("save the list as UTF-8, for example as \"CSV UTF-8\" in Excel")
            .into())
    };
    if head.starts_with(b"PK\x03\x04") {
        return not_a_list("a workbook or an archive");
    }
    if head.starts_with(b"\xd0\xcf\x11\xe0") {
        return not_a_list("an old workbook");
    }
    if head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff") {
        return not_a_list("UTF-16 text");
    }
    let has_bom = head.starts_with(BOM);
    let mut skip = if has_bom { BOM.len() } else { 0 };
    if head[skip..].trim_ascii().is_empty() {
        return Err(Failure::usage("it is empty").into());
    }
    let first_line = head[skip..].split(|byte| *byte == b'\n').next().unwrap_or_default();
    if let [b's' | b'S', b'e' | b'E', b'p' | b'P', b'=', delimiter, rest @ ..] = first_line
        && rest.trim_ascii().is_empty()
        && first_line.len() + skip < head.len()
    {
        skip += first_line.len() + 1;
        return Ok((Dialect { delimiter: *delimiter, has_bom, skipped_lines: 1 }, skip));
    }
    Ok((Dialect { delimiter: delimiter_of(&head[skip..]), has_bom, skipped_lines: 0 }, skip))
}

/// The sign that parts the header's cells: whichever of `,` `;` tab `|` stands most often in it outside quotes.
fn delimiter_of(head: &[u8]) -> u8 {
    const SIGNS: [u8; 4] = [b',', b';', b'\t', b'|'];
    let mut counts = [0_usize; SIGNS.len()];
    let mut in_quotes = false;
    for byte in head.iter().skip_while(|byte| byte.is_ascii_whitespace() && **byte != b'\t') {
        match byte {
            b'"' => in_quotes = !in_quotes,
            b'\n' | b'\r' if !in_quotes => break,
            _ if in_quotes => {}
            _ => {
                if let Some(sign) = SIGNS.iter().position(|sign| sign == byte) {
                    counts[sign] += 1;
                }
            }
        }
    }
    let most = counts.iter().copied().max().unwrap_or(0);
    counts.iter().position(|count| *count == most).map_or(b',', |sign| SIGNS[sign])
}

/// Takes the digest of a file as it is read.
struct Digesting {
    file: File,
    digest: Arc<Mutex<Sha256>>,
}

impl Read for Digesting {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.digest.lock().unwrap_or_else(PoisonError::into_inner).update(&buffer[..read]);
        Ok(read)
    }
}

/// The bytes from the beginning of the current record on that were handed to the CSV reader.
#[derive(Default)]
struct Window {
    record_starts_at: u64,
    first_byte_at: u64,
    bytes: Vec<u8>,
}

impl Window {
    /// Line ends between the end of the record before and this one: blank lines, and the line feed of a CRLF, which
    /// the CSV reader leaves behind.
    fn line_ends_before_record(&self) -> u64 {
        let skip = usize::try_from(self.record_starts_at - self.first_byte_at).unwrap_or(usize::MAX);
        let ahead = self.bytes.get(skip..).unwrap_or_default();
        ahead.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).filter(|byte| **byte == b'\n').count() as u64
    }

    fn push(&mut self, bytes: &[u8]) {
        let done = usize::try_from(self.record_starts_at - self.first_byte_at).unwrap_or(usize::MAX);
        self.bytes.drain(..done.min(self.bytes.len()));
        self.first_byte_at = self.record_starts_at;
        self.bytes.extend_from_slice(bytes);
    }
}

fn lock(window: &Mutex<Window>) -> MutexGuard<'_, Window> {
    window.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Refuses to hand out more of one record than [`MAX_RECORD_BYTES`].
struct Metered {
    inner: Box<dyn Read + Send>,
    window: Arc<Mutex<Window>>,
}

#[derive(Debug, thiserror::Error)]
#[error("a record is too long")]
struct RecordTooLong;

impl Read for Metered {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut window = lock(&self.window);
        if window.bytes.len() > MAX_RECORD_BYTES {
            return Err(io::Error::other(RecordTooLong));
        }
        let read = self.inner.read(buffer)?;
        window.push(&buffer[..read]);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(bytes: &[u8]) -> anyhow::Result<ListReader> {
        ListReader::new(Box::new(Cursor::new(bytes.to_vec())))
    }

    fn all(bytes: &[u8]) -> Vec<(u64, u64, Vec<String>, bool)> {
        let mut reader = open(bytes).unwrap();
        let mut records = Vec::new();
        while let Some(record) = reader.next().unwrap() {
            let cells = record.cells.iter().map(|cell| String::from_utf8_lossy(cell).into_owned()).collect();
            records.push((record.number, record.line, cells, record.is_unclosed));
        }
        records
    }

    #[test]
    fn records_have_numbers_and_lines_whatever_ends_them() {
        let want = vec![
            (1, 2, vec!["1".to_owned(), "a\nb".to_owned()], false),
            (2, 4, vec!["2".to_owned(), String::new()], false),
            (3, 5, vec!["3".to_owned(), "c \"d\"".to_owned()], false),
        ];
        let unix = "id,x\n1,\"a\nb\"\n2,\n3,\"c \"\"d\"\"\"\n";
        assert_eq!(all(unix.as_bytes()), want);
        assert_eq!(all(unix.trim_end().as_bytes()), want);
        assert_eq!(all(format!("\u{feff}{unix}").as_bytes()), want);
        let dos: Vec<_> = all(unix.replace('\n', "\r\n").as_bytes());
        assert_eq!(dos.iter().map(|r| (r.0, r.1)).collect::<Vec<_>>(), [(1, 2), (2, 4), (3, 5)]);
        assert_eq!(dos[2].2, want[2].2);
        assert_eq!(all(unix.replace(',', ";").as_bytes()), want);
        assert_eq!(all(unix.replace(',', "\t").as_bytes()), want);
        let with_sep = all(format!("sep=;\r\n{}", unix.replace(',', ";")).as_bytes());
        assert_eq!(with_sep.iter().map(|r| r.1).collect::<Vec<_>>(), [3, 5, 6]);
    }

    #[test]
    fn blank_lines_are_passed_over_and_counted() {
        let records = all(b"id,x\n\n1,a\n\n\n2,b\n\n");
        assert_eq!(records.iter().map(|r| (r.0, r.1)).collect::<Vec<_>>(), [(1, 3), (2, 6)]);
    }

    #[test]
    fn a_quote_that_never_closes_is_told() {
        let records = all(b"id,x\n1,a\n2,\"b\n3,c\n4,d\n");
        assert_eq!(records.len(), 2);
        assert!(!records[0].3);
        assert_eq!(records[1], (2, 3, vec!["2".to_owned(), "b\n3,c\n4,d\n".to_owned()], true));
        assert!(!all(b"id,x\n1,\"a\n\"").last().unwrap().3);
        assert!(all(b"id,x\n1,\"").last().unwrap().3);
    }

    #[test]
    fn what_is_no_list_is_an_error() {
        for (bytes, says) in [
            (&b""[..], "empty"),
            (b"\xef\xbb\xbf\r\n\n", "empty"),
            (b"PK\x03\x04rest", "workbook"),
            (b"\xff\xfep\0h\0", "UTF-16"),
            (b"T\xe9l,x\n", "not UTF-8"),
            (b"\"phone,x\n1,2\n", "never closed"),
        ] {
            let error = open(bytes).err().unwrap();
            assert!(error.to_string().contains(says), "{error}");
            assert_eq!(crate::error::classify(&error), crate::error::Exit::Usage);
        }
    }

    #[test]
    fn a_record_without_end_is_refused_before_it_fills_the_memory() {
        let endless = Cursor::new(b"phone,x\n1,a\n2,\"".to_vec()).chain(io::repeat(b'z'));
        let mut reader = ListReader::new(Box::new(endless)).unwrap();
        assert!(reader.next().unwrap().is_some());
        let error = reader.next().err().unwrap();
        assert!(error.to_string().contains("begins on line 3"), "{error}");
    }
}
