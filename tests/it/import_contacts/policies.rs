//! What becomes of contacts that are there, and what is recorded of an import.

use super::*;

on_both_databases! {
    async fn an_edited_list_updates_and_empty_cells_erase_nothing(db) {
        let store = set_up(&db).await;
        let header = "name,phone,email,timezone,preferred_time,external_id,plan\n";
        let list = db.scratch().write(
            "list.csv",
            format!("{header}Ada,802-223-6942 x1,ada@example.com,America/New_York,9:30,A-1,gold\nBob,802-265-3610,,,,,\n"),
        );
        let list = list.display().to_string();
        let first = import(&db, [&list, "--campaign", "checkup"]).success();
        assert_eq!(counts(&first.json()), [2, 2, 0, 0, 0, 0, 0]);
        // Of Bob no zone is given, and his phone has one.
        assert!(!first.stderr.contains("warning"), "{first}");
        let ada = contact(&store, "+18022236942").await;
        assert_eq!(ada.timezone.as_deref(), Some("America/New_York"));
        assert_eq!(ada.timezone_source.as_deref(), Some("given"));
        assert_eq!(ada.preferred_time.as_deref(), Some("09:30"));
        assert_eq!(ada.external_id.as_deref(), Some("A-1"));

        // Checked and found not to be due: an edit of what decides when it rings makes it due for a check again.
        let mut tx = store.begin().await.expect("a transaction");
        let everybody = "UPDATE enrollments SET next_check_at = NULL";
        match &mut tx {
            store::Tx::Sqlite(tx) => sqlx::query(everybody).execute(&mut **tx).await.map(drop),
            store::Tx::Postgres(tx) => sqlx::query(everybody).execute(&mut **tx).await.map(drop),
        }
        .expect("an update");
        tx.commit().await.expect("a commit");
        db.scratch().write(
            "list.csv",
            format!("{header},802-223-6942,,America/Chicago,,,silver\nBobby,(802) 265-3610,,,,,\n"),
        );
        let second = import(&db, [list.as_str()]).success();
        assert_eq!(counts(&second.json()), [2, 0, 2, 0, 0, 0, 0]);
        let changed = contact(&store, "+18022236942").await;
        assert_eq!(changed.name, ada.name);
        assert_eq!(changed.extension, ada.extension);
        assert_eq!(changed.email, ada.email);
        assert_eq!(changed.timezone.as_deref(), Some("America/Chicago"));
        assert_eq!(changed.attributes, r#"{"plan":"silver"}"#);
        assert_eq!((changed.id, changed.version, changed.import_id), (ada.id, 2, ada.import_id));
        let bob = contact(&store, "+18022653610").await;
        assert_eq!((bob.name.as_deref(), bob.version), (Some("Bobby"), 1));
        let due: Vec<String> = {
            let mut tx = store.read().await.expect("a transaction");
            let later = now() + chrono::TimeDelta::days(36_500);
            let due = store::enrollments::due(&mut tx, "01JD0000000000000000000000", later, 10).await.expect("due");
            due.into_iter().map(|candidate| candidate.phone).collect()
        };
        assert_eq!(due, ["+18022236942"]);
    }

    async fn a_policy_decides_about_contacts_that_are_there(db) {
        let store = set_up(&db).await;
        let list = db.scratch().write("list.csv", "name,phone\nAda,802-223-6942\n").display().to_string();
        import(&db, [list.as_str()]).success();
        db.scratch().write("list.csv", "name,phone\nBob,802-265-3610\nEva,802-223-6942\n");
        let refused = import(&db, [&list, "--on-existing", "fail"]).exits(5);
        assert!(refused.stderr.contains("line 3: +18022236942"), "{refused}");
        assert_eq!(stored(&store).await.len(), 1, "nothing of a refused list is imported");
        let skipped = import(&db, [&list, "--on-existing", "skip", "--campaign", "checkup"]).success();
        assert_eq!(counts(&skipped.json()), [2, 1, 0, 0, 1, 0, 0]);
        assert_eq!(contact(&store, "+18022236942").await.name.as_deref(), Some("Ada"));
        assert_eq!(enrolled(&store).await, 1);
    }

    async fn a_dry_run_counts_and_writes_nothing(db) {
        let store = set_up(&db).await;
        let list = db.scratch().write("list.csv", "name,phone\nAda,802-223-6942\n").display().to_string();
        import(&db, [list.as_str()]).success();
        db.scratch().write("list.csv", "name,phone\nEva,802-223-6942\nBob,802-265-3610\nX,911\n");
        let dry = import(&db, [&list, "--dry-run", "--campaign", "checkup"]).exits(4).json();
        assert_eq!(counts(&dry), [3, 1, 1, 0, 0, 0, 1]);
        assert_eq!((&dry["import"], &dry["dry_run"]), (&Value::Null, &json!(true)));
        assert_eq!(stored(&store).await.len(), 1);
        assert_eq!(contact(&store, "+18022236942").await.name.as_deref(), Some("Ada"));
        assert_eq!(enrolled(&store).await, 0);
        let mut tx = store.read().await.expect("a transaction");
        assert_eq!(store::imports::imports(&mut tx, &all_imports()).await.expect("imports").len(), 1);
    }

    async fn an_import_is_recorded_with_its_file_and_counts(db) {
        let store = set_up(&db).await;
        let list = db.scratch().write("list.csv", "name,phone\nAda,802-223-6942\n").display().to_string();
        let id = import(&db, [list.as_str()]).success().json()["import"].clone();
        let mut tx = store.read().await.expect("a transaction");
        let imports = store::imports::imports(&mut tx, &all_imports()).await.expect("imports");
        drop(tx);
        assert_eq!(imports.len(), 1);
        assert_eq!(json!(imports[0].id), id);
        assert_eq!(imports[0].file_name, "list.csv");
        assert_eq!(imports[0].file_sha256, sha256(b"name,phone
Ada,802-223-6942
"));
        let counts: Value = serde_json::from_str(&imports[0].counts).expect("JSON");
        assert_eq!(counts["created"], 1);
        assert_eq!(contact(&store, "+18022236942").await.import_id, Some(imports[0].id.clone()));
    }

    async fn a_tenant_or_campaign_that_is_not_there_is_named(db) {
        set_up(&db).await;
        let list = db.scratch().write("list.csv", "phone\n802-223-6942\n").display().to_string();
        let output = db.callops().run(["import-contacts", &list, "--tenant", "acmee"]).exits(2);
        assert_eq!(output.stderr, "error: there is no tenant `acmee`\nhint: did you mean `--tenant acme`?\n");
        let output = db.callops().run(["import-contacts", &list, "--tenant", "acme", "--campaign", "chekup"]).exits(2);
        assert_eq!(
            output.stderr,
            "error: tenant acme has no campaign `chekup`\nhint: did you mean `--campaign checkup`?\n"
        );
    }

    async fn a_withdrawn_contact_stays_withdrawn(db) {
        let store = set_up(&db).await;
        let list = db.scratch().write("list.csv", "phone\n802-223-6942\n").display().to_string();
        import(&db, [&list, "--campaign", "checkup"]).success();
        let id = contact(&store, "+18022236942").await.id;
        let campaign = "01JD0000000000000000000000";
        let mut tx = store.begin().await.expect("a transaction");
        assert!(store::enrollments::withdraw(&mut tx, campaign, &id, now()).await.expect("withdrawn"));
        tx.commit().await.expect("a commit");
        let again = import(&db, [&list, "--campaign", "checkup"]).success().json();
        assert_eq!((&again["unchanged"], &again["enrolled"]), (&json!(1), &json!(0)));
        assert_eq!(enrolled(&store).await, 0);
    }
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    let bytes: Vec<String> = sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    bytes.concat()
}
