//! `sync-zoho`: reads customers and invoices from Zoho Books, and keeps them here.

use anyhow::Result;
use serde_json::{Map, Value, json};

use super::billing::accounts::Setup;
use super::billing::looking::look_at_those_said_to_be_paid;
use super::billing::sync::{Synced, sync};
use super::calling::counts::Counts;
use crate::app::App;
use crate::error::{Exit, classify};
use crate::output::Rows;

/// The command's name, as its heartbeat bears it.
pub const COMMAND: &str = "sync-zoho";

/// How many records that cannot be read are told one by one.
const MOST_TOLD: usize = 5;

/// Arguments of `sync-zoho`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  callops sync-zoho
  callops sync-zoho --tenant acme --full
  callops sync-zoho --format json

Invoices and customers that changed since the last run are read, with ten minutes of overlap. Everything is read the first
time, with --full, and whenever it was not for billing.full_sync_after (1d): only that finds deletions. A record that was not
shown then is looked for by itself before it counts as deleted. Contact persons are asked for where an invoice is due, at most
50 customers' in a run. Whoever has something to pay is enrolled in the campaigns that remind of it; customers without a phone
that can be called are counted, and `callops list debtors --status no_phone` shows them.

Each page is stored as it comes. A run that is ended in the middle is gone on with by the next one, and two runs at once read
nothing twice: the later one leaves a tenant's books to the other. Requests are counted for each organisation, whoever sends
them, and wait where a minute's are spent; a day's may be used up to the last one by lists, and to three quarters by single
records.

Exit codes: 0 done; 4 some tenants failed, or some records cannot be read; 6 credentials are refused; 7 Zoho is not reached,
or the day's requests are spent.")]
pub struct Args {
    /// Only this tenant's books
    #[arg(long)]
    pub tenant: Option<String>,
    /// Read everything, from the beginning
    #[arg(long)]
    pub full: bool,
}

/// Syncs the books of each tenant, and shows what was done where something was.
///
/// # Errors
/// Exit 2 for a tenant that is not there; exit 6 where nobody has bills; what stood in the way where there is one tenant only.
pub async fn run(app: &App, args: Args) -> Result<Exit> {
    let (run_id, started_at) = (app.new_id(), app.clock.now());
    app.check_database_clock().await?;
    let mut tx = app.db().await?.read().await?;
    let setup = Setup::read(&mut tx).await?;
    let tenants = setup.named(&mut tx, args.tenant.as_deref()).await?;
    drop(tx);
    let mut all: Vec<(&str, i64, Synced, Option<anyhow::Error>)> = Vec::new();
    for tenant in tenants {
        let mut done = Synced::default();
        let error = Box::pin(sync(app, &setup, tenant, &run_id, args.full, &mut done)).await.err();
        all.push((&tenant.name, tenant.billing.limits().per_day, done, error));
    }
    let mut said = Counts::default();
    look_at_those_said_to_be_paid(app, &mut said).await?;
    for problem in said.problems() {
        app.printer.warn(problem);
    }
    let exit = exit_of(all.iter().map(|(.., done, error)| (done, error.as_ref()))).or(said.exit());
    let counts = counts(all.iter().map(|(.., done, _)| done));
    let did_something = exit != Exit::Success || all.iter().any(|(.., done, _)| done.is_news());
    app.finish_run(&run_id, COMMAND, started_at, exit, &counts, did_something, None).await?;
    show(app, &all)?;
    for (tenant, _, done, _) in &all {
        for problem in done.unreadable.iter().take(MOST_TOLD) {
            app.printer.warn(format!("{tenant}: a record cannot be read, and stays as it was: {problem}"));
        }
        if done.unreadable.len() > MOST_TOLD {
            app.printer.warn(format!("{tenant}: so do {} more", done.unreadable.len() - MOST_TOLD));
        }
    }
    let count = all.len();
    for (tenant, .., error) in all {
        match error {
            Some(error) if count == 1 => return Err(error),
            Some(error) => app.printer.warn(format!("{tenant}: {error:#}")),
            None => {}
        }
    }
    Ok(exit)
}

/// Where each failed, how they did; where only some did, that.
fn exit_of<'a>(all: impl Iterator<Item = (&'a Synced, Option<&'a anyhow::Error>)>) -> Exit {
    let (mut exit, mut any_done) = (Exit::Success, false);
    for (done, error) in all {
        any_done |= error.is_none();
        exit = exit.or(error.map_or(Exit::Success, classify));
        if !done.unreadable.is_empty() {
            exit = exit.or(Exit::Partial);
        }
    }
    if any_done && exit != Exit::Success { Exit::Partial } else { exit }
}

fn counts<'a>(all: impl Iterator<Item = &'a Synced>) -> Map<String, Value> {
    let mut sum = [0; 6];
    for done in all {
        let numbers =
            [done.customers, done.invoices, done.deleted, done.contact_persons, done.debtors.enrolled, done.requests];
        for (sum, number) in sum.iter_mut().zip(numbers) {
            *sum += number;
        }
    }
    let names = ["customers", "invoices", "deleted", "contact_persons", "enrolled", "requests"];
    let counted = names.into_iter().zip(sum).filter(|(_, number)| *number > 0);
    counted.map(|(name, number)| (name.to_owned(), json!(number))).collect()
}

fn show(app: &App, all: &[(&str, i64, Synced, Option<anyhow::Error>)]) -> Result<()> {
    let mut rows = Rows::new(&[
        "tenant",
        "customers",
        "invoices",
        "deleted",
        "contact_persons",
        "enrolled",
        "without_phone",
        "full",
        "requests",
        "requests_today",
        "requests_per_day",
    ]);
    for (tenant, per_day, done, error) in all {
        if let Some(until) = done.held_until {
            let until = until.format("%H:%M:%S UTC");
            app.printer.say(format!("{tenant}: another run reads these books, until {until} at the latest"));
            continue;
        }
        // Cron's mail is about news.
        if error.is_some() || (app.printer.is_table() && !done.is_news()) {
            continue;
        }
        rows.push(vec![
            json!(tenant),
            json!(done.customers),
            json!(done.invoices),
            json!(done.deleted),
            json!(done.contact_persons),
            json!(done.debtors.enrolled),
            json!(done.debtors.unreachable),
            json!(done.full),
            json!(done.requests),
            json!(done.requests_today),
            json!(per_day),
        ]);
        if app.printer.is_table() {
            app.printer.say(format!("{tenant}: requests today {} of {per_day}", done.requests_today));
            if done.debtors.unreachable > 0 {
                app.printer.say(format!(
                    "{tenant}: customers with something to pay and no phone to call: {}; see `callops list debtors \
                     --status no_phone`",
                    done.debtors.unreachable
                ));
            }
        }
    }
    if !app.printer.is_table() || !rows.is_empty() {
        app.printer.rows(&rows)?;
    }
    Ok(())
}
