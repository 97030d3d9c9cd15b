use chrono::Days;
use proptest::prelude::*;

use super::*;

fn date(text: &str) -> NaiveDate {
    text.parse().expect("a date")
}

fn at(text: &str) -> DateTime<Utc> {
    text.parse().expect("an instant")
}

fn utc() -> Zone {
    Zone::parse("UTC").expect("a zone")
}

fn debt() -> Debt {
    Debt {
        invoice_id: "98200001".to_owned(),
        number: Some("INV-1".to_owned()),
        customer_id: "7".to_owned(),
        status: "overdue".to_owned(),
        due_date: date("2026-11-20"),
        balance: Some("120.50".parse().expect("a decimal")),
        currency: Some("USD".to_owned()),
        ..Debt::default()
    }
}

fn standing(debt: &Debt, day: &str) -> Standing {
    Reminders::default().standing(debt, date(day), utc(), false)
}

#[test]
fn only_the_latest_offset_that_was_reached_is_due() {
    for (day, expected) in [
        ("2026-11-16", Standing::until("before_first_offset", Some(date("2026-11-17")))),
        ("2026-11-17", Standing::Due { offset: -3 }),
        ("2026-11-19", Standing::Due { offset: -3 }),
        ("2026-11-20", Standing::Due { offset: 0 }),
        ("2026-11-26", Standing::Due { offset: 3 }),
        ("2026-11-27", Standing::Due { offset: 7 }),
        ("2026-12-27", Standing::Due { offset: 7 }),
        ("2026-12-28", Standing::never("too_long_overdue")),
    ] {
        assert_eq!(standing(&debt(), day), expected, "{day}");
    }
}

#[test]
fn an_offset_is_reminded_of_once_and_the_next_one_has_its_own_turn() {
    let reminded = |offset| Debt { reminded: vec![Reminded { offset, by_own_call: false }], ..debt() };
    assert_eq!(standing(&reminded(0), "2026-11-22"), Standing::until("already_reminded", Some(date("2026-11-23"))));
    assert_eq!(standing(&reminded(0), "2026-11-23"), Standing::Due { offset: 3 });
    assert_eq!(standing(&reminded(7), "2026-12-01"), Standing::never("already_reminded"));
}

#[test]
fn a_retry_is_about_what_its_call_holds() {
    let rules = Reminders::default();
    let own = Debt { reminded: vec![Reminded { offset: 0, by_own_call: true }], ..debt() };
    assert_eq!(rules.standing(&own, date("2026-11-21"), utc(), true), Standing::Due { offset: 0 });
    assert_eq!(rules.standing(&own, date("2026-11-23"), utc(), true), Standing::never("offset_lapsed"));
    assert_eq!(rules.standing(&debt(), date("2026-11-21"), utc(), true), Standing::never("offset_lapsed"));
}

#[test]
fn what_is_settled_or_left_out_is_not_called_about() {
    let rules = Reminders {
        min_balance: "100".parse().expect("a decimal"),
        statuses: vec!["overdue".to_owned()],
        exclude_customers: vec!["13".to_owned()],
        exclude_invoices: vec!["INV-9".to_owned()],
        ..Reminders::default()
    };
    for (debt, reason) in [
        (Debt { status: "paid".to_owned(), ..debt() }, "invoice_paid"),
        (Debt { status: "void".to_owned(), ..debt() }, "invoice_void"),
        (Debt { is_deleted: true, ..debt() }, "invoice_deleted"),
        (Debt { status: "draft".to_owned(), ..debt() }, "invoice_status"),
        (Debt { customer_id: "13".to_owned(), ..debt() }, "invoice_excluded"),
        (Debt { number: Some("INV-9".to_owned()), ..debt() }, "invoice_excluded"),
        (Debt { balance: Some("99.99".parse().expect("a decimal")), ..debt() }, "below_min_balance"),
        (Debt { balance: None, ..debt() }, "below_min_balance"),
    ] {
        assert_eq!(rules.standing(&debt, date("2026-11-21"), utc(), false), Standing::never(reason));
    }
}

#[test]
fn an_invoice_is_overdue_once_its_date_has_passed_whatever_was_read_of_it() {
    let rules = Reminders { statuses: vec!["overdue".to_owned()], ..Reminders::default() };
    let sent = Debt { status: "sent".to_owned(), ..debt() };
    assert_eq!(
        rules.standing(&sent, date("2026-11-20"), utc(), false),
        Standing::until("invoice_status", Some(date("2026-11-21")))
    );
    assert_eq!(rules.standing(&sent, date("2026-11-21"), utc(), false), Standing::Due { offset: 0 });
    let draft = Debt { status: "draft".to_owned(), ..debt() };
    assert_eq!(rules.standing(&draft, date("2026-11-21"), utc(), false), Standing::never("invoice_status"));
}

#[test]
fn a_pause_ends_on_its_date_and_a_dispute_by_a_person() {
    let paused =
        |reason, until: Option<&str>| Debt { pause: Some(InvoicePause { reason, until: until.map(at) }), ..debt() };
    let promised = paused(PauseReason::WillPayToday, Some("2026-11-25T00:00:00Z"));
    assert_eq!(standing(&promised, "2026-11-24"), Standing::until("will_pay_today", Some(date("2026-11-25"))));
    assert_eq!(standing(&promised, "2026-11-25"), Standing::Due { offset: 3 });
    assert_eq!(standing(&paused(PauseReason::Dispute, None), "2026-12-20"), Standing::never("invoice_disputed"));
}

#[test]
fn after_a_conversation_there_are_seven_days_of_which_it_is_the_first() {
    let spoken = Debt { spoken_at: Some(at("2026-11-20T15:00:00Z")), ..debt() };
    assert_eq!(standing(&spoken, "2026-11-26"), Standing::until("rest_after_conversation", Some(date("2026-11-27"))));
    assert_eq!(standing(&spoken, "2026-11-27"), Standing::Due { offset: 7 });
}

#[test]
fn the_eighth_attempt_in_seven_days_waits_until_the_first_is_a_week_ago() {
    let rang = |count: u64| Debt {
        rings: (0..count).map(|day| at("2026-11-20T15:00:00Z") + Days::new(day)).collect(),
        ..debt()
    };
    assert_eq!(standing(&rang(6), "2026-11-26"), Standing::Due { offset: 3 });
    assert_eq!(standing(&rang(7), "2026-11-26"), Standing::until("max_attempts_per_week", Some(date("2026-11-27"))));
    assert_eq!(standing(&rang(7), "2026-11-27"), Standing::Due { offset: 7 });
    // On one day more than may be in a week: only when so many of them are a week ago.
    let busy = Debt { rings: vec![at("2026-11-24T15:00:00Z"); 9], ..debt() };
    assert_eq!(standing(&busy, "2026-11-26"), Standing::until("max_attempts_per_week", Some(date("2026-12-01"))));
}

#[test]
fn several_invoices_are_named_in_the_order_of_their_dates() {
    let rules = Reminders::default();
    let debts = [
        Debt { invoice_id: "2".to_owned(), due_date: date("2026-11-22"), ..debt() },
        Debt { invoice_id: "3".to_owned(), due_date: date("2026-12-30"), ..debt() },
        Debt { invoice_id: "1".to_owned(), due_date: date("2026-11-15"), ..debt() },
        Debt { invoice_id: "4".to_owned(), status: "paid".to_owned(), ..debt() },
    ];
    let due = rules.due(&debts, date("2026-11-22"), utc(), false).expect("two");
    let due: Vec<(&str, i64)> = due.iter().map(|(debt, offset)| (debt.invoice_id.as_str(), *offset)).collect();
    assert_eq!(due, [("1", 7), ("2", 0)]);
    assert_eq!(
        rules.due(&debts[1..2], date("2026-11-22"), utc(), false),
        Err(("before_first_offset", Some(date("2026-12-27"))))
    );
    assert_eq!(rules.due(&[], date("2026-11-22"), utc(), false), Err(("no_invoice", None)));
    assert_eq!(rules.due(&debts[3..], date("2026-11-22"), utc(), false), Err(("invoice_paid", None)));
}

#[test]
fn a_slot_key_reads_back() {
    for offset in [-3, 0, 7] {
        assert_eq!(Reminders::offset_of(&Reminders::slot_key("98:2", offset)), Some(offset));
    }
    assert_eq!(Reminders::slot_key("98", 3), "98:+3");
    assert_eq!(Reminders::offset_of("once"), None);
    let dates = Reminders::default().dates_of(date("2026-11-20"), 3);
    assert_eq!(dates.to_string(), "2026-11-23/2026-11-26");
    assert_eq!(Reminders::default().dates_of(date("2026-11-20"), 7).last_date(), date("2026-12-27"));
}

proptest! {
    /// On every day at most one offset is due, it is the latest reached, and the dates of offsets do not overlap.
    #[test]
    fn a_day_belongs_to_one_offset(
        mut offsets in prop::collection::btree_set(-60_i64..60, 1..6),
        days in -90_i64..200,
        late in 0_i64..60,
    ) {
        let list: Vec<i64> = std::mem::take(&mut offsets).into_iter().collect();
        let rules = Reminders {
            max_days_overdue: list.last().copied().unwrap_or_default() + late,
            offsets: list.clone(),
            ..Reminders::default()
        };
        let day = after(debt().due_date, days);
        let holding: Vec<i64> =
            list.iter().copied().filter(|offset| rules.dates_of(debt().due_date, *offset).contains(day)).collect();
        match rules.standing(&debt(), day, utc(), false) {
            Standing::Due { offset } => prop_assert_eq!(holding, vec![offset]),
            Standing::Not { from, .. } => {
                prop_assert!(holding.is_empty());
                prop_assert!(from.is_none_or(|from| from > day));
            }
        }
    }
}
