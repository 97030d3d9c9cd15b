//! Killed, twice at once, taken back: nobody is called twice for it.

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
}
