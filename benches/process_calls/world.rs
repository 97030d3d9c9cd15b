//! What is measured: a rehearsal database with its people, a sandbox, and the processes that work on both.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use callops::app::new_id;
use callops::domain::campaign::{AccountSettings, Rules, TenantSettings, ZonePolicy};
use callops::domain::evidence::RetryPolicy;
use callops::domain::schedule::Schedule;
use callops::domain::slot::Frequency;
use callops::store::contacts::{self, Contact};
use callops::store::setup::{self, Account, Campaign, Tenant};
use callops::store::{Db, Options, control, enrollments};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::Executor as _;

use crate::limit;

const CALLOPS: &str = env!("CARGO_BIN_EXE_callops");
/// A Tuesday morning in New York, where every campaign's window opens at nine.
pub(crate) const IN_THE_WINDOW: &str = "2026-11-24T15:00:00Z";
/// The same day before the window opens.
pub(crate) const BEFORE_THE_WINDOW: &str = "2026-11-24T10:00:00Z";
const SEED_ROWS: usize = 5000;

/// Where a database is: everything that a process needs to find it.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) kind: &'static str,
    pub(crate) url: String,
    pub(crate) schema: String,
    /// An empty folder, in which no configuration is found.
    pub(crate) folder: PathBuf,
    /// The build that works on it.
    pub(crate) callops: PathBuf,
}

/// What to put into a database.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seed<'a> {
    pub(crate) contacts: u64,
    pub(crate) campaigns: u64,
    /// Where the account's provider answers.
    pub(crate) sandbox: &'a str,
}

impl Place {
    /// Makes the database and fills it: people are enrolled, and due for a check since long ago.
    pub(crate) async fn fill(&self, seed: Seed<'_>) -> Result<()> {
        let options = Options {
            url: self.url.clone(),
            schema: self.schema.clone(),
            max_connections: 1,
            statement_cache: true,
            create: true,
        };
        let db = Db::connect(&options).await?;
        db.migrate().await?;
        let long_ago: DateTime<Utc> = "2026-11-01T00:00:00Z".parse()?;
        let now: DateTime<Utc> = BEFORE_THE_WINDOW.parse()?;
        let account = account(seed.sandbox)?;
        let tenant = tenant()?;
        let campaigns: Vec<Campaign> =
            (0..seed.campaigns).map(|number| campaign(number, now)).collect::<Result<_>>()?;
        db.write(async |tx| {
            control::mark_rehearsal(tx).await?;
            setup::put_account(tx, &account, long_ago).await?;
            setup::put_tenant(tx, &tenant, long_ago).await?;
            for campaign in &campaigns {
                setup::put_campaign(tx, campaign, long_ago).await?;
                setup::set_active(tx, &campaign.id, true, long_ago).await?;
            }
            Ok(())
        })
        .await?;
        let numbers: Vec<u64> = (0..seed.contacts).collect();
        for batch in numbers.chunks(SEED_ROWS) {
            let people: Vec<Contact> = batch.iter().map(|number| contact(*number, now)).collect();
            db.write(async |tx| {
                for rows in people.chunks(contacts::BATCH_ROWS) {
                    contacts::insert(tx, rows).await?;
                }
                for (index, campaign) in campaigns.iter().enumerate() {
                    let pairs: Vec<(String, String)> = batch
                        .iter()
                        .zip(&people)
                        .filter(|(number, _)| usize::try_from(**number).unwrap_or(0) % campaigns.len() == index)
                        .map(|(_, person)| (new_id(now), person.id.clone()))
                        .collect();
                    enrollments::enroll(tx, &campaign.id, 2, &pairs, long_ago).await?;
                }
                Ok(())
            })
            .await?;
        }
        settle(&db).await?;
        db.close().await;
        Ok(())
    }

    /// The URL of the same database: of a copy of its file on SQLite, whose log is empty.
    pub(crate) fn copy_of_file(&self) -> Result<String> {
        let Some(path) = callops::store::sqlite_path(&self.url) else { return Ok(self.url.clone()) };
        let copy = path.with_extension("copy.db");
        std::fs::copy(path, &copy)?;
        Ok(format!("sqlite:{}", copy.display()))
    }

    /// The process id of a session at the server.
    pub(crate) async fn session(&self) -> Result<Option<(sqlx::PgConnection, i32)>> {
        use sqlx::Connection as _;
        if self.kind != "postgres" {
            return Ok(None);
        }
        let mut connection = sqlx::PgConnection::connect(&self.url).await?;
        let pid = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut connection).await?;
        Ok(Some((connection, pid)))
    }

    /// Throws the database away.
    pub(crate) async fn drop(&self) -> Result<()> {
        use sqlx::Connection as _;
        if self.kind == "postgres" {
            let mut connection = sqlx::PgConnection::connect(&self.url).await?;
            let drop = format!("DROP SCHEMA IF EXISTS {} CASCADE", self.schema);
            connection.execute(sqlx::AssertSqlSafe(drop)).await?;
            connection.close().await?;
        }
        std::fs::remove_dir_all(&self.folder)?;
        Ok(())
    }

    /// One run of `process-calls` at a moment.
    pub(crate) fn process_calls(&self, now: &str, concurrency: u64) -> Command {
        let mut command = Command::new(&self.callops);
        command
            .args(["process-calls", "--max-runtime", "10m", "--now", now, "--concurrency", &concurrency.to_string()])
            .current_dir(&self.folder)
            .env_clear()
            .env("HOME", &self.folder)
            .env("CALLOPS_DATABASE_URL", &self.url)
            .env("CALLOPS_DATABASE_SCHEMA", &self.schema)
            .env("BENCH_KEY", limit::KEY);
        command
    }
}

/// Leaves the database as a night's rest would: statistics made, nothing waiting to be written back.
async fn settle(db: &Db) -> Result<()> {
    match db {
        Db::Sqlite(pool) => {
            pool.connections().execute("ANALYZE").await?;
            pool.connections().execute("PRAGMA wal_checkpoint(TRUNCATE)").await?;
        }
        Db::Postgres(pool, schema) => {
            for table in ["contacts", "enrollments", "campaigns", "calls", "slots", "attempts"] {
                pool.connections().execute(sqlx::AssertSqlSafe(format!("VACUUM ANALYZE {schema}.{table}"))).await?;
            }
            pool.connections().execute("CHECKPOINT").await?;
        }
    }
    Ok(())
}

fn account(sandbox: &str) -> Result<Account> {
    let settings = AccountSettings {
        api_key: "env:BENCH_KEY".to_owned(),
        client_id: None,
        data_center: None,
        account_sid: None,
        api_secret: None,
        webhook_secret: None,
        previous_webhook_secret: None,
        livemode: None,
        webhook_signature: None,
        base_url: Some(sandbox.to_owned()),
    };
    Ok(Account {
        name: "acme-vapi".to_owned(),
        provider: "vapi".to_owned(),
        settings: serde_json::to_string(&settings)?,
        max_concurrency: 100_000,
        calls_per_minute: None,
        org_id: None,
        held_until: None,
        held_reason: None,
        refusals: 0,
    })
}

fn tenant() -> Result<Tenant> {
    Ok(Tenant {
        name: "acme".to_owned(),
        display_name: "Acme Dental".to_owned(),
        region: Some("US".to_owned()),
        timezone: Some("America/New_York".to_owned()),
        settings: serde_json::to_string(&TenantSettings::default())?,
    })
}

fn campaign(number: u64, now: DateTime<Utc>) -> Result<Campaign> {
    let window = "09:00-17:00".parse().map_err(|error| anyhow::anyhow!("{error}"))?;
    let rules = Rules {
        frequency: Frequency::Daily,
        schedule: Schedule::every_day(window),
        zone_policy: ZonePolicy::Campaign,
        timezone: None,
        agent: json!({"assistant_id": "assistant-1", "phone_number_id": "line-1"}),
        retry: RetryPolicy::default(),
        look_back_seconds: 900,
        answer_timeout_seconds: None,
        call_timeout_seconds: None,
        calls_per_minute: None,
        min_gap_seconds: None,
        max_calls_per_day: None,
        reminders: None,
        max_calls_per_week: None,
    };
    Ok(Campaign {
        id: new_id(now),
        tenant: "acme".to_owned(),
        name: format!("checkup-{number}"),
        purpose: "checkup".to_owned(),
        account: "acme-vapi".to_owned(),
        active: false,
        priority: 0,
        rules: serde_json::to_string(&rules)?,
        rules_version: 0,
        next_open_at: None,
        last_served_at: DateTime::UNIX_EPOCH,
        held_until: None,
        held_reason: None,
        refusals: 0,
    })
}

fn contact(number: u64, now: DateTime<Utc>) -> Contact {
    Contact {
        id: new_id(now),
        tenant: "acme".to_owned(),
        phone: limit::phone(number),
        extension: None,
        name: Some("Ada".to_owned()),
        email: None,
        external_id: None,
        timezone: None,
        timezone_source: None,
        preferred_time: None,
        attributes: r#"{"city":"Albany"}"#.to_owned(),
        version: 1,
        import_id: None,
        created_at: now,
        updated_at: now,
    }
}

/// A sandbox of its own process, which ends when this is dropped.
pub(crate) struct Sandbox {
    child: Child,
    pub(crate) url: String,
}

impl Sandbox {
    /// Starts one that answers after `latency_ms`, and lets calls end at once. Its clock shows [`IN_THE_WINDOW`].
    pub(crate) async fn start(folder: &Path, latency_ms: u64) -> Result<Self> {
        let mut child = Command::new(CALLOPS)
            .args(["sandbox", "--latency", &format!("{latency_ms}ms"), "--concurrency", "1000000", "--pace", "0"])
            .current_dir(folder)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the sandbox")?;
        let mut line = String::new();
        let stdout = child.stdout.take().context("the sandbox has no stdout")?;
        BufReader::new(stdout).read_line(&mut line)?;
        let url = serde_json::from_str::<Value>(&line)?["url"].as_str().context("the sandbox named no URL")?.to_owned();
        let sandbox = Self { child, url };
        let clock = client()?.post(format!("{}/_sandbox/clock", sandbox.url)).json(&json!({"now": IN_THE_WINDOW}));
        clock.send().await?.error_for_status()?;
        Ok(sandbox)
    }

    /// How many phones rang, each exactly once: a second ring of any fails the bench.
    pub(crate) async fn rings(&self) -> Result<u64> {
        let ledger: Value = client()?.get(format!("{}/_sandbox/calls", self.url)).send().await?.json().await?;
        let phones = ledger["rings_by_phone"].as_object().context("the ledger lists no phones")?;
        let twice = phones.values().filter(|rings| rings.as_u64() != Some(1)).count();
        ensure!(twice == 0, "{twice} phones rang more than once");
        Ok(phones.len() as u64)
    }
}

#[expect(clippy::disallowed_methods, reason = "the sandbox's own endpoints are no provider")]
fn client() -> Result<reqwest::Client> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Ok(reqwest::Client::builder().no_proxy().tls_certs_only([]).build()?)
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
