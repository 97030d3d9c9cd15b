//! A slot that was spent without an attempt of ours is seen before anybody dials.

use callops::store::spent::{self, Spent};
use callops::store::{contacts, enrollments};
use chrono::TimeDelta;
use serde_json::Value;

use super::{MONDAY_TEN, once};
use crate::common::on_both_databases;
use crate::common::story::Story;

const ADA: &str = "+12025550101";
const BOB: &str = "+12025550102";
const CEM: &str = "+12025550103";

/// Spends the `once` slot of a contact that is enrolled.
async fn spend(story: &Story, contact: &contacts::Contact, subject: Option<&str>) -> String {
    let campaign = story.find_campaign("welcome").await;
    let now = story.now();
    let candidate = story.write(async |tx| enrollments::candidate(tx, &campaign.id, &contact.id).await).await;
    let spent = Spent {
        call_id: story.app.new_id(),
        enrollment_id: candidate.expect("enrolled").enrollment_id,
        contact_id: contact.id.clone(),
        phone: contact.phone.clone(),
        subject: subject.map(str::to_owned),
    };
    story.write(async |tx| spent::spend(tx, &campaign, "once", std::slice::from_ref(&spent), "test", now).await).await;
    spent.call_id
}

async fn last_check(story: &Story, phone: &str) -> (Option<String>, bool) {
    let campaign = story.find_campaign("welcome").await;
    let contact = story.write(async |tx| contacts::contacts_with_phone(tx, phone).await).await.remove(0);
    let one = story.write(async |tx| enrollments::candidate(tx, &campaign.id, &contact.id).await).await;
    let one = one.expect("enrolled");
    (one.last_reason, one.next_check_at.is_some())
}

on_both_databases! {
    async fn whose_slot_is_spent_is_never_due_and_is_told_why(db) {
        let story = Story::begin(db, MONDAY_TEN).await;
        story.campaign("welcome", &once()).await;
        let ada = story.contact(ADA, |_| {}, &["welcome"]).await;
        let call = spend(&story, &ada, Some("cus_1")).await;

        let preview = story.run(&["process-calls", "--dry-run", "--format", "json"]).success().json();
        assert_eq!(preview["not_called"]["slot_taken"], 1, "{preview}");
        let (counts, _) = story.process(&[]).await;
        assert_eq!(counts.skipped("slot_taken"), 1, "{:?}", counts.record());
        // Nobody looks again until something changes.
        assert_eq!(last_check(&story, ADA).await, (Some("slot_taken".to_owned()), false));

        let explained = story.run(&["explain", "--contact", ADA, "--format", "json"]);
        let explained = explained.json();
        let campaign = &explained["campaigns"][0];
        assert_eq!(campaign["first_block"], "slot_taken", "{campaign}");
        assert_eq!((&campaign["next_call_at"], &campaign["never_because"]), (&Value::Null, &"slot_taken".into()));
        assert!(campaign.to_string().contains(&format!("call {call} holds welcome once")), "{campaign}");

        let refused = story.run(&["call", ADA, "--campaign", "acme/welcome"]);
        let refused = refused.exits(4);
        assert!(refused.stderr.contains("slot_taken"), "{}", refused.stderr);
        assert_eq!(story.rings(), 0);
    }

    async fn at_night_nobody_makes_it_a_check_of_every_day(db) {
        // 22:00 in New York: the window speaks first.
        let story = Story::begin(db, "2026-11-17T03:00:00Z").await;
        story.campaign("welcome", &once()).await;
        let ada = story.contact(ADA, |contact| contact.preferred_time = Some("11:00".to_owned()), &["welcome"]).await;
        spend(&story, &ada, None).await;
        story.process(&[]).await;
        for _ in 0..3 {
            story.wait(TimeDelta::hours(13));
            story.process(&[]).await;
        }
        assert!(!last_check(&story, ADA).await.1);
        assert_eq!(story.rings(), 0);
    }

    async fn neither_another_phone_nor_another_contact_of_the_customer_is_called(db) {
        let story = Story::begin(db, MONDAY_TEN).await;
        story.campaign("welcome", &once()).await;
        let ada = story.contact(ADA, |_| {}, &["welcome"]).await;
        spend(&story, &ada, Some("cus_1")).await;
        story.correct_phone(&ada, BOB).await;
        // Somebody else, and somebody who is the same customer under another phone.
        story.contact(ADA, |_| {}, &[]).await;
        let cem = story.contact(CEM, |_| {}, &["welcome"]).await;
        let campaign = story.find_campaign("welcome").await;
        let cem_enrolled = story.write(async |tx| enrollments::candidate(tx, &campaign.id, &cem.id).await).await;
        let mut candidate = cem_enrolled.expect("enrolled");
        "cus_1".clone_into(&mut candidate.subject);
        let mut histories = std::collections::HashMap::from([(cem.id.clone(), enrollments::History::default())]);
        let mut tx = story.db().await.read().await.expect("a transaction");
        enrollments::mark_once_slots(&mut tx, "acme", "welcome", [&candidate], &mut histories).await.expect("a look");
        drop(tx);
        assert!(histories[&cem.id].once_call.is_some(), "the subject has had its call");

        let (counts, _) = story.process(&[]).await;
        assert_eq!(counts.skipped("slot_taken"), 1, "{:?}", counts.record());
        assert_eq!((story.rings_of(ADA), story.rings_of(BOB), story.rings_of(CEM)), (0, 0, 1));
    }
}
