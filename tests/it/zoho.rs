//! The books that are kept here: they are those of the stand-in for Zoho Books, whatever happens on the way.
//!
//! What there is, and how often it was asked for, is asked of the stand-in, never of callops' own tables.

mod apply;
mod ends;
mod limits;
mod shown;
mod sync;
mod tokens;

use std::collections::{BTreeMap, HashSet};

use callops::app::App;
use callops::commands::billing::accounts::Setup;
use callops::commands::billing::sync::{Synced, sync as sync_tenant};
use callops::config::{Config, ConfigArgs, Environment};
use callops::domain::billing::BillingSettings;
use callops::domain::campaign::{AccountSettings, TenantSettings};
use callops::output::{Format, Printer};
use callops::store::billing::{customers, invoices};
use callops::store::setup::{self, Account, Tenant};
use chrono::DateTime;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::common::story::{Story, reqwest_client};
use crate::common::{Output, Running, TestDatabase};
use crate::sandbox_zoho::schema::check_requests;

pub(crate) const ORGANIZATION: &str = "10229182";
/// When these stories begin.
const NOW: &str = "2026-11-20T15:00:00Z";

pub(crate) fn organization() -> Value {
    json!({
        "id": ORGANIZATION, "name": "Zillium Inc", "refresh_token": "sandbox-key", "client_id": "1000.CLIENT",
        "client_secret": "other-key", "offset": "-07:00",
    })
}

pub(crate) fn billing() -> BillingSettings {
    BillingSettings {
        account: "acme-zoho".to_owned(),
        organization_id: ORGANIZATION.to_owned(),
        ..BillingSettings::default()
    }
}

/// A story with an account at Zoho, a tenant `acme` with bills, and limits that are kept.
pub(crate) async fn begin(db: TestDatabase) -> Story {
    let story = Story::begin(db, NOW).await;
    put_account(&story, |_| {}).await;
    put_tenant(&story, "acme", billing()).await;
    story.sandbox.zoho(json!({"organizations": [organization()], "settings": {"limits": true}})).expect("books");
    story
}

pub(crate) async fn put_account(story: &Story, edit: impl Fn(&mut AccountSettings)) {
    let mut settings = AccountSettings {
        api_key: "env:ACME_KEY".to_owned(),
        api_secret: Some("env:OTHER_KEY".to_owned()),
        client_id: Some("1000.CLIENT".to_owned()),
        base_url: Some(story.sandbox.url()),
        ..AccountSettings::default()
    };
    edit(&mut settings);
    let account = Account {
        name: "acme-zoho".to_owned(),
        provider: "zoho".to_owned(),
        settings: serde_json::to_string(&settings).expect("JSON"),
        max_concurrency: 10,
        calls_per_minute: None,
        org_id: None,
        held_until: None,
        held_reason: None,
        refusals: 0,
    };
    let now = story.now();
    story.write(async |tx| setup::put_account(tx, &account, now).await).await;
}

pub(crate) async fn put_tenant(story: &Story, name: &str, billing: BillingSettings) {
    let settings = TenantSettings {
        api_token: Some("env:ACME_TOKEN".to_owned()),
        billing: Some(Box::new(billing)),
        ..TenantSettings::default()
    };
    let tenant = Tenant {
        name: name.to_owned(),
        display_name: name.to_owned(),
        region: Some("US".to_owned()),
        timezone: Some("America/New_York".to_owned()),
        settings: serde_json::to_string(&settings).expect("JSON"),
    };
    let now = story.now();
    story.write(async |tx| setup::put_tenant(tx, &tenant, now).await).await;
}

/// Another process on the story's database and clock, as far as one process can be two.
pub(crate) fn another_app(story: &Story, url: &str) -> App {
    let directory = story.scratch().path().to_owned();
    let variables = [("CALLOPS_DATABASE_URL", url), ("ACME_KEY", "sandbox-key"), ("OTHER_KEY", "other-key")];
    let home = directory.join("home");
    let environment = Environment::of_variables(variables, directory)
        .with_directories(home.join("config/callops"), home.join("data/callops"));
    let config = Config::load(&ConfigArgs::default(), &environment).expect("a configuration");
    App::new(story.clock.clone(), Printer::new(Format::Json, true), config, false)
}

/// One run for a tenant, by the story's clock: waiting makes its time pass.
pub(crate) async fn try_sync(app: &App, tenant: &str, full: bool) -> (Synced, anyhow::Result<()>) {
    let mut done = Synced::default();
    let setup = Setup::read(&mut app.db().await.expect("the database").read().await.expect("a transaction")).await;
    let setup = setup.expect("a setup");
    let tenant = setup.tenants.iter().find(|one| one.name == tenant).expect("a tenant with bills");
    let result = Box::pin(sync_tenant(app, &setup, tenant, &app.new_id(), full, &mut done)).await;
    (done, result)
}

pub(crate) async fn sync(story: &Story, full: bool) -> Synced {
    let (done, result) = try_sync(&story.app, "acme", full).await;
    result.expect("a sync");
    assert_eq!(done.unreadable, Vec::<String>::new());
    done
}

/// All records of a kind that the stand-in holds, by id. Not asked for by HTTP: to write and read 20,000 of them takes a debug
/// build seconds.
fn truth(story: &Story, kind: &str) -> BTreeMap<String, Value> {
    let Ok(Value::Array(records)) = story.sandbox.zoho_records(kind) else { panic!("no {kind}") };
    let id = if kind == "customers" { "contact_id" } else { "invoice_id" };
    let of_kind = records.into_iter().filter(|one| kind != "customers" || one["contact_type"] == "customer");
    of_kind.map(|one| (one[id].as_str().expect("an id").to_owned(), one)).collect()
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
}

fn amount(value: &Value) -> Option<Decimal> {
    (!value.is_null()).then(|| value.to_string().parse().expect("an amount"))
}

fn instant(value: &Value) -> Option<DateTime<chrono::Utc>> {
    let text = value.as_str()?;
    Some(DateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%z").expect("an instant").to_utc())
}

fn decimal(text: Option<&str>) -> Option<Decimal> {
    text.map(|text| text.parse().expect("a decimal"))
}

/// What was read since the whole was read last: what follows from others' records is as it was then.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Since {
    Full,
    Changes,
}

/// Insists that each field of each record is kept as the stand-in has it, and nothing else is.
async fn check_equal(story: &Story, tenant: &str, since: Since) {
    let all = |tenant: &str| (Some(tenant.to_owned()), 1_000_000);
    let (customers, invoices) = story
        .write(async |tx| {
            let (tenant, limit) = all(tenant);
            let filter = customers::Filter { tenant, limit, ..customers::Filter::default() };
            let customers = customers::list(tx, &filter).await?;
            let (tenant, limit) = all(&filter.tenant.unwrap_or_default());
            let filter = invoices::Filter { tenant, limit, ..invoices::Filter::default() };
            Ok((customers, invoices::list(tx, &filter).await?))
        })
        .await;
    let theirs = truth(story, "customers");
    let ours: Vec<&str> = customers.iter().map(|one| one.id.as_str()).collect();
    check_ids("customers", &ours, &theirs);
    for (index, one) in customers.iter().enumerate() {
        let there = &theirs[&one.id];
        let kept = (
            (Some(one.name.clone()), one.company_name.clone(), one.status.clone(), one.currency.clone()),
            (one.first_name.clone(), one.last_name.clone(), one.email.clone(), one.phone.clone(), one.mobile.clone()),
            one.last_modified_at,
        );
        let field = |name: &str| text(&there[name]);
        let wanted = (
            (field("contact_name"), field("company_name"), field("status"), field("currency_code")),
            (field("first_name"), field("last_name"), field("email"), field("phone"), field("mobile")),
            instant(&there["last_modified_time"]),
        );
        assert_eq!(kept, wanted, "{there}");
        if is_read_whole(index) {
            let raw = without(serde_json::from_str(&one.raw).expect("JSON"), since, &["outstanding_receivable_amount"]);
            assert_eq!(raw, without(there.clone(), since, &["outstanding_receivable_amount"]));
        }
        if since == Since::Full {
            assert_eq!(decimal(one.outstanding.as_deref()), amount(&there["outstanding_receivable_amount"]), "{there}");
        }
        if let Some(persons) = &one.contact_persons {
            let persons: Value = serde_json::from_str(persons).expect("JSON");
            assert_eq!(persons, there["contact_persons"], "{there}");
        }
    }
    let theirs = truth(story, "invoices");
    let ours: Vec<&str> = invoices.iter().map(|one| one.id.as_str()).collect();
    check_ids("invoices", &ours, &theirs);
    for (index, one) in invoices.iter().enumerate() {
        let there = &theirs[&one.id];
        let field = |name: &str| text(&there[name]);
        let kept = (
            (Some(one.customer_id.clone()), one.customer_name.clone(), Some(one.status.clone()), one.number.clone()),
            (one.date.clone(), one.due_date.clone(), one.currency.clone(), one.last_modified_at),
            (decimal(one.total.as_deref()), decimal(one.balance.as_deref())),
        );
        let wanted = (
            (field("customer_id"), field("customer_name"), field("status"), field("invoice_number")),
            (field("date"), field("due_date"), field("currency_code"), instant(&there["last_modified_time"])),
            (amount(&there["total"]), amount(&there["balance"])),
        );
        assert_eq!(kept, wanted, "{there}");
        // What a customer is called, and how many days are left, changes without the invoice.
        if is_read_whole(index) {
            let raw = without(serde_json::from_str(&one.raw).expect("JSON"), since, &["customer_name", "due_days"]);
            assert_eq!(raw, without(there.clone(), since, &["customer_name", "due_days"]));
        }
    }
}

/// Of many records only some are compared as the texts that they came as; what is kept of them by itself, of all.
fn is_read_whole(index: usize) -> bool {
    index < 500 || index.is_multiple_of(20)
}

fn check_ids(kind: &str, ours: &[&str], theirs: &BTreeMap<String, Value>) {
    let kept: HashSet<&str> = ours.iter().copied().collect();
    let missing: Vec<&String> = theirs.keys().filter(|id| !kept.contains(id.as_str())).take(5).collect();
    let extra: Vec<&&str> = ours.iter().filter(|id| !theirs.contains_key(**id)).take(5).collect();
    assert!(missing.is_empty() && extra.is_empty(), "{kind}: missing {missing:?}, too many {extra:?}");
    assert_eq!(ours.len(), theirs.len(), "{kind}");
}

/// A record without what the stand-in adds for tests, and without what only a full pass brings up to date.
fn without(mut record: Value, since: Since, derived: &[&str]) -> Value {
    let fields = record.as_object_mut().expect("an object");
    for name in ["organization_id", "contact_persons"].iter().chain(derived.iter().filter(|_| since == Since::Changes))
    {
        fields.remove(*name);
    }
    record
}

/// What the stand-in counted for the organisation.
fn meter(story: &Story) -> Value {
    story.sandbox.zoho_ledger()["organizations"][ORGANIZATION].clone()
}

pub(crate) fn requests(story: &Story) -> u64 {
    meter(story)["requests"].as_u64().unwrap_or_default()
}

/// Insists that no limit was broken, by the stand-in's ledger, and that every request is as Zoho's description has it.
pub(crate) async fn check_ledger(story: &Story) {
    let ledger = story.sandbox.zoho_ledger();
    let refused = &ledger["organizations"][ORGANIZATION]["refused"];
    assert_eq!(refused, &json!({"per_minute": 0, "per_day": 0, "at_once": 0}), "{ledger}");
    let tokens = ledger["tokens"].as_array().expect("grants");
    assert!(tokens.iter().all(|one| one["most_in_ten_minutes"].as_u64() <= Some(10)), "{ledger}");
    assert_eq!(ledger["ignored"], json!({}), "{ledger}");
    check_requests(&noted(story).await);
}

/// Every request, as the stand-in noted it.
async fn noted(story: &Story) -> Vec<Value> {
    let url = format!("{}/_sandbox/requests", story.sandbox.url());
    let answer: Value = reqwest_client().get(url).send().await.expect("an answer").json().await.expect("JSON");
    answer.as_array().or_else(|| answer["requests"].as_array()).expect("requests").clone()
}

/// The records of the size that the books of a large tenant have.
fn large(settings: &Value) -> Value {
    json!({"many": {"customers": 5000, "invoices": 20_000}, "settings": settings})
}

/// Starts the binary, which has the story's environment.
fn spawn(story: &Story, args: &[&str]) -> Running {
    story.spawn(&[&["sync-zoho"], args].concat())
}

fn run_sync(story: &Story, args: &[&str]) -> Output {
    spawn(story, args).wait()
}
