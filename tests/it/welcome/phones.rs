//! Phones that several customers share, that change, and that are known already.

use callops::store::contacts;
use chrono::TimeDelta;
use serde_json::json;

use super::{ADA, BOB, begin, customer, deliver, happen, run_until, state_of, told, welcome_of};
use crate::common::on_both_databases;
use crate::common::story::Story;

async fn contact_of(story: &Story, phone: &str) -> contacts::Contact {
    let mut found = story.write(async |tx| contacts::contacts_with_phone(tx, phone).await).await;
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

on_both_databases! {
    async fn two_customers_with_one_phone_are_one_call_and_the_second_takes_the_place_of_the_first(db) {
        let story = begin(db).await;
        for id in ["cus_1", "cus_2", "cus_3"] {
            customer(&story, id, json!({"phone": ADA}));
            told(&story, "checkout_paid", id).await;
        }
        assert_eq!(["cus_1", "cus_2", "cus_3"].map(|id| state_of(&story, id)), ["enrolled", "same_phone", "same_phone"]);
        assert!(told(&story, "charge_refunded", "cus_1").await.applied);
        assert_eq!(["cus_1", "cus_2", "cus_3"].map(|id| state_of(&story, id)), ["withdrawn", "enrolled", "same_phone"]);
        run_until(&story, "2026-11-18T20:00:00Z", 60).await;
        assert_eq!(story.rings(), 1);
        // Whoever else has the phone comes too late.
        customer(&story, "cus_4", json!({"phone": "(202) 555-0101"}));
        told(&story, "checkout_paid", "cus_4").await;
        assert_eq!(state_of(&story, "cus_4"), "already_called");
        assert!(told(&story, "charge_refunded", "cus_2").await.applied);
        assert_eq!(state_of(&story, "cus_3"), "already_called", "its turn, and the phone rang already");
        run_until(&story, "2026-11-20T20:00:00Z", 60).await;
        assert_eq!(story.rings(), 1);
    }

    async fn who_waits_for_a_phone_has_it_once_the_first_has_another_or_is_deleted_or_was_there_before(db) {
        let story = begin(db).await;
        let phone = |n: usize| format!("+120255501{n:02}");
        for (n, first) in ["cus_moves", "cus_deleted", "cus_before"].into_iter().enumerate() {
            for id in [first, &format!("{first}_next")] {
                customer(&story, id, json!({"phone": phone(n)}));
                told(&story, "checkout_paid", id).await;
            }
            assert_eq!(state_of(&story, &format!("{first}_next")), "same_phone");
        }
        customer(&story, "cus_moves", json!({"phone": phone(9)}));
        customer(&story, "cus_deleted", json!({"deleted": true}));
        customer(&story, "cus_before", json!({"phone": phone(2), "created": "2026-10-31T23:59:59Z"}));
        for (first, state) in [("cus_moves", "enrolled"), ("cus_deleted", "withdrawn"), ("cus_before", "created_before")] {
            told(&story, "invoice_paid", first).await;
            assert_eq!(state_of(&story, first), state);
            assert_eq!(state_of(&story, &format!("{first}_next")), "enrolled", "{first}");
        }
        run_until(&story, "2026-11-18T20:00:00Z", 60).await;
        assert_eq!((story.rings(), [0, 1, 2, 9].map(|n| story.rings_of(&phone(n)))), (4, [1; 4]));
    }

    async fn a_call_of_another_customer_that_may_never_ring_spends_nothing_yet(db) {
        let story = begin(db).await;
        customer(&story, "cus_1", json!({"phone": ADA}));
        told(&story, "checkout_paid", "cus_1").await;
        // What is refused did not ring, and the call waits for another attempt.
        story.fault(json!({"kind": "server_error", "status": 400, "match": {"method": "POST"}}));
        story.wait_until("2026-11-16T15:00:00Z");
        story.process(&[]).await;
        assert_eq!(story.rings(), 0);
        assert_eq!(welcome_of(&story, "cus_1")["call_status"], "scheduled");
        customer(&story, "cus_2", json!({"phone": ADA}));
        told(&story, "checkout_paid", "cus_2").await;
        assert_eq!(state_of(&story, "cus_2"), "same_phone");
        assert!(told(&story, "charge_refunded", "cus_1").await.applied);
        assert_eq!(state_of(&story, "cus_2"), "enrolled");
        story.sandbox.clear_faults();
        run_until(&story, "2026-11-18T20:00:00Z", 60).await;
        assert_eq!(story.rings(), 1);
    }

    async fn a_phone_that_changes_before_the_call_is_the_one_that_rings_and_after_it_none_does(db) {
        let story = begin(db).await;
        customer(&story, "cus_1", json!({"phone": ADA}));
        told(&story, "checkout_paid", "cus_1").await;
        customer(&story, "cus_1", json!({"phone": BOB, "created": "2026-11-16T13:00:00Z"}));
        assert!(told(&story, "invoice_paid", "cus_1").await.applied);
        assert_eq!(welcome_of(&story, "cus_1")["phone"], BOB);
        story.wait_until("2026-11-16T15:00:00Z");
        story.process(&[]).await;
        assert_eq!((story.rings_of(ADA), story.rings_of(BOB)), (0, 1));
        story.wait(TimeDelta::hours(1));
        story.collect().await;
        customer(&story, "cus_1", json!({"phone": "+12025550103", "created": "2026-11-16T13:00:00Z"}));
        told(&story, "subscription_active", "cus_1").await;
        run_until(&story, "2026-11-18T20:00:00Z", 60).await;
        assert_eq!(story.rings(), 1, "once for a customer, whatever the phone");
    }

    async fn a_contact_that_is_known_keeps_what_the_customer_does_not_say(db) {
        let story = begin(db).await;
        let edit = |contact: &mut contacts::Contact| {
            contact.name = Some("Ada Lovelace".to_owned());
            contact.timezone = Some("America/Denver".to_owned());
            contact.timezone_source = Some("given".to_owned());
            contact.external_id = Some("A-1".to_owned());
            r#"{"plan":"gold"}"#.clone_into(&mut contact.attributes);
        };
        // In the campaign already, by a list.
        story.contact(ADA, edit, &["welcome"]).await;
        customer(&story, "cus_1", json!({"phone": ADA, "name": "A. L.", "email": "ada@example.com", "metadata": {"preferred_time": "9:30"}}));
        assert!(told(&story, "checkout_paid", "cus_1").await.applied);
        let contact = contact_of(&story, ADA).await;
        let kept = (contact.name.as_deref(), contact.timezone.as_deref(), contact.external_id.as_deref());
        assert_eq!(kept, (Some("Ada Lovelace"), Some("America/Denver"), Some("A-1")));
        assert_eq!((contact.email.as_deref(), contact.preferred_time.as_deref()), (Some("ada@example.com"), Some("09:30")));
        assert_eq!(contact.attributes, r#"{"plan":"gold"}"#);
        // 09:30 in Denver is 16:30 UTC.
        run_until(&story, "2026-11-16T16:29:00Z", 30).await;
        assert_eq!(story.rings(), 0);
        run_until(&story, "2026-11-18T20:00:00Z", 1440 / 96).await;
        assert_eq!(story.rings(), 1);
        // Another phone of the same customer, who was called as such.
        customer(&story, "cus_1", json!({"phone": BOB, "created": "2026-11-16T13:00:00Z"}));
        deliver(&story, &happen(&story, json!({"kind": "invoice_paid", "customer": "cus_1"})).await).await;
        run_until(&story, "2026-11-20T20:00:00Z", 60).await;
        assert_eq!(story.rings(), 1);
    }
}
