//! The file of rejected rows: their bytes as they were, with line and reason behind.

use std::io::Write as _;
use std::path::Path;

use encoding_rs::{DecoderResult, Encoding, UTF_8, UTF_16BE, UTF_16LE};

use super::entries::Raw;
use super::files::Output;
use super::list::{ListReader, cell_starts, unit_bytes};
use crate::domain::contact_row::REJECT_COLUMNS;

/// Rejected rows in the list's own encoding, delimiter, quotes and line ends: edited, the file can be imported again.
pub(in crate::commands) struct RejectsFile {
    out: Output,
    delimiter: u8,
    encoding: &'static Encoding,
    line_end: String,
    /// Cells of a whole row, without those of an earlier rejects file.
    width: usize,
    /// Whether the list is an edited rejects file, whose last two columns are not repeated.
    has_our_columns: bool,
}

impl RejectsFile {
    /// Begins the file. `list` has just read its header, or of a list without one the first row; then `names` are to be
    /// the header.
    pub(in crate::commands) fn create(
        path: &Path,
        list: &ListReader,
        names: Option<&[String]>,
    ) -> anyhow::Result<Self> {
        let first = Raw::of(&list.current());
        let line_end = match list.line_end() {
            b"\r\n" => "\r\n",
            b"\r" => "\r",
            _ => "\n",
        };
        let cells = list.current().cells;
        let last_two: Vec<&[u8]> = cells.iter().skip(cells.len().saturating_sub(2)).map(<[u8]>::trim_ascii).collect();
        let has_our_columns = names.is_none() && last_two == REJECT_COLUMNS.map(str::as_bytes);
        let mut file = Self {
            out: Output::create(path)?,
            delimiter: list.dialect().delimiter,
            encoding: list.encoding(),
            line_end: line_end.to_owned(),
            width: cells.len() - if has_our_columns { 2 } else { 0 },
            has_our_columns,
        };
        file.out.write_all(list.preamble())?;
        let [line, reason] = REJECT_COLUMNS;
        match names {
            None => file.write_row(&first, line, reason)?,
            Some(names) => {
                let names: Vec<String> =
                    names.iter().map(String::as_str).chain([line, reason]).map(|name| file.quoted(name)).collect();
                let header = names.join(&char::from(file.delimiter).to_string());
                file.write_ascii(&header)?;
                file.write_ascii(line_end)?;
            }
        }
        Ok(file)
    }

    /// Adds a row.
    pub(in crate::commands) fn write(&mut self, line: u64, row: &Raw, reason: &str) -> anyhow::Result<()> {
        self.write_row(row, &line.to_string(), reason)
    }

    fn write_row(&mut self, row: &Raw, line: &str, reason: &str) -> anyhow::Result<()> {
        let delimiter = char::from(self.delimiter);
        let mut cells = row.cells;
        let mut bytes = row.bytes.as_slice();
        if self.has_our_columns && cells == self.width + 2 && !row.is_unclosed {
            let text = row.text.as_deref().unwrap_or(bytes);
            let cut = cell_starts(text, self.delimiter).get(self.width).map_or(text.len(), |start| start - 1);
            bytes = &bytes[..bytes_before(bytes, self.encoding, cut)];
            cells = self.width;
        }
        self.out.write_all(bytes)?;
        // A list that ends within a unit of UTF-16 must not shift what stands behind; half a pair is no letter either.
        if bytes.len() % unit_bytes(self.encoding) == 1 {
            self.out.write_all(if self.encoding == UTF_16LE { &[0xd8] } else { &[0] })?;
        }
        // Short rows are filled up, so that line and reason stand below their header.
        let missing = String::from(delimiter).repeat(self.width.saturating_sub(cells));
        // A row that swallowed those behind it is closed, and has a cell too many: unedited, it is rejected again.
        let quote = if row.is_unclosed { format!("\"{delimiter}") } else { String::new() };
        let ours = format!("{quote}{missing}{delimiter}{}{delimiter}{}", self.quoted(line), self.quoted(reason));
        self.write_ascii(&ours)?;
        self.write_ascii(&self.line_end.clone())
    }

    /// A text without quotes as a cell: some delimiters stand in our own words.
    fn quoted(&self, text: &str) -> String {
        if text.contains(char::from(self.delimiter)) { format!("\"{text}\"") } else { text.to_owned() }
    }

    fn write_ascii(&mut self, text: &str) -> anyhow::Result<()> {
        let bytes = self.bytes_of(text);
        Ok(self.out.write_all(&bytes)?)
    }

    /// A text in the list's encoding.
    fn bytes_of(&self, text: &str) -> Vec<u8> {
        if self.encoding == UTF_16LE {
            text.encode_utf16().flat_map(u16::to_le_bytes).collect()
        } else if self.encoding == UTF_16BE {
            text.encode_utf16().flat_map(u16::to_be_bytes).collect()
        } else {
            self.encoding.encode(text).0.into_owned()
        }
    }

    /// Everything is on its way to the disk: a full one is an error now, and not later.
    pub(in crate::commands) fn flush(&mut self) -> anyhow::Result<()> {
        Ok(self.out.flush()?)
    }

    /// Gives the file its name.
    pub(in crate::commands) fn publish(self) -> anyhow::Result<()> {
        self.out.publish()
    }
}

/// How many of a record's bytes come before the ASCII sign that stands at `at` in its text.
fn bytes_before(record: &[u8], encoding: &'static Encoding, at: usize) -> usize {
    if encoding == UTF_8 {
        return at;
    }
    // What is no text is no text in its own way in each encoding, so that only decoding tells how far it goes.
    let mut decoder = encoding.new_decoder_without_bom_handling();
    let mut text_bytes = 0;
    for (index, byte) in record.iter().enumerate() {
        let mut rest = std::slice::from_ref(byte);
        loop {
            let (result, read, written) = decoder.decode_to_utf8_without_replacement(rest, &mut [0; 16], false);
            text_bytes += written;
            rest = &rest[read..];
            match result {
                DecoderResult::InputEmpty => break,
                DecoderResult::OutputFull => {}
                DecoderResult::Malformed(..) => text_bytes += 1,
            }
        }
        if text_bytes > at {
            return index + 1 - unit_bytes(encoding);
        }
    }
    record.len()
}
