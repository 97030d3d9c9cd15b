//! Calls by the callee's clock: given, or left open by the phone's number plan.

use callops::domain::campaign::{Rules, ZonePolicy};
use callops::error::Exit;
use callops::store::overview;
use chrono::{DateTime, Utc};

use crate::common::on_both_databases;
use crate::common::story::{Story, at, rules};

/// A phone of Washington, D.C.
const WASHINGTON: &str = "+12025550101";
/// One of San Francisco.
const SAN_FRANCISCO: &str = "+14155550102";
/// A Russian mobile, which may be anywhere from Moscow to Kamchatka.
const RUSSIAN: &str = "+79161234567";

/// A Monday, 10:00 in New York.
const MONDAY_TEN: &str = "2026-11-16T15:00:00Z";

fn by_callee(window: &str) -> Rules {
    let mut rules = Rules { zone_policy: ZonePolicy::Callee, ..rules() };
    rules.schedule.window = window.parse().expect("a window");
    rules
}

/// Why the only person of a campaign was not called at the last check, and when the next one is.
async fn last_check(story: &Story) -> (Option<String>, Option<DateTime<Utc>>) {
    let campaign = story.find_campaign("checkup").await;
    let people = story.write(async |tx| overview::enrollments_after(tx, &campaign.id, ("", ""), 2).await).await;
    assert_eq!(people.len(), 1);
    (people[0].candidate.last_reason.clone(), people[0].candidate.next_check_at)
}

on_both_databases! {
    async fn a_phone_says_where_its_owner_is_and_a_given_zone_knows_better(db) {
        let story = Story::begin(db, MONDAY_TEN).await;
        story.campaign("checkup", &by_callee("09:00-17:00")).await;
        story.contact(WASHINGTON, |_| {}, &["checkup"]).await;
        story.contact(SAN_FRANCISCO, |_| {}, &["checkup"]).await;
        let moved = "+14155550103";
        story.contact(moved, |moved| moved.timezone = Some("America/New_York".to_owned()), &["checkup"]).await;
        let (counts, exit) = story.process(&[]).await;
        assert_eq!((story.rings_of(WASHINGTON), story.rings_of(moved), story.rings()), (1, 1, 2));
        assert_eq!((counts.skipped("outside_window"), exit), (1, Exit::Success), "{counts:?}");
        story.wait_until("2026-11-16T16:59:00Z");
        story.process(&[]).await;
        assert_eq!(story.rings(), 2, "it is a minute to nine in San Francisco");
        story.wait_until("2026-11-16T17:00:00Z");
        story.process(&[]).await;
        assert_eq!((story.rings_of(SAN_FRANCISCO), story.rings()), (1, 3));
    }

    async fn a_corrected_phone_moves_the_zone_at_once(db) {
        let story = Story::begin(db, MONDAY_TEN).await;
        story.campaign("checkup", &by_callee("09:00-17:00")).await;
        let ada = story.contact(SAN_FRANCISCO, |_| {}, &["checkup"]).await;
        story.process(&[]).await;
        assert_eq!(story.rings(), 0);
        assert_eq!(last_check(&story).await, (Some("outside_window".to_owned()), Some(at("2026-11-16T17:00:00Z"))));
        story.correct_phone(&ada, WASHINGTON).await;
        story.process(&[]).await;
        assert_eq!((story.rings_of(WASHINGTON), story.rings()), (1, 1));
    }

    async fn whoever_may_be_in_zones_without_a_common_window_is_not_called_and_it_is_said(db) {
        let story = Story::begin(db, MONDAY_TEN).await;
        story.campaign("checkup", &by_callee("09:00-17:00")).await;
        story.contact(RUSSIAN, |_| {}, &["checkup"]).await;
        let (counts, _) = story.process(&[]).await;
        assert_eq!((counts.skipped("no_common_window"), story.rings()), (1, 0), "{counts:?}");
        // Not a search of a year every minute.
        let in_a_week = Some(at("2026-11-23T15:00:00Z"));
        assert_eq!(last_check(&story).await, (Some("no_common_window".to_owned()), in_a_week));
        story.wait_until("2026-11-17T08:00:00Z");
        let (counts, _) = story.process(&[]).await;
        assert_eq!(counts.skipped("no_common_window"), 0, "{counts:?}");

        let explained = story.run(&["explain", "--contact", RUSSIAN, "--format", "json"]).exits(0).json();
        assert_eq!(explained["contact"]["zones_source"], "number_plan");
        assert_eq!(explained["contact"]["timezone"], serde_json::Value::Null);
        assert!(explained["contact"]["zones"].as_array().expect("zones").len() > 10);
        let campaign = &explained["campaigns"][0];
        assert_eq!((&campaign["first_block"], &campaign["never_because"]), (&"no_common_window".into(), &"no_common_window".into()));
        assert_eq!(campaign["gates"][3]["gate"], "zone");
        let evidence = campaign["gates"][3]["evidence"].as_str().expect("evidence");
        assert!(evidence.contains("more (number_plan); 09:00-17:00 is at no moment in all of them"), "{evidence}");
        let counted = story.run(&["explain", "--campaign", "acme/checkup", "--format", "json"]).exits(0).json();
        assert_eq!(counted["reasons"][0]["reason"], "no_common_window");
        let doctor = story.run(&["doctor", "--format", "json"]);
        assert!(doctor.stdout.contains("09:00-17:00 is open at no moment for anybody enrolled"), "{doctor}");
        let refused = story.run(&["call", RUSSIAN, "--campaign", "acme/checkup"]).exits(4);
        assert!(refused.stderr.contains("gate zone says no_common_window"), "{refused}");

        story.contact(WASHINGTON, |_| {}, &["checkup"]).await;
        let doctor = story.run(&["doctor", "--format", "json"]);
        assert!(doctor.stdout.contains("1 who may be in zones between which 09:00-17:00 has no moment in common"), "{doctor}");

        // A window that is wide enough is open when it is open in each of them: nine in Moscow's west to nine in the east.
        story.campaign("checkup", &by_callee("09:00-21:00")).await;
        story.wait_until("2026-11-18T06:59:00Z");
        story.process(&[]).await;
        assert_eq!(story.rings_of(RUSSIAN), 0);
        story.wait_until("2026-11-18T07:00:00Z");
        story.process(&[]).await;
        assert_eq!(story.rings_of(RUSSIAN), 1);
        let call = story.calls().await.into_iter().find(|call| call.phone == RUSSIAN).expect("a call");
        assert_eq!(call.slot_key, "2026-11-18");
    }

    async fn a_campaign_on_its_own_clock_asks_no_number_plan(db) {
        let story = Story::begin(db, MONDAY_TEN).await;
        story.campaign("checkup", &rules()).await;
        story.contact(RUSSIAN, |_| {}, &["checkup"]).await;
        story.process(&[]).await;
        assert_eq!(story.rings_of(RUSSIAN), 1);
    }
}
