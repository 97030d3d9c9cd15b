//! `undo-import`: what an import wrote is taken back, and nothing else.

use super::*;

const FIRST: &str = "name,phone,external_id,plan,timezone\nAda,802-223-6942,A-1,gold,\nBob,802-265-3610,B-2,,\n";
/// Ada gets another plan, a zone and a new field; Bob another phone; Carl is new.
const SECOND: &str = "name,phone,external_id,plan,timezone,city\nAda L.,802-223-6942,A-1,silver,America/New_York,Barre\n\
                      Bob,802-755-6100,B-2,,,\nCarl,802-467-3717,C-3,,,\n";

fn id_of(output: &Output) -> String {
    output.json()["import"].as_str().expect("an id").to_owned()
}

/// Everybody, but for what tells that they were written.
async fn people(store: &Db) -> Vec<Contact> {
    let strip = |contact: Contact| Contact { version: 0, updated_at: now(), ..contact };
    stored(store).await.into_iter().map(strip).collect()
}

/// Imports both lists; gives the people after the first one, and the second one's id.
async fn import_both(db: &TestDatabase, store: &Db) -> (Vec<Contact>, String) {
    let first = db.scratch().write("first.csv", FIRST).display().to_string();
    let second = db.scratch().write("second.csv", SECOND).display().to_string();
    import(db, [first.as_str()]).success();
    let before = people(store).await;
    let done = import(db, [&second, "--campaign", "checkup"]).success();
    assert_eq!(counts(&done.json()), [3, 1, 2, 0, 0, 0, 0]);
    (before, id_of(&done))
}

fn undo<'a>(db: &TestDatabase, args: impl IntoIterator<Item = &'a str>) -> Output {
    db.callops().run(["undo-import", "--format", "json"].into_iter().chain(args))
}

async fn run_sql(store: &Db, sql: &'static str) {
    let mut tx = store.begin().await.expect("a transaction");
    match &mut tx {
        store::Tx::Sqlite(tx) => sqlx::query(sql).execute(&mut **tx).await.map(drop),
        store::Tx::Postgres(tx) => sqlx::query(sql).execute(&mut **tx).await.map(drop),
    }
    .expect("a statement");
    tx.commit().await.expect("a commit");
}

/// A call to whoever has Carl's phone.
const CALL: &str =
    "INSERT INTO calls (id, tenant, campaign_id, enrollment_id, contact_id, purpose, phone, slot_key, status,
         attempt_count, requested_by, created_at, updated_at)
     SELECT 'call', k.tenant, e.campaign_id, e.id, k.id, 'checkup', k.phone, '2026-11-20', 'completed', 1, 'test',
         e.created_at, e.created_at
     FROM contacts k JOIN enrollments e ON e.contact_id = k.id WHERE k.phone = '+18024673717'";

on_both_databases! {
    async fn what_an_import_wrote_is_taken_back(db) {
        let store = set_up(&db).await;
        let (before, id) = import_both(&db, &store).await;
        let after = people(&store).await;
        assert_eq!(enrolled(&store).await, 3);

        let dry = undo(&db, [id.as_str(), "--dry-run"]).success().json();
        assert_eq!((&dry["removed"], &dry["restored"], &dry["unenrolled"]), (&json!(1), &json!(2), &json!(3)));
        assert_eq!(people(&store).await, after, "a dry run writes nothing");

        let done = undo(&db, [id.as_str()]).success().json();
        assert_eq!((&done["removed"], &done["restored"], &done["unenrolled"]), (&json!(1), &json!(2), &json!(3)));
        assert_eq!(done["kept"], json!([]));
        assert_eq!(people(&store).await, before);
        assert_eq!(enrolled(&store).await, 0);
        let versions: Vec<i64> = stored(&store).await.iter().map(|contact| contact.version).collect();
        assert!(versions.iter().all(|version| *version >= 3), "a claim made before must not ring: {versions:?}");

        let again = undo(&db, [id.as_str()]).success();
        assert!(again.stderr.contains("there is nothing to do"), "{again}");
        let second = db.scratch().path().join("second.csv").display().to_string();
        assert_eq!(counts(&import(&db, [second.as_str()]).success().json()), [3, 1, 2, 0, 0, 0, 0]);
    }

    async fn what_was_changed_since_stays_and_is_listed(db) {
        let store = set_up(&db).await;
        let (_, id) = import_both(&db, &store).await;
        let third = "name,phone,plan\nAda Lovelace,802-223-6942,silver\nCarl Gauss,802-467-3717,\n";
        let third = db.scratch().write("third.csv", third).display().to_string();
        import(&db, [third.as_str()]).success();
        let output = undo(&db, [id.as_str()]).exits(4);
        let done = output.json();
        assert_eq!((&done["removed"], &done["restored"]), (&json!(0), &json!(2)));
        let kept: Vec<(&str, &str)> = done["kept"].as_array().expect("a list").iter()
            .map(|kept| (kept["phone"].as_str().expect("a phone"), kept["reason"].as_str().expect("a reason"))).collect();
        assert_eq!(kept, [("+18022236942", "name was changed since"), ("+18024673717", "changed since")]);
        let ada = contact(&store, "+18022236942").await;
        assert_eq!(ada.name.as_deref(), Some("Ada Lovelace"));
        assert_eq!((ada.timezone, ada.timezone_source), (None, None));
        assert_eq!(ada.attributes, r#"{"plan":"gold"}"#, "gold is back though silver was said again, and no city");
        assert_eq!(contact(&store, "+18022653610").await.name.as_deref(), Some("Bob"));
    }

    async fn a_phone_that_somebody_else_has_now_is_not_given_back(db) {
        let store = set_up(&db).await;
        let (_, id) = import_both(&db, &store).await;
        let third = db.scratch().write("third.csv", "name,phone\nDora,802-265-3610\n").display().to_string();
        assert_eq!(counts(&import(&db, [third.as_str()]).success().json()), [1, 1, 0, 0, 0, 0, 0]);
        let done = undo(&db, [id.as_str()]).exits(4).json();
        assert_eq!(done["kept"][0]["reason"], "another contact has +18022653610 now");
        assert_eq!(contact(&store, "+18027556100").await.name.as_deref(), Some("Bob"));
        assert_eq!(contact(&store, "+18022653610").await.name.as_deref(), Some("Dora"));
    }

    async fn whoever_was_called_since_stays(db) {
        let store = set_up(&db).await;
        let (_, id) = import_both(&db, &store).await;
        let after = people(&store).await;
        run_sql(&store, CALL).await;
        run_sql(&store, "INSERT INTO suppressions (id, tenant, pattern, is_prefix, reason, source, created_at)
            SELECT 's', tenant, phone, FALSE, 'asked', 'test', created_at FROM contacts WHERE phone = '+18024673717'").await;
        let refused = undo(&db, [id.as_str()]).exits(5);
        assert!(refused.stderr.contains("+18024673717") && refused.stderr.contains("--keep-called"), "{refused}");
        assert_eq!(people(&store).await, after, "nothing is undone");

        let done = undo(&db, [id.as_str(), "--keep-called"]).exits(4).json();
        assert_eq!((&done["removed"], &done["restored"], &done["unenrolled"]), (&json!(0), &json!(2), &json!(2)));
        assert_eq!((&done["kept"][0]["phone"], &done["kept"][0]["reason"]), (&json!("+18024673717"), &json!("called")));
        assert_eq!(contact(&store, "+18024673717").await.name.as_deref(), Some("Carl"));
        assert_eq!(enrolled(&store).await, 1);
    }

    async fn whoever_was_tried_again_since_stays(db) {
        let store = set_up(&db).await;
        let first = db.scratch().write("first.csv", FIRST).display().to_string();
        import(&db, [&first, "--campaign", "checkup"]).success();
        run_sql(&store, "INSERT INTO calls (id, tenant, campaign_id, enrollment_id, contact_id, purpose, phone, slot_key,
                 status, attempt_count, requested_by, created_at, updated_at)
             SELECT 'call', k.tenant, e.campaign_id, e.id, k.id, 'checkup', k.phone, '2026-11-20', 'scheduled', 1, 'test',
                 e.created_at, e.created_at
             FROM contacts k JOIN enrollments e ON e.contact_id = k.id WHERE k.phone = '+18022653610'").await;
        let second = db.scratch().write("second.csv", SECOND).display().to_string();
        let id = id_of(&import(&db, [second.as_str()]).success());
        run_sql(&store, "INSERT INTO attempts (id, call_id, number, tenant, phone, purpose, contact_id, contact_version,
                 campaign_id, rules_version, account, state, owner, lease_until, window_closes_at, dial_before,
                 answer_timeout_seconds, call_timeout_seconds, may_have_rung, claimed_at, updated_at)
             SELECT 'attempt', c.id, 2, c.tenant, c.phone, c.purpose, c.contact_id, 1, c.campaign_id, 1, 'acme-vapi', 'ended',
                 'test', i.created_at, i.created_at, i.created_at, 60, 60, TRUE, i.created_at, i.created_at
             FROM calls c, imports i WHERE i.file_name = 'second.csv'").await;
        let refused = undo(&db, [id.as_str()]).exits(5);
        assert!(refused.stderr.contains("+18027556100"), "{refused}");
    }

    async fn whoever_was_taken_out_by_hand_stays_out(db) {
        let store = set_up(&db).await;
        let (_, id) = import_both(&db, &store).await;
        db.callops().run(["withdraw", "+18024673717", "--campaign", "acme/checkup"]).success();
        let done = undo(&db, [id.as_str()]).exits(4).json();
        assert_eq!((&done["removed"], &done["unenrolled"]), (&json!(0), &json!(2)));
        assert_eq!(done["kept"][0]["reason"], "withdrawn since");
        let second = db.scratch().path().join("second.csv").display().to_string();
        assert_eq!(import(&db, [&second, "--campaign", "checkup"]).success().json()["enrolled"], 2);
    }

    async fn phones_go_back_along_a_chain(db) {
        let store = set_up(&db).await;
        let header = "name,phone,external_id\n";
        let first = format!("{header}One,802-223-6942,A-1\nTwo,802-223-6943,A-2\n");
        let first = db.scratch().write("first.csv", first).display().to_string();
        import(&db, [first.as_str()]).success();
        let before = people(&store).await;
        // Each takes the phone of the next, and a new one that of the first.
        let second = format!("{header}Deux,802-223-6944,A-2\nUn,802-223-6943,A-1\nTrois,802-223-6942,A-3\n");
        let second = db.scratch().write("second.csv", second).display().to_string();
        let done = import(&db, [second.as_str()]).success();
        assert_eq!(counts(&done.json()), [3, 1, 2, 0, 0, 0, 0]);
        let done = undo(&db, [id_of(&done).as_str()]).success().json();
        assert_eq!((&done["removed"], &done["restored"]), (&json!(1), &json!(2)));
        assert_eq!(people(&store).await, before);
    }

    async fn imports_are_undone_one_after_the_other(db) {
        let store = set_up(&db).await;
        let first = db.scratch().write("first.csv", FIRST).display().to_string();
        let made = id_of(&import(&db, [first.as_str()]).success());
        let second = db.scratch().write("second.csv", SECOND).display().to_string();
        let changed = id_of(&import(&db, [second.as_str()]).success());
        undo(&db, [changed.as_str()]).success();
        let done = undo(&db, [made.as_str()]).success().json();
        assert_eq!((&done["removed"], &done["kept"]), (&json!(2), &json!([])));
        assert_eq!(stored(&store).await.len(), 0);
    }

    async fn suppressions_outlive_contacts(db) {
        let store = set_up(&db).await;
        let (_, id) = import_both(&db, &store).await;
        run_sql(&store, "INSERT INTO suppressions (id, tenant, pattern, is_prefix, reason, source, created_at)
            SELECT 's', tenant, phone, FALSE, 'asked', 'test', created_at FROM contacts WHERE phone = '+18024673717'").await;
        undo(&db, [id.as_str()]).success();
        let mut tx = store.read().await.expect("a transaction");
        let left = store::suppressions::suppressions_of(&mut tx, "acme", "+18024673717", now()).await.expect("suppressions");
        assert_eq!(left.len(), 1);
    }

    async fn imports_are_listed_and_shown(db) {
        let store = set_up(&db).await;
        let (_, id) = import_both(&db, &store).await;
        let list = db.callops().run(["list", "imports", "--tenant", "acme", "--format", "json"]).success().json();
        let files: Vec<&str> = list.as_array().expect("a list").iter().map(|row| row["file"].as_str().expect("a file")).collect();
        assert_eq!(files, ["second.csv", "first.csv"]);
        assert_eq!((&list[0]["id"], &list[0]["updated"], &list[0]["campaign"]), (&json!(id), &json!(2), &json!("acme/checkup")));
        let shown = db.callops().run(["show", "import", &id, "--format", "json"]).success().json();
        assert_eq!(shown["reading"]["columns"]["phone"], "phone");
        assert_eq!((&shown["reading"]["encoding"], &shown["reading"]["delimiter"]), (&json!("UTF-8"), &json!(",")));
        assert_eq!((&shown["counts"]["created"], &shown["changed"]), (&json!(1), &json!(2)));
        let changes = shown["changes"].as_array().expect("a list");
        let plan = changes.iter().find_map(|row| row["changes"]["attributes"].get("plan")).expect("a change");
        assert_eq!(plan, &json!(["gold", "silver"]));
        undo(&db, [id.as_str()]).success();
        let shown = db.callops().run(["show", "import", &id, "--format", "json"]).success().json();
        assert!(shown["undone_at"].is_string());
        assert_eq!(shown["audit"][0]["action"], "undo-import");
        let missing = undo(&db, ["01JD0000000000000000000009"]).exits(2);
        assert!(missing.stderr.contains("callops list imports"), "{missing}");
    }
}
