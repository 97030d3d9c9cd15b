//! `process-calls`: one run of the main job.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value, json};

use super::calling::counts::Counts;
use super::calling::dial::{Dialler, Limits};
use super::calling::directory::Directory;
use super::calling::inbox;
use super::calling::plan::{self, Context, Search, Source};
use super::calling::rotation::Rotation;
use super::calling::stop::Stop;
use super::calling::sweep;
use super::lookup::{self, CampaignName};
use crate::app::App;
use crate::domain::campaign::ZonePolicy;
use crate::domain::duration::HumanDuration;
use crate::error::{Exit, classify};
use crate::providers::ping::ping;
use crate::store::setup::{self, Campaign};
use crate::store::{Tx, control, runs};

/// The command's name, as its heartbeat bears it.
pub const COMMAND: &str = "process-calls";

const EXAMPLES: &str = "\
Examples:
  callops process-calls                       one run, as cron starts it every minute
  callops process-calls --dry-run             who would be called now, and why others not
  callops process-calls --campaign acme/checkup --limit 1

One call per slot, only inside the window, whatever runs at the same time. A run settles first what
earlier runs left unclear. Silent when there was nothing to do.

Exit codes: 0 done, 3 attempts unknown for more than 15 minutes, 4 a campaign is refused or cannot be
read, 6 a key is refused or a clock is wrong, 7 a provider or the database cannot be reached, or its disk
is full.";

/// Call everybody who is due, once
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// End the run after this long; requests under way are finished
    #[arg(long, value_name = "DURATION", default_value = "50s")]
    pub max_runtime: HumanDuration,
    /// Dial at most this many
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
    /// The most requests under way at once
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub concurrency: u16,
    /// Only this campaign
    #[arg(long, value_name = "TENANT/NAME")]
    pub campaign: Option<CampaignName>,
    /// Only this tenant
    #[arg(long, value_name = "TENANT")]
    pub tenant: Option<String>,
    /// Count who would be called and who not, by reason; change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Runs once and prints what it did, if it did anything.
///
/// # Errors
/// When the database fails, the clocks are too far apart, or the configuration is wrong.
pub async fn run(app: &App, args: Args) -> Result<Exit> {
    if args.dry_run {
        let counts = look(app, &args).await?;
        report(app, &counts)?;
        if counts.get("due") == 0 {
            app.printer.say("nobody is due");
        }
        return Ok(counts.exit());
    }
    let (counts, exit) = once(app, &args, &Stop::on_signals()?).await?;
    report(app, &counts)?;
    give_sign_of_life(app, exit).await;
    Ok(exit)
}

/// Asks the `ping_url` after a run that went well, if there is one. That it cannot be asked is no failure of the run.
pub async fn give_sign_of_life(app: &App, exit: Exit) {
    let Some(ping_url) = app.config.ping_url.as_ref().filter(|_| exit == Exit::Success) else { return };
    match ping_url.resolve(&app.config.environment) {
        Ok(url) => {
            if let Err(problem) = ping(app.http().await, &url).await {
                app.printer.warn(format!("ping_url: {problem}"));
            }
        }
        Err(error) => app.printer.warn(format!("ping_url: {error:#}")),
    }
}

/// One run, recorded, with nothing printed.
///
/// # Errors
/// As [`run`].
pub async fn once(app: &App, args: &Args, stop: &Stop) -> Result<(Counts, Exit)> {
    once_as(app, args, stop, &app.new_id()).await
}

/// As [`once`], recorded under this id.
///
/// # Errors
/// As [`run`].
pub async fn once_as(app: &App, args: &Args, stop: &Stop, run_id: &str) -> Result<(Counts, Exit)> {
    let started_at = app.clock.now();
    let (_, tx) = app.db_and_tx().await?;
    let mut tx = Some(tx);
    app.check_database_clock().await?;
    let mut counts = Counts::default();
    let result = work(app, args, run_id, stop, &mut tx, &mut counts).await;
    let exit = match &result {
        Ok(()) => counts.exit(),
        Err(error) => classify(error),
    };
    let exit = stop.exit().unwrap_or(exit);
    let something = result.is_err() || !counts.is_idle();
    let recorded = app.finish_run(run_id, COMMAND, started_at, exit, &counts.record(), something, tx).await;
    result?;
    recorded?;
    Ok((counts, exit))
}

/// Prints counts to stdout and problems to stderr; nothing when there was nothing to do.
///
/// # Errors
/// When stdout cannot be written.
pub fn report(app: &App, counts: &Counts) -> Result<()> {
    for problem in counts.problems() {
        app.printer.warn(problem);
    }
    if app.printer.is_table() {
        if !counts.is_idle() {
            let lines: Map<String, Value> =
                counts.lines().into_iter().map(|(name, count)| (name, json!(count))).collect();
            app.printer.record(&lines)?;
        }
    } else {
        app.printer.record(&counts.record())?;
    }
    Ok(())
}

/// Does what there is to do. A run that finds nothing asks one question in `first` and leaves it there: it must cost no
/// more with a million people who wait than with none.
async fn work(
    app: &App,
    args: &Args,
    run_id: &str,
    stop: &Stop,
    first: &mut Option<Tx>,
    counts: &mut Counts,
) -> Result<()> {
    let began = app.clock.monotonic();
    let runtime = args.max_runtime.to_std();
    let db = app.db().await?;
    let mut tx = match first.take() {
        Some(tx) => tx,
        None => db.read().await?,
    };
    let outlook = sweep::look(app, &mut tx).await?;
    if outlook.needs_sweep() {
        let mut directory = Directory::read(&mut tx).await?;
        drop(tx);
        // Settling may take half of the run; what it does not get to is left to sweep-timeouts.
        sweep::sweep(app, &mut directory, began + runtime / 2, counts).await?;
        tx = db.read().await?;
    }
    if outlook.pending_payments {
        drop(tx);
        // Whoever paid may be due now. The rest is left to the next run.
        Box::pin(inbox::settle_payments(app, began + runtime / 2, counts)).await?;
        tx = db.read().await?;
    }
    // Names that do not exist are refused even where nothing is due.
    let due = if outlook.open_campaigns || args.campaign.is_some() || args.tenant.is_some() {
        wanted(&mut tx, args, app.clock.now()).await?
    } else {
        Vec::new()
    };
    if due.is_empty() || control::pauses(&mut tx).await?.iter().any(|pause| pause.scope == control::EVERYBODY) {
        *first = Some(tx);
        return Ok(());
    }
    let mut directory = Directory::read(&mut tx).await?;
    let (contexts, unreadable) = plan::contexts(&mut tx, due).await?;
    drop(tx);
    plan::report_unreadable(app, &unreadable, counts).await?;
    for context in &contexts {
        directory.gone(app, "campaign_unreadable", &format!("campaign:{}", context.campaign.full_name())).await?;
    }
    let open = leave_closed_ones(app, contexts, counts).await?;
    if open.is_empty() || stop.is_asked() {
        return Ok(());
    }
    let search = Search { requested_by: COMMAND, dry_run: false, run_interval_seconds: run_interval_seconds(app) };
    let mut sources: Vec<Source> = open.into_iter().map(Source::new).collect();
    let mut accounts = BTreeSet::new();
    // Providers are asked only on behalf of somebody who is due, or whose time is over: an idle run touches no network.
    let mut waiting = Vec::new();
    for mut source in sources.drain(..) {
        if source.has_next(app, search, counts).await? || source.has_expired() {
            accounts.insert(source.context.account.name.clone());
            waiting.push(source);
        }
    }
    let timeout = app.config.request_timeout.to_std();
    let stop_at = began + runtime.checked_sub(timeout).unwrap_or(runtime / 2).max(Duration::from_secs(1));
    let clients = directory.probe(app, accounts.iter().map(String::as_str), stop_at, counts).await?;
    waiting.retain(|source| clients.contains_key(&source.context.account.name));
    for source in &mut waiting {
        source.end_expired(app, counts).await?;
    }
    if waiting.is_empty() {
        return Ok(());
    }
    let limits = Limits { concurrency: usize::from(args.concurrency), calls: args.limit.unwrap_or(u64::MAX), stop_at };
    let dialler = Dialler { app, run_id, directory: &directory, clients, limits, search, stop };
    // On the heap, as it holds a whole run.
    counts.merge(Box::pin(dialler.run(Rotation::new(waiting))).await?);
    // What the provider queued too late in the day must not ring after the window.
    if counts.get("queued") > 0 {
        sweep::sweep(app, &mut directory, began + runtime, counts).await?;
    }
    Ok(())
}

fn run_interval_seconds(app: &App) -> i64 {
    i64::from(app.config.run_interval.seconds())
}

/// The campaigns that are due, of those that the options ask for.
///
/// # Errors
/// Exit 2 when the options name something that does not exist.
async fn wanted(tx: &mut Tx, args: &Args, now: DateTime<Utc>) -> Result<Vec<Campaign>> {
    if let Some(name) = &args.campaign {
        lookup::campaign(tx, name).await??;
    }
    if let Some(name) = &args.tenant {
        lookup::tenant(tx, name).await??;
    }
    let due = setup::campaigns_due(tx, now).await?;
    Ok(due
        .into_iter()
        .filter(|campaign| args.tenant.as_ref().is_none_or(|tenant| campaign.tenant == *tenant))
        .filter(|campaign| {
            args.campaign.as_ref().is_none_or(|name| campaign.tenant == name.tenant && campaign.name == name.name)
        })
        .collect())
}

/// Puts campaigns aside whose own window is closed, until it opens; what is paused or held back waits as it is.
async fn leave_closed_ones(app: &App, contexts: Vec<Context>, counts: &mut Counts) -> Result<Vec<Context>> {
    let now = app.clock.now();
    let mut open = Vec::new();
    let mut closed = Vec::new();
    for context in contexts {
        if context.paused {
            continue;
        }
        if context.held_until().is_some_and(|until| until > now) {
            let name = context.campaign.full_name();
            let (account, campaign) = (&context.account, &context.campaign);
            if account.refusals > 0 && account.held_until.is_some_and(|until| until > now) {
                let reason = account.held_reason.as_deref().unwrap_or("its provider refused it");
                counts.problem(Exit::Configuration, format!("account {} is held back: {reason}", account.name));
            } else if campaign.refusals > 0 {
                let reason = campaign.held_reason.as_deref().unwrap_or("its provider refused it");
                counts.problem(Exit::Partial, format!("campaign {name} is held back: {reason}"));
            }
            continue;
        }
        let closed_until = match (context.rules.zone_policy, &context.own_zone) {
            (ZonePolicy::Campaign, Some(zones)) => {
                let schedule = &context.rules.schedule;
                if schedule.opened_on(zones, now).is_none() {
                    Some(schedule.next_open(zones, now).unwrap_or(now + TimeDelta::days(1)))
                } else {
                    None
                }
            }
            _ => None,
        };
        match closed_until {
            Some(next_open_at) => closed.push((context, next_open_at)),
            None => open.push(context),
        }
    }
    if !closed.is_empty() {
        let opens: Vec<_> = closed.iter().map(|(context, next_open_at)| (&context.campaign, *next_open_at)).collect();
        app.db().await?.write(async |tx| setup::set_next_opens(tx, &opens).await).await?;
    }
    // Calls that wait for a window which never comes again have to be ended.
    open.extend(closed.into_iter().map(|(context, _)| context).filter(|context| {
        context.own_zone.as_ref().is_some_and(|zones| context.rules.schedule.next_open(zones, now).is_none())
    }));
    Ok(open)
}

/// Counts who would be called now and who not, without writing anything.
async fn look(app: &App, args: &Args) -> Result<Counts> {
    let mut counts = Counts::default();
    let mut tx = app.db().await?.read().await?;
    let everybody_paused = control::pauses(&mut tx).await?.iter().any(|pause| pause.scope == control::EVERYBODY);
    let due = wanted(&mut tx, args, app.clock.now()).await?;
    if let Some(name) = &args.campaign
        && setup::campaign(&mut tx, &name.tenant, &name.name).await?.is_some_and(|campaign| !campaign.active)
    {
        app.printer.say(format!("{name} is not started: see `callops start-campaign {name}`"));
    }
    let (contexts, unreadable) = plan::contexts(&mut tx, due).await?;
    if runs::any_finding(&mut tx).await? {
        app.printer.say("there are findings: see `callops doctor`");
    }
    drop(tx);
    for (campaign, problem) in unreadable {
        counts.problem(Exit::Partial, format!("campaign {} makes no calls: {problem}", campaign.full_name()));
    }
    if everybody_paused {
        app.printer.say("everything is paused: see `callops resume`");
    }
    let search = Search { requested_by: COMMAND, dry_run: true, run_interval_seconds: run_interval_seconds(app) };
    let mut left = args.limit.unwrap_or(u64::MAX);
    for context in contexts {
        let mut source = Source::new(context);
        while left > 0 && source.next(app, search, &mut counts).await?.is_some() {
            counts.add("due", 1);
            left -= 1;
        }
    }
    Ok(counts)
}
