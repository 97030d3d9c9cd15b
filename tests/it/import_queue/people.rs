//! Who is called of a queue, and who is not.

use callops::domain::call::{CallStatus, Decision};
use callops::store::Tx;
use serde_json::{Value, json};

use super::{HEADER, content, counts, row, rung, subjects, take_over, welcome, write};
use crate::common::on_both_databases;
use crate::common::story::Story;

fn reason(summary: &Value, line: u64) -> &Value {
    let listed = summary["listed"].as_array().expect("rows");
    &listed.iter().find(|row| row["line"] == line).unwrap_or_else(|| panic!("no line {line} in {summary}"))["reason"]
}

on_both_databases! {
    async fn every_status_means_what_the_table_says(db) {
        let story = welcome(db).await;
        let words = [
            "pending", "queued", "retrying", "Scheduled", "calling", "in progress", "processing", "completed", "done",
            "failed", "cancelled", "canceled", "who knows", "",
        ];
        let mut rows: Vec<String> = words
            .iter()
            .enumerate()
            .map(|(index, word)| row(&format!("(202) 555-01{index:02}"), word, "", "", "false"))
            .collect();
        rows.push(row("(202) 555-0150", "pending", "", "", "t"));
        let file = write(&story, &rows);
        let summary = take_over(&story, &file, &[]).exits(4).json();
        assert_eq!(counts(&summary), [15, 4, 0, 6, 0, 3, 0, 2], "{summary}");
        assert_eq!(summary["may_have_rung"], 3);
        assert_eq!(summary["reasons"], json!({"cancelled": 2, "failed": 1, "no_status": 1, "unknown_status": 1}));
        assert_eq!((reason(&summary, 6), reason(&summary, 11)), (&json!("may_have_rung"), &json!("failed")));

        let calls = story.calls().await;
        assert_eq!(calls.len(), 6);
        for call in calls {
            assert_eq!((call.status, call.decision), (CallStatus::Completed, Some(Decision::CalledElsewhere)));
            assert_eq!((call.reason.as_deref(), call.attempt_count), (Some("called_elsewhere"), 0));
        }
        assert_eq!(rung(&story).await, ["+12025550100", "+12025550101", "+12025550102", "+12025550103"]);

        // Once more, whom it enrolled has had their call.
        let before = content(&story).await;
        let again = take_over(&story, &file, &[]).exits(4).json();
        assert_eq!(counts(&again), [15, 0, 0, 0, 10, 3, 0, 2], "{again}");
        let [contacts, enrollments, calls, slots, imports] = before;
        assert_eq!(content(&story).await, [contacts, enrollments, calls, slots, imports + 1]);
    }

    async fn of_three_duplicates_each_one_is_called(db) {
        let story = welcome(db).await;
        let mut rows = Vec::new();
        for person in 0..4 {
            for copy in 0..3 {
                // The second is the oldest of each.
                let created = ["2026-11-15 10:00:00+00", "2026-11-14 10:00:00+00", ""][copy];
                rows.push(row(&format!("202-555-01{person:02}"), "pending", created, "", "0"));
            }
        }
        let file = write(&story, &rows);
        let summary = take_over(&story, &file, &["--report", "report.csv"]).success().json();
        assert_eq!(counts(&summary), [12, 4, 0, 0, 0, 0, 8, 0], "{summary}");
        let first = &summary["listed"][0];
        assert_eq!(
            first,
            &json!({"line": 2, "phone": "+12025550100", "result": "duplicate", "reason": "same_phone_as_line_3",
                "kept_line": 3, "kept_because": "older"})
        );
        let report = std::fs::read_to_string(story.scratch().path().join("report.csv")).expect("the report");
        assert_eq!(report.lines().count(), 13);
        assert!(report.contains("\n3,+12025550100,enrolled,,,\n4,+12025550100,duplicate,same_phone_as_line_3,3,older\n"), "{report}");
        assert_eq!(rung(&story).await.len(), 4);
        let again = take_over(&story, &file, &[]).success().json();
        assert_eq!(counts(&again), [12, 0, 0, 0, 4, 0, 8, 0], "{again}");
    }

    async fn a_spent_row_wins_over_all_others_of_the_person_wherever_it_stands(db) {
        let story = welcome(db).await;
        let rows = [
            // Pending, then completed.
            row("202-555-0100", "pending", "2026-11-01", "", ""),
            row("202-555-0100", "completed", "2026-11-02", "", ""),
            row("202-555-0100", "pending", "2026-11-03", "", ""),
            // One customer with two phones; the completed one has no usable phone, and the third row shares only a phone.
            row("202-555-0110", "pending", "", "cus_1", ""),
            row("12", "completed", "", "cus_1", ""),
            row("202-555-0110", "retrying", "", "", ""),
            row("202-555-0111", "pending", "", "cus_1", ""),
            // Two phones of a customer who waits.
            row("202-555-0120", "pending", "", "cus_2", ""),
            row("202-555-0121", "pending", "", "cus_2", ""),
            // A zone that cannot be read does not undo the call.
            row("202-555-0130", "pending", "", "", ""),
        ];
        let mars = row("202-555-0130", "done", "", "", "");
        let text = format!("{HEADER},timezone\n{},\n{mars},Mars/Olympus\n", rows.join(",\n"));
        let file = story.scratch().write("queue.csv", text).display().to_string();
        let summary = take_over(&story, &file, &[]).exits(4).json();
        assert_eq!(counts(&summary), [11, 1, 0, 4, 0, 0, 5, 1], "{summary}");
        assert_eq!(reason(&summary, 2), "same_phone_as_line_3");
        assert_eq!(reason(&summary, 10), "same_customer_as_line_9");
        assert_eq!(rung(&story).await, ["+12025550120"]);
    }

    async fn nobody_is_called_by_a_word_that_nobody_knows(db) {
        let story = welcome(db).await;
        let rows = [
            row("202-555-0100", "pending", "", "", ""),
            row("202-555-0100", "vollendet", "", "", ""),
            row("202-555-0101", "pending", "", "", "vielleicht"),
        ];
        let file = write(&story, &rows);
        let summary = take_over(&story, &file, &["--rejects", "rejects.csv"]).exits(4).json();
        assert_eq!(counts(&summary), [3, 0, 0, 0, 0, 1, 0, 2], "{summary}");
        assert_eq!(reason(&summary, 2), "unclear_as_line_3");
        assert_eq!(rung(&story).await, [""; 0]);
        // Mended, the rejects are taken over, and the whole file then.
        let path = story.scratch().path().join("rejects.csv");
        let rejects = std::fs::read_to_string(&path).expect("rejects");
        assert!(rejects.contains(",callops_line,callops_reason\n") && rejects.contains("3,unknown_status"), "{rejects}");
        std::fs::write(&path, rejects.replace("vollendet", "completed").replace("vielleicht", "no")).expect("mended");
        let mended = take_over(&story, "rejects.csv", &[]).success().json();
        assert_eq!(counts(&mended), [2, 1, 0, 1, 0, 0, 0, 0], "{mended}");
        assert_eq!(rung(&story).await, ["+12025550101"]);
    }

    async fn who_failed_is_called_only_when_asked_for(db) {
        let story = welcome(db).await;
        let rows = [
            row("202-555-0100", "failed", "", "cus_1", ""),
            row("202-555-0101", "cancelled", "", "", ""),
            row("202-555-0102", "failed", "", "", ""),
            row("202-555-0102", "pending", "", "", ""),
        ];
        let file = write(&story, &rows);
        let summary = take_over(&story, &file, &[]).success().json();
        assert_eq!(counts(&summary), [4, 1, 0, 0, 0, 2, 1, 0], "{summary}");
        // A list does not bring them back.
        let list = story.scratch().write("list.csv", "phone\n202-555-0100\n202-555-0101\n").display().to_string();
        story.run(&["import-contacts", &list, "--tenant", "acme", "--campaign", "welcome"]).success();
        assert_eq!(rung(&story).await, ["+12025550102"]);
        let retried = take_over(&story, &file, &["--retry-failed"]).success().json();
        assert_eq!(counts(&retried), [4, 1, 0, 0, 1, 1, 1, 0], "{retried}");
        assert_eq!(rung(&story).await, ["+12025550100", "+12025550102"]);
        // Whom a person took out stays out.
        story.run(&["withdraw", "+12025550101", "--campaign", "acme/welcome"]);
        story.run(&["enroll", "+12025550101", "--campaign", "acme/welcome"]).success();
        story.run(&["withdraw", "+12025550101", "--campaign", "acme/welcome"]).success();
        let pending = write(&story, &[row("202-555-0101", "pending", "", "", "")]);
        let stays = take_over(&story, &pending, &[]).success().json();
        assert_eq!((counts(&stays)[5], reason(&stays, 2)), (1, &json!("withdrawn")), "{stays}");
    }

    async fn whoever_was_called_is_never_dialled_whatever_enrols_them(db) {
        let story = welcome(db).await;
        // Known before, and in the campaign; under another phone, too.
        let ada = story.contact("+12025550100", |_| {}, &["welcome"]).await;
        story.contact("+12025550101", |contact| contact.external_id = Some("cus_2".to_owned()), &["welcome"]).await;
        let rows = [
            row("202-555-0100", "completed", "", "", ""),
            row("202-555-0102", "completed", "", "cus_2", ""),
            row("202-555-0103", "calling", "", "cus_3", ""),
        ];
        let file = write(&story, &rows);
        let summary = take_over(&story, &file, &[]).success().json();
        assert_eq!(counts(&summary), [3, 0, 0, 3, 0, 0, 0, 0], "{summary}");
        let phones = ["+12025550100", "+12025550101", "+12025550102", "+12025550103"];
        story.run(&["enroll", phones[2], phones[3], "--campaign", "acme/welcome"]).success();
        let list = story.scratch().write("list.csv", format!("phone\n{}\n", phones.join("\n"))).display().to_string();
        story.run(&["import-contacts", &list, "--tenant", "acme", "--campaign", "welcome"]).success();
        // The same customer under yet another phone, by a list that knows the id.
        let moved = story.scratch().write("moved.csv", "phone,customer_id\n202-555-0104,cus_3\n").display().to_string();
        story.run(&["import-contacts", &moved, "--tenant", "acme", "--campaign", "welcome"]).success();
        for phone in [phones[0], phones[1], phones[2], "+12025550104"] {
            let refused = story.run(&["call", phone, "--campaign", "acme/welcome"]).exits(4);
            assert!(refused.stderr.contains("slot_taken"), "{phone}: {refused}");
            let explained = story.run(&["explain", "--contact", phone, "--format", "json"]).json();
            assert_eq!(explained["campaigns"][0]["first_block"], "slot_taken", "{phone}: {explained}");
        }
        story.correct_phone(&ada, "+12025550199").await;
        assert_eq!(rung(&story).await, [""; 0]);
        assert_eq!(story.calls().await.len(), 4, "three rows, and the other phone of a customer");
    }

    async fn a_customer_is_kept_whichever_row_names_it(db) {
        let story = welcome(db).await;
        let rows = [
            row("202-555-0100", "completed", "", "", ""),
            row("202-555-0100", "pending", "", "cus_0", ""),
            row("202-555-0101", "pending", "2026-11-01", "", ""),
            row("202-555-0101", "pending", "2026-11-02", "cus_1", ""),
            row("202-555-0102", "completed", "", "cus_2", ""),
            row("202-555-0102", "completed", "", "cus_3", ""),
            row("202-555-0103", "completed", "", "cus_3", ""),
        ];
        let file = write(&story, &rows);
        let summary = take_over(&story, &file, &[]).success().json();
        assert_eq!(counts(&summary), [7, 1, 0, 3, 0, 0, 3, 0], "{summary}");
        assert_eq!(subjects(&story).await, ["cus_0", "cus_2", "cus_3"]);
        assert_eq!(rung(&story).await, ["+12025550101"]);
        assert_eq!(subjects(&story).await, ["cus_0", "cus_1", "cus_2", "cus_3"], "our own call is that customer's, too");
    }

    async fn a_customer_that_a_second_file_names_is_added(db) {
        let story = welcome(db).await;
        let rows = [
            row("202-555-0100", "completed", "", "cus_0", ""),
            row("202-555-0101", "pending", "", "cus_1", ""),
            row("202-555-0102", "pending", "", "cus_2", ""),
        ];
        let file = write(&story, &rows);
        take_over(&story, &file, &["--map", "customer_id="]).success();
        assert_eq!(subjects(&story).await, [""; 0]);
        // One of them is called before the second file comes.
        story.run(&["call", "+12025550101", "--campaign", "acme/welcome"]).success();
        let before = content(&story).await;
        let preview = take_over(&story, &file, &["--dry-run"]).success().json();
        assert_eq!(subjects(&story).await, [""; 0]);
        let again = take_over(&story, &file, &[]).success().json();
        assert_eq!((counts(&again), counts(&preview)), ([3, 0, 1, 0, 2, 0, 0, 0], [3, 0, 1, 0, 2, 0, 0, 0]), "{again}");
        assert_eq!(content(&story).await[..4], before[..4]);
        assert_eq!(subjects(&story).await, ["cus_0", "cus_1"]);
        rung(&story).await;
        assert_eq!(subjects(&story).await, ["cus_0", "cus_1", "cus_2"]);
    }

    async fn who_is_unclear_is_known_as_not_to_be_called(db) {
        let story = welcome(db).await;
        let rows = [
            row("202-555-0100", "pending", "", "", ""),
            row("202-555-0100", "vollendet", "", "cus_0", ""),
            row("202-555-0101", "vollendet", "", "cus_1", ""),
        ];
        let file = write(&story, &rows);
        take_over(&story, &file, &["--dry-run"]).exits(4);
        assert_eq!(content(&story).await, [0; 5]);
        let first = take_over(&story, &file, &[]).exits(4).json();
        assert_eq!(counts(&first), [3, 0, 0, 0, 0, 1, 0, 2], "{first}");
        let left_out = |subject: &str| (subject.to_owned(), "withdrawn".to_owned(), Some("unclear_elsewhere".to_owned()));
        assert_eq!(enrolled(&story).await, [left_out("cus_0"), left_out("cus_1")]);
        // A list does not bring them back.
        let list = story.scratch().write("list.csv", "phone\n202-555-0100\n202-555-0101\n").display().to_string();
        story.run(&["import-contacts", &list, "--tenant", "acme", "--campaign", "welcome"]).success();
        assert_eq!(rung(&story).await, [""; 0]);
        // Mended, one was called, and the other one waits.
        let mended = [row("202-555-0100", "pending", "", "cus_0", ""), row("202-555-0101", "done", "", "cus_1", "")];
        let second = take_over(&story, &write(&story, &mended), &[]).success().json();
        assert_eq!(counts(&second), [2, 1, 0, 1, 0, 0, 0, 0], "{second}");
        // Taken back, it is as before, and then as if it had never been.
        let undo = |done: &Value| story.run(&["undo-import", done["import"].as_str().expect("an id"), "--format", "json"]);
        undo(&second).success();
        assert_eq!(enrolled(&story).await, [left_out("cus_0"), left_out("cus_1")]);
        take_over(&story, &write(&story, &mended), &[]).success();
        assert_eq!(rung(&story).await, ["+12025550100"]);
    }

    async fn customers_who_were_called_and_have_no_phone_are_told_of(db) {
        let story = welcome(db).await;
        let rows = [
            row("12", "completed", "", "cus_1", ""),
            row("", "processing", "", "cus_2", ""),
            row("13", "pending", "", "cus_3", ""),
            row("14", "completed", "", "cus_4", ""),
            row("202-555-0104", "pending", "", "cus_4", ""),
        ];
        let output = take_over(&story, &write(&story, &rows), &[]).exits(4);
        let summary = output.json();
        assert_eq!((&summary["unheld"], &summary["unheld_customers"]), (&json!(2), &json!(["cus_1", "cus_2"])), "{summary}");
        assert!(output.stderr.contains("could hold their call: cus_1, cus_2;"), "{output}");
        // Who has a slot by then is not told of.
        let mended = [row("202-555-0101", "completed", "", "cus_1", "")];
        take_over(&story, &write(&story, &mended), &[]).success();
        let again = take_over(&story, &write(&story, &rows), &[]).exits(4).json();
        assert_eq!(again["unheld_customers"], json!(["cus_2"]), "{again}");
    }
}

/// Subject, status and reason of every enrollment.
async fn enrolled(story: &Story) -> Vec<(String, String, Option<String>)> {
    const SQL: &str = "SELECT subject, status, last_reason FROM enrollments ORDER BY subject";
    match &mut story.db().await.read().await.expect("a transaction") {
        Tx::Sqlite(tx) => sqlx::query_as(SQL).fetch_all(&mut **tx).await,
        Tx::Postgres(tx) => sqlx::query_as(SQL).fetch_all(&mut **tx).await,
    }
    .expect("enrollments")
}
