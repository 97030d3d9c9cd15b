//! Customers whom another system's queue put into the campaign, or left out of it, and whom Stripe tells of later.

use chrono::TimeDelta;
use serde_json::{Value, json};

use super::{ADA, BOB, begin, customer, deliver, happen, run_until, state_of, told, welcome_of};
use crate::common::on_both_databases;
use crate::common::story::Story;

/// Takes a queue over; rows of phone, status and customer.
fn take_over(story: &Story, rows: &[(&str, &str, &str)]) {
    let mut lines = vec!["phone_number,status,created_at,stripe_customer_id,welcome_call_completed".to_owned()];
    for (phone, status, id) in rows {
        lines.push(format!("{phone},{status},2026-11-10 12:00:00+00,{id},f"));
    }
    story.scratch().write("queue.csv", lines.join("\n") + "\n");
    story.run(&["import-queue", "queue.csv", "--campaign", "acme/welcome"]).success();
}

fn active(story: &Story) -> Vec<Value> {
    let args = ["list", "enrollments", "--campaign", "acme/welcome", "--status", "active", "--format", "json"];
    story.run(&args).success().json().as_array().expect("a list").clone()
}

/// Goes on until whoever is due was called, and a day more.
async fn two_days(story: &Story) {
    run_until(story, "2026-11-18T20:00:00Z", 60).await;
}

on_both_databases! {
    async fn a_refund_takes_out_whom_the_queue_enrolled_before_and_after_their_payment_was_told(db) {
        let story = begin(db).await;
        take_over(&story, &[(ADA, "pending", "cus_7"), (BOB, "pending", "cus_8"), ("+12025550103", "pending", "cus_9")]);
        customer(&story, "cus_8", json!({"phone": BOB}));
        assert!(told(&story, "charge_refunded", "cus_7").await.applied);
        assert!(told(&story, "checkout_paid", "cus_8").await.applied);
        assert!(told(&story, "charge_refunded", "cus_8").await.applied);
        assert_eq!((state_of(&story, "cus_7"), state_of(&story, "cus_8")), ("withdrawn".to_owned(), "withdrawn".to_owned()));
        assert_eq!(active(&story).len(), 1);
        // Who pays again is welcome.
        customer(&story, "cus_7", json!({"phone": ADA}));
        let again = happen(&story, json!({"kind": "invoice_paid", "customer": "cus_7", "object": "in_again"})).await;
        assert!(deliver(&story, &again).await.applied);
        assert_eq!(state_of(&story, "cus_7"), "enrolled");
        two_days(&story).await;
        assert_eq!((story.rings_of(ADA), story.rings_of(BOB), story.rings()), (1, 0, 2));
    }

    async fn a_customer_of_the_queue_with_another_phone_at_stripe_is_in_the_campaign_once(db) {
        let story = begin(db).await;
        take_over(&story, &[(ADA, "pending", "cus_7"), ("+12025550103", "pending", "cus_9")]);
        customer(&story, "cus_7", json!({"phone": BOB}));
        assert!(told(&story, "checkout_paid", "cus_7").await.applied);
        let active_now = active(&story);
        assert_eq!(active_now.len(), 2, "{active_now:?}");
        // And who cannot be called by what Stripe says stays in as the queue said.
        customer(&story, "cus_9", json!({}));
        told(&story, "checkout_paid", "cus_9").await;
        let kept = welcome_of(&story, "cus_9");
        assert_eq!((&kept["status"], &kept["phone"]), (&json!("enrolled"), &json!("+12025550103")), "{kept}");
        assert!(told(&story, "charge_refunded", "cus_7").await.applied);
        assert_eq!(active(&story).len(), 1);
        two_days(&story).await;
        assert_eq!((story.rings_of(ADA), story.rings_of(BOB), story.rings()), (0, 0, 1));
    }

    async fn whom_the_queue_left_out_is_not_brought_back_by_a_payment_but_by_somebody(db) {
        let story = begin(db).await;
        take_over(&story, &[(ADA, "failed", "cus_7"), (BOB, "cancelled", "cus_8")]);
        customer(&story, "cus_7", json!({"phone": "+12025550103"}));
        customer(&story, "cus_8", json!({"phone": BOB}));
        for id in ["cus_7", "cus_8"] {
            told(&story, "checkout_paid", id).await;
            assert_eq!(state_of(&story, id), "left_out");
        }
        let reason = welcome_of(&story, "cus_7")["reason"].clone();
        assert!(reason.as_str().unwrap().starts_with("failed_elsewhere"), "{reason}");
        assert_eq!(active(&story).len(), 0);
        story.run(&["enroll", BOB, "--campaign", "acme/welcome"]).success();
        told(&story, "invoice_paid", "cus_8").await;
        assert_eq!(state_of(&story, "cus_8"), "enrolled");
        two_days(&story).await;
        assert_eq!((story.rings_of(BOB), story.rings()), (1, 1));
    }

    async fn whom_an_operator_withdrew_stays_out_whatever_they_pay_and_take_back(db) {
        let story = begin(db).await;
        customer(&story, "cus_1", json!({"phone": ADA}));
        told(&story, "checkout_paid", "cus_1").await;
        story.run(&["withdraw", ADA, "--campaign", "acme/welcome"]).success();
        told(&story, "charge_refunded", "cus_1").await;
        story.wait(TimeDelta::minutes(1));
        let again = happen(&story, json!({"kind": "invoice_paid", "customer": "cus_1", "object": "in_again"})).await;
        deliver(&story, &again).await;
        let welcome = welcome_of(&story, "cus_1");
        assert_eq!(welcome["status"], "left_out", "{welcome}");
        assert_eq!(active(&story).len(), 0);
        two_days(&story).await;
        assert_eq!(story.rings(), 0);
    }

    async fn a_queue_that_comes_after_a_refund_leaves_the_customer_out(db) {
        let story = begin(db).await;
        customer(&story, "cus_8", json!({"phone": BOB}));
        assert!(told(&story, "charge_refunded", "cus_7").await.applied);
        assert!(told(&story, "checkout_paid", "cus_8").await.applied);
        assert!(told(&story, "charge_refunded", "cus_8").await.applied);
        // One by the customer's id, one by the phone alone.
        take_over(&story, &[(ADA, "pending", "cus_7"), (BOB, "pending", ""), ("+12025550103", "pending", "cus_9")]);
        assert_eq!(active(&story).len(), 1);
        // Who pays again is welcome.
        customer(&story, "cus_7", json!({"phone": ADA}));
        let again = happen(&story, json!({"kind": "invoice_paid", "customer": "cus_7", "object": "in_again"})).await;
        assert!(deliver(&story, &again).await.applied);
        two_days(&story).await;
        assert_eq!((story.rings_of(ADA), story.rings_of(BOB), story.rings()), (1, 0, 2));
    }
}
