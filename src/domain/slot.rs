//! How often a person is called, and the stretch of dates that one call uses up.

use std::fmt;
use std::str::FromStr;

use chrono::{Datelike, NaiveDate, TimeDelta, Weekday};

use super::window::serde_as_text;

/// How often a contact is called under one purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Frequency {
    /// Once and never again.
    Once,
    /// Once per date on which a window opens.
    #[default]
    Daily,
    /// Once per ISO week of the date on which a window opens.
    Weekly,
}

impl Frequency {
    /// The word in files and databases.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Once => "once",
            Self::Daily => "daily",
            Self::Weekly => "weekly",
        }
    }

    /// The period that a call in the window opened on `opened_on` uses up.
    pub fn period(self, opened_on: NaiveDate) -> Period {
        match self {
            Self::Once => Period::Always,
            Self::Daily => Period::Day(opened_on),
            Self::Weekly => Period::week_of(opened_on),
        }
    }

    /// The key of the slot that such a call takes: `once`, `2026-11-20` or `2026-W47`.
    pub fn slot_key(self, opened_on: NaiveDate) -> String {
        self.period(opened_on).to_string()
    }
}

/// A word that is no frequency.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no frequency; write once, daily or weekly")]
pub struct FrequencyError(String);

impl FromStr for Frequency {
    type Err = FrequencyError;

    fn from_str(text: &str) -> Result<Self, FrequencyError> {
        [Self::Once, Self::Daily, Self::Weekly]
            .into_iter()
            .find(|frequency| frequency.as_str() == text)
            .ok_or_else(|| FrequencyError(text.to_owned()))
    }
}

impl fmt::Display for Frequency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

serde_as_text!(Frequency);

/// The opening dates that share one slot. Written as the slot's key and read back from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Period {
    /// All of time, `once`.
    Always,
    /// One opening date, `2026-11-20`.
    Day(NaiveDate),
    /// The ISO week that begins on this Monday, `2026-W47`.
    Week {
        /// The first date of the week.
        monday: NaiveDate,
    },
    /// Any other stretch of dates, `2026-11-20/2026-11-22`: that of a reminder.
    Dates {
        /// The first date.
        first: NaiveDate,
        /// The last date.
        last: NaiveDate,
    },
}

impl Period {
    /// The ISO week of `date`.
    pub fn week_of(date: NaiveDate) -> Self {
        Self::Week { monday: date.week(Weekday::Mon).checked_first_day().unwrap_or(date) }
    }

    /// Whether a window that opened on `date` belongs to the period.
    pub fn contains(self, date: NaiveDate) -> bool {
        self.first_date() <= date && date <= self.last_date()
    }

    /// The first opening date.
    pub fn first_date(self) -> NaiveDate {
        match self {
            Self::Always => NaiveDate::MIN,
            Self::Day(date) => date,
            Self::Week { monday } => monday,
            Self::Dates { first, .. } => first,
        }
    }

    /// The last opening date.
    pub fn last_date(self) -> NaiveDate {
        match self {
            Self::Always => NaiveDate::MAX,
            Self::Day(date) => date,
            Self::Week { monday } => monday.checked_add_signed(TimeDelta::days(6)).unwrap_or(NaiveDate::MAX),
            Self::Dates { last, .. } => last,
        }
    }
}

/// A slot key that names no period of time, such as one of a subject.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no period; a period is `once`, a date like 2026-11-20, an ISO week like 2026-W47, or two dates with a / between them"
)]
pub struct PeriodError(String);

impl FromStr for Period {
    type Err = PeriodError;

    fn from_str(key: &str) -> Result<Self, PeriodError> {
        let period = match key.split_once("-W") {
            _ if key == "once" => Some(Self::Always),
            _ if key.contains('/') => key.split_once('/').and_then(|(first, last)| {
                let (first, last) = (first.parse().ok()?, last.parse().ok()?);
                (first <= last).then_some(Self::Dates { first, last })
            }),
            Some((year, week)) => year
                .parse()
                .ok()
                .zip(week.parse().ok())
                .and_then(|(year, week)| NaiveDate::from_isoywd_opt(year, week, Weekday::Mon))
                .map(|monday| Self::Week { monday }),
            None => key.parse().ok().map(Self::Day),
        };
        // A key is compared as text in the database, so only the one spelling that is written there counts.
        period.filter(|period| period.to_string() == key).ok_or_else(|| PeriodError(key.to_owned()))
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Always => f.write_str("once"),
            Self::Day(date) => write!(f, "{date}"),
            Self::Week { monday } => {
                let week = monday.iso_week();
                write!(f, "{:04}-W{:02}", week.year(), week.week())
            }
            Self::Dates { first, last } => write!(f, "{first}/{last}"),
        }
    }
}

serde_as_text!(Period);

#[cfg(test)]
mod tests {
    use super::*;

    fn date(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    #[test]
    fn a_slot_has_the_key_of_its_period() {
        let friday = date("2026-11-20");
        assert_eq!(Frequency::Once.slot_key(friday), "once");
        assert_eq!(Frequency::Daily.slot_key(friday), "2026-11-20");
        assert_eq!(Frequency::Weekly.slot_key(friday), "2026-W47");
    }

    #[test]
    fn weeks_at_the_end_of_a_year_are_those_of_iso_8601() {
        for (day, key) in [
            ("2026-12-31", "2026-W53"),
            ("2027-01-01", "2026-W53"),
            ("2027-01-03", "2026-W53"),
            ("2027-01-04", "2027-W01"),
            ("2024-12-29", "2024-W52"),
            ("2024-12-30", "2025-W01"),
            ("2024-12-31", "2025-W01"),
        ] {
            assert_eq!(Frequency::Weekly.slot_key(date(day)), key, "{day}");
        }
    }

    #[test]
    fn a_key_reads_back_as_its_period() {
        for frequency in [Frequency::Once, Frequency::Daily, Frequency::Weekly] {
            for day in ["2026-11-20", "2027-01-01", "2024-12-30", "2024-02-29"] {
                let period = frequency.period(date(day));
                assert_eq!(frequency.slot_key(date(day)).parse(), Ok(period));
                assert!(period.contains(date(day)));
            }
        }
        let week = Period::week_of(date("2027-01-01"));
        assert_eq!((week.first_date(), week.last_date()), (date("2026-12-28"), date("2027-01-03")));
        let dates = Period::Dates { first: date("2026-11-20"), last: date("2026-11-22") };
        assert_eq!(dates.to_string().parse(), Ok(dates));
        assert!(dates.contains(date("2026-11-22")) && !dates.contains(date("2026-11-23")));
        for key in [
            "",
            "2026-11-22/2026-11-20",
            "2026-11-20/",
            "2026-11-20/once",
            "Once",
            "2026-11-31",
            "2026-W54",
            "2026-W00",
            "2026-W1",
            "2026-11-2",
            "invoice 7",
            "+2026-W01",
        ] {
            assert!(key.parse::<Period>().is_err(), "{key:?}");
        }
    }

    #[test]
    fn frequencies_are_lower_case_words() {
        assert_eq!(Frequency::default(), Frequency::Daily);
        for frequency in [Frequency::Once, Frequency::Daily, Frequency::Weekly] {
            assert_eq!(frequency.as_str().parse(), Ok(frequency));
            let json = serde_json::to_string(&frequency).unwrap();
            assert_eq!(serde_json::from_str::<Frequency>(&json).unwrap(), frequency);
        }
        let error = "Daily".parse::<Frequency>().expect_err("a capital letter").to_string();
        assert_eq!(error, "\"Daily\" is no frequency; write once, daily or weekly");
    }
}
