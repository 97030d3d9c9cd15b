//! Which events welcome whom, and which take it back.

use chrono::TimeDelta;
use serde_json::{Value, json};

use super::{
    ADA, BOB, begin, check_asked, customer, deliver, events_there, happen, put_tenant, run_until, state_of, told,
    welcome, welcome_of, welcomes,
};
use crate::common::on_both_databases;
use callops::domain::welcome::WelcomeSettings;

on_both_databases! {
    async fn each_event_in_both_shapes_does_what_it_says_and_nothing_else(db) {
        let story = begin(db).await;
        let mut n = 0;
        for shape in ["new", "old"] {
            story.sandbox.stripe(json!({"shape": shape})).unwrap();
            for (event, expected) in [
                (json!({"kind": "checkout_paid"}), Some("enrolled")),
                (json!({"kind": "checkout_unpaid"}), None),
                (json!({"kind": "async_payment_succeeded"}), Some("enrolled")),
                (json!({"kind": "invoice_paid"}), Some("enrolled")),
                (json!({"kind": "invoice_paid", "billing_reason": "manual"}), Some("enrolled")),
                (json!({"kind": "invoice_paid", "billing_reason": "subscription_cycle"}), None),
                (json!({"kind": "invoice_paid", "billing_reason": "subscription_update"}), None),
                (json!({"kind": "invoice_paid", "amount": 0}), None),
                (json!({"kind": "subscription_active"}), Some("enrolled")),
                (json!({"kind": "subscription_trialing"}), None),
                (json!({"kind": "subscription_incomplete"}), None),
                (json!({"kind": "subscription_deleted"}), Some("withdrawn")),
                (json!({"kind": "charge_refunded"}), Some("withdrawn")),
                (json!({"kind": "checkout_paid", "livemode": true}), None),
            ] {
                n += 1;
                let id = format!("cus_{n}");
                customer(&story, &id, json!({"phone": format!("+12025550{:03}", 100 + n), "name": "Ada"}));
                let mut event = event;
                event["customer"] = json!(id);
                let receipt = deliver(&story, &happen(&story, event.clone()).await).await;
                assert_eq!(receipt.applied, expected.is_some(), "{event} {receipt:?}");
                let listed = welcomes(&story).into_iter().find(|one| one["customer"] == id.as_str());
                assert_eq!(listed.as_ref().and_then(|one| one["status"].as_str()), expected, "{event} {listed:?}");
                assert!(expected.is_some() || receipt.reason.is_some(), "{event} {receipt:?}");
            }
        }
        assert_eq!(story.calls().await.len(), 0, "an event never calls");
        check_asked(&story).await;
        story.wait(TimeDelta::hours(2));
        story.process(&["--concurrency", "50"]).await;
        assert_eq!(story.rings(), 10, "those who are enrolled, and nobody else");
    }

    async fn several_events_of_one_payment_are_one_call_at_the_preferred_time_where_the_customer_is(db) {
        let story = begin(db).await;
        // 10:30 in Los Angeles is 18:30 UTC.
        let metadata = json!({"timezone": "America/Los_Angeles", "preferred_time": "10:30"});
        customer(&story, "cus_1", json!({"phone": ADA, "name": "Ada", "email": "ada@example.com", "metadata": metadata}));
        for kind in ["checkout_paid", "invoice_paid", "subscription_active"] {
            told(&story, kind, "cus_1").await;
            for event in events_there(&story).await {
                let again = deliver(&story, &event).await;
                assert!(!again.applied && again.reason.as_deref() == Some("duplicate"), "{again:?}");
            }
        }
        assert_eq!(story.rings(), 0);
        run_until(&story, "2026-11-16T18:29:00Z", 29).await;
        assert_eq!(story.rings(), 0, "not before it is 10:30 there");
        run_until(&story, "2026-11-16T18:31:00Z", 1).await;
        assert_eq!(story.rings_of(ADA), 1);
        told(&story, "invoice_paid", "cus_1").await;
        run_until(&story, "2026-11-20T20:00:00Z", 45).await;
        assert_eq!(story.rings(), 1);
        let welcome = welcome_of(&story, "cus_1");
        assert_eq!((&welcome["status"], &welcome["call_status"]), (&json!("enrolled"), &json!("completed")), "{welcome}");
        assert_eq!((&welcome["name"], &welcome["email"]), (&json!("Ada"), &json!("ada@example.com")));
        check_asked(&story).await;
    }

    async fn customers_of_before_and_trials_are_not_welcomed_unless_the_tenant_says_so(db) {
        let story = begin(db).await;
        customer(&story, "cus_old", json!({"phone": ADA, "created": "2026-10-31T23:59:59Z"}));
        told(&story, "checkout_paid", "cus_old").await;
        assert_eq!(state_of(&story, "cus_old"), "created_before");
        // What happened before is not even asked about.
        let event = happen(&story, json!({"kind": "invoice_paid", "customer": "cus_older", "created": "2026-10-31T00:00:00Z"})).await;
        let last = events_there(&story).await.into_iter().last().unwrap_or(event);
        assert!(!deliver(&story, &last).await.applied);
        put_tenant(&story, WelcomeSettings { trialing: true, ..welcome() }).await;
        customer(&story, "cus_trial", json!({"phone": BOB}));
        assert!(told(&story, "subscription_trialing", "cus_trial").await.applied);
        story.wait(TimeDelta::hours(2));
        story.process(&[]).await;
        assert_eq!((story.rings_of(ADA), story.rings_of(BOB)), (0, 1));
        story.control("stripe", json!({"usual": {"kind": "charge_refunded", "customer": "cus_old"}})).await;
        deliver(&story, &events_there(&story).await[0]).await;
        assert_eq!(state_of(&story, "cus_old"), "created_before");
    }

    async fn what_is_taken_back_before_the_call_is_not_called_and_a_new_payment_is(db) {
        let story = begin(db).await;
        customer(&story, "cus_1", json!({"phone": ADA}));
        assert!(told(&story, "checkout_paid", "cus_1").await.applied);
        for (taken_back, again, reason) in [
            ("charge_refunded", "invoice_paid", "charge.refunded at"),
            ("subscription_deleted", "subscription_active", "customer.subscription.deleted at"),
        ] {
            assert_eq!(state_of(&story, "cus_1"), "enrolled");
            assert!(told(&story, taken_back, "cus_1").await.applied);
            let withdrawn = welcome_of(&story, "cus_1");
            assert_eq!(withdrawn["status"], "withdrawn");
            assert!(withdrawn["reason"].as_str().unwrap().starts_with(reason), "{withdrawn}");
            story.process(&[]).await;
            assert_eq!(story.rings(), 0);
            // Another payment, by another object: never called, so welcome again.
            let object = format!("{again}_again");
            let again = happen(&story, json!({"kind": again, "customer": "cus_1", "object": object})).await;
            assert!(deliver(&story, &again).await.applied);
        }
        assert_eq!(state_of(&story, "cus_1"), "enrolled");
        story.wait_until("2026-11-16T15:00:00Z");
        story.process(&[]).await;
        assert_eq!(story.rings(), 1);
        story.wait(TimeDelta::hours(1));
        story.collect().await;
        // Called once, whatever they pay and take back from now on.
        told(&story, "charge_refunded", "cus_1").await;
        let third = happen(&story, json!({"kind": "invoice_paid", "customer": "cus_1", "object": "in_third"})).await;
        deliver(&story, &third).await;
        run_until(&story, "2026-11-18T20:00:00Z", 60).await;
        assert_eq!(story.rings(), 1);
    }

    async fn a_refund_that_comes_before_its_payment_counts_and_one_of_an_older_payment_does_not(db) {
        let story = begin(db).await;
        customer(&story, "cus_1", json!({"phone": ADA}));
        customer(&story, "cus_2", json!({"phone": BOB}));
        let payment = happen(&story, json!({"kind": "checkout_paid", "customer": "cus_1"})).await;
        let refund = happen(&story, json!({"kind": "charge_refunded", "customer": "cus_1"})).await;
        assert!(deliver(&story, &refund).await.applied);
        let late = deliver(&story, &payment).await;
        assert!(!late.applied && late.reason.as_deref().unwrap().contains("took it back"), "{late:?}");
        assert_eq!(state_of(&story, "cus_1"), "withdrawn");
        let refund = happen(&story, json!({"kind": "charge_refunded", "customer": "cus_2"})).await;
        let payment = happen(&story, json!({"kind": "checkout_paid", "customer": "cus_2"})).await;
        assert!(deliver(&story, &payment).await.applied);
        assert!(!deliver(&story, &refund).await.applied);
        assert_eq!(state_of(&story, "cus_2"), "enrolled");
        story.wait(TimeDelta::hours(2));
        story.process(&[]).await;
        assert_eq!((story.rings_of(ADA), story.rings_of(BOB)), (0, 1));
    }

    async fn a_refund_calls_off_what_would_be_tried_again(db) {
        let story = begin(db).await;
        customer(&story, "cus_1", json!({"phone": ADA}));
        story.script(ADA, json!(["customer-did-not-answer", "customer-did-not-answer", "customer-ended-call"])).await;
        told(&story, "checkout_paid", "cus_1").await;
        story.wait_until("2026-11-16T15:00:00Z");
        story.process(&[]).await;
        run_until(&story, "2026-11-16T15:30:00Z", 5).await;
        assert_eq!(story.rings(), 1);
        assert_eq!(welcome_of(&story, "cus_1")["call_status"], "scheduled");
        assert!(told(&story, "charge_refunded", "cus_1").await.applied);
        run_until(&story, "2026-11-18T20:00:00Z", 30).await;
        assert_eq!(story.rings(), 1);
        assert_eq!(welcome_of(&story, "cus_1")["call_status"], "cancelled");
        let again = happen(&story, json!({"kind": "invoice_paid", "customer": "cus_1", "object": "in_again"})).await;
        deliver(&story, &again).await;
        assert_eq!(state_of(&story, "cus_1"), "already_called", "the phone rang");
    }

    async fn two_events_about_one_thing_are_one_and_parts_of_a_refund_are_not(db) {
        let story = begin(db).await;
        customer(&story, "cus_1", json!({"phone": ADA}));
        let object = json!({"object": "invoice", "id": "in_1", "customer": "cus_1", "billing_reason": "manual", "amount_paid": 5});
        let event = |id: &str| json!({
            "id": id, "object": "event", "type": "invoice.paid", "created": story.now().timestamp(), "livemode": false,
            "data": {"object": object},
        });
        let first = deliver(&story, &event("evt_a")).await;
        assert!(first.applied);
        let second = deliver(&story, &event("evt_b")).await;
        assert_eq!(second.reason.as_deref(), Some(format!("duplicate of {}", first.event_id).as_str()));
        let shown = |id: &str| story.run(&["show", "event", id, "--format", "json"]).success().json();
        assert_eq!(shown(&second.event_id)["status"], "ignored");
        assert_eq!(deliver(&story, &event("evt_b")).await.reason.as_deref(), Some("duplicate"));
        let refund = |id: &str, amount: i64| json!({
            "id": id, "object": "event", "type": "charge.refunded", "created": story.now().timestamp() + amount, "livemode": false,
            "data": {"object": {"object": "charge", "id": "ch_1", "customer": "cus_1", "amount_refunded": amount}},
        });
        assert!(deliver(&story, &refund("evt_c", 2)).await.applied);
        let replayed = story.run(&["replay-events", "--format", "json"]).success().json();
        assert_eq!((&replayed["applied"], &replayed["failed"]), (&json!(0), &json!(0)), "{replayed}");
        let part = deliver(&story, &refund("evt_d", 3)).await;
        assert!(!part.reason.unwrap_or_default().contains("duplicate"), "another part of the refund is news");
        assert_eq!(state_of(&story, "cus_1"), "withdrawn");
    }

    async fn what_says_nothing_is_stored_and_ignored_and_what_is_no_event_is_refused(db) {
        let story = begin(db).await;
        let thin = json!({"id": "evt_thin", "object": "v2.core.event", "type": "v1.x", "created": "2026-11-16T13:00:00Z", "livemode": false});
        let other = json!({"id": "evt_other", "object": "event", "type": "product.created", "created": 1, "livemode": false, "data": {"object": {"id": "prod_1"}}});
        for event in [thin, other] {
            let receipt = deliver(&story, &event).await;
            assert!(!receipt.applied && receipt.reason.is_some() && receipt.is_known, "{receipt:?}");
        }
        assert_eq!(welcomes(&story), Vec::<Value>::new());
    }

    async fn a_guest_is_welcomed_by_address_or_checkout_and_a_refund_by_address_counts(db) {
        let story = begin(db).await;
        let session = |id: &str, email: Value, phone: &str| json!({
            "id": format!("evt_{id}"), "object": "event", "type": "checkout.session.completed",
            "created": story.now().timestamp(), "livemode": false,
            "data": {"object": {"object": "checkout.session", "id": id, "customer": null, "payment_status": "paid",
                "customer_details": {"email": email, "phone": phone, "name": "Guest"},
                "metadata": {"timezone": "America/Chicago"}}},
        });
        assert!(deliver(&story, &session("cs_test_1", json!("Ann@Example.com"), ADA)).await.applied);
        assert!(deliver(&story, &session("cs_test_2", Value::Null, BOB)).await.applied);
        assert_eq!(state_of(&story, "guest:ann@example.com"), "enrolled");
        assert_eq!(state_of(&story, "cs_test_2"), "enrolled");
        assert_eq!(crate::welcome::asked(&story).await, 0, "there is no customer to ask for");
        let refund = json!({
            "id": "evt_r", "object": "event", "type": "charge.refunded", "created": story.now().timestamp() + 5, "livemode": false,
            "data": {"object": {"object": "charge", "id": "ch_1", "customer": null, "amount_refunded": 5, "billing_details": {"email": "ann@example.com"}}},
        });
        assert!(deliver(&story, &refund).await.applied);
        story.wait(TimeDelta::hours(3));
        story.process(&[]).await;
        assert_eq!((story.rings_of(ADA), story.rings_of(BOB)), (0, 1));
    }
}
