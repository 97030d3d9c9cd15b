//! Two days with the clock put back in between: who paid for the first time is called once, soon after the time that they
//! prefer, and nobody else is, although everything that once made doubles happens. A queue of another system is taken over
//! first, in which everybody stands three times.

use std::collections::{BTreeMap, HashMap};

use callops::app::App;
use callops::commands::calling::stop::Stop;
use callops::commands::process_calls;
use callops::config::{Config, ConfigArgs, Environment};
use callops::domain::campaign::Rules;
use callops::domain::evidence::RetryPolicy;
use callops::domain::zone::Zone;
use callops::output::{Format, Printer};
use chrono::{DateTime, TimeDelta, Utc};
use clap::Parser;
use serde_json::{Value, json};

use super::{begin, deliver, welcome_rules, welcomes};
use crate::common::story::{Story, at, reqwest_client};
use crate::common::{TestDatabase, block_on};

const CUSTOMERS: usize = 500;
/// Those who must not be called: renewals of customers of before, events of live mode, incomplete subscriptions, refunds.
const OTHERS: usize = 40;
/// Customers whom another system's queue has, each three times.
const QUEUED: usize = 100;
const TICK_MINUTES: i64 = 15;
const LOOK_BACK_SECONDS: i64 = 900;
const MOST_JITTER_SECONDS: u64 = 90;

const ZONES: [&str; 12] = [
    "America/New_York",
    "America/Chicago",
    "America/Denver",
    "America/Phoenix",
    "America/Los_Angeles",
    "America/Anchorage",
    "Pacific/Honolulu",
    "America/Halifax",
    "America/St_Johns",
    "Europe/London",
    "Asia/Kolkata",
    "Australia/Sydney",
];

#[derive(Parser)]
struct ProcessCalls {
    #[command(flatten)]
    args: process_calls::Args,
}

/// A second cron, on another machine as far as one process can be two.
fn another_cron(story: &Story, url: &str) -> App {
    let directory = story.scratch().path().to_owned();
    let variables = [("CALLOPS_DATABASE_URL", url), ("ACME_KEY", "sandbox-key")];
    let home = directory.join("home");
    let environment = Environment::of_variables(variables, directory)
        .with_directories(home.join("config/callops"), home.join("data/callops"));
    let config = Config::load(&ConfigArgs::default(), &environment).expect("a configuration");
    App::new(story.clock.clone(), Printer::new(Format::Json, true), config, false)
}

async fn process(app: &App) {
    let args = ProcessCalls::parse_from(["process-calls", "--concurrency", "50"]).args;
    process_calls::once(app, &args, &Stop::default()).await.expect("a run");
}

struct Customer {
    id: String,
    phone: String,
    zone: Zone,
    /// Minutes of the day.
    preferred: u32,
    pays_at: DateTime<Utc>,
}

fn customers(random: &mut fastrand::Rng, begins_at: DateTime<Utc>) -> Vec<Customer> {
    let pays_at = |n: usize, random: &mut fastrand::Rng| {
        // Those of the queue have paid when it is taken over.
        let seconds = if n < QUEUED { 60 } else { random.i64(0..20 * 3600) };
        begins_at + TimeDelta::seconds(seconds)
    };
    (0..CUSTOMERS)
        .map(|n| Customer {
            id: format!("cus_{n:03}"),
            phone: format!("+1202555{:04}", 1000 + n),
            zone: Zone::parse(ZONES[n % ZONES.len()]).expect("a zone"),
            preferred: random.u32(9 * 60..20 * 60 - 15),
            pays_at: pays_at(n, random),
        })
        .collect()
}

/// What is to happen, by the tick before which it does.
fn plan(customers: &[Customer], begins_at: DateTime<Utc>, random: &mut fastrand::Rng) -> BTreeMap<i64, Vec<Value>> {
    let mut plan: BTreeMap<i64, Vec<Value>> = BTreeMap::new();
    let mut put = |at: DateTime<Utc>, mut usual: Value| {
        usual["created"] = json!(at.timestamp());
        plan.entry((at - begins_at).num_minutes() / TICK_MINUTES).or_default().push(usual);
    };
    for customer in customers {
        for (kind, later) in
            [("subscription_incomplete", -1), ("checkout_paid", 0), ("invoice_paid", 1), ("subscription_active", 2)]
        {
            let object = format!("{kind}_{}", customer.id);
            let usual = json!({"kind": kind, "customer": customer.id, "object": object});
            put(customer.pays_at + TimeDelta::seconds(later), usual);
        }
        let renewal = json!({"kind": "invoice_paid", "customer": customer.id, "billing_reason": "subscription_cycle"});
        put(customer.pays_at + TimeDelta::hours(random.i64(1..20)), renewal);
    }
    for n in 0..OTHERS {
        let any = |random: &mut fastrand::Rng| begins_at + TimeDelta::seconds(random.i64(0..40 * 3600));
        let at = any(random);
        put(
            at,
            json!({"kind": "invoice_paid", "customer": format!("cus_old_{n}"), "billing_reason": "subscription_cycle"}),
        );
        put(at, json!({"kind": "subscription_active", "customer": format!("cus_old_{n}")}));
        put(any(random), json!({"kind": "checkout_paid", "customer": format!("cus_live_{n}"), "livemode": true}));
        put(any(random), json!({"kind": "subscription_incomplete", "customer": format!("cus_half_{n}")}));
        put(any(random), json!({"kind": "checkout_paid", "customer": format!("cus_called_{n}")}));
        let at = any(random);
        put(at, json!({"kind": "checkout_paid", "customer": format!("cus_refund_{n}")}));
        put(at + TimeDelta::seconds(30), json!({"kind": "charge_refunded", "customer": format!("cus_refund_{n}")}));
    }
    plan
}

/// The queue of the system before: customers who wait, each three times, and those whom it called, who pay once more.
fn queue(customers: &[Customer]) -> String {
    let columns = "phone_number,status,created_at,stripe_customer_id,welcome_call_completed,timezone,preferred_time";
    let mut lines = vec![columns.to_owned()];
    for copy in 0..3 {
        for one in &customers[..QUEUED] {
            let preferred = format!("{:02}:{:02}", one.preferred / 60, one.preferred % 60);
            let (phone, id, zone) = (&one.phone, &one.id, one.zone.name());
            lines.push(format!("{phone},pending,2026-10-30 12:00:0{copy}+00,{id},f,{zone},{preferred}"));
        }
        for n in 0..OTHERS {
            let (status, completed) = [("completed", "f"), ("pending", "t"), ("calling", "f")][n % 3];
            let status = if copy == 1 { status } else { "pending" };
            let completed = if copy == 1 { completed } else { "f" };
            lines
                .push(format!("{},{status},2026-10-30 12:00:0{copy}+00,cus_called_{n},{completed},,", called_phone(n)));
        }
    }
    lines.join("\n") + "\n"
}

fn called_phone(n: usize) -> String {
    format!("+1202555{:04}", 3000 + n)
}

fn known_there(customers: &[Customer], begins_at: DateTime<Utc>) -> Vec<Value> {
    let mut known: Vec<Value> = customers
        .iter()
        .map(|one| {
            let preferred = format!("{:02}:{:02}", one.preferred / 60, one.preferred % 60);
            let metadata = json!({"timezone": one.zone.name(), "preferred_time": preferred});
            json!({"id": one.id, "phone": one.phone, "created": one.pays_at.timestamp(), "metadata": metadata})
        })
        .collect();
    for (index, who) in ["old", "live", "half", "refund"].into_iter().enumerate() {
        for n in 0..OTHERS {
            let created = if who == "old" { begins_at - TimeDelta::days(90) } else { begins_at };
            let phone = format!("+1202555{:04}", 2000 + 100 * index + n);
            known.push(json!({"id": format!("cus_{who}_{n}"), "phone": phone, "created": created.timestamp()}));
        }
    }
    for n in 0..OTHERS {
        // Whom the queue had under another phone.
        let phone = if n % 2 == 0 { called_phone(n) } else { format!("+1202555{:04}", 4000 + n) };
        known.push(json!({"id": format!("cus_called_{n}"), "phone": phone, "created": begins_at.timestamp()}));
    }
    known
}

/// The stand-in's events since a moment.
async fn events_since(story: &Story, since: DateTime<Utc>) -> Vec<Value> {
    let (mut events, mut after) = (Vec::new(), String::new());
    loop {
        let url = format!("{}/v1/events?limit=100&created[gte]={}{after}", story.sandbox.url(), since.timestamp());
        let request = reqwest_client().get(url).bearer_auth("sandbox-key");
        let page: Value = request.send().await.expect("an answer").json().await.expect("JSON");
        events.extend(page["data"].as_array().expect("events").iter().cloned());
        if page["has_more"] != true {
            return events;
        }
        after = format!("&starting_after={}", events[events.len() - 1]["id"].as_str().expect("an id"));
    }
}

async fn two_days(db: TestDatabase) {
    let url = db.url().to_owned();
    let begins_at = at("2026-10-31T00:00:00Z");
    let mut story = begin_at_the_change(db).await;
    let mut random = fastrand::Rng::with_seed(8);
    let customers = customers(&mut random, begins_at);
    let plan = plan(&customers, begins_at, &mut random);
    story.sandbox.stripe(json!({"customers": known_there(&customers, begins_at)})).expect("customers");
    story.app.config.run_interval = "17m".parse().expect("an interval");
    let mut other = another_cron(&story, &url);
    other.config.run_interval = story.app.config.run_interval;
    story.scratch().write("call_queue.csv", queue(&customers));
    let taken =
        story.run(&["import-queue", "call_queue.csv", "--campaign", "acme/welcome", "--format", "json"]).success();
    let counts = taken.json();
    for (name, count) in [("enrolled", QUEUED), ("spent", OTHERS)] {
        assert!(counts.to_string().contains(&format!("\"{name}\":{count}")), "{name} {count}: {counts}");
    }
    let ticks = 48 * 60 / TICK_MINUTES;
    for tick in 0..ticks {
        let tick_at = begins_at + TimeDelta::minutes((tick + 1) * TICK_MINUTES);
        let jitter = TimeDelta::seconds(i64::try_from(random.u64(0..=MOST_JITTER_SECONDS)).expect("small"));
        story.wait(tick_at + jitter - story.now());
        if let Some(usual) = plan.get(&tick) {
            let since = begins_at + TimeDelta::minutes(tick * TICK_MINUTES) - TimeDelta::seconds(1);
            story.sandbox.stripe(json!({"usual": usual})).expect("events");
            // In any order, and each of them twice.
            let mut events = events_since(&story, since).await;
            let again = events.clone();
            events.extend(again);
            random.shuffle(&mut events);
            for event in &events {
                deliver(&story, event).await;
            }
        }
        tokio::join!(process(&story.app), process(&other));
        story.collect().await;
    }
    other.close().await;
    check(&story, &customers);
}

async fn begin_at_the_change(db: TestDatabase) -> Story {
    let story = begin(db).await;
    // The story's clock begins later in the year than this one.
    let story = story.end().await;
    let story = Story::begin(story, "2026-10-31T00:00:00Z").await;
    super::put_account(&story, "acme-stripe", super::account()).await;
    let window = "09:00-20:00".parse().expect("a window");
    let schedule = callops::domain::schedule::Schedule::every_day(window);
    // Nobody is tried again, so that each ring is a call.
    let retry = RetryPolicy { on: Vec::new(), ..RetryPolicy::default() };
    story
        .campaign("welcome", &Rules { schedule, retry, look_back_seconds: LOOK_BACK_SECONDS, ..welcome_rules() })
        .await;
    let since = at("2026-10-30T00:00:00Z");
    super::put_tenant(&story, callops::domain::welcome::WelcomeSettings { welcome_since: since, ..super::welcome() })
        .await;
    let account = json!({"key": "sandbox-key", "webhook_secret": super::SECRET, "livemode": false});
    story.sandbox.stripe(json!({"accounts": [account]})).expect("an account");
    story
}

fn check(story: &Story, customers: &[Customer]) {
    let states: HashMap<String, String> = welcomes(story)
        .into_iter()
        .map(|one| (one["customer"].as_str().unwrap_or_default().to_owned(), one["status"].to_string()))
        .collect();
    let rings = story.sandbox.rings();
    let latest = TimeDelta::seconds(LOOK_BACK_SECONDS + 17 * 60);
    for customer in customers {
        let of: Vec<_> = rings.iter().filter(|ring| ring.phone == customer.phone).collect();
        assert_eq!(of.len(), 1, "{} is {:?}", customer.id, states.get(&customer.id));
        let rang_at = of[0].at;
        let shown = customer.zone.local(rang_at);
        let preferred = shown.date().and_hms_opt(customer.preferred / 60, customer.preferred % 60, 0).expect("a time");
        let due_at = customer.zone.first_instant(preferred);
        let late = rang_at - due_at;
        assert!(late >= TimeDelta::zero() && late <= latest, "{} rang {late} after {preferred}", customer.id);
        assert!(rang_at >= customer.pays_at, "{}", customer.id);
    }
    assert_eq!(rings.len(), customers.len(), "nobody else");
}

#[test]
fn one_welcome_call_for_each_new_customer_and_none_for_anybody_else_on_sqlite() {
    let db = TestDatabase::new(crate::common::Backend::Sqlite);
    block_on(async move || Box::pin(two_days(db)).await);
}

#[test]
fn one_welcome_call_for_each_new_customer_and_none_for_anybody_else_on_postgres() {
    let db = TestDatabase::new(crate::common::Backend::Postgres);
    block_on(async move || Box::pin(two_days(db)).await);
}
