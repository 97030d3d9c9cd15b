//! The records of a list.

use std::fmt::Write as _;

use csv_core::ReadRecordResult;
use encoding_rs::{Encoding, UTF_16BE, UTF_16LE};
use sha2::Digest as _;

use super::decode::Input;
use super::dialect::{Dialect, open_quote_line, recognise};
use super::source::Source;
use super::{ReadAs, named};
use crate::domain::contact_row::Cells;
use crate::error::Failure;

/// A record is read no further than this: what is longer has a quote that was never closed.
const MAX_RECORD_BYTES: usize = 16 * 1024 * 1024;
/// The text that is looked at to find out how a list is written.
const HEAD_BYTES: usize = if cfg!(test) { 1024 } else { 64 * 1024 };

/// A list that is being read: its first record, then the others.
pub(in crate::commands) struct ListReader {
    input: Input,
    csv: csv_core::Reader,
    dialect: Dialect,
    /// The list's text from the current record on.
    text: Vec<u8>,
    /// Where in `text` the current record begins, blank lines before it included, and how far it was parsed.
    begin: usize,
    parsed: usize,
    is_at_end: bool,
    /// The current record's cells.
    cells: Vec<u8>,
    cell_ends: Vec<usize>,
    cell_count: usize,
    record: Place,
    /// Whether the current record is to be given once more.
    is_put_back: bool,
    lines_passed: u64,
    records_read: u64,
    /// The bytes before the first record: a byte order mark, a line `sep=;`.
    preamble: Vec<u8>,
}

/// Where a record is.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    /// The line on which it begins, from 1.
    line: u64,
    /// Where in the text it begins, and where it ends before its line's end.
    start: usize,
    end: usize,
    /// The line of the quote that is not closed in it.
    unclosed_quote_line: Option<u64>,
}

/// One record.
#[derive(Clone, Copy)]
pub(in crate::commands) struct Record<'a> {
    /// Its place in the list, from 1; the header is not counted.
    pub(in crate::commands) number: u64,
    /// The line on which it begins, from 1; the header is on line 1.
    pub(in crate::commands) line: u64,
    /// Its cells, unquoted.
    pub(in crate::commands) cells: Cells<'a>,
    /// The line of a quote that opens in it and is never closed, so that the record goes on to the end of the list.
    pub(in crate::commands) unclosed_quote_line: Option<u64>,
    reader: &'a ListReader,
}

impl Record<'_> {
    /// Its text with quotes and delimiters, without the line's end.
    pub(in crate::commands) fn text(&self) -> &[u8] {
        &self.reader.text[self.reader.record.start..self.reader.record.end]
    }

    /// Its bytes in the file, without the line's end.
    pub(in crate::commands) fn raw(&self) -> &[u8] {
        let (place, begin) = (self.reader.record, self.reader.begin);
        let Some(raw) = self.reader.input.raw(self.reader.parsed - begin) else { return self.text() };
        // Line ends before and behind it are one code unit each.
        let unit = unit_bytes(self.reader.input.encoding());
        &raw[(place.start - begin) * unit..raw.len() - (self.reader.parsed - place.end) * unit]
    }
}

/// How many bytes an ASCII sign has.
pub(in crate::commands) fn unit_bytes(encoding: &Encoding) -> usize {
    if encoding == UTF_16LE || encoding == UTF_16BE { 2 } else { 1 }
}

impl ListReader {
    /// Begins to read a list.
    ///
    /// # Errors
    /// Usage errors that name the list, when it is empty; what the file says.
    pub(in crate::commands) fn open(source: &Source, read_as: ReadAs) -> anyhow::Result<Self> {
        let begin = || {
            let (input, mark) = Input::new(source.reopen()?, source.detected())?;
            Self::new(input, mark, read_as)
        };
        begin().map_err(|error| named(source.name(), error))
    }

    fn new(mut input: Input, mark: Vec<u8>, read_as: ReadAs) -> anyhow::Result<Self> {
        let mut text = Vec::new();
        let mut is_at_end = false;
        while text.len() < HEAD_BYTES && !is_at_end {
            is_at_end = !input.fill(&mut text)?;
        }
        let dialect = recognise(&text, read_as.delimiter)?;
        let mut preamble = mark;
        let skipped = dialect.preamble_bytes;
        preamble.extend_from_slice(input.raw(skipped).filter(|_| skipped > 0).unwrap_or(&text[..skipped]));
        input.forget(skipped);
        let csv = csv_core::ReaderBuilder::new().delimiter(dialect.delimiter).build();
        Ok(Self {
            input,
            csv,
            dialect,
            text,
            begin: skipped,
            parsed: skipped,
            is_at_end,
            cells: vec![0; 1024],
            cell_ends: vec![0; 32],
            cell_count: 0,
            record: Place::default(),
            is_put_back: false,
            lines_passed: u64::from(skipped > 0),
            records_read: 0,
            preamble,
        })
    }

    /// How the list is written.
    pub(in crate::commands) fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The list's encoding.
    pub(in crate::commands) fn encoding(&self) -> &'static Encoding {
        self.input.encoding()
    }

    /// The bytes of the file before its first record.
    pub(in crate::commands) fn preamble(&self) -> &[u8] {
        &self.preamble
    }

    /// How many bytes of the file were read.
    pub(in crate::commands) fn bytes_read(&self) -> u64 {
        self.input.bytes_read()
    }

    /// SHA-256 of what was read, which is the whole file once [`ListReader::next`] said that there is no more; in
    /// hexadecimal.
    pub(in crate::commands) fn sha256(&self) -> String {
        self.input.digest().finalize().iter().fold(String::with_capacity(64), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    /// Takes the first record as the header: the records behind it are counted from 1. Gives its cells; none where the
    /// list has no record.
    ///
    /// # Errors
    /// When it is no text, or has no end.
    pub(in crate::commands) fn header(&mut self) -> anyhow::Result<Option<Vec<String>>> {
        let encoding = self.encoding().name();
        let Some(record) = self.next()? else { return Ok(None) };
        if let Some(line) = record.unclosed_quote_line {
            return Err(Failure::usage(format!("the quote that opens on line {line} is never closed")).into());
        }
        let line = record.line;
        let cell = |bytes: &[u8]| match std::str::from_utf8(bytes) {
            Ok(text) if !text.contains('\0') => Ok(text.to_owned()),
            _ => Err(Failure::usage(format!("the header (line {line}) is not {encoding} text"))
                .hint("say which encoding the list is in, for example --encoding windows-1252, or save it as UTF-8")
                .into()),
        };
        let header: anyhow::Result<Vec<String>> = record.cells.iter().map(cell).collect();
        self.records_read = 0;
        header.map(Some)
    }

    /// Makes the current record the next one again: a list without a header has its first row in its place.
    pub(in crate::commands) fn put_back(&mut self) {
        self.is_put_back = true;
    }

    /// The sign that ends the current record: LF, CRLF or CR; none where the list ends without.
    pub(in crate::commands) fn line_end(&self) -> &[u8] {
        &self.text[self.record.end..self.parsed]
    }

    /// The record that was read last.
    pub(in crate::commands) fn current(&self) -> Record<'_> {
        Record {
            number: self.records_read,
            line: self.record.line,
            cells: Cells::new(&self.cells, &self.cell_ends[..self.cell_count]),
            unclosed_quote_line: self.record.unclosed_quote_line,
            reader: self,
        }
    }

    /// The next record; none behind the last.
    ///
    /// # Errors
    /// When the file breaks, or a record has no end within 16 MiB.
    pub(in crate::commands) fn next(&mut self) -> anyhow::Result<Option<Record<'_>>> {
        if std::mem::take(&mut self.is_put_back) {
            self.records_read = 1;
            return Ok(Some(self.current()));
        }
        self.lines_passed += lines_in(&self.text[self.begin..self.parsed]);
        self.input.forget(self.parsed - self.begin);
        self.begin = self.parsed;
        if !self.parse()? {
            return Ok(None);
        }
        let blank = self.text[self.begin..self.parsed].iter().take_while(|byte| is_line_end(**byte)).count();
        let start = self.begin + blank;
        let ends = self.text[start..self.parsed].iter().rev().take_while(|byte| is_line_end(**byte)).count();
        self.record.start = start;
        self.record.line = self.lines_passed + 1 + lines_in(&self.text[self.begin..start]);
        self.record.end = self.parsed;
        if self.record.unclosed_quote_line.is_none() {
            self.record.end -= ends;
        } else {
            let line = open_quote_line(&self.text[start..self.parsed], self.dialect.delimiter);
            self.record.unclosed_quote_line = Some(self.record.line + line - 1);
        }
        self.records_read += 1;
        Ok(Some(self.current()))
    }

    /// Parses one record; says whether there was one.
    fn parse(&mut self) -> anyhow::Result<bool> {
        let (mut cell_bytes, mut cell_count) = (0, 0);
        self.record.unclosed_quote_line = None;
        loop {
            let unread = &self.text[self.parsed..];
            if unread.is_empty() && !self.is_at_end {
                self.read_more()?;
                continue;
            }
            // Behind the end of the list a line's end ends the last record, unless that is inside a quote.
            let is_behind_end = unread.is_empty();
            let input = if is_behind_end { &b"\n"[..] } else { unread };
            let (result, read, written, ends) =
                self.csv.read_record(input, &mut self.cells[cell_bytes..], &mut self.cell_ends[cell_count..]);
            self.parsed += if is_behind_end { 0 } else { read };
            cell_bytes += written;
            cell_count += ends;
            match result {
                ReadRecordResult::Record => break,
                ReadRecordResult::OutputFull => self.cells.resize(self.cells.len() * 2, 0),
                ReadRecordResult::OutputEndsFull => self.cell_ends.resize(self.cell_ends.len() * 2, 0),
                ReadRecordResult::End => return Ok(false),
                ReadRecordResult::InputEmpty if !is_behind_end => {}
                // Outside quotes the line's end is none of a cell. Inside, one unclosed quote is the last of it.
                ReadRecordResult::InputEmpty if written == 0 || self.parsed == self.begin => return Ok(false),
                ReadRecordResult::InputEmpty => {
                    // The cell now ends with the line's end that stands behind the list.
                    cell_bytes -= 1;
                    self.record.unclosed_quote_line = Some(0);
                    self.cell_ends[cell_count] = cell_bytes;
                    cell_count += 1;
                    break;
                }
            }
            if cell_count == self.cell_ends.len() {
                self.cell_ends.resize(self.cell_ends.len() * 2, 0);
            }
        }
        self.cell_count = cell_count;
        // The line feed of a CRLF belongs to its record.
        if self.text[..self.parsed].last() == Some(&b'\r') {
            if self.parsed == self.text.len() && !self.is_at_end {
                self.read_more()?;
            }
            self.parsed += usize::from(self.text.get(self.parsed) == Some(&b'\n'));
        }
        Ok(true)
    }

    /// Reads more of the list, in place of records that are done.
    fn read_more(&mut self) -> anyhow::Result<()> {
        if self.text.len() - self.begin > MAX_RECORD_BYTES {
            return Err(self.endless());
        }
        self.text.drain(..self.begin);
        self.parsed -= self.begin;
        self.begin = 0;
        self.is_at_end = !self.input.fill(&mut self.text)?;
        Ok(())
    }

    fn endless(&self) -> anyhow::Error {
        let record = &self.text[self.begin..self.parsed];
        let line = self.lines_passed + open_quote_line(record, self.dialect.delimiter);
        Failure::usage(format!("line {line}: a record is longer than 16 MiB"))
            .hint(format!("a quote that opens on line {line} is probably never closed"))
            .into()
    }
}

fn is_line_end(byte: u8) -> bool {
    byte == b'\n' || byte == b'\r'
}

/// How many lines end in this text: with LF, CRLF or, as old Macs wrote, CR.
fn lines_in(text: &[u8]) -> u64 {
    let feeds = memchr::memchr_iter(b'\n', text).count();
    let returns = memchr::memchr_iter(b'\r', text).filter(|at| text.get(at + 1) != Some(&b'\n')).count();
    (feeds + returns) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(bytes: &[u8]) -> anyhow::Result<Source> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        std::io::Write::write_all(&mut file, bytes).unwrap();
        Source::open(file.path(), None)
    }

    fn open(bytes: &[u8]) -> anyhow::Result<ListReader> {
        let mut list = ListReader::open(&source(bytes)?, ReadAs::default())?;
        list.header()?;
        Ok(list)
    }

    fn all(bytes: &[u8]) -> Vec<(u64, u64, Vec<String>, Option<u64>)> {
        let mut reader = open(bytes).unwrap();
        let mut records = Vec::new();
        while let Some(record) = reader.next().unwrap() {
            let cells = record.cells.iter().map(|cell| String::from_utf8_lossy(cell).into_owned()).collect();
            records.push((record.number, record.line, cells, record.unclosed_quote_line));
        }
        records
    }

    #[test]
    fn records_have_numbers_and_lines_whatever_ends_them() {
        let want = vec![
            (1, 2, vec!["1".to_owned(), "a\nb".to_owned()], None),
            (2, 4, vec!["2".to_owned(), String::new()], None),
            (3, 5, vec!["3".to_owned(), "c \"d\"".to_owned()], None),
        ];
        let unix = "id,x\n1,\"a\nb\"\n2,\n3,\"c \"\"d\"\"\"\n";
        assert_eq!(all(unix.as_bytes()), want);
        assert_eq!(all(unix.trim_end().as_bytes()), want);
        assert_eq!(all(format!("\u{feff}{unix}").as_bytes()), want);
        assert_eq!(all(format!("\u{feff}\u{feff}{unix}").as_bytes()), want);
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
        assert_eq!(records[0].3, None);
        assert_eq!(records[1], (2, 3, vec!["2".to_owned(), "b\n3,c\n4,d\n".to_owned()], Some(3)));
        assert_eq!(all(b"id,x\n1,\"a\n\"").last().unwrap().3, None);
        assert_eq!(all(b"id,x\n1,\"").last().unwrap().3, Some(2));
        assert_eq!(all(b"id,x\n1,\"a\nb\",\"c\n").last().unwrap().3, Some(3));
    }

    #[test]
    fn what_is_no_list_is_an_error() {
        for (bytes, says) in [
            (&b""[..], "empty"),
            (b"\xef\xbb\xbf\r\n\n", "empty"),
            (b"\xef\xbb\xbf\xef\xbb\xbf", "empty"),
            (b"\xff\xfe\xff\xfe", "empty"),
            (b"PK\x03\x04rest", "workbook"),
            (b"%PDF-1.7", "a PDF"),
            (b"\"phone,x\n1,2\n", "never closed"),
        ] {
            let error = open(bytes).err().unwrap();
            assert!(error.to_string().contains(says), "{error}");
            assert_eq!(crate::error::classify(&error), crate::error::Exit::Usage);
        }
    }

    #[test]
    fn a_record_without_end_is_refused_before_it_fills_the_memory() {
        let mut endless = b"phone,x\n1,a\n2,\"b\n\",\"".to_vec();
        endless.resize(MAX_RECORD_BYTES * 2, b'z');
        let mut reader = open(&endless).unwrap();
        assert!(reader.next().unwrap().is_some());
        let error = reader.next().err().unwrap();
        assert!(error.to_string().contains("line 4: a record is longer"), "{error}");
        assert!(reader.text.len() < MAX_RECORD_BYTES + HEAD_BYTES * 16);
    }

    #[test]
    fn lines_end_as_on_any_machine() {
        let unix = "id,x\n1,\"a\nb\"\n\n2,c\n";
        for end in ["\n", "\r\n", "\r"] {
            let list = unix.replace('\n', end);
            for list in [list.as_str(), list.trim_end()] {
                let records = all(list.as_bytes());
                assert_eq!(records.iter().map(|r| r.1).collect::<Vec<_>>(), [2, 5], "{list:?}");
                assert_eq!(records[0].2[1], format!("a{end}b"));
            }
        }
    }

    /// Every record's bytes in the file, whatever its encoding and wherever the reader's buffers end.
    #[test]
    fn a_record_knows_its_bytes() {
        use encoding_rs::{SHIFT_JIS, UTF_8, WINDOWS_1252};
        let rows: Vec<String> = (0..40_000).map(|n| format!("{n};\"é ソ;\r\n{}\"", "ー".repeat(n % 7))).collect();
        for (encoding, rows) in [
            (UTF_8, rows.clone()),
            (UTF_16LE, rows.clone()),
            (UTF_16BE, rows.clone()),
            (SHIFT_JIS, rows.iter().map(|row| row.replace('é', "|")).collect()),
            (WINDOWS_1252, rows.iter().map(|row| row.replace(['ソ', 'ー'], "ß")).collect()),
        ] {
            let bytes = |text: &str| match encoding {
                e if e == UTF_16LE => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
                e if e == UTF_16BE => text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
                e => e.encode(text).0.into_owned(),
            };
            let list = format!("id;x\r\n\r\n{}\r\n", rows.join("\r\n"));
            let mut reader = open(&bytes(&list)).unwrap();
            assert_eq!(reader.encoding(), encoding);
            let mut count = 0;
            for row in &rows {
                let record = reader.next().unwrap().unwrap();
                assert_eq!(record.raw(), bytes(row), "{}", encoding.name());
                assert_eq!(record.text(), row.as_bytes());
                count += 1;
            }
            assert_eq!(count, rows.len());
            assert!(reader.next().unwrap().is_none());
        }
    }
}
