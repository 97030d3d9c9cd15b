//! What must not be called: one number, or every number that begins alike.

use std::fmt;

use thiserror::Error;

use super::csv_cell::unescape;
use super::phone::{PhoneProblem, identify_phone};
use super::region::Region;

/// A prefix of at most so many digits covers a whole country, or many.
const WIDE_PREFIX_DIGITS: usize = 3;
/// No number is longer.
const MAX_DIGITS: usize = 15;

/// A number, or what numbers begin with, as text that begins with `+`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pattern {
    text: String,
    is_prefix: bool,
}

/// Why a text names nothing that could be suppressed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PatternProblem {
    /// Not a number.
    #[error("{0}")]
    Phone(#[from] PhoneProblem),
    /// Not a prefix.
    #[error("a prefix is `+` and 1 to 15 digits of which the first is not 0, such as +1900")]
    Prefix,
}

impl Pattern {
    /// Reads a number as people write it; in national form it is read by `region`'s plan. Numbers that are never
    /// dialled, such as those of premium rate, can be named too. An extension is passed over.
    ///
    /// # Errors
    /// A text that is no number.
    pub fn number(text: &str, region: Option<Region>) -> Result<Self, PatternProblem> {
        let phone = identify_phone(text, region)?;
        Ok(Self { text: phone.as_str().to_owned(), is_prefix: false })
    }

    /// Reads what numbers begin with, such as `+1900` or `+1 900`; a `*` may stand behind it.
    ///
    /// # Errors
    /// A text that is no beginning of a number.
    pub fn prefix(text: &str) -> Result<Self, PatternProblem> {
        let text = text.trim();
        let text = text.strip_suffix('*').unwrap_or(text);
        let text: String = text.chars().filter(|c| !matches!(c, ' ' | '-' | '.' | '(' | ')')).collect();
        let digits = text.strip_prefix('+').ok_or(PatternProblem::Prefix)?;
        let is_well_formed = (1..=MAX_DIGITS).contains(&digits.len())
            && !digits.starts_with('0')
            && digits.bytes().all(|byte| byte.is_ascii_digit());
        if is_well_formed { Ok(Self { text, is_prefix: true }) } else { Err(PatternProblem::Prefix) }
    }

    /// Reads a line of a list: a prefix when a `*` ends it, else a number. It may be a cell of our own CSV.
    ///
    /// # Errors
    /// A text that is neither.
    pub fn line(text: &str, region: Option<Region>) -> Result<Self, PatternProblem> {
        let text = unescape(text.trim());
        if text.ends_with('*') { Self::prefix(text) } else { Self::number(text, region) }
    }

    /// A pattern as it was stored.
    pub fn stored(text: String, is_prefix: bool) -> Self {
        Self { text, is_prefix }
    }

    /// The number, or its beginning.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it is only the beginning of numbers.
    pub fn is_prefix(&self) -> bool {
        self.is_prefix
    }

    /// Whether it covers a whole country, or many: somebody should know what they do.
    pub fn is_wide(&self) -> bool {
        self.is_prefix && self.text.len() <= 1 + WIDE_PREFIX_DIGITS
    }

    /// Whether it covers this number, E.164.
    pub fn covers_phone(&self, phone: &str) -> bool {
        if self.is_prefix { phone.starts_with(&self.text) } else { phone == self.text }
    }

    /// Whether everything that the other one covers is covered by this one too.
    pub fn covers(&self, other: &Self) -> bool {
        if self.is_prefix { other.text.starts_with(&self.text) } else { self == other }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        if self.is_prefix { f.write_str("*") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::csv_cell::escape;

    #[test]
    fn numbers_are_read_as_people_write_them() {
        let us = Some("US".parse().unwrap());
        for (text, want) in [
            ("(802) 223-6942 x1", "+18022236942"),
            ("+18022236942", "+18022236942"),
            // Never dialled, and yet somebody may want it on the list.
            ("900-234-5678", "+19002345678"),
            ("+44 909 879 0000", "+449098790000"),
            // Once a number, and in no plan any more.
            ("+18020236942", "+18020236942"),
        ] {
            let pattern = Pattern::line(text, us).unwrap();
            assert_eq!((pattern.text(), pattern.is_prefix()), (want, false), "{text}");
        }
        for (text, why) in [
            ("911", PhoneProblem::ShortOrEmergency),
            ("", PhoneProblem::NoPhone),
            ("802-023-6942", PhoneProblem::InvalidNumber),
            ("call me", PhoneProblem::NotANumber),
        ] {
            assert_eq!(Pattern::line(text, us), Err(PatternProblem::Phone(why)), "{text}");
        }
        assert_eq!(Pattern::number("802-223-6942", None), Err(PatternProblem::Phone(PhoneProblem::RegionNeeded)));
    }

    #[test]
    fn prefixes_are_a_plus_and_digits() {
        for (text, want, is_wide) in
            [("+1900", "+1900", false), (" +1 (900)* ", "+1900", false), ("+1", "+1", true), ("+353", "+353", true)]
        {
            let pattern = Pattern::prefix(text).unwrap();
            assert_eq!((pattern.text(), pattern.is_wide()), (want, is_wide), "{text}");
            let shown = pattern.to_string();
            assert_eq!(Pattern::line(&shown, None).as_ref(), Ok(&pattern), "{text}");
            assert_eq!(Pattern::line(&escape(&shown), None), Ok(pattern), "{text}");
        }
        for text in ["", "+", "*", "1900", "+0", "+19x", "+1234567890123456", "++1", "+１"] {
            assert_eq!(Pattern::prefix(text), Err(PatternProblem::Prefix), "{text}");
        }
    }

    #[test]
    fn a_prefix_covers_what_begins_with_it_and_a_number_itself() {
        let number = Pattern::number("+18022236942", None).unwrap();
        let prefix = |text| Pattern::prefix(text).unwrap();
        assert!(prefix("+1802").covers(&number) && prefix("+18022236942").covers(&number));
        assert!(prefix("+1").covers(&prefix("+1802")) && !prefix("+1802").covers(&prefix("+1")));
        assert!(number.covers(&number) && !number.covers(&prefix("+18022236942")));
        assert!(!prefix("+1803").covers(&number));
        assert!(prefix("+1802").covers_phone(number.text()) && !prefix("+1803").covers_phone(number.text()));
        assert!(number.covers_phone(number.text()) && !number.covers_phone("+180222369421"));
    }
}
