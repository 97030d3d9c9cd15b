//! Killed, twice at once, taken back: nobody is called twice for it.

use callops::domain::welcome::WelcomeState;
use callops::store::setup::{self, Account};
use callops::store::welcomes::{self, Welcome};
use callops::store::{contacts, enrollments};
use serde_json::{Value, json};

use super::{content, counts, row, rung, take_over, welcome, write};
use crate::common::on_both_databases;
use crate::common::story::Story;

fn rows() -> Vec<String> {
    vec![
        row("202-555-0100", "completed", "", "cus_1", ""),
        row("202-555-0101", "pending", "", "cus_2", ""),
        row("202-555-0101", "pending", "", "", ""),
        row("202-555-0102", "failed", "", "", ""),
        row("202-555-0103", "processing", "", "", ""),
    ]
}

fn undo(story: &Story, summary: &Value) -> crate::common::Output {
    let id = summary["import"].as_str().expect("an id");
    story.run(&["undo-import", id, "--format", "json"])
}

on_both_databases! {
    #[cfg(feature = "fail-points")]
    async fn killed_anywhere_it_is_whole_or_nothing(db) {
        let story = welcome(db).await;
        let file = write(&story, &rows());
        let log = story.scratch().path().join("points").display().to_string();
        let args = ["import-queue", file.as_str(), "--campaign", "acme/welcome", "--format", "json"];
        story.spawn_with(&[("CALLOPS_FAIL_LOG", log.as_str())], &[&args[..], &["--dry-run"]].concat()).wait().success();
        let before = content(&story).await;
        let passed = std::fs::read_to_string(&log).unwrap_or_default();
        let first = passed.lines().position(|point| point == "queue.spent").expect("the point") + 1;
        // Before the first enrollment, before the end, before the commit: nothing. Behind it: all of it.
        for (later, is_whole) in [(0, false), (1, false), (2, false), (3, true)] {
            let number = (first + later).to_string();
            let killed = story.spawn_with(&[("CALLOPS_FAIL_AT", number.as_str())], &args).wait();
            assert_eq!(killed.code(), None, "{later}: {killed}");
            let wanted = if is_whole { [4, 4, 2, 2, 1] } else { before };
            assert_eq!(content(&story).await, wanted, "killed at point {later}");
        }
        let again = take_over(&story, &file, &[]).success().json();
        assert_eq!(counts(&again), [5, 0, 1, 0, 2, 1, 1, 0], "{again}");
        assert_eq!(rung(&story).await, ["+12025550101"]);
    }

    async fn two_at_once_and_cron_beside_them_make_one(db) {
        let story = welcome(db).await;
        // In the campaign before, and due: cron may be faster than the queue, and then it is one call all the same.
        story.contact("+12025550101", |_| {}, &["welcome"]).await;
        let mut queue = rows();
        queue.extend((10..60).map(|line| row(&format!("202-555-01{line}"), "completed", "", &format!("cus_{line}"), "")));
        let file = write(&story, &queue);
        let args = ["import-queue", file.as_str(), "--campaign", "acme/welcome", "--format", "json"];
        let both: Vec<_> = (0..2).map(|_| story.spawn(&args)).collect();
        let cron: Vec<_> = (0..2).map(|_| story.spawn(&["process-calls"])).collect();
        let both: Vec<Value> = both.into_iter().map(|running| running.wait().success().json()).collect();
        for running in cron {
            running.wait().success();
        }
        let sum: Vec<u64> = counts(&both[0]).iter().zip(counts(&both[1])).map(|(one, other)| one + other).collect();
        assert_eq!((sum[3], sum[4] >= 52), (52, true), "{both:?}");
        assert_eq!(rung(&story).await, ["+12025550101"]);
    }

    async fn it_is_taken_back_whole_until_somebody_was_called(db) {
        let story = welcome(db).await;
        let before = content(&story).await;
        let file = write(&story, &rows());
        let first = take_over(&story, &file, &[]).success().json();
        let undone = undo(&story, &first).success().json();
        assert_eq!((&undone["unspent"], &undone["unenrolled"], &undone["removed"]), (&json!(2), &json!(1), &json!(4)));
        let [contacts, enrollments, calls, slots, imports] = before;
        assert_eq!(content(&story).await, [contacts, enrollments, calls, slots, imports + 1]);

        let second = take_over(&story, &file, &[]).success().json();
        assert_eq!(counts(&second), counts(&first));
        assert_eq!(rung(&story).await, ["+12025550101"]);
        let refused = undo(&story, &second).exits(5);
        assert!(refused.stderr.contains("calls were made since for 1 contacts"), "{refused}");
        assert_eq!(content(&story).await[3], 3, "the slots stay");
    }

    async fn whom_a_payment_put_in_as_well_stays_when_the_queue_is_taken_back(db) {
        let story = welcome(db).await;
        let rows = [row("202-555-0101", "pending", "", "cus_1", ""), row("202-555-0102", "pending", "", "cus_2", "")];
        let done = take_over(&story, &write(&story, &rows), &[]).success().json();
        // As a payment leaves it: one is welcomed by the queue's enrollment, one waits behind somebody with the phone.
        pay(&story, "cus_1", "+12025550101", WelcomeState::Enrolled).await;
        pay(&story, "cus_9", "+12025550102", WelcomeState::SamePhone).await;
        let undone = undo(&story, &done).exits(4).json();
        let kept = json!([
            {"contact": undone["kept"][0]["contact"], "phone": "+12025550101", "reason": "a customer is welcomed by it"},
            {"contact": undone["kept"][1]["contact"], "phone": "+12025550102", "reason": "a customer who paid has its phone"},
        ]);
        assert_eq!((&undone["kept"], &undone["unenrolled"], &undone["removed"]), (&kept, &json!(1), &json!(0)), "{undone}");
        assert_eq!(rung(&story).await, ["+12025550101"]);
    }

    async fn whom_an_import_brought_back_leaves_with_it_and_whom_a_person_did_stays(db) {
        let story = welcome(db).await;
        let rows = [
            row("202-555-0101", "failed", "", "", ""),
            row("202-555-0102", "failed", "", "", ""),
            row("202-555-0103", "failed", "", "", ""),
        ];
        let file = write(&story, &rows);
        let first = take_over(&story, &file, &[]).success().json();
        story.run(&["enroll", "+12025550101", "--campaign", "acme/welcome"]).success();
        story.wait(chrono::TimeDelta::seconds(1));
        let second = take_over(&story, &file, &["--retry-failed"]).success().json();
        assert_eq!(counts(&second), [3, 2, 1, 0, 0, 0, 0, 0], "{second}");
        // Somebody decides about one of the two once more.
        story.wait(chrono::TimeDelta::seconds(1));
        for word in ["withdraw", "enroll"] {
            story.run(&[word, "+12025550103", "--campaign", "acme/welcome"]).success();
        }
        let undone = undo(&story, &second).exits(4).json();
        assert_eq!((&undone["unenrolled"], &undone["kept"][0]["phone"]), (&json!(1), &json!("+12025550103")), "{undone}");
        // The first one, too: whom somebody enrolled since stays.
        let undone = undo(&story, &first).exits(4).json();
        let kept: Vec<_> = undone["kept"].as_array().expect("rows").iter().map(|one| (&one["phone"], &one["reason"])).collect();
        let since = json!("enrolled since");
        assert_eq!(kept, [(&json!("+12025550101"), &since), (&json!("+12025550103"), &since)], "{undone}");
        assert_eq!(undone["removed"], 1, "{undone}");
        assert_eq!(rung(&story).await, ["+12025550101", "+12025550103"]);
    }
}

/// A customer whose payment was told of.
async fn pay(story: &Story, customer: &str, phone: &str, state: WelcomeState) {
    let campaign = story.find_campaign("welcome").await;
    let account = Account {
        name: "acme-stripe".to_owned(),
        provider: "stripe".to_owned(),
        settings: "{}".to_owned(),
        max_concurrency: 10,
        calls_per_minute: None,
        org_id: None,
        held_until: None,
        held_reason: None,
        refusals: 0,
    };
    let now = story.now();
    story
        .write(async |tx| {
            setup::put_account(tx, &account, now).await?;
            let contact = contacts::contacts_with_phone(tx, phone).await?.remove(0);
            let enrollment = enrollments::candidate(tx, &campaign.id, &contact.id).await?;
            let was = welcomes::lock(tx, "acme", customer, "acme-stripe", now).await?;
            let is_enrolled = state == WelcomeState::Enrolled;
            let enrollment_id = enrollment.filter(|_| is_enrolled).map(|one| one.enrollment_id);
            let is = Welcome { state, contact_id: Some(contact.id), enrollment_id, ..was.clone() };
            welcomes::save(tx, &was, &is, now).await
        })
        .await;
}
