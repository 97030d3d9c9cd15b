//! All gates against a clock that is walked minute by minute.

use chrono::{Datelike, NaiveDateTime, NaiveTime, Timelike, Weekday};
use proptest::prelude::*;

use super::*;

/// Zones whose clocks change in every way: an hour, half an hour, two hours, at midnight, twice around Ramadan, never.
const ZONES: [&str; 12] = [
    "America/New_York",
    "Europe/London",
    "Australia/Lord_Howe",
    "Antarctica/Troll",
    "Africa/Casablanca",
    "America/Havana",
    "Asia/Beirut",
    "America/Santiago",
    "Asia/Kathmandu",
    "Pacific/Chatham",
    "America/Vancouver",
    "UTC",
];

/// Days on which some of those clocks change.
const CHANGES: [&str; 12] = [
    "2026-03-08T06:00:00Z",
    "2026-11-01T05:00:00Z",
    "2026-03-29T00:00:00Z",
    "2026-10-25T00:00:00Z",
    "2026-04-04T14:00:00Z",
    "2026-10-03T15:00:00Z",
    "2026-02-15T01:00:00Z",
    "2026-03-22T01:00:00Z",
    "2026-04-05T02:00:00Z",
    "2026-09-06T03:00:00Z",
    "2026-03-28T21:00:00Z",
    "2026-12-31T20:00:00Z",
];

fn any_window() -> impl Strategy<Value = Window> {
    (0_u32..288, 1_u32..=288).prop_map(|(start, length)| {
        let end = (start + length) % 288;
        let time = |five: u32| format!("{:02}:{:02}", five * 5 / 60, five * 5 % 60);
        // Equal ends are refused where campaigns are saved.
        let end = if end == start { "24:00".to_owned() } else { time(end) };
        format!("{}-{end}", time(start)).parse().unwrap()
    })
}

/// Whether a wall clock that shows this is inside, by nothing but the words of the rule.
fn shows_inside(rules: &Rules, wall: NaiveDateTime) -> bool {
    let (start, end) = (rules.schedule.window.start().minute(), rules.schedule.window.end().minute());
    let minute = u16::try_from(wall.hour() * 60 + wall.minute()).unwrap();
    let yesterday = wall.date().pred_opt().unwrap();
    let opened_on = if start < end {
        (start <= minute && minute < end).then_some(wall.date())
    } else if minute >= start {
        Some(wall.date())
    } else {
        (minute < end).then_some(yesterday)
    };
    opened_on.is_some_and(|date| {
        rules.schedule.days.contains(date.weekday()) && !rules.schedule.exclude_dates.contains(&date)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    /// Where the gates say yes, every clock that the callee may look at is inside, now and for the two minutes in
    /// which a phone may still begin to ring.
    #[test]
    fn no_call_outside_the_window_around_clock_changes(
        window in any_window(),
        days in prop::collection::vec(prop::sample::select(vec![
            Weekday::Mon, Weekday::Tue, Weekday::Wed, Weekday::Thu, Weekday::Fri, Weekday::Sat, Weekday::Sun,
        ]), 0..4),
        names in prop::collection::vec(prop::sample::select(ZONES.to_vec()), 1..=2),
        change in prop::sample::select(CHANGES.to_vec()),
        offset_seconds in -36 * 3600_i64..36 * 3600,
        seconds_before_close in prop::option::of(1_i64..300),
        exclude in any::<bool>(),
    ) {
        let mut rules = rules();
        rules.schedule.window = window;
        rules.schedule.days = crate::domain::window::Days::new(days);
        let zones = Zones::new(names.iter().map(|name| Zone::parse(name).unwrap())).unwrap();
        let now = at(change) + TimeDelta::seconds(offset_seconds);
        if exclude {
            rules.schedule.exclude_dates.insert(now.date_naive());
        }
        // As often as not just before a window closes, which is where a margin matters.
        let opening = rules.schedule.opening_at(&zones, now);
        let now = match seconds_before_close.zip(opening) {
            Some((seconds, opening)) => opening.closes_at - TimeDelta::seconds(seconds),
            None => now,
        };
        let tenant = TenantSettings::default();
        let facts = open(&rules, &tenant, &zones);
        let rings_inside = |at: DateTime<Utc>| -> Result<(), TestCaseError> {
            for second in (0..=CLOSE_MARGIN_SECONDS).step_by(5) {
                for zone in zones.iter() {
                    let wall = zone.local(at + TimeDelta::seconds(second));
                    prop_assert!(shows_inside(&rules, wall), "at {at} and {second} s it is {wall} in {zone}");
                }
            }
            Ok(())
        };
        if facts.first_block(now).is_none() {
            rings_inside(now)?;
        }
        if let Some(next) = facts.next_due(now) {
            prop_assert!(next >= now);
            rings_inside(next)?;
            prop_assert_eq!(facts.first_block(next), None);
            prop_assert_eq!(next == now, facts.first_block(now).is_none());
        }
    }
}

/// Steps of the walk, which all times in the facts are multiples of.
const STEP_MINUTES: i64 = 5;

/// A moment some steps away from `from`.
fn step(from: DateTime<Utc>, steps: i64) -> DateTime<Utc> {
    from + TimeDelta::minutes(STEP_MINUTES * steps)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, max_shrink_iters: 200, ..ProptestConfig::default() })]

    /// The next moment is the first one that a walk along the clock would find.
    #[test]
    fn the_next_moment_is_the_first_one_of_a_walk(
        window in any_window(),
        weekdays_only in any::<bool>(),
        frequency in prop::sample::select(vec![Frequency::Daily, Frequency::Weekly, Frequency::Once]),
        name in prop::sample::select(ZONES.to_vec()),
        change in prop::sample::select(CHANGES.to_vec()),
        offset_steps in -200_i64..200,
        preferred in prop::option::weighted(0.3, 0_u32..288),
        rang_steps_ago in prop::option::of(0_i64..600),
        other_steps_ago in prop::option::of(0_i64..100),
        held_steps in prop::option::weighted(0.3, 0_i64..300),
        retry in prop::option::weighted(0.3, (0_i64..300, 0_u64..3)),
        cap in prop::option::weighted(0.3, 1_i64..3),
        week in prop::option::weighted(0.3, (1_i64..4, prop::collection::vec(200_i64..2304, 0..4))),
        exclude in prop::option::weighted(0.2, 0_u64..3),
    ) {
        let mut rules = rules();
        rules.frequency = frequency;
        rules.schedule.window = window;
        rules.max_calls_per_day = cap;
        rules.max_calls_per_week = week.as_ref().map(|(cap, _)| *cap);
        if weekdays_only {
            rules.schedule.days = "mon,tue,wed,thu,fri".parse().unwrap();
        }
        let from = step(at(change), offset_steps);
        if let Some(days) = exclude {
            rules.schedule.exclude_dates.insert(from.date_naive() + Days::new(days));
        }
        let zones = Zones::from(Zone::parse(name).unwrap());
        let tenant = TenantSettings::default();
        let rang = rang_steps_ago.map(|steps| step(from, -steps));
        let last_rang = other_steps_ago.map(|steps| step(from, -steps)).max(rang);
        let earlier = week.into_iter().flat_map(|(_, steps)| steps).map(|steps| step(from, -steps));
        let rings: Vec<DateTime<Utc>> = rang.into_iter().chain(last_rang).chain(earlier).collect();
        let facts = Facts {
            preferred_time: preferred.map(|five| {
                let time = NaiveTime::from_num_seconds_from_midnight_opt(five * 300, 0).unwrap();
                time.format("%H:%M").to_string().parse().unwrap()
            }),
            // Five minutes, so that a preferred time ends on a step.
            run_interval_seconds: 300,
            last_rang_for_purpose: rang,
            last_rang,
            recent_rings: &rings,
            held_until: held_steps.map(|steps| step(from, steps)),
            retry: retry.map(|(steps, days)| RetryFacts {
                due_at: step(from, steps),
                period: frequency.period(zones.first().local(from).date() + Days::new(days)),
            }),
            ..open(&rules, &tenant, &zones)
        };
        let next = facts.next_due(from);
        let days = 4;
        for steps in 0..days * 24 * 60 / STEP_MINUTES {
            let now = step(from, steps);
            let block = facts.first_block(now);
            let first = facts.walk(now).into_iter().find(|check| check.verdict != Verdict::Pass);
            prop_assert_eq!(first.map(|check| check.gate), block.map(|(gate, ..)| gate));
            if let Some((gate, reason, Some(until))) = block {
                prop_assert!(until > now, "{gate:?} {reason} until {until} at {now}");
            }
            match next {
                Some(next) if now == next => {
                    prop_assert_eq!(block, None, "the next moment {} is blocked", next);
                    return Ok(());
                }
                _ => prop_assert!(block.is_some(), "at {now} nothing speaks against a call, and the next moment is {next:?}"),
            }
        }
    }
}
