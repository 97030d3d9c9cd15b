//! What every command gets: clock, configuration, printer, and the database when it asks for it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value};
use tokio::sync::OnceCell;
use ulid::Ulid;

use crate::clock::{Clock, MAX_CLOCK_SKEW_SECONDS};
use crate::config::{Config, DatabaseUrl};
use crate::domain::zone::tzdata_version;
use crate::error::{Exit, Failure, Loss, classify, hints, loss};
use crate::output::Printer;
use crate::providers::http::Http;
use crate::store::{self, Db, Durability, StoreError, Tx, runs};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What a command works with.
#[derive(Debug)]
pub struct App {
    /// The time.
    pub clock: Clock,
    /// stdout and stderr.
    pub printer: Printer,
    /// The configuration in force.
    pub config: Config,
    /// Whether the command promised to change nothing.
    dry_run: bool,
    max_connections: u32,
    db: OnceCell<Db>,
    /// The database's clock and ours when it was opened, until somebody has compared them.
    first_look: Mutex<Option<(DateTime<Utc>, DateTime<Utc>)>>,
    http: OnceCell<Http>,
    /// The last thing that was written is the heartbeat of a run that found nothing to do.
    was_idle: AtomicBool,
}

impl App {
    /// An app; `dry_run` says that the command will change nothing, which lets `--now` work on any database.
    pub fn new(clock: Clock, printer: Printer, config: Config, dry_run: bool) -> Self {
        Self {
            clock,
            printer,
            config,
            dry_run,
            max_connections: 2,
            db: OnceCell::new(),
            first_look: Mutex::default(),
            http: OnceCell::new(),
            was_idle: AtomicBool::new(false),
        }
    }

    /// The same app, with so many connections to a PostgreSQL server.
    #[must_use]
    pub fn with_connections(self, max_connections: u32) -> Self {
        Self { max_connections, ..self }
    }

    /// The database, with the schema that this program needs.
    ///
    /// # Errors
    /// Exit 6 when it is missing, has another schema, or `--now` was given for a database that is no rehearsal; exit 7
    /// when it cannot be reached.
    pub async fn db(&self) -> Result<&Db> {
        self.open(&mut None).await
    }

    /// The database as [`App::db`] gives it, with a reading transaction: the one in which it was looked at, if this is
    /// the first use of it. A run that does no more than look costs one connection and one transaction.
    ///
    /// # Errors
    /// As [`App::db`].
    pub async fn db_and_tx(&self) -> Result<(&Db, Tx)> {
        let mut first = None;
        let db = self.open(&mut first).await?;
        let tx = match first {
            Some(tx) => tx,
            None => db.read().await?,
        };
        Ok((db, tx))
    }

    async fn open(&self, first: &mut Option<Tx>) -> Result<&Db> {
        self.db
            .get_or_try_init(|| async move {
                let db = self.connect(self.max_connections, false).await?;
                let mut tx = db.read().await?;
                let greeting = tx.check_schema().await.map_err(explain_store_error)?;
                if let (Some(theirs), Ok(mut first_look)) = (greeting.clock, self.first_look.lock()) {
                    *first_look = Some((theirs, self.clock.now()));
                }
                if self.clock.is_shifted() && !self.dry_run && !greeting.is_rehearsal {
                    return Err(Failure::usage("--now moves the clock, and this is no rehearsal database")
                        .hint("give --dry-run, or use a database made by `callops init --rehearsal`")
                        .into());
                }
                *first = Some(tx);
                Ok(db)
            })
            .await
    }

    /// The database for a command that may create it: the file or schema is made and brought up to date.
    ///
    /// # Errors
    /// As [`App::db`].
    pub async fn db_created(&self) -> Result<&Db> {
        self.db
            .get_or_try_init(|| async {
                let db = self.connect(2, true).await?;
                if db.schema_version().await? == 0 {
                    self.printer.say(format!("making the database {}", self.config.database()?.url));
                }
                db.migrate().await.map_err(explain_store_error)?;
                Ok(db)
            })
            .await
    }

    /// A database as it is, whatever its schema.
    ///
    /// # Errors
    /// As [`App::db`], but for the schema.
    pub async fn connect(&self, max_connections: u32, create: bool) -> Result<Db> {
        let settings = self.config.database()?;
        if create && let Some(folder) = store::sqlite_path(settings.url.as_str()).and_then(std::path::Path::parent) {
            std::fs::create_dir_all(folder)
                .with_context(|| Failure::configuration(format!("cannot create the folder {}", folder.display())))?;
        }
        let options = store::Options {
            url: settings.url.as_str().to_owned(),
            schema: settings.schema.clone(),
            max_connections,
            statement_cache: settings.statement_cache,
            create,
        };
        Db::connect(&options).await.map_err(|error| {
            let context = format!("cannot open the database {}", settings.url);
            let error = explain_store_error(error);
            if let Some(loss @ (Loss::Full | Loss::Unwritable)) = loss(&error) {
                return error.context(lost_database(loss, &settings.url));
            }
            match (classify(&error), hints(&error).is_empty()) {
                (Exit::Unreachable, true) => {
                    error.context(Failure::unreachable(context).hint("is the server running? trying again may help"))
                }
                (Exit::Configuration, true) => {
                    error.context(Failure::configuration(context).hint("check its address, user and password"))
                }
                _ => error.context(context),
            }
        })
    }

    /// The one HTTP client of this process, built when it is first needed.
    pub async fn http(&self) -> &Http {
        self.http.get_or_init(|| async { Http::new(CONNECT_TIMEOUT, self.config.request_timeout.to_std()) }).await
    }

    /// A new ULID of this moment.
    pub fn new_id(&self) -> String {
        new_id(self.clock.now())
    }

    /// Refuses to go on when the database's clock and ours are too far apart. A rehearsal's clock may be anywhere.
    ///
    /// # Errors
    /// Exit 6.
    pub async fn check_database_clock(&self) -> Result<()> {
        if self.clock.is_shifted() {
            return Ok(());
        }
        let db = self.db().await?;
        let first_look = self.first_look.lock().ok().and_then(|mut first_look| first_look.take());
        let clocks = match first_look {
            Some(clocks) => Some(clocks),
            None => db.clock().await?.map(|theirs| (theirs, self.clock.now())),
        };
        clocks.map_or(Ok(()), |(theirs, ours)| check_skew("the database", theirs, ours))
    }

    /// Appends a line to the audit log.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn audit(&self, tx: &mut store::Tx, action: &str, subject: &str, detail: Value) -> store::Result<()> {
        runs::audit(tx, &self.audit_entry(action, subject.to_owned(), &detail)).await
    }

    /// Appends a line to the audit log for each subject with its details.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn audit_each(
        &self,
        tx: &mut store::Tx,
        action: &str,
        subjects: impl IntoIterator<Item = (String, Value)>,
    ) -> store::Result<()> {
        let entries: Vec<runs::AuditEntry> =
            subjects.into_iter().map(|(subject, detail)| self.audit_entry(action, subject, &detail)).collect();
        runs::audit_all(tx, &entries).await
    }

    fn audit_entry(&self, action: &str, subject: String, detail: &Value) -> runs::AuditEntry {
        runs::AuditEntry {
            id: self.new_id(),
            at: self.clock.now(),
            run_id: None,
            actor: "operator".to_owned(),
            action: action.to_owned(),
            subject,
            detail: detail.to_string(),
        }
    }

    /// Records the end of a recurring command: its heartbeat, and a run if it did something. `tx` is a reading
    /// transaction whose connection serves for it, if the caller has one left.
    ///
    /// # Errors
    /// When the database cannot be written.
    #[expect(clippy::too_many_arguments, reason = "all that is recorded of a run, and where")]
    pub async fn finish_run(
        &self,
        run_id: &str,
        command: &str,
        started_at: DateTime<Utc>,
        exit: Exit,
        counts: &Map<String, Value>,
        did_something: bool,
        tx: Option<Tx>,
    ) -> Result<()> {
        let run = self.run_ended_now(run_id, command, started_at, exit, counts);
        let db = self.db().await?;
        let write = async |tx: &mut Tx| {
            let counts = run.counts.as_deref().unwrap_or("{}");
            let ended_at = run.ended_at.unwrap_or(started_at);
            runs::beat(tx, command, started_at, ended_at, i64::from(exit.code()), counts).await?;
            if did_something {
                runs::record(tx, &run).await?;
            }
            Ok(())
        };
        let tx = match tx {
            None if !did_something => Some(db.read().await?),
            tx => tx,
        };
        if let Some(mut tx) = tx {
            let durability = if did_something { Durability::Durable } else { Durability::Passing };
            let result = async {
                tx.renew(db, durability).await?;
                write(&mut tx).await?;
                tx.commit().await
            };
            match result.await {
                Ok(()) => {
                    self.was_idle.store(!did_something, Ordering::Relaxed);
                    return Ok(());
                }
                Err(error) => tracing::debug!(%error, "the heartbeat is tried again on another connection"),
            }
        }
        db.write(write).await?;
        Ok(())
    }

    /// Records the end of a command that an operator ran, which has no heartbeat.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn record_run(
        &self,
        run_id: &str,
        command: &str,
        started_at: DateTime<Utc>,
        exit: Exit,
        counts: &Map<String, Value>,
    ) -> Result<()> {
        let run = self.run_ended_now(run_id, command, started_at, exit, counts);
        self.db().await?.write(async |tx| runs::record(tx, &run).await).await?;
        Ok(())
    }

    fn run_ended_now(
        &self,
        run_id: &str,
        command: &str,
        started_at: DateTime<Utc>,
        exit: Exit,
        counts: &Map<String, Value>,
    ) -> runs::Run {
        runs::Run {
            id: run_id.to_owned(),
            command: command.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            tzdata: tzdata_version().to_owned(),
            host: gethostname::gethostname().to_string_lossy().into_owned(),
            pid: i64::from(std::process::id()),
            started_at,
            ended_at: Some(self.clock.now()),
            exit_code: Some(i64::from(exit.code())),
            counts: Some(Value::Object(counts.clone()).to_string()),
        }
    }

    /// Says of which database it was that failed in the middle of a command, and what to do; other errors stay as they
    /// are.
    pub fn explain_lost_database(&self, error: anyhow::Error) -> anyhow::Error {
        match (loss(&error), self.config.database()) {
            (Some(loss), Ok(settings)) => error.context(lost_database(loss, &settings.url)),
            _ => error,
        }
    }

    /// Ends the use of the database together with the process.
    pub async fn end(self) {
        let was_idle = self.was_idle.load(Ordering::Relaxed);
        match self.db.into_inner() {
            Some(db) if was_idle && matches!(db, Db::Sqlite(_)) => db.leave_open().await,
            Some(db) => db.close().await,
            None => {}
        }
    }

    /// Closes the database.
    pub async fn close(&self) {
        if let Some(db) = self.db.get() {
            db.close().await;
        }
    }
}

/// A new ULID of the moment `at`: ids sort by the time at which they were made.
pub fn new_id(at: DateTime<Utc>) -> String {
    let millis = u64::try_from(at.timestamp_millis()).unwrap_or(0);
    Ulid::from_parts(millis, fastrand::u128(..)).to_string()
}

/// Refuses to go on when somebody's clock and ours are more than [`MAX_CLOCK_SKEW_SECONDS`] apart.
///
/// # Errors
/// Exit 6.
pub fn check_skew(whose: &str, theirs: DateTime<Utc>, ours: DateTime<Utc>) -> Result<()> {
    let skew = theirs - ours;
    if skew.abs() <= TimeDelta::seconds(MAX_CLOCK_SKEW_SECONDS) {
        return Ok(());
    }
    Err(Failure::configuration(format!(
        "the clock of {whose} shows {theirs}, this machine's shows {ours}: {} s apart, so no call is placed",
        skew.num_seconds().abs()
    ))
    .hint("set the clocks right (NTP)")
    .into())
}

/// What is said of a database that failed so that a later run may find it well again.
fn lost_database(loss: Loss, url: &DatabaseUrl) -> Failure {
    match loss {
        Loss::Full => Failure::unreachable(format!("the disk that holds the database {url} is full"))
            .hint("make room there: the next run goes on where this one ended"),
        Loss::Unwritable => Failure::unreachable(format!("the database {url} cannot be read or written"))
            .hint("is its disk full, over a quota or failing? the next run goes on where this one ended"),
        Loss::Connection => Failure::unreachable(format!("lost the database {url}"))
            .hint("is the server running? the next run goes on where this one ended"),
    }
}

/// What to tell people of a wall clock that was moved while a run went on, if it was.
pub fn clock_step(clock: &Clock) -> Option<String> {
    let moved = clock.step()?.num_seconds();
    Some(format!(
        "this machine's clock moved by {moved:+} s in the middle of the run (somebody set it, or the machine was \
         asleep), so no more calls are placed: see that it is right (NTP); the next run goes on"
    ))
}

/// Gives an error of the store its class and hints.
pub fn explain_store_error(error: StoreError) -> anyhow::Error {
    let failure = match &error {
        StoreError::Missing(path) => Failure::configuration(format!("there is no database at {}", path.display()))
            .hint("`callops init` makes one; or name another with --database-url or CALLOPS_DATABASE_URL"),
        StoreError::Schema { found: 0, .. } => Failure::configuration("the database holds no callops schema")
            .hint("`callops init` makes it; or name another database with --database-url or CALLOPS_DATABASE_URL"),
        StoreError::Schema { found, needed } if found < needed => Failure::configuration(format!(
            "the database's schema is at version {found}, this program needs version {needed}"
        ))
        .hint("`callops migrate` brings it up to date"),
        StoreError::Schema { found, needed } => Failure::configuration(format!(
            "the database's schema is at version {found}, newer than the version {needed} that this program knows"
        ))
        .hint("use the newest callops that works on this database"),
        StoreError::UnknownUrl => Failure::configuration(error.to_string()),
        StoreError::Unreadable { .. } => Failure::partial(error.to_string()),
        _ => return error.into(),
    };
    failure.into()
}
