//! Lists as people send them, and worse.

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};
use fastrand::Rng;

use super::List;
use crate::commands::import_contacts::Header;

const REAL: [&[u8]; 2] = [
    include_bytes!("../../../../examples/data/us_congress_district_offices.csv"),
    include_bytes!("../../../../examples/data/us_vermont_town_offices.csv"),
];
/// Labels of encodings that lists come in. None of those in which a sign's meaning depends on signs before its line.
const ENCODINGS: [&str; 14] = [
    "utf-8",
    "utf-8",
    "utf-8",
    "utf-16le",
    "utf-16be",
    "windows-1252",
    "windows-1251",
    "iso-8859-15",
    "macintosh",
    "shift_jis",
    "gbk",
    "gb18030",
    "euc-kr",
    "big5",
];
const HEADERS: [&[&str]; 11] = [
    &["phone"],
    &["name", "phone"],
    &["Name", "Phone", "Email", "Notes"],
    &["Vorname", "Nachname", "Telefon", "E-Mail", "Straße"],
    &["phone", "extension", "timezone", "preferred_time", "country", "external_id"],
    &["名前", "電話番号", "メモ"],
    &["\"phone\"", "\"a \"\"quoted\"\" name\"", ""],
    &["phone", "phone", "phone_2", "phone"],
    &["name", "phone", "callops_line", "callops_reason"],
    &["name", "contact"],
    &[],
];
const CELLS: &[&str] = &[
    "802-223-6942",
    "(802) 265-3610 x12",
    "+1 802 755 6100",
    "+44 20 7946 0958",
    "802.467.3717 / 802-223-6942",
    "802-223-6942; 802-265-3610",
    "\"802-223-6942\n802-265-3610\"",
    "8022236942",
    "1.41555E+10",
    "911",
    "12345",
    "NULL",
    "n/a",
    "",
    " ",
    "Zoë Ünal",
    "José",
    "\"Ada, L.; M.|N\"",
    "\"two\nlines\"",
    "\"two\r\nlines\"",
    "\"a \"\"quoted\"\" word\"",
    "a \"bare\" quote",
    "\"closed\" too soon",
    "\"\"",
    "\"\"\"\"",
    "\"",
    "山田 太郎",
    "ソ表能",
    "한국어",
    "Иванов",
    "America/New_York",
    "America/New York",
    "9:30",
    "25:00",
    "US",
    "Atlantis",
    "nul\0",
    "\u{feff}",
    "sep=;",
    "'=1+1",
    "callops_line",
    "x12",
];

fn one<T: Copy>(random: &mut Rng, of: &[T]) -> T {
    of[random.usize(..of.len())]
}

/// Some list.
pub(super) fn list(random: &mut Rng) -> List {
    let encoding = Encoding::for_label(one(random, &ENCODINGS).as_bytes()).expect("an encoding");
    let delimiter = one(random, b",,,;;\t|:_");
    let mut bytes = if random.u8(..10) == 0 { spliced(random) } else { encoded(&text(random, delimiter), encoding) };
    if random.bool() {
        for _ in 0..random.usize(1..6) {
            spoil(random, &mut bytes, delimiter);
        }
    }
    let said = match random.u8(..10) {
        0 => Encoding::for_label(one(random, &ENCODINGS).as_bytes()),
        1..4 => None,
        _ => Some(encoding),
    };
    List {
        bytes: [mark(random, encoding), &bytes].concat(),
        encoding: said,
        delimiter: (!matches!(delimiter, b',' | b';' | b'\t' | b'|') || random.u8(..4) == 0).then_some(delimiter),
        header: one(random, &[Header::Auto, Header::Auto, Header::Yes, Header::No]),
    }
}

/// A byte order mark, or none.
fn mark(random: &mut Rng, encoding: &'static Encoding) -> &'static [u8] {
    let mark: &[u8] = if encoding == UTF_8 {
        b"\xef\xbb\xbf"
    } else if encoding == UTF_16LE {
        b"\xff\xfe"
    } else if encoding == UTF_16BE {
        b"\xfe\xff"
    } else {
        b""
    };
    if random.bool() { mark } else { b"" }
}

fn text(random: &mut Rng, delimiter: u8) -> String {
    let delimiter = char::from(delimiter).to_string();
    let ends = one(random, &[&["\n"][..], &["\r\n"], &["\r"], &["\n", "\r\n", "\r", "\n\n", "\r\n\r\n"]]);
    let end = |random: &mut Rng| one(random, ends);
    let mut text = String::new();
    if random.u8(..20) == 0 {
        text = format!("sep={delimiter}{}", end(random));
    }
    let header = one(random, &HEADERS);
    let width = header.len().max(1);
    if !header.is_empty() {
        text += &header.join(&delimiter);
        text += end(random);
    }
    let rows = match random.u8(..40) {
        0 => random.usize(200..400),
        1..4 => 0,
        _ => random.usize(..25),
    };
    for row in 0..rows {
        let width = if random.u8(..12) == 0 { random.usize(1..width + 3) } else { width };
        let cells: Vec<String> = (0..width).map(|_| cell(random)).collect();
        text += &cells.join(&delimiter);
        if row + 1 < rows || random.bool() {
            text += end(random);
        }
    }
    text
}

fn cell(random: &mut Rng) -> String {
    match random.u16(..400) {
        0 => format!("\"{}\"", "long \"\"cell\"\"\n".repeat(random.usize(1..300))),
        1 => "8".repeat(random.usize(1..4000)),
        2..40 => format!("802-{}-{:04}", random.u32(200..1000), random.u32(..10_000)),
        40..60 => (0..random.usize(..12)).map(|_| random.char(..)).collect(),
        _ => one(random, CELLS).to_owned(),
    }
}

/// What an encoding has no signs for is left out.
fn encoded(text: &str, encoding: &'static Encoding) -> Vec<u8> {
    if encoding == UTF_16LE {
        return text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    }
    if encoding == UTF_16BE {
        return text.encode_utf16().flat_map(u16::to_be_bytes).collect();
    }
    let (bytes, _, has_gaps) = encoding.encode(text);
    if !has_gaps {
        return bytes.into_owned();
    }
    let mut sign = [0; 4];
    let signs = text.chars().filter_map(|c| {
        let (bytes, _, has_gap) = encoding.encode(c.encode_utf8(&mut sign));
        (!has_gap).then(|| bytes.into_owned())
    });
    signs.collect::<Vec<_>>().concat()
}

/// Pieces of real lists.
fn spliced(random: &mut Rng) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..random.usize(1..5) {
        let real = one(random, &REAL);
        let from = if random.bool() { 0 } else { random.usize(..real.len()) };
        let to = (from + random.usize(..5000)).min(real.len());
        bytes.extend_from_slice(&real[from..to]);
    }
    bytes
}

fn spoil(random: &mut Rng, bytes: &mut Vec<u8>, delimiter: u8) {
    let at = random.usize(..=bytes.len());
    let end = (at + random.usize(..20)).min(bytes.len());
    match random.u8(..7) {
        0 => bytes.truncate(at),
        1 => drop(bytes.drain(at..end)),
        2 => bytes.splice(at..at, (0..random.usize(1..8)).map(|_| random.u8(..)).collect::<Vec<_>>()).for_each(drop),
        3 => {
            let piece = bytes[at..end].to_vec();
            let to = random.usize(..=bytes.len());
            bytes.splice(to..to, piece).for_each(drop);
        }
        _ => bytes.insert(at, one(random, &[b'"', b'"', b'\n', b'\r', 0, 0x81, 0xff, delimiter])),
    }
}
