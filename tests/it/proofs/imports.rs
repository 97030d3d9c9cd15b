//! Large imports: killed at any moment they leave nothing, and calls go on beside them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use callops::store::{Db, Tx};
use serde_json::Value;

use super::full_disk::{change, integrity, refuse_writes_after};
use super::stage::{Stage, Template, Wait, ordinary};
use super::{say, seed, size};
#[cfg(feature = "fail-points")]
use crate::common::Condition;
use crate::common::small_disk::{self, Mounting, PAGE};
use crate::common::{Backend, Callops, Output, Running, Scratch, TestDatabase, on_both_databases, unfinished};

/// How long an import of the long form may be silent, in a build that is not optimised.
const PATIENCE: Duration = Duration::from_mins(20);
/// The bytes of a line in the report of a row that made a contact.
const REPORT_LINE_BYTES: u64 = "100000,100001,created,+18022230000,,,\n".len() as u64;

/// A list of so many people, all in Vermont.
fn list(folder: &Path, rows: u64) -> String {
    let mut text = String::from("name,phone,plan,note\n");
    // 555 and what ends in 11 is nobody's.
    let exchanges = (200..1000).filter(|exchange| *exchange != 555 && exchange % 100 != 11);
    let phones = exchanges.flat_map(|exchange| (0..10_000).map(move |line| (exchange, line)));
    for ((exchange, line), row) in phones.zip(0..rows) {
        let _ = writeln!(text, "Zoë {row},802-{exchange}-{line:04},gold,met in {exchange}");
    }
    let path = folder.join("list.csv");
    std::fs::write(&path, text).expect("the list");
    path.display().to_string()
}

/// An import with a report, which shows how far it is.
fn import(list: &str) -> [&str; 10] {
    ["import-contacts", list, "--tenant", "acme", "--region", "US", "--report", "report.csv", "--format", "json"]
}

/// The same, into a campaign.
fn enroll(list: &str) -> Vec<&str> {
    import(list).into_iter().chain(["--campaign", "acme/checkup"]).collect()
}

/// The counts that are not 0, of the summary.
fn counts(output: &Output) -> BTreeMap<String, u64> {
    let summary: Value = output.json();
    let counts = ["rows", "created", "updated", "unchanged", "skipped", "duplicate", "rejected"];
    let count = |name: &str| summary[name].as_u64().expect("a count");
    counts.iter().filter(|name| count(name) > 0).map(|name| ((*name).to_owned(), count(name))).collect()
}

fn all(rows: u64, verdict: &str) -> BTreeMap<String, u64> {
    BTreeMap::from([("rows".to_owned(), rows), (verdict.to_owned(), rows)])
}

/// Contacts, those in campaigns, and imports.
async fn content(db: &Db) -> (i64, i64, i64) {
    const SQL: &str = "SELECT (SELECT count(*) FROM contacts), (SELECT count(*) FROM enrollments), \
                       (SELECT count(*) FROM imports)";
    match &mut db.read().await.expect("a transaction") {
        Tx::Sqlite(tx) => sqlx::query_as(SQL).fetch_one(&mut **tx).await,
        Tx::Postgres(tx) => sqlx::query_as(SQL).fetch_one(&mut **tx).await,
    }
    .expect("counts")
}

/// Waits until an import has reported so many bytes. They come chunk by chunk, each once it is in the database.
fn until_reported(database: &TestDatabase, mut running: Running, bytes: u64) -> Running {
    let wait = Wait::begin();
    loop {
        let is_over = running.is_over();
        let part = database.scratch().unfinished("report.csv").and_then(|part| std::fs::metadata(part).ok());
        if part.is_some_and(|part| part.len() >= bytes) {
            return running;
        }
        assert!(wait.has_hope(is_over), "the import never reported {bytes} bytes: {}", running.wait());
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn patient(stage: &Stage) -> Callops<'_> {
    stage.callops().time_limit(PATIENCE)
}

/// The number of a fail point among those that an import passes; none in builds without them.
fn number_of(point: &str, template: &Template) -> Option<usize> {
    if cfg!(not(feature = "fail-points")) {
        return None;
    }
    let stage = template.stage();
    let (log, list) = (stage.file("points"), list(stage.folder(), 1));
    stage.run_with(&stage.callops().env("CALLOPS_FAIL_LOG", &log), &enroll(&list)).success();
    let points = std::fs::read_to_string(log).expect("the points");
    Some(points.lines().position(|passed| passed == point).unwrap_or_else(|| panic!("no {point} in {points}")) + 1)
}

on_both_databases! {
    fn an_import_killed_at_any_moment_leaves_nothing(db) {
        let (rows, kills) = (size(50_000, 1_000_000), size(2, 6));
        let seed = seed();
        let mut random = fastrand::Rng::with_seed(seed);
        let template = Template::new(db.backend(), ordinary(3), 1000);
        let stage = template.stage();
        let list = list(stage.folder(), rows);
        let before = stage.with_db(content);
        let mut moments = Vec::new();
        let is_as_before = |moment: &str| {
            assert_eq!(stage.with_db(content), before, "killed {moment}, seed {seed}");
            assert_eq!(stage.with_db(integrity), "", "killed {moment}, seed {seed}");
            assert!(!stage.folder().join("report.csv").exists(), "killed {moment}, seed {seed}");
        };
        for kill in 0..kills {
            // The first as soon as anything is written.
            let share = if kill == 0 { 0.0 } else { random.f64() * 0.95 };
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a share")]
            let bytes = 1 + ((rows * REPORT_LINE_BYTES) as f64 * share) as u64;
            let running = stage.spawn(&patient(&stage), &enroll(&list));
            let mut running = until_reported(stage.database(), running, bytes);
            running.kill();
            assert_eq!(running.wait().code(), None, "it was over before it could be killed");
            let moment = format!("at {:.0} %", share * 100.0);
            is_as_before(&moment);
            moments.push(moment);
        }
        for point in ["import.finish", "import.commit"] {
            let Some(number) = number_of(point, &template) else { continue };
            let callops = patient(&stage).env("CALLOPS_FAIL_AT", number.to_string());
            assert_eq!(stage.run_with(&callops, &enroll(&list)).code(), None, "{point} kills it");
            is_as_before(point);
            moments.push(point.to_owned());
        }
        let rows_more = i64::try_from(rows).expect("a small number");
        for (verdict, imports) in [("created", 1), ("unchanged", 2)] {
            let output = stage.run_with(&patient(&stage), &enroll(&list)).success();
            assert_eq!(counts(&output), all(rows, verdict), "{output}");
            assert_eq!(stage.with_db(content), (before.0 + rows_more, before.1 + rows_more, imports), "seed {seed}");
            assert_eq!(stage.with_db(integrity), "", "seed {seed}");
        }
        say(&format!("imports of {rows} rows were killed {}; seed {seed}", moments.join(", ")));
    }

    #[cfg(feature = "fail-points")]
    fn an_import_killed_behind_its_commit_is_whole(db) {
        let rows = 10_000;
        let template = Template::new(db.backend(), ordinary(3), 1000);
        let stage = template.stage();
        let list = list(stage.folder(), rows);
        let callops = stage.callops().env("CALLOPS_FAIL_AT", number_of("import.committed", &template).expect("a fail point").to_string());
        assert_eq!(stage.run_with(&callops, &enroll(&list)).code(), None);
        assert_eq!(stage.with_db(content), (4 + 10_000, 4 + 10_000, 1));
        assert!(!stage.folder().join("report.csv").exists());
        let again = stage.run(&enroll(&list)).success();
        assert_eq!(counts(&again), all(rows, "unchanged"), "{again}");
    }

    fn calls_go_on_during_an_import(db) {
        /// Words of a database's own trouble that nobody must see.
        const TROUBLE: [&str; 6] = ["lock", "could not serialize", "remaining connection", "panicked", "timed out", "error"];
        let (rows, people, processes) = (size(50_000, 1_000_000), 40, 20);
        let template = Template::new(db.backend(), ordinary(people), 1000);
        let stage = template.stage();
        // Those who are due are in the list as well, before all others; nothing is new about them.
        let text = std::fs::read_to_string(list(stage.folder(), rows)).expect("the list");
        let (header, rest) = text.split_once('\n').expect("a header");
        let people_rows = ordinary(people).iter().map(|phone| format!(",{phone},,\n")).collect::<Vec<_>>().concat();
        let list = stage.file("with-people.csv");
        std::fs::write(&list, format!("{header}\n{people_rows}{rest}")).expect("the list");
        let clock = callops::clock::Clock::system();
        let importing = stage.spawn(&patient(&stage), &import(&list));
        let mut importing = until_reported(stage.database(), importing, 1);
        let began = clock.monotonic();
        let callops = patient(&stage);
        let calling: Vec<Running> = (0..processes).map(|_| stage.spawn(&callops, &["process-calls"])).collect();
        assert!(!importing.is_over(), "the import was over before anybody called: it needs more rows");
        for running in calling {
            let output = running.wait();
            assert_eq!(output.code(), Some(0), "{output}");
            for words in TROUBLE {
                assert!(!output.stderr.contains(words), "{output}");
            }
        }
        let called = clock.monotonic().saturating_sub(began);
        let is_over = importing.is_over();
        let output = importing.wait().success();
        let imported = clock.monotonic();
        let mut wanted = all(rows, "created");
        wanted.insert("unchanged".to_owned(), people as u64);
        wanted.insert("rows".to_owned(), rows + people as u64);
        assert_eq!(counts(&output), wanted, "{output}");
        assert_eq!(stage.rings().len(), people);
        assert_eq!(stage.verdict(), "");
        say(&format!(
            "{processes} processes rang {people} people within {called:?} beside an import of {rows} rows that took \
             {imported:?} and was {} when they were done",
            if is_over { "over" } else { "under way" }
        ));
    }
}

/// An import that is about to commit holds every lock that it ever does. A server lets calls go on beside it, also to
/// people of the list; SQLite has one writer, for whom the others wait.
#[cfg(feature = "fail-points")]
#[test]
fn calls_do_not_wait_for_an_import_on_a_server() {
    let people = 8;
    let template = Template::new(Backend::Postgres, ordinary(people), 1000);
    let stage = template.stage();
    let rows = ordinary(people).join("\n");
    let list = stage.file("list.csv");
    std::fs::write(&list, format!("phone\n{rows}\n802-223-6942\n")).expect("the list");
    let number = number_of("import.commit", &template).expect("a fail point").to_string();
    let callops = stage.callops().env("CALLOPS_FAIL_AT", number).env("CALLOPS_FAIL_DO", "stop");
    let mut importing = stage.spawn(&callops, &import(&list));
    let wait = Wait::begin();
    loop {
        let condition = importing.condition();
        if condition == Condition::Stopped {
            break;
        }
        assert!(wait.has_hope(condition == Condition::Over), "the import was not stopped: {}", importing.wait());
        std::thread::sleep(Duration::from_millis(2));
    }
    stage.run(&["process-calls"]).success();
    assert_eq!(stage.rings().len(), people);
    importing.signal("CONT");
    let output = importing.wait().success();
    assert_eq!((&output.json()["created"], &output.json()["unchanged"]), (&1.into(), &people.into()), "{output}");
}

/// What an import of a list meets when there is too little room for it: nothing is imported, it says so, and with room it
/// goes in.
fn import_without_room(stage: &Stage, callops: &Callops<'_>, list: &str, make_room: impl FnOnce()) {
    let before = stage.with_db(content);
    let output = stage.run_with(callops, &enroll(list)).exits(7);
    let is_told = ["is full", "cannot be read or written"].iter().any(|words| output.stderr.contains(words));
    assert!(is_told && !output.stderr.contains("panicked"), "{output}");
    make_room();
    assert_eq!(stage.with_db(content), before, "{output}");
    assert_eq!(stage.with_db(integrity), "", "{output}");
    assert!(!stage.folder().join("report.csv").exists() && unfinished(stage.folder(), "report.csv").is_none());
    let next = stage.run(&enroll(list)).success();
    assert_eq!(next.json()["created"], next.json()["rows"], "{next}");
}

#[test]
fn imports_on_a_full_disk() {
    match small_disk::where_to_mount("proofs::imports::imports_on_a_full_disk") {
        Mounting::Elsewhere(said) => say(&said),
        Mounting::Nowhere => say("nothing can be mounted here: imports_into_files_that_may_not_grow has to do"),
        Mounting::Here => {
            let template = Template::new(Backend::Sqlite, ordinary(3), 1000);
            for pages in [2, 40, 400] {
                let stage = template.stage_in(Scratch::on_small_disk(64 << 20));
                // The list is elsewhere: what has no room is the database.
                let elsewhere = Scratch::new();
                let list = list(elsewhere.path(), 5_000);
                small_disk::fill(stage.folder(), pages * PAGE);
                let report = elsewhere.path().join("report.csv").display().to_string();
                let before = stage.with_db_of(&stage.copy(), content);
                let mut command = enroll(&list);
                for word in &mut command {
                    if *word == "report.csv" {
                        *word = &report;
                    }
                }
                let output = stage.run_with(&stage.callops(), &command).exits(7);
                assert!(output.stderr.contains("is full") && !output.stderr.contains("panicked"), "{output}");
                small_disk::make_room(stage.folder());
                assert_eq!(stage.with_db(content), before, "{output}");
                assert_eq!(stage.with_db(integrity), "", "{output}");
                let next = stage.run(&command).success();
                assert_eq!(counts(&next), all(5_000, "created"), "{next}");
            }
        }
    }
}

#[test]
fn imports_into_files_that_may_not_grow() {
    let template = Template::new(Backend::Sqlite, ordinary(3), 1000);
    for kilobytes in [600, 2000] {
        let stage = template.stage();
        let list = list(stage.folder(), 10_000);
        import_without_room(&stage, &stage.callops().file_size_limit(kilobytes * 2), &list, || {});
    }
}

#[test]
fn imports_into_a_server_whose_disk_is_full() {
    let template = Template::new(Backend::Postgres, ordinary(3), 1000);
    for statements in [0, 1, 3] {
        let stage = template.stage();
        let list = list(stage.folder(), 20_000);
        refuse_writes_after(&stage, statements);
        import_without_room(&stage, &stage.callops(), &list, || {
            change(&stage, "DROP FUNCTION write_or_refuse CASCADE");
        });
    }
}
