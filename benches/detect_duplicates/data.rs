//! The tables that are measured, made by the databases themselves.
//!
//! Each phone is called five times, the last time within the last day; one of two thousand calls follows another to its
//! phone within minutes, and one of a thousand contacts has the address or id of another.

use anyhow::Result;
use callops::store;
use chrono::{DateTime, Utc};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};

use super::bare::SCHEMA;

/// How many rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) contacts: u64,
    pub(crate) calls: u64,
}

/// What is put in.
pub(crate) struct World {
    sizes: Sizes,
    now: DateTime<Utc>,
}

/// How each database says the same.
struct Dialect {
    /// Rows `n(i)` from 0 up to `{count}`.
    numbers: &'static str,
    /// An instant of `{seconds}` since 1970, with a fraction.
    instant: &'static str,
    /// `{text}` with the number `{i}` of so many digits.
    padded: fn(&str, &str, usize) -> String,
}

const SQLITE: Dialect = Dialect {
    numbers: "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {count})",
    instant: "strftime('%Y-%m-%dT%H:%M:%S', {seconds}, 'unixepoch') || '.123456+00:00'",
    padded: |text, i, digits| format!("'{text}' || printf('%0{digits}d', {i})"),
};
const POSTGRES: Dialect = Dialect {
    numbers: "WITH n(i) AS (SELECT generate_series(0::bigint, {count} - 1))",
    instant: "to_timestamp({seconds}) + interval '123456 microseconds'",
    padded: |text, i, digits| format!("'{text}' || lpad(({i})::text, {digits}, '0')"),
};

impl World {
    pub(crate) fn new(sizes: Sizes, now: DateTime<Utc>) -> Self {
        Self { sizes, now }
    }

    /// Fills the tables of a database that was just made.
    pub(crate) async fn fill(&self, url: &str) -> Result<()> {
        if let Some(path) = store::sqlite_path(url) {
            let options = SqliteConnectOptions::new().filename(path).foreign_keys(false);
            let mut connection = SqliteConnection::connect_with(&options).await?;
            let pragmas = "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -400000";
            sqlx::raw_sql(pragmas).execute(&mut connection).await?;
            let indexes: Vec<(String, String)> = sqlx::query_as(
                "SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL
                   AND tbl_name IN ('attempts', 'contacts', 'conversations', 'sessions')",
            )
            .fetch_all(&mut connection)
            .await?;
            for (name, _) in &indexes {
                sqlx::raw_sql(AssertSqlSafe(format!("DROP INDEX {name}"))).execute(&mut connection).await?;
            }
            for statement in self.statements(&SQLITE) {
                sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await?;
            }
            for (_, sql) in indexes {
                sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await?;
            }
            sqlx::raw_sql("PRAGMA journal_mode = WAL").execute(&mut connection).await?;
            connection.close().await?;
        } else {
            let mut connection = PgConnection::connect(url).await?;
            // The tables that others refer to stay empty: they are not what is measured.
            let begin = format!(
                "SET search_path TO {SCHEMA}; SET synchronous_commit = off; SET session_replication_role = replica; \
                 SET maintenance_work_mem = '256MB'"
            );
            sqlx::raw_sql(AssertSqlSafe(begin)).execute(&mut connection).await?;
            let indexes: Vec<(String, String)> = sqlx::query_as(
                "SELECT i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid) FROM pg_index i
                 WHERE i.indrelid IN ('attempts'::regclass, 'contacts'::regclass, 'conversations'::regclass)
                   AND NOT EXISTS (SELECT 1 FROM pg_constraint c WHERE c.conindid = i.indexrelid)",
            )
            .fetch_all(&mut connection)
            .await?;
            for (name, _) in &indexes {
                sqlx::raw_sql(AssertSqlSafe(format!("DROP INDEX {name}"))).execute(&mut connection).await?;
            }
            for statement in self.statements(&POSTGRES) {
                sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await?;
            }
            for (_, sql) in indexes {
                sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await?;
            }
            for table in ["contacts", "attempts", "conversations", "sessions"] {
                sqlx::raw_sql(AssertSqlSafe(format!("VACUUM ANALYZE {table}"))).execute(&mut connection).await?;
            }
            sqlx::raw_sql("CHECKPOINT").execute(&mut connection).await?;
            connection.close().await?;
        }
        Ok(())
    }

    fn statements(&self, dialect: &Dialect) -> Vec<String> {
        let Sizes { contacts, calls } = self.sizes;
        let phones = (calls / 5).max(1);
        let now = self.now.timestamp();
        let numbers = |count: u64| dialect.numbers.replace("{count}", &count.to_string());
        let instant = |seconds: &str| dialect.instant.replace("{seconds}", seconds);
        let padded = dialect.padded;
        // Four fifths of the calls over forty days, and the last within a day.
        let day = 86_400;
        let recent = phones * 4;
        let claimed = format!(
            "CASE WHEN i < {recent} THEN {now} - {day} - 40 * {day} + i * 40 * {day} / {recent}
             ELSE {now} - {day} + (i - {recent}) * {day} / {phones} END"
        );
        let claimed_at = instant(&format!("({claimed})"));
        let placing_at = instant(&format!("({claimed} + 1)"));
        let again = "(i - CASE WHEN i % 2000 = 1 THEN 1 ELSE 0 END)";
        let phone = padded("+1", &format!("2002000000 + ({again} * 7919) % {phones}"), 10);
        let tenant = |i: &str| format!("'tenant-' || ({i} % 10)");
        let tenant_of_call = tenant(&format!("(({again} * 7919) % {phones})"));
        let made = instant(&format!("({now} - 50 * {day} + i)"));
        let same = "(i - CASE WHEN i % 1000 = 10 THEN 10 ELSE 0 END)";
        let contact_phone = format!(
            "CASE WHEN i % 500 = 3 THEN {} WHEN i % 500 = 13 THEN {} ELSE {} END",
            padded("+521", "5500000000 + i / 500", 10),
            padded("+52", "5500000000 + i / 500", 10),
            padded("+1", "3002000000 + i", 10)
        );
        vec![
            format!(
                "INSERT INTO accounts (name, provider, settings, max_concurrency, created_at, updated_at)
                 VALUES ('acme-vapi', 'vapi', '{{}}', 10, {0}, {0})",
                instant(&now.to_string())
            ),
            format!(
                "{} INSERT INTO contacts (id, tenant, phone, email, external_id, attributes, created_at, updated_at)
                 SELECT {}, {}, {contact_phone},
                     CASE WHEN i % 1000 = 10 THEN 'Person' ELSE 'person' END || {same} || '@mail.example',
                     CASE WHEN i % 1000 = 10 THEN 'K' ELSE 'k-' END || {same}, '{{}}', {made}, {made} FROM n",
                numbers(contacts),
                padded("01JB", "i", 22),
                tenant("i"),
            ),
            format!(
                "{} INSERT INTO attempts (id, call_id, number, tenant, phone, purpose, contact_id, contact_version,
                     campaign_id, rules_version, account, state, owner, lease_until, window_closes_at, dial_before,
                     answer_timeout_seconds, call_timeout_seconds, may_have_rung, claimed_at, placing_at,
                     provider_call_id, org_id, line, agent, outcome, evidence, updated_at)
                 SELECT {}, {}, 1, {tenant_of_call}, {phone}, 'checkup', {}, 1, '01JD5Q3G7V9M2C8K4R6T0W1XYZ', 1,
                     'acme-vapi', 'ended', '01JD5Q3G7V9M2C8K4R6T0W1XYZ', {claimed_at}, {claimed_at}, {claimed_at},
                     600, 3600, TRUE, {claimed_at}, {placing_at},
                     'call-' || i, 'org', 'line-1', '{{\"assistant_id\": \"assistant-1\"}}', 'answered', 'provider',
                     {claimed_at} FROM n",
                numbers(calls),
                padded("01JD", "i", 22),
                padded("01JC", "i", 22),
                padded("01JB", "i", 22),
            ),
            format!(
                "{} INSERT INTO conversations (id, tenant, account, status, tries, started_at, duration_seconds, summary,
                     transcript, created_at, updated_at)
                 SELECT {}, {}, 'acme-vapi', 'completed', 1, {}, 30 + {same} % 300, 'They said that it is well.',
                     'agent: hello, this is about number ' || {same} || '. callee: yes, thank you very much for calling.
                      agent: is it well? callee: it is well, and I need nothing. agent: good bye.', {made}, {made} FROM n",
                numbers(contacts),
                padded("01JD", "i", 22),
                tenant("i"),
                instant(&format!("({now} - 50 * {day} + {same})")),
            ),
            format!(
                "{} INSERT INTO sessions (id, tenant, account, status, conversation_id, metadata, started_at, updated_at)
                 SELECT {}, 'tenant-0', 'acme-vapi', 'ended', CASE WHEN i % 100 = 7 THEN 'call-' ELSE 'web-' END || i,
                     '{{}}', {made}, {made} FROM n",
                numbers(contacts / 100),
                padded("01JE", "i", 22),
            ),
        ]
    }
}
