//! `unsuppress`: ends what forbids calling numbers.

use std::collections::HashMap;

use chrono::TimeDelta;
use clap::builder::NonEmptyStringValueParser;
use serde_json::{Value, json};

use super::calling::plan::LOOK_AGAIN_LATER_SECONDS;
use super::suppressing::{BATCH, Numbers, Scope, Targets, audited, scope_options, scope_shown, subject, whose};
use crate::app::App;
use crate::domain::suppression::Pattern;
use crate::error::Exit;
use crate::output::Rows;
use crate::store::suppressions::{self, Suppression};
use crate::store::{self, Tx, control};

/// Arguments of `unsuppress`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  callops unsuppress '(802) 223-6942' --tenant acme --reason 'asked to be called again'
  callops unsuppress --prefix +1900 --all-tenants
  callops list suppressions --phone +18022236942

A number, a prefix, one tenant and all tenants are suppressed side by side: each is ended by itself, and what still
covers a number is said. The next run looks at everybody who was held back.")]
pub struct Args {
    /// Which numbers.
    #[command(flatten)]
    pub numbers: Numbers,
    /// For whom.
    #[command(flatten)]
    pub scope: Scope,
    /// Why, for the audit log
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    pub reason: Option<String>,
    /// Country of numbers without a country code; else the tenant's (ISO 3166, such as US)
    #[arg(long, value_name = "REGION")]
    pub region: Option<String>,
}

/// What became of one number or prefix.
struct Done {
    pattern: Pattern,
    result: &'static str,
    /// What forbids calling it all the same.
    still: Vec<Suppression>,
}

/// Ends the suppressions of all of them: those of the command line only if each can be read.
///
/// # Errors
/// Exit 2 for a tenant, number or prefix that is none.
pub async fn run(app: &App, args: Args) -> anyhow::Result<Exit> {
    let targets = Targets::read(app, &args.numbers, &args.scope, args.region.as_deref()).await?;
    let db = app.db().await?;
    let mut done = Vec::with_capacity(targets.patterns.len());
    for batch in targets.patterns.chunks(BATCH) {
        done.extend(db.write(async |tx| unsuppress(app, tx, &args, &targets.tenant, batch).await).await?);
    }
    let exit = targets.report_bad_lines(app, args.numbers.file.as_deref());
    let mut rows = Rows::new(&["tenant", "pattern", "result", "still_suppressed_by"]);
    let tenant = json!(scope_shown(&targets.tenant));
    for Done { pattern, result, still } in &done {
        for other in still {
            let (what, option) = if other.is_prefix {
                (other.what().to_string(), format!("--prefix {}", other.pattern))
            } else {
                (other.what().to_string(), other.pattern.clone())
            };
            app.printer.warn(format!(
                "{pattern} is still not called, since {what} is suppressed for {}: {}; `callops unsuppress {option} {}` ends that",
                whose(&other.tenant),
                other.reason,
                scope_options(&other.tenant)
            ));
        }
        let others: Vec<String> =
            still.iter().map(|other| format!("{} {}", scope_shown(&other.tenant), other.what())).collect();
        let others = if others.is_empty() { Value::Null } else { json!(others.join(", ")) };
        rows.push(vec![tenant.clone(), json!(pattern.to_string()), json!(result), others]);
    }
    for text in targets.rejected() {
        rows.push(vec![tenant.clone(), json!(text), json!("rejected"), Value::Null]);
    }
    app.printer.rows(&rows)?;
    Ok(exit)
}

async fn unsuppress(
    app: &App,
    tx: &mut Tx,
    args: &Args,
    tenant: &str,
    patterns: &[Pattern],
) -> store::Result<Vec<Done>> {
    control::lock_dialling(tx).await?;
    let now = app.clock.now();
    let stored = suppressions::stored(tx, tenant, patterns).await?;
    let (mut done, mut log) = (Vec::new(), Vec::new());
    for pattern in patterns {
        let found = stored.get(pattern);
        let result = match found {
            None => "was not suppressed",
            Some(found) if found.is_active(now) => "unsuppressed",
            Some(_) => "had expired already",
        };
        if let Some(found) = found {
            let detail = json!({"tenant": scope_shown(tenant), "reason": args.reason, "before": audited(found)});
            log.push((subject(pattern), detail));
        }
        done.push(Done { pattern: pattern.clone(), result, still: Vec::new() });
    }
    let removed: Vec<&Suppression> = patterns.iter().filter_map(|pattern| stored.get(pattern)).collect();
    suppressions::remove(tx, &removed).await?;
    let freed: Vec<Pattern> = removed.iter().map(|suppression| suppression.what()).collect();
    let look_again = now + TimeDelta::seconds(LOOK_AGAIN_LATER_SECONDS);
    suppressions::recheck(tx, tenant, &freed, now, look_again).await?;
    app.audit_each(tx, "unsuppress", log).await?;
    let others = suppressions::covering(tx, tenant, patterns, now).await?;
    let others = others.into_iter().map(|other| (other.what(), other));
    let (prefixes, numbers): (Vec<_>, Vec<_>) = others.partition(|(what, _)| what.is_prefix());
    let mut same: HashMap<Pattern, Vec<Suppression>> = HashMap::new();
    for (what, other) in numbers {
        same.entry(what).or_default().push(other);
    }
    for Done { pattern, still, .. } in &mut done {
        still.extend(same.remove(pattern).unwrap_or_default());
        still.extend(prefixes.iter().filter(|(what, _)| what.covers(pattern)).map(|(_, other)| other.clone()));
    }
    Ok(done)
}
