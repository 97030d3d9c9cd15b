//! What spreadsheets and exports do to a number before anybody reads it: undone where nothing was lost, refused
//! where digits are gone.

use std::borrow::Cow;

use super::PhoneProblem;

/// Words and signs that people and programs write where there is nothing. Compared in lower case.
const NOTHING: &[&str] = &[
    "null",
    "(null)",
    "\\n",
    "nil",
    "none",
    "(none)",
    "n/a",
    "n.a.",
    "n.a",
    "na",
    "#n/a",
    "nan",
    "<na>",
    "nat",
    "undefined",
    "unknown",
    "missing",
    "empty",
    "blank",
    "no phone",
    "no number",
    "not available",
    "not applicable",
    "not provided",
    "tbd",
    "tba",
    "tbc",
    "x",
    "xx",
    "xxx",
    "keine",
    "k.a.",
    "k. a.",
    "leer",
    "inconnu",
    "aucun",
    "ninguno",
    "nessuno",
    "none listed",
    "unlisted",
    "private",
    "withheld",
];

/// Whether a cell says that there is no value: empty, a word such as `NULL` or `N/A`, only signs, or only zeros.
fn is_placeholder(text: &str) -> bool {
    let text = text.trim();
    // Zeros and signs: `-`, `?`, `0`, `000-000-0000`, `0.0`; one letter or other digit makes it something.
    if !text.starts_with('#') && !text.chars().any(|c| c.is_alphanumeric() && c != '0') {
        return true;
    }
    text.len() <= 16
        && !text.starts_with(|c: char| c == '+' || c.is_ascii_digit())
        && NOTHING.iter().any(|word| word.eq_ignore_ascii_case(text))
}

/// The text with everything undone that loses nothing, ready to be parsed.
///
/// # Errors
/// [`PhoneProblem::NoPhone`] for a placeholder, [`PhoneProblem::SpreadsheetDamage`] where digits are lost or where it
/// cannot be told which are the number's.
pub(super) fn repair(input: &str) -> Result<Cow<'_, str>, PhoneProblem> {
    let mut text = plain_characters(input);
    let inner = unwrap(&text);
    if inner.len() != text.len() {
        text = Cow::Owned(inner.to_owned());
    }
    if is_placeholder(&text) {
        return Err(PhoneProblem::NoPhone);
    }
    if text.starts_with('#') && !text.bytes().any(|b| b.is_ascii_digit()) {
        // `#REF!`, `#VALUE!`, and the signs that fill a column too narrow for its number.
        return Err(PhoneProblem::SpreadsheetDamage);
    }
    undo_number_format(text)
}

/// Maps look-alikes to ASCII (digits of every script, full-width forms, dashes, spaces) and drops what is invisible.
fn plain_characters(input: &str) -> Cow<'_, str> {
    if input.is_ascii() && !input.bytes().any(|b| b.is_ascii_control()) {
        return Cow::Borrowed(input);
    }
    let mut out = String::with_capacity(input.len());
    for c in input.chars() {
        match c {
            '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{ad}'
            | '\u{61c}' => {}
            '\u{ff01}'..='\u{ff5e}' => out.push(char::from_u32(c as u32 - 0xfee0).unwrap_or(c)),
            '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{fe58}' | '\u{fe63}' => out.push('-'),
            '\u{2018}' | '\u{2019}' | '\u{201b}' => out.push('\''),
            '\u{201c}' | '\u{201d}' => out.push('"'),
            '\n' | '\r' => out.push('\n'),
            c if c.is_whitespace() => out.push(' '),
            c => match decimal_digit(c) {
                Some(digit) => out.push(char::from(b'0' + digit)),
                None => out.push(c),
            },
        }
    }
    Cow::Owned(out)
}

/// The value of a decimal digit of any script in common use; full-width ones are mapped before.
fn decimal_digit(c: char) -> Option<u8> {
    const ZEROS: &[u32] = &[
        0x0660, 0x06f0, 0x07c0, 0x0966, 0x09e6, 0x0a66, 0x0ae6, 0x0b66, 0x0be6, 0x0c66, 0x0ce6, 0x0d66, 0x0de6, 0x0e50,
        0x0ed0, 0x0f20, 0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90, 0x1b50, 0x1bb0, 0x1c40, 0x1c50,
        0xa620, 0xa8d0, 0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xabf0,
    ];
    let code = c as u32;
    if code < 0x0660 {
        return None;
    }
    if (0x1d7ce..=0x1d7ff).contains(&code) {
        return u8::try_from((code - 0x1d7ce) % 10).ok();
    }
    let at = ZEROS.partition_point(|zero| *zero <= code).checked_sub(1)?;
    u8::try_from(code - ZEROS[at]).ok().filter(|value| *value < 10)
}

/// Takes off what is wrapped around a value to keep it text: blanks, a leading apostrophe, quotes, `="..."`.
fn unwrap(text: &str) -> &str {
    let mut text = text.trim();
    loop {
        let before = text.len();
        if let Some(formula) = text.strip_prefix("=\"").and_then(|t| t.strip_suffix('"')) {
            text = formula;
        }
        text = text.trim_start_matches(['\'', '`', '"']).trim_end_matches(['\'', '`', '"']).trim();
        if text.len() == before {
            return text;
        }
    }
}

/// Undoes what happens when a spreadsheet takes the digits for a quantity.
fn undo_number_format(text: Cow<'_, str>) -> Result<Cow<'_, str>, PhoneProblem> {
    let body = text.strip_prefix("tel:").unwrap_or(&text).trim_start();
    let unsigned = body.strip_prefix('+').unwrap_or(body);
    if is_scientific(unsigned) {
        return Err(PhoneProblem::SpreadsheetDamage);
    }
    let joined = without_blanks_at_point(unsigned);
    let (whole, fraction) = split_decimal(&joined);
    if let Some(fraction) = fraction {
        // A double holds 15 digits exactly; beyond, those before the point are not all the customer's.
        let digits = whole.bytes().filter(u8::is_ascii_digit).count();
        if digits > 15 || fraction.bytes().any(|b| b != b'0') {
            return Err(PhoneProblem::SpreadsheetDamage);
        }
    }
    if zero_filled(whole, body.starts_with('+')) {
        return Err(PhoneProblem::SpreadsheetDamage);
    }
    if fraction.is_some() || whole.contains(',') && is_grouped(whole) {
        let plus = if body.starts_with('+') { "+" } else { "" };
        return Ok(Cow::Owned(format!("{plus}{}", whole.replace(',', ""))));
    }
    if has_decimal_inside(unsigned) {
        return Err(PhoneProblem::SpreadsheetDamage);
    }
    Ok(text)
}

/// `1.41555E+10`, `4,9E12`, `1E+10`.
fn is_scientific(text: &str) -> bool {
    let Some((mantissa, exponent)) = text.split_once(['e', 'E']) else { return false };
    let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    let mantissa_is_decimal = match mantissa.split_once(['.', ',']) {
        Some((whole, fraction)) => digits(whole) && digits(fraction),
        None => digits(mantissa),
    };
    mantissa_is_decimal && digits(exponent) && exponent.len() <= 3
}

/// `49302270123 .0` and `49302270123. 0` without the blank: only zeros behind a last decimal sign.
fn without_blanks_at_point(text: &str) -> Cow<'_, str> {
    let zeros = text.trim_end_matches('0');
    let before = zeros.trim_end();
    let is_point = zeros.len() < text.len() && before.ends_with(['.', ',']);
    if !is_point || text.bytes().filter(|byte| matches!(byte, b'.' | b',')).count() != 1 {
        return Cow::Borrowed(text);
    }
    let whole = before[..before.len() - 1].trim_end();
    Cow::Owned(format!("{whole}.{}", &text[zeros.len()..]))
}

/// `49302270123.0` or `8,021,234,567.00` as what stands before the decimal sign and what behind; no fraction for
/// anything else. At least 7 digits, and decimals that are no number by themselves, or nothing but zeros: `030.1234567` and
/// `01.23.45.67.89` are no quantities, and `8022236942,8022653610` are two numbers.
fn split_decimal(text: &str) -> (&str, Option<&str>) {
    if let Some((whole, fraction)) = text.rsplit_once(['.', ','])
        && !fraction.is_empty()
        && !is_grouped(text)
        && fraction.bytes().all(|b| b.is_ascii_digit())
        && (fraction.len() < 7 || fraction.bytes().all(|b| b == b'0'))
        && whole.bytes().filter(u8::is_ascii_digit).count() >= 7
        && (whole.bytes().all(|b| b.is_ascii_digit()) || is_grouped(whole))
    {
        return (whole, Some(fraction));
    }
    (text, None)
}

/// Digits in groups of three behind a first of one to three, parted by commas.
fn is_grouped(text: &str) -> bool {
    let mut groups = text.split(',');
    let all_digits = |g: &str| g.bytes().all(|b| b.is_ascii_digit());
    groups.next().is_some_and(|first| (1..=3).contains(&first.len()) && all_digits(first))
        && text.contains(',')
        && groups.all(|group| group.len() == 3 && all_digits(group))
}

/// What a six-digit scientific cell becomes when it is saved as digits: 11 or more, with only zeros from the seventh
/// on. A `+` or a leading 0 does not survive a spreadsheet, so numbers that have one were not through it.
fn zero_filled(whole: &str, has_plus: bool) -> bool {
    !has_plus
        && whole.len() >= 11
        && !whole.starts_with('0')
        && whole.bytes().all(|b| b.is_ascii_digit())
        && whole.bytes().skip(6).all(|b| b == b'0')
}

/// A `.0` behind a long run of digits in a text that has more than that: which digits were meant is anybody's guess.
fn has_decimal_inside(text: &str) -> bool {
    let bytes = text.as_bytes();
    let mut run = 0;
    for (i, byte) in bytes.iter().enumerate() {
        if byte.is_ascii_digit() {
            run += 1;
            continue;
        }
        let zeros = bytes[i + 1..].iter().take_while(|b| **b == b'0').count();
        let ends = bytes.get(i + 1 + zeros).is_none_or(|b| !b.is_ascii_digit());
        if *byte == b'.' && ends && (zeros == 1 && run > 0 || zeros >= 2 && run >= 7) {
            return true;
        }
        run = 0;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lossless_damage_is_undone() {
        for (input, want) in [
            ("'802-123-4567", "802-123-4567"),
            ("\u{2019}802-123-4567", "802-123-4567"),
            ("\u{a0}802\u{a0}123\u{202f}4567\u{200b}", "802 123 4567"),
            ("\u{202a}+1 802 123 4567\u{202c}", "+1 802 123 4567"),
            ("＋１（８０２）１２３－４５６７", "+1(802)123-4567"),
            ("٨٠٢١٢٣٤٥٦٧", "8021234567"),
            ("८०२१२३४५६७", "8021234567"),
            ("𝟖𝟎𝟐1234567", "8021234567"),
            ("802‑123–4567", "802-123-4567"),
            ("=\"8021234567\"", "8021234567"),
            ("+49302270123.0", "+49302270123"),
            ("49302270123.00", "49302270123"),
            ("49302270123,0", "49302270123"),
            ("8,021,234,567", "8021234567"),
            ("8,021,234,567.00", "8021234567"),
            ("tel:+49302270123.0", "+49302270123"),
            ("+49302270123.000", "+49302270123"),
            ("302270123.0000", "302270123"),
            ("+49302270123 .0", "+49302270123"),
            ("+49302270123. 0", "+49302270123"),
            ("+49302270123,000", "+49302270123"),
            ("01.23.45.67.00", "01.23.45.67.00"),
            ("+1 802 223.6942", "+1 802 223.6942"),
            ("8022236942,8022653610", "8022236942,8022653610"),
            ("030.1234567", "030.1234567"),
        ] {
            assert_eq!(repair(input).as_deref(), Ok(want), "{input}");
        }
    }

    #[test]
    fn lost_digits_are_refused() {
        for input in [
            "1.41555E+10",
            "1,41555E+10",
            "+4.9302E+11",
            "1E+10",
            "4.91511e12",
            "14155500000",
            "14155500000.0",
            "4915110000000",
            "8021234567.5",
            "4930227012345678.0",
            "+49 30 2270123.0",
            "49302270123.0 x12",
            "+4930227012.345",
            "+49302270123,5",
            "+49 30 2270123.000",
            "0302270123.123456",
            "########",
            "#REF!",
            "#VALUE!",
        ] {
            assert_eq!(repair(input), Err(PhoneProblem::SpreadsheetDamage), "{input}");
        }
    }

    #[test]
    fn placeholders_are_told_from_bad_numbers() {
        for input in [
            "",
            "  ",
            "\u{a0}",
            "NULL",
            "null",
            "N/A",
            "n/a",
            "NA",
            "-",
            "--",
            "—",
            "none",
            "None",
            "0",
            "0.0",
            "0000000000",
            "000-000-0000",
            "+0",
            "nan",
            "NaN",
            "#N/A",
            "?",
            "( ) -",
            "'",
            "\u{feff}",
        ] {
            assert_eq!(repair(input), Err(PhoneProblem::NoPhone), "{input:?}");
        }
        for input in ["911", "nobody", "802", "10", "x12", "a"] {
            assert!(repair(input).is_ok(), "{input}");
        }
    }
}
