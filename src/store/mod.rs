//! The one store, on SQLite or PostgreSQL.
//!
//! SQL text is written once and stands in the function that runs it; the macros of `statements` expand one sqlx chain for
//! each database. Instants come from the caller: SQL never asks the database for the time, but for one check of
//! its clock.

pub mod alerts;
pub mod attempts;
pub mod billing;
pub mod calls;
pub mod claims;
mod columns;
mod connect;
pub mod contacts;
pub mod control;
pub mod conversations;
pub mod dialled;
pub mod duplicates;
pub mod enrollments;
pub mod events;
pub mod evidence;
pub mod imports;
pub mod listing;
pub mod numbers;
pub mod overview;
mod pool;
pub mod purchases;
pub mod records;
pub mod releases;
pub mod runs;
pub mod sessions;
pub mod setup;
pub mod spent;
mod statements;
pub mod suppressions;
mod transient;
pub mod welcomes;

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::migrate::{Migrate as _, Migrator};
use sqlx::{AssertSqlSafe, Connection as _, Postgres, SqlSafeStr as _, SqlStr, Sqlite};

pub use self::pool::{Lent, Pool};
pub(crate) use self::statements::{dynamic, execute, fetch, scalar};
use self::transient::{MAX_TRIES, back_off, is_transient};
use crate::fail_point;

static SQLITE_MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");
static POSTGRES_MIGRATIONS: Migrator = sqlx::migrate!("migrations/postgres");

/// How long a transaction on PostgreSQL may wait for its client before the server ends it.
const IDLE_TRANSACTION_TIMEOUT: Duration = Duration::from_mins(1);
/// Every writing transaction on SQLite is durable once it is committed, whatever its connection did before.
const SQLITE_BEGIN: &str = "PRAGMA synchronous = FULL; BEGIN IMMEDIATE";
/// A transaction that a power cut may take back together with nothing else. What it leaves in the write-ahead log is
/// put away more often than usual: whoever opens the file next has to read it.
const SQLITE_BEGIN_PASSING: &str = "PRAGMA wal_autocheckpoint = 64; PRAGMA synchronous = NORMAL; BEGIN IMMEDIATE";

/// What can go wrong between callops and its database.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The SQLite file does not exist, and this command must not create it.
    #[error("there is no database at {0}")]
    Missing(PathBuf),
    /// Another kind of URL.
    #[error("the database URL must start with sqlite: or postgres:, or be a path to a SQLite file")]
    UnknownUrl,
    /// The schema is not the one that this program was built for.
    #[error("the database's schema is at version {found}, this program needs version {needed}")]
    Schema {
        /// The version that the database has; 0 when it has none.
        found: i64,
        /// The version that this program was built for.
        needed: i64,
    },
    /// A row that must exist does not, or was changed by somebody else.
    #[error("{0}")]
    Conflict(String),
    /// A stored value cannot be read.
    #[error("stored {what} of {subject} cannot be read: {problem}")]
    Unreadable {
        /// The kind of value, such as `rules`.
        what: &'static str,
        /// Whose it is.
        subject: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A migration failed.
    #[error(transparent)]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// The database said no, or could not be asked.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl StoreError {
    /// Whether a row was refused since another has what must be unique.
    pub fn is_double(&self) -> bool {
        matches!(self, Self::Database(error) if error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation))
    }
}

/// The result of every function of the store.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// How to reach a database.
#[derive(Clone, Debug)]
pub struct Options {
    /// `sqlite:PATH`, a plain path, or `postgres://…`.
    pub url: String,
    /// The PostgreSQL schema that holds the tables; SQLite has none.
    pub schema: String,
    /// The most connections to hold at once.
    pub max_connections: u32,
    /// Whether prepared statements are kept between queries; off for some PostgreSQL poolers.
    pub statement_cache: bool,
    /// Whether a missing SQLite file, or a missing PostgreSQL schema, is created.
    pub create: bool,
}

/// A pool of connections to either database.
#[derive(Clone, Debug)]
pub enum Db {
    /// An embedded database in one file.
    Sqlite(Pool<Sqlite>),
    /// A server, and the schema that holds the tables.
    Postgres(Pool<Postgres>, String),
}

/// What a database says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Greeting {
    /// The version of the last migration that was applied; 0 when there is none.
    pub schema_version: i64,
    /// Whether it is a rehearsal.
    pub is_rehearsal: bool,
    /// Its own clock, if it has another than this machine's.
    pub clock: Option<DateTime<Utc>>,
}

/// Whether a commit waits until the disk has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// It does: after a power cut, what was committed is there.
    Durable,
    /// It does not: a power cut may take the commit back. For what the next minute writes again.
    Passing,
}

/// A transaction on either database. Dropped without [`Tx::commit`], it is rolled back.
#[derive(Debug)]
pub enum Tx {
    /// On SQLite.
    Sqlite(Lent<Sqlite>),
    /// On PostgreSQL.
    Postgres(Lent<Postgres>),
}

/// The path of a SQLite URL, or `None` when the URL names another kind of database.
pub fn sqlite_path(url: &str) -> Option<&Path> {
    if url.starts_with("postgres:") || url.starts_with("postgresql:") {
        return None;
    }
    let path = url.strip_prefix("sqlite://").or_else(|| url.strip_prefix("sqlite:")).unwrap_or(url);
    Some(Path::new(path.split('?').next().unwrap_or(path)))
}

impl Db {
    /// Opens a database, without looking at its schema.
    ///
    /// # Errors
    /// [`StoreError::Missing`] when a SQLite file is absent and `create` is off; otherwise what the database says.
    pub async fn connect(options: &Options) -> Result<Self> {
        let Some(path) = sqlite_path(&options.url) else { return connect::postgres(options).await };
        if options.url.contains("://") && !options.url.starts_with("sqlite:") {
            return Err(StoreError::UnknownUrl);
        }
        if !options.create && !path.exists() {
            return Err(StoreError::Missing(path.to_owned()));
        }
        connect::sqlite(path, options).await
    }

    /// Which database this is, for people.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "sqlite",
            Self::Postgres(..) => "postgres",
        }
    }

    /// The schema version that this program was built for.
    pub fn needed_version() -> i64 {
        SQLITE_MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0)
    }

    /// Every migration that this program carries: version and description, oldest first.
    pub fn migrations() -> Vec<(i64, String)> {
        SQLITE_MIGRATIONS.iter().map(|m| (m.version, m.description.to_string())).collect()
    }

    /// Brings the schema up to date. Safe to run again and by several at once.
    pub async fn migrate(&self) -> Result<()> {
        match self {
            Self::Sqlite(pool) => {
                let mut connection = pool.connections().acquire().await?;
                SQLITE_MIGRATIONS.run(&mut *connection).await?;
            }
            Self::Postgres(pool, schema) => {
                // A connection of its own: the search path is set for the session, which a pooled one must not keep.
                let mut connection = pool.connections().acquire().await?.detach();
                connection.ensure_migrations_table_schema(schema).await?;
                POSTGRES_MIGRATIONS.run(&mut connection).await?;
                connection.close().await?;
            }
        }
        Ok(())
    }

    /// The version of the last migration that was applied; 0 when there is none.
    pub async fn schema_version(&self) -> Result<i64> {
        Ok(self.read().await?.greet().await?.schema_version)
    }

    /// Refuses a database whose schema is not the one that this program was built for.
    pub async fn check_schema(&self) -> Result<()> {
        self.read().await?.check_schema().await?;
        Ok(())
    }

    /// Begins a transaction that may write. SQLite takes its write lock now, so that a later write in the same
    /// transaction cannot fail because somebody else wrote meanwhile.
    pub async fn begin(&self) -> Result<Tx> {
        Ok(match self {
            Self::Sqlite(pool) => Tx::Sqlite(pool.lend(SQLITE_BEGIN.into_sql_str()).await?),
            Self::Postgres(pool, schema) => Tx::Postgres(pool.lend(begin_writing_in(schema)).await?),
        })
    }

    /// Begins a transaction that only reads, from one snapshot on SQLite.
    pub async fn read(&self) -> Result<Tx> {
        Ok(match self {
            Self::Sqlite(pool) => Tx::Sqlite(pool.lend("BEGIN".into_sql_str()).await?),
            Self::Postgres(pool, schema) => Tx::Postgres(pool.lend(begin_in(schema)).await?),
        })
    }

    /// Runs `work` in a writing transaction and commits it. When the database rolled it back for its own reasons
    /// (serialisation, deadlock, too many connections), all of it runs again after a short, jittered wait.
    pub async fn write<T>(&self, work: impl AsyncFn(&mut Tx) -> Result<T>) -> Result<T> {
        self.write_unless(async |tx| work(tx).await.map(Ok::<T, Infallible>)).await?.map_err(|never| match never {})
    }

    /// As [`Db::write`], but commits only what `work` found right: on an inner error nothing is written.
    pub async fn write_unless<T, E>(
        &self,
        work: impl AsyncFn(&mut Tx) -> Result<Result<T, E>>,
    ) -> Result<Result<T, E>> {
        let mut tries = 0;
        loop {
            let result = async {
                fail_point::hit("store.begin");
                let mut tx = self.begin().await?;
                let value = work(&mut tx).await?;
                if value.is_ok() {
                    fail_point::hit("store.commit");
                    tx.commit().await?;
                    fail_point::hit("store.committed");
                }
                Ok(value)
            }
            .await;
            match result {
                Err(StoreError::Database(error)) if tries < MAX_TRIES && is_transient(&error) => {
                    tries += 1;
                    tracing::debug!(%error, tries, "the database rolled a transaction back; running it again");
                    back_off(tries).await;
                }
                other => return other,
            }
        }
    }

    /// The database's own clock; `None` on SQLite, which has no clock but this machine's.
    pub async fn clock(&self) -> Result<Option<DateTime<Utc>>> {
        match self {
            Self::Sqlite(_) => Ok(None),
            Self::Postgres(pool, _) => Ok(Some(
                sqlx::query_scalar::<_, DateTime<Utc>>("SELECT clock_timestamp()")
                    .fetch_one(pool.connections())
                    .await?,
            )),
        }
    }

    /// Leaves a SQLite file as it is when the process ends, instead of putting its write-ahead log away first. The log
    /// is as safe as the file is, and the next one to open both reads it. To put it away and to make it anew would cost
    /// more waiting for the disk than all else that an idle run does.
    pub async fn leave_open(self) {
        if let Self::Sqlite(pool) = &self {
            // One that is still on its way back would be closed with the task that carries it.
            pool.wait_for_returning().await;
        }
        std::mem::forget(self);
    }

    /// Closes every connection.
    pub async fn close(&self) {
        match self {
            Self::Sqlite(pool) => pool.connections().close().await,
            Self::Postgres(pool, _) => pool.connections().close().await,
        }
    }
}

impl Tx {
    /// Asks a database what it is, in one question. To be asked first in a transaction, which is of no more use where
    /// there is no schema.
    async fn greet(&mut self) -> Result<Greeting> {
        let row: sqlx::Result<(Option<i64>, bool, Option<DateTime<Utc>>)> = match self {
            Self::Sqlite(tx) => {
                sqlx::query_as(
                    "SELECT max(version), EXISTS (SELECT 1 FROM meta WHERE key = 'rehearsal'), NULL
                     FROM _sqlx_migrations WHERE success",
                )
                .fetch_one(&mut **tx)
                .await
            }
            Self::Postgres(tx) => {
                sqlx::query_as(
                    "SELECT max(version), EXISTS (SELECT 1 FROM meta WHERE key = 'rehearsal'), clock_timestamp()
                     FROM _sqlx_migrations WHERE success",
                )
                .fetch_one(&mut **tx)
                .await
            }
        };
        match row {
            Ok((version, is_rehearsal, clock)) => {
                Ok(Greeting { schema_version: version.unwrap_or(0), is_rehearsal, clock })
            }
            Err(error) if is_missing_table(&error) => Ok(Greeting::default()),
            Err(error) => Err(error.into()),
        }
    }

    /// Refuses a database whose schema is not the one that this program was built for; yields what it is. To be asked
    /// first in a transaction, which is of no more use after a refusal.
    pub async fn check_schema(&mut self) -> Result<Greeting> {
        let (greeting, needed) = (self.greet().await?, Db::needed_version());
        let found = greeting.schema_version;
        if found == needed { Ok(greeting) } else { Err(StoreError::Schema { found, needed }) }
    }

    /// Ends this transaction, of which nothing is kept, and begins one that may write on the same connection.
    pub async fn renew(&mut self, db: &Db, durability: Durability) -> Result<()> {
        let is_durable = durability == Durability::Durable;
        match (self, db) {
            (Self::Sqlite(tx), _) => {
                let begin = if is_durable { SQLITE_BEGIN } else { SQLITE_BEGIN_PASSING };
                let renew = AssertSqlSafe(format!("ROLLBACK; {begin}"));
                sqlx::raw_sql(renew).execute(&mut **tx).await.map(drop)?;
            }
            (Self::Postgres(tx), Db::Postgres(_, schema)) => {
                let lazily = if is_durable { "" } else { "; SET LOCAL synchronous_commit = off" };
                let renew = AssertSqlSafe(format!("ROLLBACK; {}{lazily}", begin_writing_in(schema).as_str()));
                sqlx::raw_sql(renew).execute(&mut **tx).await.map(drop)?;
            }
            (Self::Postgres(_), Db::Sqlite(_)) => {
                return Err(StoreError::Conflict("a transaction is of another database".to_owned()));
            }
        }
        Ok(())
    }

    /// What makes a SELECT lock its rows until the transaction ends. On SQLite whoever writes has locked everything.
    fn lock_clause(&self) -> &'static str {
        if matches!(self, Self::Postgres(_)) { " FOR UPDATE" } else { "" }
    }

    /// Makes everything in this transaction durable.
    pub async fn commit(self) -> Result<()> {
        match self {
            Self::Sqlite(tx) => tx.commit().await?,
            Self::Postgres(tx) => tx.commit().await?,
        }
        Ok(())
    }
}

/// Creates the PostgreSQL schema and makes it the session's, so that the migrations land in it.
trait SchemaSession {
    async fn ensure_migrations_table_schema(&mut self, schema: &str) -> Result<()>;
}

impl SchemaSession for sqlx::PgConnection {
    async fn ensure_migrations_table_schema(&mut self, schema: &str) -> Result<()> {
        let quoted = quote_identifier(schema);
        // Two `init`s at once would both try to create it; the lock makes the second one wait.
        self.lock().await?;
        let created =
            sqlx::query(AssertSqlSafe(format!("CREATE SCHEMA IF NOT EXISTS {quoted}"))).execute(&mut *self).await;
        self.unlock().await?;
        created?;
        sqlx::query(AssertSqlSafe(format!("SET search_path TO {quoted}"))).execute(&mut *self).await?;
        Ok(())
    }
}

/// In each transaction, not once a session: a pooler may hand every transaction another session. The server ends a
/// transaction whose client is frozen or cut off, so that its locks do not hold up everybody else. One message to the
/// server holds all of it.
fn begin_in(schema: &str) -> SqlStr {
    AssertSqlSafe(format!(
        "BEGIN; SET LOCAL search_path TO {}; SET LOCAL idle_in_transaction_session_timeout = '{}s'; SET LOCAL jit = off",
        quote_identifier(schema),
        IDLE_TRANSACTION_TIMEOUT.as_secs()
    ))
    .into_sql_str()
}

/// As [`begin_in`]. What writes finds its rows by their keys. A server that planned a statement while the tables were
/// still empty would go on reading them whole when they have grown, and so would its checks of foreign keys. And what is
/// committed is on the disk, also where somebody told the server not to wait for it: an intent that a crash takes back
/// is a second ring.
fn begin_writing_in(schema: &str) -> SqlStr {
    AssertSqlSafe(format!(
        "{}; SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; \
         SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'",
        begin_in(schema).as_str()
    ))
    .into_sql_str()
}

fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Whether a statement failed because its table is not there.
fn is_missing_table(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else { return false };
    error.code().as_deref() == Some("42P01") || error.message().starts_with("no such table")
}
