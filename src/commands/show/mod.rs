//! `show`: all about one thing.

mod billing;
mod numbers;
mod parts;

use clap::Subcommand;
use serde_json::{Map, Value, json};

use self::parts::Shown;
use super::lookup::{self, CampaignName, Found, Named};
use crate::app::App;
use crate::domain::numbers::keeper::is_number_sid;
use crate::domain::phone::identify_phone;
use crate::error::{Exit, Failure};
use crate::output::Rows;
use crate::store::contacts::{self, Contact};
use crate::store::numbers::StoredNumber;
use crate::store::records::{self, Kind};
use crate::store::{self, Tx, attempts, calls, conversations, events, imports, runs, sessions};

/// Arguments of `show`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  callops show campaign acme/checkup
  callops show contact '(802) 223-6942' --tenant acme
  callops show call 01JD5Q3G7V9M2C8K4R6T0W1XYZ --format json
  callops show invoice INV-00003 --tenant acme

`callops list` shows ids. Times are UTC.")]
pub struct Args {
    /// Of which kind
    #[command(subcommand)]
    pub what: What,
}

/// What can be shown.
#[derive(Clone, Debug, Subcommand)]
pub enum What {
    /// A campaign: its rules, its numbers, what was done to it
    Campaign {
        /// Its name
        #[arg(value_name = "TENANT/NAME")]
        name: CampaignName,
    },
    /// A contact: its data, campaigns and latest calls
    Contact {
        /// Its id, or its phone
        #[arg(value_name = "ID|PHONE")]
        contact: String,
        /// Whose contact it is, and by which region a phone without a country code is read
        #[arg(long)]
        tenant: Option<String>,
    },
    /// A call with its slots and attempts
    Call {
        /// Its id
        id: String,
    },
    /// An attempt: when it went how far, and on whose word
    Attempt {
        /// Its id
        id: String,
    },
    /// A conversation with its transcript, what was made of it, and the provider's record as it came
    Conversation {
        /// The id of its attempt or session
        id: String,
    },
    /// A booking, with the conversation that it was made of
    Booking {
        /// The id of its conversation
        id: String,
    },
    /// A ticket, with the conversation that it was made of
    Ticket {
        /// The id of its conversation
        id: String,
    },
    /// A session, with what was made of its conversation
    Session {
        /// Its id
        id: String,
    },
    /// A run with its counts
    Run {
        /// Its id
        id: String,
    },
    /// A webhook as it was stored, and what became of it
    Event {
        /// Its id
        id: String,
    },
    /// A phone number: whose it is, how it is set up, what was done to it
    Number {
        /// Its SID, or its number with the country code, such as +18025550103
        #[arg(value_name = "SID|PHONE")]
        number: String,
    },
    /// A customer as it was read from Zoho, with its persons and invoices
    Customer {
        /// Its id
        id: String,
        /// Whose customer it is
        #[arg(long)]
        tenant: Option<String>,
    },
    /// An invoice as it was read from Zoho, with the calls about it
    Invoice {
        /// Its id, or its number
        #[arg(value_name = "ID|NUMBER")]
        invoice: String,
        /// Whose invoice it is
        #[arg(long)]
        tenant: Option<String>,
    },
    /// An import: how the list was read, what became of its rows, what it changed
    Import {
        /// Its id
        id: String,
    },
}

/// Shows one thing.
///
/// # Errors
/// Exit 2 when it is not there.
pub async fn run(app: &App, args: Args) -> anyhow::Result<Exit> {
    let mut tx = app.db().await?.read().await?;
    let shown = match &args.what {
        What::Campaign { name } => match lookup::campaign(&mut tx, name).await? {
            Ok(campaign) => parts::campaign(&mut tx, &campaign).await?,
            Err(failure) => return Err(failure.into()),
        },
        What::Contact { contact, tenant } => {
            let contact = find_contact(&mut tx, contact, tenant.as_deref()).await??;
            parts::contact(&mut tx, &contact).await?
        }
        What::Call { id } => match calls::call(&mut tx, id).await? {
            Some(call) => parts::call(&mut tx, &call).await?,
            None => return Err(missing("call", "calls", id).into()),
        },
        What::Attempt { id } => match attempts::attempt(&mut tx, id).await? {
            Some(attempt) => parts::attempt(&mut tx, &attempt).await?,
            None => return Err(missing("attempt", "attempts", id).into()),
        },
        What::Conversation { id } => match conversations::conversation(&mut tx, id).await? {
            Some(conversation) => parts::conversation(&mut tx, &conversation).await?,
            None => return Err(missing("conversation", "conversations", id).into()),
        },
        What::Booking { id } => match records::of_conversation(&mut tx, Kind::Booking, id).await? {
            Some(booking) => parts::record(&mut tx, &booking).await?,
            None => return Err(missing("booking", "bookings", id).into()),
        },
        What::Ticket { id } => match records::of_conversation(&mut tx, Kind::Ticket, id).await? {
            Some(ticket) => parts::record(&mut tx, &ticket).await?,
            None => return Err(missing("ticket", "tickets", id).into()),
        },
        What::Session { id } => match sessions::session(&mut tx, id).await? {
            Some(session) => parts::session(&mut tx, &session).await?,
            None => return Err(missing("session", "sessions", id).into()),
        },
        What::Run { id } => match runs::run(&mut tx, id).await? {
            Some(run) => parts::run(&run),
            None => return Err(missing("run", "runs", id).into()),
        },
        What::Event { id } => match events::event(&mut tx, id).await? {
            Some(event) => parts::event(&event),
            None => return Err(missing("event", "events", id).into()),
        },
        What::Number { number } => match find_number(&mut tx, number).await?? {
            Some(number) => numbers::number(&mut tx, &number).await?,
            None => return Err(missing("number", "numbers", number).into()),
        },
        What::Customer { id, tenant } => billing::customer(&mut tx, id, tenant.as_deref(), app.clock.now()).await??,
        What::Invoice { invoice, tenant } => {
            billing::invoice(&mut tx, invoice, tenant.as_deref(), app.clock.now()).await??
        }
        What::Import { id } => match imports::import(&mut tx, id, false).await? {
            Some(import) => parts::import(&mut tx, &import).await?,
            None => return Err(missing("import", "imports", id).into()),
        },
    };
    print(app, shown)?;
    Ok(Exit::Success)
}

fn missing(what: &str, kind: &str, id: &str) -> Failure {
    Failure::usage(format!("there is no {what} {id}")).hint(format!("`callops list {kind}` shows them"))
}

async fn find_number(tx: &mut Tx, text: &str) -> Found<Option<StoredNumber>> {
    if let Some(number) = store::numbers::number(tx, text).await? {
        return Ok(Ok(Some(number)));
    }
    if is_number_sid(text) {
        return Ok(Ok(None));
    }
    let phone = match identify_phone(text, None) {
        Ok(phone) => phone.to_string(),
        Err(problem) => return Ok(Err(Failure::usage(format!("{text:?} is no SID, and no phone: {problem}")))),
    };
    // One that is there before those that were.
    Ok(Ok(store::numbers::with_phone(tx, &phone).await?.into_iter().next()))
}

async fn find_contact(tx: &mut Tx, text: &str, tenant: Option<&str>) -> Found<Contact> {
    let tenant = match tenant {
        Some(name) => match lookup::tenant(tx, name).await? {
            Ok(tenant) => Some(tenant),
            Err(failure) => return Ok(Err(failure)),
        },
        None => None,
    };
    if let Some(tenant) = &tenant {
        return Ok(match lookup::contact(tx, tenant, text).await? {
            Ok(Some(contact)) => Ok(contact),
            Ok(None) => Err(missing("contact", "contacts", &format!("{text} of {}", tenant.name))),
            Err(failure) => Err(failure),
        });
    }
    let phone = match lookup::named(text, None) {
        Ok(Named::Phone(phone, _)) => phone,
        Ok(Named::Id(id)) => {
            return Ok(contacts::contact(tx, &id).await?.ok_or_else(|| missing("contact", "contacts", &id)));
        }
        Err(failure) => return Ok(Err(failure.hint("--tenant gives the region"))),
    };
    let mut found = contacts::contacts_with_phone(tx, &phone).await?;
    Ok(match (found.pop(), found.len()) {
        (Some(contact), 0) => Ok(contact),
        (Some(_), _) => Err(Failure::usage(format!("several tenants have a contact {phone}")).hint("give --tenant")),
        (None, _) => Err(missing("contact", "contacts", &phone)),
    })
}

/// Programs get one object with everything inside; people get it in parts.
fn print(app: &App, shown: Shown) -> anyhow::Result<()> {
    let Shown { mut record, parts } = shown;
    if app.printer.is_table() {
        app.printer.record(&flat(&record))?;
        for (name, rows) in parts.iter().filter(|(_, rows)| !rows.is_empty()) {
            app.printer.line(format!("\n{}:", name.replace('_', " ")))?;
            app.printer.rows(rows)?;
        }
        return Ok(());
    }
    for (name, rows) in parts {
        record.insert(name.to_owned(), list(&rows));
    }
    app.printer.record(&record)?;
    Ok(())
}

fn list(rows: &Rows) -> Value {
    rows.objects().map(Value::Object).collect()
}

/// A record without what is empty, for people.
fn flat(record: &Map<String, Value>) -> Map<String, Value> {
    record
        .iter()
        .filter(|(_, value)| **value != Value::Null && **value != json!({}))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}
