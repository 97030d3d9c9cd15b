//! `list`: rows of one kind.

pub(super) mod billing;
mod export;
pub(super) mod rows;
mod welcomes;

use chrono::{DateTime, Utc};
use clap::ValueEnum;

use self::export::Export;
use super::lookup::{self, CampaignName, Found, Named};
use crate::app::App;
use crate::domain::billing::INVOICE_STATUSES;
use crate::domain::call::{AttemptState, CallStatus};
use crate::domain::conversation::ConversationStatus;
use crate::domain::duration::HumanDuration;
use crate::domain::event::EventState;
use crate::domain::numbers::NumberStatus;
use crate::domain::phone::identify_phone;
use crate::domain::session::SessionStatus;
use crate::domain::welcome::WelcomeState;
use crate::error::{Exit, Failure};
use crate::output::Format;
use crate::store::Tx;
use crate::store::listing::{self, Filter};

/// Arguments of `list`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  callops list campaigns
  callops list calls --campaign acme/checkup --status failed --since 1d
  callops list attempts --status unknown --format json
  callops list contacts --tenant acme --phone '(802) 223-6942'
  callops list suppressions --phone +18022236942
  callops list contacts --tenant acme --limit 1000000 --format csv > contacts.csv
  callops list invoices --tenant acme --overdue-days 7 --sort balance --reverse
  callops list customers --text bakery
  callops list welcomes --status no_phone

Words of --status: calls scheduled, calling, in_progress, completed, failed, cancelled; attempts claimed, placing,
placed, answered, ended, void, refused, not_sent, unknown, lost; campaigns active, stopped; enrollments active,
withdrawn; findings standing (unless said otherwise), resolved; suppressions active, expired; events pending, applied,
unmatched, ignored; numbers active, gone; customers active, inactive; invoices draft, sent, viewed, overdue, unpaid,
partially_paid, paid, void; debtors reachable, no_phone; welcomes enrolled, no_phone, no_timezone, unreadable_time,
same_phone, already_called, created_before, left_out, withdrawn. Times are UTC.

Customers and invoices are those that `sync-zoho` read last: nobody is asked. Columns of --sort: customers name, outstanding,
last_modified_at; invoices due_date, date, number, customer, total, balance, last_modified_at.

As CSV, contacts come with all that they hold, and `import-contacts` takes the file back. In CSV, text that a spreadsheet
would take for a formula has an apostrophe before it, which an import takes away.")]
pub struct Args {
    /// What to list
    #[arg(value_enum)]
    pub kind: Kind,
    /// Only of this tenant
    #[arg(long)]
    pub tenant: Option<String>,
    /// Only of this campaign
    #[arg(long, value_name = "TENANT/NAME")]
    pub campaign: Option<CampaignName>,
    /// Only in this state
    #[arg(long, value_name = "WORD")]
    pub status: Option<String>,
    /// Only with this phone; without a country code it is read by the region of --tenant
    #[arg(long)]
    pub phone: Option<String>,
    /// Only since this time, or for this long, such as 2026-11-20T14:00:00Z or 1d
    #[arg(long, value_name = "TIME", value_parser = since)]
    pub since: Option<Since>,
    /// Only invoices of the customer with this id
    #[arg(long, value_name = "ID")]
    pub customer: Option<String>,
    /// Only invoices that are not paid and were due so many days ago, or longer
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(..=36_500))]
    pub overdue_days: Option<u32>,
    /// Only customers with this in a name, address or phone; only invoices with it in the number or the customer's name
    #[arg(long)]
    pub text: Option<String>,
    /// By which column customers or invoices are sorted
    #[arg(long, value_name = "COLUMN")]
    pub sort: Option<String>,
    /// The last ones first, of customers or invoices
    #[arg(long)]
    pub reverse: bool,
    /// Which page of customers or invoices, each of --limit
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub page: Option<u32>,
    /// At most this many
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub limit: u32,
}

/// What can be listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Campaigns, by name
    Campaigns,
    /// Contacts, by phone
    Contacts,
    /// Calls, newest first
    Calls,
    /// Attempts, newest first
    Attempts,
    /// Runs, newest first
    Runs,
    /// Tenants, by name
    Tenants,
    /// Accounts, by name
    Accounts,
    /// What somebody should look at
    Findings,
    /// Who is in which campaign, and why they were not called
    Enrollments,
    /// Lists that were imported, newest first
    Imports,
    /// Numbers and prefixes that are not called; with --tenant also those of all tenants, with --phone those that cover it
    Suppressions,
    /// Webhooks that were stored, newest first
    Events,
    /// What providers recorded of calls and sessions that are over, newest first
    Conversations,
    /// Conversations that applications told of, newest first
    Sessions,
    /// Bookings that were made of conversations, newest first
    Bookings,
    /// Tickets that were made of conversations, newest first
    Tickets,
    /// Phone numbers that were seen at Twilio, those that are there first
    Numbers,
    /// Customers as they were read from Zoho, by name
    Customers,
    /// Invoices as they were read from Zoho, those that are due first
    Invoices,
    /// Customers with something to pay, and whom to call about it, by name
    Debtors,
    /// Customers of whose payments Stripe told, and what became of their welcome, those that changed last first
    Welcomes,
}

/// From when on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// From this instant.
    At(DateTime<Utc>),
    /// From this long ago.
    Ago(HumanDuration),
}

pub(in crate::commands) fn since(text: &str) -> Result<Since, String> {
    text.parse()
        .map(Since::At)
        .or_else(|_| text.parse().map(Since::Ago))
        .map_err(|_| format!("{text:?} is neither a time such as 2026-11-20T14:00:00Z nor a length such as 1d"))
}

impl Since {
    /// The instant, if it is this moment now.
    pub fn from(self, now: DateTime<Utc>) -> DateTime<Utc> {
        match self {
            Self::At(at) => at,
            Self::Ago(length) => now - length.to_delta(),
        }
    }
}

impl Kind {
    /// The filters that it takes, and the words of `--status`.
    fn takes(self) -> (&'static [&'static str], Vec<&'static str>) {
        match self {
            Self::Campaigns => (&["tenant", "campaign", "status"], vec!["active", "stopped"]),
            Self::Contacts => (&["tenant", "campaign", "phone", "since"], vec![]),
            Self::Calls => (
                &["tenant", "campaign", "status", "phone", "since"],
                CallStatus::ALL.iter().map(|status| status.as_str()).collect(),
            ),
            Self::Attempts => (
                &["tenant", "campaign", "status", "phone", "since"],
                AttemptState::ALL.iter().map(|state| state.as_str()).collect(),
            ),
            Self::Runs => (&["since"], vec![]),
            Self::Tenants => (&["tenant"], vec![]),
            Self::Accounts => (&[], vec![]),
            Self::Findings => (&["status", "since"], vec!["standing", "resolved"]),
            Self::Enrollments => (&["tenant", "campaign", "status", "phone", "since"], vec!["active", "withdrawn"]),
            Self::Imports => (&["tenant", "campaign", "since"], vec![]),
            Self::Suppressions => (&["tenant", "status", "phone", "since"], vec!["active", "expired"]),
            Self::Events => (
                &["tenant", "campaign", "status", "phone", "since"],
                EventState::ALL.iter().map(|state| state.as_str()).collect(),
            ),
            Self::Conversations => (
                &["tenant", "campaign", "status", "phone", "since"],
                ConversationStatus::ALL.iter().map(|status| status.as_str()).collect(),
            ),
            Self::Sessions => {
                (&["tenant", "status", "since"], SessionStatus::ALL.iter().map(|status| status.as_str()).collect())
            }
            Self::Bookings | Self::Tickets => (&["tenant", "since"], vec![]),
            Self::Numbers => (
                &["tenant", "status", "phone", "since"],
                NumberStatus::ALL.iter().map(|status| status.as_str()).collect(),
            ),
            Self::Customers => (&["tenant", "status", "text", "sort", "reverse", "page"], vec!["active", "inactive"]),
            Self::Invoices => (
                &["tenant", "status", "customer", "overdue-days", "text", "sort", "reverse", "page"],
                INVOICE_STATUSES.to_vec(),
            ),
            Self::Debtors => (&["tenant", "status"], vec!["reachable", "no_phone"]),
            Self::Welcomes => (
                &["tenant", "status", "phone", "since"],
                WelcomeState::ALL.iter().map(|state| state.as_str()).collect(),
            ),
        }
    }

    fn word(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// Lists the rows of a kind.
///
/// # Errors
/// Exit 2 for a filter that the kind does not take, or a name that is not there.
pub async fn run(app: &App, args: Args) -> anyhow::Result<Exit> {
    check(&args)?;
    let mut tx = app.db().await?.read().await?;
    let filter = filter(app, &args, &mut tx).await??;
    let is_cut = if args.kind == Kind::Contacts && app.printer.format() == Format::Csv {
        export(app, &mut tx, filter).await?
    } else {
        let books = billing::Wanted::of(&args, &mut tx, app.clock.now()).await??;
        let (rows, is_cut) = rows::rows(&mut tx, args.kind, filter, &books, app.clock.now()).await?;
        app.printer.rows(&rows)?;
        is_cut
    };
    if is_cut {
        let has_pages = matches!(args.kind, Kind::Customers | Kind::Invoices);
        let more = if has_pages { "--limit and --page show" } else { "--limit shows" };
        app.printer.say(format!("only {} are shown; {more} more", args.limit));
    }
    Ok(Exit::Success)
}

/// Writes contacts as an import takes them back. Says whether there are more than the limit.
async fn export(app: &App, tx: &mut Tx, mut filter: Filter) -> anyhow::Result<bool> {
    let limit = usize::try_from(filter.limit).unwrap_or(usize::MAX);
    filter.limit += 1;
    let mut contacts = listing::contacts(tx, &filter).await?;
    let is_cut = contacts.len() > limit;
    contacts.truncate(limit);
    let export = Export::new(contacts);
    app.printer.csv(&export.header(), export.rows())?;
    Ok(is_cut)
}

fn check(args: &Args) -> Result<(), Failure> {
    let (filters, words) = args.kind.takes();
    let given = [
        ("tenant", args.tenant.is_some()),
        ("campaign", args.campaign.is_some()),
        ("status", args.status.is_some()),
        ("phone", args.phone.is_some()),
        ("since", args.since.is_some()),
        ("customer", args.customer.is_some()),
        ("overdue-days", args.overdue_days.is_some()),
        ("text", args.text.is_some()),
        ("sort", args.sort.is_some()),
        ("reverse", args.reverse),
        ("page", args.page.is_some()),
    ];
    for (name, is_given) in given {
        if is_given && !filters.contains(&name) {
            let failure = Failure::usage(format!("`list {}` takes no --{name}", args.kind.word()));
            let known: Vec<String> = filters.iter().map(|filter| format!("--{filter}")).collect();
            return Err(if known.is_empty() {
                failure
            } else {
                failure.hint(format!("it takes {}", known.join(", ")))
            });
        }
    }
    if let Some(status) = &args.status
        && !words.contains(&status.as_str())
    {
        let failure = Failure::usage(format!("{status:?} is no status of {}", args.kind.word()));
        return Err(failure.hint(format!("there is {}", words.join(", "))));
    }
    Ok(())
}

async fn filter(app: &App, args: &Args, tx: &mut Tx) -> Found<Filter> {
    let tenant = match &args.tenant {
        Some(name) => match lookup::tenant(tx, name).await? {
            Ok(tenant) => Some(tenant),
            Err(failure) => return Ok(Err(failure)),
        },
        None => None,
    };
    let campaign_id = match &args.campaign {
        Some(name) => match lookup::campaign(tx, name).await? {
            Ok(campaign) => Some(campaign.id),
            Err(failure) => return Ok(Err(failure)),
        },
        None => None,
    };
    let phone = match &args.phone {
        // Numbers that are never dialled can be suppressed, too.
        Some(text) if args.kind == Kind::Suppressions => {
            let region = tenant.as_ref().and_then(|tenant| tenant.region.as_deref()).and_then(|code| code.parse().ok());
            match identify_phone(text, region) {
                Ok(phone) => Some(phone.to_string()),
                Err(problem) => return Ok(Err(Failure::usage(format!("{text:?} is no phone: {problem}")))),
            }
        }
        Some(text) => match lookup::named(text, tenant.as_ref()) {
            Ok(Named::Phone(phone, _)) => Some(phone),
            Ok(Named::Id(_)) => return Ok(Err(Failure::usage(format!("{text:?} is no phone")))),
            Err(failure) => return Ok(Err(failure)),
        },
        None => None,
    };
    Ok(Ok(Filter {
        tenant: tenant.map(|tenant| tenant.name),
        campaign_id,
        phone,
        status: args.status.clone(),
        since: args.since.map(|since| since.from(app.clock.now())),
        limit: i64::from(args.limit),
    }))
}
