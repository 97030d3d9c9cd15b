//! How a list is written: what parts its cells, and whether it has a header.

use crate::error::Failure;

/// How a list is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::commands) struct Dialect {
    /// What parts cells.
    pub(in crate::commands) delimiter: u8,
    /// Bytes of text before the first record: Excel's line `sep=;`, else 0.
    pub(super) preamble_bytes: usize,
}

/// Reads `--delimiter`: one ASCII sign, or `tab`.
///
/// # Errors
/// For anything else.
pub(in crate::commands) fn delimiter_option(text: &str) -> anyhow::Result<u8> {
    match text.to_ascii_lowercase().as_str() {
        "tab" | "\\t" | "\t" => return Ok(b'\t'),
        "comma" => return Ok(b','),
        "semicolon" => return Ok(b';'),
        "pipe" => return Ok(b'|'),
        _ => {}
    }
    match text.as_bytes() {
        [sign] if sign.is_ascii_punctuation() && *sign != b'"' => Ok(*sign),
        _ => Err(Failure::usage(format!("--delimiter `{text}` is not one sign"))
            .hint("for example --delimiter ';' or --delimiter tab")
            .into()),
    }
}

/// Looks at the beginning of a list's text.
///
/// # Errors
/// When there is none.
pub(super) fn recognise(head: &[u8], wanted: Option<u8>) -> anyhow::Result<Dialect> {
    // Encodings of China have a byte order mark too, which only shows once it is decoded.
    let mut text = head;
    while let Some(rest) = text.strip_prefix("\u{feff}".as_bytes()) {
        text = rest;
    }
    if text.trim_ascii().is_empty() {
        return Err(Failure::usage("it is empty").into());
    }
    let first_line = head.split(|byte| matches!(byte, b'\n' | b'\r')).next().unwrap_or_default();
    let unquoted = first_line.strip_prefix(b"\"").and_then(|line| line.strip_suffix(b"\"")).unwrap_or(first_line);
    if let [b's' | b'S', b'e' | b'E', b'p' | b'P', b'=', delimiter, rest @ ..] = unquoted
        && rest.trim_ascii().is_empty()
        && (delimiter.is_ascii_punctuation() || *delimiter == b'\t')
        && *delimiter != b'"'
        && first_line.len() < head.len()
    {
        let delimiter = wanted.unwrap_or(*delimiter);
        let line_end = if head[first_line.len()..].starts_with(b"\r\n") { 2 } else { 1 };
        return Ok(Dialect { delimiter, preamble_bytes: first_line.len() + line_end });
    }
    Ok(Dialect { delimiter: wanted.unwrap_or_else(|| delimiter_of(head)), preamble_bytes: 0 })
}

/// The sign that parts the first record's cells: whichever of `,` `;` tab `|` stands most often in it outside quotes.
fn delimiter_of(head: &[u8]) -> u8 {
    const SIGNS: [u8; 4] = [b',', b';', b'\t', b'|'];
    let mut counts = [0_usize; SIGNS.len()];
    let (mut in_quotes, mut at_cell_start) = (false, true);
    for byte in head.iter().skip_while(|byte| byte.is_ascii_whitespace() && **byte != b'\t') {
        let was_at_start = std::mem::replace(&mut at_cell_start, false);
        match byte {
            b'"' if in_quotes || was_at_start => in_quotes = !in_quotes,
            b'\n' | b'\r' if !in_quotes => break,
            _ if in_quotes => {}
            _ => {
                if let Some(sign) = SIGNS.iter().position(|sign| sign == byte) {
                    counts[sign] += 1;
                    at_cell_start = true;
                }
            }
        }
    }
    let most = counts.iter().copied().max().unwrap_or(0);
    counts.iter().position(|count| *count == most).map_or(b',', |sign| SIGNS[sign])
}

/// Whether a cell of what should be a header is more likely a number to call: a list without a header.
pub(in crate::commands) fn looks_like_a_phone(cell: &str) -> bool {
    let digits = cell.chars().filter(|c| c.is_numeric()).count();
    (7..=18).contains(&digits) && cell.chars().all(|c| c.is_numeric() || " +-().'\u{a0}/".contains(c))
}

/// The line, counted from 1 at the beginning of `record`, on which the last quote opens that is not closed in it.
pub(super) fn open_quote_line(record: &[u8], delimiter: u8) -> u64 {
    let (mut line, mut opened_on) = (1, 1);
    let (mut in_quotes, mut at_cell_start) = (false, true);
    let mut bytes = record.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        let was_at_start = std::mem::replace(&mut at_cell_start, false);
        match byte {
            b'\n' => {
                line += 1;
                at_cell_start = !in_quotes;
            }
            b'\r' if bytes.peek() != Some(&b'\n') => {
                line += 1;
                at_cell_start = !in_quotes;
            }
            b'"' if in_quotes && bytes.peek() == Some(&b'"') => drop(bytes.next()),
            b'"' if in_quotes => in_quotes = false,
            b'"' if was_at_start => (in_quotes, opened_on) = (true, line),
            _ if byte == delimiter && !in_quotes => at_cell_start = true,
            _ => {}
        }
    }
    opened_on
}

/// Where each cell of a record begins, counted in bytes from the record's beginning.
pub(in crate::commands) fn cell_starts(record: &[u8], delimiter: u8) -> Vec<usize> {
    let mut starts = vec![0];
    let (mut in_quotes, mut at_cell_start) = (false, true);
    let mut bytes = record.iter().copied().enumerate().peekable();
    while let Some((at, byte)) = bytes.next() {
        let was_at_start = std::mem::replace(&mut at_cell_start, false);
        match byte {
            b'"' if in_quotes && bytes.peek().is_some_and(|(_, next)| *next == b'"') => drop(bytes.next()),
            b'"' if in_quotes => in_quotes = false,
            b'"' if was_at_start => in_quotes = true,
            _ if byte == delimiter && !in_quotes => {
                starts.push(at + 1);
                at_cell_start = true;
            }
            _ => {}
        }
    }
    starts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_an_open_quote_is_found() {
        for (record, line) in
            [(&b"a,\"b"[..], 1), (b"\"a\nb\",\"c\nd", 2), (b"\"a\r\nb\",x\"y,\"c", 2), (b"\"a\"\"\nb\"\"\"\n,\"c", 3)]
        {
            assert_eq!(open_quote_line(record, b','), line, "{}", String::from_utf8_lossy(record));
        }
    }

    #[test]
    fn cells_begin_behind_delimiters_outside_quotes() {
        assert_eq!(cell_starts(b"a,\"b,\"\"c\",,d\"e,", b','), [0, 2, 10, 11, 15]);
        assert_eq!(cell_starts(b"", b','), [0]);
    }

    #[test]
    fn marks_alone_are_no_list() {
        for head in ["", " \n", "\u{feff}", "\u{feff}\u{feff}\r\n"] {
            assert!(recognise(head.as_bytes(), None).is_err(), "{head:?}");
        }
    }

    #[test]
    fn the_first_lines_say_how_a_list_is_written() {
        for (head, delimiter, preamble_bytes) in [
            (&b"sep=;\r\na;b"[..], b';', 7),
            (b"sep=;\ra;b", b';', 6),
            (b"\"sep=;\"\na;b", b';', 8),
            (b"SEP=\t\na\tb", b'\t', 6),
            (b"sep=\r\nphone,name", b',', 0),
            (b"sep=\"\nphone,name", b',', 0),
            (b"na\"me;phone;x\n", b';', 0),
            (b"\"a;b;c\",d\n", b',', 0),
            (b"\"a\"\"b\",\"c;d\"\n", b',', 0),
        ] {
            let dialect = recognise(head, None).unwrap();
            let text = String::from_utf8_lossy(head);
            assert_eq!((dialect.delimiter, dialect.preamble_bytes), (delimiter, preamble_bytes), "{text:?}");
        }
    }

    #[test]
    fn the_first_line_of_excel_names_the_delimiter_whatever_ends_it() {
        for (head, delimiter, preamble_bytes) in [
            ("sep=;\na,b;c\n", b';', 6),
            ("SEP=|\r\na,b;c\r\n", b'|', 7),
            ("sep=;\ra,b;c\r", b';', 6),
            ("sep=\t\na,b;c\n", b'\t', 6),
            ("sep=\r\r\na,b;c,d\n", b',', 0),
            ("sep=\"\na,b;c,d\n", b',', 0),
            ("sep=;", b';', 0),
        ] {
            assert_eq!(recognise(head.as_bytes(), None).unwrap(), Dialect { delimiter, preamble_bytes }, "{head:?}");
        }
    }

    #[test]
    fn delimiters_are_named_or_one_sign() {
        for (text, want) in [("tab", b'\t'), ("\\t", b'\t'), (";", b';'), ("|", b'|'), (":", b':')] {
            assert_eq!(delimiter_option(text).unwrap(), want);
        }
        for text in ["", ";;", "\"", "a", "é"] {
            assert!(delimiter_option(text).is_err(), "{text}");
        }
    }

    #[test]
    fn phones_are_told_from_headings() {
        for text in ["802-223-6942", "+1 802 223 6942", "8022236942", "(802) 223-6942"] {
            assert!(looks_like_a_phone(text), "{text}");
        }
        for text in ["phone", "Phone 1", "", "2024", "a8022236942", "phone 8022236942"] {
            assert!(!looks_like_a_phone(text), "{text}");
        }
    }
}
