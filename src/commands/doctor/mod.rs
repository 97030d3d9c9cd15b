//! `doctor`: what is wrong, and how to mend it.
//!
//! It reads and asks, and changes nothing. What cannot be asked because something before it is broken is left out, and
//! the broken thing is a row of its own.

mod accounts;
mod agents;
mod billing;
mod campaigns;
mod machine;
mod numbers;
mod public_url;
mod webhooks;
mod welcome;
mod work;

use anyhow::Result;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use self::agents::Reachable;
use crate::app::App;
use crate::commands::billing::accounts::Setup as Books;
use crate::commands::renting::accounts::Setup;
use crate::commands::welcoming::Setup as Welcoming;
use crate::domain::billing::PROVIDER as BILLS;
use crate::domain::numbers::PROVIDER;
use crate::domain::welcome::PROVIDER as PAYMENTS;
use crate::error::{Exit, classify, hints};
use crate::output::{Printer, Rows};
use crate::store::setup::Account;
use crate::store::{Db, control, setup};

/// Check configuration, database, accounts and campaigns, and say how to mend what is wrong.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// Ask each account's provider, too, by harmless reads, and try whether webhooks reach `serve` at its public address
    #[arg(long)]
    pub online: bool,
}

const AFTER_HELP: &str = "\
Examples:
  callops doctor
  callops doctor --online
  callops doctor --format json | jq '.[] | select(.verdict != \"ok\")'

Each row, in every format, is {check, verdict: ok|warning|problem, what, hint}; the database comes first. Checks:
database, schema, settings, clock, configuration, env_file, zone_data, public_url, account:NAME, agent:TENANT/NAME,
numbers, billing:TENANT, welcome:TENANT, pause, campaigns, campaign:TENANT/NAME, purpose:TENANT/NAME, unknown_attempts, preferred_times, webhooks:NAME, inbox,
process-calls, sweep-timeouts, collect-outcomes, finding:KIND.

Exit codes: 0 all is well; 3 warnings or problems; 6 configuration, credentials, database, schema or clock are wrong;
7 the database or, with --online, a provider cannot be reached.";

/// The rows so far, and how the command will end.
#[derive(Debug)]
struct Report {
    rows: Rows,
    exit: Exit,
}

impl Report {
    fn new() -> Self {
        Self { rows: Rows::new(&["check", "verdict", "what", "hint"]), exit: Exit::Success }
    }

    fn push(&mut self, check: &str, verdict: &str, what: &str, hint: Option<&str>) {
        self.rows.push(vec![json!(check), json!(verdict), json!(what), hint.map_or(Value::Null, |hint| json!(hint))]);
    }

    /// Nothing wrong here.
    fn ok(&mut self, check: &str, what: impl AsRef<str>) {
        self.push(check, "ok", what.as_ref(), None);
    }

    /// Something to look at.
    fn warning(&mut self, check: &str, what: impl AsRef<str>, hint: impl AsRef<str>) {
        self.exit = self.exit.or(Exit::Findings);
        self.push(check, "warning", what.as_ref(), Some(hint.as_ref()));
    }

    /// Something that keeps calls from being placed, or promises from being kept.
    fn problem(&mut self, exit: Exit, check: &str, what: impl AsRef<str>, hint: impl AsRef<str>) {
        self.exit = self.exit.or(exit);
        self.push(check, "problem", what.as_ref(), Some(hint.as_ref()).filter(|hint| !hint.is_empty()));
    }

    /// A problem that is an error with hints of its own.
    fn error(&mut self, check: &str, error: &anyhow::Error) {
        self.problem(classify(error), check, format!("{error:#}"), hints(error).join("; "));
    }
}

/// Says that the configuration cannot be read, and what stands without it.
///
/// # Errors
/// When stdout cannot be written.
pub fn run_without_configuration(printer: &Printer, error: &anyhow::Error) -> Result<Exit> {
    let mut report = Report::new();
    report.error("configuration", error);
    printer.rows(&report.rows)?;
    Ok(report.exit)
}

/// Checks everything and shows a row for each check.
///
/// # Errors
/// When stdout cannot be written, or the database falls silent half-way.
pub async fn run(app: &App, args: Args) -> Result<Exit> {
    let now = app.clock.now();
    let mut report = Report::new();
    let db = machine::database(app, &mut report).await;
    machine::configuration(app, &mut report);
    machine::zone_data(now, &mut report);
    if args.online {
        public_url::check(app, &mut report).await;
    }
    if let Some(db) = &db {
        // What was found so far is worth more than the error that ends it.
        if let Err(error) = look(app, db, &args, now, &mut report).await {
            report.error("database", &error);
        }
        db.close().await;
    }
    app.printer.rows(&report.rows)?;
    Ok(report.exit)
}

async fn look(app: &App, db: &Db, args: &Args, now: DateTime<Utc>, report: &mut Report) -> Result<()> {
    let mut tx = db.read().await?;
    let is_rehearsal = control::is_rehearsal(&mut tx).await?;
    let accounts = setup::accounts(&mut tx).await?;
    let campaigns = setup::campaigns(&mut tx).await?;
    let setup = Setup::read(&mut tx).await;
    let books = Books::read(&mut tx).await;
    let (renting, others): (Vec<Account>, Vec<Account>) =
        accounts.into_iter().partition(|account| account.provider == PROVIDER);
    let (billing, others): (Vec<Account>, Vec<Account>) =
        others.into_iter().partition(|account| account.provider == BILLS);
    let (paid, calling): (Vec<Account>, Vec<Account>) =
        others.into_iter().partition(|account| account.provider == PAYMENTS);
    let welcoming = Welcoming::read(&mut tx).await;
    let seen = webhooks::count(&mut tx, &calling, now).await?;
    // Asking a provider takes long, and no transaction may be open meanwhile.
    drop(tx);
    let mut reachable = Vec::new();
    match &setup {
        Ok(setup) => {
            for account in &renting {
                numbers::account(app, setup, account, args.online, report).await;
            }
        }
        Err(error) => numbers::unreadable(error, report),
    }
    match &books {
        Ok(books) => {
            for account in &billing {
                billing::account(app, books, account, args.online, report).await;
            }
        }
        // The same settings hold what is told of numbers, and one row about them is enough.
        Err(_) if setup.is_err() => {}
        Err(error) => billing::unreadable(error, report),
    }
    // Settings that cannot be read are told above.
    if let Ok(welcoming) = &welcoming {
        for account in &paid {
            welcome::account(app, welcoming, account, args.online, report).await;
        }
    }
    for account in &calling {
        let provider = accounts::check(app, account, is_rehearsal, args.online, now, report).await;
        reachable.extend(provider.map(|provider| Reachable { account, provider }));
    }
    agents::check(app, &campaigns, &reachable, &seen, report).await;
    let mut tx = db.read().await?;
    work::pauses(&mut tx, report).await?;
    let any_active = campaigns::check(&mut tx, now, report).await?;
    work::attempts(&mut tx, now, report).await?;
    work::conversations(&mut tx, now, report).await?;
    if let Ok(setup) = &setup {
        numbers::inventory(&mut tx, setup, now, report).await?;
    }
    if let Ok(books) = &books {
        billing::cache(&mut tx, books, now, report).await?;
    }
    if let Ok(welcoming) = &welcoming {
        welcome::webhooks(app, &mut tx, &paid, report).await?;
        welcome::tenants(&mut tx, welcoming, now, report).await?;
    }
    webhooks::outcomes(app, &calling, &seen, report);
    webhooks::inbox(&mut tx, now, report).await?;
    work::runs(app, &mut tx, any_active, now, report).await?;
    work::findings(&mut tx, report).await?;
    Ok(())
}
