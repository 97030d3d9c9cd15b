//! Takes what differs between runs out of a text, keeping columns where they are.

use super::Scratch;

/// Replaces the test's directory, ULIDs, local ports and elapsed times.
///
/// The same ULID gets the same placeholder throughout a text, so that a snapshot still shows what belongs together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Redactor {
    replacements: Vec<(String, String)>,
}

impl Redactor {
    /// Redacts the names of this directory besides everything of a known shape.
    pub(crate) fn new(scratch: &Scratch) -> Self {
        let mut redactor = Self::default();
        for name in scratch.names() {
            redactor.replace(&name, "[DIR]");
        }
        redactor
    }

    /// Redacts one more text.
    pub(crate) fn replace(&mut self, text: &str, placeholder: &str) {
        self.replacements.push((text.to_owned(), placeholder.to_owned()));
    }

    /// The text without what differs between runs.
    pub(crate) fn apply(&self, text: &str) -> String {
        let mut ulids = Vec::new();
        let mut redacted = String::with_capacity(text.len());
        for line in text.split_inclusive('\n') {
            redacted.push_str(&self.apply_to_line(line, &mut ulids));
        }
        redacted
    }

    fn apply_to_line(&self, line: &str, ulids: &mut Vec<String>) -> String {
        let mut done = String::new();
        let mut rest = line.to_owned();
        while !rest.is_empty() {
            if let Some((length, placeholder)) = self.find_at_start(&rest, done.chars().next_back(), ulids) {
                let surplus = rest[..length].chars().count().cast_signed() - placeholder.chars().count().cast_signed();
                // A right-aligned column has its blanks before the value, a left-aligned one after it.
                let blanks_before = done.len() - done.trim_end_matches(' ').len();
                let word = rest[length..].find(' ').map_or(rest.len(), |at| length + at);
                let blanks_after = count(&rest[word..], |c| c == ' ');
                let after = if blanks_before > blanks_after { None } else { shift(&rest[length..], surplus) };
                let after = after.unwrap_or_else(|| {
                    shift_before(&mut done, surplus);
                    rest[length..].to_owned()
                });
                done.push_str(&placeholder);
                rest = after;
            } else {
                let first = rest.remove(0);
                done.push(first);
            }
        }
        done
    }

    /// What stands at the start of `text` and must not be shown: its length in bytes, and what to show instead.
    fn find_at_start(&self, text: &str, before: Option<char>, ulids: &mut Vec<String>) -> Option<(usize, String)> {
        if let Some((found, placeholder)) = self.replacements.iter().find(|(found, _)| text.starts_with(found.as_str()))
        {
            return Some((found.len(), placeholder.clone()));
        }
        for host in ["127.0.0.1:", "localhost:", "[::1]:"] {
            if let Some(digits) = text.strip_prefix(host).map(|rest| count(rest, |c| c.is_ascii_digit()))
                && digits > 0
            {
                return Some((host.len() + digits, format!("{host}[PRT]")));
            }
        }
        if before.is_some_and(|c| c.is_ascii_alphanumeric() || c == '.') {
            return None;
        }
        let word = count(text, |c| c.is_ascii_alphanumeric());
        if is_ulid(&text[..word]) {
            let number = ulids.iter().position(|known| *known == text[..word]).unwrap_or_else(|| {
                ulids.push(text[..word].to_owned());
                ulids.len() - 1
            });
            return Some((word, format!("{:-<25}]", format!("[ulid-{}", number + 1))));
        }
        elapsed_time(text).map(|length| (length, "[time]".to_owned()))
    }
}

fn count(text: &str, matches: impl Fn(char) -> bool) -> usize {
    text.find(|c| !matches(c)).unwrap_or(text.len())
}

/// 26 characters of Crockford's alphabet, of which the first is at most 7. A number of 26 digits is none.
fn is_ulid(word: &str) -> bool {
    word.len() == 26
        && word.starts_with(|c| ('0'..='7').contains(&c))
        && word.chars().any(|c| c.is_ascii_alphabetic())
        && word.chars().all(|c| c.is_ascii_digit() || (c.is_ascii_uppercase() && !"ILOU".contains(c)))
}

/// The length of an elapsed time such as `12ms`, `350 µs` or `1.24 s`. Whole seconds, minutes and hours are settings,
/// not measurements, and stay.
fn elapsed_time(text: &str) -> Option<usize> {
    let whole = count(text, |c| c.is_ascii_digit());
    if whole == 0 {
        return None;
    }
    let fraction = match text[whole..].strip_prefix('.').map(|rest| count(rest, |c| c.is_ascii_digit())) {
        Some(digits) if digits > 0 => digits + 1,
        _ => 0,
    };
    let number = whole + fraction;
    let blank = usize::from(text[number..].starts_with(' '));
    let unit = count(&text[number + blank..], char::is_alphabetic);
    let unit_text = &text[number + blank..number + blank + unit];
    let measured = matches!(unit_text, "ns" | "us" | "µs" | "μs" | "ms") || (unit_text == "s" && fraction > 0);
    measured.then_some(number + blank + unit)
}

/// Lengthens (or, for a negative surplus, shortens) the run of at least two blanks that follows the word at the start
/// of `text`, which is what keeps the next column in place. `None` when there is no such run or it is too short.
fn shift(text: &str, surplus: isize) -> Option<String> {
    let word = text.find([' ', '\n']).unwrap_or(text.len());
    let blanks = count(&text[word..], |c| c == ' ');
    let after = text[word + blanks..].chars().next();
    let is_column_end = blanks >= 2 || (blanks == 1 && matches!(after, Some('|' | '│' | '┆')));
    let wanted = blanks.checked_add_signed(surplus)?;
    (is_column_end && wanted >= 1 && after.is_some_and(|c| c != '\n'))
        .then(|| format!("{}{}{}", &text[..word], " ".repeat(wanted), &text[word + blanks..]))
}

/// Does the same to the blanks at the end of `done`, if there is a run of them.
fn shift_before(done: &mut String, surplus: isize) {
    let kept = done.trim_end_matches(' ').len();
    let blanks = done.len() - kept;
    if let Some(wanted) = blanks.checked_add_signed(surplus)
        && blanks >= 2
        && wanted >= 1
        && kept > 0
    {
        done.truncate(kept);
        done.push_str(&" ".repeat(wanted));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redact(text: &str) -> String {
        let mut redactor = Redactor::default();
        redactor.replace("/tmp/callops-it-12345678", "[DIR]");
        redactor.apply(text)
    }

    #[test]
    fn what_differs_between_runs_is_replaced() {
        assert_eq!(redact("no database at /tmp/callops-it-12345678/a.db"), "no database at [DIR]/a.db");
        assert_eq!(redact("listening on http://127.0.0.1:40321/"), "listening on http://127.0.0.1:[PRT]/");
        assert_eq!(redact("took 12.25ms, then 3 µs, then 1.5 s"), "took [time], then [time], then [time]");
        let (a, b) = ("01ARZ3NDEKTSV4RRFFQ69G5FAV", "01BX5ZZKBKACTAV9WEVGEMMVRZ");
        assert_eq!(
            redact(&format!("{a} {b} {a}")),
            "[ulid-1------------------] [ulid-2------------------] [ulid-1------------------]"
        );
    }

    #[test]
    fn what_is_the_same_in_every_run_stays() {
        for text in [
            "within 20 s, after 15m, 24:00, 90s",
            "+14155550100",
            "2026-11-20T05:30:00Z",
            "10.0.0.1:5432",
            "12 messages",
            "12345678901234567890123456",
            "version 1.2.3",
        ] {
            assert_eq!(redact(text), text);
        }
    }

    #[test]
    fn columns_stay_where_they_are() {
        let text = "\
file                             rows
/tmp/callops-it-12345678/a.csv   10
b.csv                            20
took   9.25ms |
took  12.25ms |
took 120 ms   |
";
        assert_eq!(
            redact(text),
            "\
file                             rows
[DIR]/a.csv                      10
b.csv                            20
took   [time] |
took   [time] |
took [time]   |
"
        );
    }
}
