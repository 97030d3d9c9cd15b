//! When people may be called: a window on given days and dates, seen in the zones that a person may be in.
//!
//! Whether an instant is inside is decided by the wall clock alone. Searches walk stretches of constant offset,
//! in which the wall clock runs evenly, so that each costs a few steps however far it reaches.

use std::collections::BTreeSet;

use chrono::{DateTime, NaiveDate, NaiveDateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::slot::{Frequency, Period};
use super::window::{Days, Window};
use super::zone::{Segment, Zone, Zones};

/// No search looks further ahead than this: long enough to meet every rule that comes round once a year.
pub const SEARCH_DAYS: i64 = 400;

/// When calls may be placed, in local time. Days and dates are those on which a window opens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// The hours.
    pub window: Window,
    /// The weekdays.
    #[serde(default)]
    pub days: Days,
    /// The first date.
    #[serde(default)]
    pub starts: Option<NaiveDate>,
    /// The last date.
    #[serde(default)]
    pub ends: Option<NaiveDate>,
    /// Dates on which no window opens, such as holidays.
    #[serde(default)]
    pub exclude_dates: BTreeSet<NaiveDate>,
}

/// The window that an instant is inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    /// The local date on which it opened, in the first zone.
    pub opened_on: NaiveDate,
    /// The first later instant that is not inside, at most [`SEARCH_DAYS`] away. Windows that follow one another
    /// without a break count as one here.
    pub closes_at: DateTime<Utc>,
}

/// Which opening dates a search is about.
#[derive(Clone, Copy)]
enum Among {
    All,
    Within(Period),
    Outside(Period),
}

impl Schedule {
    /// This window on every day, with no first or last date.
    pub fn every_day(window: Window) -> Self {
        Self { window, days: Days::EVERY_DAY, starts: None, ends: None, exclude_dates: BTreeSet::new() }
    }

    /// The window that `at` is inside of in every zone; none when it is outside in at least one.
    pub fn opening_at(&self, zones: &Zones, at: DateTime<Utc>) -> Option<Opening> {
        let first = self.opening_in(zones.first(), at)?;
        zones.others().iter().try_fold(first, |opening, zone| {
            let other = self.opening_in(*zone, at)?;
            Some(Opening { closes_at: opening.closes_at.min(other.closes_at), ..opening })
        })
    }

    /// The date, in the first zone, on which the window that `at` is inside of opened; cheaper than
    /// [`Schedule::opening_at`] where its end does not matter.
    pub fn opened_on(&self, zones: &Zones, at: DateTime<Utc>) -> Option<NaiveDate> {
        let opened_on = self.opened_in(zones.first(), at)?;
        zones.others().iter().all(|zone| self.opened_in(*zone, at).is_some()).then_some(opened_on)
    }

    /// The first instant from `from` on that is inside in every zone; none within [`SEARCH_DAYS`].
    pub fn next_open(&self, zones: &Zones, from: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.search(zones, Among::All, from)
    }

    /// Whether the windows of these zones have a minute in common within [`SEARCH_DAYS`] from `from` on, first and last
    /// date and excluded ones aside. One zone alone always has. Where they have none, saying so takes a search of all
    /// those days, so whoever asks for many people asks once for each set.
    pub fn has_common_window(&self, zones: &Zones, from: DateTime<Utc>) -> bool {
        if zones.others().is_empty() {
            return true;
        }
        let undated = Self { days: self.days, ..Self::every_day(self.window) };
        undated.next_open(zones, from).is_some()
    }

    /// The period that a call at `last_call` used up, by the rules in force now.
    ///
    /// The call counts for the date on which the window around it opened in the first zone, or for its plain local
    /// date where no window is around it any more.
    pub fn period_of(&self, zones: &Zones, frequency: Frequency, last_call: DateTime<Utc>) -> Period {
        let zone = zones.first();
        frequency.period(self.opened_in(zone, last_call).unwrap_or_else(|| zone.local(last_call).date()))
    }

    /// Whether `frequency` lets a window opened on `opened_on` be used after a last call at `last_call`.
    pub fn permits(
        &self,
        zones: &Zones,
        frequency: Frequency,
        last_call: Option<DateTime<Utc>>,
        opened_on: NaiveDate,
    ) -> bool {
        last_call.is_none_or(|last_call| !self.period_of(zones, frequency, last_call).contains(opened_on))
    }

    /// The first instant from `from` on that is inside and that `frequency` permits.
    pub fn next_permitted(
        &self,
        zones: &Zones,
        frequency: Frequency,
        last_call: Option<DateTime<Utc>>,
        from: DateTime<Utc>,
    ) -> Option<DateTime<Utc>> {
        self.next_open_outside(zones, last_call.map(|last_call| self.period_of(zones, frequency, last_call)), from)
    }

    /// The first instant from `from` on inside a window whose opening date is not in `used`.
    pub fn next_open_outside(&self, zones: &Zones, used: Option<Period>, from: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.search(zones, used.map_or(Among::All, Among::Outside), from)
    }

    /// Whether `at` is inside a window whose opening date is in `period`: only then may a call of its slot ring.
    pub fn is_current(&self, zones: &Zones, period: Period, at: DateTime<Utc>) -> bool {
        self.opened_on(zones, at).is_some_and(|date| period.contains(date))
    }

    /// The first instant from `from` on inside a window whose opening date is in `period`; none when it is over.
    pub fn next_open_in_period(&self, zones: &Zones, period: Period, from: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.search(zones, Among::Within(period), from)
    }

    /// The first date from `from` to `to` on which a window opens as far as days and dates go, leaving out `used`.
    pub(super) fn next_date(&self, used: Option<Period>, from: NaiveDate, to: NaiveDate) -> Option<NaiveDate> {
        self.first_date(used.map_or(Among::All, Among::Outside), from, to)
    }

    fn opened_in(&self, zone: Zone, at: DateTime<Utc>) -> Option<NaiveDate> {
        let segment = zone.segment_at(at);
        self.opened_by_wall(&segment, Among::All, segment.wall(at))
    }

    fn opening_in(&self, zone: Zone, at: DateTime<Utc>) -> Option<Opening> {
        let mut segment = zone.segment_at(at);
        let opened_on = self.opened_by_wall(&segment, Among::All, segment.wall(at))?;
        let limit = limit(at);
        let mut last_opened_on = opened_on;
        let closes_at = loop {
            if let Some(at) = self.wall_end(last_opened_on).and_then(|wall| segment.instant(wall)) {
                break at;
            }
            match zone.segment_after(&segment).filter(|next| next.start < limit) {
                Some(next) => segment = next,
                None => break limit,
            }
            match self.opened_by_wall(&segment, Among::All, segment.wall(segment.start)) {
                Some(date) => last_opened_on = date,
                None => break segment.start,
            }
        };
        Some(Opening { opened_on, closes_at: closes_at.min(limit) })
    }

    /// Finds the first instant that is inside in every zone; `among` is about the dates of the first one.
    fn search(&self, zones: &Zones, among: Among, from: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let limit = limit(from);
        let mut from = from;
        loop {
            let candidate = self.next_open_in(zones.first(), among, from, limit)?;
            // Everything before the instant reached here is ruled out by some zone.
            let mut common = candidate;
            for zone in zones.others() {
                common = self.next_open_in(*zone, Among::All, common, limit)?;
            }
            if common == candidate {
                return Some(common);
            }
            from = common;
        }
    }

    fn next_open_in(
        &self,
        zone: Zone,
        among: Among,
        from: DateTime<Utc>,
        limit: DateTime<Utc>,
    ) -> Option<DateTime<Utc>> {
        let mut segment = zone.segment_at(from);
        let mut from = from;
        loop {
            let last = segment.wall(segment.end.map_or(limit, |end| end.min(limit))).date();
            let next = self.wall_start(&segment, among, segment.wall(from), last);
            if let Some(at) = next.and_then(|wall| segment.instant(wall)) {
                return (at <= limit).then_some(at);
            }
            segment = zone.segment_after(&segment).filter(|next| next.start <= limit)?;
            from = segment.start;
        }
    }

    /// The opening date of the window that a wall clock showing `wall` is inside of.
    fn opened_by_wall(&self, segment: &Segment, among: Among, wall: NaiveDateTime) -> Option<NaiveDate> {
        // A window whose opening date was skipped does not exist, though its end after midnight could be seen.
        self.window.opening_date(wall).filter(|date| segment.skipped != Some(*date) && self.opens_on(among, *date))
    }

    /// The first time from `wall` on that is inside, on a wall clock that runs evenly; `last` bounds the date.
    fn wall_start(
        &self,
        segment: &Segment,
        among: Among,
        wall: NaiveDateTime,
        last: NaiveDate,
    ) -> Option<NaiveDateTime> {
        if self.opened_by_wall(segment, among, wall).is_some() {
            return Some(wall);
        }
        let today = wall.date();
        let is_ahead = wall < self.window.start().on(today);
        let from = if is_ahead { today } else { today.succ_opt()? };
        self.first_date(among, from, last).map(|date| self.window.start().on(date))
    }

    /// The first time that is outside after the window opened on `opened_on`, on a wall clock that runs evenly;
    /// none when every later date opens a window that takes over from the one before.
    fn wall_end(&self, opened_on: NaiveDate) -> Option<NaiveDateTime> {
        if !self.window.is_whole_day() {
            return Some(self.window.end_of(opened_on));
        }
        let next = opened_on.succ_opt()?;
        let in_week = next.iter_days().take(7).find(|date| !self.opens_on(Among::All, *date));
        let closed = in_week.or_else(|| {
            // Seven days on which it opens: every weekday is given, and only dates can end it.
            let excluded = self.exclude_dates.range(next..).next().copied();
            let ended = self.ends.and_then(|ends| ends.succ_opt());
            excluded.into_iter().chain(ended).min()
        })?;
        closed.pred_opt().map(|last_opened_on| self.window.end_of(last_opened_on))
    }

    fn opens_on(&self, among: Among, date: NaiveDate) -> bool {
        self.days.contains_date(date)
            && self.starts.is_none_or(|starts| starts <= date)
            && self.ends.is_none_or(|ends| date <= ends)
            && match among {
                Among::All => true,
                Among::Within(period) => period.contains(date),
                Among::Outside(period) => !period.contains(date),
            }
            && !self.exclude_dates.contains(&date)
    }

    fn first_date(&self, among: Among, from: NaiveDate, to: NaiveDate) -> Option<NaiveDate> {
        let mut from = self.starts.map_or(from, |starts| starts.max(from));
        let mut to = self.ends.map_or(to, |ends| ends.min(to));
        match among {
            Among::Within(period) => {
                from = from.max(period.first_date());
                to = to.min(period.last_date());
            }
            Among::Outside(period) if period.contains(from) => from = period.last_date().succ_opt()?,
            Among::Outside(_) | Among::All => {}
        }
        from.iter_days().take_while(|date| *date <= to).find(|date| self.opens_on(among, *date))
    }
}

fn limit(from: DateTime<Utc>) -> DateTime<Utc> {
    from.checked_add_signed(TimeDelta::days(SEARCH_DAYS)).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

#[cfg(test)]
mod brute_force;
#[cfg(test)]
mod tests;
