//! `release-duplicate-numbers`: leaves each business one number, and never takes one in use.

mod act;
mod checklist;
mod plan;
mod tell;

use std::collections::HashSet;

use anyhow::Result;
use serde_json::{Map, Value};

use self::plan::{Inventory, Plan};
use super::renting::accounts::{Renter, Setup};
use super::renting::confirming::{Answer, Cap, Consent, PLAN_SHOWN};
use super::renting::evidence::Users;
use super::renting::inventory::{self, Sighting};
use crate::app::App;
use crate::domain::numbers::keeper::Keep;
use crate::error::{Exit, classify};
use crate::fail_point;

/// The command's name.
pub const COMMAND: &str = "release-duplicate-numbers";

/// Arguments of `release-duplicate-numbers`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  callops release-duplicate-numbers
  callops release-duplicate-numbers --tenant acme --keep oldest
  callops release-duplicate-numbers --tenant acme --yes

Every number of a business with more than one is listed with KEEP or RELEASE and why. A number in use is never released:
one with calls in the last 30 days by Twilio's records, one that a voice account knows, the caller id of a campaign, one on
a trunk, one whose text messages go elsewhere than to the tenant's sms_url. Where one of these cannot be learned, the number
is kept. Of the others one is kept where none is in use: the database's, else the one that was bought first.

Nothing is released without --yes, or the number of releases typed at a terminal. Each release is stored first, looked at
once more, sent, and believed when Twilio does not have the number any more; they are done one at a time. There is no way
back: Twilio may give the number to somebody else.

Exit codes: 0 nothing to do, or all is done; 3 the plan was shown, or a line of the checklist is open; 4 some were kept since
something could not be learned, or were not released; 5 beyond a cap; 6 credentials; 7 Twilio is not reached, or another one
is releasing: try again.")]
pub struct Args {
    /// Only of this tenant
    #[arg(long)]
    pub tenant: Option<String>,
    /// Which one to keep where several may go: in-use, oldest, newest, or a number's SID; by default one in use, else the
    /// database's, else the oldest
    #[arg(long, value_name = "WHICH")]
    pub keep: Option<Keep>,
    /// Release at most this many
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub max_releases: usize,
    /// Release more than that, and more than 30 % of the numbers of an account
    #[arg(long)]
    pub force: bool,
    /// Whether to act.
    #[command(flatten)]
    pub consent: Consent,
}

/// Plans, shows, asks, releases, and checks.
///
/// # Errors
/// Exit 2 for a tenant that is none; 5 beyond a cap or without consent; 6 when credentials are refused; 7 when a list breaks
/// off, since nothing is planned from half of one.
pub async fn run(app: &App, args: Args) -> Result<Exit> {
    let (run_id, started_at) = (app.new_id(), app.clock.now());
    app.check_database_clock().await?;
    let db = app.db().await?;
    let mut tx = db.read().await?;
    let setup = Setup::read(&mut tx).await?;
    let account = match &args.tenant {
        Some(name) => Some(setup.tenant(&mut tx, name).await?.numbers.account.clone()),
        None => None,
    };
    let users = Users::read(&mut tx).await?;
    drop(tx);
    let renters = setup.renters(app, account.as_deref()).await?;
    let mut exit = act::settle_open(app, &setup, args.tenant.as_deref()).await?;
    let readings = read_all(app, &renters, &mut exit).await?;

    let keep = args.keep.clone().unwrap_or_default();
    let wanted = plan::Wanted { tenant: args.tenant.as_deref(), keep: &keep };
    let plan = Plan::make(app, &setup, (&renters, &readings), &users, wanted).await?;
    exit = exit.or(plan.exit());
    let count = plan.releases().count();
    let acts = !plan.has_nothing_to_do();
    if acts {
        tell::plan(app, &plan)?;
        let cap = Cap { most: args.max_releases, option: "--max-releases", is_forced: args.force };
        cap.check("be released", count, &plan.shares())?;
        let what = match count {
            0 => "make the kept number the one of each of these businesses".to_owned(),
            _ => format!("release {count} of these numbers"),
        };
        if args.consent.ask(app, count, &what)? == Answer::PlanOnly {
            tell::plan_for_programs(app, &plan)?;
            return Ok(exit.or(PLAN_SHOWN));
        }
        fail_point::hit("release.planned");
    } else {
        tell::nothing_to_do(app, &plan)?;
    }
    let mut results = Vec::new();
    let ended = carry_out(app, &setup, &renters, &plan, &run_id, acts, &mut results).await;
    exit = ended.as_ref().map_or_else(classify, |ended| exit.or(*ended));
    if !results.is_empty() {
        let mut counts = Map::new();
        for result in &results {
            let count = counts.get(result.word()).and_then(Value::as_u64).unwrap_or(0) + 1;
            counts.insert(result.word().to_owned(), count.into());
        }
        // What was released is known, whatever ended the run.
        app.record_run(&run_id, COMMAND, started_at, exit, &counts).await?;
    }
    ended.map(|_| exit)
}

/// Releases, if there is something to be done, and checks what must be true afterwards.
async fn carry_out(
    app: &App,
    setup: &Setup,
    renters: &[Renter],
    plan: &Plan,
    run_id: &str,
    acts: bool,
    results: &mut Vec<act::Outcome>,
) -> Result<Exit> {
    if acts {
        act::release(app, renters, plan, run_id, results).await?;
    }
    let exit = results.iter().fold(Exit::Success, |exit, result| exit.or(result.exit()));
    let checklist = checklist::check(app, setup, renters, (plan, results)).await?;
    tell::finished(app, plan, results, &checklist)?;
    Ok(exit.or(checklist.exit()))
}

/// Reads what Twilio holds, and stores it; what of it could not be read makes the exit 4.
async fn read_all(app: &App, renters: &[Renter], exit: &mut Exit) -> Result<Vec<Inventory>> {
    let mut readings = Vec::with_capacity(renters.len());
    for renter in renters {
        let mut seen = HashSet::new();
        let see = |sighting: &Sighting<'_>| {
            // Of nobody's numbers nothing is planned.
            if sighting.owner().is_some() {
                seen.insert(sighting.number.sid.clone());
            }
        };
        let reading = inventory::read(app, renter, see).await?;
        reading.report(app, renter);
        if reading.is_partial() {
            *exit = exit.or(Exit::Partial);
        }
        let read = reading.read.iter().chain(&reading.closed).map(|account| account.sid.clone()).collect();
        readings.push(Inventory { seen, read, total: reading.numbers });
    }
    Ok(readings)
}
