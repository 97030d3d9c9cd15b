//! The bare statements, as somebody would write them who wants no more than what they find.

use std::fmt;

use anyhow::Result;
use callops::store;
use chrono::{DateTime, Utc};
use clap::ValueEnum;
use futures_util::TryStreamExt as _;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, SqliteConnection};

use super::cost::Server;

/// Where PostgreSQL's tables are.
pub(crate) const SCHEMA: &str = "callops_bench";

/// The session in which PostgreSQL is fastest at these: compiling takes longer than it saves.
const BEST: &str = "SET LOCAL jit = off";
const BY_INDEX: &str = "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; \
                        SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off";

/// Which statements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Statements {
    All,
    Contacts,
    Calls,
    CallsSince,
    Conversations,
}

impl fmt::Display for Statements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_possible_value().as_ref().map_or("", |value| value.get_name()))
    }
}

impl Statements {
    /// What callops is given to do the same.
    pub(crate) fn options(self) -> &'static [&'static str] {
        match self {
            Self::All => &[],
            Self::Contacts => &["--kind", "contacts"],
            Self::Calls | Self::CallsSince => &["--kind", "calls"],
            Self::Conversations => &["--kind", "conversations"],
        }
    }

    fn sql(self, is_sqlite: bool, since: DateTime<Utc>) -> Vec<String> {
        let near = if is_sqlite {
            "unixepoch(next_at) - unixepoch(claimed_at) <= 3600"
        } else {
            "next_at - claimed_at <= interval '3600 seconds'"
        };
        let calls = |from: &str| {
            format!(
                "SELECT a.tenant, a.phone, a.call_id, a.purpose, a.placing_at
                 FROM (SELECT DISTINCT tenant, phone
                       FROM (SELECT t.tenant, t.phone, t.claimed_at,
                                 lead(t.claimed_at) OVER (PARTITION BY t.tenant, t.phone ORDER BY t.claimed_at) AS next_at
                             FROM {from}) AS pairs
                       WHERE {near}) AS near CROSS JOIN attempts a
                 WHERE a.tenant = near.tenant AND a.phone = near.phone AND a.may_have_rung
                 ORDER BY a.tenant, a.phone, a.placing_at"
            )
        };
        match self {
            Self::All => [Self::Contacts, Self::Calls, Self::Conversations]
                .into_iter()
                .flat_map(|statements| statements.sql(is_sqlite, since))
                .collect(),
            Self::Contacts => [
                ("lower(trim(email))", "email IS NOT NULL"),
                (
                    "lower(replace(replace(replace(external_id, ' ', ''), '-', ''), '.', ''))",
                    "external_id IS NOT NULL",
                ),
                (
                    "CASE WHEN length(phone) = 14 AND phone LIKE '+521%' THEN '+52' || substr(phone, 5)
                     WHEN length(phone) = 14 AND phone LIKE '+549%' THEN '+54' || substr(phone, 5) ELSE phone END",
                    "(phone LIKE '+52%' OR phone LIKE '+54%')",
                ),
            ]
            .map(|(key, filter)| {
                format!(
                    "SELECT tenant, {key}, count(*), min(created_at), max(created_at), min(id), max(id) FROM contacts
                     WHERE {filter} GROUP BY tenant, {key} HAVING count(*) > 1 ORDER BY 1, 2"
                )
            })
            .to_vec(),
            Self::Calls => vec![calls("attempts t")],
            Self::CallsSince => {
                let since = since.to_rfc3339();
                vec![calls(&format!("attempts t WHERE t.account = 'acme-vapi' AND t.claimed_at >= '{since}'"))]
            }
            Self::Conversations => vec![
                "SELECT c.tenant, c.started_at, c.duration_seconds, count(*), min(c.id), min(c.created_at), max(c.created_at)
                 FROM (SELECT tenant, started_at, duration_seconds FROM conversations
                       WHERE started_at IS NOT NULL AND duration_seconds IS NOT NULL
                       GROUP BY tenant, started_at, duration_seconds HAVING count(*) > 1) AS m
                     CROSS JOIN conversations c
                 WHERE c.tenant = m.tenant AND c.started_at = m.started_at AND c.duration_seconds = m.duration_seconds
                   AND c.transcript <> ''
                 GROUP BY c.tenant, c.started_at, c.duration_seconds, c.transcript HAVING count(*) > 1 ORDER BY 1, 5"
                    .to_owned(),
                "SELECT a.tenant, a.provider_call_id, a.id, s.id FROM sessions s CROSS JOIN attempts a
                 WHERE a.provider_call_id = s.conversation_id AND a.account = s.account AND s.conversation_id IS NOT NULL
                 ORDER BY 1, 2"
                    .to_owned(),
            ],
        }
    }
}

/// Runs them in one transaction and reads all rows.
pub(crate) async fn run(url: &str, statements: Statements, since: DateTime<Utc>) -> Result<()> {
    if let Some(path) = store::sqlite_path(url) {
        let options = SqliteConnectOptions::new().filename(path);
        let mut connection = SqliteConnection::connect_with(&options).await?;
        for sql in statements.sql(true, since) {
            let mut rows = connection.fetch(AssertSqlSafe(sql));
            while rows.try_next().await?.is_some() {}
        }
        connection.close().await?;
    } else {
        let mut connection = PgConnection::connect(url).await?;
        connection.execute(AssertSqlSafe(format!("BEGIN; SET LOCAL search_path TO {SCHEMA}"))).await?;
        connection.execute(BEST).await?;
        for sql in statements.sql(false, since) {
            // The plans that callops has the server take, so that they are no part of what is measured.
            let is_scan = sql.contains("FROM contacts");
            connection.execute(if is_scan { "SET LOCAL enable_seqscan = on" } else { BY_INDEX }).await?;
            let mut rows = sqlx::query(AssertSqlSafe(sql)).fetch(&mut connection);
            while rows.try_next().await?.is_some() {}
        }
        connection.close().await?;
    }
    Ok(())
}

/// The server, where there is one.
pub(crate) async fn server(url: &str) -> Result<Option<Server>> {
    if store::sqlite_path(url).is_some() {
        return Ok(None);
    }
    let mut connection = PgConnection::connect(url).await?;
    let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut connection).await?;
    Ok(Some(Server::of_session(pid)))
}

/// Removes what a bench left.
pub(crate) async fn forget(url: &str) -> Result<()> {
    if let Some(path) = store::sqlite_path(url) {
        for tail in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{tail}", path.display()));
        }
    } else {
        let mut connection = PgConnection::connect(url).await?;
        sqlx::raw_sql(AssertSqlSafe(format!("DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")))
            .execute(&mut connection)
            .await?;
        connection.close().await?;
    }
    Ok(())
}
