//! A database for each test: a file, or a database of the PostgreSQL server that `scripts/test` starts.

use std::fmt;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::UNIX_EPOCH;

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _};

use super::{Callops, OwnPostgres, Scratch, block_on, variable};

/// The variable that names the PostgreSQL server to test on.
const SERVER_VARIABLE: &str = "CALLOPS_TEST_POSTGRES_URL";

/// Databases of test runs that were killed are dropped by a later run once they are this old.
const STALE_AFTER_SECONDS: u64 = 6 * 3600;

/// A kind of database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    Sqlite,
    Postgres,
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        })
    }
}

/// A database that belongs to one test and is removed when it is dropped, with a scratch directory beside it.
#[derive(Debug)]
pub(crate) struct TestDatabase {
    backend: Backend,
    /// The server that it belongs to; SQLite has none.
    server: Option<String>,
    url: String,
    scratch: Scratch,
}

impl TestDatabase {
    /// A database as `callops init` leaves it, copied from one that was initialised once per test run.
    pub(crate) fn new(backend: Backend) -> Self {
        match backend {
            Backend::Sqlite => {
                let database = Self::empty(backend);
                for file in &*SQLITE_TEMPLATE {
                    database.scratch.write(&file.0, &file.1);
                }
                database
            }
            Backend::Postgres => Self::on_postgres(server_url(), Some(&POSTGRES_TEMPLATE)),
        }
    }

    /// A database in which nothing was created yet: a path at which no file is, or a database without tables.
    pub(crate) fn empty(backend: Backend) -> Self {
        match backend {
            Backend::Sqlite => Self::in_folder(Scratch::new()),
            Backend::Postgres => Self::on_postgres(server_url(), None),
        }
    }

    /// A database as `callops init` leaves it, on a server of the test's own.
    pub(crate) fn on_server(server: &OwnPostgres) -> Self {
        let database = Self::on_postgres(server.url().to_owned(), None);
        database.callops().run(["init"]).success();
        database
    }

    fn on_postgres(server: String, template: Option<&str>) -> Self {
        let name = create_database(&server, template);
        let url = url_of(&server, &name);
        Self { backend: Backend::Postgres, server: Some(server), url, scratch: Scratch::new() }
    }

    fn in_folder(scratch: Scratch) -> Self {
        let url = format!("sqlite://{}", scratch.path().join(SQLITE_FILE).display());
        Self { backend: Backend::Sqlite, server: None, url, scratch }
    }

    /// A database of its own with the same content. Nobody may be connected to this one meanwhile.
    pub(crate) fn copy(&self) -> Self {
        match &self.server {
            None => self.copy_to(Scratch::new()),
            Some(server) => Self::on_postgres(server.clone(), Some(database_name(&self.url))),
        }
    }

    /// The files of this SQLite database in another directory: what would be left if the machine stopped now.
    pub(crate) fn copy_to(&self, scratch: Scratch) -> Self {
        let copy = Self::in_folder(scratch);
        for name in [SQLITE_FILE.to_owned(), format!("{SQLITE_FILE}-wal")] {
            let (from, to) = (self.scratch.path().join(&name), copy.scratch.path().join(&name));
            if from.exists() {
                std::fs::copy(from, to).expect("the file can be copied");
            }
        }
        copy
    }

    /// Which kind it is.
    pub(crate) fn backend(&self) -> Backend {
        self.backend
    }

    /// What `CALLOPS_DATABASE_URL` has to be.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The directory in which this test's commands run.
    pub(crate) fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    /// The binary, pointed at this database, in this test's directory.
    pub(crate) fn callops(&self) -> Callops<'_> {
        Callops::new(&self.scratch).env("CALLOPS_DATABASE_URL", &self.url)
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        if let Some(server) = &self.server {
            let name = database_name(&self.url).to_owned();
            // A server that died has taken the database with it, and the test has already failed for that.
            let _ = block_on(async || {
                let mut server = PgConnection::connect(server).await?;
                drop_database(&mut server, &name).await
            });
        }
    }
}

const SQLITE_FILE: &str = "callops.db";

/// The files of an initialised SQLite database: names and contents.
static SQLITE_TEMPLATE: LazyLock<Vec<(String, Vec<u8>)>> = LazyLock::new(|| {
    let database = TestDatabase::empty(Backend::Sqlite);
    database.callops().run(["init"]).success();
    // The last connection to close folds the write-ahead log into the file; where it could not, the log is copied too.
    let files: Vec<_> = ["", "-wal"]
        .iter()
        .map(|suffix| format!("{SQLITE_FILE}{suffix}"))
        .filter_map(|name| Some((name.clone(), std::fs::read(database.scratch.path().join(&name)).ok()?)))
        .collect();
    assert!(!files.is_empty(), "`callops init` left no file at {}", database.url);
    files
});

/// The name of an initialised PostgreSQL database. It lives as long as the test run, and a later run drops it.
static POSTGRES_TEMPLATE: LazyLock<String> = LazyLock::new(|| {
    let server = server_url();
    let name = create_database(&server, None);
    let url = url_of(&server, &name);
    let scratch = Scratch::new();
    Callops::new(&scratch).env("CALLOPS_DATABASE_URL", &url).run(["init"]).success();
    name
});

/// The URL of the server to test on.
///
/// # Panics
/// When there is none: tests on PostgreSQL are never skipped.
fn server_url() -> String {
    variable(SERVER_VARIABLE).unwrap_or_else(|| {
        panic!("{SERVER_VARIABLE} is not set: run scripts/test, which starts a PostgreSQL for the tests")
    })
}

fn create_database(server_url: &str, template: Option<&str>) -> String {
    static SERIAL: AtomicU32 = AtomicU32::new(0);
    block_on(async || {
        let mut server = connect(server_url).await;
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        if serial == 0 {
            drop_stale_databases(&mut server).await;
        }
        let name = format!("{}{}_{serial}", name_prefix(seconds_since_epoch()), std::process::id());
        let template = template.unwrap_or("template0");
        server
            .execute(AssertSqlSafe(format!("CREATE DATABASE {name} TEMPLATE {template}")))
            .await
            .unwrap_or_else(|error| panic!("cannot create a database from {template}: {error}"));
        name
    })
}

async fn connect(url: &str) -> PgConnection {
    PgConnection::connect(url)
        .await
        .unwrap_or_else(|error| panic!("the PostgreSQL server for the tests cannot be reached at {url}: {error}"))
}

async fn drop_database(server: &mut PgConnection, name: &str) -> Result<(), sqlx::Error> {
    server.execute(AssertSqlSafe(format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))).await?;
    Ok(())
}

async fn drop_stale_databases(server: &mut PgConnection) {
    let rows = sqlx::query("SELECT datname::text FROM pg_database WHERE datname LIKE 'callops\\_test\\_%'")
        .fetch_all(&mut *server)
        .await
        .expect("the catalogue can be read");
    let now = seconds_since_epoch();
    for name in rows.iter().map(|row| row.get::<String, _>(0)).filter(|name| is_stale(name, now)) {
        // Another run may drop it at the same time.
        let _ = drop_database(server, &name).await;
    }
}

fn name_prefix(now_seconds: u64) -> String {
    format!("callops_test_{now_seconds}_")
}

fn is_stale(database: &str, now_seconds: u64) -> bool {
    database
        .strip_prefix("callops_test_")
        .and_then(|rest| rest.split('_').next())
        .and_then(|seconds| seconds.parse::<u64>().ok())
        .is_some_and(|created_seconds| now_seconds.saturating_sub(created_seconds) > STALE_AFTER_SECONDS)
}

#[expect(clippy::disallowed_methods, reason = "leftovers of killed test runs are told by the machine's clock")]
fn seconds_since_epoch() -> u64 {
    std::time::SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

/// The same server and options, another database.
fn url_of(server_url: &str, database: &str) -> String {
    let (before_options, options) =
        server_url.split_once('?').map_or((server_url, String::new()), |(url, options)| (url, format!("?{options}")));
    let authority_start = before_options.find("://").map_or(0, |at| at + 3);
    let authority_end =
        before_options[authority_start..].find('/').map_or(before_options.len(), |at| authority_start + at);
    format!("{}/{database}{options}", &before_options[..authority_end])
}

fn database_name(url: &str) -> &str {
    let before_options = url.split('?').next().unwrap_or(url);
    before_options.rsplit('/').next().unwrap_or(before_options)
}

on_both_databases! {
    fn a_new_database_is_ready_for_commands(db) {
        let before = db.callops().run(["migrate", "--status"]).success();
        assert!(!before.stdout.is_empty(), "{before}");
        let other = TestDatabase::new(db.backend());
        assert_ne!(db.url(), other.url());
        other.callops().run(["migrate", "--status"]).success();
    }

    /// The one place where a missing server is said in so many words; every other test on it fails as well.
    fn each_test_has_a_database_of_its_own(db: empty) {
        let other = TestDatabase::empty(db.backend());
        assert_ne!(db.url(), other.url());
        assert!(db.url().starts_with(&format!("{}://", db.backend())), "{}", db.url());
    }

    async fn a_database_is_gone_after_the_test(db: empty) {
        let url = db.url().to_owned();
        if db.backend() == Backend::Sqlite {
            let directory: PathBuf = db.scratch().path().to_owned();
            assert!(directory.exists());
            drop(db);
            assert!(!directory.exists());
        } else {
            let mut connection = PgConnection::connect(&url).await.expect("the database is there");
            let version: i32 = sqlx::query_scalar("SELECT current_setting('server_version_num')::int")
                .fetch_one(&mut connection)
                .await
                .expect("a version");
            assert!(version >= 130_000, "PostgreSQL 13 or newer is needed, this is {version}");
            drop(db);
            assert!(PgConnection::connect(&url).await.is_err(), "{url} is still there");
        }
    }
}

#[test]
fn another_database_of_the_same_server() {
    for (server, expected) in [
        ("postgres://postgres@localhost/postgres?host=/tmp/x", "postgres://postgres@localhost/new?host=/tmp/x"),
        ("postgres://u:p@127.0.0.1:5432/postgres", "postgres://u:p@127.0.0.1:5432/new"),
        ("postgresql://u@db.example:5432", "postgresql://u@db.example:5432/new"),
        ("postgres:///postgres?host=/run/postgresql", "postgres:///new?host=/run/postgresql"),
    ] {
        assert_eq!(url_of(server, "new"), expected);
        assert_eq!(database_name(expected), "new");
    }
}

#[test]
fn only_old_databases_of_the_tests_are_stale() {
    let now = 1_800_000_000;
    assert!(is_stale(&format!("{}4711_0", name_prefix(now - STALE_AFTER_SECONDS - 1)), now));
    assert!(!is_stale(&format!("{}4711_0", name_prefix(now)), now));
    assert!(!is_stale("callops_test_of_mine", now));
    assert!(!is_stale("production", now));
}
