//! The stand-in for Twilio: as strict as the service, and its ledger tells what was bought and what was given back.

mod faults;
mod given;

use std::time::Duration;

use callops::sandbox::{Organisation, Running, Settings};
use chrono::TimeDelta;
use serde_json::{Value, json};

use crate::numbers::schema::{check_answer, check_requests};
use crate::sandbox::{client, settings, start};

const MAIN: &str = "AC0000000000000000000000000000005a";
const SUB: &str = "AC00000000000000000000000000000001";
const OTHER: &str = "AC00000000000000000000000000000002";
const SID: &str = "PN00000000000000000000000000000007";

fn http() -> reqwest::Client {
    client(Duration::from_secs(20))
}

/// A client that speaks for an account.
struct Api {
    http: reqwest::Client,
    url: String,
    user: String,
    password: &'static str,
}

impl Api {
    fn new(sandbox: &Running) -> Self {
        Self { http: http(), url: sandbox.url(), user: MAIN.to_owned(), password: "sandbox-key" }
    }

    fn by(self, user: &str, password: &'static str) -> Self {
        Self { user: user.to_owned(), password, ..self }
    }

    /// What the client sees: nothing of an answer that is cut or never comes.
    async fn try_send(&self, method: &str, path: &str, form: &[(&str, &str)]) -> Option<(u16, Value)> {
        let request = self.http.request(method.parse().unwrap(), format!("{}{path}", self.url));
        let mut request = request.basic_auth(&self.user, Some(self.password));
        if !form.is_empty() {
            let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
            request = request.header("content-type", "application/x-www-form-urlencoded").body(body);
        }
        let response = request.send().await.ok()?;
        let status = response.status().as_u16();
        let text = response.text().await.ok()?;
        let body = if text.is_empty() { Value::Null } else { serde_json::from_str(&text).ok()? };
        if status < 300 {
            check_answer(method, path, status, &body);
        }
        Some((status, body))
    }

    async fn send(&self, method: &str, path: &str, form: &[(&str, &str)]) -> (u16, Value) {
        self.try_send(method, path, form).await.expect("an answer")
    }

    async fn get(&self, path: &str) -> Value {
        let (status, body) = self.send("GET", path, &[]).await;
        assert_eq!(status, 200, "{body}");
        body
    }

    async fn buy(&self, form: &[(&str, &str)]) -> Value {
        let (status, body) = self.send("POST", &numbers(MAIN), form).await;
        assert_eq!(status, 201, "{body}");
        body
    }

    /// The error that it answers, which is one of the samples' if they have its code.
    async fn error(&self, method: &str, path: &str, form: &[(&str, &str)]) -> (u16, u64) {
        let (status, body) = self.send(method, path, form).await;
        let code = body["code"].as_u64().unwrap_or_else(|| panic!("{method} {path}: {status} {body}"));
        assert_eq!(body["status"], status);
        assert_eq!(body["more_info"], format!("https://www.twilio.com/docs/errors/{code}"));
        let samples: Vec<Value> = serde_json::from_str(include_str!("../fixtures/twilio/errors.json")).unwrap();
        if let Some(sample) = samples.iter().find(|sample| sample["body"]["code"] == code) {
            let keys = |body: &Value| body.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
            assert_eq!((keys(&body), &body["status"]), (keys(&sample["body"]), &sample["http_status"]));
            if code != 20404 {
                assert_eq!(body["message"], sample["body"]["message"]);
            }
        }
        (status, code)
    }
}

fn account(sid: &str) -> String {
    format!("/2010-04-01/Accounts/{sid}.json")
}

fn numbers(account: &str) -> String {
    format!("/2010-04-01/Accounts/{account}/IncomingPhoneNumbers.json")
}

fn number(account: &str, sid: &str) -> String {
    format!("/2010-04-01/Accounts/{account}/IncomingPhoneNumbers/{sid}.json")
}

fn calls(query: &str) -> String {
    format!("/2010-04-01/Accounts/{MAIN}/Calls.json?{query}")
}

fn available(query: &str) -> String {
    format!("/2010-04-01/Accounts/{MAIN}/AvailablePhoneNumbers/US/Local.json?{query}")
}

fn phones(page: &Value) -> Vec<String> {
    let key =
        if page["incoming_phone_numbers"].is_array() { "incoming_phone_numbers" } else { "available_phone_numbers" };
    page[key].as_array().unwrap().iter().map(|one| one["phone_number"].as_str().unwrap().to_owned()).collect()
}

/// Every request that was noted.
async fn requests(sandbox: &Running) -> Vec<Value> {
    let answer = http().get(format!("{}/_sandbox/requests", sandbox.url())).send().await.unwrap();
    answer.json().await.unwrap()
}

/// A business with one number, and another that was bought later.
fn two_numbers() -> Value {
    json!({"numbers": [
        {"account": MAIN, "sid": SID, "phone": "+18025550107", "friendly_name": "Acme Dental",
            "voice_url": "https://voice.acme.example/twilio", "bought_at": "2026-11-19T15:00:00Z"},
        {"account": MAIN, "phone": "+14155550111", "bought_at": "2026-11-19T15:25:00Z"},
    ]})
}

#[tokio::test]
async fn many_numbers_are_read_page_by_page_as_each_page_says() {
    let sandbox = start(settings()).await;
    sandbox.twilio(json!({"many_numbers": {"account": MAIN, "count": 2500, "friendly_name": "Load"}})).unwrap();
    let api = Api::new(&sandbox);
    let mut next = format!("{}?PageSize=1000&FriendlyName=Load", numbers(MAIN));
    let (mut seen, mut sizes) = (Vec::new(), Vec::new());
    loop {
        let page = api.get(&next).await;
        assert_eq!((&page["page"], &page["page_size"]), (&json!(sizes.len()), &json!(1000)));
        assert_eq!((&page["start"], &page["end"]), (&json!(seen.len()), &json!(seen.len() + phones(&page).len() - 1)));
        sizes.push(phones(&page).len());
        seen.extend(phones(&page));
        // What is released meanwhile takes nothing from the pages that follow, even if a token names it.
        if sizes.len() == 1 {
            let last = page["incoming_phone_numbers"][999]["sid"].as_str().unwrap();
            assert_eq!(api.send("DELETE", &number(MAIN, last), &[]).await.0, 204);
        }
        match page["next_page_uri"].as_str() {
            Some(uri) => next = uri.to_owned(),
            None => break,
        }
    }
    assert_eq!(sizes, [1000, 1000, 500]);
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 2500);
    assert_eq!(sandbox.twilio_ledger()["numbers"], 2499);
    // A page is not reached without the token of the one before.
    for query in
        ["Page=1", "Page=1&PageToken=PAPN1", "PageToken=x", "PageSize=0", "PageSize=1001", "PageSize=x", "Limit=1"]
    {
        assert_eq!(api.error("GET", &format!("{}?{query}", numbers(MAIN)), &[]).await, (400, 20001), "{query}");
    }
}

#[tokio::test]
async fn a_hundred_thousand_numbers_fit_in() {
    let sandbox = start(settings()).await;
    sandbox.twilio(json!({"many_numbers": {"account": MAIN, "count": 100_000, "from": "+12015550000"}})).unwrap();
    assert_eq!(sandbox.twilio_ledger()["numbers"], 100_000);
    let page = Api::new(&sandbox).get(&format!("{}?PageSize=2&PhoneNumber=2015550001", numbers(MAIN))).await;
    assert_eq!(phones(&page), ["+12015550001"]);
}

#[tokio::test]
async fn whoever_does_not_hold_the_key_of_an_account_is_a_stranger_to_it() {
    let other = Organisation { key: "other-key".to_owned(), org: "org-other".to_owned(), concurrency: 10 };
    let sandbox = start(Settings { organisations: vec![Organisation::default(), other], ..settings() }).await;
    sandbox
        .twilio(json!({"accounts": [
            {"sid": SUB, "friendly_name": "Sub", "owner": MAIN, "key": "sub-key"},
            {"sid": OTHER, "friendly_name": "Other", "key": "their-key", "status": "suspended"},
        ]}))
        .unwrap();
    let api_key = MAIN.replace("AC", "SK");
    for (user, password, sid) in [
        (MAIN, "sandbox-key", MAIN),
        (MAIN, "other-key", MAIN),
        (&*api_key, "sandbox-key", MAIN),
        (MAIN, "sandbox-key", SUB),
        (&*api_key, "sandbox-key", SUB),
        (SUB, "sub-key", SUB),
        (OTHER, "their-key", OTHER),
    ] {
        let api = Api::new(&sandbox).by(user, password);
        assert_eq!(api.get(&account(sid)).await["sid"], sid);
        assert_eq!(phones(&api.get(&numbers(sid)).await), [""; 0]);
    }
    for (user, password, sid) in [
        (MAIN, "wrong", MAIN),
        (MAIN, "", MAIN),
        (MAIN, "sub-key", MAIN),
        ("AC00000000000000000000000000000009", "sandbox-key", MAIN),
        ("sandbox-key", "", MAIN),
        (SUB, "sandbox-key", SUB),
        (SUB, "sub-key", MAIN),
        (SUB, "sub-key", OTHER),
        (MAIN, "sandbox-key", OTHER),
        (MAIN, "sandbox-key", "AC00000000000000000000000000000009"),
    ] {
        let api = Api::new(&sandbox).by(user, password);
        assert_eq!(api.error("GET", &numbers(sid), &[]).await, (401, 20003), "{user} {password} {sid}");
        assert_eq!(api.error("GET", &account(sid), &[]).await, (401, 20003), "{user} {password} {sid}");
    }
    let bearer = http().get(format!("{}{}", sandbox.url(), numbers(MAIN))).bearer_auth("sandbox-key");
    assert_eq!(bearer.send().await.unwrap().status(), 401);
    // An API key's sid is no account's, and letters count as they are written.
    let api = Api::new(&sandbox);
    for path in [
        numbers(&api_key),
        numbers(MAIN).replace("IncomingPhoneNumbers", "incomingphonenumbers"),
        numbers(MAIN).replace(".json", ""),
        account(MAIN).replace(".json", ".xml"),
        number(MAIN, "PN1"),
        number(MAIN, SID),
    ] {
        assert_eq!(api.error("GET", &path, &[]).await, (404, 20404), "{path}");
    }
    assert_eq!(api.error("PUT", &numbers(MAIN), &[]).await, (405, 20004));

    let sids = async |api: Api, query: &str| {
        let page = api.get(&format!("/2010-04-01/Accounts.json?{query}")).await;
        let all = page["accounts"].as_array().unwrap().clone();
        all.iter().map(|one| one["sid"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(sids(Api::new(&sandbox), "").await, [MAIN, SUB]);
    assert_eq!(sids(Api::new(&sandbox), "FriendlyName=Sub&Status=active").await, [SUB]);
    assert_eq!(sids(Api::new(&sandbox), "Status=suspended").await, [""; 0]);
    assert_eq!(sids(Api::new(&sandbox).by(SUB, "sub-key"), "").await, [SUB]);
    assert_eq!(sids(Api::new(&sandbox).by(OTHER, "their-key"), "Status=suspended").await, [OTHER]);
    let first = api.get("/2010-04-01/Accounts.json?PageSize=1").await;
    assert_eq!(api.get(first["next_page_uri"].as_str().unwrap()).await["accounts"][0]["owner_account_sid"], MAIN);
    assert_eq!(api.error("GET", "/2010-04-01/Accounts.json?Status=open", &[]).await, (400, 20001));
}

#[tokio::test]
async fn a_number_is_bought_changed_and_given_back_once_and_for_all() {
    let sandbox = start(settings()).await;
    let api = Api::new(&sandbox);
    let found = phones(&api.get(&available("AreaCode=802&VoiceEnabled=true&PageSize=3")).await);
    assert!(found.len() == 3 && found.iter().all(|phone| phone.starts_with("+1802555")), "{found:?}");
    let url = "https://voice.acme.example/twilio";
    let bought = api.buy(&[("PhoneNumber", &found[0]), ("FriendlyName", "Acme Dental"), ("VoiceUrl", url)]).await;
    assert_eq!((&bought["phone_number"], &bought["friendly_name"]), (&json!(found[0]), &json!("Acme Dental")));
    assert_eq!(
        (&bought["voice_url"], &bought["voice_method"], &bought["sms_url"]),
        (&json!(url), &json!("POST"), &json!(""))
    );
    assert_eq!(bought["date_created"], "Fri, 20 Nov 2026 12:00:00 +0000");
    let path = number(MAIN, bought["sid"].as_str().unwrap());
    assert_eq!(api.get(&path).await, bought);
    // It is for sale no more.
    assert!(!phones(&api.get(&available("AreaCode=802")).await).contains(&found[0]));
    assert_eq!(api.error("POST", &numbers(MAIN), &[("PhoneNumber", &found[0])]).await, (400, 21422));

    sandbox.advance(TimeDelta::hours(1));
    let trunk = format!("TK{}", "0".repeat(32));
    let application = format!("AP{}", "0".repeat(32));
    let (status, changed) =
        api.send("POST", &path, &[("TrunkSid", &trunk), ("VoiceUrl", ""), ("FriendlyName", "")]).await;
    assert_eq!((status, &changed["trunk_sid"], &changed["voice_url"]), (200, &json!(trunk), &json!("")));
    assert!(changed["friendly_name"].as_str().unwrap().starts_with("(802) 555-"), "{changed}");
    assert_eq!(changed["date_updated"], "Fri, 20 Nov 2026 13:00:00 +0000");
    let (_, changed) = api.send("POST", &path, &[("VoiceApplicationSid", &application)]).await;
    assert_eq!((&changed["trunk_sid"], &changed["voice_application_sid"]), (&Value::Null, &json!(application)));
    let (_, changed) = api.send("POST", &path, &[("TrunkSid", &trunk)]).await;
    assert_eq!((&changed["trunk_sid"], &changed["voice_application_sid"]), (&json!(trunk), &json!("")));
    assert_eq!(api.get(&path).await, changed);

    assert_eq!(api.send("DELETE", &path, &[]).await, (204, Value::Null));
    for method in ["DELETE", "GET", "POST"] {
        assert_eq!(api.error(method, &path, &[]).await, (404, 20404), "{method}");
    }
    assert_eq!(phones(&api.get(&numbers(MAIN)).await), [""; 0]);
    assert_eq!(api.error("POST", &numbers(MAIN), &[("PhoneNumber", &found[0])]).await, (400, 21422));

    let ledger = sandbox.twilio_ledger();
    let (sid, phone) = (&bought["sid"], &found[0]);
    let purchase = json!({"at": "2026-11-20T12:00:00Z", "account": MAIN, "sid": sid, "phone": phone,
        "friendly_name": "Acme Dental"});
    assert_eq!(ledger["purchases"], json!([purchase]));
    let delete = |status: &str| json!({"at": "2026-11-20T13:00:00Z", "account": MAIN, "sid": sid, "phone": phone, "status": status});
    assert_eq!(ledger["deletes"], json!([delete("released"), delete("gone")]));
    assert_eq!(ledger["updates"][1]["set"], json!({"voice_application_sid": application}));
    assert_eq!((ledger["updates"].as_array().unwrap().len(), &ledger["numbers"]), (3, &json!(0)));
    let asked = requests(&sandbox).await;
    check_requests(&asked);
    let form = json!({"PhoneNumber": phone, "FriendlyName": "Acme Dental", "VoiceUrl": url});
    assert!(asked.iter().any(|request| request["body"] == form), "{asked:?}");
}

#[tokio::test]
async fn what_cannot_be_bought_is_refused_by_the_services_codes() {
    let sandbox = start(settings()).await;
    let given = json!({"taken": ["+18025550177"], "no_numbers_in": ["533"]});
    sandbox.twilio(given).unwrap();
    let api = Api::new(&sandbox);
    assert!(phones(&api.get(&available("AreaCode=802")).await).contains(&"+18025550177".to_owned()));
    assert_eq!(phones(&api.get(&available("AreaCode=533")).await), [""; 0]);
    let long = "x".repeat(65);
    for (form, code) in [
        (&[("PhoneNumber", "+18025550177")][..], 21422),
        (&[("PhoneNumber", "+18005550101")], 21422),
        (&[("PhoneNumber", "8025550101")], 21421),
        (&[("PhoneNumber", "+1 802 555 0101")], 21421),
        (&[("AreaCode", "533")], 21452),
        (&[("AreaCode", "12")], 21451),
        (&[("AreaCode", "911")], 21451),
        (&[("FriendlyName", "x")], 20001),
        (&[("AreaCode", "802"), ("PhoneNumber", "+18025550101")], 20001),
        (&[("AreaCode", "802"), ("friendlyName", "x")], 20001),
        (&[("AreaCode", "802"), ("FriendlyName", &long)], 20001),
        (&[("AreaCode", "802"), ("VoiceUrl", "voice.example")], 21402),
        (&[("AreaCode", "802"), ("VoiceMethod", "PUT")], 21403),
    ] {
        assert_eq!(api.error("POST", &numbers(MAIN), form).await, (400, code), "{form:?}");
    }
    assert_eq!(sandbox.twilio_ledger()["purchases"], json!([]));
    let bought = api.buy(&[("AreaCode", "802")]).await;
    assert!(bought["phone_number"].as_str().unwrap().starts_with("+1802555"), "{bought}");
    assert_eq!(bought["capabilities"]["voice"], true);
}

#[tokio::test]
async fn searches_and_listings_show_what_their_filters_say() {
    let sandbox = start(settings()).await;
    sandbox.twilio(two_numbers()).unwrap();
    let api = Api::new(&sandbox);
    let list = async |query: &str| phones(&api.get(&format!("{}?{query}", numbers(MAIN))).await);
    assert_eq!(list("").await, ["+14155550111", "+18025550107"]);
    assert_eq!(list("PageSize=1").await, ["+14155550111"]);
    assert_eq!(list("FriendlyName=Acme+Dental").await, ["+18025550107"]);
    assert_eq!(list("FriendlyName=(415)+555-0111").await, ["+14155550111"]);
    assert_eq!(list("FriendlyName=Acme").await, [""; 0]);
    for found in ["%2B18025550107", "802555", "%2B1802*550107", "0107"] {
        assert_eq!(list(&format!("PhoneNumber={found}")).await, ["+18025550107"], "{found}");
    }
    // A plus that is not encoded is a space.
    assert_eq!(list("PhoneNumber=+18025550107").await, [""; 0]);

    let search = async |query: &str| phones(&api.get(&available(query)).await);
    assert_eq!(search("AreaCode=802").await.len(), 50);
    assert!(!search("AreaCode=802&PageSize=1000").await.contains(&"+18025550107".to_owned()));
    assert_eq!(search("AreaCode=416").await, [""; 0]);
    assert_eq!(search("AreaCode=802&Contains=5550123").await, ["+18025550123"]);
    assert_eq!(search("AreaCode=802&Contains=55501*3&PageSize=2").await.len(), 2);
    assert!(search("AreaCode=802&VoiceEnabled=false").await.iter().all(|phone| phone.ends_with('7')));
    assert!(search("AreaCode=802&SmsEnabled=true&MmsEnabled=true").await.iter().all(|phone| !phone.ends_with('4')));
    assert_eq!(search("AreaCode=802&FaxEnabled=true").await, [""; 0]);
    let page = api.get(&available("AreaCode=802")).await;
    assert_eq!(page.as_object().unwrap().keys().collect::<Vec<_>>(), ["available_phone_numbers", "uri"]);
    for (query, code) in [("AreaCode=12", 21451), ("Contains=5", 20001), ("VoiceEnabled=yes", 20001), ("Page=1", 20001)]
    {
        assert_eq!(api.error("GET", &available(query), &[]).await, (400, code), "{query}");
    }
    for (country, begins) in [("CA", "+1"), ("GB", "+44207946"), ("DE", "+49302")] {
        let path = available("PageSize=5").replace("/US/", &format!("/{country}/"));
        let found = api.get(&path).await;
        assert_eq!(found["available_phone_numbers"][0]["iso_country"], country);
        assert!(phones(&found).len() == 5 && phones(&found).iter().all(|phone| phone.starts_with(begins)), "{found}");
    }
    assert_eq!(api.error("GET", &available("").replace("/US/", "/us/"), &[]).await, (404, 20404));
    // The same for the same seed, and something else for another.
    let again = start(settings()).await;
    assert_eq!(phones(&Api::new(&again).get(&available("AreaCode=803")).await), search("AreaCode=803").await);
    let other = start(Settings { seed: 5, ..settings() }).await;
    assert_ne!(phones(&Api::new(&other).get(&available("AreaCode=803")).await), search("AreaCode=803").await);
}

#[tokio::test]
async fn calls_are_listed_by_number_status_and_day() {
    let sandbox = start(settings()).await;
    sandbox.twilio(two_numbers()).unwrap();
    let call = |start: &str, from: &str, status: &str| {
        json!({"account": MAIN, "to": "+18025550107", "from": from, "status": status, "start_time": start,
            "end_time": start, "duration": 95})
    };
    let given = json!({"calls": [
        call("2026-11-18T23:59:59Z", "+14155550001", "completed"),
        call("2026-11-19T00:00:00Z", "+14155550002", "completed"),
        call("2026-11-19T23:59:59Z", "+14155550001", "no-answer"),
        call("2026-11-20T00:00:00Z", "+14155550001", "completed"),
    ]});
    sandbox.twilio(given).unwrap();
    let api = Api::new(&sandbox);
    let list = async |query: &str| {
        let page = api.get(&calls(query)).await;
        let all = page["calls"].as_array().unwrap().clone();
        all.iter().map(|one| one["start_time"].as_str().unwrap()[5..16].to_owned()).collect::<Vec<_>>()
    };
    let (third, second, first) = ("20 Nov 2026", "19 Nov 2026", "18 Nov 2026");
    assert_eq!(list("To=%2B18025550107").await, [third, second, second, first]);
    assert_eq!(list("To=%2B14155550111").await, [""; 0]);
    assert_eq!(list("From=%2B14155550002").await, [second]);
    assert_eq!(list("Status=no-answer").await, [second]);
    assert_eq!(list("StartTime=2026-11-19").await, [second, second]);
    assert_eq!(list("StartTime%3E=2026-11-19").await, [third, second, second]);
    assert_eq!(list("StartTime%3C=2026-11-19").await, [first]);
    for query in ["Status=done", "StartTime%3E=yesterday", "StartTime%3E%3D=2026-11-19", "Number=1"] {
        assert_eq!(api.error("GET", &calls(query), &[]).await, (400, 20001), "{query}");
    }
    let page = api.get(&calls("PageSize=3&To=%2B18025550107")).await;
    let next = api.get(page["next_page_uri"].as_str().unwrap()).await;
    assert_eq!((next["calls"].as_array().unwrap().len(), &next["next_page_uri"]), (1, &Value::Null));
    let one = &next["calls"][0];
    assert_eq!((&one["duration"], &one["phone_number_sid"]), (&json!("95"), &json!(SID)));
    assert_eq!(api.get(one["uri"].as_str().unwrap()).await, *one);
    assert_eq!(api.error("GET", &one["uri"].as_str().unwrap().replace("CA", "CB"), &[]).await, (404, 20404));
}
