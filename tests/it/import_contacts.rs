//! `import-contacts`: real lists, bad lists, and every row accounted for.

mod corrections;
mod undo;
mod zones;

use std::collections::HashMap;
use std::path::PathBuf;

use callops::domain::phone::Phone;
use callops::store::contacts::{Contact, Filter};
use callops::store::setup::{Account, Campaign, Tenant};
use callops::store::{self, Db, contacts, setup};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::common::{Callops, Output, Scratch, TestDatabase, on_both_databases};

fn example(file: &str) -> String {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/data").join(file).display().to_string()
}

fn now() -> DateTime<Utc> {
    "2026-11-20T12:00:00Z".parse().expect("an instant")
}

async fn open(database: &TestDatabase) -> Db {
    let options = store::Options {
        url: database.url().to_owned(),
        schema: "callops".to_owned(),
        max_connections: 2,
        statement_cache: true,
        create: false,
    };
    Db::connect(&options).await.expect("the database opens")
}

/// A tenant `acme` in the United States with a campaign `checkup`.
async fn set_up(database: &TestDatabase) -> Db {
    let db = open(database).await;
    let tenant = Tenant {
        name: "acme".to_owned(),
        display_name: "Acme Dental".to_owned(),
        region: Some("US".to_owned()),
        timezone: Some("America/New_York".to_owned()),
        settings: "{}".to_owned(),
    };
    let account = Account {
        name: "acme-vapi".to_owned(),
        provider: "vapi".to_owned(),
        settings: json!({"api_key": "env:KEY"}).to_string(),
        max_concurrency: 10,
        calls_per_minute: None,
        org_id: None,
        held_until: None,
        held_reason: None,
        refusals: 0,
    };
    let rules = json!({
        "frequency": "daily",
        "schedule": {"window": "09:00-17:00"},
        "zone_policy": "callee",
        "agent": {},
        "retry": callops::domain::evidence::RetryPolicy::default(),
        "look_back_seconds": 900,
        "answer_timeout_seconds": 600,
        "call_timeout_seconds": 3600
    });
    let campaign = Campaign {
        id: "01JD0000000000000000000000".to_owned(),
        tenant: "acme".to_owned(),
        name: "checkup".to_owned(),
        purpose: "checkup".to_owned(),
        account: "acme-vapi".to_owned(),
        active: false,
        priority: 0,
        rules: rules.to_string(),
        rules_version: 1,
        next_open_at: None,
        last_served_at: DateTime::UNIX_EPOCH,
        held_until: None,
        held_reason: None,
        refusals: 0,
    };
    let mut tx = db.begin().await.expect("a transaction");
    setup::put_account(&mut tx, &account, now()).await.expect("an account");
    setup::put_tenant(&mut tx, &tenant, now()).await.expect("a tenant");
    setup::put_campaign(&mut tx, &campaign, now()).await.expect("a campaign");
    tx.commit().await.expect("a commit");
    db
}

async fn stored(db: &Db) -> Vec<Contact> {
    let mut tx = db.read().await.expect("a transaction");
    contacts::contacts(&mut tx, &Filter { limit: 10_000, ..Filter::default() }).await.expect("contacts")
}

async fn contact(db: &Db, phone: &str) -> Contact {
    stored(db).await.into_iter().find(|contact| contact.phone == phone).unwrap_or_else(|| panic!("no {phone}"))
}

fn all_imports() -> store::listing::Filter {
    store::listing::Filter { limit: 10, ..store::listing::Filter::default() }
}

async fn enrolled(db: &Db) -> usize {
    let mut tx = db.read().await.expect("a transaction");
    let filter =
        Filter { campaign_id: Some("01JD0000000000000000000000".to_owned()), limit: 10_000, ..Filter::default() };
    contacts::contacts(&mut tx, &filter).await.expect("contacts").len()
}

/// The counts of a summary, in the order rows, created, updated, unchanged, skipped, duplicate, rejected. They add up.
fn counts(summary: &Value) -> [u64; 7] {
    let names = ["rows", "created", "updated", "unchanged", "skipped", "duplicate", "rejected"];
    let counts = names.map(|name| summary[name].as_u64().unwrap_or_else(|| panic!("no {name} in {summary}")));
    assert_eq!(counts[0], counts[1..].iter().sum::<u64>(), "{summary}");
    counts
}

fn import<'a>(database: &TestDatabase, args: impl IntoIterator<Item = &'a str>) -> Output {
    let fixed = ["import-contacts", "--tenant", "acme", "--format", "json"];
    database.callops().run(fixed.into_iter().chain(args))
}

fn read_csv(text: &str) -> Vec<HashMap<String, String>> {
    csv::Reader::from_reader(text.as_bytes()).deserialize().map(|row| row.expect("a row")).collect()
}

/// Compares a report with what Google's library makes of every row of the same list.
fn agrees_with_expected(report: &str, file: &str) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/expected");
    let expected = std::fs::read_to_string(folder.join(format!("{file}.expected.csv"))).expect("expected results");
    let (expected, report) = (read_csv(&expected), read_csv(report));
    assert_eq!(expected.len(), report.len());
    for (want, got) in expected.iter().zip(&report) {
        assert_eq!((&want["record"], &want["e164"], &want["ext"]), (&got["record"], &got["e164"], &got["extension"]));
        let result = match (want["class"].as_str(), want["dup_of_first"].as_str()) {
            ("valid", "") => "created",
            ("valid", _) => "duplicate",
            _ => "rejected",
        };
        assert_eq!(got["result"], result, "{want:?}");
        if result == "rejected" {
            assert_eq!(got["reason"], "no_phone");
        }
        if result == "duplicate" {
            let first = want["dup_of_first"].parse::<usize>().expect("a record") - 1;
            assert!(got["reason"].ends_with(&format!("_as_line_{}", report[first]["line"])), "{got:?}");
        }
    }
}

on_both_databases! {
    async fn real_lists_agree_with_googles_library(db) {
        let store = set_up(&db).await;
        for (file, want) in [
            ("us_congress_district_offices", [1312, 1204, 0, 0, 0, 76, 32]),
            ("us_vermont_town_offices", [255, 246, 0, 0, 0, 0, 9]),
        ] {
            let list = example(&format!("{file}.csv"));
            let output = import(&db, [&list, "--campaign", "checkup", "--report", "report.csv"]).exits(4);
            let summary = output.json();
            assert_eq!(counts(&summary), want, "{file}");
            assert_eq!(summary["enrolled"], want[1]);
            let report = std::fs::read_to_string(db.scratch().path().join("report.csv")).expect("a report");
            agrees_with_expected(&report, file);

            // The same list again: nothing new, and nobody is enrolled twice.
            let again = import(&db, [&list, "--campaign", "acme/checkup"]).exits(4).json();
            assert_eq!(counts(&again), [want[0], 0, 0, want[1], 0, want[5], want[6]], "{file}");
            assert_eq!(again["enrolled"], 0);
        }
        let stored = stored(&store).await;
        assert_eq!((stored.len(), enrolled(&store).await), (1450, 1450));
        assert!(stored.iter().all(|contact| contact.version == 1 && Phone::from_e164(&contact.phone).is_ok()));
        let town = contact(&store, "+18028496111").await;
        assert_eq!(town.extension.as_deref(), Some("2"));
        let attributes: Value = serde_json::from_str(&town.attributes).expect("JSON");
        assert_eq!(attributes["Mailing_State"], "VT");
        assert!(attributes["Location 1"].as_str().expect("text").contains('\n'));
        assert!(!town.attributes.contains("\"NULL\""));
    }

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

    async fn rejected_rows_can_be_mended_and_imported_again(db) {
        let store = set_up(&db).await;
        let list = db.scratch().write(
            "list.csv",
            b"\xef\xbb\xbfname;phone;note\r\nAda;802-223-6942;\r\nBob;80226536;\"a;\"\"b\"\"\nc\"\r\nEva;802-755-6100\r\nM\xff;802-467-3717;x\r\nZed;NULL;\r\n",
        );
        let list = list.display().to_string();
        let output = import(&db, [&list, "--rejects", "rejects.csv", "--encoding", "utf-8"]).exits(4);
        assert_eq!(counts(&output.json()), [5, 1, 0, 0, 0, 0, 4]);
        assert_eq!(output.json()["reasons"], json!({"no_phone": 1, "bad_encoding": 1, "ragged_row": 1, "too_short": 1}));
        let path = db.scratch().path().join("rejects.csv");
        let rejects = std::fs::read(&path).expect("rejects");
        let want = b"\xef\xbb\xbfname;phone;note;callops_line;callops_reason\r\nBob;80226536;\"a;\"\"b\"\"\nc\";3;too_short\r\nEva;802-755-6100;;5;ragged_row\r\nM\xff;802-467-3717;x;6;bad_encoding\r\nZed;NULL;;7;no_phone\r\n";
        assert_eq!(String::from_utf8_lossy(&rejects), String::from_utf8_lossy(want));
        assert_eq!(rejects, want);

        let mended = String::from_utf8_lossy(&rejects).replace("80226536;", "802-265-3610;").replace('\u{fffd}', "ü");
        std::fs::write(&path, mended).expect("a file");
        let again = import(&db, ["rejects.csv", "--rejects", "rest.csv"]).exits(4);
        assert_eq!(counts(&again.json()), [4, 3, 0, 0, 0, 0, 1]);
        assert_eq!(contact(&store, "+18022653610").await.attributes, "{\"note\":\"a;\\\"b\\\"\\nc\"}");
        assert_eq!(contact(&store, "+18024673717").await.name.as_deref(), Some("Mü"));
        let rest = std::fs::read_to_string(db.scratch().path().join("rest.csv")).expect("rejects");
        assert_eq!(rest, "\u{feff}name;phone;note;callops_line;callops_reason\r\nZed;NULL;;6;no_phone\r\n");
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

    async fn a_killed_import_leaves_nothing(db) {
        const ROWS: u64 = 20_000;
        let store = set_up(&db).await;
        let rows: Vec<String> = (0..ROWS).map(|i| format!("802-{}-{:04}", 223 + i / 10_000, i % 10_000)).collect();
        let rows = rows.join("\n");
        let list = db.scratch().write("list.csv", format!("phone\n{rows}")).display().to_string();
        let callops = db.callops();
        let mut running = callops.spawn(["import-contacts", &list, "--tenant", "acme", "--report", "report.csv"]);
        // The report grows with every batch, and has its name only once the import is done.
        let report = db.scratch().path().join("report.csv.part");
        let grown = || std::fs::metadata(&report).is_ok_and(|metadata| metadata.len() >= 50_000);
        let is_under_way = (0..60_000).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(1));
            grown()
        });
        assert!(is_under_way, "the import never began to write its report");
        running.kill();
        assert_eq!(running.wait().code(), None, "it was killed before its end");
        assert_eq!(stored(&store).await.len(), 0);
        assert!(!db.scratch().path().join("report.csv").exists());
        let again = import(&db, [list.as_str()]);
        assert_eq!(counts(&again.json())[0], ROWS);
        assert_eq!(counts(&again.json())[1] + counts(&again.json())[6], ROWS);
    }

    async fn a_full_disk_is_an_error_before_anything_is_imported(db) {
        let store = set_up(&db).await;
        let list = example("us_vermont_town_offices.csv");
        for option in ["--report", "--rejects"] {
            let output = import(&db, [&list, option, "/dev/full"]);
            assert!(!matches!(output.code(), Some(0 | 4)), "{output}");
            assert!(output.stderr.contains("cannot write /dev/full: No space left on device"), "{output}");
        }
        assert_eq!(stored(&store).await.len(), 0);
    }

    async fn two_imports_at_once_both_account_for_every_row(db) {
        let store = set_up(&db).await;
        let list = example("us_vermont_town_offices.csv");
        let callops = db.callops();
        let args = ["import-contacts", &list, "--tenant", "acme", "--campaign", "checkup", "--format", "json"];
        let running = [callops.spawn(args), callops.spawn(args), callops.spawn(args)];
        let mut created = 0;
        for one in running {
            let counts = counts(&one.wait().exits(4).json());
            assert_eq!((counts[0], counts[1] + counts[3], counts[6]), (255, 246, 9));
            created += counts[1];
        }
        assert_eq!((created, stored(&store).await.len(), enrolled(&store).await), (246, 246, 246));
    }
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    let bytes: Vec<String> = sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    bytes.concat()
}

/// Checks a list with no database; gives the summary's counts and the whole output.
fn check(list: &[u8], args: &[&str]) -> (Option<[u64; 7]>, Output) {
    let scratch = Scratch::new();
    let path = scratch.write("list.csv", list).display().to_string();
    let fixed = ["--format=json", "import-contacts", &path, "--dry-run"];
    let output = Callops::new(&scratch).run(fixed.into_iter().chain(args.iter().copied()));
    let summary = matches!(output.code(), Some(0 | 4)).then(|| counts(&output.json()));
    (summary, output)
}

#[test]
fn a_list_is_checked_without_tenant_configuration_or_database() {
    let (summary, output) = check(b"phone\n802-223-6942\n802 223 6942 x5\n911\n", &["--region", "US"]);
    assert_eq!(summary, Some([3, 1, 0, 0, 0, 1, 1]));
    assert_eq!(output.code(), Some(4));
    // With no region, national numbers are refused rather than guessed.
    let (summary, output) = check(b"phone\n802-223-6942\n+1 802 223 6942\n", &[]);
    assert_eq!(summary, Some([2, 1, 0, 0, 0, 0, 1]));
    assert_eq!(output.json()["reasons"], json!({"region_needed": 1}));
    // A tenant is needed for the real thing.
    let scratch = Scratch::new();
    let list = scratch.write("list.csv", "phone\n+18022236942\n").display().to_string();
    Callops::new(&scratch).run(["import-contacts", &list]).exits(2);
    // A dry run goes on without the database; the real thing does not.
    let url = scratch.path().join("none.db").display().to_string();
    let callops = Callops::new(&scratch).env("CALLOPS_DATABASE_URL", &url);
    callops.run(["import-contacts", &list, "--tenant", "acme", "--dry-run"]).success();
    callops.run(["import-contacts", &list, "--tenant", "acme"]).exits(6);
    assert!(!scratch.path().join("none.db").exists());
}

#[test]
fn however_a_list_is_written_it_reads_the_same() {
    let list = "name,phone\n\"Ada\nL.\",802-223-6942\nBob,802-265-3610\n";
    for variant in [
        list.to_owned(),
        format!("\u{feff}{list}"),
        list.replace('\n', "\r\n"),
        list.trim_end().to_owned(),
        list.replace(',', ";"),
        list.replace(',', "\t"),
        list.replace(',', "|"),
        format!("sep=;\n{}", list.replace(',', ";")),
        list.replace("\nBob", "\n\n\nBob"),
    ] {
        let (summary, output) = check(variant.as_bytes(), &["--region", "US"]);
        assert_eq!(summary, Some([2, 2, 0, 0, 0, 0, 0]), "{variant:?} {output}");
    }
}

#[test]
fn bad_rows_are_counted_and_said() {
    let mut list = b"name,phone,timezone,preferred_time\n".to_vec();
    for row in [
        "Zoë Ünal,802-223-6942,,".as_bytes(),
        b"short,802-265-3610",
        b"long,802-265-3610,,,,",
        b"nul\0,802-265-3610,,",
        b"latin\xe9,802-265-3610,,",
        b"zone,802-265-3610,America/New York,",
        b"time,802-265-3610,,9am",
        b"float,1.41555E+10,,",
        b"twice,(802) 223-6942,,",
        b"extension,802-223-6942 x7,,",
    ] {
        list.extend_from_slice(row);
        list.push(b'\n');
    }
    list.extend_from_slice(b"open,\"802-265-3610,,\nlost,802-265-3610,,\n");
    let scratch = Scratch::new();
    let path = scratch.write("list.csv", &list).display().to_string();
    let output = Callops::new(&scratch).run([
        "import-contacts",
        &path,
        "--dry-run",
        "--region",
        "US",
        "--report",
        "report.csv",
        "--format",
        "jsonl",
    ]);
    insta::assert_snapshot!(output, @r#"
    exit: 4
    --- stdout
    {"import":null,"file":"[DIR]/list.csv","tenant":null,"campaign":null,"dry_run":true,"rows":11,"created":1,"updated":0,"unchanged":0,"skipped":0,"duplicate":2,"rejected":8,"enrolled":0,"reasons":{"ragged_row":2,"bad_encoding":1,"invalid_preferred_time":1,"invalid_timezone":1,"nul_byte":1,"spreadsheet_damage":1,"unclosed_quote":1}}
    --- stderr
    reading UTF-8, cells parted by `,`
    columns: phone = `phone`, name = `name`, timezone = `timezone`, preferred_time = `preferred_time`; 0 more as attributes
    line 3: the row has 2 cells where the header has 4
    line 4: the row has 6 cells where the header has 4
    line 5: column `name` holds a NUL character
    line 6: column `name` is no text in the list's encoding from its byte 6 on
    line 7: "America/New York" is no IANA time zone (did you mean America/New_York?)
    rejected 8: 2 ragged_row, 1 bad_encoding, 1 invalid_preferred_time, 1 invalid_timezone, 1 nul_byte, 1 spreadsheet_damage, 1 unclosed_quote
    "#);
    let report = std::fs::read_to_string(scratch.path().join("report.csv")).expect("a report");
    insta::assert_snapshot!(report, @r#"
    record,line,result,e164,extension,alternates,reason
    1,2,created,+18022236942,,,
    2,3,rejected,,,,ragged_row
    3,4,rejected,,,,ragged_row
    4,5,rejected,,,,nul_byte
    5,6,rejected,,,,bad_encoding
    6,7,rejected,,,,invalid_timezone
    7,8,rejected,,,,invalid_preferred_time
    8,9,rejected,,,,spreadsheet_damage
    9,10,duplicate,+18022236942,,,same_phone_as_line_2
    10,11,duplicate,+18022236942,7,,same_phone_other_extension_as_line_2
    11,12,rejected,,,,unclosed_quote
    "#);
}

#[test]
fn cells_of_a_megabyte_are_no_trouble() {
    let list = format!("note,phone\n\"{}\",802-223-6942\nx,{}\n", "z\n".repeat(500_000), "8".repeat(1_000_000));
    let (summary, output) = check(list.as_bytes(), &["--region", "US"]);
    assert_eq!(summary, Some([2, 1, 0, 0, 0, 0, 1]));
    assert_eq!(output.json()["reasons"], json!({"not_a_number": 1}));
    assert!(output.stderr.len() < 2000, "{}", output.stderr.len());
}

#[test]
fn what_is_no_list_is_a_usage_error() {
    for (list, says) in [
        (&b""[..], "it is empty"),
        (b"\xef\xbb\xbf\n", "it is empty"),
        (b"PK\x03\x04", "workbook"),
        (b"caf\xe9\n1\n", "the columns are: `café`"),
        (b"\"phone\n1\n2\n", "never closed"),
    ] {
        let (_, output) = check(list, &[]);
        assert_eq!(output.code(), Some(2), "{output}");
        assert!(output.stderr.contains(says) && output.stderr.contains("list.csv"), "{says}: {output}");
    }
    let scratch = Scratch::new();
    let directory = scratch.path().display().to_string();
    let output = Callops::new(&scratch).run(["import-contacts", &directory, "--dry-run"]).exits(2);
    assert!(output.stderr.contains("it is a directory"), "{output}");
    let output = Callops::new(&scratch).run(["import-contacts", "absent.csv", "--dry-run"]).exits(2);
    assert!(output.stderr.contains("absent.csv"), "{output}");
    // A header and nothing else is a list of nobody.
    assert_eq!(check(b"phone,name\n", &[]).0, Some([0; 7]));
}

#[test]
fn a_column_is_named_when_it_is_not_found() {
    let list = b"Name,Mobile #,Office_Fax,Work Fax\nAda,802-223-6942,802-265-3610,802-265-3610\n";
    let (summary, _) = check(list, &["--region", "US", "--map", "phone=Mobile #"]);
    assert_eq!(summary, Some([1, 1, 0, 0, 0, 0, 0]));
    let scratch = Scratch::new();
    let path = scratch.write("list.csv", "Name,Contact,Office_Fax\nAda,802-223-6942,802-265-3610\n");
    let run = |map: &[&str]| {
        let path = path.display().to_string();
        let fixed = ["import-contacts", path.as_str(), "--dry-run"];
        Callops::new(&scratch).run(fixed.into_iter().chain(map.iter().copied()))
    };
    insta::assert_snapshot!(run(&[]), @r#"
    exit: 2
    --- stdout
    --- stderr
    error: [DIR]/list.csv: no column looks like phone numbers; the columns are: `Name`, `Contact`, `Office_Fax`
    hint: say which one it is with --map phone="COLUMN"; a list without a header wants --header no
    "#);
    insta::assert_snapshot!(run(&["--map", "phone=Contacts"]), @r#"
    exit: 2
    --- stdout
    --- stderr
    error: [DIR]/list.csv: there is no column `Contacts` for phone; the columns are: `Name`, `Contact`, `Office_Fax`
    hint: did you mean `--map phone="Contact"`?
    "#);
    insta::assert_snapshot!(run(&["--map", "fone=Contact"]), @r#"
    exit: 2
    --- stdout
    --- stderr
    error: `--map fone=Contact`: there is no field `fone`
    hint: did you mean `--map phone=Contact`?
    "#);
    insta::assert_snapshot!(run(&["--map", "phone"]), @r#"
    exit: 2
    --- stdout
    --- stderr
    error: `--map phone` is not FIELD=COLUMN
    hint: for example --map phone="Mobile #"
    "#);
}

#[test]
fn a_file_is_never_written_over_the_list_or_left_half_done() {
    let scratch = Scratch::new();
    let list = scratch.write("list.csv", "phone\n+18022236942\n").display().to_string();
    for option in ["--rejects", "--report"] {
        let output = Callops::new(&scratch).run(["import-contacts", &list, "--dry-run", option, "list.csv"]).exits(2);
        assert!(output.stderr.contains("is the list itself"), "{output}");
    }
    assert_eq!(std::fs::read_to_string(&list).expect("the list"), "phone\n+18022236942\n");
    let absent = Callops::new(&scratch).run(["import-contacts", &list, "--dry-run", "--report", "no/such/report.csv"]);
    assert!(absent.exits(2).stderr.contains("cannot write no/such/report.csv"));
    let bad = scratch.write("bad.csv", format!("phone\n+18022236942\n\"{}", "z".repeat(17 << 20)));
    let bad = bad.display().to_string();
    let output = Callops::new(&scratch).run(["import-contacts", &bad, "--dry-run", "--report", "report.csv"]).exits(2);
    assert!(output.stderr.contains("line 3: a record is longer than 16 MiB"), "{output}");
    assert!(!scratch.path().join("report.csv").exists() && !scratch.path().join("report.csv.part").exists());
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    fn cell() -> impl Strategy<Value = String> {
        prop_oneof![
            Just("802-223-6942".to_owned()),
            Just("802-223-6942 x2".to_owned()),
            Just("802-265-3610 / 802-223-6942".to_owned()),
            Just("NULL".to_owned()),
            Just("1.4E+10".to_owned()),
            Just("\"".to_owned()),
            Just("\"a\nb\"".to_owned()),
            "[0-9,;\"\n\r +.x\u{0}]{0,14}",
            any::<String>().prop_map(|text| text.chars().take(12).collect()),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

        /// Whatever stands below a header, every record has exactly one line in the report, and the counts add up.
        #[test]
        fn every_record_is_accounted_for(rows in prop::collection::vec(prop::collection::vec(cell(), 1..5), 0..40)) {
            let body: String = rows.iter().map(|row| row.join(",") + "\n").collect();
            let scratch = Scratch::new();
            let path = scratch.write("list.csv", format!("phone,name,x\n{body}")).display().to_string();
            let output = Callops::new(&scratch).run([
                "import-contacts", &path, "--dry-run", "--region", "US", "--report", "report.csv", "--format", "json",
            ]);
            prop_assert!(matches!(output.code(), Some(0 | 4)), "{}", output);
            let counts = counts(&output.json());
            let report = read_csv(&std::fs::read_to_string(scratch.path().join("report.csv")).expect("a report"));
            prop_assert_eq!(report.len() as u64, counts[0]);
            for (index, line) in report.iter().enumerate() {
                prop_assert_eq!(&line["record"], &(index + 1).to_string());
                prop_assert_eq!(line["e164"].is_empty(), line["result"] == "rejected");
            }
            for (verdict, count) in [("created", counts[1]), ("duplicate", counts[5]), ("rejected", counts[6])] {
                prop_assert_eq!(report.iter().filter(|line| line["result"] == verdict).count() as u64, count);
            }
        }
    }
}
