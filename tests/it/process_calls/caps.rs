//! How many calls one phone gets on a day and in a week, whoever asks for them.

use callops::domain::campaign::{Rules, TenantSettings};
use callops::domain::slot::Frequency;
use callops::store::setup::Tenant;
use callops::store::{enrollments, setup};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::common::on_both_databases;
use crate::common::story::{Story, at, rules};

const ADA: &str = "+12025550101";

/// A Monday, 10:00 in New York.
const MONDAY_TEN: &str = "2026-11-16T15:00:00Z";

async fn begin(db: crate::common::TestDatabase, day: Option<i64>, week: Option<i64>) -> Story {
    let story = Story::begin(db, MONDAY_TEN).await;
    let settings = TenantSettings {
        // Nothing but the caps is to hold a second call back.
        min_gap_seconds: Some(0),
        max_calls_per_day: day,
        max_calls_per_week: week,
        ..TenantSettings::default()
    };
    let now = story.now();
    story
        .write(async |tx| {
            let tenant = Tenant {
                name: "acme".to_owned(),
                display_name: "Acme Dental".to_owned(),
                region: Some("US".to_owned()),
                timezone: Some("America/New_York".to_owned()),
                settings: serde_json::to_string(&settings).expect("JSON"),
            };
            setup::put_tenant(tx, &tenant, now).await
        })
        .await;
    story
}

/// A run, and what came of its calls; yields how many of its people were over the cap of a day and of a week.
async fn tick(story: &Story) -> (u64, u64) {
    let (counts, _) = story.process(&[]).await;
    story.wait(TimeDelta::minutes(20));
    story.collect().await;
    (counts.skipped("max_calls_per_day"), counts.skipped("max_calls_per_week"))
}

/// The purposes of the calls in the order in which they were made.
async fn purposes(story: &Story) -> Vec<String> {
    let mut calls = story.calls().await;
    calls.reverse();
    calls.into_iter().map(|call| call.purpose).collect()
}

/// When the contact is looked at again for a campaign.
async fn next_check(story: &Story, campaign: &str, contact: &str) -> Option<DateTime<Utc>> {
    let campaign = story.find_campaign(campaign).await;
    let candidate = story.write(async |tx| enrollments::candidate(tx, &campaign.id, contact).await).await;
    candidate.expect("an enrollment").next_check_at
}

on_both_databases! {
    async fn a_phone_has_one_account_of_calls_for_every_campaign_and_for_operators(db) {
        let story = begin(db, Some(2), Some(3)).await;
        story.campaign("welcome", &Rules { frequency: Frequency::Once, ..rules() }).await;
        story.campaign("newsletter", &Rules { frequency: Frequency::Weekly, ..rules() }).await;
        story.campaign("checkup", &rules()).await;
        story.campaign("survey", &rules()).await;
        let ada = story.contact(ADA, |_| {}, &["welcome", "newsletter"]).await;
        for _ in 0..4 {
            story.script(ADA, json!(["customer-ended-call"])).await;
        }
        // A welcome call, a weekly one, and no third on this day, not by hand either.
        assert_eq!(tick(&story).await, (0, 0));
        assert_eq!(tick(&story).await, (0, 0));
        let called: std::collections::BTreeSet<String> = purposes(&story).await.into_iter().collect();
        assert_eq!(called, ["newsletter".to_owned(), "welcome".to_owned()].into());
        story.enroll(&ada, "survey").await;
        story.enroll(&ada, "checkup").await;
        assert_eq!(tick(&story).await, (2, 0));
        assert_eq!(next_check(&story, "survey", &ada.id).await, Some(at("2026-11-17T14:00:00Z")));
        let refused = story.run(&["call", ADA, "--campaign", "acme/survey"]).exits(4).stderr;
        assert!(refused.contains("gate caps says max_calls_per_day"), "{refused}");

        // The third of the week is an operator's, and counts as well.
        story.wait_until("2026-11-17T14:00:00Z");
        story.run(&["call", ADA, "--campaign", "acme/survey"]).success();
        story.wait(TimeDelta::minutes(20));
        story.collect().await;
        assert_eq!(story.rings_of(ADA), 3);
        assert_eq!(tick(&story).await, (0, 1), "the checkup; the survey's enrollment waits for its next day");
        let monday = Some(at("2026-11-23T14:00:00Z"));
        assert_eq!(next_check(&story, "checkup", &ada.id).await, monday, "Monday's two calls are out then");
        let refused = story.run(&["call", ADA, "--campaign", "acme/checkup"]).exits(4).stderr;
        assert!(refused.contains("gate caps says max_calls_per_week"), "{refused}");
        let explained = story.run(&["explain", "--contact", ADA, "--format", "json"]).success().json();
        let campaign = |name: &str| -> Value {
            let campaigns = explained["campaigns"].as_array().expect("campaigns");
            campaigns.iter().find(|campaign| campaign["campaign"] == name).expect("the campaign").clone()
        };
        let checkup = campaign("acme/checkup");
        assert_eq!(checkup["next_call_at"], "2026-11-23T14:00:00Z");
        let caps = checkup["gates"].as_array().expect("gates").iter().find(|gate| gate["gate"] == "caps").expect("caps");
        assert_eq!(caps["until"], "2026-11-23T05:00:00Z", "midnight in New York");
        assert_eq!(
            caps["evidence"],
            "1 of at most 2 on 2026-11-17, counted until 2026-11-18T05:00:00Z; 3 of at most 3 from 2026-11-11 to 2026-11-17"
        );

        story.wait_until("2026-11-22T21:50:00Z");
        tick(&story).await;
        assert_eq!(story.rings_of(ADA), 3, "Sunday is the seventh date");
        story.wait_until("2026-11-23T14:00:00Z");
        tick(&story).await;
        tick(&story).await;
        assert_eq!(story.rings_of(ADA), 5, "two of a day again");
        tick(&story).await;
        assert_eq!(story.rings_of(ADA), 5);
    }

    async fn attempts_of_one_call_are_one_call_to_the_caps(db) {
        let story = begin(db, None, Some(1)).await;
        story.campaign("checkup", &rules()).await;
        story.contact(ADA, |_| {}, &["checkup"]).await;
        let unheard = "customer-did-not-answer";
        story.script(ADA, json!([unheard, unheard, unheard])).await;
        for _ in 0..3 {
            tick(&story).await;
            story.wait(TimeDelta::hours(2));
        }
        assert_eq!((story.rings_of(ADA), story.calls().await.len()), (3, 1), "tried again within its budget");
        story.wait_until("2026-11-17T15:00:00Z");
        tick(&story).await;
        assert_eq!(story.calls().await.len(), 1);
    }

    /// Both planned before either rang: the one that claims later finds that the phone rang since, whoever it was for.
    async fn plans_of_two_campaigns_make_one_call_where_the_cap_is_one(db) {
        for (day, week) in [(Some(1), None), (None, Some(1))] {
            let story = begin(crate::common::TestDatabase::new(db.backend()), day, week).await;
            story.campaign("checkup", &rules()).await;
            let ada = story.contact(ADA, |_| {}, &["checkup"]).await;
            let stale = story.plan_first().await;
            story.campaign("survey", &rules()).await;
            story.enroll(&ada, "survey").await;
            story.script(ADA, json!(["customer-ended-call"])).await;
            story.run(&["call", ADA, "--campaign", "acme/survey"]).success();
            let claims = std::slice::from_ref(&stale);
            for what in ["while it rings", "when it is over"] {
                let (now, lease_until) = (story.now(), story.now() + TimeDelta::seconds(60));
                let claimed = story
                    .write(async |tx| {
                        callops::store::claims::claim(tx, "acme-vapi", claims, "run-1", lease_until, now).await
                    })
                    .await;
                assert_eq!((claimed.attempts.len(), claimed.phone_taken.len()), (0, 1), "{what}: {claimed:?}");
                story.wait(TimeDelta::minutes(20));
                story.collect().await;
            }
            let (by_day, by_week) = tick(&story).await;
            assert_eq!((by_day + by_week, story.rings_of(ADA)), (1, 1));
        }
    }

    /// People are asked about in batches, and a person with several matters may stand in two of them.
    async fn a_call_counts_once_however_often_its_phone_is_asked_for(db) {
        let story = begin(db, None, None).await;
        story.campaign("checkup", &rules()).await;
        let ada = story.contact(ADA, |_| {}, &["checkup"]).await;
        tick(&story).await;
        let nobody = |n: usize| (format!("nobody-{n}"), format!("+1202555{n:04}"));
        let ada = (ada.id, ADA.to_owned());
        let people: Vec<_> =
            std::iter::once(ada.clone()).chain((1000..1500).map(nobody)).chain(std::iter::once(ada.clone())).collect();
        let now = story.now();
        let histories = story
            .write(async |tx| enrollments::histories(tx, "acme", "checkup", &people, &[], now).await)
            .await;
        assert_eq!(histories[&ada.0].recent.len(), 1);
        let later = now + TimeDelta::days(8);
        let histories = story
            .write(async |tx| enrollments::histories(tx, "acme", "checkup", &people, &[], later).await)
            .await;
        assert!(histories[&ada.0].recent.is_empty() && histories[&ada.0].last.is_some(), "eight days are held");
    }
}
