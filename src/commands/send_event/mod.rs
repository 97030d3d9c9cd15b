//! `send-event`: what an agent runs to report what becomes of its call.

mod spool;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use clap::ValueEnum;
use serde_json::{Map, Value, json};

use self::spool::{Spool, Spooled};
use super::telling::{count, record_of};
use crate::clock::Clock;
use crate::config::Environment;
use crate::domain::call_status::{CallStatusEvent, CustomerResponse, EventType};
use crate::domain::secret::Secret;
use crate::error::{Exit, Failure};
use crate::output::Printer;
use crate::providers::Http;
use crate::providers::webhook::{Delivered, NotDelivered, deliver};

/// When an event is sent, from its report on. An attempt that takes longer makes the next one later.
const ATTEMPTS_AT: [Duration; 3] = [Duration::ZERO, Duration::from_secs(2), Duration::from_secs(4)];
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

const RESPONSE_HELP: &str = "What the callee said: will_pay_today, already_paid, dispute, no_answer";

/// Arguments of `send-event`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  callops send-event answered --reminder-id 01JD5Q3G7V9M2C8K4R6T0W1XYZ
  callops send-event completed --reminder-id 01JD5Q3G7V9M2C8K4R6T0W1XYZ --duration 42 --response will_pay_today
  callops send-event failed --reminder-id 01JD5Q3G7V9M2C8K4R6T0W1XYZ --reason 'line dropped'
  callops send-event --flush

WEBHOOK_URL is the server's address, WEBHOOK_SECRET what the event is signed with; no configuration and no database is
needed. An event that cannot be delivered within three attempts stays in the spool (exit code 7), and goes out with the
next event or with --flush. The server takes each event once, however often it is sent.")]
pub struct Args {
    /// What happened
    #[arg(value_enum, required_unless_present = "flush")]
    pub event: Option<Event>,
    /// The attempt, or the call, that it is about
    #[arg(long, value_name = "ID", required_unless_present = "flush")]
    pub reminder_id: Option<String>,
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// How long the conversation was, in seconds
    #[arg(long, value_name = "SECONDS", requires = "response")]
    pub duration: Option<f64>,
    /// What the callee said.
    #[arg(long, value_name = "WORD", value_parser = response, requires = "duration", help = RESPONSE_HELP)]
    pub response: Option<CustomerResponse>,
    /// That nobody was on the line, though the call was connected
    #[arg(long, requires = "response")]
    pub not_connected: bool,
    /// What else there is to know
    #[arg(long, value_name = "TEXT", requires = "response")]
    pub notes: Option<String>,
    /// Deliver what is in the spool
    #[arg(long)]
    pub flush: bool,
    /// Where undelivered events are kept [default: `spool` in the platform's data directory]
    #[arg(long, value_name = "FOLDER")]
    pub spool: Option<PathBuf>,
}

/// What happened to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Event {
    /// Somebody picked up
    Answered,
    /// The conversation is over
    Completed,
    /// The call failed
    Failed,
}

fn response(word: &str) -> Result<CustomerResponse, String> {
    let words: Vec<&str> = CustomerResponse::ALL.iter().map(|response| response.as_str()).collect();
    word.parse().map_err(|_| format!("it is one of {}", words.join(", ")))
}

/// Reports an event, or delivers what is in the spool.
///
/// # Errors
/// Exit 6 without address or secret, or where the secret is refused; 2 for what the server never takes; 7 where the event
/// is kept for later.
pub async fn run(printer: &Printer, environment: &Environment, clock: &Clock, args: &Args) -> anyhow::Result<Exit> {
    let variable = |name: &str| {
        environment.get(name).ok_or_else(|| {
            Failure::configuration(format!("{name} is not set")).hint("`callops send-event --help` says what it is")
        })
    };
    let sender = Sender {
        url: variable("WEBHOOK_URL")?.to_owned(),
        secret: Secret::new(variable("WEBHOOK_SECRET")?),
        http: Http::new(REQUEST_TIMEOUT, REQUEST_TIMEOUT),
        clock,
    };
    let folder = args.spool.clone().or_else(|| Some(environment.data_dir()?.join("spool")));
    let folder = folder.ok_or_else(|| Failure::configuration("there is no data directory; name one with --spool"))?;
    let spool = Spool::open(&folder).with_context(|| format!("the spool {} cannot be used", folder.display()))?;
    let Some(event) = args.event else {
        let flushed = flush(&sender, &spool, printer).await?;
        return tell(printer, Map::new(), &flushed, None);
    };
    let body = body(event, args)?;
    let id = id(clock.now());
    // On the disk before it is on the wire: a kill in between loses nothing.
    let kept = spool.keep(&id, &body).with_context(|| format!("the event cannot be kept in {}", folder.display()))?;
    match sender.persist(&kept.body).await {
        Ok(delivered) => {
            Spool::remove(&kept)?;
            let record = record_of(json!({
                "event_id": delivered.event_id, "applied": delivered.applied, "reason": delivered.reason,
            }));
            let flushed = flush(&sender, &spool, printer).await?;
            tell(printer, record, &flushed, Some(&delivered))
        }
        Err(problem) => Err(fail(&spool, &kept, &problem)?.into()),
    }
}

/// The body as the server reads it, which is tried here first: what it would refuse is told before anything is sent.
fn body(event: Event, args: &Args) -> anyhow::Result<String> {
    let event_type = match event {
        Event::Answered => EventType::Answered,
        Event::Completed => EventType::Completed,
        Event::Failed => EventType::Failed,
    };
    let mut body = record_of(json!({"reminder_id": args.reminder_id, "event_type": event_type.as_str()}));
    if let Some(reason) = &args.reason {
        body.insert("reason".to_owned(), json!(reason));
    }
    if let (Some(response), Some(duration)) = (args.response, args.duration) {
        let outcome = json!({
            "connected": !args.not_connected, "duration": duration, "customer_response": response.as_str(),
            "notes": args.notes,
        });
        body.insert("outcome".to_owned(), outcome);
    }
    let body = Value::Object(body);
    CallStatusEvent::read(&body).map_err(|problems| {
        let list: Vec<String> = problems.iter().map(|found| format!("{} {}", found.field, found.problem)).collect();
        Failure::usage(format!("the event cannot be sent: {}", list.join("; ")))
    })?;
    Ok(body.to_string())
}

/// A name that sorts by time.
fn id(now: DateTime<Utc>) -> String {
    ulid::Ulid::from_datetime(now.into()).to_string()
}

struct Sender<'a> {
    url: String,
    secret: Secret,
    http: Http,
    clock: &'a Clock,
}

impl Sender<'_> {
    async fn once(&self, body: &str) -> Result<Delivered, NotDelivered> {
        deliver(&self.http, &self.url, &self.secret, body, self.clock.now()).await
    }

    /// Sends an event until the server has it, or three attempts are over.
    async fn persist(&self, body: &str) -> Result<Delivered, NotDelivered> {
        let started = tokio::time::Instant::now();
        let mut last = NotDelivered::Later("nothing was sent".to_owned());
        for after in ATTEMPTS_AT {
            tokio::time::sleep_until(started + after).await;
            match self.once(body).await {
                Err(NotDelivered::Later(reason)) => last = NotDelivered::Later(reason),
                result => return result,
            }
        }
        Err(last)
    }
}

/// What became of the spool.
#[derive(Default)]
struct Flushed {
    delivered: u64,
    refused: u64,
    left: u64,
    problem: Option<String>,
}

/// Sends every event of the spool once, the oldest first, until one finds the server unable to take it.
async fn flush(sender: &Sender<'_>, spool: &Spool, printer: &Printer) -> anyhow::Result<Flushed> {
    let events = spool.events().context("the spool cannot be read")?;
    let mut flushed = Flushed { left: events.len() as u64, ..Flushed::default() };
    for event in &events {
        match sender.once(&event.body).await {
            Ok(_) => {
                Spool::remove(event)?;
                flushed.delivered += 1;
            }
            Err(problem @ NotDelivered::Never { .. }) => {
                let place = spool.set_aside(event)?;
                printer.warn(format!("{problem}; it is kept as {}", place.display()));
                flushed.refused += 1;
            }
            Err(problem) => {
                flushed.problem = Some(problem.to_string());
                break;
            }
        }
        flushed.left -= 1;
    }
    Ok(flushed)
}

fn fail(spool: &Spool, event: &Spooled, problem: &NotDelivered) -> anyhow::Result<Failure> {
    let later = "it is in the spool, and goes out with the next event or with `callops send-event --flush`";
    Ok(match problem {
        NotDelivered::Later(_) => {
            Failure::new(Exit::Unreachable, format!("the event is not delivered: {problem}")).hint(later)
        }
        NotDelivered::Signature => Failure::configuration(format!("the event is not delivered: {problem}"))
            .hint("is WEBHOOK_SECRET the server's, and is this machine's clock right?")
            .hint(later),
        NotDelivered::Never { .. } => {
            let place = spool.set_aside(event)?;
            Failure::usage(format!("the event is not delivered: {problem}"))
                .hint(format!("it is kept as {}", place.display()))
        }
    })
}

fn tell(
    printer: &Printer,
    mut record: Map<String, Value>,
    flushed: &Flushed,
    delivered: Option<&Delivered>,
) -> anyhow::Result<Exit> {
    if printer.is_table() {
        if let Some(delivered) = delivered {
            let reason = delivered.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            let applied = if delivered.applied { "applied" } else { "taken, nothing changed" };
            printer.line(format!("event {} {applied}{reason}", delivered.event_id))?;
        }
        if flushed.delivered + flushed.refused + flushed.left > 0 || delivered.is_none() {
            printer.line(format!(
                "spool: {} delivered, {} refused, {} left",
                count(flushed.delivered, "event"),
                flushed.refused,
                flushed.left
            ))?;
        }
    } else {
        record.insert("flushed".to_owned(), json!(flushed.delivered));
        record.insert("refused".to_owned(), json!(flushed.refused));
        record.insert("left".to_owned(), json!(flushed.left));
        printer.record(&record)?;
    }
    if let Some(problem) = &flushed.problem {
        printer.warn(format!("the spool is not empty: {problem}"));
    }
    Ok(match (flushed.left, flushed.refused) {
        (0, 0) => Exit::Success,
        (0, _) => Exit::Partial,
        // The event itself was delivered, and the rest goes out with the next one.
        _ if delivered.is_some() => Exit::Success,
        _ => Exit::Unreachable,
    })
}
