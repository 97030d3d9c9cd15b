//! What ran, when, and what it found: heartbeats, runs, the audit log, findings.

use chrono::{DateTime, Utc};
use sqlx::FromRow;

use super::{Result, Tx, dynamic, execute, fetch, scalar};

/// One invocation that did something.
#[derive(Clone, Debug, FromRow)]
pub struct Run {
    /// ULID.
    pub id: String,
    /// The subcommand.
    pub command: String,
    /// callops' version.
    pub version: String,
    /// The release of the zone data in force.
    pub tzdata: String,
    /// The machine.
    pub host: String,
    /// The process.
    pub pid: i64,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended; none while it runs, or when it was killed.
    pub ended_at: Option<DateTime<Utc>>,
    /// How it ended.
    pub exit_code: Option<i64>,
    /// Counts, as a JSON object.
    pub counts: Option<String>,
}

/// The last tick of a recurring command, whether or not it had anything to do.
#[derive(Clone, Debug, FromRow)]
pub struct Heartbeat {
    /// The subcommand.
    pub command: String,
    /// How many ticks there have been.
    pub ticks: i64,
    /// When the last one began.
    pub last_started_at: DateTime<Utc>,
    /// When the last one that ended did so.
    pub last_ended_at: Option<DateTime<Utc>>,
    /// How it ended.
    pub last_exit_code: Option<i64>,
    /// What it counted, as a JSON object.
    pub last_counts: Option<String>,
}

/// Records that a recurring command ran and how it ended.
pub async fn beat(
    tx: &mut Tx,
    command: &str,
    started_at: DateTime<Utc>,
    ended_at: DateTime<Utc>,
    exit_code: i64,
    counts: &str,
) -> Result<()> {
    execute!(
        tx,
        "INSERT INTO heartbeats (command, ticks, last_started_at, last_ended_at, last_exit_code, last_counts)
         VALUES ($1, 1, $2, $3, $4, $5)
         ON CONFLICT (command) DO UPDATE SET ticks = heartbeats.ticks + 1,
             last_started_at = excluded.last_started_at, last_ended_at = excluded.last_ended_at,
             last_exit_code = excluded.last_exit_code, last_counts = excluded.last_counts",
        command,
        started_at,
        ended_at,
        exit_code,
        counts
    )?;
    Ok(())
}

/// The heartbeats of every recurring command.
pub async fn heartbeats(tx: &mut Tx) -> Result<Vec<Heartbeat>> {
    Ok(fetch!(
        tx,
        Heartbeat,
        fetch_all,
        "SELECT command, ticks, last_started_at, last_ended_at, last_exit_code, last_counts
         FROM heartbeats ORDER BY command"
    )?)
}

/// Records a run, at its start or, for one that only now did something, later. Recording it again updates it.
pub async fn record(tx: &mut Tx, run: &Run) -> Result<()> {
    execute!(
        tx,
        "INSERT INTO runs (id, command, version, tzdata, host, pid, started_at, ended_at, exit_code, counts)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
         ON CONFLICT (id) DO UPDATE SET ended_at = excluded.ended_at, exit_code = excluded.exit_code,
             counts = excluded.counts",
        &run.id,
        &run.command,
        &run.version,
        &run.tzdata,
        &run.host,
        run.pid,
        run.started_at,
        run.ended_at,
        run.exit_code,
        run.counts.as_deref()
    )?;
    Ok(())
}

/// The latest runs, newest first.
pub async fn runs(tx: &mut Tx, command: Option<&str>, limit: i64) -> Result<Vec<Run>> {
    Ok(fetch!(
        tx,
        Run,
        fetch_all,
        "SELECT id, command, version, tzdata, host, pid, started_at, ended_at, exit_code, counts
         FROM runs WHERE ($1 IS NULL OR command = $1) ORDER BY started_at DESC, id DESC LIMIT $2",
        command,
        limit
    )?)
}

/// One run by id.
pub async fn run(tx: &mut Tx, id: &str) -> Result<Option<Run>> {
    Ok(fetch!(
        tx,
        Run,
        fetch_optional,
        "SELECT id, command, version, tzdata, host, pid, started_at, ended_at, exit_code, counts
         FROM runs WHERE id = $1",
        id
    )?)
}

/// A line of the audit log.
#[derive(Clone, Debug, FromRow)]
pub struct AuditEntry {
    /// ULID.
    pub id: String,
    /// When.
    pub at: DateTime<Utc>,
    /// In which run, if any.
    pub run_id: Option<String>,
    /// Who: a command.
    pub actor: String,
    /// What was done, such as `pause`.
    pub action: String,
    /// To what, such as `campaign:acme/checkup`.
    pub subject: String,
    /// Details, as a JSON object.
    pub detail: String,
}

/// Appends to the audit log.
pub async fn audit(tx: &mut Tx, entry: &AuditEntry) -> Result<()> {
    execute!(
        tx,
        "INSERT INTO audit (id, at, run_id, actor, action, subject, detail) VALUES ($1, $2, $3, $4, $5, $6, $7)",
        &entry.id,
        entry.at,
        entry.run_id.as_deref(),
        &entry.actor,
        &entry.action,
        &entry.subject,
        &entry.detail
    )?;
    Ok(())
}

/// Appends many lines to the audit log.
pub async fn audit_all(tx: &mut Tx, entries: &[AuditEntry]) -> Result<()> {
    for batch in entries.chunks(500) {
        dynamic!(
            tx,
            |q| {
                q.push("INSERT INTO audit (id, at, run_id, actor, action, subject, detail) ");
                q.push_values(batch, |mut row, entry| {
                    row.push_bind(&entry.id)
                        .push_bind(entry.at)
                        .push_bind(&entry.run_id)
                        .push_bind(&entry.actor)
                        .push_bind(&entry.action)
                        .push_bind(&entry.subject)
                        .push_bind(&entry.detail);
                });
            },
            execute
        )?;
    }
    Ok(())
}

/// What the audit log holds about a subject, oldest first.
pub async fn audit_of(tx: &mut Tx, subject: &str, limit: i64) -> Result<Vec<AuditEntry>> {
    Ok(fetch!(
        tx,
        AuditEntry,
        fetch_all,
        "SELECT id, at, run_id, actor, action, subject, detail FROM audit WHERE subject = $1 ORDER BY at, id LIMIT $2",
        subject,
        limit
    )?)
}

/// Something that somebody should look at, once per kind and subject.
#[derive(Clone, Debug, FromRow)]
pub struct Finding {
    /// What kind, such as `account_refused`.
    pub kind: String,
    /// About what, such as `account:acme-vapi`.
    pub subject: String,
    /// One sentence.
    pub detail: String,
    /// When it was first seen since it was last resolved.
    pub first_seen_at: DateTime<Utc>,
    /// When it was last seen.
    pub last_seen_at: DateTime<Utc>,
    /// When it went away; none while it stands.
    pub resolved_at: Option<DateTime<Utc>>,
}

/// The kind of finding that a business has more than one number.
pub const DUPLICATE_NUMBERS: &str = "duplicate_numbers";

/// Raises a finding, or sees a standing one again.
pub async fn raise(tx: &mut Tx, kind: &str, subject: &str, detail: &str, now: DateTime<Utc>) -> Result<()> {
    execute!(
        tx,
        "INSERT INTO findings (kind, subject, detail, first_seen_at, last_seen_at) VALUES ($1, $2, $3, $4, $4)
         ON CONFLICT (kind, subject) DO UPDATE SET detail = excluded.detail, last_seen_at = excluded.last_seen_at,
             first_seen_at = CASE WHEN findings.resolved_at IS NULL THEN findings.first_seen_at
                                  ELSE excluded.first_seen_at END,
             resolved_at = NULL",
        kind,
        subject,
        detail,
        now
    )?;
    Ok(())
}

/// Marks a finding as gone; nothing happens when it does not stand.
pub async fn resolve_finding(tx: &mut Tx, kind: &str, subject: &str, now: DateTime<Utc>) -> Result<()> {
    execute!(
        tx,
        "UPDATE findings SET resolved_at = $3 WHERE kind = $1 AND subject = $2 AND resolved_at IS NULL",
        kind,
        subject,
        now
    )?;
    Ok(())
}

/// The findings that stand.
pub async fn standing_findings(tx: &mut Tx) -> Result<Vec<Finding>> {
    Ok(fetch!(
        tx,
        Finding,
        fetch_all,
        "SELECT kind, subject, detail, first_seen_at, last_seen_at, resolved_at
         FROM findings WHERE resolved_at IS NULL ORDER BY first_seen_at, kind, subject"
    )?)
}

/// Whether any finding stands.
pub async fn any_finding(tx: &mut Tx) -> Result<bool> {
    Ok(scalar!(tx, i64, fetch_one, "SELECT count(*) FROM findings WHERE resolved_at IS NULL")? > 0)
}
