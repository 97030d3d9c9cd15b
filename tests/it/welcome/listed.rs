//! Customers who paid and cannot be called, and payments whose customer cannot be read.

use callops::error::Exit;
use chrono::TimeDelta;
use serde_json::json;

use super::{ADA, asked, begin, check_asked, customer, state_of, told, welcome_of, welcomes};
use crate::common::on_both_databases;

on_both_databases! {
    async fn who_has_no_phone_zone_or_time_is_listed_counted_and_welcomed_once_it_is_mended(db) {
        let story = begin(db).await;
        for (id, known, state, reason) in [
            ("cus_none", json!({}), "no_phone", "there is no phone"),
            ("cus_bad", json!({"phone": "555"}), "no_phone", "\"555\": "),
            ("cus_premium", json!({"phone": "+1 900 555 0123"}), "no_phone", "premium-rate"),
            ("cus_nowhere", json!({"phone": "+80012345678"}), "no_timezone", "no time zone is given"),
            ("cus_zone", json!({"phone": ADA, "metadata": {"timezone": "America/New York"}}), "no_timezone", "timezone: "),
            ("cus_time", json!({"phone": ADA, "metadata": {"preferred_time": "noonish"}}), "unreadable_time", "preferred_time: \"noonish\""),
        ] {
            customer(&story, id, known);
            assert!(told(&story, "checkout_paid", id).await.applied);
            let welcome = welcome_of(&story, id);
            assert_eq!(welcome["status"], state, "{welcome}");
            assert!(welcome["reason"].as_str().unwrap().contains(reason), "{reason}: {welcome}");
        }
        story.wait(TimeDelta::hours(3));
        story.process(&[]).await;
        assert_eq!(story.rings(), 0);
        let listed = story.run(&["list", "welcomes", "--status", "no_timezone", "--format", "json"]).success().json();
        assert_eq!(listed.as_array().map(Vec::len), Some(2), "{listed}");
        let status = story.run(&["status", "--format", "json"]).success().json();
        let counts = |state: &str| status["welcomes"].as_array().unwrap().iter().find(|one| one["status"] == state).map(|one| one["count"].clone());
        assert_eq!((counts("no_phone"), counts("no_timezone"), counts("unreadable_time")), (Some(json!(3)), Some(json!(2)), Some(json!(1))), "{status}");
        let shown = story.run(&["--format", "table", "status"]).success().stdout;
        assert!(shown.contains("welcomes of acme: 3 no_phone, 2 no_timezone, 1 unreadable_time"), "{shown}");
        let doctor = story.spawn_with(&[("ACME_STRIPE_WEBHOOK", "x")], &["doctor", "--format", "json"]).wait();
        let doctor = doctor.json();
        let row = doctor.as_array().unwrap().iter().find(|row| row["check"] == "welcome:acme").unwrap();
        assert_eq!(row["verdict"], "warning", "{row}");
        assert!(row["what"].as_str().unwrap().contains("3 no_phone, 2 no_timezone, 1 unreadable_time"), "{row}");

        customer(&story, "cus_none", json!({"phone": "+12025550111"}));
        customer(&story, "cus_time", json!({"phone": ADA}));
        story.run(&["sync-stripe"]).success();
        assert_eq!((state_of(&story, "cus_none"), state_of(&story, "cus_time")), ("enrolled".to_owned(), "enrolled".to_owned()));
        // The clock of a command goes on while it runs.
        story.wait(TimeDelta::minutes(1));
        story.process(&[]).await;
        assert_eq!(story.rings(), 2);
        check_asked(&story).await;
    }

    async fn a_customer_who_cannot_be_read_waits_and_the_next_run_applies_the_payment(db) {
        let story = begin(db).await;
        customer(&story, "cus_1", json!({"phone": ADA}));
        // Each read is tried three times.
        story.fault(json!({"kind": "server_error", "status": 500, "times": 6, "match": {"method": "GET", "path": "/v1/customers"}}));
        let receipt = told(&story, "checkout_paid", "cus_1").await;
        assert_eq!(receipt.reason.as_deref(), Some("it is stored, and will be applied later"));
        assert_eq!(welcomes(&story).len(), 0);
        let event = story.run(&["show", "event", &receipt.event_id, "--format", "json"]).success().json();
        assert_eq!((&event["status"], &event["tries"]), (&json!("pending"), &json!(1)), "{event}");
        assert!(event["reason"].as_str().unwrap().contains("acme-stripe"), "{event}");
        story.wait(TimeDelta::hours(2));
        let (counts, exit) = story.process(&[]).await;
        assert_eq!((exit, story.rings()), (Exit::Partial, 0), "{counts:?}");
        // Then it can be read: enrolled and called by the same run.
        let (counts, exit) = story.process(&[]).await;
        assert_eq!((exit, counts.get("events_applied")), (Exit::Success, 1), "{counts:?}");
        assert_eq!(story.rings(), 1);
        let before = asked(&story).await;
        story.process(&[]).await;
        assert_eq!(asked(&story).await, before, "a run that finds nothing asks nobody");
    }

    async fn a_payment_of_an_unknown_customer_or_a_refused_key_waits_with_the_reason(db) {
        let story = begin(db).await;
        let event = json!({
            "id": "evt_x", "object": "event", "type": "checkout.session.completed", "created": story.now().timestamp(),
            "livemode": false, "data": {"object": {"object": "checkout.session", "id": "cs_x", "customer": "cus_gone", "payment_status": "paid"}},
        });
        let receipt = crate::welcome::deliver(&story, &event).await;
        let show = || story.run(&["show", "event", &receipt.event_id, "--format", "json"]).success().json();
        assert_eq!(show()["status"], "pending");
        assert!(show()["reason"].as_str().unwrap().contains("knows no customer cus_gone"), "{}", show());
        customer(&story, "cus_gone", json!({"deleted": true}));
        let replayed = story.run(&["replay-events", "--pending", "--format", "json"]).success().json();
        assert_eq!(replayed["failed"], 0, "{replayed}");
        let welcome = welcome_of(&story, "cus_gone");
        assert_eq!((&welcome["status"], &welcome["reason"]), (&json!("withdrawn"), &json!("the customer was deleted at stripe")));
    }
}
