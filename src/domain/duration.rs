//! Lengths of time as people write them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use chrono::TimeDelta;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A length of time in whole seconds, written `90s`, `15m`, `2h` or `1d`; a day is 24 hours.
///
/// It is shown in the largest unit that holds it exactly, so what is shown reads back as the same value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HumanDuration {
    seconds: u32,
}

/// Units from the largest to the smallest: the letter, and the seconds in one.
const UNITS: [(char, u32); 4] = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

/// The longest length that is taken, in days: ten years. More is a slip of the pen.
const MAX_DAYS: u32 = 3_660;

/// Why a text is no length of time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Something else than a number and one unit.
    #[error("{0:?} is no length of time: write a whole number and one unit (s, m, h or d), such as 15m")]
    Malformed(String),
    /// More than ten years.
    #[error("{0:?} is longer than {MAX_DAYS}d")]
    TooLong(String),
}

impl HumanDuration {
    /// This many seconds.
    pub const fn from_seconds(seconds: u32) -> Self {
        Self { seconds }
    }

    /// This many minutes.
    ///
    /// # Panics
    /// When that is more seconds than fit; meant for constants, where it fails to compile.
    pub const fn from_minutes(minutes: u32) -> Self {
        Self { seconds: minutes * 60 }
    }

    /// The length in seconds.
    pub const fn seconds(self) -> u32 {
        self.seconds
    }

    /// The length for timers.
    pub fn to_std(self) -> Duration {
        Duration::from_secs(u64::from(self.seconds))
    }

    /// The length for arithmetic with instants.
    pub fn to_delta(self) -> TimeDelta {
        TimeDelta::seconds(i64::from(self.seconds))
    }

    /// Whether it is no time at all.
    pub const fn is_zero(self) -> bool {
        self.seconds == 0
    }
}

impl FromStr for HumanDuration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        let malformed = || DurationError::Malformed(text.to_owned());
        let unit = text.chars().next_back().ok_or_else(malformed)?;
        let (_, unit_seconds) = UNITS.into_iter().find(|(letter, _)| *letter == unit).ok_or_else(malformed)?;
        let digits = &text[..text.len() - unit.len_utf8()];
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(malformed());
        }
        let too_long = || DurationError::TooLong(text.to_owned());
        let count: u32 = digits.parse().map_err(|_| too_long())?;
        let seconds = count.checked_mul(unit_seconds).ok_or_else(too_long)?;
        if seconds > MAX_DAYS * 86_400 { Err(too_long()) } else { Ok(Self { seconds }) }
    }
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (letter, unit_seconds) = UNITS
            .into_iter()
            .find(|(_, unit_seconds)| self.seconds > 0 && self.seconds.is_multiple_of(*unit_seconds))
            .unwrap_or(('s', 1));
        f.pad(&format!("{}{letter}", self.seconds / unit_seconds))
    }
}

impl Serialize for HumanDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_number_and_a_unit() {
        for (text, seconds, shown) in [
            ("90s", 90, "90s"),
            ("15m", 900, "15m"),
            ("2h", 7_200, "2h"),
            ("1d", 86_400, "1d"),
            ("60s", 60, "1m"),
            ("48h", 172_800, "2d"),
            ("0m", 0, "0s"),
            ("3660d", 316_224_000, "3660d"),
        ] {
            let length: HumanDuration = text.parse().expect(text);
            assert_eq!((length.seconds(), length.to_string().as_str()), (seconds, shown));
            assert_eq!(length.to_delta().to_std().expect("not negative"), length.to_std());
        }
        assert_eq!(HumanDuration::from_minutes(1), HumanDuration::from_seconds(60));
        assert_eq!(format!("{:>5}|", HumanDuration::from_minutes(15)), "  15m|");
    }

    #[test]
    fn anything_else_names_the_value_and_the_rule() {
        for text in ["", "s", "15", "15 m", "1h30m", "-5m", "+5m", "1.5h", "5min", "5M", "٥m", "m5", " 5m"] {
            let error = text.parse::<HumanDuration>().expect_err(text);
            assert_eq!(error, DurationError::Malformed(text.to_owned()));
            assert!(error.to_string().contains("such as 15m"), "{error}");
        }
        for text in ["3661d", "4294967296s", "99999999999999999999d", "4294967295d"] {
            assert_eq!(text.parse::<HumanDuration>(), Err(DurationError::TooLong(text.to_owned())));
        }
    }

    #[test]
    fn json_holds_the_written_form() {
        let length = HumanDuration::from_seconds(7_200);
        assert_eq!(serde_json::to_string(&length).expect("JSON"), "\"2h\"");
        assert_eq!(serde_json::from_str::<HumanDuration>("\"120m\"").expect("a length"), length);
        assert!(serde_json::from_str::<HumanDuration>("120").is_err());
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(seconds in 0..=MAX_DAYS * 86_400) {
            let length = HumanDuration::from_seconds(seconds);
            prop_assert_eq!(length.to_string().parse::<HumanDuration>(), Ok(length));
        }
    }
}
