//! `status`: every campaign at a glance.

use anyhow::Result;
use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};

use crate::app::App;
use crate::commands::calling::plan::{self, Context};
use crate::commands::explain::evidence::utc;
use crate::domain::call::CallStatus;
use crate::domain::campaign::ZonePolicy;
use crate::domain::welcome::WelcomeState;
use crate::domain::zone::Zone;
use crate::error::Exit;
use crate::output::{Format, Rows};
use crate::store::setup::{Campaign, Tenant};
use crate::store::{Tx, control, overview, runs, setup, welcomes};

/// Show every campaign at a glance: who is due, what is live, what today brought.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// Only this tenant's campaigns
    #[arg(long, value_name = "TENANT")]
    pub tenant: Option<String>,
}

const AFTER_HELP: &str = "\
Examples:
  callops status
  callops status --tenant acme --format json

due: people whom the next run looks at, and calls whose next attempt is due; the gates decide whether they are called.
live: attempts under way; unknown: attempts whose answer was lost, which occupy their phones as well.
done today, failed today: calls that ended since midnight in the tenant's zone (UTC where it has none).
missed: people whose preferred time passed unserved at their last check.
open: whether the window is open; next open at: when it will be, if it is not. Both are empty for a stopped campaign
and where they depend on the callee.

JSON: {database: {kind, url, source, schema_version, is_rehearsal}, at, paused: [{scope, since, reason}], campaigns:
[{tenant, campaign, active, due, live, unknown, done_today, failed_today, missed, open, next_open_at,
held_until, held_reason}], process_calls: {ticks, started_at, ended_at, exit_code, counts} or null, findings,
welcomes: [{tenant, status, count}]}.
JSONL and CSV hold the campaigns only. The exit code is 0 whatever is shown; `callops doctor` judges.";

const COLUMNS: [&str; 13] = [
    "tenant",
    "campaign",
    "active",
    "due",
    "live",
    "unknown",
    "done_today",
    "failed_today",
    "missed",
    "open",
    "next_open_at",
    "held_until",
    "held_reason",
];

/// Shows the campaigns, and before them which database they are in.
///
/// # Errors
/// When the database cannot be read.
pub async fn run(app: &App, args: Args) -> Result<Exit> {
    let now = app.clock.now();
    let settings = app.config.database()?;
    let db = app.db().await?;
    let schema_version = db.schema_version().await?;
    let mut tx = db.read().await?;
    let is_rehearsal = control::is_rehearsal(&mut tx).await?;
    let pauses = control::pauses(&mut tx).await?;
    let rows = campaigns(&mut tx, args.tenant.as_deref(), now).await?;
    let tick = runs::heartbeats(&mut tx).await?.into_iter().find(|beat| beat.command == "process-calls");
    let findings = runs::standing_findings(&mut tx).await?.len();
    let mut welcomes = welcomes::counts(&mut tx).await?;
    welcomes.retain(|(tenant, ..)| args.tenant.as_ref().is_none_or(|wanted| wanted == tenant));
    drop(tx);

    let printer = &app.printer;
    let url = settings.url.to_string();
    match printer.format() {
        Format::Json => {
            let mut record = Map::new();
            record.insert(
                "database".to_owned(),
                json!({
                    "kind": db.kind(), "url": url, "source": settings.source.to_string(),
                    "schema_version": schema_version, "is_rehearsal": is_rehearsal,
                }),
            );
            record.insert("at".to_owned(), json!(now));
            let stops: Vec<Value> = pauses
                .iter()
                .map(|pause| json!({"scope": pause.scope, "since": pause.created_at, "reason": pause.reason}))
                .collect();
            record.insert("paused".to_owned(), json!(stops));
            record.insert("campaigns".to_owned(), Value::Array(rows.objects().map(Value::Object).collect()));
            let tick = tick.map(|tick| {
                let counts = tick.last_counts.as_deref().and_then(|text| serde_json::from_str::<Value>(text).ok());
                json!({
                    "ticks": tick.ticks, "started_at": tick.last_started_at, "ended_at": tick.last_ended_at,
                    "exit_code": tick.last_exit_code, "counts": counts,
                })
            });
            record.insert("process_calls".to_owned(), json!(tick));
            record.insert("findings".to_owned(), json!(findings));
            let welcomes: Vec<Value> = welcomes
                .iter()
                .map(|(tenant, state, count)| json!({"tenant": tenant, "status": state.as_str(), "count": count}))
                .collect();
            record.insert("welcomes".to_owned(), json!(welcomes));
            printer.record(&record)?;
        }
        Format::Table => {
            let rehearsal = if is_rehearsal { ", a rehearsal" } else { "" };
            printer.line(format!("database {url} (schema version {schema_version}{rehearsal})"))?;
            if pauses.is_empty() {
                printer.line("not paused")?;
            }
            for pause in &pauses {
                let reason = pause.reason.as_deref().map_or_else(String::new, |reason| format!(": {reason}"));
                printer.line(format!("PAUSED ({}) since {}{reason}", pause.scope, utc(pause.created_at)))?;
            }
            printer.line(match &tick {
                Some(tick) => format!(
                    "process-calls last ran at {}, exit {}",
                    utc(tick.last_started_at),
                    tick.last_exit_code.map_or_else(|| "unknown".to_owned(), |code| code.to_string())
                ),
                None => "process-calls has never run".to_owned(),
            })?;
            if findings > 0 {
                printer.line(format!("{findings} findings stand; see `callops doctor`"))?;
            }
            for (tenant, text) in welcomes_shown(&welcomes) {
                printer.line(format!("welcomes of {tenant}: {text}"))?;
            }
            printer.line("")?;
            printer.rows(&rows)?;
        }
        Format::Jsonl | Format::Csv => {
            printer.say(format!("database {url} (schema version {schema_version})"));
            printer.rows(&rows)?;
        }
    }
    Ok(Exit::Success)
}

/// How many customers of each tenant are in which state.
fn welcomes_shown(welcomes: &[(String, WelcomeState, i64)]) -> Vec<(&str, String)> {
    let of_tenants = welcomes.chunk_by(|(one, ..), (other, ..)| one == other);
    of_tenants
        .filter_map(|of_tenant| {
            let counts: Vec<String> = of_tenant.iter().map(|(_, state, count)| format!("{count} {state}")).collect();
            Some((of_tenant.first()?.0.as_str(), counts.join(", ")))
        })
        .collect()
}

async fn campaigns(tx: &mut Tx, tenant: Option<&str>, now: DateTime<Utc>) -> Result<Rows> {
    let mut all = setup::campaigns(tx).await?;
    all.retain(|campaign| tenant.is_none_or(|tenant| tenant == campaign.tenant));
    let tenants = setup::tenants(tx).await?;
    let (contexts, _) = plan::contexts(tx, all.clone()).await?;
    let due = overview::due_enrollments(tx, now).await?;
    let retries = overview::due_retries(tx, now).await?;
    let live = overview::live_attempts(tx).await?;
    let missed = overview::missed(tx).await?;
    let accounts = setup::accounts(tx).await?;
    let mut rows = Rows::new(&COLUMNS);
    for campaign in &all {
        let id = &campaign.id;
        let midnight = midnight(&tenants, campaign, now);
        let ended = overview::ended_between(tx, id, midnight, now).await?;
        let ended = |status| ended.get(&status).copied().unwrap_or(0);
        let count = |counts: &std::collections::HashMap<String, i64>| counts.get(id).copied().unwrap_or(0);
        let (under_way, unknown) = live.get(id).copied().unwrap_or_default();
        let account = accounts.iter().find(|account| account.name == campaign.account);
        let (held_until, held_reason) = [
            (campaign.held_until, campaign.held_reason.as_deref()),
            account.map_or((None, None), |account| (account.held_until, account.held_reason.as_deref())),
        ]
        .into_iter()
        .filter(|(until, _)| until.is_some_and(|until| until > now))
        .max()
        .unwrap_or_default();
        let context = contexts.iter().find(|context| context.campaign.id == *id);
        let next_open_at = context.and_then(|context| next_open_at(context, now));
        rows.push(vec![
            json!(campaign.tenant),
            json!(campaign.name),
            json!(campaign.active),
            json!(count(&due) + count(&retries)),
            json!(under_way),
            json!(unknown),
            json!(ended(CallStatus::Completed)),
            json!(ended(CallStatus::Failed)),
            json!(count(&missed)),
            json!(next_open_at.map(|next| next <= now)),
            json!(next_open_at.filter(|next| *next > now)),
            json!(held_until),
            json!(held_reason),
        ]);
    }
    Ok(rows)
}

/// The beginning of today in the tenant's zone, or in UTC where it has none that can be read.
fn midnight(tenants: &[Tenant], campaign: &Campaign, now: DateTime<Utc>) -> DateTime<Utc> {
    let zone = tenants
        .iter()
        .find(|tenant| tenant.name == campaign.tenant)
        .and_then(|tenant| Zone::parse(tenant.timezone.as_deref()?).ok())
        .unwrap_or_else(Zone::utc);
    zone.start_of(zone.local(now).date())
}

/// When the window is next open for everybody alike; now, if it is open.
fn next_open_at(context: &Context, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    if !context.campaign.active || context.rules.zone_policy == ZonePolicy::Callee {
        return None;
    }
    context.rules.schedule.next_open(context.own_zone.as_ref()?, now)
}
