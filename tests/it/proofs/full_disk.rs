//! A disk that is full at any stage of a run: nobody is rung without a record of it on the disk, the database stays
//! whole, the message says what is wrong, and once there is room the next run goes on.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use callops::sandbox::Ring;
use callops::store::{Db, Tx};
use chrono::TimeDelta;
use sqlx::AssertSqlSafe;

use super::stage::{Case, Row, Stage, Template, every, ordinary};
use super::{say, seed, size};
use crate::common::small_disk::{self, Mounting, PAGE};
use crate::common::{Backend, Callops, Output, Scratch};

const RUN: [&str; 3] = ["process-calls", "--concurrency", "2"];
const PEOPLE: usize = 12;
/// What a run needs several times over.
const DISK: u64 = 16 << 20;
/// The unit of the shell's limit on the size of files.
const BLOCK: u64 = 512;

/// Why there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    /// The disk is full.
    Disk,
    /// No file may grow any further, as with a quota, which needs no rights to set up.
    FileSize,
    /// The server says that its disk is full.
    Server,
}

impl Limit {
    fn template(self) -> Template {
        let backend = if self == Self::Server { Backend::Postgres } else { Backend::Sqlite };
        Template::new(backend, ordinary(PEOPLE), 1000)
    }

    /// How much room an undisturbed run takes: in pages, or in statements that write.
    fn most(self, template: &Template) -> u64 {
        if self == Self::Server { statements_of_a_run(template) } else { pages_of_a_run(template) }
    }

    /// A copy of the template where there is so much room.
    fn stage(self, template: &Template, room: u64) -> Stage {
        match self {
            Self::Disk => {
                let stage = template.stage_in(Scratch::on_small_disk(DISK));
                small_disk::fill(stage.folder(), room * PAGE);
                stage
            }
            Self::FileSize => template.stage(),
            Self::Server => {
                let stage = template.stage();
                refuse_writes_after(&stage, room);
                stage
            }
        }
    }

    /// The binary that meets the limit.
    fn callops(self, stage: &Stage, room: u64) -> Callops<'_> {
        match self {
            Self::Disk | Self::Server => stage.callops(),
            Self::FileSize => stage.callops().file_size_limit(room * PAGE / BLOCK),
        }
    }

    fn end(self, stage: &Stage) {
        match self {
            Self::Disk => small_disk::make_room(stage.folder()),
            Self::FileSize => {}
            Self::Server => change(stage, "DROP FUNCTION write_or_refuse CASCADE"),
        }
    }

    /// How the database is named to an operator.
    fn name(self, stage: &Stage) -> String {
        if self == Self::Server { "postgres://".to_owned() } else { stage.file("callops.db") }
    }

    /// What an operator must be told, in one of these ways.
    fn message(self) -> &'static [&'static str] {
        match self {
            Self::Disk | Self::Server => &[" is full"],
            Self::FileSize => &[" is full", " cannot be read or written"],
        }
    }
}

/// How many pages an undisturbed run writes to files that are gone at its end.
fn pages_of_a_run(template: &Template) -> u64 {
    let stage = template.stage();
    let size = |suffix: &str| {
        let path = PathBuf::from(stage.file(&format!("callops.db{suffix}")));
        std::fs::metadata(path).map_or(0, |file| file.len())
    };
    stage.with_db(async |db| {
        // While somebody reads from before the run, nothing of what it writes is folded into the database.
        let mut before = db.read().await.expect("a transaction");
        before.check_schema().await.expect("the schema");
        stage.run(&RUN).success();
        (size("-wal") + size("-shm")) / PAGE
    })
}

/// Changes the tables of a PostgreSQL database.
pub(super) fn change(stage: &Stage, sql: &str) {
    stage.with_db(async |db| {
        let mut tx = db.begin().await.expect("a transaction");
        let Tx::Postgres(postgres) = &mut tx else { panic!("another database") };
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut **postgres).await.expect("a change");
        tx.commit().await.expect("a commit");
    });
}

/// Lets so many statements write, and answers all others as a server does whose disk is full. The count, a sequence, is
/// not rolled back with what is refused.
pub(super) fn refuse_writes_after(stage: &Stage, statements: u64) {
    let sql = format!(
        "CREATE SEQUENCE writes;
         CREATE FUNCTION write_or_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             IF nextval('writes') > {statements} THEN
                 RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full';
             END IF;
             RETURN NULL;
         END $$;
         DO $$ DECLARE name text; BEGIN
             FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = current_schema LOOP
                 EXECUTE format('CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE OR DELETE ON %I
                                 FOR EACH STATEMENT EXECUTE FUNCTION write_or_refuse()', name);
             END LOOP;
         END $$"
    );
    change(stage, &sql);
}

/// How many statements of an undisturbed run write.
fn statements_of_a_run(template: &Template) -> u64 {
    let stage = template.stage();
    refuse_writes_after(&stage, u64::from(u32::MAX));
    stage.run(&RUN).success();
    let count: i64 = stage.with_db(async |db| {
        let Tx::Postgres(mut tx) = db.read().await.expect("a transaction") else { panic!("another database") };
        sqlx::query_scalar("SELECT last_value FROM writes").fetch_one(&mut *tx).await.expect("a count")
    });
    u64::try_from(count).expect("a count")
}

/// What is wrong with a database file, by its own check. A server has none.
pub(super) async fn integrity(db: &Db) -> String {
    let Tx::Sqlite(mut tx) = db.read().await.expect("a transaction") else { return String::new() };
    let report: Vec<String> =
        sqlx::query_scalar("PRAGMA integrity_check").fetch_all(&mut *tx).await.expect("integrity_check");
    if report == ["ok"] { String::new() } else { format!("integrity_check: {report:?}\n") }
}

/// Rings of which the disk holds no record that they may have been.
fn without_intent(rings: &[Ring], attempts: &[Row]) -> String {
    let mut wrong = String::new();
    for ring in rings {
        let intent = attempts.iter().find(|attempt| ring.name.as_deref() == Some(&attempt.id));
        if !intent.is_some_and(|attempt| attempt.may_have_rung) {
            let _ = writeln!(wrong, "{} rang, and the disk holds {intent:?}", ring.phone);
        }
    }
    wrong
}

/// What is wrong with how the run ended.
fn ending(limit: Limit, output: &Output, stage: &Stage, left: &str) -> String {
    let mut wrong = String::new();
    match output.code() {
        Some(0) if left.is_empty() => return wrong,
        Some(0) => wrong = format!("exit code 0, and yet {left}"),
        Some(7) => {}
        _ => wrong.push_str("a full disk is exit code 7\n"),
    }
    let says = |text: &str| output.stderr.contains(text);
    if !says(&limit.name(stage)) {
        wrong.push_str("it does not say which database\n");
    }
    if !limit.message().iter().any(|text| says(text)) {
        wrong.push_str("it does not say that there is no room\n");
    }
    if !says("hint: ") || says("panicked") {
        wrong.push_str("it does not say what to do\n");
    }
    wrong
}

/// One run with so much room: how it ended, how many it rang, and everything that is wrong with what it leaves.
fn run_with_room(template: &Template, limit: Limit, room: u64) -> (Output, usize, String) {
    let stage = limit.stage(template, room);
    let output = stage.run_with(&limit.callops(&stage, room), &RUN);
    // Nothing more can be written where the files lie, so what they hold is read from copies.
    let on_disk = stage.copy();
    let attempts = stage.attempts_of(&on_disk);
    let rings = stage.rings();
    let mut wrong = without_intent(&rings, &attempts);
    wrong.push_str(&stage.with_db_of(&on_disk, integrity));
    limit.end(&stage);
    wrong.push_str(&ending(limit, &output, &stage, &stage.verdict()));
    wrong.push_str(&stage.with_db(integrity));
    stage.wait(TimeDelta::seconds(1));
    wrong.push_str(&stage.settle());
    (output, rings.len(), wrong)
}

/// Runs with less room than they need, from none on.
fn full_at_every_stage(limit: Limit) {
    let cases = size(6, 100);
    let seed = seed();
    let template = limit.template();
    let most = limit.most(&template);
    let endings = Mutex::new(BTreeMap::<_, u64>::new());
    every(2, cases, |n| {
        let mut random = fastrand::Rng::with_seed(seed.wrapping_add(n));
        // The first has no room at all.
        let room = (n - 1) * most / cases + if n == 1 { 0 } else { random.u64(..=most / cases) };
        let (output, rung, wrong) = run_with_room(&template, limit, room);
        *endings.lock().unwrap_or_else(PoisonError::into_inner).entry((output.code(), rung)).or_default() += 1;
        if wrong.is_empty() {
            return Case::Done(wrong);
        }
        Case::Done(format!("CALLOPS_PROVE_SEED={seed}, room for {room} of {most}: {wrong}\nthe run: {output}"))
    });
    let endings = endings.into_inner().unwrap_or_else(PoisonError::into_inner);
    say(&format!(
        "{cases} runs that need room for {most} writes had too little ({limit:?}); exit codes, how many had rung, and how \
         often: {endings:?}, seed {seed}"
    ));
    let met: Vec<usize> = endings.keys().filter(|(code, _)| *code == Some(7)).map(|(_, rung)| *rung).collect();
    assert!(met.contains(&0), "none met the limit before anybody rang: {endings:?}");
    assert!(met.iter().any(|rung| *rung > 0), "none met the limit with a ring to be recorded: {endings:?}");
}

#[test]
fn disks_that_are_full() {
    match small_disk::where_to_mount("proofs::full_disk::disks_that_are_full") {
        Mounting::Here => full_at_every_stage(Limit::Disk),
        Mounting::Elsewhere(said) => say(&said),
        Mounting::Nowhere => {
            say("nothing can be mounted here: the size of files is limited instead");
            full_at_every_stage(Limit::FileSize);
        }
    }
}

#[test]
fn files_that_may_not_grow() {
    full_at_every_stage(Limit::FileSize);
}

#[test]
fn servers_whose_disk_is_full() {
    full_at_every_stage(Limit::Server);
}
