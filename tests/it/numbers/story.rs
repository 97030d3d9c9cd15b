//! Five clicks within 25 minutes, and what becomes of the five numbers.

use chrono::TimeDelta;
use serde_json::{Value, json};

use super::{at_twilio, audited, begin, check_requests, deleted, listed};
use crate::common::on_both_databases;

fn lines(report: &Value) -> Vec<(&str, &str)> {
    let lines = report["checklist"].as_array().expect("a checklist");
    lines
        .iter()
        .map(|line| (line["check"].as_str().expect("a check"), line["verdict"].as_str().expect("a word")))
        .collect()
}

on_both_databases! {
    async fn five_numbers_become_the_one_that_is_used(db) {
        let story = begin(db).await;
        story.sandbox.twilio(json!({"story": "five-numbers"})).expect("a story");
        let used = at_twilio(&story).await.into_iter().filter(|(_, name)| name == "Acme Dental").count();
        assert_eq!(used, 5);

        let drift = story.run(&["reconcile-twilio", "--format", "json"]).exits(3).json();
        let kinds: Vec<&str> = drift.as_array().expect("rows").iter().filter_map(|row| row["kind"].as_str()).collect();
        assert_eq!(kinds.iter().filter(|kind| **kind == "twilio_only").count(), 5);
        assert_eq!(kinds.iter().filter(|kind| **kind == "unattributed").count(), 12);
        assert_eq!(kinds.len(), 17);

        let found = story.run(&["detect-duplicates", "--kind", "numbers", "--format", "json"]).exits(3).json();
        let [finding] = &found.as_array().expect("rows")[..] else { panic!("{found}") };
        assert_eq!((&finding["tenant"], &finding["count"]), (&json!("acme"), &json!(5)));
        assert_eq!(finding["minutes_between"].as_f64(), Some(25.0), "{finding}");

        let plan = story.run(&["release-duplicate-numbers", "--format", "json"]).exits(3).json();
        let plan = plan["plan"].as_array().expect("a plan");
        let kept: Vec<&Value> = plan.iter().filter(|row| row["verdict"] == "KEEP").collect();
        assert_eq!((plan.len(), kept.len()), (5, 1));
        let keeper = kept[0]["sid"].as_str().expect("a SID");
        assert!(kept[0]["reasons"].as_str().expect("reasons").contains("2 calls in 30 days"), "{}", kept[0]);
        assert!(kept[0]["reasons"].as_str().expect("reasons").contains("known to acme-vapi (pn-acme)"), "{}", kept[0]);
        assert_eq!(deleted(&story), Vec::<String>::new(), "a plan releases nothing");

        let report = story.run(&["release-duplicate-numbers", "--yes", "--format", "json"]).success().json();
        assert_eq!(report["saving_per_month"], "20.00");
        assert!(lines(&report).iter().all(|(_, verdict)| *verdict == "ok"), "{report}");
        assert_eq!(lines(&report).len(), 5);
        let gone = deleted(&story);
        assert_eq!(gone.len(), 4);
        assert!(!gone.iter().any(|sid| sid == keeper));
        let left: Vec<String> =
            at_twilio(&story).await.into_iter().filter(|(_, name)| name == "Acme Dental").map(|(sid, _)| sid).collect();
        assert_eq!(left, [keeper]);
        for sid in &gone {
            assert_eq!(audited(&story, sid), ["intend-release", "release-number"]);
        }
        let active: Vec<Value> = listed(&story, "acme").into_iter().filter(|row| row["status"] == "active").collect();
        assert_eq!(active.len(), 1);
        assert_eq!((&active[0]["sid"], &active[0]["is_tenants_number"]), (&json!(keeper), &json!(true)));

        story.wait(TimeDelta::minutes(5));
        let again = story.run(&["release-duplicate-numbers", "--yes"]).success();
        assert!(again.to_string().contains("no business has numbers to release"), "{again}");
        story.run(&["reconcile-twilio"]).success();
        story.run(&["detect-duplicates", "--kind", "numbers"]).success();
        assert_eq!(deleted(&story).len(), 4);
        let have = story.run(&["provision-number", "--tenant", "acme", "--yes"]).success();
        assert!(have.to_string().contains("has +1802"), "{have}");
        assert_eq!(crate::numbers::bought(&story), Vec::<String>::new());
        check_requests(&story, 20).await;
    }
}
