//! A local stand-in for Vapi, ElevenLabs, LiveKit, Twilio, Zoho Books and Stripe: as strict as the services, with its own time, faults on demand,
//! and a ledger of every phone that it would have rung. Keys, organisations and the ledger are the same for all; ElevenLabs
//! wants the key in `xi-api-key`.
//!
//! The ledger is the judge of tests: a ring is written before anything can go wrong with the answer, and nothing is
//! ever taken out. A call that is taken rings at that moment, though its status says `queued` for another second, so
//! that whatever a client does afterwards the ledger errs on the side of convicting. A call that waits (for a free
//! line, or until its `earliestAt`) enters when it rings, and never if it is deleted before.
//!
//! Every assistant and every line is there (`GET /assistant/{id}`, `GET /phone-number/{id}`); an assistant's `server` is
//! whom the stand-in tells, and so is ElevenLabs' workspace's webhook. So is every trunk of LiveKit's. Its methods are
//! `CreateRoom`, `ListRooms`, `ListParticipants`, `CreateSIPParticipant` and `ListSIPOutboundTrunk` below
//! `/twirp/livekit.`; an API key's secret is the key itself, and outcomes are scripted in Vapi's words, or as `sip-603`.
//! What nobody is known to do it does so: a call of ElevenLabs' that nobody picks up is shown as `failed`, with the reason
//! (setting `tells_unanswered`; else it stays `initiated`).
//!
//! Of Twilio it plays what is about phone numbers, below `/2010-04-01/`: `Accounts`, and of an account `IncomingPhoneNumbers`,
//! `AvailablePhoneNumbers/{country}/Local` and, to be read only, `Calls`. There is one main account,
//! `AC0000000000000000000000000000005a`, without numbers. A key is an account's auth token, and the secret of its API key,
//! whose sid is the account's with `SK` for `AC`; a main account reaches its subaccounts. Numbers for sale depend on the seed,
//! and one that was released is not sold again. What was bought, changed and given back is in a ledger of its own, which
//! is written before anything can go wrong with the answer; a wish to release is in it whatever comes of it.
//!
//! Of Zoho Books, version 3, it plays what is read, below `/books/v3/`: `organizations`, `contacts` and `invoices`, as lists and
//! one by one, and `/oauth/v2/token`, which gives access tokens for refresh tokens. There is nothing in it from the start, and
//! its keys are its own. An unknown parameter is left alone, as the service is seen to do, and its name is in the ledger; a
//! known one that is not played is refused with code 2, as is a value that makes no sense. The ledger counts by organisation
//! whatever comes with a good token, also what a limit refuses or a fault meets.
//!
//! Of Stripe it plays what tells of payments, below `/v1/`: `events`, as a list and one by one, and one by one `customers`,
//! `subscriptions`, `invoices` and `checkout/sessions`; and it sends events as signed webhooks, again and again until an answer is
//! 2xx (a live one for three days, a test one three times). Its keys are its own. Events of the future wait for their time;
//! those of both modes are listed together.
//!
//! Besides the services' own paths there are, without a key:
//!
//! | path | |
//! |---|---|
//! | `GET /_sandbox/calls` | the ledger: `rings`, `rings_by_phone`, `rings_by_phone_and_day` (UTC), `most_live_by_org`, `agents_started` by name, and counts of `requests` |
//! | `GET /_sandbox/requests` | every request with its body, the fault that met it and the status it got |
//! | `GET`, `POST /_sandbox/clock` | `{"now": T}`, `{"advance_seconds": N}`, `{"frozen": true}`; the `Date` header follows |
//! | `GET`, `POST`, `DELETE /_sandbox/faults` | a rule `{"kind", "match": {"nth", "every", "percent", "phone_prefix", "method", "path"}, "times", ...}`, or a list |
//! | `POST`, `DELETE /_sandbox/script` | `{"phone", "outcomes": ["customer-busy", {"ended_reason", "ring_seconds", "talk_seconds", "stuck"}]}` |
//! | `GET`, `POST`, `DELETE /_sandbox/webhook` | whom it tells: `{"url", "secret", "auth": "secret", "bearer" or "hmac"}` for Vapi's messages, with `lose_percent`, `double_percent`, `delay_percent` (up to `delay_seconds`), `unknown_percent`; and counts |
//! | `GET /_sandbox/twilio` | the ledger of numbers: `purchases`, `deletes` (`status`: `released`, `gone` or `nothing`), `updates`, how many `numbers` there are, and `most_at_once`, of requests |
//! | `POST /_sandbox/twilio` | `accounts` (`sid`, `friendly_name`, `owner`, `key`, `status`), `numbers` (`account`, `sid`, `phone`, `friendly_name`, `voice_url`, `sms_url`, `status_callback`, `trunk_sid`, `voice_application_sid`, `bought_at`, `capabilities`), `many_numbers` (`account`, `count`, `friendly_name`, `voice_url`, `from`), `calls` (`account`, `sid`, `to`, `from`, `status`, `direction`, `start_time`, `end_time`, `duration`), `taken` phones, which a search shows and nobody gets, area codes with `no_numbers_in` them, `story`: `five-numbers`; and what Vapi and ElevenLabs list, `vapi_numbers` (`id`, `number`) and `elevenlabs_numbers` (`phone_number_id`, `phone_number`) |
//! | `GET /_sandbox/zoho` | the ledger of requests: by organisation `requests`, `requests_by_day` (UTC), `most_in_a_minute` (any 60 seconds), `most_at_once` and how many were `refused` by which limit; by refresh token (`tokens`) `issued`, `refused`, `most_in_ten_minutes`; `strangers` without a good token and `ignored` parameters. `?records=customers` or `invoices`: all there are, as a listing shows them |
//! | `POST /_sandbox/zoho` | `settings` (`page_context`: `object` or `array`; `limits`: true for `per_minute`, `per_day` and `at_once` to hold, 100, 1000 and 5 if not set; `expires_in`), `organizations` (`id`, `name`, `refresh_token`, `client_id`, `client_secret`, `currency_code`, `offset`), `customers` and `invoices` by the service's own names (besides `organization`, `country`), `many` (`organization`, `customers`, `invoices`, `seed`, `today`), `change` (`invoice` or `customer`, `set`), `delete_customers` with their invoices, `delete_invoices` |
//! | `GET /_sandbox/stripe` | what was sent: `deliveries` (`at`, `event`, `type`, `attempt`, `status`), how many were `sent`, `accepted`, `refused`, `lost` and `given_up`, are `waiting` and `due`; and how many `events` and `objects` there are |
//! | `POST /_sandbox/stripe` | `shape` of the events to come (`new`, since 2025-03-31, or `old`), `accounts` (`key`, `webhook_secret`, `previous_secret`, `livemode`), `webhook` (`url`, `account`, `lose_percent`, `double_percent`, `delay_percent`, `delay_seconds`, `reorder`), `customers`, `events` (`type`, `object`, `created`, `livemode`, `id`, `account`, `previous_attributes`, `api_version`), and `usual` ones: `kind` (`checkout_paid`, `checkout_unpaid`, `async_payment_succeeded`, `invoice_paid`, `subscription_active`, `subscription_trialing`, `subscription_incomplete`, `subscription_deleted`, `charge_refunded`), `customer`, `name`, `email`, `phone`, `country`, `created`, `customer_created`, `livemode`, `amount`, `currency`, `billing_reason`, `metadata`, `id`, `object`, `subscription` |
//! | `POST /_sandbox/settings` | `latency_ms`, `pace`, `over_concurrency`, `concurrency` by organisation, `organisations` to add, `analysis_seconds`, `tells_unanswered` |
//!
//! Faults that ring: `accept_and_drop`, `delay_answer` (`ms`), `broken_json`, `cut_body`, `no_id`, `list_lag`
//! (`seconds`), `server_error` with `"rings": true` (`status`). Faults that do not: `refuse_and_drop`, `slow_refuse`
//! (`ms`), `too_many_requests` (`retry_after`: a header's text, `date+SECONDS`, `absurd` or `absent`), `server_error`,
//! `unauthorized_all`, `payment_required`, `number_invalid`, `assistant_missing`, and `over_concurrency` (`mode`:
//! `queued_blocked`, which rings `seconds` later when a line is free, `ended` or `http_400`; ElevenLabs refuses). For
//! ElevenLabs alone: `coded` (`code`, `status`: 429) and `success_false` (`message`, `rings`). A rule is for placing
//! calls (with LiveKit, for `CreateSIPParticipant`) unless it names a method or path; `unauthorized_all` is for everything.
//! With Twilio, where nothing rings, what `rings` is what is done, a number whose purchase meets `list_lag` is shown later,
//! and `nothing_done`, whose `path` must begin with `/2010-04-01/`, answers as if it were done. With Zoho `payment_required` is the
//! day's limit, and `coded` takes one of its codes, or an error of `/oauth/v2/token`, which comes with 200.

mod clock;
mod control;
mod delivery;
mod elevenlabs;
mod exchange;
mod faults;
mod filter;
mod ledger;
mod lines;
mod livekit;
mod query;
mod reply;
mod requests;
mod script;
mod state;
mod stripe;
mod twilio;
mod vapi;
mod webhooks;
mod zoho;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::http::header::DATE;
use axum::http::{HeaderValue, Request};
use chrono::{DateTime, TimeDelta, Utc};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde::Deserialize;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

pub use self::faults::Over;
pub use self::ledger::Ring;
pub use self::webhooks::{Auth, Webhook};
use crate::clock::Clock;

/// How often waiting calls are looked after when no request comes.
const TICK: Duration = Duration::from_millis(100);

/// An organisation at the stand-in, and the key that belongs to it. Several keys may name one organisation.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Organisation {
    /// The bearer key.
    pub key: String,
    /// The organisation's id.
    pub org: String,
    /// How many calls may be live at once.
    #[serde(default = "usual_concurrency")]
    pub concurrency: usize,
}

fn usual_concurrency() -> usize {
    10
}

impl Default for Organisation {
    fn default() -> Self {
        Self { key: "sandbox-key".to_owned(), org: "org-sandbox".to_owned(), concurrency: usual_concurrency() }
    }
}

/// How a sandbox behaves from its start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where its own clock starts from.
    pub clock: Clock,
    /// Decides ids, outcomes and random faults.
    pub seed: u64,
    /// How long every answer takes.
    pub latency: Duration,
    /// A file that gets a JSON line for each ring, besides memory.
    pub ledger_file: Option<PathBuf>,
    /// Who may call.
    pub organisations: Vec<Organisation>,
    /// What happens to calls beyond an organisation's lines.
    pub over_concurrency: Over,
    /// Calls take this many times as long as usual; 0 ends them at once.
    pub pace: f64,
    /// Whom it tells what becomes of calls.
    pub webhook: Option<Webhook>,
}

impl Settings {
    /// The usual behaviour on this clock.
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            seed: 1,
            latency: Duration::ZERO,
            ledger_file: None,
            organisations: vec![Organisation::default()],
            over_concurrency: Over::default(),
            pace: 1.0,
            webhook: None,
        }
    }
}

/// Everything behind the endpoints; clones share it.
#[derive(Clone, Debug)]
struct Sandbox(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    clock: clock::SandboxClock,
    calls: state::Calls,
    faults: faults::Faults,
    requests: requests::Requests,
    rooms: livekit::Rooms,
    carrier: twilio::Carrier,
    lines: lines::Lines,
    books: zoho::Books,
    stripe: stripe::Stripe,
    keys: HashMap<String, String>,
    latency: Duration,
    over: Over,
    outbox: webhooks::Outbox,
}

impl Inner {
    /// Lets happen what is due by `now`, and tells it.
    fn advance(&mut self, now: DateTime<Utc>) {
        self.calls.tells = self.outbox.webhook.is_some();
        self.calls.advance(now);
        for (at, message) in self.calls.take_messages() {
            // Of several keys any will do; the same one each time.
            let of_org = self.keys.iter().filter(|(_, org)| **org == message.org).map(|(key, _)| key);
            self.outbox.push(at, &message, of_org.min());
        }
    }

    fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    fn give_twilio(&mut self, given: Value) -> Result<(), String> {
        let given = serde_json::from_value(given).map_err(|error| error.to_string())?;
        let now = self.now();
        self.carrier.give(given, &mut self.lines, now)
    }

    fn give_zoho(&mut self, given: Value) -> Result<(), String> {
        let given = serde_json::from_value(given).map_err(|error| error.to_string())?;
        let now = self.now();
        self.books.give(given, now)
    }

    fn give_stripe(&mut self, given: Value) -> Result<(), String> {
        let given = serde_json::from_value(given).map_err(|error| error.to_string())?;
        let now = self.now();
        self.stripe.give(given, now)
    }

    fn add(&mut self, organisation: Organisation, now: DateTime<Utc>) {
        self.calls.set_limit(&organisation.org, organisation.concurrency, now);
        self.keys.insert(organisation.key, organisation.org);
    }
}

impl Sandbox {
    fn new(settings: Settings) -> io::Result<Self> {
        let ledger = ledger::Ledger::open(settings.ledger_file.as_deref())?;
        let plans = script::Plans::new(settings.seed, settings.pace);
        let clock = clock::SandboxClock::new(settings.clock);
        let mut inner = Inner {
            carrier: twilio::Carrier::new(settings.seed, clock.now()),
            lines: lines::Lines::default(),
            books: zoho::Books::new(settings.seed),
            stripe: stripe::Stripe::new(settings.seed),
            clock,
            calls: state::Calls::new(ledger, plans, settings.seed),
            faults: faults::Faults::new(settings.seed),
            requests: requests::Requests::default(),
            rooms: livekit::Rooms::default(),
            keys: HashMap::new(),
            latency: settings.latency,
            over: settings.over_concurrency,
            outbox: webhooks::Outbox::new(settings.webhook, settings.seed),
        };
        let now = inner.now();
        for organisation in settings.organisations {
            inner.add(organisation, now);
        }
        Ok(Self(Arc::new(Mutex::new(inner))))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // What a panicking request left behind is still the truth about the phones.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A sandbox that answers until this is dropped.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    sandbox: Sandbox,
    task: JoinHandle<()>,
    sender: JoinHandle<()>,
}

impl Running {
    /// Where it answers, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every ring up to this moment of the sandbox's clock.
    pub fn rings(&self) -> Vec<Ring> {
        let mut inner = self.sandbox.lock();
        let now = inner.now();
        inner.advance(now);
        inner.calls.ledger.rings().to_vec()
    }

    /// The sandbox's clock.
    pub fn now(&self) -> DateTime<Utc> {
        self.sandbox.lock().now()
    }

    /// Moves the sandbox's clock.
    pub fn advance(&self, by: TimeDelta) {
        let mut inner = self.sandbox.lock();
        inner.clock.advance(by);
        let now = inner.now();
        inner.advance(now);
    }

    /// Adds a fault rule, or a list of them, as `POST /_sandbox/faults` does.
    ///
    /// # Errors
    /// Naming what is wrong with the rule.
    pub fn add_faults(&self, rules: Value) -> Result<(), String> {
        self.sandbox.lock().faults.add(rules)
    }

    /// Removes every fault rule.
    pub fn clear_faults(&self) {
        self.sandbox.lock().faults.clear();
    }

    /// Puts accounts, numbers and calls into Twilio, as `POST /_sandbox/twilio` does.
    ///
    /// # Errors
    /// Naming what makes no sense; then nothing is put in.
    pub fn twilio(&self, given: Value) -> Result<(), String> {
        self.sandbox.lock().give_twilio(given)
    }

    /// What was bought, changed and given back, as `GET /_sandbox/twilio` tells it.
    pub fn twilio_ledger(&self) -> Value {
        self.sandbox.lock().carrier.ledger()
    }

    /// Puts organisations, customers and invoices into Zoho Books, or changes what is there, as `POST /_sandbox/zoho` does.
    ///
    /// # Errors
    /// Naming what makes no sense; then nothing is put in.
    pub fn zoho(&self, given: Value) -> Result<(), String> {
        self.sandbox.lock().give_zoho(given)
    }

    /// All customers or invoices in Zoho Books, as `GET /_sandbox/zoho?records=` tells them.
    ///
    /// # Errors
    /// When there is no such kind of record.
    pub fn zoho_records(&self, kind: &str) -> Result<Value, String> {
        let inner = self.sandbox.lock();
        inner.books.all(kind, inner.now())
    }

    /// What was asked of Zoho Books, as `GET /_sandbox/zoho` tells it.
    pub fn zoho_ledger(&self) -> Value {
        self.sandbox.lock().books.ledger()
    }

    /// Puts accounts, customers and events into Stripe, as `POST /_sandbox/stripe` does.
    ///
    /// # Errors
    /// Naming what makes no sense; then nothing is put in.
    pub fn stripe(&self, given: Value) -> Result<(), String> {
        self.sandbox.lock().give_stripe(given)
    }

    /// What Stripe sent and what it was answered, as `GET /_sandbox/stripe` tells it.
    pub fn stripe_ledger(&self) -> Value {
        let inner = self.sandbox.lock();
        inner.stripe.ledger(inner.now())
    }

    /// Tells somebody else, or nobody, what becomes of calls from now on.
    ///
    /// # Errors
    /// Naming what is wrong with it.
    pub fn set_webhook(&self, webhook: Option<Webhook>) -> Result<(), String> {
        webhook.as_ref().map_or(Ok(()), Webhook::check)?;
        let mut inner = self.sandbox.lock();
        inner.calls.tells = webhook.is_some();
        inner.outbox.webhook = webhook;
        Ok(())
    }

    /// Closes the port and every connection.
    pub async fn stop(mut self) {
        self.task.abort();
        self.sender.abort();
        let _ = (&mut self.task).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
        self.sender.abort();
    }
}

/// Answers on `listener` from now on, in a task of the current runtime.
///
/// # Errors
/// When the listener has no address or the ledger's file cannot be opened.
pub fn serve(settings: Settings, listener: TcpListener) -> io::Result<Running> {
    let address = listener.local_addr()?;
    let sandbox = Sandbox::new(settings)?;
    let task = tokio::spawn(accept(sandbox.clone(), listener));
    let (messages, events) = (webhooks::send(sandbox.clone()), stripe::send(sandbox.clone()));
    let sender = tokio::spawn(async {
        tokio::join!(messages, events);
    });
    Ok(Running { address, sandbox, task, sender })
}

async fn accept(sandbox: Sandbox, listener: TcpListener) {
    let router = vapi::routes()
        .merge(elevenlabs::routes())
        .merge(livekit::routes())
        .merge(twilio::routes())
        .merge(zoho::routes())
        .merge(stripe::routes())
        .merge(control::routes())
        .with_state(sandbox.clone());
    let mut connections = JoinSet::new();
    let mut tick = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let service = TowerToHyperService::new(router.clone());
                    connections.spawn(converse(sandbox.clone(), service, stream));
                }
                // Out of file descriptors, mostly: others will close theirs.
                Err(error) => {
                    tracing::warn!(%error, "the sandbox cannot accept a connection");
                    tokio::time::sleep(TICK).await;
                }
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            _ = tick.tick() => {
                let mut inner = sandbox.lock();
                let now = inner.now();
                inner.advance(now);
            }
        }
    }
}

async fn converse(sandbox: Sandbox, router: TowerToHyperService<axum::Router>, stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = router.call(request.map(Body::new));
        let sandbox = sandbox.clone();
        async move {
            let mut response = answer.await.unwrap_or_else(|never| match never {});
            if response.extensions().get::<reply::HangUp>().is_some() {
                // An error instead of a response closes the connection without a byte.
                return Err(io::Error::other("hung up as told"));
            }
            if let Ok(date) = HeaderValue::from_str(&http_date(sandbox.lock().now())) {
                response.headers_mut().insert(DATE, date);
            }
            Ok(response)
        }
    });
    // How a connection ends is the client's business, or a fault that was asked for.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

fn http_date(at: DateTime<Utc>) -> String {
    at.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// A length of time from 0 to a thousand years; none for anything else.
fn seconds(seconds: f64) -> Option<TimeDelta> {
    let sane = (0.0..=3.2e10).contains(&seconds);
    sane.then(|| Duration::from_secs_f64(seconds)).and_then(|duration| TimeDelta::from_std(duration).ok())
}
