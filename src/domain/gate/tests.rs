//! Each gate alone.

mod walk;

use serde_json::json;

use super::*;
use crate::domain::slot::Frequency;
use crate::domain::window::Window;
use crate::domain::zone::Zone;

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn rules() -> Rules {
    serde_json::from_value(json!({
        "frequency": "daily",
        "schedule": {"window": "09:00-17:00"},
        "zone_policy": "campaign",
        "agent": {},
        "retry": crate::domain::evidence::RetryPolicy::default(),
        "look_back_seconds": 900,
        "answer_timeout_seconds": 600,
        "call_timeout_seconds": 3600
    }))
    .unwrap()
}

fn new_york() -> Zones {
    Zones::from(Zone::parse("America/New_York").unwrap())
}

/// Friday, 10:00 in New York.
const TEN: &str = "2026-11-20T15:00:00Z";

/// Facts that nothing speaks against at [`TEN`].
fn open<'a>(rules: &'a Rules, tenant: &'a TenantSettings, zones: &'a Zones) -> Facts<'a> {
    Facts {
        rules,
        tenant,
        paused: false,
        campaign_active: true,
        enrolled: true,
        zones: Some(zones),
        has_common_window: true,
        reminder: None,
        phone: "+12025550101",
        preferred_time: None,
        run_interval_seconds: 60,
        enrolled_at: at("2026-01-01T00:00:00Z"),
        last_rang_for_purpose: None,
        last_rang: None,
        recent_rings: &[],
        live_attempt: false,
        slot_taken: false,
        suppressed: false,
        retry: None,
        held_until: None,
        has_credentials: true,
        has_capacity: true,
    }
}

/// What all gates but those that pass say.
fn blocks(facts: &Facts<'_>, now: &str) -> Vec<(&'static str, &'static str, Option<DateTime<Utc>>)> {
    facts
        .walk(at(now))
        .into_iter()
        .filter_map(|check| match check.verdict {
            Verdict::Pass => None,
            Verdict::Block { reason, until } => Some((check.gate.as_str(), reason, until)),
        })
        .collect()
}

#[test]
fn the_gates_stand_in_the_documented_order() {
    let names: Vec<&str> = GATES.iter().map(|(gate, _)| gate.as_str()).collect();
    assert_eq!(
        names,
        [
            "pause",
            "active",
            "dates",
            "zone",
            "reminder",
            "window",
            "preferred_time",
            "frequency",
            "slot",
            "live_attempt",
            "gap",
            "caps",
            "suppression",
            "retry",
            "breaker",
            "credentials",
            "capacity",
        ]
    );
    assert!(GATES.is_sorted_by_key(|(gate, _)| *gate));
}

#[test]
fn nothing_speaks_against_a_call_at_ten() {
    let (rules, tenant, zones) = (rules(), TenantSettings::default(), new_york());
    let facts = open(&rules, &tenant, &zones);
    assert_eq!(blocks(&facts, TEN), []);
    assert_eq!(facts.first_block(at(TEN)), None);
    assert_eq!(facts.next_due(at(TEN)), Some(at(TEN)));
}

/// Every gate says no for its own reason, and no other gate does.
#[test]
fn every_gate_can_block_alone() {
    let (rules, tenant, zones) = (rules(), TenantSettings::default(), new_york());
    let tomorrow = Some(at("2026-11-21T14:00:00Z"));
    let minutes_ago = |minutes| at(TEN) - TimeDelta::minutes(minutes);
    let capped = Rules { max_calls_per_day: Some(1), ..rules.clone() };
    let capped_by_week = Rules { max_calls_per_week: Some(2), ..rules.clone() };
    let excluded = Rules {
        schedule: crate::domain::schedule::Schedule {
            exclude_dates: ["2026-11-20".parse().unwrap()].into(),
            ..rules.schedule.clone()
        },
        ..rules.clone()
    };
    let listed = TenantSettings { allow_only: Some(vec!["+12025550199".to_owned()]), ..TenantSettings::default() };
    let rings = [minutes_ago(5 * 60 - 1)];
    // The first on Saturday 2026-11-14, a minute past midnight in New York.
    let week = [at("2026-11-14T05:01:00Z"), at("2026-11-18T15:00:00Z")];
    let today = Period::Day("2026-11-20".parse().unwrap());
    let yesterday = Period::Day("2026-11-19".parse().unwrap());
    let reminders = Reminders::default();
    // Three days before its date is tomorrow.
    let debts = [Debt {
        status: "sent".to_owned(),
        due_date: "2026-11-24".parse().unwrap(),
        balance: Some("10".parse().unwrap()),
        ..Debt::default()
    }];
    let nothing_to_pay = ReminderFacts { reminders: &reminders, debts: &[] };
    let base = || open(&rules, &tenant, &zones);
    let cases: Vec<(&str, &str, Option<DateTime<Utc>>, Facts<'_>)> = vec![
        ("pause", "paused", None, Facts { paused: true, ..base() }),
        ("active", "campaign_inactive", None, Facts { campaign_active: false, ..base() }),
        ("active", "not_enrolled", None, Facts { enrolled: false, ..base() }),
        ("zone", "no_timezone", None, Facts { zones: None, ..base() }),
        ("zone", "no_common_window", None, Facts { has_common_window: false, ..base() }),
        (
            "reminder",
            "before_first_offset",
            tomorrow,
            Facts { reminder: Some(ReminderFacts { reminders: &reminders, debts: &debts }), ..base() },
        ),
        ("reminder", "no_invoice", None, Facts { reminder: Some(nothing_to_pay), ..base() }),
        (
            "preferred_time",
            "before_preferred_time",
            Some(at("2026-11-20T16:30:00Z")),
            Facts { preferred_time: Some("11:30".parse().unwrap()), ..base() },
        ),
        (
            "preferred_time",
            "missed_preferred_time",
            Some(at("2026-11-21T14:30:00Z")),
            Facts { preferred_time: Some("09:30".parse().unwrap()), ..base() },
        ),
        (
            "preferred_time",
            "before_preferred_time",
            Some(at("2026-11-21T14:30:00Z")),
            Facts { preferred_time: Some("09:30".parse().unwrap()), enrolled_at: minutes_ago(10), ..base() },
        ),
        ("frequency", "already_called", tomorrow, Facts { last_rang_for_purpose: Some(minutes_ago(30)), ..base() }),
        ("slot", "slot_taken", tomorrow, Facts { slot_taken: true, ..base() }),
        (
            "slot",
            "slot_expired",
            None,
            Facts { retry: Some(RetryFacts { due_at: at(TEN), period: yesterday }), ..base() },
        ),
        ("live_attempt", "live_attempt", None, Facts { live_attempt: true, ..base() }),
        ("gap", "min_gap", Some(at("2026-11-20T15:01:00Z")), Facts { last_rang: Some(minutes_ago(239)), ..base() }),
        (
            "caps",
            "max_calls_per_day",
            Some(at("2026-11-21T05:00:00Z")),
            Facts { rules: &capped, recent_rings: &rings, ..base() },
        ),
        (
            "caps",
            "max_calls_per_week",
            Some(at("2026-11-21T05:00:00Z")),
            Facts { rules: &capped_by_week, recent_rings: &week, ..base() },
        ),
        ("suppression", "suppressed", None, Facts { suppressed: true, ..base() }),
        ("suppression", "not_on_allow_list", None, Facts { tenant: &listed, ..base() }),
        (
            "retry",
            "retry_waits",
            Some(at("2026-11-20T15:10:00Z")),
            Facts { retry: Some(RetryFacts { due_at: at("2026-11-20T15:10:00Z"), period: today }), ..base() },
        ),
        (
            "breaker",
            "provider_refused",
            Some(at("2026-11-20T15:00:01Z")),
            Facts { held_until: Some(at("2026-11-20T15:00:01Z")), ..base() },
        ),
        ("credentials", "no_credentials", None, Facts { has_credentials: false, ..base() }),
        ("capacity", "no_capacity", None, Facts { has_capacity: false, ..base() }),
    ];
    for (gate, reason, until, facts) in &cases {
        assert_eq!(blocks(facts, TEN), [(*gate, *reason, *until)]);
        assert_eq!(
            facts.first_block(at(TEN)).map(|(gate, reason, until)| (gate.as_str(), reason, until)),
            Some((*gate, *reason, *until))
        );
    }
    // On a date without an opening, dates and window both say no; the dates are asked first.
    let facts = Facts { rules: &excluded, ..base() };
    assert_eq!(blocks(&facts, TEN), [("dates", "excluded_date", tomorrow), ("window", "outside_window", tomorrow)]);
    assert_eq!(blocks(&base(), "2026-11-20T22:00:00Z"), [("window", "outside_window", tomorrow)]);
    let mut met: Vec<&str> = cases.iter().map(|(gate, ..)| *gate).chain(["dates", "window"]).collect();
    met.sort_unstable();
    met.dedup();
    assert_eq!(met.len(), GATES.len(), "every gate has a case: {met:?}");
}

/// Seven dates count, whatever the hour, and of both caps the one that holds longer is told.
#[test]
fn a_week_is_seven_local_dates_in_succession() {
    let (rules, zones) = (rules(), new_york());
    let caps =
        |day, week| TenantSettings { max_calls_per_day: day, max_calls_per_week: week, ..TenantSettings::default() };
    let blocked = |tenant: &TenantSettings, rings: &[&str]| {
        let rings: Vec<DateTime<Utc>> = rings.iter().map(|ring| at(ring)).collect();
        let facts = Facts { recent_rings: &rings, ..open(&rules, tenant, &zones) };
        facts.first_block(at(TEN)).map(|(_, reason, until)| (reason, until.expect("a moment")))
    };
    let midnight = |date: &str| at(&format!("{date}T05:00:00Z"));
    // A minute before midnight in New York, and at midnight, seven dates ago and six.
    let (out, within) = ("2026-11-14T04:59:00Z", "2026-11-14T05:00:00Z");
    assert_eq!(blocked(&caps(None, Some(1)), &[out]), None);
    assert_eq!(blocked(&caps(None, Some(1)), &[within]), Some(("max_calls_per_week", midnight("2026-11-21"))));
    // Of three, one more may come when the first two are out.
    let rings = ["2026-11-16T15:00:00Z", within, "2026-11-18T15:00:00Z"];
    assert_eq!(blocked(&caps(None, Some(4)), &rings), None);
    assert_eq!(blocked(&caps(None, Some(3)), &rings), Some(("max_calls_per_week", midnight("2026-11-21"))));
    assert_eq!(blocked(&caps(None, Some(2)), &rings), Some(("max_calls_per_week", midnight("2026-11-23"))));
    assert_eq!(blocked(&caps(None, Some(1)), &rings), Some(("max_calls_per_week", midnight("2026-11-25"))));
    let today = [within, "2026-11-20T14:30:00Z"];
    assert_eq!(blocked(&caps(Some(1), None), &today), Some(("max_calls_per_day", midnight("2026-11-21"))));
    assert_eq!(blocked(&caps(Some(1), Some(2)), &today), Some(("max_calls_per_day", midnight("2026-11-21"))));
    assert_eq!(blocked(&caps(Some(1), Some(1)), &today), Some(("max_calls_per_week", midnight("2026-11-27"))));
    // A campaign's own cap wins over its tenant's.
    let own = Rules { max_calls_per_week: Some(3), ..rules.clone() };
    let (tenant, rings) = (caps(None, Some(1)), [at(within)]);
    assert_eq!(Facts { recent_rings: &rings, ..open(&own, &tenant, &zones) }.first_block(at(TEN)), None);
}

#[test]
fn dates_say_whether_it_is_too_early_or_too_late() {
    let (tenant, zones) = (TenantSettings::default(), new_york());
    let mut early = rules();
    early.schedule.starts = Some("2026-11-23".parse().unwrap());
    let facts = open(&early, &tenant, &zones);
    let first = Some(at("2026-11-23T14:00:00Z"));
    assert_eq!(facts.first_block(at(TEN)), Some((Gate::Dates, "before_first_date", first)));
    assert_eq!(facts.next_due(at(TEN)), first);
    let mut late = rules();
    late.schedule.ends = Some("2026-11-19".parse().unwrap());
    let facts = open(&late, &tenant, &zones);
    assert_eq!(facts.first_block(at(TEN)), Some((Gate::Dates, "after_last_date", None)));
    assert_eq!(facts.next_due(at(TEN)), None);
}

#[test]
fn the_last_two_minutes_of_a_window_are_too_late() {
    let (rules, tenant, zones) = (rules(), TenantSettings::default(), new_york());
    let facts = open(&rules, &tenant, &zones);
    assert_eq!(facts.first_block(at("2026-11-20T21:57:59.999999Z")), None);
    let tomorrow = Some(at("2026-11-21T14:00:00Z"));
    for late in ["2026-11-20T21:58:00Z", "2026-11-20T21:59:59Z"] {
        assert_eq!(facts.first_block(at(late)), Some((Gate::Window, "window_closing", tomorrow)), "{late}");
        assert_eq!(facts.next_due(at(late)), tomorrow);
    }
    // A window without an end has no last minutes.
    let mut always = rules.clone();
    always.schedule.window = "00:00-24:00".parse().unwrap();
    assert_eq!(open(&always, &tenant, &zones).first_block(at("2026-11-21T04:59:00Z")), None);
}

/// Two minutes before the end no dial begins any more; who prefers a later minute must not wait for ever.
#[test]
fn a_preferred_time_at_the_very_end_counts_from_the_opening() {
    let (mut rules, tenant, zones) = (rules(), TenantSettings::default(), new_york());
    for (window, preferred, next) in [
        ("09:00-17:00", "16:57", "2026-11-20T21:57:00Z"),
        ("09:00-17:00", "16:58", "2026-11-21T14:00:00Z"),
        ("09:00-17:00", "16:59", "2026-11-21T14:00:00Z"),
        ("09:00-17:00", "17:00", "2026-11-21T14:00:00Z"),
        ("22:00-00:30", "00:27", "2026-11-21T05:27:00Z"),
        ("22:00-00:30", "00:29", "2026-11-21T03:00:00Z"),
        ("09:00-24:00", "23:57", "2026-11-21T04:57:00Z"),
        ("09:00-24:00", "23:59", "2026-11-21T14:00:00Z"),
        ("22:00-00:01", "23:59", "2026-11-21T03:00:00Z"),
        ("00:00-24:00", "23:59", "2026-11-21T04:59:00Z"),
    ] {
        rules.schedule.window = window.parse().unwrap();
        let facts = Facts { preferred_time: Some(preferred.parse().unwrap()), ..open(&rules, &tenant, &zones) };
        assert_eq!(facts.next_due(at("2026-11-20T20:00:00Z")), Some(at(next)), "{preferred} in {window}");
    }
}

#[test]
fn another_attempt_is_asked_about_its_own_slot_only() {
    let (rules, tenant, zones) = (rules(), TenantSettings::default(), new_york());
    let facts = Facts {
        retry: Some(RetryFacts { due_at: at(TEN), period: Period::Day("2026-11-20".parse().unwrap()) }),
        // Called for this purpose by another call today: the slot that this call holds decides.
        last_rang_for_purpose: Some(at("2026-11-20T14:10:00Z")),
        preferred_time: Some("16:00".parse().unwrap()),
        slot_taken: true,
        ..open(&rules, &tenant, &zones)
    };
    assert_eq!(facts.first_block(at(TEN)), None);
    let before = facts.first_block(at("2026-11-20T13:00:00Z"));
    assert_eq!(before, Some((Gate::Window, "outside_window", Some(at("2026-11-20T14:00:00Z")))));
    assert_eq!(facts.next_due(at("2026-11-20T22:00:00Z")), None, "its day is over");
}

#[test]
fn an_invoice_is_called_about_on_the_dates_of_its_offset_by_the_window_that_is_open() {
    let mut rules = rules();
    rules.schedule.window = "22:00-02:00".parse().unwrap();
    let (tenant, zones, reminders) = (TenantSettings::default(), new_york(), Reminders::default());
    let debt = Debt {
        status: "overdue".to_owned(),
        due_date: "2026-11-20".parse().unwrap(),
        balance: Some("10".parse().unwrap()),
        ..Debt::default()
    };
    let debts = [debt];
    let reminder = Some(ReminderFacts { reminders: &reminders, debts: &debts });
    let facts = Facts { reminder, ..open(&rules, &tenant, &zones) };
    // Four days before at 22:30, and past midnight, which belongs to the window of the day before.
    let first = at("2026-11-18T03:00:00Z");
    for early in ["2026-11-17T03:30:00Z", "2026-11-17T06:30:00Z"] {
        assert_eq!(blocks(&facts, early), [("reminder", "before_first_offset", Some(first))], "{early}");
        assert_eq!(facts.next_due(at(early)), Some(first));
    }
    assert_eq!(blocks(&facts, "2026-11-18T03:00:00Z"), []);
    assert_eq!(blocks(&facts, "2026-11-21T06:30:00Z"), [], "01:30 of the day after still belongs to the due date");
    let paid = [Debt { status: "paid".to_owned(), ..debts[0].clone() }];
    let facts = Facts { reminder: Some(ReminderFacts { reminders: &reminders, debts: &paid }), ..facts };
    assert_eq!(blocks(&facts, "2026-11-18T03:00:00Z"), [("reminder", "invoice_paid", None)]);
    assert_eq!(facts.next_due(at("2026-11-18T03:00:00Z")), None);
}
