//! `status`: every campaign at a glance.

use callops::domain::evidence::Seen;
use callops::domain::outcome::Outcome;
use callops::store::{control, enrollments, runs, setup};
use serde_json::{Value, json};

use crate::common::{TestDatabase, on_both_databases};
use crate::explain::{CHECKUP, FRIDAY, World, at};

fn status(database: &TestDatabase, args: &[&str]) -> crate::common::Output {
    let output = database.callops().run(["--now", FRIDAY, "status"].iter().chain(args));
    output.redact(database.url(), "[database]")
}

on_both_databases! {
    fn a_new_database_has_nothing_to_show(db) {
        insta::allow_duplicates! {
            insta::assert_snapshot!(status(&db, &[]), @r"
            exit: 0
            --- stdout
            database [database] (schema version 5)
            not paused
            process-calls has never run

            --- stderr
            nothing to show
            ");
        }
    }

    async fn campaigns_with_what_today_brought(db) {
        let world = World::new(&db).await;
        world.put_campaign("01JDC000000000000000000002", "acme", "later", &json!({"schedule": {"window": "20:00-21:00"}})).await;
        for number in 1..7 {
            let id = format!("01JDA00000000000000000001{number}");
            world.put_contact(&id, "acme", &format!("+1415555011{number}"), None).await;
            world.enroll(CHECKUP, &id).await;
        }
        let id = |number: u32| format!("01JDA00000000000000000001{number}");
        // Yesterday in New York, though today in UTC: it is not counted.
        let (_, attempt) = world.dial(CHECKUP, &id(1), "2026-11-19", at("2026-11-19T20:00:00Z")).await;
        world.end(&attempt, Outcome::Answered, at("2026-11-20T04:59:00Z")).await;
        for (number, outcome) in [(2, Outcome::Answered), (3, Outcome::Answered), (4, Outcome::Rejected)] {
            let (_, attempt) = world.dial(CHECKUP, &id(number), "2026-11-20", at("2026-11-20T14:30:00Z")).await;
            world.end(&attempt, outcome, at("2026-11-20T14:35:00Z")).await;
        }
        let (_, attempt) = world.dial(CHECKUP, &id(5), "2026-11-20", at("2026-11-20T14:50:00Z")).await;
        let seen = Seen::Unknown { reason: "no answer".to_owned() };
        world.observe(&attempt, seen, at("2026-11-20T14:51:00Z")).await;
        world.dial(CHECKUP, &id(6), "2026-11-20", at("2026-11-20T14:55:00Z")).await;

        let mut tx = world.db.begin().await.expect("a transaction");
        let candidate = enrollments::candidate(&mut tx, CHECKUP, &id(1)).await.expect("a read").expect("enrolled");
        let missed = enrollments::CheckResult {
            enrollment_id: candidate.enrollment_id,
            contact_version: 1,
            reason: "missed_preferred_time",
            next_check_at: Some(at("2026-11-23T14:00:00Z")),
        };
        enrollments::record_checks(&mut tx, &[missed], 99, at(FRIDAY)).await.expect("an update");
        control::pause(&mut tx, "all", Some("fire drill"), at("2026-11-20T14:00:00Z")).await.expect("a pause");
        setup::hold_account(&mut tx, "acme-vapi", at("2026-11-20T16:00:00Z"), "no credits", 1).await.expect("a hold");
        let counts = json!({"placed": 3}).to_string();
        runs::beat(&mut tx, "process-calls", at("2026-11-20T14:59:00Z"), at("2026-11-20T14:59:02Z"), 0, &counts)
            .await
            .expect("a beat");
        tx.commit().await.expect("a commit");

        insta::allow_duplicates! {
            insta::assert_snapshot!(status(&db, &[]).success(), @r"
            exit: 0
            --- stdout
            database [database] (schema version 5)
            PAUSED (all) since 2026-11-20T14:00:00Z: fire drill
            process-calls last ran at 2026-11-20T14:59:00Z, exit 0

             tenant  campaign  active  due  live  unknown  done today  failed today  missed  open   next open at          held until            held reason
             acme    checkup   true    1    1     1        2           1             1       true                         2026-11-20T16:00:00Z  no credits
             acme    later     true    0    0     0        0           0             0       false  2026-11-21T01:00:00Z  2026-11-20T16:00:00Z  no credits
            --- stderr
            ");
        }
        let record = status(&db, &["--format", "json"]).success().json();
        let keys: Vec<&String> = record.as_object().expect("an object").keys().collect();
        assert_eq!(keys, ["database", "at", "paused", "campaigns", "process_calls", "findings", "welcomes"]);
        assert_eq!(record["database"]["kind"], json!(db.backend().to_string()));
        assert_eq!(record["process_calls"]["counts"], json!({"placed": 3}));
        // Ann's check is due; the others were called, and are looked at tomorrow.
        assert_eq!(record["campaigns"][0]["due"], 1);
        let none = status(&db, &["--tenant", "bolt", "--format", "json"]).success().json();
        assert_eq!(none["campaigns"], Value::Array(Vec::new()));
    }

    async fn after_an_edit_everybody_is_due_for_a_check(db) {
        let world = World::new(&db).await;
        let mut tx = world.db.begin().await.expect("a transaction");
        let candidate =
            enrollments::candidate(&mut tx, CHECKUP, "01JDA000000000000000000001").await.expect("a read").expect("enrolled");
        let check = enrollments::CheckResult {
            enrollment_id: candidate.enrollment_id,
            contact_version: 1,
            reason: "already_called",
            next_check_at: None,
        };
        enrollments::record_checks(&mut tx, &[check], 99, at(FRIDAY)).await.expect("an update");
        tx.commit().await.expect("a commit");
        let due = || status(&db, &["--format", "json"]).success().json()["campaigns"][0]["due"].clone();
        assert_eq!(due(), 0);
        world.put_campaign(CHECKUP, "acme", "checkup", &json!({"frequency": "weekly"})).await;
        assert_eq!(due(), 1);
    }

    fn without_a_database_it_names_the_place(db: empty) {
        let output = status(&db, &[]).exits(6);
        assert!(output.stderr.contains("callops init"), "{output}");
    }
}
