//! The time of day at which a person asked to be called.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};

use super::campaign::CLOSE_MARGIN_SECONDS;
use super::schedule::{SEARCH_DAYS, Schedule};
use super::slot::Period;
use super::window::{TimeOfDay, Window, serde_as_text};
use super::zone::Zones;

/// A wall-clock time from `00:00` to `23:59`, in the person's first zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PreferredTime(TimeOfDay);

/// Text that is no preferred time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no preferred time; write HH:MM, from 00:00 to 23:59")]
pub struct PreferredTimeError(String);

/// When a preferred time begins to be due on one date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DueFrom {
    /// The first instant at which it is due.
    pub at: DateTime<Utc>,
    /// Whether the time itself is outside, so that the opening stands in for it.
    pub is_clamped: bool,
}

/// Whether a preferred time lets a first claim happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PreferredState {
    /// The time came, and not too long ago.
    Due {
        /// When it came.
        since: DateTime<Utc>,
        /// The first instant at which it is missed.
        until: DateTime<Utc>,
        /// Whether the time itself is outside the window, so that the opening stands in for it.
        is_clamped: bool,
    },
    /// The time is still to come.
    NotYet {
        /// The next instant at which it is due; none within [`SEARCH_DAYS`].
        next: Option<DateTime<Utc>>,
    },
    /// The time came and went on this date.
    Missed {
        /// When it came.
        since: DateTime<Utc>,
        /// The next instant at which it is due; none within [`SEARCH_DAYS`].
        next: Option<DateTime<Utc>>,
    },
}

impl PreferredTime {
    /// The time of day.
    pub fn time(self) -> TimeOfDay {
        self.0
    }

    /// Whether the time lies outside `window`, so that the opening stands in for it.
    pub fn is_clamped_by(self, window: Window) -> bool {
        !window.contains(self.0)
    }

    /// The time to go by in `window`: a time too close to its end for a dial to begin counts as one outside, for which
    /// the opening stands in. Otherwise nobody who prefers it would ever be called.
    #[must_use]
    pub fn dialable_in(self, window: Window) -> Self {
        let last = i64::from(window.end().minute()) - CLOSE_MARGIN_SECONDS / 60;
        let minute = i64::from(self.0.minute());
        let day = i64::from(TimeOfDay::END_OF_DAY.minute());
        let minutes_left = (last - minute).rem_euclid(day);
        let is_closing = minutes_left == 0 || minutes_left >= day - CLOSE_MARGIN_SECONDS / 60;
        if is_closing && !window.is_whole_day() && window.contains(self.0) { Self(window.start()) } else { self }
    }

    /// When the time is first due in the window that opens on `date`; none when no window opens on it.
    ///
    /// That is the first instant at which the clock shows it, or the first after a gap that it lies in, or the
    /// opening where that is not inside the window.
    pub fn due_on(self, schedule: &Schedule, zones: &Zones, date: NaiveDate) -> Option<DueFrom> {
        let zone = zones.first();
        let opening = schedule.next_open_in_period(zones, Period::Day(date), zone.start_of(date))?;
        let is_next_day = schedule.window.is_overnight() && self.0 < schedule.window.start();
        let shown_on = if is_next_day { date.succ_opt()? } else { date };
        let at = zone.first_instant(self.0.on(shown_on));
        if schedule.is_current(zones, Period::Day(date), at) {
            Some(DueFrom { at, is_clamped: false })
        } else {
            Some(DueFrom { at: opening, is_clamped: true })
        }
    }

    /// Whether the time is due at `at`, for `look_back` from its first instant on.
    ///
    /// `look_back` must already include the time between two runs, so that no run can step over it. Outside the
    /// window nothing is due.
    pub fn state(self, schedule: &Schedule, zones: &Zones, look_back: TimeDelta, at: DateTime<Utc>) -> PreferredState {
        let opened_on = schedule.opened_on(zones, at);
        let date = opened_on.unwrap_or_else(|| zones.first().local(at).date());
        let next = || self.next_due(schedule, zones, look_back, None, at);
        let Some(due) = self.due_on(schedule, zones, date) else {
            return PreferredState::NotYet { next: next() };
        };
        let (since, until) = (due.at, due.at + look_back);
        if at >= until {
            PreferredState::Missed { since, next: next() }
        } else if at >= since && opened_on.is_some() {
            PreferredState::Due { since, until, is_clamped: due.is_clamped }
        } else {
            PreferredState::NotYet { next: next() }
        }
    }

    /// The first instant from `from` on at which the time is due, inside a window whose opening date is not in
    /// `used`; none within [`SEARCH_DAYS`].
    pub fn next_due(
        self,
        schedule: &Schedule,
        zones: &Zones,
        look_back: TimeDelta,
        used: Option<Period>,
        from: DateTime<Utc>,
    ) -> Option<DateTime<Utc>> {
        let today = zones.first().local(from).date();
        let last = today.checked_add_signed(TimeDelta::days(SEARCH_DAYS)).unwrap_or(NaiveDate::MAX);
        // The window of the day before may still be open after midnight.
        let mut date = schedule.next_date(used, today.pred_opt()?, last);
        while let Some(opens_on) = date {
            if let Some(due) = self.due_on(schedule, zones, opens_on) {
                let until = due.at + look_back;
                let next = schedule
                    .next_open_in_period(zones, Period::Day(opens_on), due.at.max(from))
                    .filter(|next| *next < until);
                if next.is_some() {
                    return next;
                }
            }
            date = schedule.next_date(used, opens_on.succ_opt()?, last);
        }
        None
    }
}

impl FromStr for PreferredTime {
    type Err = PreferredTimeError;

    fn from_str(text: &str) -> Result<Self, PreferredTimeError> {
        match text.parse() {
            Ok(time) if time != TimeOfDay::END_OF_DAY => Ok(Self(time)),
            _ => Err(PreferredTimeError(text.to_owned())),
        }
    }
}

impl fmt::Display for PreferredTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

serde_as_text!(PreferredTime);
