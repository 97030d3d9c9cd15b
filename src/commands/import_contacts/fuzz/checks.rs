//! What must hold for every list.

use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;

use chrono::DateTime;
use encoding_rs::{DecoderResult, Encoding, UTF_8, UTF_16BE, UTF_16LE};
use tokio::runtime::Builder;

use super::List;
use crate::commands::import_contacts::list::{ListReader, ReadAs, Source};
use crate::commands::import_contacts::{Args, Header, OnExisting, Setting, Tally, Verdict, run_once};
use crate::domain::contact_row::REJECT_COLUMNS;
use crate::domain::phone::{CallAlso, PhoneParser};
use crate::error::{Exit, classify};
use crate::output::{Format, Printer};

thread_local! {
    static PHONES: Arc<PhoneParser> = Arc::default();
    /// Lists that hold this byte are taken for wrong: to test the fuzzer itself.
    pub(super) static PLANTED: Cell<Option<u8>> = const { Cell::new(None) };
}

type Result<T> = std::result::Result<T, String>;

/// A record as it was read.
#[derive(Debug, PartialEq, Eq)]
struct Read {
    number: u64,
    line: u64,
    raw: Vec<u8>,
    text: Vec<u8>,
    cells: Vec<Vec<u8>>,
    unclosed_quote_line: Option<u64>,
}

/// A list as it was read: every record, the first one too.
#[derive(Debug, PartialEq, Eq)]
struct Whole {
    encoding: &'static Encoding,
    delimiter: u8,
    preamble: Vec<u8>,
    /// What ends the first record.
    line_end: Vec<u8>,
    records: Vec<Read>,
    sha256: String,
}

/// What an import made of a list.
struct Imported {
    tally: Tally,
    /// Each line of the report: record, line, result, phone, reason.
    report: Vec<[String; 5]>,
    rejects: Vec<u8>,
}

/// Reads a list in every way, and says what is wrong.
pub(super) fn check(list: &List, folder: &Path) -> Result<()> {
    if PLANTED.get().is_some_and(|planted| list.bytes.contains(&planted)) {
        return Err("planted".to_owned());
    }
    let path = folder.join("list.csv");
    std::fs::write(&path, &list.bytes).map_err(|error| error.to_string())?;
    let Some(whole) = expected(read(&path, list))? else { return Ok(()) };
    if expected(read(&path, list))?.as_ref() != Some(&whole) {
        return Err("read again, it is another list".to_owned());
    }
    gives_back_the_file(&list.bytes, &whole)?;
    is_what_it_is_as_text(&list.bytes, &whole)?;
    let Some(imported) = expected(import(&path, list, folder))? else { return Ok(()) };
    let has_header = is_accounted_for(list, &whole, &imported)?;
    let rejected: Vec<&Read> = whole.records[usize::from(has_header)..]
        .iter()
        .zip(&imported.report)
        .filter(|(_, line)| line[2] == "rejected")
        .map(|(record, _)| record)
        .collect();
    let reasons: Vec<&str> =
        imported.report.iter().filter(|line| line[2] == "rejected").map(|line| line[4].as_str()).collect();
    rejects_repeat_the_file(&whole, has_header, &rejected, &reasons, &imported.rejects)?;
    rejects_import_again(&whole, rejected.len(), &imported.rejects, folder)
}

/// What a step gives. It may fail by what the list is, and in no other way: none, then.
fn expected<T>(result: anyhow::Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if classify(&error) == Exit::Usage => Ok(None),
        Err(error) => Err(format!("it fails with {error:?}")),
    }
}

fn read_as(list: &List) -> ReadAs {
    ReadAs { encoding: list.encoding, delimiter: list.delimiter }
}

fn read(path: &Path, list: &List) -> anyhow::Result<Whole> {
    let source = Source::open(path, list.encoding)?;
    let mut reader = ListReader::open(&source, read_as(list))?;
    let mut records = Vec::new();
    let mut line_end = Vec::new();
    while let Some(record) = reader.next()? {
        records.push(Read {
            number: record.number,
            line: record.line,
            raw: record.raw().to_vec(),
            text: record.text().to_vec(),
            cells: record.cells.iter().map(<[u8]>::to_vec).collect(),
            unclosed_quote_line: record.unclosed_quote_line,
        });
        if records.len() == 1 {
            line_end = reader.line_end().to_vec();
        }
    }
    Ok(Whole {
        encoding: reader.encoding(),
        delimiter: reader.dialect().delimiter,
        preamble: reader.preamble().to_vec(),
        line_end,
        records,
        sha256: reader.sha256(),
    })
}

fn import(path: &Path, list: &List, folder: &Path) -> anyhow::Result<Imported> {
    let (rejects, report) = (folder.join("rejects.csv"), folder.join("report.csv"));
    let args = Args {
        file: path.to_owned(),
        tenant: None,
        campaign: None,
        region: None,
        map: Vec::new(),
        encoding: None,
        delimiter: None,
        header: list.header,
        on_existing: OnExisting::Update,
        dry_run: true,
        rejects: Some(rejects.clone()),
        report: Some(report.clone()),
    };
    let mut setting = Setting {
        args: &args,
        source: Source::open(path, list.encoding)?,
        read_as: read_as(list),
        explicit: Vec::new(),
        region: Some("US".parse()?),
        also: CallAlso::default(),
        phones: PHONES.with(Arc::clone),
        campaign: None,
        now: DateTime::UNIX_EPOCH,
    };
    let (printer, _) = Printer::captured(Format::Json);
    let done = Builder::new_current_thread().build()?.block_on(run_once(None, &printer, &mut setting))?;
    let report = csv::Reader::from_path(report)?
        .records()
        .map(|line| line.map(|line| [0, 1, 2, 3, 6].map(|column| line[column].to_owned())))
        .collect::<std::result::Result<Vec<_>, _>>()?;
    Ok(Imported { tally: done.importer.tally, report, rejects: std::fs::read(rejects)? })
}

/// A text in an encoding; ASCII, but for UTF-16.
fn in_encoding(text: &str, encoding: &'static Encoding) -> Vec<u8> {
    if encoding == UTF_16LE {
        text.encode_utf16().flat_map(u16::to_le_bytes).collect()
    } else if encoding == UTF_16BE {
        text.encode_utf16().flat_map(u16::to_be_bytes).collect()
    } else {
        text.as_bytes().to_vec()
    }
}

/// The length of the line's end at the beginning of `rest`, in one unit.
fn line_end_unit(rest: &[u8], encoding: &'static Encoding) -> Option<usize> {
    ["\n", "\r"].map(|end| in_encoding(end, encoding)).iter().find(|end| rest.starts_with(end)).map(Vec::len)
}

/// The preamble, the records' bytes and the line ends around them are the file, and nothing else is; numbers rise by one.
fn gives_back_the_file(file: &[u8], whole: &Whole) -> Result<()> {
    if !file.starts_with(&whole.preamble) {
        return Err("its preamble is not its beginning".to_owned());
    }
    let mut at = whole.preamble.len();
    for (record, number) in whole.records.iter().zip(1..) {
        if record.number != number {
            return Err(format!("record {number} has number {}", record.number));
        }
        while let Some(length) = line_end_unit(&file[at..], whole.encoding) {
            at += length;
        }
        if record.raw.is_empty() || !file[at..].starts_with(&record.raw) {
            let raw = String::from_utf8_lossy(&record.raw);
            return Err(format!("record {number} is not what stands at byte {at}: {raw:?}"));
        }
        at += record.raw.len();
    }
    while let Some(length) = line_end_unit(&file[at..], whole.encoding) {
        at += length;
    }
    if at == file.len() { Ok(()) } else { Err(format!("nothing is said of the bytes from {at} on")) }
}

/// The same text, decoded at once; what is no text is 0xff.
fn decoded(bytes: &[u8], encoding: &'static Encoding) -> Vec<u8> {
    if encoding == UTF_8 {
        return bytes.to_vec();
    }
    let mut decoder = encoding.new_decoder_without_bom_handling();
    let mut text = Vec::new();
    let mut rest = bytes;
    loop {
        let mut piece = vec![0; rest.len() * 4 + 16];
        let (result, read, written) = decoder.decode_to_utf8_without_replacement(rest, &mut piece, true);
        text.extend_from_slice(&piece[..written]);
        rest = &rest[read..];
        match result {
            DecoderResult::InputEmpty => return text,
            DecoderResult::OutputFull => {}
            DecoderResult::Malformed(..) => text.push(0xff),
        }
    }
}

/// How many lines end in a text, one sign after another.
fn lines_in(text: &[u8]) -> u64 {
    let mut lines = 0;
    for (at, byte) in text.iter().enumerate() {
        match byte {
            b'\n' => lines += 1,
            b'\r' if text.get(at + 1) != Some(&b'\n') => lines += 1,
            _ => {}
        }
    }
    lines
}

/// Texts, lines and cells are those of the whole list's text.
fn is_what_it_is_as_text(file: &[u8], whole: &Whole) -> Result<()> {
    let marked = Encoding::for_bom(file).filter(|(encoding, _)| *encoding == whole.encoding);
    let mark = marked.map_or(0, |(_, length)| length);
    let text = decoded(&file[mark..], whole.encoding);
    let begin = decoded(&whole.preamble[mark..], whole.encoding).len();
    let mut at = begin;
    for record in &whole.records {
        at += text[at..].iter().take_while(|byte| matches!(byte, b'\n' | b'\r')).count();
        if !text[at..].starts_with(&record.text) {
            return Err(format!("record {} has another text than stands there", record.number));
        }
        let line = lines_in(&text[..at]) + 1;
        if record.line != line {
            return Err(format!("record {} is on line {line}, not {}", record.number, record.line));
        }
        at += record.text.len();
        if let Some(quote) = record.unclosed_quote_line {
            let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
            let has_only_feeds = !text.contains(&b'\r');
            let named = usize::try_from(quote - 1).ok().and_then(|index| lines.get(index));
            if at != text.len() || has_only_feeds && !named.is_some_and(|line| line.contains(&b'"')) {
                return Err(format!("the quote that is never closed does not open on line {quote}"));
            }
        }
    }
    // The other reader takes a second byte order mark away.
    if text[begin..].starts_with(b"\xef\xbb\xbf") {
        return Ok(());
    }
    let mut reader = csv::ReaderBuilder::new();
    reader.delimiter(whole.delimiter).has_headers(false).flexible(true);
    let others: Vec<csv::ByteRecord> =
        reader.from_reader(&text[begin..]).byte_records().collect::<std::result::Result<_, _>>().expect("records");
    if others.len() != whole.records.len() {
        return Err(format!("{} records, and another reader finds {}", whole.records.len(), others.len()));
    }
    for (record, other) in whole.records.iter().zip(&others) {
        if !record.cells.iter().eq(other.iter()) {
            return Err(format!("record {} has the cells {:?}, not {other:?}", record.number, record.cells));
        }
    }
    Ok(())
}

/// Every record has one verdict in the report, in order, and they add up. Says whether the first record is the header.
fn is_accounted_for(list: &List, whole: &Whole, imported: &Imported) -> Result<bool> {
    let (records, report) = (whole.records.len(), &imported.report);
    let has_header = report.len() + 1 == records;
    let as_said = match list.header {
        Header::Auto => true,
        Header::Yes => has_header,
        Header::No => !has_header,
    };
    if !as_said || !has_header && report.len() != records {
        return Err(format!("{} lines in the report of {records} records", report.len()));
    }
    for ((line, record), number) in report.iter().zip(&whole.records[usize::from(has_header)..]).zip(1..) {
        let [number_told, line_told, result, phone, reason] = line;
        let known = Verdict::ALL.iter().any(|verdict| verdict.as_str() == result);
        let is_rejected = result == "rejected";
        if *number_told != format!("{number}")
            || *line_told != record.line.to_string()
            || !known
            || is_rejected != phone.is_empty()
            || (is_rejected || result == "duplicate") == reason.is_empty()
        {
            return Err(format!("the report says {line:?} of record {number} on line {}", record.line));
        }
        if record.unclosed_quote_line.is_some() && reason != "unclosed_quote" {
            return Err(format!("a quote is never closed, and the report says {line:?}"));
        }
    }
    for verdict in Verdict::ALL {
        let told = report.iter().filter(|line| line[2] == verdict.as_str()).count();
        if imported.tally.of(verdict) != told as u64 {
            return Err(format!("{told} are {} by the report; {:?}", verdict.as_str(), imported.tally));
        }
    }
    if imported.tally.rows_read() != report.len() as u64 {
        return Err(format!("{} lines in the report; {:?}", report.len(), imported.tally));
    }
    Ok(has_header)
}

fn has_our_columns(record: &Read) -> bool {
    let cells: Vec<&[u8]> = record.cells.iter().rev().take(2).rev().map(|cell| cell.trim_ascii()).collect();
    cells == REJECT_COLUMNS.map(str::as_bytes)
}

/// The rejects are the bytes of the file, with line and reason behind.
fn rejects_repeat_the_file(
    whole: &Whole,
    has_header: bool,
    rejected: &[&Read],
    reasons: &[&str],
    rejects: &[u8],
) -> Result<()> {
    let first = &whole.records[0];
    if has_header && has_our_columns(first) {
        return Ok(());
    }
    let bytes = |text: &str| in_encoding(text, whole.encoding);
    let delimiter = char::from(whole.delimiter).to_string();
    let quoted = |text: &str| if text.contains(&delimiter) { format!("\"{text}\"") } else { text.to_owned() };
    let line_end =
        if whole.line_end.is_empty() || first.unclosed_quote_line.is_some() { b"\n" } else { &whole.line_end[..] };
    let line_end = bytes(std::str::from_utf8(line_end).expect("ASCII"));
    let mut wanted = whole.preamble.clone();
    if has_header {
        wanted.extend_from_slice(&first.raw);
        let [line, reason] = REJECT_COLUMNS.map(quoted);
        wanted.extend(bytes(&format!("{delimiter}{line}{delimiter}{reason}")));
        wanted.extend_from_slice(&line_end);
    } else {
        // Made names; no line's end is in them.
        let after = &rejects[whole.preamble.len().min(rejects.len())..];
        let unit = bytes("\n").len();
        let end = (0..after.len()).step_by(unit).find(|at| after[*at..].starts_with(&line_end));
        wanted.extend_from_slice(&after[..end.map_or(0, |at| at + line_end.len())]);
    }
    for (record, reason) in rejected.iter().zip(reasons) {
        wanted.extend_from_slice(&record.raw);
        // Half a unit at the list's end is made whole.
        if bytes(" ").len() == 2 && record.raw.len() % 2 == 1 {
            wanted.push(if whole.encoding == UTF_16LE { 0xd8 } else { 0 });
        }
        let quote = if record.unclosed_quote_line.is_some() { "\"" } else { "" };
        let missing = delimiter.repeat(first.cells.len().saturating_sub(record.cells.len()));
        let reason = quoted(reason);
        wanted.extend(bytes(&format!("{quote}{missing}{delimiter}{}{delimiter}{reason}", record.line)));
        wanted.extend_from_slice(&line_end);
    }
    if wanted == rejects {
        return Ok(());
    }
    let (wanted, rejects) = (String::from_utf8_lossy(&wanted), String::from_utf8_lossy(rejects));
    Err(format!("the rejects are\n{rejects:?}\nnot\n{wanted:?}"))
}

/// The rejects are a list of as many rows, and what is rejected of them again is one with the same header.
fn rejects_import_again(whole: &Whole, rejected: usize, rejects: &[u8], folder: &Path) -> Result<()> {
    let again = List {
        bytes: rejects.to_vec(),
        encoding: Some(whole.encoding),
        delimiter: Some(whole.delimiter),
        header: Header::Yes,
    };
    let path = folder.join("again.csv");
    std::fs::write(&path, rejects).map_err(|error| error.to_string())?;
    let imported =
        import(&path, &again, folder).map_err(|error| format!("the rejects cannot be imported: {error:#}"))?;
    if imported.tally.rows_read() != rejected as u64 {
        return Err(format!("{rejected} rows were rejected, and the rejects have {}", imported.tally.rows_read()));
    }
    let header = |bytes: Vec<u8>| -> Result<Vec<Vec<u8>>> {
        std::fs::write(&path, bytes).map_err(|error| error.to_string())?;
        let mut whole = read(&path, &again).map_err(|error| error.to_string())?;
        Ok(whole.records.remove(0).cells)
    };
    let (before, after) = (header(rejects.to_vec())?, header(imported.rejects)?);
    if before == after { Ok(()) } else { Err(format!("the rejects have the header {before:?}, then {after:?}")) }
}
