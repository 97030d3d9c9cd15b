//! `reconcile-twilio`: reads what Twilio holds, stores it, and says in what the database differs.

mod calls;
mod compare;
mod mend;
mod settle;

use anyhow::Result;
use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};

use self::compare::{Difference, Differences};
use super::list::{Since, since};
use super::renting::accounts::Setup;
use super::renting::confirming::{Answer, Cap, Consent, PLAN_SHOWN};
use super::telling::{count, record_of};
use crate::app::App;
use crate::domain::duration::HumanDuration;
use crate::error::{Exit, Failure, classify};
use crate::output::Rows;

/// The command's name.
pub const COMMAND: &str = "reconcile-twilio";

/// How far back calls are compared, unless it is said.
const USUAL_SECONDS: u32 = 2 * 24 * 3600;

/// Arguments of `reconcile-twilio`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  callops reconcile-twilio
  callops reconcile-twilio --apply --yes
  callops reconcile-twilio --calls --since 2d
  callops reconcile-twilio --limit 100000 --format json | jq '.[] | select(.kind == \"voice_url\")'

Kinds: twilio_only (a tenant's number that the database does not have: adopt), database_only (gone at Twilio: mark released),
other_tenant and contested (the tenants disagree), voice_url and status_callback (not as the tenant says: set URLs),
friendly_name; unattributed numbers are listed last, and no finding. --apply adopts, marks released and sets URLs, and never
buys or releases; what it would do is shown whatever --limit says. With --calls: ended_there (live here, over at Twilio: settle),
unknown_here (somebody else dials, or a call that was lost), repeated (one phone called twice within 10 minutes).

Every number that is seen is stored, subaccounts included. Where a list breaks off nothing is compared; a subaccount that
cannot be read is left out.

Exit codes: 0 no difference; 2 usage; 3 differences; 4 a subaccount was left out, or something was not mended; 5 beyond a
cap; 6 credentials; 7 Twilio is not reached.")]
pub struct Args {
    /// Only this account
    #[arg(long)]
    pub account: Option<String>,
    /// Mend what is safe to mend
    #[arg(long)]
    pub apply: bool,
    /// Compare the records of calls, instead of numbers
    #[arg(long)]
    pub calls: bool,
    /// From when on calls are compared; 2d unless given
    #[arg(long, value_name = "TIME", value_parser = since, requires = "calls")]
    pub since: Option<Since>,
    /// Change at most this many things
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub max_changes: usize,
    /// Change more than that, and more than 30 % of the numbers of an account
    #[arg(long)]
    pub force: bool,
    /// Show at most this many
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub limit: usize,
    /// Whether to act.
    #[command(flatten)]
    pub consent: Consent,
}

/// Reads, compares, and mends if asked to.
///
/// # Errors
/// Exit 2 for an account that is none; 5 beyond a cap or without consent; 6 when credentials are refused; 7 when a list breaks
/// off.
pub async fn run(app: &App, args: Args) -> Result<Exit> {
    if !args.apply && (args.consent.yes || args.consent.dry_run || args.force) {
        return Err(Failure::usage("--yes, --dry-run and --force are about --apply").hint("give --apply, too").into());
    }
    let (run_id, started_at) = (app.new_id(), app.clock.now());
    app.check_database_clock().await?;
    let mut counts = Map::new();
    let result = reconcile(app, &args, started_at, &mut counts).await;
    let exit = result.as_ref().map_or_else(classify, |exit| *exit);
    app.finish_run(&run_id, COMMAND, started_at, exit, &counts, true, None).await?;
    result
}

async fn reconcile(app: &App, args: &Args, started_at: DateTime<Utc>, counts: &mut Map<String, Value>) -> Result<Exit> {
    let setup = Setup::read(&mut app.db().await?.read().await?).await?;
    let renters = setup.renters(app, args.account.as_deref()).await?;
    if renters.is_empty() {
        let failure = Failure::configuration("there is no account at twilio, so there is nothing to compare");
        return Err(failure
            .hint("describe one: [account.NAME] with provider = \"twilio\", and `callops apply`")
            .into());
    }
    if args.calls {
        let since = args.since.unwrap_or(Since::Ago(HumanDuration::from_seconds(USUAL_SECONDS))).from(started_at);
        return calls::run(app, &renters, since, args, counts).await;
    }
    let differences = compare::all(app, &setup, &renters, Differences::new(args.limit, args.apply)).await?;
    counts.extend(differences.counts());
    show(app, args, &differences)?;
    let mendable: Vec<&Difference> = differences.mendable().collect();
    if !args.apply || mendable.is_empty() {
        return Ok(differences.exit());
    }
    let cap = Cap { most: args.max_changes, option: "--max-changes", is_forced: args.force };
    cap.check("be mended", mendable.len(), &differences.shares())?;
    if args.consent.ask(app, mendable.len(), &format!("mend {} of these", mendable.len()))? == Answer::PlanOnly {
        return Ok(differences.exit().or(PLAN_SHOWN));
    }
    let mended = mend::mend(app, &setup, &renters, &mendable, counts).await?;
    Ok(mended.exit(&differences))
}

fn show(app: &App, args: &Args, differences: &Differences) -> Result<()> {
    let columns = ["kind", "tenant", "phone", "found", "wanted", "action", "account", "subaccount", "sid"];
    // Where a number is, is for programs; people would see it letter by letter.
    let shown = if app.printer.is_table() { &columns[..6] } else { &columns[..] };
    let mut rows = Rows::new(shown);
    for difference in differences.shown(args.limit) {
        let mut row = vec![
            json!(difference.kind.as_str()),
            json!(difference.tenant),
            json!(difference.phone),
            json!(difference.found),
            json!(difference.wanted),
            json!(difference.kind.action()),
            json!(difference.account),
            json!(difference.account_sid),
            json!(difference.sid),
        ];
        row.truncate(shown.len());
        rows.push(row);
    }
    app.printer.rows(&rows)?;
    let total = differences.total();
    if total > rows.len() {
        app.printer.say(format!("only {} of {total} are shown; --limit shows more", rows.len()));
    }
    let counts = differences.counts();
    let counted: Vec<String> = counts.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    let numbers = count(u64::try_from(differences.numbers()).unwrap_or(u64::MAX), "number");
    app.printer.say(if total == 0 {
        format!("{numbers} at Twilio, as they should be")
    } else {
        format!("{numbers} at Twilio; {}", counted.join(", "))
    });
    Ok(())
}

/// Counts as a run records them.
fn counted(counts: impl IntoIterator<Item = (&'static str, usize)>) -> Map<String, Value> {
    record_of(
        counts
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .map(|(kind, count)| (kind.to_owned(), json!(count)))
            .collect(),
    )
}
