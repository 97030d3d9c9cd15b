use serde_json::json;

use super::*;
use crate::domain::welcome::{Decision, WelcomeSettings};

fn fixture(text: &str) -> PaymentEvent {
    read_event(&serde_json::from_str(text).unwrap()).unwrap()
}

fn settings() -> WelcomeSettings {
    WelcomeSettings {
        account: "acme-stripe".to_owned(),
        campaign: "welcome".to_owned(),
        welcome_since: DateTime::UNIX_EPOCH,
        trialing: false,
        timezone_key: None,
        preferred_time_key: None,
    }
}

#[test]
fn the_services_own_examples_are_first_payments_of_one_customer() {
    for (text, object, happened) in [
        (
            include_str!("../../../../tests/fixtures/stripe/checkout.session.completed.json"),
            "cs_test_",
            Happened::Checkout { payment_status: Some("paid".to_owned()) },
        ),
        (
            include_str!("../../../../tests/fixtures/stripe/invoice.paid.json"),
            "in_",
            Happened::Invoice { billing_reason: Some("subscription_create".to_owned()), amount_paid: Some(2000) },
        ),
        (
            include_str!("../../../../tests/fixtures/stripe/customer.subscription.created.json"),
            "sub_",
            Happened::Subscribed { status: Some("active".to_owned()) },
        ),
    ] {
        let event = fixture(text);
        assert_eq!(event.customer.as_deref(), Some("cus_QXg1o8vcGmoR32"));
        assert!(event.object_id.as_deref().is_some_and(|id| id.starts_with(object)), "{event:?}");
        assert_eq!(event.happened, happened);
        assert_eq!(event.decide(false, &settings()), Decision::Enrol);
        assert!(matches!(event.decide(true, &settings()), Decision::Ignore(_)), "it is of test mode");
    }
    let checkout = fixture(include_str!("../../../../tests/fixtures/stripe/checkout.session.completed.json"));
    let details = checkout.details;
    assert_eq!((details.name.as_deref(), details.phone.as_deref()), (Some("Jane Example"), Some("+15005550006")));
    assert_eq!(details.metadata.get("plan").map(String::as_str), Some("starter"));
}

#[test]
fn an_invoice_means_the_same_in_the_old_shape() {
    let event = |object: Value| {
        read_event(&json!({
            "id": "evt_1", "object": "event", "type": "invoice.paid", "created": 1, "livemode": true,
            "data": {"object": object},
        }))
        .unwrap()
    };
    let old = json!({
        "id": "in_1", "customer": "cus_1", "billing_reason": "subscription_create", "amount_paid": 5, "paid": true,
        "subscription": "sub_1", "charge": "ch_1", "payment_intent": "pi_1",
    });
    let new = json!({
        "id": "in_1", "customer": {"id": "cus_1", "object": "customer"}, "billing_reason": "subscription_create",
        "amount_paid": 5, "status": "paid", "parent": {"subscription_details": {"subscription": "sub_1"}},
    });
    assert_eq!(event(old), event(new));
}

#[test]
fn what_is_no_event_is_refused_and_a_thin_one_says_nothing() {
    let sound = json!({
        "id": "evt_1", "object": "event", "type": "ping", "created": 1, "livemode": true, "data": {"object": {}},
    });
    assert_eq!(read_event(&sound).unwrap().happened, Happened::Other);
    for (field, wrong) in [
        ("object", json!("charge")),
        ("object", json!(null)),
        ("id", json!("")),
        ("id", json!(7)),
        ("type", json!(null)),
        ("created", json!("yesterday")),
        ("created", json!(i64::MAX)),
        ("livemode", json!("yes")),
        ("data", json!({})),
        ("data", json!([])),
    ] {
        let mut body = sound.clone();
        body[field] = wrong.clone();
        assert!(read_event(&body).is_err(), "{field} {wrong}");
    }
    for body in [json!(null), json!([]), json!("event")] {
        assert!(read_event(&body).is_err(), "{body}");
    }
    let thin = json!({
        "id": "evt_test_1", "object": "v2.core.event", "type": "v1.billing.meter.no_meter_found",
        "created": "2026-11-20T12:00:00.000Z", "related_object": {"id": "x", "type": "y", "url": "/v2/z"},
    });
    assert_eq!(read_event(&thin).unwrap().happened, Happened::Thin);
}

#[test]
fn a_customer_is_read_with_where_it_gets_parcels() {
    let read = |value: Value| customer_of(&value).unwrap();
    let full = read(json!({
        "id": "cus_1", "created": 5, "name": " Ada ", "email": "", "phone": null, "metadata": {"timezone": "X", "n": 5},
        "address": {"country": "US"}, "shipping": {"name": "A. L.", "phone": "020 7946 0958", "address": {"country": "GB"}},
    }));
    assert_eq!(full.created, DateTime::from_timestamp(5, 0));
    let details = full.details;
    assert_eq!((details.name.as_deref(), details.email), (Some("Ada"), None));
    assert_eq!((details.phone.as_deref(), details.country.as_deref()), (Some("020 7946 0958"), Some("GB")));
    assert_eq!(details.metadata.len(), 1);
    assert_eq!(read(json!({"id": "cus_1", "object": "customer", "deleted": true})).created, None);
    assert!(customer_of(&json!({"id": "cus_1"})).is_err());
}
