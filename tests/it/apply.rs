//! `apply`: what files put in, what they leave alone, and everything that is refused in them.

use callops::store::{self, Db, runs, setup};
use serde_json::{Value, json};

use crate::common::{Callops, Output, Scratch, TestDatabase, assert_same_snapshot, on_both_databases};

const ACME: &str = r#"
[account.acme-vapi]
provider = "vapi"
api_key = "env:ACME_VAPI_KEY"

[tenant.acme]
name = "Acme Dental"
region = "US"
timezone = "America/New_York"
allow_only = ["(802) 223-6942"]

[tenant.acme.campaign.checkup]
account = "acme-vapi"
vapi = { assistant_id = "assistant", phone_number_id = "line" }
frequency = "weekly"
days = ["mon", 3, "friday"]
window = "09:00-17:00"
exclude_dates = [2026-12-25, "2026-12-26"]
retry = { on = ["busy", "no_answer"], after = "2h", max_attempts = 3 }
"#;

fn apply(database: &TestDatabase, text: &str, more: &[&str]) -> Output {
    database.scratch().write("acme.toml", text);
    let args = ["apply", "acme.toml"].into_iter().chain(more.iter().copied());
    database.callops().env("ACME_VAPI_KEY", "a-key").run(args)
}

/// What `apply` says of a file that is wrong, on a machine without any database.
fn refusal(text: &str) -> String {
    let scratch = Scratch::new();
    scratch.write("acme.toml", text);
    let output = Callops::new(&scratch).run(["apply", "acme.toml"]).exits(6);
    assert!(!scratch.path().join("home/data").exists(), "a wrong file made a database");
    let text = output.to_string();
    text.split("--- stderr\n").nth(1).expect("stderr").to_owned()
}

/// [`ACME`] with one line in place of another.
fn with(line: &str, other: &str) -> String {
    assert!(ACME.contains(line), "{line}");
    ACME.replacen(line, other, 1)
}

async fn open(database: &TestDatabase) -> Db {
    let options = store::Options {
        url: database.url().to_owned(),
        schema: "callops".to_owned(),
        max_connections: 2,
        statement_cache: true,
        create: false,
    };
    Db::connect(&options).await.expect("the database opens")
}

async fn rules_version(db: &Db) -> i64 {
    let mut tx = db.read().await.expect("a transaction");
    setup::campaign(&mut tx, "acme", "checkup").await.expect("a campaign").expect("a campaign").rules_version
}

async fn audits(db: &Db, subject: &str) -> usize {
    let mut tx = db.read().await.expect("a transaction");
    runs::audit_of(&mut tx, subject, 100).await.expect("the log").len()
}

on_both_databases! {
    fn a_first_file_makes_the_database_and_says_what_it_put_in(db: empty) {
        let url = db.url().to_owned();
        assert_same_snapshot!(apply(&db, ACME, &["--format", "csv"]).redact(&url, "[URL]"), @r#"
        exit: 0
        --- stdout
        kind,name,change,field,before,after
        account,acme-vapi,created,provider,,vapi
        account,acme-vapi,created,api_key,,env:ACME_VAPI_KEY
        account,acme-vapi,created,max_concurrency,,10
        tenant,acme,created,name,,Acme Dental
        tenant,acme,created,region,,US
        tenant,acme,created,timezone,,America/New_York
        tenant,acme,created,allow_only,,"[""+18022236942""]"
        campaign,acme/checkup,created,account,,acme-vapi
        campaign,acme/checkup,created,purpose,,checkup
        campaign,acme/checkup,created,priority,,0
        campaign,acme/checkup,created,vapi,,"{""assistant_id"":""assistant"",""phone_number_id"":""line""}"
        campaign,acme/checkup,created,frequency,,weekly
        campaign,acme/checkup,created,days,,"mon,wed,fri"
        campaign,acme/checkup,created,window,,09:00-17:00
        campaign,acme/checkup,created,zone_policy,,callee
        campaign,acme/checkup,created,exclude_dates,,"[""2026-12-25"",""2026-12-26""]"
        campaign,acme/checkup,created,look_back,,15m
        campaign,acme/checkup,created,retry.on,,"[""no_answer"",""busy""]"
        campaign,acme/checkup,created,retry.after,,2h
        campaign,acme/checkup,created,retry.max_attempts,,3
        --- stderr
        making the database [URL]
        acme/checkup calls nobody yet; start it with `callops start-campaign acme/checkup`
        "#);
    }

    async fn applying_twice_changes_nothing(db) {
        apply(&db, ACME, &[]).success();
        let store = open(&db).await;
        let version = rules_version(&store).await;
        assert_same_snapshot!(apply(&db, ACME, &[]), @r#"
        exit: 0
        --- stdout
         kind      name          change     field  before  after
         account   acme-vapi     unchanged
         tenant    acme          unchanged
         campaign  acme/checkup  unchanged
        --- stderr
        nothing changed
        "#);
        assert_eq!(rules_version(&store).await, version);
        assert_eq!(audits(&store, "campaign:acme/checkup").await, 1);
        assert_eq!(audits(&store, "tenant:acme").await, 1);
    }

    async fn an_edit_is_shown_moves_the_rules_once_and_is_logged(db) {
        apply(&db, ACME, &[]).success();
        let store = open(&db).await;
        let version = rules_version(&store).await;
        let edited = with("\"09:00-17:00\"", "\"10:00-17:00\"\npriority = 2").replace("exclude_dates", "# exclude_dates");
        let shown = apply(&db, &edited, &["--dry-run", "--format", "jsonl"]);
        assert_same_snapshot!(shown, @r#"
        exit: 0
        --- stdout
        {"kind":"account","name":"acme-vapi","change":"unchanged","field":null,"before":null,"after":null}
        {"kind":"tenant","name":"acme","change":"unchanged","field":null,"before":null,"after":null}
        {"kind":"campaign","name":"acme/checkup","change":"updated","field":"priority","before":0,"after":2}
        {"kind":"campaign","name":"acme/checkup","change":"updated","field":"window","before":"09:00-17:00","after":"10:00-17:00"}
        {"kind":"campaign","name":"acme/checkup","change":"updated","field":"exclude_dates","before":["2026-12-25","2026-12-26"],"after":null}
        --- stderr
        nothing was changed: this was a dry run
        "#);
        assert_eq!(rules_version(&store).await, version, "a dry run wrote");
        assert_eq!(apply(&db, &edited, &["--format", "jsonl"]).success().stdout, shown.stdout);
        assert_eq!(rules_version(&store).await, version + 1);
        assert_eq!(audits(&store, "campaign:acme/checkup").await, 2);
        apply(&db, &edited, &[]).success();
        assert_eq!(rules_version(&store).await, version + 1);
    }

    /// What a file does not name stays: here all but one campaign, which refers to what is stored.
    async fn a_file_of_one_campaign_leaves_the_rest_alone(db) {
        apply(&db, ACME, &[]).success();
        let store = open(&db).await;
        let version = rules_version(&store).await;
        let survey = "[tenant.acme.campaign.survey]\naccount = \"acme-vapi\"\nwindow = \"10:00-16:00\"\n\
                      zone_policy = \"campaign\"\nvapi = { assistant_id = \"a\", phone_number_id = \"b\" }\n";
        let rows = apply(&db, survey, &["--format", "json"]).success().json();
        assert!(rows.as_array().expect("rows").iter().all(|row| row["name"] == "acme/survey"), "{rows}");
        assert_eq!(rules_version(&store).await, version);
    }

    fn a_dry_run_needs_no_database_and_makes_none(db: empty) {
        let output = apply(&db, ACME, &["--dry-run"]).success();
        assert!(output.stderr.ends_with("nothing was changed: this was a dry run\n"), "{output}");
        db.callops().run(["list", "campaigns"]).exits(6);
    }

    fn nothing_is_written_unless_every_file_is_right(db) {
        db.scratch().write("bad.toml", "[account.other]\nprovider = \"vpai\"\napi_key = \"env:KEY\"\n");
        assert_same_snapshot!(apply(&db, ACME, &["bad.toml", "missing.toml"]), @r#"
        exit: 6
        --- stdout
        --- stderr
        error: 2 problems, so nothing was changed:
          cannot read missing.toml: No such file or directory (os error 2)
          bad.toml:2:12: account.other.provider: "vpai" is no provider; there are vapi, elevenlabs, livekit, twilio, zoho, stripe
        "#);
        assert_eq!(db.callops().run(["list", "accounts", "--format", "json"]).json(), json!([]));
    }

    fn campaigns_that_share_a_purpose_share_its_rules_in_the_file_and_in_the_database(db) {
        let other = "[tenant.acme.campaign.other]\naccount = \"acme-vapi\"\npurpose = \"checkup\"\n\
                     window = \"09:00-18:00\"\nfrequency = \"weekly\"\nzone_policy = \"campaign\"\ndays = [1, 3, 5]\n\
                     vapi = { assistant_id = \"a\", phone_number_id = \"b\" }\n";
        assert_same_snapshot!(apply(&db, &format!("{ACME}{other}"), &[]), @r#"
        exit: 6
        --- stdout
        --- stderr
        error: acme.toml:20:23: tenant.acme.campaign.other: it shares the purpose "checkup" with acme/checkup, at acme.toml:12:23, but not its zone_policy, window
        hint: campaigns with one purpose never call a person twice for it, so they need the same rules
        "#);
        apply(&db, ACME, &[]).success();
        assert_same_snapshot!(apply(&db, other, &[]), @r#"
        exit: 6
        --- stdout
        --- stderr
        error: acme.toml:1:23: tenant.acme.campaign.other: it shares the purpose "checkup" with acme/checkup, which is in the database, but not its zone_policy, window
        hint: campaigns with one purpose never call a person twice for it, so they need the same rules
        "#);
        let same = other.replace("09:00-18:00", "09:00-17:00").replace("zone_policy = \"campaign\"\n", "");
        apply(&db, &same, &[]).success();
        // The one that is stored can no longer move away alone.
        apply(&db, &with("\"weekly\"", "\"daily\""), &[]).exits(6);
    }

    fn a_rehearsal_takes_no_real_provider(db) {
        db.callops().run(["init", "--rehearsal"]).success();
        assert_same_snapshot!(apply(&db, ACME, &[]), @r#"
        exit: 6
        --- stdout
        --- stderr
        error: acme.toml:2:10: account.acme-vapi: this is a rehearsal database, in which no account may lead to the real provider
        hint: give base_url = "http://127.0.0.1:[PRT]", where `callops sandbox --listen` answers
        "#);
        let key = "api_key = \"env:ACME_VAPI_KEY\"";
        apply(&db, &with(key, &format!("{key}\nbase_url = \"https://example.com\"")), &[]).exits(6);
        apply(&db, &with(key, &format!("{key}\nbase_url = \"http://127.0.0.1:8899\"")), &[]).success();
    }

    fn a_zone_that_a_campaign_needs_cannot_be_taken_away(db) {
        let on_own_clock = with("frequency", "zone_policy = \"campaign\"\nfrequency");
        apply(&db, &on_own_clock, &[]).success();
        let tenant = "[tenant.acme]\nname = \"Acme Dental\"\n";
        let output = apply(&db, tenant, &[]).exits(6);
        assert!(output.stderr.contains("without a timezone its campaign acme/checkup has none either"), "{output}");
    }
}

on_both_databases! {
    async fn webhooks_of_accounts_and_tenants_have_secrets_by_reference(db) {
        let account = "api_key = \"env:ACME_VAPI_KEY\"";
        let signature = "webhook_secret = \"env:HOOK\"\nwebhook_signature = { header = \"X-Vapi-Signature\", \
                         payload = \"{body}\", prefix = \"sha256=\", tolerance = \"5m\" }";
        let text = with(account, &format!("{account}\n{signature}"));
        let text = text.replacen("region = \"US\"", "region = \"US\"\nwebhook_secret = \"file:/etc/callops/acme\"", 1);
        apply(&db, &text, &[]).success();
        let store = open(&db).await;
        let (accounts, tenants) =
            store.write(async |tx| Ok((setup::accounts(tx).await?, setup::tenants(tx).await?))).await.expect("rows");
        let settings = accounts[0].settings().expect("settings");
        let plan = settings.webhook_signature.expect("a signature");
        assert_eq!(settings.webhook_secret.as_deref(), Some("env:HOOK"));
        assert_eq!((plan.header.as_str(), plan.prefix.as_str(), plan.tolerance_seconds), ("x-vapi-signature", "sha256=", 300));
        assert_eq!(plan.timestamp_header, "x-timestamp", "what is left out is as the provider has it");
        let tenant = tenants[0].settings().expect("settings");
        assert_eq!(tenant.webhook_secret.as_deref(), Some("file:/etc/callops/acme"));
        store.close().await;
        let again = apply(&db, &text, &[]).success();
        assert!(again.to_string().contains("nothing to do") || !again.stdout.contains("webhook"), "{again}");
    }
}

#[test]
fn a_signature_that_proves_nothing_is_refused() {
    let account = "api_key = \"env:ACME_VAPI_KEY\"";
    for (value, part) in [
        ("{ payload = \"{timestamp}\" }", "has no {body} in it"),
        ("{ payload = \"{id}.{body}\" }", "has a place that is not known"),
        ("{ algorithm = \"md5\" }", "there are sha256, sha512 and sha1"),
        ("{ encoding = \"hexa\" }", "there are hex and base64"),
        ("{ header = \"x signature\" }", "is no name of a header"),
        ("{ tolerance = \"2d\" }", "is not from"),
        ("{ secret = \"hunter2\" }", "secret"),
    ] {
        let said = refusal(&with(account, &format!("{account}\nwebhook_signature = {value}")));
        assert!(said.contains(part) && said.contains("acme.toml:5:"), "{value}: {said}");
    }
    let said = refusal(&with("region = \"US\"", "region = \"US\"\nwebhook_secret = \"hunter2\""));
    assert!(said.contains("not a reference to a secret") && !said.contains("hunter2"), "{said}");
}

#[test]
fn only_vapi_signs_in_more_than_one_way() {
    let elevenlabs = ACME.replace("provider = \"vapi\"", "provider = \"elevenlabs\"\nwebhook_signature = {}");
    let said = refusal(&elevenlabs);
    assert!(said.contains("this provider signs in its own way"), "{said}");
    assert!(said.contains("is an account of elevenlabs"), "its campaign has an agent of Vapi's: {said}");
}

#[test]
fn every_problem_of_a_file_is_told_with_its_place() {
    let text = ACME
        .replace("provider = \"vapi\"", "provider = \"vapid\"\nmax_concurency = 3\nmax_concurrency = 0")
        .replace("env:ACME_VAPI_KEY", "sk-12345")
        .replace("region = \"US\"", "region = \"USA\"")
        .replace("America/New_York", "America/New York")
        .replace("account = \"acme-vapi\"", "account = 7")
        .replace("\"weekly\"", "\"montly\"")
        .replace("\"friday\"", "\"fryday\"")
        .replace("09:00-17:00", "09:00-09:00")
        .replace("\"2026-12-26\"", "\"26.12.2026\"")
        .replace("\"busy\"", "\"bussy\"")
        .replace("\"2h\"", "\"2 hours\"")
        .replace("max_attempts = 3", "max_attempts = 99");
    let told = refusal(&text);
    assert!(!told.contains("sk-12345"), "a secret is shown: {told}");
    insta::assert_snapshot!(told, @r#"
    error: 14 problems, so nothing was changed:
      acme.toml:4:1: unknown key account.acme-vapi.max_concurency (did you mean account.acme-vapi.max_concurrency?)
      acme.toml:3:12: account.acme-vapi.provider: "vapid" is no provider; there are vapi, elevenlabs, livekit, twilio, zoho, stripe
      acme.toml:6:11: account.acme-vapi.api_key: not a reference to a secret: write env:NAME or file:/path, never the value (it is not shown here)
      acme.toml:5:19: account.acme-vapi.max_concurrency: 0 is not from 1 to 10000
      acme.toml:10:10: tenant.acme.region: unknown region `USA`: expected a two-letter ISO 3166 country code such as US, GB or DE; did you mean US?
      acme.toml:11:12: tenant.acme.timezone: "America/New York" is no IANA time zone (did you mean America/New_York?)
      acme.toml:15:11: tenant.acme.campaign.checkup.account: a string in quotes is wanted, not an integer
      acme.toml:17:13: tenant.acme.campaign.checkup.frequency: "montly" is no frequency; write once, daily or weekly
      acme.toml:19:10: tenant.acme.campaign.checkup.window: "09:00-09:00" starts where it ends; write 00:00-24:00 for the whole day
      acme.toml:18:19: tenant.acme.campaign.checkup.days: "fryday" is no weekday; write mon to sun, or 1 to 7 where 1 is Monday
      acme.toml:20:30: tenant.acme.campaign.checkup.exclude_dates: "26.12.2026" is no date; write YYYY-MM-DD, such as 2026-12-24
      acme.toml:21:17: tenant.acme.campaign.checkup.retry.on: "bussy" is no outcome that is tried again; there is no_answer, busy, timeout, voicemail, rejected, provider_error (did you mean busy?)
      acme.toml:21:48: tenant.acme.campaign.checkup.retry.after: "2 hours" is no length of time: write a whole number and one unit (s, m, h or d), such as 15m
      acme.toml:21:74: tenant.acme.campaign.checkup.retry.max_attempts: 99 is not from 1 to 20
    "#);
}

#[test]
fn one_problem_is_told_with_its_hints() {
    for (line, other, told) in [
        ("[tenant.acme]\n", "[tenant.Acme]\n", "acme.toml:6:9: tenant.Acme: \"Acme\" is no name"),
        ("window = \"09:00-17:00\"\n", "", "tenant.acme.campaign.checkup: window is missing"),
        ("window = \"09:00-17:00\"", "window = \"09:00-09:02\"", "is too short"),
        ("window = \"09:00-17:00\"", "window = \"24:00-02:00\"", "cannot start at 24:00"),
        ("window = \"09:00-17:00\"", "windows = \"09:00-17:00\"", "did you mean tenant.acme.campaign.checkup.window?"),
        ("phone_number_id", "phone_number", "vapi.phone_number_id is missing"),
        ("vapi = {", "other = {", "which agent calls is missing"),
        ("region", "voice_account = \"acme-vapy\"\nregion", "did you mean acme-vapi?"),
        ("region", "api_token = \"hunter2\"\nregion", "not a reference to a secret"),
        ("region", "session_timeout = \"5s\"\nregion", "\"5s\" is not from 1m to 1d"),
        ("region", "records = { names = \"n\" }\nregion", "did you mean tenant.acme.records.name?"),
        ("region", "records = { booking = {} }\nregion", "records.booking.fields is missing"),
        ("region", "records = { ticket = { intents = [\"x\"], fields = { a = \"b\" } } }\nregion", "says the intent"),
        ("frequency", "livekit = {}\nfrequency", "vapi and livekit are given"),
        (
            "vapi = { assistant_id = \"assistant\", phone_number_id = \"line\" }",
            "elevenlabs = { agent_id = \"a\", agent_phone_number_id = \"line\" }",
            "\"acme-vapi\" is an account of vapi",
        ),
        (
            "vapi = { assistant_id = \"assistant\", phone_number_id = \"line\" }",
            "elevenlabs = { agent_id = \"a\", agent_phone_number_id = \"line\", via = \"sip\" }",
            "\"sip\" is none of twilio, sip_trunk",
        ),
        ("\"acme-vapi\"\nvapi", "\"acme-vapy\"\nvapi", "did you mean acme-vapi?"),
        ("(802) 223-6942", "(802) 22", "\"(802) 22\": the number has too few digits"),
        ("region", "call_also = [\"premium_rates\"]\nregion", "did you mean premium_rate?"),
        ("region", "call_also = [\"911\"]\nregion", "emergency and short numbers are never called"),
        ("region", "call_also = \"premium_rate\"\nregion", "a list is wanted"),
        ("timezone = \"America/New_York\"", "timezone = \"EST5EDT4\"", "is no IANA time zone"),
        ("frequency", "starts = 2026-12-02\nends = 2026-12-01\nfrequency", "2026-12-01 is before 2026-12-02"),
        ("frequency", "priority = 10\nfrequency", "10 is not from 0 to 9"),
        ("frequency", "look_back = \"2d\"\nfrequency", "\"2d\" is not from 1m to 1d"),
        ("frequency", "call_timeout = \"0s\"\nfrequency", "checkup.call_timeout: \"0s\" is not from 1m to 1d"),
        ("region", "answer_timeout = \"0s\"\nregion", "tenant.acme.answer_timeout: \"0s\" is not from 1m to 1d"),
        ("region", "answer_timeout = \"-5m\"\nregion", "\"-5m\" is no length of time"),
        ("region", "call_timeout = \"half an hour\"\nregion", "\"half an hour\" is no length of time"),
        ("region", "call_timeout = 30\nregion", "tenant.acme.call_timeout: a string in quotes is wanted"),
        ("region", "call_timout = \"30m\"\nregion", "did you mean tenant.acme.call_timeout?"),
        ("\"no_answer\"", "\"answered\"", "no outcome that is tried again"),
        ("api_key = \"env:ACME_VAPI_KEY\"", "api_key = \"env:A\"\nbase_url = \"http://example.com\"", "https://"),
        ("[account.acme-vapi]", "[account.acme-vapi", "acme.toml:2"),
        ("[tenant.acme.campaign.checkup]", "[tenant.acme.campaing.checkup]", "did you mean tenant.acme.campaign?"),
        ("[account.acme-vapi]", "[acount.acme-vapi]", "did you mean account?"),
    ] {
        let text = refusal(&with(line, other));
        assert!(text.contains(told), "{other}: {text}");
        assert!(text.contains("acme.toml:"), "{other}: no place in {text}");
    }
}

#[test]
fn a_thing_is_described_once() {
    let scratch = Scratch::new();
    scratch.write("a.toml", ACME);
    scratch.write("b.toml", "[tenant.acme]\nname = \"Acme\"\n");
    let output = Callops::new(&scratch).run(["apply", "a.toml", "b.toml"]).exits(6);
    assert!(output.stderr.contains("b.toml:1:9: tenant.acme: it is described already at a.toml:6:9"), "{output}");
}

#[test]
fn the_clock_is_moved_in_rehearsals_only() {
    let scratch = Scratch::new();
    scratch.write("a.toml", ACME);
    Callops::new(&scratch).run(["apply", "a.toml", "--now", "2026-11-20T12:00:00Z"]).exits(2);
}

#[test]
fn the_examples_are_right() {
    let scratch = Scratch::new();
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let files = ["accounts.toml", "acme.toml"].map(|name| folder.join(name).display().to_string());
    let args = ["apply", &files[0], &files[1], "--dry-run", "--format", "json"];
    let rows: Value = Callops::new(&scratch).run(args).success().json();
    let names: std::collections::BTreeSet<&str> =
        rows.as_array().expect("rows").iter().filter_map(|row| row["name"].as_str()).collect();
    assert_eq!(names, ["acme", "acme-elevenlabs", "acme-vapi", "acme/checkup", "acme/survey"].into());
}
