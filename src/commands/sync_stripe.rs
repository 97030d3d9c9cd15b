//! `sync-stripe`: reads what Stripe's webhooks may have missed.

use anyhow::Result;
use serde_json::{Map, Value, json};

use super::calling::counts::Counts;
use super::list::{Since, since};
use super::lookup;
use super::telling::instant;
use super::welcoming::Setup;
use super::welcoming::sync::{KEPT, Synced, sync};
use crate::app::App;
use crate::error::{Exit, classify};
use crate::output::Rows;

/// The command's name, as its heartbeat bears it.
pub const COMMAND: &str = "sync-stripe";

/// How many events that cannot be read are told one by one.
const MOST_TOLD: usize = 5;

/// Arguments of `sync-stripe`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  callops sync-stripe
  callops sync-stripe --since 7d
  callops sync-stripe --tenant acme --format json

Events of payments are read from the API of each account whose customers a tenant welcomes, since they were last read to
their end with an hour of overlap, and the first time for 30 days, which is as long as Stripe keeps them. They are stored and
applied as if they had come by webhook; what came already changes nothing. Payments that could not be applied are tried again,
and customers whose phone or time zone is missing are looked at once more. What was ignored because of a setting that is mended
since is applied by `callops replay-events --since 7d`. It puts customers into the tenant's welcome campaign, and calls nobody.

A run that breaks off loses nothing: the next one reads from the same place. Two at once do no harm.

Exit codes: 0 done; 4 some accounts failed, or some events cannot be read or applied; 6 a key is refused; 7 Stripe is not
reached.")]
pub struct Args {
    /// Only the account of this tenant's welcome
    #[arg(long)]
    pub tenant: Option<String>,
    /// Since this time, or for this long, such as 2026-11-20T14:00:00Z or 7d; at most 30 days
    #[arg(long, value_name = "TIME", value_parser = since)]
    pub since: Option<Since>,
}

/// Syncs the events of each account, and shows what was done where something was.
///
/// # Errors
/// Exit 2 for a tenant that is not there; exit 6 where nobody is welcomed; what stood in the way where there is one account.
pub async fn run(app: &App, args: Args) -> Result<Exit> {
    let (run_id, started_at) = (app.new_id(), app.clock.now());
    app.check_database_clock().await?;
    let mut tx = app.db().await?.read().await?;
    let setup = Setup::read(&mut tx).await?;
    if let Some(name) = &args.tenant {
        lookup::tenant(&mut tx, name).await??;
    }
    drop(tx);
    let accounts = setup.wanted(args.tenant.as_deref())?;
    let since = args.since.map(|since| since.from(started_at));
    if since.is_some_and(|since| since < started_at - KEPT) {
        app.printer.warn(format!("Stripe keeps events for {} days, so that is how far it is read", KEPT.num_days()));
    }
    let mut counts = Counts::default();
    let mut all: Vec<(&str, Synced, Option<anyhow::Error>)> = Vec::new();
    for account in accounts {
        let mut done = Synced::default();
        let result = Box::pin(sync(app, &setup, account, &run_id, since, &mut done, &mut counts)).await;
        all.push((&account.name, done, result.err()));
    }
    let exit = exit_of(&all).or(counts.exit());
    let record = record(&all, &counts);
    let is_news = exit != Exit::Success || !counts.is_idle() || all.iter().any(|(_, done, _)| done.new > 0);
    app.finish_run(&run_id, COMMAND, started_at, exit, &record, is_news, None).await?;
    show(app, &all, &counts)?;
    let count = all.len();
    for (account, _, error) in all {
        match error {
            Some(error) if count == 1 => return Err(error),
            Some(error) => app.printer.warn(format!("account {account}: {error:#}")),
            None => {}
        }
    }
    Ok(exit)
}

/// Where each failed, how they did; where only some did, that.
fn exit_of(all: &[(&str, Synced, Option<anyhow::Error>)]) -> Exit {
    let (mut exit, mut any_done) = (Exit::Success, false);
    for (_, done, error) in all {
        any_done |= error.is_none();
        exit = exit.or(error.as_ref().map_or(Exit::Success, classify));
        if !done.unreadable.is_empty() {
            exit = exit.or(Exit::Partial);
        }
    }
    if any_done && exit != Exit::Success { Exit::Partial } else { exit }
}

fn record(all: &[(&str, Synced, Option<anyhow::Error>)], counts: &Counts) -> Map<String, Value> {
    let mut record = counts.record();
    let sum = |of: fn(&Synced) -> u64| all.iter().map(|(_, done, _)| of(done)).sum::<u64>();
    for (name, sum) in [("events_read", sum(|done| done.read)), ("events_new", sum(|done| done.new))] {
        if sum > 0 {
            record.insert(name.to_owned(), json!(sum));
        }
    }
    record
}

fn show(app: &App, all: &[(&str, Synced, Option<anyhow::Error>)], counts: &Counts) -> Result<()> {
    let mut rows = Rows::new(&["account", "since", "read", "new", "unreadable"]);
    for (account, done, error) in all {
        if let Some(until) = done.held_until {
            let until = until.format("%H:%M:%S UTC");
            app.printer.say(format!("{account}: another run reads these events, until {until} at the latest"));
            continue;
        }
        if let Some(from) = done.lost_from {
            app.printer.warn(format!(
                "{account}: events were read until {} before, and Stripe keeps them for {} days: those in between are lost; \
                 compare the payments of that time with `callops list welcomes`",
                from.format("%Y-%m-%d %H:%M:%S UTC"),
                KEPT.num_days()
            ));
        }
        for problem in done.unreadable.iter().take(MOST_TOLD) {
            app.printer.warn(format!("{account}: an event cannot be read: {problem}"));
        }
        // Cron's mail is about news.
        if error.is_some() || (app.printer.is_table() && done.new == 0) {
            continue;
        }
        rows.push(vec![
            json!(account),
            instant(done.since),
            json!(done.read),
            json!(done.new),
            json!(done.unreadable.len()),
        ]);
    }
    for problem in counts.problems() {
        app.printer.warn(problem);
    }
    if !app.printer.is_table() || !rows.is_empty() {
        app.printer.rows(&rows)?;
    }
    Ok(())
}
