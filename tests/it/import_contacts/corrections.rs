//! A contact that comes back with another phone, known by its id in the system that it comes from.

use super::*;

const HEADER: &str = "name,phone,external_id\n";

/// Who has which phone, by external id and name, in the order of phones.
async fn people(db: &Db) -> Vec<(String, Option<String>, Option<String>, i64)> {
    stored(db).await.into_iter().map(|c| (c.phone, c.external_id, c.name, c.version)).collect()
}

fn person(phone: &str, id: &str, name: &str, version: i64) -> (String, Option<String>, Option<String>, i64) {
    (phone.to_owned(), Some(id.to_owned()), Some(name.to_owned()), version)
}

async fn due(store: &Db) -> Vec<String> {
    let mut tx = store.read().await.expect("a transaction");
    let later = now() + chrono::TimeDelta::days(36_500);
    let due = store::enrollments::due(&mut tx, "01JD0000000000000000000000", later, 10).await.expect("due");
    due.into_iter().map(|candidate| candidate.phone).collect()
}

async fn nobody_is_due(store: &Db) {
    let mut tx = store.begin().await.expect("a transaction");
    let everybody = "UPDATE enrollments SET next_check_at = NULL";
    match &mut tx {
        store::Tx::Sqlite(tx) => sqlx::query(everybody).execute(&mut **tx).await.map(drop),
        store::Tx::Postgres(tx) => sqlx::query(everybody).execute(&mut **tx).await.map(drop),
    }
    .expect("an update");
    tx.commit().await.expect("a commit");
}

on_both_databases! {
    async fn a_known_id_with_a_new_phone_corrects_the_phone(db) {
        let store = set_up(&db).await;
        let list = db.scratch().write("list.csv", format!("{HEADER}Ada,802-223-6942,A-1\nBob,802-265-3610,B-2\n"));
        let list = list.display().to_string();
        import(&db, [&list, "--campaign", "checkup"]).success();
        let before = contact(&store, "+18022236942").await;
        nobody_is_due(&store).await;
        db.scratch().write("list.csv", format!("{HEADER}Ada L.,802-755-6100,A-1\nBob,802-265-3610,B-2\n"));

        let dry = import(&db, [&list, "--campaign", "checkup", "--dry-run"]).success().json();
        assert_eq!(counts(&dry), [2, 0, 1, 1, 0, 0, 0]);
        assert_eq!(contact(&store, "+18022236942").await, before, "a dry run writes nothing");

        let done = import(&db, [&list, "--campaign", "checkup"]).success().json();
        assert_eq!(counts(&done), [2, 0, 1, 1, 0, 0, 0]);
        assert_eq!(done["enrolled"], 0, "the same person, enrolled already");
        let wanted = [person("+18022653610", "B-2", "Bob", 1), person("+18027556100", "A-1", "Ada L.", 2)];
        assert_eq!(people(&store).await, wanted);
        let after = contact(&store, "+18027556100").await;
        assert_eq!((after.id, after.import_id, after.created_at), (before.id, before.import_id, before.created_at));
        assert_eq!(due(&store).await, ["+18027556100"], "due for a check under the new phone");

        let again = import(&db, [list.as_str()]).success().json();
        assert_eq!(counts(&again), [2, 0, 0, 2, 0, 0, 0]);
        assert_eq!(people(&store).await, wanted, "repeating it changes nothing");
    }

    async fn the_phone_of_somebody_else_is_not_taken(db) {
        let store = set_up(&db).await;
        let list = db.scratch().write("list.csv", format!("{HEADER}Ada,802-223-6942,A-1\nBob,802-265-3610,B-2\nEva,802-755-6100,\n"));
        let list = list.display().to_string();
        import(&db, [list.as_str()]).success();
        let before = people(&store).await;
        db.scratch().write("list.csv", format!("{HEADER}X,911,\nAda,802-265-3610,A-1\nAda,8027556100,A-1\nZed,12,\n"));
        for dry_run in [&["--dry-run"][..], &[], &[]] {
            let args = [list.as_str(), "--rejects", "rejects.csv", "--report", "report.csv"];
            let output = import(&db, args.into_iter().chain(dry_run.iter().copied())).exits(4);
            // The second row for A-1 says nothing about whose row it is: the first one has borne the id already.
            assert_eq!(counts(&output.json()), [4, 0, 1, 0, 0, 0, 3], "{output}");
            assert_eq!(output.json()["reasons"]["external_id_of_another_contact"], 1);
            assert!(output.stderr.contains("line 3: +18022653610 is the phone of another contact"), "{output}");
            let rejects = std::fs::read_to_string(db.scratch().path().join("rejects.csv")).expect("rejects");
            let lines: Vec<&str> = rejects.lines().collect();
            assert_eq!(lines[2], "Ada,802-265-3610,A-1,3,external_id_of_another_contact", "{rejects}");
            assert_eq!(lines.len(), 4, "in the order of the list: {rejects}");
            let report = read_csv(&std::fs::read_to_string(db.scratch().path().join("report.csv")).expect("a report"));
            assert_eq!((&report[1]["result"], &report[1]["reason"]), (&"rejected".into(), &"external_id_of_another_contact".into()));
            // The counts are the same the second time but for the row that was taken over: undo it.
            let mut tx = store.begin().await.expect("a transaction");
            let undo = "UPDATE contacts SET external_id = NULL, name = 'Eva' WHERE phone = '+18027556100'";
            match &mut tx {
                store::Tx::Sqlite(tx) => sqlx::query(undo).execute(&mut **tx).await.map(drop),
                store::Tx::Postgres(tx) => sqlx::query(undo).execute(&mut **tx).await.map(drop),
            }
            .expect("an update");
            tx.commit().await.expect("a commit");
            assert_eq!(people(&store).await, before);
        }
    }

    async fn a_phone_given_up_is_free_for_a_later_row(db) {
        let store = set_up(&db).await;
        let list = db.scratch().write("list.csv", format!("{HEADER}Ada,802-223-6942,A-1\n"));
        let list = list.display().to_string();
        import(&db, [list.as_str()]).success();
        db.scratch().write("list.csv", format!("{HEADER}Ada,802-755-6100,A-1\nNew,802-223-6942,N-3\n"));
        let dry = import(&db, [&list, "--dry-run"]).success().json();
        assert_eq!(counts(&dry), [2, 1, 1, 0, 0, 0, 0]);
        let done = import(&db, [list.as_str()]).success().json();
        assert_eq!(counts(&done), [2, 1, 1, 0, 0, 0, 0]);
        assert_eq!(people(&store).await, [person("+18022236942", "N-3", "New", 1), person("+18027556100", "A-1", "Ada", 2)]);
    }

    async fn a_dry_run_of_a_long_list_counts_as_the_import_does(db) {
        let store = set_up(&db).await;
        let list = db.scratch().write("list.csv", format!("{HEADER}Ada,802-223-6942,A-1\n")).display().to_string();
        import(&db, [list.as_str()]).success();
        // More rows between the two than are looked at together.
        let between = (0..600).map(|n| format!("N,802-456-{n:04},\n")).collect::<Vec<_>>().concat();
        db.scratch().write("list.csv", format!("{HEADER}Ada,802-755-6100,A-1\n{between}New,802-223-6942,N-3\n"));
        let dry = import(&db, [&list, "--dry-run"]).success().json();
        assert_eq!(counts(&dry), [602, 601, 1, 0, 0, 0, 0]);
        assert_eq!(counts(&import(&db, [list.as_str()]).success().json()), counts(&dry));
        assert_eq!(contact(&store, "+18022236942").await.external_id.as_deref(), Some("N-3"));
    }

    async fn an_id_that_the_list_or_the_database_has_twice_identifies_nobody(db) {
        let store = set_up(&db).await;
        let list = db.scratch().write("list.csv", format!("{HEADER}Ada,802-223-6942,H-1\nBob,802-265-3610,H-1\n"));
        let list = list.display().to_string();
        import(&db, [list.as_str()]).success();
        let both = [person("+18022236942", "H-1", "Ada", 1), person("+18022653610", "H-1", "Bob", 1)];
        assert_eq!(people(&store).await, both, "a household");
        assert_eq!(counts(&import(&db, [list.as_str()]).success().json()), [2, 0, 0, 2, 0, 0, 0]);
        db.scratch().write("list.csv", format!("{HEADER}Eva,802-755-6100,H-1\n"));
        assert_eq!(counts(&import(&db, [list.as_str()]).success().json()), [1, 1, 0, 0, 0, 0, 0]);
        assert_eq!(people(&store).await[..2], both);
    }

    async fn contacts_that_are_to_be_left_alone_keep_their_phone(db) {
        let store = set_up(&db).await;
        let list = db.scratch().write("list.csv", format!("{HEADER}Ada,802-223-6942,A-1\n")).display().to_string();
        import(&db, [list.as_str()]).success();
        db.scratch().write("list.csv", format!("{HEADER}Ada,802-755-6100,A-1\n"));
        let skipped = import(&db, [&list, "--on-existing", "skip"]).success().json();
        assert_eq!(counts(&skipped), [1, 0, 0, 0, 1, 0, 0]);
        import(&db, [&list, "--on-existing", "fail"]).exits(5);
        assert_eq!(people(&store).await, [person("+18022236942", "A-1", "Ada", 1)]);
    }
}
