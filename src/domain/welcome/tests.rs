use super::*;

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap()
}

fn settings() -> WelcomeSettings {
    WelcomeSettings {
        account: "acme-stripe".to_owned(),
        campaign: "welcome".to_owned(),
        welcome_since: at(1000),
        trialing: false,
        timezone_key: None,
        preferred_time_key: None,
    }
}

fn event(happened: Happened) -> PaymentEvent {
    PaymentEvent {
        id: "evt_1".to_owned(),
        kind: "some.type".to_owned(),
        created: at(2000),
        livemode: true,
        object_id: Some("obj_1".to_owned()),
        customer: Some("cus_1".to_owned()),
        details: Details::default(),
        happened,
    }
}

fn checkout(payment_status: &str) -> Happened {
    Happened::Checkout { payment_status: Some(payment_status.to_owned()) }
}

fn invoice(billing_reason: &str, amount_paid: i64) -> Happened {
    Happened::Invoice { billing_reason: Some(billing_reason.to_owned()), amount_paid: Some(amount_paid) }
}

fn subscribed(status: &str) -> Happened {
    Happened::Subscribed { status: Some(status.to_owned()) }
}

#[test]
fn only_a_first_payment_is_a_welcome() {
    for happened in [checkout("paid"), invoice("subscription_create", 1), invoice("manual", 2000), subscribed("active")]
    {
        assert_eq!(event(happened.clone()).decide(true, &settings()), Decision::Enrol, "{happened:?}");
    }
    for happened in [
        checkout("unpaid"),
        checkout("no_payment_required"),
        checkout("another word"),
        Happened::Checkout { payment_status: None },
        invoice("subscription_create", 0),
        invoice("manual", 0),
        invoice("manual", -5),
        invoice("subscription_cycle", 2000),
        invoice("subscription_update", 2000),
        invoice("upcoming", 2000),
        Happened::Invoice { billing_reason: None, amount_paid: Some(1) },
        Happened::Invoice { billing_reason: Some("manual".to_owned()), amount_paid: None },
        subscribed("trialing"),
        subscribed("incomplete"),
        subscribed("incomplete_expired"),
        subscribed("past_due"),
        Happened::Subscribed { status: None },
        Happened::Thin,
        Happened::Other,
    ] {
        let decision = event(happened.clone()).decide(true, &settings());
        assert!(matches!(decision, Decision::Ignore(_)), "{happened:?} {decision:?}");
    }
    for happened in [Happened::Unsubscribed, Happened::Refunded { amount_refunded: Some(5) }] {
        assert_eq!(event(happened).decide(true, &settings()), Decision::Withdraw);
    }
    let trialing = WelcomeSettings { trialing: true, ..settings() };
    assert_eq!(event(subscribed("trialing")).decide(true, &trialing), Decision::Enrol);
    assert!(matches!(event(subscribed("incomplete")).decide(true, &trialing), Decision::Ignore(_)));
}

#[test]
fn the_mode_the_time_and_a_customer_must_be_right() {
    let paid = || event(checkout("paid"));
    assert!(matches!(paid().decide(false, &settings()), Decision::Ignore(reason) if reason.contains("live mode")));
    let test = PaymentEvent { livemode: false, ..paid() };
    assert!(matches!(test.decide(true, &settings()), Decision::Ignore(reason) if reason.contains("test mode")));
    assert_eq!(test.decide(false, &settings()), Decision::Enrol);
    for (created, expected) in [(999, false), (1000, true)] {
        let early = PaymentEvent { created: at(created), ..paid() };
        assert_eq!(early.decide(true, &settings()) == Decision::Enrol, expected, "{created}");
    }
    let nobody = PaymentEvent { customer: None, ..event(invoice("manual", 5)) };
    assert!(matches!(nobody.decide(true, &settings()), Decision::Ignore(_)));
}

#[test]
fn a_guest_is_known_by_the_address_or_by_the_checkout() {
    let paid = event(checkout("paid"));
    assert_eq!(paid.customer_key().as_deref(), Some("cus_1"));
    let guest = PaymentEvent { customer: None, ..paid.clone() };
    assert_eq!(guest.customer_key().as_deref(), Some("obj_1"));
    let email = Details { email: Some("Ada@Example.com".to_owned()), ..Details::default() };
    let named = PaymentEvent { details: email.clone(), ..guest };
    assert_eq!(named.customer_key().as_deref(), Some("guest:ada@example.com"));
    let refund = PaymentEvent { customer: None, details: email, ..event(Happened::Refunded { amount_refunded: None }) };
    assert_eq!(refund.customer_key(), named.customer_key());
}

#[test]
fn an_object_is_told_of_once_and_a_charge_once_for_each_part() {
    let refunded = |amount| event(Happened::Refunded { amount_refunded: Some(amount) }).object_key();
    assert_ne!(refunded(5), refunded(10));
    assert_eq!(refunded(5), refunded(5));
    assert_eq!(event(checkout("paid")).object_key().as_deref(), Some("obj_1"));
    assert_eq!(event(Happened::Thin).object_key(), None);
}

#[test]
fn the_order_in_which_events_come_makes_no_difference() {
    let events = [
        (Decision::Enrol, 10),
        (Decision::Withdraw, 20),
        (Decision::Enrol, 30),
        (Decision::Enrol, 15),
        (Decision::Withdraw, 5),
    ];
    let mut orders = 0;
    for mut code in 0..120_usize {
        let mut left: Vec<&(Decision, i64)> = events.iter().collect();
        let mut standing = Standing::default();
        for size in (1..=left.len()).rev() {
            let (decision, seconds) = left.remove(code % size);
            code /= size;
            standing.learn(decision, at(*seconds));
        }
        assert_eq!(standing, Standing { paid_at: Some(at(30)), withdrawn_at: Some(at(20)) });
        assert!(standing.is_customer());
        orders += 1;
    }
    assert_eq!(orders, 120);
    let mut standing = Standing::default();
    assert!(!standing.is_customer());
    assert!(standing.learn(&Decision::Withdraw, at(10)) && !standing.is_customer());
    assert!(standing.learn(&Decision::Enrol, at(10)) && !standing.is_customer(), "in one second, the refund counts");
    assert!(!standing.learn(&Decision::Enrol, at(9)) && !standing.is_customer());
    assert!(standing.learn(&Decision::Enrol, at(11)) && standing.is_customer());
}
