//! `list`, `show` and `completions`: columns, filters, formats.

use callops::app::new_id;
use callops::store::runs::{self, Run};
use callops::store::{self, Db};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::common::{Callops, Output, Scratch, TestDatabase, assert_same_snapshot, on_both_databases};

const ACME: &str = r#"
[account.acme-vapi]
provider = "vapi"
api_key = "env:ACME_VAPI_KEY"
calls_per_minute = 30

[tenant.acme]
name = "Acme Dental"
region = "US"
timezone = "America/New_York"

[tenant.acme.campaign.checkup]
account = "acme-vapi"
vapi = { assistant_id = "assistant", phone_number_id = "line" }
frequency = "weekly"
days = ["mon", "wed", "fri"]
window = "09:00-17:00"

[tenant.acme.campaign.survey]
account = "acme-vapi"
vapi = { assistant_id = "assistant", phone_number_id = "line" }
window = "10:00-16:00"
frequency = "once"
priority = 3

[tenant.other]
name = "Other"
"#;

fn operate<const N: usize>(database: &TestDatabase, args: [&str; N]) -> Output {
    // When things were made differs between runs.
    let output = database.callops().env("ACME_VAPI_KEY", "a-key").run(args);
    times(&output).iter().fold(output, |output, time| output.redact(time, "[A UTC TIME IN SECS]"))
}

/// The instants in an output, each in UTC and to the second.
fn times(output: &Output) -> Vec<String> {
    let text = format!("{}\n{}", output.stdout, output.stderr);
    let mut times: Vec<String> = text
        .split(|c: char| c.is_whitespace() || c == '"' || c == ',')
        .filter(|word| word.len() == 20 && word.ends_with('Z') && word.parse::<DateTime<Utc>>().is_ok())
        .map(str::to_owned)
        .collect();
    times.dedup();
    times
}

fn set_up(database: &TestDatabase) {
    database.scratch().write("acme.toml", ACME);
    operate(database, ["apply", "acme.toml"]).success();
    let enroll =
        ["enroll", "8022236942", "--campaign", "acme/checkup", "--name", "Ann", "--timezone", "america/new_york"];
    operate(database, enroll).success();
    operate(database, ["enroll", "8022236943", "8022236944", "--campaign", "acme/survey"]).success();
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

fn rows(output: &Output) -> Vec<Value> {
    output.json().as_array().expect("rows").clone()
}

on_both_databases! {
    fn setup_is_listed(db) {
        set_up(&db);
        assert_same_snapshot!(operate(&db, ["list", "campaigns"]), @r#"
        exit: 0
        --- stdout
         campaign      status   purpose  account    priority  frequency  days                         window       enrolled  scheduled  live  held until
         acme/checkup  stopped  checkup  acme-vapi  0         weekly     mon,wed,fri                  09:00-17:00  1         0          0
         acme/survey   stopped  survey   acme-vapi  3         once       mon,tue,wed,thu,fri,sat,sun  10:00-16:00  2         0          0
        --- stderr
        "#);
        assert_same_snapshot!(operate(&db, ["list", "tenants", "--format", "csv"]), @r#"
        exit: 0
        --- stdout
        tenant,name,region,timezone,campaigns,paused
        acme,Acme Dental,US,America/New_York,2,false
        other,Other,,,0,false
        --- stderr
        "#);
        assert_same_snapshot!(operate(&db, ["list", "accounts", "--format", "jsonl"]), @r#"
        exit: 0
        --- stdout
        {"account":"acme-vapi","provider":"vapi","max_concurrency":10,"calls_per_minute":30,"org_id":null,"held_until":null,"held_reason":null}
        --- stderr
        "#);
    }

    fn people_are_listed(db) {
        set_up(&db);
        assert_same_snapshot!(operate(&db, ["list", "contacts"]), @r#"
        exit: 0
        --- stdout
         id                          tenant  phone         extension  name  timezone          zones             preferred time  created at
         [ulid-1------------------]  acme    +18022236942             Ann   America/New_York  America/New_York                  [A UTC TIME IN SECS]
         [ulid-2------------------]  acme    +18022236943                                     America/New_York                  [A UTC TIME IN SECS]
         [ulid-3------------------]  acme    +18022236944                                     America/New_York                  [A UTC TIME IN SECS]
        --- stderr
        "#);
        assert_same_snapshot!(operate(&db, ["list", "enrollments", "--format", "csv"]), @r#"
        exit: 0
        --- stdout
        campaign,contact,phone,name,status,last_reason,last_checked_at,next_check_at,created_at
        acme/checkup,[ulid-1------------------],+18022236942,Ann,active,,,[A UTC TIME IN SECS],[A UTC TIME IN SECS]
        acme/survey,[ulid-2------------------],+18022236943,,active,,,[A UTC TIME IN SECS],[A UTC TIME IN SECS]
        acme/survey,[ulid-3------------------],+18022236944,,active,,,[A UTC TIME IN SECS],[A UTC TIME IN SECS]
        --- stderr
        "#);
    }

    fn filters_narrow(db) {
        set_up(&db);
        for (args, count) in [
            (vec!["contacts"], 3),
            (vec!["contacts", "--tenant", "other"], 0),
            (vec!["contacts", "--campaign", "acme/survey"], 2),
            (vec!["contacts", "--tenant", "acme", "--phone", "(802) 223-6943"], 1),
            (vec!["contacts", "--phone", "+18022236943", "--since", "1d"], 1),
            (vec!["contacts", "--since", "2100-01-01T00:00:00Z"], 0),
            (vec!["enrollments", "--status", "withdrawn"], 0),
            (vec!["enrollments", "--status", "active", "--tenant", "acme"], 3),
            (vec!["campaigns", "--status", "active"], 0),
            (vec!["campaigns", "--campaign", "acme/survey"], 1),
            (vec!["calls", "--status", "failed", "--since", "1h"], 0),
            (vec!["attempts", "--status", "unknown", "--campaign", "acme/survey", "--phone", "+18022236943"], 0),
            (vec!["findings", "--status", "resolved"], 0),
            (vec!["tenants", "--tenant", "acme"], 1),
        ] {
            let output = db.callops().run([vec!["list", "--format", "json"], args.clone()].concat()).success();
            assert_eq!(rows(&output).len(), count, "{args:?}: {output}");
        }
    }

    fn what_is_cut_is_said(db) {
        set_up(&db);
        let output = operate(&db, ["list", "contacts", "--limit", "2", "--format", "json"]).success();
        assert_eq!(rows(&output).len(), 2);
        assert_eq!(output.stderr, "only 2 are shown; --limit shows more\n");
        assert_eq!(operate(&db, ["list", "contacts", "--limit", "3", "--format", "json"]).success().stderr, "");
    }

    fn nothing_is_shown_as_nothing(db) {
        assert_same_snapshot!(operate(&db, ["list", "calls"]), @r#"
        exit: 0
        --- stdout
        --- stderr
        nothing to show
        "#);
        assert_same_snapshot!(operate(&db, ["list", "calls", "--format", "json"]), @r#"
        exit: 0
        --- stdout
        []
        --- stderr
        "#);
        assert_same_snapshot!(operate(&db, ["list", "calls", "--format", "csv"]), @r#"
        exit: 0
        --- stdout
        id,campaign,phone,slot,status,outcome,reason,attempts,next_attempt_at,created_at,ended_at
        --- stderr
        "#);
    }

    fn filters_that_make_no_sense_are_refused(db) {
        set_up(&db);
        for (args, told) in [
            (vec!["runs", "--phone", "1"], "`list runs` takes no --phone"),
            (vec!["accounts", "--tenant", "acme"], "`list accounts` takes no --tenant"),
            (vec!["calls", "--status", "done"], "there is scheduled, calling"),
            (vec!["calls", "--tenant", "acne"], "did you mean acme?"),
            (vec!["calls", "--campaign", "checkup"], "TENANT/NAME"),
            (vec!["calls", "--campaign", "other/checkup"], "did you mean acme/checkup?"),
            (vec!["calls", "--phone", "8022236943"], "the number has no country code"),
            (vec!["calls", "--since", "yesterday"], "neither a time"),
            (vec!["calls", "--limit", "0"], "0 is not in"),
            (vec!["people"], "invalid value 'people'"),
        ] {
            let output = db.callops().run([vec!["list"], args.clone()].concat()).exits(2);
            assert!(output.stderr.contains(told), "{args:?}: {output}");
        }
    }

    fn one_thing_is_shown_whole(db) {
        set_up(&db);
        assert_same_snapshot!(operate(&db, ["show", "campaign", "acme/survey"]), @r#"
        exit: 0
        --- stdout
         campaign               acme/survey
         id                     [ulid-1------------------]
         status                 stopped
         account                acme-vapi
         purpose                survey
         priority               3
         vapi                   {"assistant_id":"assistant","phone_number_id":"line"}
         frequency              once
         days                   mon,tue,wed,thu,fri,sat,sun
         window                 10:00-16:00
         zone policy            callee
         look back              15m
         answer timeout         10m
         answer timeout source  default
         call timeout           1h
         call timeout source    default
         retry.on               ["no_answer","busy","timeout"]
         retry.after            2h
         retry.max attempts     3
         enrolled               2
         scheduled              0
         live                   0
         rules version          1

        audit:
         at                    actor     action  detail
         [A UTC TIME IN SECS]  operator  enroll  {"contact":"[ulid-2------------------]","phone":"+18022236944","new_contact":true}
         [A UTC TIME IN SECS]  operator  enroll  {"contact":"[ulid-3------------------]","phone":"+18022236943","new_contact":true}
         [A UTC TIME IN SECS]  operator  apply   {"change":"created","after":{"account":"acme-vapi","purpose":"survey","priority":3,"vapi":{"assistant_id":"assistant","phone_number_id":"line"},"frequency":"once","days":"mon,tue,wed,thu,fri,sat,sun","window":"10:00-16:00","zone_policy":"callee","look_back":"15m","retry.on":["no_answer","busy","timeout"],"retry.after":"2h","retry.max_attempts":3}}
        --- stderr
        "#);
        assert_same_snapshot!(operate(&db, ["show", "contact", "8022236942", "--tenant", "acme", "--format", "json"]), @r#"
        exit: 0
        --- stdout
        {
          "id": "[ulid-1------------------]",
          "tenant": "acme",
          "phone": "+18022236942",
          "extension": null,
          "name": "Ann",
          "email": null,
          "external_id": null,
          "timezone": "America/New_York",
          "zones": [
            "America/New_York"
          ],
          "zones_source": "given",
          "preferred_time": null,
          "attributes": {},
          "import": null,
          "created_at": "[A UTC TIME IN SECS]",
          "updated_at": "[A UTC TIME IN SECS]",
          "enrollments": [
            {
              "campaign": "acme/checkup",
              "contact": "[ulid-1------------------]",
              "phone": "+18022236942",
              "name": "Ann",
              "status": "active",
              "last_reason": null,
              "last_checked_at": null,
              "next_check_at": "[A UTC TIME IN SECS]",
              "created_at": "[A UTC TIME IN SECS]"
            }
          ],
          "calls": []
        }
        --- stderr
        "#);
        let id = rows(&operate(&db, ["list", "contacts", "--format", "json"]))[0]["id"].as_str().expect("an id").to_owned();
        assert_eq!(operate(&db, ["show", "contact", &id, "--format", "json"]).json()["name"], "Ann");
        for args in [["show", "call", &id], ["show", "attempt", "x"], ["show", "run", "x"], ["show", "contact", "+18022230000"]] {
            assert!(operate(&db, args).exits(2).stderr.contains("`callops list"), "{args:?}");
        }
        operate(&db, ["show", "campaign", "acme/none"]).exits(2);
    }

    async fn runs_are_listed_and_shown(db) {
        let started_at: DateTime<Utc> = "2026-11-20T12:00:00.123456Z".parse().expect("an instant");
        let run_id = new_id(started_at);
        let stored = Run {
            id: run_id.clone(),
            command: "process-calls".to_owned(),
            version: "0.1.0".to_owned(),
            tzdata: "2026b".to_owned(),
            host: "host".to_owned(),
            pid: 4711,
            started_at,
            ended_at: None,
            exit_code: Some(3),
            counts: Some("{\"placed\":2}".to_owned()),
        };
        let store = open(&db).await;
        store.write(async |tx| runs::record(tx, &stored).await).await.expect("recorded");
        assert_same_snapshot!(db.callops().run(["list", "runs"]), @r#"
        exit: 0
        --- stdout
         id                          command        host  started at            ended at  exit code  counts
         [ulid-1------------------]  process-calls  host  2026-11-20T12:00:00Z            3          {"placed":2}
        --- stderr
        "#);
        assert_same_snapshot!(db.callops().run(["show", "run", &run_id, "--format", "json"]), @r#"
        exit: 0
        --- stdout
        {
          "id": "[ulid-1------------------]",
          "command": "process-calls",
          "version": "0.1.0",
          "tzdata": "2026b",
          "host": "host",
          "pid": 4711,
          "started_at": "2026-11-20T12:00:00Z",
          "ended_at": null,
          "exit_code": 3,
          "counts": {
            "placed": 2
          }
        }
        --- stderr
        "#);
        assert_eq!(rows(&operate(&db, ["list", "runs", "--since", "2026-11-20T12:00:01Z", "--format", "json"])), [json!(null); 0]);
    }
}

#[test]
fn completions_name_every_command() {
    let scratch = Scratch::new();
    for shell in ["bash", "zsh", "fish"] {
        let output = Callops::new(&scratch).run(["completions", shell]).success();
        assert!(output.stdout.contains("process-calls"), "{shell}");
    }
    Callops::new(&scratch).run(["completions", "cmd"]).exits(2);
}
