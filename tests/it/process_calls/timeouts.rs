//! How long attempts may go unheard of and conversations may last: a campaign's own word, its tenant's, or the default.

use callops::domain::campaign::Rules;
use chrono::TimeDelta;
use serde_json::{Value, json};

use crate::common::on_both_databases;
use crate::common::story::{Story, rules};

const ADA: &str = "+12025550101";
const BOB: &str = "+12025550102";

/// A Monday, 10:00 in New York.
const MONDAY_TEN: &str = "2026-11-16T15:00:00Z";

fn edit_tenant(story: &Story, more: &str) {
    let tenant = format!("[tenant.acme]\nname = \"Acme\"\nregion = \"US\"\ntimezone = \"America/New_York\"\n{more}");
    story.scratch().write("tenant.toml", &tenant);
    story.run(&["apply", "tenant.toml"]).success();
}

/// The timeouts of the newest attempt to a phone, in seconds, and its deadline as seconds after it was placed.
async fn timeouts(story: &Story, phone: &str) -> (i64, i64, i64) {
    let call = story.calls().await.into_iter().find(|call| call.phone == phone).expect("a call");
    let attempt = story.attempts(&call).await.pop().expect("an attempt");
    let patience = attempt.deadline_at.expect("a deadline") - attempt.placed_at.expect("placed");
    (attempt.answer_timeout_seconds, attempt.call_timeout_seconds, patience.num_seconds())
}

/// The timeouts that `show` tells of a campaign, each with whose it is.
fn shown(story: &Story, campaign: &str) -> [Value; 4] {
    let shown = story.run(&["show", "campaign", campaign, "--format", "json"]).success().json();
    ["answer_timeout", "answer_timeout_source", "call_timeout", "call_timeout_source"].map(|key| shown[key].clone())
}

on_both_databases! {
    async fn a_campaigns_timeouts_win_then_the_tenants_then_the_default(db) {
        let story = Story::begin(db, MONDAY_TEN).await;
        story.campaign("checkup", &rules()).await;
        story.campaign("survey", &Rules { answer_timeout_seconds: Some(120), ..rules() }).await;
        story.contact(ADA, |_| {}, &["checkup"]).await;
        story.contact(BOB, |_| {}, &["survey"]).await;
        story.process(&[]).await;
        assert_eq!(timeouts(&story, ADA).await, (600, 3600, 600));
        assert_eq!(timeouts(&story, BOB).await, (120, 3600, 120));
        assert_eq!(shown(&story, "acme/checkup"), ["10m", "default", "1h", "default"].map(|text| json!(text)));
        assert_eq!(shown(&story, "acme/survey"), ["2m", "campaign", "1h", "default"].map(|text| json!(text)));

        edit_tenant(&story, "answer_timeout = \"5m\"\ncall_timeout = \"30m\"\n");
        assert_eq!(timeouts(&story, ADA).await, (600, 3600, 600), "it was placed before the edit");
        assert_eq!(shown(&story, "acme/checkup"), ["5m", "tenant", "30m", "tenant"].map(|text| json!(text)));
        assert_eq!(shown(&story, "acme/survey"), ["2m", "campaign", "30m", "tenant"].map(|text| json!(text)));
        story.wait(TimeDelta::days(1));
        story.sweep().await;
        story.collect().await;
        story.process(&[]).await;
        assert_eq!(timeouts(&story, ADA).await, (300, 1800, 300));
        assert_eq!(timeouts(&story, BOB).await, (120, 1800, 120));

        edit_tenant(&story, "");
        assert_eq!(shown(&story, "acme/checkup"), ["10m", "default", "1h", "default"].map(|text| json!(text)));
    }
}
