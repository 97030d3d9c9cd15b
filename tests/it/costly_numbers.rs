//! Numbers whose calls cost extra: refused wherever phones come in, unless the tenant calls such numbers.

use crate::common::{Callops, Output, TestDatabase, on_both_databases};

/// A window that is always open, so that no test depends on the time of day.
const ACME: &str = r#"
[account.acme-vapi]
provider = "vapi"
api_key = "env:ACME_VAPI_KEY"

[tenant.acme]
region = "DE"
timezone = "UTC"

[tenant.acme.campaign.checkup]
account = "acme-vapi"
vapi = { assistant_id = "assistant", phone_number_id = "line" }
window = "00:00-24:00"
zone_policy = "campaign"
"#;
const PREMIUM: &str = "0900 1 234567";
const SHARED: &str = "0180 1 123456";

fn operate<const N: usize>(database: &TestDatabase, args: [&str; N]) -> Output {
    database.callops().env("ACME_VAPI_KEY", "a-key").run(args)
}

fn apply(database: &TestDatabase, call_also: &str) -> Output {
    database.scratch().write("acme.toml", ACME.replace("region", &format!("{call_also}\nregion")));
    operate(database, ["apply", "acme.toml"]).success()
}

fn enroll(database: &TestDatabase, phone: &str) -> Output {
    operate(database, ["enroll", phone, "--campaign", "acme/checkup"])
}

on_both_databases! {
    fn a_tenant_says_which_costly_numbers_it_calls(db) {
        apply(&db, "");
        let list = format!("phone\n{PREMIUM}\n{SHARED}\n112\nfax 030 2270123\n030 2270123\n");
        db.scratch().write("list.csv", &list);
        let import = |args: [&str; 4]| {
            let args = ["import-contacts", "list.csv"].into_iter().chain(args).chain(["--format", "json"]);
            db.callops().env("ACME_VAPI_KEY", "a-key").run(args)
        };
        let reasons = import(["--tenant", "acme", "--dry-run", "-q"]).exits(4).json()["reasons"].clone();
        let all = serde_json::json!({"fax": 1, "premium_rate": 1, "shared_cost": 1, "short_or_emergency": 1});
        assert_eq!(reasons, all);
        for (phone, class) in [(PREMIUM, "premium_rate"), (SHARED, "shared_cost")] {
            let refused = enroll(&db, phone).exits(2);
            assert!(refused.stderr.contains(&format!("unless the tenant's call_also names {class}")), "{refused}");
            let refused = operate(&db, ["call", phone, "--campaign", "acme/checkup", "--create", "--dry-run"]).exits(2);
            assert!(refused.stderr.contains(&format!("unless the tenant's call_also names {class}")), "{refused}");
        }

        let changed = apply(&db, "call_also = [\"shared_cost\"]");
        assert!(changed.stdout.contains("call_also"), "{changed}");
        let reasons = import(["--tenant", "acme", "--campaign", "checkup"]).exits(4).json()["reasons"].clone();
        assert_eq!(reasons, serde_json::json!({"fax": 1, "premium_rate": 1, "short_or_emergency": 1}));
        enroll(&db, PREMIUM).exits(2);
        assert!(enroll(&db, SHARED).success().stdout.contains("already enrolled"));

        apply(&db, "call_also = [\"premium_rate\", \"shared_cost\"]");
        assert!(enroll(&db, PREMIUM).success().stdout.contains("created and enrolled"));
        enroll(&db, "112").exits(2);

        // Once the tenant calls them no more, those that are there are still found, and nobody new comes in.
        apply(&db, "");
        operate(&db, ["withdraw", PREMIUM, "--campaign", "acme/checkup"]).success();
        assert!(operate(&db, ["show", "contact", SHARED, "--tenant", "acme"]).success().stdout.contains("+491801123456"));
        enroll(&db, "0900 1 234568").exits(2);
    }
}

#[test]
fn a_number_is_checked_as_a_tenant_would() {
    let scratch = crate::common::Scratch::new();
    let check = |also: &[&str]| {
        let args = ["check-phone", "--region", "DE", "--format", "csv", PREMIUM, SHARED, "112"];
        Callops::new(&scratch).run(args.iter().chain(also)).exits(4)
    };
    insta::assert_snapshot!(check(&["--call-also", "premium_rate,shared_cost"]), @r"
    exit: 4
    --- stdout
    input,e164,extension,reason,zones
    0900 1 234567,+499001234567,,,Europe/Berlin
    0180 1 123456,+491801123456,,,Europe/Berlin
    112,,,short_or_emergency,
    --- stderr
    ");
    assert!(check(&["--call-also", "shared_cost"]).stdout.contains("0900 1 234567,,,premium_rate,\n"));
    let args = ["check-phone", "--call-also", "emergency", "112"];
    let refused = Callops::new(&scratch).run(args).exits(2);
    assert!(refused.stderr.contains("emergency"), "{refused}");
}
