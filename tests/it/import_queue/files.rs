//! Files of other systems, good and bad.

use callops::domain::campaign::Rules;
use callops::domain::slot::Frequency;
use serde_json::json;

use super::{HEADER, content, counts, row, rung, take_over, welcome, write};
use crate::common::on_both_databases;
use crate::common::story::rules;

on_both_databases! {
    async fn a_dry_run_says_the_same_and_writes_nothing(db) {
        let story = welcome(db).await;
        let rows = [
            row("202-555-0100", "completed", "", "cus_1", ""),
            row("202-555-0101", "pending", "", "", ""),
            row("202-555-0101", "pending", "", "", ""),
            row("202-555-0102", "failed", "", "", ""),
            row("202-555-0103", "nonsense", "", "", ""),
        ];
        let file = write(&story, &rows);
        let before = content(&story).await;
        let preview = take_over(&story, &file, &["--dry-run"]).exits(4).json();
        assert_eq!(content(&story).await, before);
        assert_eq!(preview["import"], json!(null));
        let mut done = take_over(&story, &file, &[]).exits(4).json();
        assert_eq!(content(&story).await, [4, 4, 1, 1, 1]);
        assert_eq!(counts(&preview), counts(&done));
        done["import"] = json!(null);
        done["dry_run"] = json!(true);
        assert_eq!(preview, done);
        let preview = take_over(&story, &file, &["--dry-run"]).exits(4).json();
        assert_eq!(counts(&preview), [5, 0, 1, 0, 1, 1, 1, 1], "{preview}");
    }

    async fn the_example_is_taken_over_as_the_documentation_says(db) {
        let story = welcome(db).await;
        let example = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/call_queue.csv");
        let summary = take_over(&story, example, &[]).success().json();
        assert_eq!(counts(&summary), [10, 2, 0, 4, 0, 2, 2, 0], "{summary}");
        assert_eq!(rung(&story).await, ["+12025550112", "+12025550118"]);
    }

    async fn what_is_no_queue_is_refused_with_what_to_do(db) {
        let story = welcome(db).await;
        story.campaign("checkup", &Rules { frequency: Frequency::Daily, ..rules() }).await;
        let before = content(&story).await;
        let wrong = |file: &str, text: &str, more: &[&str], wanted: &str| {
            let path = story.scratch().write(file, text).display().to_string();
            let output = take_over(&story, &path, more).exits(2);
            assert!(output.stderr.contains(wanted), "{wanted}: {output}");
        };
        let good = "phone,status\n202-555-0100,pending\n";
        wrong("a.csv", "phone,name\n202-555-0100,Ada\n", &[], "no column says who was called");
        wrong("b.csv", "id,status\n1,pending\n", &[], "no column looks like phone numbers");
        wrong("c.csv", good, &["--map", "status=Zustand"], "there is no column `Zustand` for status");
        wrong("d.csv", good, &["--map", "stats=status"], "did you mean `--map status=status`?");
        wrong("e.csv", good, &["--map", "status=status", "--map", "status=phone"], "status is mapped twice");
        wrong("f.csv", "", &[], "f.csv");
        let path = story.scratch().write("g.csv", good).display().to_string();
        let output = story.run(&["import-queue", &path, "--campaign", "acme/checkup"]).exits(2);
        assert!(output.stderr.contains("calls people daily") && output.stderr.contains("frequency = \"once\""), "{output}");
        story.run(&["import-queue", &path, "--campaign", "acme/welcom"]).exits(2);
        story.run(&["import-queue", "absent.csv", "--campaign", "acme/welcome"]).exits(2);
        assert_eq!(content(&story).await, before);
    }

    async fn a_queue_from_standard_input_and_of_another_encoding_is_read(db) {
        let story = welcome(db).await;
        let text = format!("{HEADER}\r\n{}\r\n", row("202-555-0100", "pending", "", "", "f"));
        let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let database = story.end().await;
        let callops = database.callops().stdin([vec![0xff, 0xfe], utf16].concat());
        let output = callops.run(["import-queue", "-", "--campaign", "acme/welcome", "--format", "json"]);
        assert_eq!(counts(&output.success().json()), [1, 1, 0, 0, 0, 0, 0, 0]);
    }

    async fn columns_of_other_names_are_mapped_and_the_rest_is_for_the_agent(db) {
        let story = welcome(db).await;
        let text = "Tel;Zustand;Kunde;angelegt;Tarif\n202-555-0100;done;77;2026-11-01;gold\n202-555-0101;PENDING;78;2026-11-01;gold\n";
        let file = story.scratch().write("queue.csv", text).display().to_string();
        let maps = ["--map", "status=Zustand", "--map", "customer_id=kunde", "--map", "created_at=angelegt"];
        let summary = take_over(&story, &file, &maps).success().json();
        assert_eq!(counts(&summary), [2, 1, 0, 1, 0, 0, 0, 0], "{summary}");
        let mut tx = story.db().await.read().await.expect("a transaction");
        let contact = callops::store::contacts::contacts_with_phone(&mut tx, "+12025550101").await.expect("a look").remove(0);
        assert_eq!((contact.external_id.as_deref(), contact.attributes.as_str()), (Some("78"), r#"{"Tarif":"gold"}"#));
    }
}
