//! `detect-duplicates`: what is there more than once.

mod alert;
mod search;
mod show;

use anyhow::Result;
use chrono::{DateTime, Utc};
use clap::ValueEnum;
use serde_json::{Map, Value, json};

use self::search::{Found, Search};
use super::list::{Since, since};
use super::lookup;
use crate::app::App;
use crate::domain::duplicates::Kind;
use crate::domain::duration::HumanDuration;
use crate::domain::secret::Secret;
use crate::error::{Exit, Failure, classify};

/// The command's name, as its heartbeat bears it.
pub const COMMAND: &str = "detect-duplicates";

/// Rings that lie no further apart belong together, unless told otherwise.
const WITHIN: HumanDuration = HumanDuration::from_minutes(60);

/// Arguments of `detect-duplicates`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  callops detect-duplicates
  callops detect-duplicates --kind numbers --format json
  callops detect-duplicates --kind calls --within 30m --since 1d
  callops detect-duplicates --alert

numbers: businesses with more than one active number, and what that costs. What was read last of the inventory counts:
`callops reconcile-twilio` reads it.
contacts: contacts of a tenant that differ by formatting only: one e-mail address, one external id but for blanks, dashes,
dots and case, or one phone but for the mobile prefixes of Mexico (+52 1) and Argentina (+54 9).
calls: phones that rang for more than one call, no more than --within from one ring to the next.
conversations: a conversation of the provider that a call and a session have, or records of one start, length and
transcript.

With --since, one of several must have come about since: bought, made, rung, recorded.

JSON, JSONL and CSV: kind, tenant, subject, count, first_at, last_at, minutes_between, detail (an object, with keys of the
kind's own). As a table each kind has columns of its own.

--alert sends what no alert told before to the alert_url of callops.toml, each finding once. An alert that did not arrive
is sent again by the next run with --alert; one whose answer was lost may have arrived, and is not.

Exit codes: 0 nothing was found, 3 something was, 6 no alert_url is configured, 7 an alert was not delivered.")]
pub struct Args {
    /// What to look at
    #[arg(long, value_enum, default_value_t)]
    pub kind: Which,
    /// Only this tenant's
    #[arg(long)]
    pub tenant: Option<String>,
    /// Only what came about since this time, or for this long, such as 2026-11-20T14:00:00Z or 1d
    #[arg(long, value_name = "TIME", value_parser = since)]
    pub since: Option<Since>,
    /// How far apart two rings of a phone may be to belong together, at most 7d
    #[arg(long, value_name = "LENGTH", default_value_t = WITHIN, value_parser = within)]
    pub within: HumanDuration,
    /// Send what is new to the configured address, each finding once
    #[arg(long)]
    pub alert: bool,
    /// Show at most this many of each kind; all are counted
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub limit: u32,
}

/// What to look at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Which {
    /// Numbers of businesses
    Numbers,
    /// Contacts of tenants
    Contacts,
    /// Calls to one phone
    Calls,
    /// Records of conversations
    Conversations,
    /// All of these
    #[default]
    All,
}

impl Which {
    fn kinds(self) -> &'static [Kind] {
        match self {
            Self::Numbers => &[Kind::Numbers],
            Self::Contacts => &[Kind::Contacts],
            Self::Calls => &[Kind::Calls],
            Self::Conversations => &[Kind::Conversations],
            Self::All => Kind::ALL,
        }
    }
}

fn within(text: &str) -> Result<HumanDuration, String> {
    let length: HumanDuration =
        text.parse().map_err(|error: crate::domain::duration::DurationError| error.to_string())?;
    // Beyond a week nearly every phone of a daily campaign would be one burst.
    if length > HumanDuration::from_minutes(7 * 24 * 60) {
        Err(format!("{text:?} is longer than 7d"))
    } else {
        Ok(length)
    }
}

/// Looks for duplicates, shows them, tells what is new if asked to, and records that it looked.
///
/// # Errors
/// Exit 2 for a tenant that is not there, 6 where alerts are wanted and have no address.
pub async fn run(app: &App, args: Args) -> Result<Exit> {
    let alert_url = if args.alert { Some(alert_url(app)?) } else { None };
    if let Some(name) = &args.tenant {
        let mut tx = app.db().await?.read().await?;
        lookup::tenant(&mut tx, name).await??;
    }
    let (started_at, run_id) = (app.clock.now(), app.new_id());
    let mut counts = Map::new();
    let result = Box::pin(look_and_tell(app, &args, alert_url.as_ref(), started_at, &mut counts)).await;
    let exit = result.as_ref().map_or_else(classify, |done| done.exit);
    let did_something = exit != Exit::Success || counts.contains_key("alerts_sent");
    let recorded = app.finish_run(&run_id, COMMAND, started_at, exit, &counts, did_something, None).await;
    let done = result?;
    recorded?;
    done.shown?;
    Ok(exit)
}

fn alert_url(app: &App) -> Result<Secret> {
    let Some(url) = &app.config.alert_url else {
        return Err(Failure::configuration("--alert has nobody to tell: there is no alert_url in callops.toml")
            .hint("set alert_url = \"env:NAME\" there, and NAME to the address of the webhook")
            .into());
    };
    url.resolve(&app.config.environment).map_err(|error| error.context("alert_url"))
}

/// How a run ended that could look at everything.
struct Done {
    exit: Exit,
    /// Whether stdout could be written. What else a run does is done where its reader went away, too.
    shown: std::io::Result<()>,
}

async fn look_and_tell(
    app: &App,
    args: &Args,
    alert_url: Option<&Secret>,
    now: DateTime<Utc>,
    counts: &mut Map<String, Value>,
) -> Result<Done> {
    let search = Search {
        tenant: args.tenant.as_deref(),
        since: args.since.map(|since| since.from(now)),
        within: args.within,
        limit: args.limit as usize,
        is_all: args.kind == Which::All,
        now,
    };
    let mut found = Found::default();
    for kind in args.kind.kinds() {
        let count = search.look(app, *kind, &mut found).await?;
        counts.insert(kind.to_string(), json!(count));
    }
    let total: u64 = counts.values().filter_map(Value::as_u64).sum();
    let mut exit = if total > 0 { Exit::Findings } else { Exit::Success };
    let shown = show::show(app, &found.shown);
    for (kind, count) in counts.iter() {
        if count.as_u64() > Some(u64::from(args.limit)) {
            app.printer.say(format!("only {} of {count} {kind} are shown; --limit shows more", args.limit));
        }
    }
    let parts: Vec<String> = counts.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    app.printer.say(format!("duplicates: {}", parts.join(", ")));
    if let Some(url) = alert_url {
        let told = alert::tell(app, url, found.fresh, now).await?;
        counts.insert("alerts_sent".to_owned(), json!(told.sent));
        exit = exit.or(told.exit);
    }
    Ok(Done { exit, shown })
}
