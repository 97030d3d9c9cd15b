//! Ranges of wall-clock time and sets of weekdays, as values.

use std::fmt;
use std::str::FromStr;

use chrono::{Datelike, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Timelike, Weekday};
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

const MINUTES_PER_DAY: u16 = 24 * 60;

/// A wall-clock time of whole minutes, from `00:00` to `24:00`, the end of the day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimeOfDay {
    minute: u16,
}

impl TimeOfDay {
    /// The end of the day.
    pub const END_OF_DAY: Self = Self { minute: MINUTES_PER_DAY };

    /// Minutes since midnight, 0 to 1440.
    pub fn minute(self) -> u16 {
        self.minute
    }

    /// This time on `date`; `24:00` is the midnight that ends it.
    pub(super) fn on(self, date: NaiveDate) -> NaiveDateTime {
        let midnight = date.and_time(NaiveTime::MIN);
        midnight.checked_add_signed(TimeDelta::minutes(self.minute.into())).unwrap_or(NaiveDateTime::MAX)
    }
}

/// Text that is no time of day.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no time of day; write HH:MM, from 00:00 to 24:00")]
pub struct TimeOfDayError(String);

impl FromStr for TimeOfDay {
    type Err = TimeOfDayError;

    fn from_str(text: &str) -> Result<Self, TimeOfDayError> {
        let two_digits = |text: &[u8]| match text {
            [tens @ b'0'..=b'9', ones @ b'0'..=b'9'] => Some(u16::from((tens - b'0') * 10 + (ones - b'0'))),
            _ => None,
        };
        let minute = match text.as_bytes() {
            [hour @ .., b':', m1, m2] => {
                two_digits(hour).zip(two_digits(&[*m1, *m2]).filter(|m| *m < 60)).map(|(h, m)| h * 60 + m)
            }
            _ => None,
        };
        match minute {
            Some(minute) if minute <= MINUTES_PER_DAY => Ok(Self { minute }),
            _ => Err(TimeOfDayError(text.to_owned())),
        }
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.minute / 60, self.minute % 60)
    }
}

/// A range of wall-clock time, from its start up to but not including its end, written `09:00-17:00`.
///
/// An end at or before the start lies on the next day, so that equal ends are 24 hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    start: TimeOfDay,
    end: TimeOfDay,
}

/// A range that is no window.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// There is no `-` between two times.
    #[error("{0:?} is no window; write HH:MM-HH:MM, such as 09:00-17:00")]
    Shape(String),
    /// One of the times is none.
    #[error(transparent)]
    Time(#[from] TimeOfDayError),
    /// `24:00` at the start.
    #[error("a window cannot start at 24:00; 24:00 is the end of a day, so start it at 00:00")]
    StartsAtEndOfDay,
}

impl Window {
    /// The whole day, `00:00-24:00`.
    pub const ALL_DAY: Self = Self { start: TimeOfDay { minute: 0 }, end: TimeOfDay::END_OF_DAY };

    /// A window from `start` up to `end`.
    ///
    /// # Errors
    /// When it starts at `24:00`.
    pub fn new(start: TimeOfDay, end: TimeOfDay) -> Result<Self, WindowError> {
        if start == TimeOfDay::END_OF_DAY {
            return Err(WindowError::StartsAtEndOfDay);
        }
        Ok(Self { start, end })
    }

    /// The first minute.
    pub fn start(self) -> TimeOfDay {
        self.start
    }

    /// The first minute that is no longer inside.
    pub fn end(self) -> TimeOfDay {
        self.end
    }

    /// Whether start and end are equal: 24 hours, or a slip of the pen. What is saved should say `00:00-24:00`.
    pub fn is_ambiguous_day(self) -> bool {
        self.start == self.end
    }

    /// Whether it ends on the date after the one on which it opens.
    pub fn is_overnight(self) -> bool {
        self.end <= self.start
    }

    /// Whether a wall clock that shows `time` is inside, on some date.
    pub fn contains(self, time: TimeOfDay) -> bool {
        if self.is_overnight() { time >= self.start || time < self.end } else { time >= self.start && time < self.end }
    }

    /// Whether each opening ends where that of the next date begins.
    pub(super) fn is_whole_day(self) -> bool {
        self.is_ambiguous_day() || self == Self::ALL_DAY
    }

    /// The date whose opening a wall clock that shows `wall` would be inside.
    pub(super) fn opening_date(self, wall: NaiveDateTime) -> Option<NaiveDate> {
        let second = wall.num_seconds_from_midnight();
        let is_from = |time: TimeOfDay| second >= u32::from(time.minute) * 60;
        if !self.is_overnight() {
            return (is_from(self.start) && !is_from(self.end)).then(|| wall.date());
        }
        if is_from(self.start) {
            Some(wall.date())
        } else if is_from(self.end) {
            None
        } else {
            wall.date().pred_opt()
        }
    }

    /// What the wall clock shows when the opening of `date` ends.
    pub(super) fn end_of(self, date: NaiveDate) -> NaiveDateTime {
        let date = if self.is_overnight() { date.succ_opt().unwrap_or(NaiveDate::MAX) } else { date };
        self.end.on(date)
    }
}

impl FromStr for Window {
    type Err = WindowError;

    fn from_str(text: &str) -> Result<Self, WindowError> {
        let (start, end) = text.split_once('-').ok_or_else(|| WindowError::Shape(text.to_owned()))?;
        Self::new(start.parse()?, end.parse()?)
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.start, self.end)
    }
}

/// Implements serde as the text that `Display` writes and `FromStr` reads.
macro_rules! serde_as_text {
    ($type:ty) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(super) use serde_as_text;

serde_as_text!(Window);
serde_as_text!(TimeOfDay);

/// A set of weekdays, never empty: none given means every day.
///
/// Read from names (`mon`, `monday`) and numbers (1 is Monday, 7 is Sunday); written as a list of short names.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Days(u8);

const WEEK: [Weekday; 7] =
    [Weekday::Mon, Weekday::Tue, Weekday::Wed, Weekday::Thu, Weekday::Fri, Weekday::Sat, Weekday::Sun];

/// The short name of a weekday, as it is read and written.
fn short_name(day: Weekday) -> &'static str {
    ["mon", "tue", "wed", "thu", "fri", "sat", "sun"][day.num_days_from_monday() as usize]
}

/// Text that is no weekday.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no weekday; write mon to sun, or 1 to 7 where 1 is Monday")]
pub struct DayError(String);

impl Days {
    /// Every day of the week.
    pub const EVERY_DAY: Self = Self(0x7f);

    /// These weekdays; none given means every day.
    pub fn new(days: impl IntoIterator<Item = Weekday>) -> Self {
        let bits = days.into_iter().fold(0, |bits, day| bits | Self::bit(day));
        if bits == 0 { Self::EVERY_DAY } else { Self(bits) }
    }

    /// One weekday from its name or number.
    ///
    /// # Errors
    /// When it is neither.
    pub fn parse_day(text: &str) -> Result<Weekday, DayError> {
        let error = || DayError(text.to_owned());
        match text.as_bytes() {
            [digit @ b'1'..=b'7'] => Ok(WEEK[usize::from(digit - b'1')]),
            // chrono reads the short and the full names, whatever their case.
            [first, ..] if first.is_ascii_alphabetic() => text.parse().map_err(|_| error()),
            _ => Err(error()),
        }
    }

    /// Whether `day` is one of them.
    pub fn contains(self, day: Weekday) -> bool {
        self.0 & Self::bit(day) != 0
    }

    /// Whether these are all seven.
    pub fn is_every_day(self) -> bool {
        self == Self::EVERY_DAY
    }

    /// The weekdays from Monday on.
    pub fn iter(self) -> impl Iterator<Item = Weekday> {
        WEEK.into_iter().filter(move |day| self.contains(*day))
    }

    /// Whether `date` falls on one of them.
    pub(super) fn contains_date(self, date: NaiveDate) -> bool {
        self.contains(date.weekday())
    }

    fn bit(day: Weekday) -> u8 {
        1 << day.num_days_from_monday()
    }
}

impl Default for Days {
    fn default() -> Self {
        Self::EVERY_DAY
    }
}

impl FromStr for Days {
    type Err = DayError;

    /// Reads a comma-separated list; an empty text means every day.
    fn from_str(text: &str) -> Result<Self, DayError> {
        if text.is_empty() {
            return Ok(Self::EVERY_DAY);
        }
        let days = text.split(',').map(|day| Self::parse_day(day.trim())).collect::<Result<Vec<_>, _>>()?;
        Ok(Self::new(days))
    }
}

impl fmt::Display for Days {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, day) in self.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            f.write_str(short_name(day))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Days {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Days({self})")
    }
}

impl Serialize for Days {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(short_name))
    }
}

impl<'de> Deserialize<'de> for Days {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct DaysVisitor;

        impl<'de> Visitor<'de> for DaysVisitor {
            type Value = Days;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of weekdays such as [\"mon\", \"fri\"] or [1, 5]")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Days, A::Error> {
                let mut days = Vec::new();
                while let Some(day) = list.next_element::<serde_json::Value>()? {
                    let text = match day {
                        serde_json::Value::String(text) => text,
                        other => other.to_string(),
                    };
                    days.push(Days::parse_day(&text).map_err(A::Error::custom)?);
                }
                Ok(Days::new(days))
            }
        }

        deserializer.deserialize_seq(DaysVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_read_and_written() {
        for text in ["09:00-17:00", "00:00-24:00", "22:00-02:00", "00:00-00:00", "23:59-24:00"] {
            assert_eq!(text.parse::<Window>().unwrap().to_string(), text);
        }
        let json = serde_json::to_string(&Window::ALL_DAY).unwrap();
        assert_eq!(json, "\"00:00-24:00\"");
        assert_eq!(serde_json::from_str::<Window>(&json).unwrap(), Window::ALL_DAY);
    }

    #[test]
    fn what_is_no_window_says_so() {
        for (text, message) in [
            ("09:00", "\"09:00\" is no window; write HH:MM-HH:MM, such as 09:00-17:00"),
            ("9:00-17:00", "\"9:00\" is no time of day; write HH:MM, from 00:00 to 24:00"),
            ("09:00-24:01", "\"24:01\" is no time of day; write HH:MM, from 00:00 to 24:00"),
            ("09:00 -17:00", "\"09:00 \" is no time of day; write HH:MM, from 00:00 to 24:00"),
            ("09:60-17:00", "\"09:60\" is no time of day; write HH:MM, from 00:00 to 24:00"),
            ("+9:00-17:00", "\"+9:00\" is no time of day; write HH:MM, from 00:00 to 24:00"),
            ("24:00-02:00", "a window cannot start at 24:00; 24:00 is the end of a day, so start it at 00:00"),
        ] {
            assert_eq!(text.parse::<Window>().expect_err(text).to_string(), message);
        }
        for text in ["", "-", "09:00-", "09:00-17:00-18:00", "09.00-17.00", "99:99-17:00", "０９:00-17:00", "::-::"] {
            assert!(text.parse::<Window>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn equal_ends_are_a_whole_day_that_should_be_written_out() {
        let window: Window = "09:00-09:00".parse().unwrap();
        assert!(window.is_ambiguous_day() && window.is_whole_day());
        assert!(!Window::ALL_DAY.is_ambiguous_day() && Window::ALL_DAY.is_whole_day());
        assert!("00:00-00:00".parse::<Window>().unwrap().is_ambiguous_day());
    }

    #[test]
    fn days_are_read_from_names_and_numbers() {
        let expected = Days::new([Weekday::Mon, Weekday::Wed, Weekday::Sun]);
        for text in ["mon,wed,sun", "1,3,7", "Sunday, MON,3,3"] {
            assert_eq!(text.parse::<Days>().unwrap(), expected);
        }
        assert_eq!(expected.to_string(), "mon,wed,sun");
        assert_eq!("".parse::<Days>().unwrap(), Days::EVERY_DAY);
        for text in ["0", "8", "mo", "m", "mon,", ",", "01", "1.0", "-1", "funday", "mon-fri"] {
            assert!(text.parse::<Days>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn days_are_a_list_in_files() {
        let expected = Days::new([Weekday::Mon, Weekday::Fri]);
        for json in [r#"["mon","fri"]"#, "[1,5]", r#"["5",1,"Monday"]"#] {
            assert_eq!(serde_json::from_str::<Days>(json).unwrap(), expected);
        }
        assert_eq!(serde_json::to_string(&expected).unwrap(), r#"["mon","fri"]"#);
        assert_eq!(serde_json::from_str::<Days>("[]").unwrap(), Days::EVERY_DAY);
        assert_eq!(
            toml::from_str::<toml::Table>("days = [1, 2]").unwrap()["days"].clone().try_into(),
            Ok(Days::new([Weekday::Mon, Weekday::Tue]))
        );
        for json in ["[0]", "[8]", "[1.5]", "[null]", "[[1]]", "\"mon\"", "[true]"] {
            assert!(serde_json::from_str::<Days>(json).is_err(), "{json}");
        }
    }
}
