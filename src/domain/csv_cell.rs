//! Text in CSV that no spreadsheet takes for a formula, and that comes back as it was.

use std::borrow::Cow;

/// Signs at the beginning of a cell from which spreadsheets read a formula, or which they drop before they look for one.
const SIGNS: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

/// The text as it is written into a cell: with an apostrophe before what a spreadsheet would take for a formula. `+` and
/// digits alone stay as they are: a phone does no harm, and every tool expects it so. What begins with apostrophes and
/// such a sign gets one more, so that [`unescape`] gives back just what was written.
///
/// # Examples
/// ```
/// use callops::domain::csv_cell::{escape, unescape};
/// assert_eq!(escape("=HYPERLINK(\"http://example.com\")"), "'=HYPERLINK(\"http://example.com\")");
/// assert_eq!(escape("+18022236942"), "+18022236942");
/// assert_eq!(unescape(&escape("'=x")), "'=x");
/// ```
pub fn escape(text: &str) -> Cow<'_, str> {
    if is_risky(text.trim_start_matches('\'')) && !is_plus_and_digits(text) {
        Cow::Owned(format!("'{text}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// The text that a cell was written from: without one of the apostrophes that stand before such a sign.
pub fn unescape(cell: &str) -> &str {
    match cell.strip_prefix('\'') {
        Some(rest) if is_risky(rest.trim_start_matches('\'')) => rest,
        _ => cell,
    }
}

fn is_risky(text: &str) -> bool {
    text.starts_with(SIGNS)
}

fn is_plus_and_digits(text: &str) -> bool {
    text.strip_prefix('+').is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_a_spreadsheet_would_run_is_text() {
        for (text, cell) in [
            ("=1+1", "'=1+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\tx", "'\tx"),
            ("\r=x", "'\r=x"),
            ("+1 802", "'+1 802"),
            ("+", "'+"),
            ("+1900*", "'+1900*"),
            ("'=x", "''=x"),
            ("'+18022236942", "''+18022236942"),
            ("''-1", "'''-1"),
            ("+18022236942", "+18022236942"),
            ("'tis", "'tis"),
            ("'", "'"),
            ("", ""),
            ("Ann = Lee", "Ann = Lee"),
        ] {
            assert_eq!(escape(text), cell);
            assert_eq!(unescape(cell), text);
        }
        // Somebody else's apostrophe before a phone goes, too.
        assert_eq!(unescape("'+18022236942"), "+18022236942");
    }

    proptest! {
        #[test]
        fn any_text_comes_back_and_is_no_formula(text in "['=+@\t\r\\-]{0,4}[0-9a=]{0,4}(.|\n){0,8}") {
            let cell = escape(&text);
            prop_assert_eq!(unescape(&cell), text.as_str());
            prop_assert!(!is_risky(&cell) || is_plus_and_digits(&cell), "{:?}", cell);
        }

        #[test]
        fn any_other_text_comes_back_too(text in any::<String>()) {
            let cell = escape(&text);
            prop_assert_eq!(unescape(&cell), text.as_str());
        }
    }
}
