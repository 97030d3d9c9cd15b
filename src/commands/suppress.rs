//! `suppress`: numbers that must not be called.

use std::collections::HashMap;

use chrono::{DateTime, SubsecRound as _, Utc};
use clap::builder::NonEmptyStringValueParser;
use serde_json::{Value, json};

use super::check_window::parse_instant;
use super::draining;
use super::suppressing::{BATCH, Numbers, Scope, Targets, audited, scope_shown, subject, whose};
use super::telling::{count, instant};
use crate::app::App;
use crate::domain::duration::HumanDuration;
use crate::domain::suppression::Pattern;
use crate::error::{Exit, Failure};
use crate::output::Rows;
use crate::store::suppressions::{self, Suppression};
use crate::store::{self, Tx, control};

/// Arguments of `suppress`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  callops suppress '(802) 223-6942' --tenant acme --reason 'asked not to be called'
  callops suppress +18022236942 --all-tenants --reason 'in hospital' --for 30d
  callops suppress --prefix +1900 --all-tenants --reason 'costs extra'
  callops suppress --file do-not-call.txt --tenant acme --reason 'national list' --source ftc

Once the command returns, nothing more is placed to these numbers; a call that rings or talks goes on. What is
suppressed already gets the new reason, source and end. In a file, blank lines and what stands behind a # are passed
over; lines that cannot be read are said, the rest is done, and the exit code is then 4. A prefix of up to three digits,
which covers a country or more, wants --yes.")]
pub struct Args {
    /// Which numbers.
    #[command(flatten)]
    pub numbers: Numbers,
    /// For whom.
    #[command(flatten)]
    pub scope: Scope,
    /// Why, for those who ask why somebody is not called
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    pub reason: String,
    /// Who said so: a list, a system, a person
    #[arg(long, value_name = "TEXT", default_value = "operator", value_parser = NonEmptyStringValueParser::new())]
    pub source: String,
    /// Until this time, such as 2026-12-31T00:00:00Z; else for good
    #[arg(long, value_name = "TIME", value_parser = parse_instant, conflicts_with = "length")]
    pub expires: Option<DateTime<Utc>>,
    /// For this long, such as 30d; else for good
    #[arg(long = "for", id = "length", value_name = "LENGTH")]
    pub length: Option<HumanDuration>,
    /// Country of numbers without a country code; else the tenant's (ISO 3166, such as US)
    #[arg(long, value_name = "REGION")]
    pub region: Option<String>,
    /// Also suppress a whole country
    #[arg(long)]
    pub yes: bool,
}

/// What became of one number or prefix.
struct Done {
    pattern: Pattern,
    result: &'static str,
    /// How long it was suppressed before, where that was longer.
    was_longer: Option<String>,
    contacts: i64,
    live: i64,
}

/// Suppresses them all: those of the command line only if each can be read, those of the file line by line.
///
/// # Errors
/// Exit 2 for a tenant, number or prefix that is none, or an end that is past; exit 5 for a whole country without `--yes`.
pub async fn run(app: &App, args: Args) -> anyhow::Result<Exit> {
    let began = app.clock.now();
    let expires_at = match args.length {
        Some(length) => Some(began + length.to_delta()),
        // Databases keep microseconds.
        None => args.expires.map(|expires| expires.trunc_subsecs(6)),
    };
    if let Some(expires_at) = expires_at.filter(|expires_at| *expires_at <= began) {
        return Err(Failure::usage(format!("a suppression until {expires_at} would be over already")).into());
    }
    let targets = Targets::read(app, &args.numbers, &args.scope, args.region.as_deref()).await?;
    let db = app.db().await?;
    if !args.yes {
        refuse_wide(&mut db.read().await?, &targets).await?;
    }
    let mut done = Vec::with_capacity(targets.patterns.len());
    for batch in targets.patterns.chunks(BATCH) {
        // Before anybody waits for the write: with many prefixes it takes its time, and nothing depends on it.
        let contacts = suppressions::contacts_covered(&mut db.read().await?, &targets.tenant, batch).await?;
        let write = async |tx: &mut Tx| suppress(app, tx, &args, &targets.tenant, batch, &contacts, expires_at).await;
        done.extend(db.write(write).await?);
    }
    let under_way: Vec<&Pattern> = done.iter().filter(|done| done.live > 0).map(|done| &done.pattern).collect();
    if !under_way.is_empty() {
        draining::wait_while(app, async |tx, since| {
            let phones = suppressions::phones_being_placed(tx, &targets.tenant, since).await?;
            let is_ours = |phone: &&String| under_way.iter().any(|pattern| pattern.covers_phone(phone));
            Ok(i64::try_from(phones.iter().filter(is_ours).count()).unwrap_or(i64::MAX))
        })
        .await?;
    }
    let exit = targets.report_bad_lines(app, args.numbers.file.as_deref());
    let mut rows = Rows::new(&["tenant", "pattern", "result", "contacts", "live", "expires_at"]);
    let tenant = json!(scope_shown(&targets.tenant));
    for Done { pattern, result, was_longer, contacts, live } in &done {
        if let Some(before) = was_longer {
            app.printer.warn(format!("{pattern} was suppressed {before}, which is longer than it is now"));
        }
        if pattern.is_prefix() {
            let covered = count(u64::try_from(*contacts).unwrap_or(0), "contact");
            app.printer.say(format!("{pattern} covers {covered} of {}", whose(&targets.tenant)));
        }
        if *live > 0 {
            app.printer.warn(format!("a call to {pattern} is under way and goes on"));
        }
        let row = [tenant.clone(), json!(pattern.to_string()), json!(result), json!(contacts), json!(live)];
        rows.push(row.into_iter().chain([instant(expires_at)]).collect());
    }
    for text in targets.rejected() {
        rows.push(vec![tenant.clone(), json!(text), json!("rejected"), Value::Null, Value::Null, Value::Null]);
    }
    app.printer.rows(&rows)?;
    Ok(exit)
}

/// Refuses what covers a country or more, with the number of contacts that would not be called any more.
async fn refuse_wide(tx: &mut Tx, targets: &Targets) -> anyhow::Result<()> {
    let wide: Vec<Pattern> = targets.patterns.iter().filter(|pattern| pattern.is_wide()).cloned().collect();
    if wide.is_empty() {
        return Ok(());
    }
    let covered = suppressions::contacts_covered(tx, &targets.tenant, &wide).await?;
    let told = wide.iter().map(|pattern| {
        let contacts = covered.get(pattern).copied().unwrap_or_default();
        format!("{pattern} covers {}", count(u64::try_from(contacts).unwrap_or(0), "contact"))
    });
    let told = told.collect::<Vec<_>>().join(", ");
    let failure = Failure::refused(format!(
        "a prefix so short stands for a country or more, and nothing was suppressed: {told} of {}",
        whose(&targets.tenant)
    ));
    Err(failure.hint("--yes suppresses it all the same").into())
}

async fn suppress(
    app: &App,
    tx: &mut Tx,
    args: &Args,
    tenant: &str,
    patterns: &[Pattern],
    contacts: &HashMap<Pattern, i64>,
    expires_at: Option<DateTime<Utc>>,
) -> store::Result<Vec<Done>> {
    // Nobody commits to dial one of them between the look at what is live and the end of this transaction.
    control::lock_dialling(tx).await?;
    let now = app.clock.now();
    let stored = suppressions::stored(tx, tenant, patterns).await?;
    let live = suppressions::live_calls(tx, tenant, patterns).await?;
    let number = |counts: &HashMap<Pattern, i64>, pattern| counts.get(pattern).copied().unwrap_or_default();
    let (mut done, mut written, mut log) = (Vec::new(), Vec::new(), Vec::new());
    for pattern in patterns {
        let before = stored.get(pattern).filter(|before| before.is_active(now));
        let after = Suppression {
            id: stored.get(pattern).map_or_else(|| app.new_id(), |before| before.id.clone()),
            tenant: tenant.to_owned(),
            pattern: pattern.text().to_owned(),
            is_prefix: pattern.is_prefix(),
            reason: args.reason.clone(),
            source: args.source.clone(),
            created_at: before.map_or(now, |before| before.created_at),
            expires_at,
        };
        let result = match before {
            None => "suppressed",
            Some(before) if *before == after => "already suppressed",
            Some(_) => "updated",
        };
        let lasts = |until: Option<DateTime<Utc>>| until.unwrap_or(DateTime::<Utc>::MAX_UTC);
        let was_longer = before.filter(|before| lasts(before.expires_at) > lasts(after.expires_at)).map(|before| {
            before.expires_at.map_or_else(|| "for good".to_owned(), |expires_at| format!("until {expires_at}"))
        });
        if before != Some(&after) {
            let detail =
                json!({"tenant": scope_shown(tenant), "before": before.map(audited), "after": audited(&after)});
            log.push((subject(pattern), detail));
            written.push(after);
        }
        done.push(Done {
            pattern: pattern.clone(),
            result,
            was_longer,
            contacts: number(contacts, pattern),
            live: number(&live, pattern),
        });
    }
    suppressions::put(tx, &written).await?;
    app.audit_each(tx, "suppress", log).await?;
    Ok(done)
}
