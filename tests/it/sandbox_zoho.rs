//! The stand-in for Zoho Books: it pages, filters and limits as the service does, and its ledger tells who went too far.

mod limits;
pub(crate) mod schema;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use callops::sandbox::Running;
use chrono::TimeDelta;
use serde_json::{Value, json};

use self::schema::check_requests;
use crate::sandbox::{client, settings, start};

const ORGANIZATION: &str = "10229182";
const BOWMAN: &str = "460000000026049";
const NORDWIND: &str = "460000000026103";

fn fixture(name: &str) -> Value {
    let path = format!("{}/tests/fixtures/zoho/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The body of an example of a list of them.
fn example(name: &str, case: &str) -> (u16, Value) {
    let examples = fixture(name);
    let one = examples.as_array().unwrap().iter().find(|one| one["case"].as_str().unwrap().starts_with(case)).unwrap();
    (u16::try_from(one["http_status"].as_u64().unwrap()).unwrap(), one["body"].clone())
}

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

fn organization() -> Value {
    json!({
        "id": ORGANIZATION, "name": "Zillium Inc", "refresh_token": "1000.refresh", "client_id": "1000.CLIENT",
        "client_secret": "s3cret", "offset": "-07:00",
    })
}

/// Two customers and three invoices of one organisation.
fn books() -> Value {
    json!({
        "organizations": [organization()],
        "customers": [
            {"contact_id": BOWMAN, "contact_name": "Bowman and Co", "first_name": "Will", "last_name": "Smith",
                "email": "will@example.com", "phone": "+1-925-921-9201", "payment_terms": 15, "country": "U.S.A",
                "last_modified_time": "2026-10-07T00:00:00Z"},
            {"contact_id": NORDWIND, "contact_name": "Nordwind GmbH", "currency_code": "EUR",
                "last_modified_time": "2026-10-31T22:59:59Z"},
            {"contact_name": "Old Vendor Ltd", "contact_type": "vendor", "status": "inactive"},
        ],
        "invoices": [
            {"invoice_id": "982000000567114", "customer_id": BOWMAN, "status": "overdue", "total": 1250.5,
                "due_date": "2026-11-08", "date": "2026-10-24", "created_time": "2026-10-24T09:00:00Z",
                "last_modified_time": "2026-11-09T08:00:02Z", "reminders_sent": 1,
                "last_reminder_sent_date": "2026-11-09"},
            {"invoice_id": "982000000567118", "customer_id": NORDWIND, "status": "partially_paid", "total": 300,
                "balance": 100.25, "due_date": "2026-12-02", "date": "2026-11-02",
                "created_time": "2026-11-02T09:00:00Z", "last_modified_time": "2026-11-10T08:00:02Z"},
            {"invoice_id": "982000000567122", "customer_id": BOWMAN, "status": "draft", "total": 10,
                "due_date": "2026-11-20", "date": "2026-11-05", "created_time": "2026-11-05T09:00:00Z",
                "last_modified_time": "2026-11-05T09:00:00Z"},
        ],
    })
}

async fn with(given: Value) -> Running {
    let sandbox = start(settings()).await;
    sandbox.zoho(given).unwrap();
    sandbox
}

/// A client that holds an access token.
struct Api {
    http: reqwest::Client,
    url: String,
    token: String,
}

impl Api {
    async fn new(sandbox: &Running) -> Self {
        let mut api =
            Self { http: client(Duration::from_secs(20)), url: sandbox.url(), token: "1000.nobody.s".to_owned() };
        api.refresh().await;
        api
    }

    async fn ask_token(&self, form: &[(&str, &str)]) -> (u16, Value) {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let request = self.http.post(format!("{}/oauth/v2/token", self.url)).body(body);
        let response =
            request.header("content-type", "application/x-www-form-urlencoded").send().await.expect("an answer");
        (response.status().as_u16(), response.json().await.unwrap())
    }

    async fn refresh(&mut self) -> (u16, Value) {
        let (status, body) = self.ask_token(&FORM).await;
        if let Some(token) = body["access_token"].as_str() {
            token.clone_into(&mut self.token);
        }
        (status, body)
    }

    /// What the client sees: nothing of an answer that is cut or never comes.
    async fn try_get(&self, path: &str) -> Option<(u16, Value)> {
        let request = self.http.get(format!("{}/books/v3{path}", self.url));
        let request = request.header("authorization", format!("Zoho-oauthtoken {}", self.token));
        let response = request.send().await.ok()?;
        let status = response.status().as_u16();
        let text = response.text().await.ok()?;
        let body = if text.is_empty() { Value::Null } else { serde_json::from_str(&text).ok()? };
        Some((status, body))
    }

    async fn get(&self, path: &str, query: &str) -> Value {
        let (status, body) = self.try_get(&of_organization(path, query)).await.expect("an answer");
        assert_eq!((status, &body["code"], &body["message"]), (200, &json!(0), &json!("success")), "{path} {body}");
        body
    }

    async fn error(&self, path: &str, query: &str) -> (u16, u64) {
        let (status, body) = self.try_get(&of_organization(path, query)).await.expect("an answer");
        (status, body["code"].as_u64().unwrap_or_else(|| panic!("{path} {status} {body}")))
    }

    /// The ids of a page.
    async fn ids(&self, path: &str, query: &str) -> Vec<String> {
        let body = self.get(path, query).await;
        let (list, id) = if path == "/invoices" { ("invoices", "invoice_id") } else { ("contacts", "contact_id") };
        body[list].as_array().unwrap().iter().map(|one| one[id].as_str().unwrap().to_owned()).collect()
    }

    /// All of it, page by page.
    async fn all(&self, path: &str, query: &str) -> Vec<Value> {
        let list = path.trim_start_matches('/');
        let mut all = Vec::new();
        for page in 1..=500 {
            let mut body = self.get(path, &format!("{query}&page={page}")).await;
            all.extend(body[list].take().as_array().unwrap().iter().cloned());
            if body["page_context"]["has_more_page"] == false {
                return all;
            }
        }
        panic!("{path} never ends")
    }
}

const FORM: [(&str, &str); 4] = [
    ("refresh_token", "1000.refresh"),
    ("client_id", "1000.CLIENT"),
    ("client_secret", "s3cret"),
    ("grant_type", "refresh_token"),
];

fn of_organization(path: &str, query: &str) -> String {
    let and = if query.is_empty() { "" } else { "&" };
    format!("{path}?organization_id={ORGANIZATION}{and}{query}")
}

/// Everything of a kind, as the sandbox has it.
async fn records(sandbox: &Running, kind: &str) -> Vec<Value> {
    let url = format!("{}/_sandbox/zoho?records={kind}", sandbox.url());
    client(Duration::from_secs(20)).get(url).send().await.unwrap().json().await.unwrap()
}

async fn requests(sandbox: &Running) -> Vec<Value> {
    let url = format!("{}/_sandbox/requests", sandbox.url());
    client(Duration::from_secs(20)).get(url).send().await.unwrap().json().await.unwrap()
}

#[tokio::test]
async fn a_refresh_token_of_its_client_is_good_for_an_access_token() {
    let sandbox = with(json!({"organizations": [organization()]})).await;
    let mut api = Api::new(&sandbox).await;
    let (status, body) = api.refresh().await;
    let (expected_status, expected) = example("oauth-responses", "refresh granted");
    assert_eq!((status, keys(&body)), (expected_status, keys(&expected)));
    assert_eq!((&body["expires_in"], &body["api_domain"]), (&json!(3600), &json!(sandbox.url())));
    for (index, value, error) in [
        (0, "1000.other", "invalid_code"),
        (1, "1000.OTHER", "invalid_client"),
        (2, "wrong", "invalid_client_secret"),
        (2, "", "invalid_request"),
        (3, "authorization_code", "invalid_request"),
    ] {
        let mut form = FORM;
        form[index].1 = value;
        assert_eq!(api.ask_token(&form).await, (200, json!({"error": error})), "{value}");
    }
    check_requests(&requests(&sandbox).await[..2]);
}

#[tokio::test]
async fn a_token_is_good_for_as_long_as_it_says() {
    let sandbox = with(json!({"organizations": [organization()], "settings": {"expires_in": 60}})).await;
    let mut api = Api::new(&sandbox).await;
    sandbox.advance(TimeDelta::seconds(59));
    api.get("/contacts", "").await;
    sandbox.advance(TimeDelta::seconds(1));
    let expired = api.try_get(&of_organization("/contacts", "")).await.unwrap();
    assert_eq!(expired, example("api-errors", "bad or expired"));
    assert_eq!(api.refresh().await.1["expires_in"], 60);
    api.get("/contacts", "").await;
    "1000.other.token".clone_into(&mut api.token);
    assert_eq!(api.error("/contacts", "").await, (401, 57));
    assert_eq!(sandbox.zoho_ledger()["strangers"], 2);
}

#[tokio::test]
async fn what_is_listed_and_shown_is_as_the_examples_have_it() {
    let sandbox = with(books()).await;
    let api = Api::new(&sandbox).await;
    let (status, organizations) = api.try_get("/organizations").await.unwrap();
    let expected = fixture("organizations");
    assert_eq!((status, keys(&organizations)), (200, keys(&expected)));
    assert_eq!(keys(&organizations["organizations"][0]), keys(&expected["organizations"][0]));
    assert_eq!(organizations["organizations"][0]["organization_id"], ORGANIZATION);

    let contacts = api.get("/contacts", "").await;
    let expected = fixture("contacts-list");
    assert_eq!((keys(&contacts), &contacts["page_context"]), (keys(&expected), &expected["page_context"]));
    let mut listed: Vec<Value> = contacts["contacts"].as_array().unwrap().clone();
    assert_eq!(listed.len(), 3);
    assert_eq!(keys(&listed[0]), keys(&expected["contacts"][0]));
    assert_eq!(listed[0]["outstanding_receivable_amount"], json!(1250.5));
    assert_eq!(listed[0]["last_modified_time"], "2026-10-06T17:00:00-0700");
    // What is not set is an empty text.
    for key in ["first_name", "last_name", "email", "phone", "mobile"] {
        assert_eq!(listed[1][key].take(), expected["contacts"][1][key], "{key}");
    }
    let contact = &api.get(&format!("/contacts/{BOWMAN}"), "").await["contact"];
    let expected = fixture("contact-detail");
    assert!(keys(contact).is_subset(&keys(&expected["contact"])), "{contact}");
    let person = &contact["contact_persons"][0];
    assert!(keys(person).is_subset(&keys(&expected["contact"]["contact_persons"][0])), "{person}");
    assert_eq!((&person["phone"], &person["is_primary_contact"]), (&json!("+1-925-921-9201"), &json!(true)));
    assert_eq!((contact.get("phone"), contact.get("first_name")), (None, None));

    let invoices = api.get("/invoices", "per_page=2").await;
    let expected = fixture("invoices-list-page1");
    assert_eq!((keys(&invoices), &invoices["page_context"]), (keys(&expected), &expected["page_context"]));
    let listed = &invoices["invoices"][1];
    assert_eq!(keys(listed), keys(&expected["invoices"][0]));
    assert_eq!((&listed["customer_name"], &listed["balance"]), (&json!("Nordwind GmbH"), &json!(100.25)));
    assert_eq!((&listed["due_days"], &listed["last_reminder_sent_date"]), (&json!("Due in 12 day(s)"), &json!("")));
    let overdue = &api.get("/invoices", "status=overdue").await["invoices"][0];
    assert_eq!(overdue["due_days"], "Overdue by 12 days");
    let invoice = &api.get("/invoices/982000000567118", "").await["invoice"];
    let expected = fixture("invoice-detail");
    assert!(keys(invoice).is_subset(&keys(&expected["invoice"])), "{invoice}");
    assert!(keys(&invoice["line_items"][0]).is_subset(&keys(&expected["invoice"]["line_items"][0])));
    assert_eq!((&invoice["payment_made"], &invoice["last_payment_date"]), (&json!(199.75), &json!(" ")));
    check_requests(&requests(&sandbox).await);
}

#[tokio::test]
async fn page_context_may_be_a_list_of_one() {
    let sandbox = with(books()).await;
    sandbox.zoho(json!({"settings": {"page_context": "array"}})).unwrap();
    let api = Api::new(&sandbox).await;
    for path in ["/invoices", "/contacts"] {
        let context = &api.get(path, "per_page=1").await["page_context"];
        assert_eq!((context.as_array().unwrap().len(), &context[0]["has_more_page"]), (1, &json!(true)), "{path}");
    }
    let expected = fixture("invoices-list-page_context-array");
    let context = &api.get("/invoices", "per_page=2&page=2").await["page_context"];
    assert!(keys(&context[0]).is_subset(&keys(&expected["page_context"][0])), "{context}");
    sandbox.zoho(json!({"settings": {"page_context": "object"}})).unwrap();
    assert_eq!(api.get("/invoices", "").await["page_context"]["page"], 1);
}

#[tokio::test]
async fn listings_are_filtered_and_sorted_as_asked() {
    let sandbox = with(books()).await;
    let api = Api::new(&sandbox).await;
    let (overdue, partly, draft) = ("982000000567114", "982000000567118", "982000000567122");
    for (query, expected) in [
        ("", &[draft, partly, overdue][..]),
        ("sort_order=A", &[overdue, partly, draft]),
        ("sort_column=due_date&sort_order=A", &[overdue, draft, partly]),
        ("sort_column=balance&sort_order=D", &[overdue, partly, draft]),
        ("sort_column=customer_name&sort_order=A", &[overdue, draft, partly]),
        ("status=draft", &[draft]),
        ("status=unpaid", &[partly, overdue]),
        ("filter_by=Status.PartiallyPaid", &[partly]),
        (&format!("customer_id={BOWMAN}"), &[draft, overdue]),
        ("due_date=2026-11-20", &[draft]),
        ("due_date_before=2026-11-20", &[overdue]),
        ("due_date_end=2026-11-20", &[draft, overdue]),
        ("due_date_after=2026-11-20", &[partly]),
        ("due_date_start=2026-11-20", &[draft, partly]),
        ("date_start=2026-11-02&date_before=2026-11-05", &[partly]),
        // At the very second, and in another offset.
        ("last_modified_time=2026-11-09T13:30:02%2B0530", &[partly, overdue]),
        ("last_modified_time=2026-11-09T08:00:03-0000", &[partly]),
    ] {
        assert_eq!(api.ids("/invoices", query).await, expected, "{query}");
    }
    let vendor = api.ids("/contacts", "contact_type=vendor").await;
    assert_eq!(vendor.len(), 1);
    for (query, expected) in [
        ("contact_type=customer", &[BOWMAN, NORDWIND][..]),
        ("contact_type=customer&sort_column=last_modified_time&sort_order=D", &[NORDWIND, BOWMAN]),
        ("sort_column=outstanding_receivable_amount&sort_order=D&per_page=2", &[BOWMAN, NORDWIND]),
        ("filter_by=Invoice.OverDue", &[BOWMAN]),
        ("filter_by=Invoice.Unpaid", &[BOWMAN, NORDWIND]),
        ("filter_by=Status.Active", &[BOWMAN, NORDWIND]),
        ("filter_by=Status.Inactive", &[&vendor[0]]),
        ("filter_by=Status.Crm", &[]),
    ] {
        assert_eq!(api.ids("/contacts", query).await, expected, "{query}");
    }
    check_requests(&requests(&sandbox).await);
    // What the service has and the stand-in does not play, and values that make no sense, are refused.
    for query in ["search_text=a", "sort_column=last_modified_time", "per_page=201", "status=late"] {
        assert_eq!(api.error("/invoices", query).await, (400, 2), "{query}");
    }
    // What nobody knows is left alone, and told.
    assert_eq!(api.ids("/contacts", "last_modified_time=2026-11-09T08:00:03-0000").await.len(), 3);
    assert_eq!(sandbox.zoho_ledger()["ignored"], json!({"last_modified_time": 1}));
}

#[tokio::test]
async fn what_is_not_there_is_an_error_of_the_services() {
    let sandbox = with(books()).await;
    let other = json!({"organizations": [{"id": "104", "name": "Other", "refresh_token": "1000.theirs",
        "client_id": "1000.THEIRS", "client_secret": "s"}], "customers": [{"organization": "104",
        "contact_id": "77", "contact_name": "Theirs"}], "invoices": [{"customer_id": "77", "invoice_id": "78",
        "total": 1, "due_date": "2026-11-20"}]});
    sandbox.zoho(other).unwrap();
    let api = Api::new(&sandbox).await;
    let missing = api.try_get(&of_organization("/invoices/1", "")).await.unwrap();
    assert_eq!(missing, example("api-errors", "record does not exist"));
    for id in ["/contacts/1", "/contacts/77", "/contacts/982000000567114", "/invoices/78", "/invoices/x"] {
        assert_eq!(api.error(id, "").await, (404, 1002), "{id}");
    }
    let wrong = api.try_get("/contacts?organization_id=104").await.unwrap();
    assert_eq!(wrong, example("api-errors", "wrong organization_id"));
    assert_eq!(api.try_get("/contacts").await.unwrap().0, 400);
    assert_eq!(api.error("/bills", "").await, (404, 5));
    // The other's token sees the other's alone.
    let mut theirs = api;
    let form = [("refresh_token", "1000.theirs"), ("client_id", "1000.THEIRS"), ("client_secret", "s"), FORM[3]];
    theirs.token = theirs.ask_token(&form).await.1["access_token"].as_str().unwrap().to_owned();
    let (_, listed) = theirs.try_get("/contacts?organization_id=104").await.unwrap();
    assert_eq!((listed["contacts"].as_array().unwrap().len(), &listed["contacts"][0]["contact_id"]), (1, &json!("77")));
}

#[tokio::test]
async fn what_is_changed_is_modified_now_and_what_is_deleted_is_gone() {
    let sandbox = with(books()).await;
    let api = Api::new(&sandbox).await;
    // A page that was read before is no longer what it was.
    assert_eq!(api.ids("/invoices", "").await.len(), 3);
    assert_eq!(api.ids("/invoices", "status=paid").await, [""; 0]);
    sandbox.advance(TimeDelta::milliseconds(1500));
    let paid = json!({"change": [{"invoice": "982000000567114", "set": {"status": "paid"}},
        {"customer": NORDWIND, "set": {"mobile": "+49 30 23125000"}}]});
    sandbox.zoho(paid).unwrap();
    assert_eq!(api.ids("/invoices", "status=paid").await, ["982000000567114"]);
    let invoice = &api.get("/invoices/982000000567114", "").await["invoice"];
    assert_eq!((&invoice["status"], &invoice["balance"]), (&json!("paid"), &json!(0.0)));
    assert_eq!(invoice["last_modified_time"], "2026-11-20T05:00:01-0700");
    assert_eq!(api.ids("/invoices", "last_modified_time=2026-11-20T05:00:01-0700").await, ["982000000567114"]);
    let contacts = api.get("/contacts", "sort_column=last_modified_time&sort_order=D").await;
    let mobiles: Vec<&Value> = contacts["contacts"].as_array().unwrap().iter().map(|one| &one["mobile"]).collect();
    assert_eq!(mobiles[0], "+49 30 23125000");
    // What it owes follows; its own time of change does not.
    let bowman = contacts["contacts"].as_array().unwrap().iter().find(|one| one["contact_id"] == BOWMAN).unwrap();
    assert_eq!(bowman["outstanding_receivable_amount"], 0.0);
    assert_eq!(bowman["last_modified_time"], "2026-10-06T17:00:00-0700");

    sandbox.zoho(json!({"delete_customers": [NORDWIND], "delete_invoices": ["982000000567122"]})).unwrap();
    assert_eq!(api.ids("/invoices", "").await, ["982000000567114"]);
    assert_eq!(api.error(&format!("/contacts/{NORDWIND}"), "").await, (404, 1002));
    assert_eq!(sandbox.zoho_ledger()["deleted"], json!({"customers": 1, "invoices": 2}));
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_whole() {
    let sandbox = with(books()).await;
    let before = records(&sandbox, "invoices").await;
    for wrong in [
        json!({"organizations": [{"id": "x", "name": "X", "refresh_token": "r", "client_id": "c", "client_secret": "s"}]}),
        json!({"customers": [{"contact_id": BOWMAN, "contact_name": "Twice"}]}),
        json!({"customers": [{"contact_id": "5"}]}),
        json!({"customers": [{"organization": "5", "contact_name": "Of nobody"}]}),
        json!({"invoices": [{"customer_id": "5", "total": 1, "due_date": "2026-11-20"}]}),
        json!({"invoices": [{"customer_id": BOWMAN, "total": 1.005, "due_date": "2026-11-20"}]}),
        json!({"invoices": [{"customer_id": BOWMAN, "total": 1, "balance": 2, "due_date": "2026-11-20"}]}),
        json!({"change": [{"invoice": "5", "set": {}}]}),
        json!({"change": [{"invoice": "982000000567114", "set": {"status": "late"}}]}),
        json!({"delete_invoices": ["982000000567114", "5"]}),
        json!({"many": {"customers": 1}}),
        json!({"settings": {"at_once": 0}}),
        json!({"settings": {"per_hour": 1}}),
    ] {
        assert!(sandbox.zoho(wrong.clone()).is_err(), "{wrong}");
    }
    assert_eq!(records(&sandbox, "invoices").await, before);
}

#[tokio::test]
async fn the_control_endpoint_takes_and_tells_the_same() {
    let sandbox = start(settings()).await;
    let http = client(Duration::from_secs(20));
    let url = format!("{}/_sandbox/zoho", sandbox.url());
    assert_eq!(http.post(&url).json(&books()).send().await.unwrap().status(), 200);
    let told: Value = http.get(&url).send().await.unwrap().json().await.unwrap();
    assert_eq!((&told, &told["invoices"]), (&sandbox.zoho_ledger(), &json!(3)));
    assert_eq!(http.post(&url).json(&json!({"bills": []})).send().await.unwrap().status(), 400);
    assert_eq!(http.get(format!("{url}?records=bills")).send().await.unwrap().status(), 400);
}

#[tokio::test]
async fn many_records_are_a_believable_mix_and_are_read_page_by_page() {
    let sandbox = with(json!({"organizations": [organization()]})).await;
    let many = json!({"many": {"organization": ORGANIZATION, "customers": 5000, "invoices": 20000, "seed": 7}});
    sandbox.zoho(many).unwrap();
    let (customers, invoices) = (records(&sandbox, "customers").await, records(&sandbox, "invoices").await);
    assert_eq!((customers.len(), invoices.len()), (5000, 20_000));
    let share =
        |holds: &dyn Fn(&Value) -> bool, of: &[Value]| of.iter().filter(|one| holds(one)).count() * 100 / of.len();
    for status in ["paid", "overdue", "sent", "viewed", "partially_paid", "void", "draft"] {
        assert!(share(&|one| one["status"] == status, &invoices) > 0, "{status}");
    }
    assert!((15..30).contains(&share(&|one| one["status"] == "overdue", &invoices)));
    let is_soon = |one: &Value| ("2026-11-13".."2026-11-28").contains(&one["due_date"].as_str().unwrap());
    assert!(share(&is_soon, &invoices) > 5);
    let is_sound = |one: &Value| {
        let (total, balance) = (one["total"].as_f64().unwrap(), one["balance"].as_f64().unwrap());
        let is_late = one["due_date"].as_str().unwrap() < "2026-11-20";
        match one["status"].as_str().unwrap() {
            "paid" | "void" => balance == 0.0,
            "partially_paid" => balance > 0.0 && balance < total,
            "overdue" => is_late && one["balance"] == one["total"],
            _ => !is_late && one["balance"] == one["total"],
        }
    };
    assert_eq!(share(&is_sound, &invoices), 100);
    let has = |one: &Value, key: &str| one[key] != "";
    assert!(share(&|one| has(one, "phone"), &customers) > 40);
    assert!(share(&|one| !has(one, "phone") && has(one, "mobile"), &customers) > 10);
    assert!(share(&|one| !has(one, "phone") && !has(one, "mobile"), &customers) > 10);
    // Of some only the persons by themselves show a phone.
    let persons = |one: &Value| one["contact_persons"].as_array().unwrap().iter().any(|one| has(one, "mobile"));
    assert!(share(&|one| !has(one, "mobile") && persons(one), &customers) > 2);
    let currencies: BTreeSet<&str> = customers.iter().map(|one| one["currency_code"].as_str().unwrap()).collect();
    assert_eq!(currencies, BTreeSet::from(["AUD", "CAD", "EUR", "GBP", "USD"]));
    let mut due: BTreeMap<&str, usize> = BTreeMap::new();
    for one in invoices.iter().filter(|one| one["status"] == "overdue") {
        *due.entry(one["customer_id"].as_str().unwrap()).or_default() += 1;
    }
    assert!(due.values().filter(|count| **count > 1).count() > 500);

    let api = Api::new(&sandbox).await;
    let mut listed = api.all("/invoices", "sort_column=invoice_number&sort_order=A").await;
    listed.sort_by_key(|one| one["invoice_id"].as_str().unwrap().to_owned());
    let without = |all: &[Value]| -> Vec<Value> {
        let mut all = all.to_vec();
        for one in &mut all {
            one.as_object_mut().unwrap().remove("organization_id");
        }
        all
    };
    assert_eq!(listed.len(), 20_000);
    assert!(listed == without(&invoices), "what is listed is what is there");
    assert_eq!(api.all("/contacts", "sort_column=created_time").await.len(), 5000);
    let ledger = sandbox.zoho_ledger();
    assert_eq!(ledger["organizations"][ORGANIZATION]["requests"], 125);
    // The same seed gives the same.
    let again = with(json!({"organizations": [organization()]})).await;
    again.zoho(json!({"many": {"customers": 5000, "invoices": 20000, "seed": 7}})).unwrap();
    assert!(records(&again, "customers").await == customers);
}
