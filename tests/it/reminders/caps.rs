//! How often somebody may be called about one invoice.

use callops::domain::campaign::Rules;
use callops::domain::evidence::RetryPolicy;
use callops::domain::outcome::Outcome;
use callops::domain::reminder::Reminders;
use chrono::TimeDelta;
use serde_json::json;

use super::{ADA, CUSTOMER, begin_with, invoice, last_reason, offsets, put_invoices, reminding, settle};
use crate::common::on_both_databases;
use crate::zoho::sync;

on_both_databases! {
    async fn seven_attempts_in_seven_days_are_the_most(db) {
        let reminders = Reminders { offsets: (0..=20).collect(), max_days_overdue: 40, ..Reminders::default() };
        let story = begin_with(db, reminders.clone()).await;
        // Three attempts a day would be nine in three days.
        let retry = RetryPolicy { on: vec![Outcome::NoAnswer], after_seconds: 3600, max_attempts: 3 };
        story.campaign("reminders", &Rules { retry, ..reminding(reminders) }).await;
        put_invoices(&story, &[invoice("9001", CUSTOMER, "2026-11-20", "10")]);
        story.script(ADA, json!(vec!["customer-did-not-answer"; 60])).await;
        let end = story.now() + TimeDelta::days(16);
        while story.now() < end {
            sync(&story, false).await;
            story.process(&[]).await;
            settle(&story).await;
            story.wait(TimeDelta::minutes(50));
        }
        let dates: Vec<_> = story.sandbox.rings().iter().map(|ring| ring.at.date_naive()).collect();
        for first in &dates {
            let week = dates.iter().filter(|date| **date >= *first && (**date - *first).num_days() < 7).count();
            assert!(week <= 7, "{week} attempts in the week from {first}: {dates:?}");
        }
        assert!(dates.len() > 14, "what is allowed is used: {dates:?}");
    }

    async fn a_conversation_gives_seven_days_of_rest(db) {
        let story = begin_with(db, Reminders::default()).await;
        put_invoices(&story, &[
            invoice("9001", CUSTOMER, "2026-11-20", "10"),
            invoice("9002", CUSTOMER, "2026-11-26", "20"),
        ]);
        let talk = json!({"ended_reason": "customer-ended-call", "ring_seconds": 5, "talk_seconds": 30});
        story.script(ADA, json!([talk, "voicemail", "voicemail", "voicemail", "voicemail", "voicemail"])).await;
        sync(&story, false).await;
        story.process(&[]).await;
        settle(&story).await;
        // The offset of three days of the one falls into the rest; the other one was not spoken of.
        story.wait_until("2026-11-23T15:00:00Z");
        sync(&story, false).await;
        story.process(&[]).await;
        assert_eq!((offsets(&story, "9001").await, offsets(&story, "9002").await), (vec![0], vec![-3]));
        settle(&story).await;
        for (moment, first) in [("2026-11-26T21:00:00Z", vec![0]), ("2026-11-27T15:00:00Z", vec![0, 7])] {
            story.wait_until(moment);
            sync(&story, false).await;
            story.process(&[]).await;
            assert_eq!(offsets(&story, "9001").await, first, "{moment}: {:?}", last_reason(&story, ADA).await);
            settle(&story).await;
        }
    }

    async fn reminders_and_other_campaigns_share_gap_and_daily_cap(db) {
        let story = begin_with(db, Reminders { max_age_seconds: 86_400, ..Reminders::default() }).await;
        story.campaign("checkup", &crate::common::story::rules()).await;
        put_invoices(&story, &[invoice("9001", CUSTOMER, "2026-11-20", "10")]);
        sync(&story, false).await;
        let contacts = story.write(async |tx| callops::store::contacts::contacts_by_phones(tx, "acme", &[ADA], false).await).await;
        story.enroll(&contacts[0], "checkup").await;
        story.process(&[]).await;
        story.process(&[]).await;
        assert_eq!(story.rings_of(ADA), 1, "one live call to a phone");
        settle(&story).await;
        story.process(&[]).await;
        assert_eq!(story.rings_of(ADA), 1, "four hours between two calls, whatever they are about");
        story.wait(TimeDelta::hours(4));
        story.process(&[]).await;
        assert_eq!(story.rings_of(ADA), 2);
    }
}
