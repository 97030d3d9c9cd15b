//! Connecting to either database.

use std::io;
use std::path::Path;
use std::str::FromStr as _;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection as _, PgConnection};

use super::transient::{MAX_TRIES, back_off, is_transient};
use super::{Db, Options, Pool, Result};

/// How long a connection waits for another writer of a SQLite database.
const BUSY_TIMEOUT: Duration = Duration::from_mins(1);
/// How long a command waits for a connection to PostgreSQL.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a server may take to let a command in before it is asked why.
const KNOCK_AFTER: Duration = Duration::from_millis(300);
/// A connection that was idle for longer is tried before it is used.
const TRUSTED_IDLE: Duration = Duration::from_secs(1);

/// Opens the SQLite file at `path`.
pub(super) async fn sqlite(path: &Path, options: &Options) -> Result<Db> {
    let connect = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(options.create)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT);
    // One connection, whatever was asked for: SQLite has one writer, and whatever one connection writes takes the
    // place of all that another one has in its cache.
    let pool = SqlitePoolOptions::new()
        .max_connections(1)
        .acquire_timeout(BUSY_TIMEOUT + ACQUIRE_TIMEOUT)
        // On a full disk SQLite ends a transaction by itself, which sqlx does not notice: no other one could
        // begin on that connection.
        .before_acquire(|connection, _| Box::pin(async move { Ok(!connection.is_in_transaction()) }))
        // A file does not go away as a server does.
        .test_before_acquire(false)
        .connect_lazy_with(connect);
    let first = pool.acquire().await?;
    Ok(Db::Sqlite(Pool::new(pool, Some(first))))
}

/// Connects to a PostgreSQL server.
pub(super) async fn postgres(options: &Options) -> Result<Db> {
    let mut connect = PgConnectOptions::from_str(&options.url)?.application_name("callops");
    if !options.statement_cache {
        connect = connect.statement_cache_capacity(0);
    }
    let pool = PgPoolOptions::new()
        .max_connections(options.max_connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        // A connection in steady use needs no question whether it still works before each transaction.
        .test_before_acquire(false)
        .before_acquire(|connection, seen| {
            Box::pin(async move {
                if seen.idle_for > TRUSTED_IDLE {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        .connect_lazy_with(connect.clone());
    // A server that lets us in does so at once, and the pool keeps the connection. Where it takes longer, the pool
    // would go on trying without a word, so the server is asked directly what is wrong.
    let first = if let Ok(Ok(connection)) = tokio::time::timeout(KNOCK_AFTER, pool.acquire()).await {
        Some(connection)
    } else {
        knock(&connect).await?;
        None
    };
    Ok(Db::Postgres(Pool::new(pool, first), options.schema.clone()))
}

/// Asks a server once whether it lets us in. The pool would try for [`ACQUIRE_TIMEOUT`] to reach one that is not there,
/// and then say no more than that it took too long.
async fn knock(connect: &PgConnectOptions) -> Result<()> {
    // A server that is full or starting is asked again: cron starts many of us in the same second.
    let mut tries = 0;
    loop {
        let answer = tokio::time::timeout(ACQUIRE_TIMEOUT, PgConnection::connect_with(connect)).await;
        let error = match answer {
            Ok(Ok(connection)) => return Ok(connection.close().await?),
            Ok(Err(error)) => error,
            Err(_) => {
                let limit = ACQUIRE_TIMEOUT.as_secs();
                io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {limit} s")).into()
            }
        };
        if tries >= MAX_TRIES || !is_transient(&error) {
            return Err(error.into());
        }
        tries += 1;
        back_off(tries).await;
    }
}
