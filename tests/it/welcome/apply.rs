//! Accounts and welcomes from TOML, shown and looked after.

use serde_json::Value;

use super::{begin, told};
use crate::common::on_both_databases;

const ACME: &str = r#"
[account.acme-vapi]
provider = "vapi"
api_key = "env:ACME_VAPI_KEY"

[account.acme-stripe]
provider = "stripe"
api_key = "env:ACME_STRIPE_KEY"
webhook_secret = "env:ACME_STRIPE_WEBHOOK"
previous_webhook_secret = "file:/etc/callops/acme-stripe-former"
livemode = false

[tenant.acme]
name = "Acme Dental"

[tenant.acme.welcome]
account = "acme-stripe"
campaign = "welcome"
welcome_since = "2026-11-20T00:00:00+01:00"
trialing = true
timezone_key = "tz"

[tenant.acme.campaign.welcome]
account = "acme-vapi"
vapi = { assistant_id = "a", phone_number_id = "p" }
frequency = "once"
window = "09:00-17:00"
"#;

on_both_databases! {
    fn an_account_and_a_welcome_are_put_in_and_what_is_wrong_is_told(db) {
        let apply = |text: &str| {
            db.scratch().write("acme.toml", text);
            db.callops().env("ACME_STRIPE_KEY", "sk_test_1").env("ACME_VAPI_KEY", "k").run(["apply", "acme.toml", "--format", "json"])
        };
        let changes = apply(ACME).success().json();
        let value = |kind: &str, field: &str| {
            let rows = changes.as_array().expect("rows");
            rows.iter().find(|row| row["kind"] == kind && row["field"] == field).unwrap_or_else(|| panic!("{field}: {changes}"))["after"].clone()
        };
        for (field, wanted) in [("account", "acme-stripe"), ("campaign", "welcome"), ("welcome_since", "2026-11-19T23:00:00Z"), ("timezone_key", "tz")] {
            assert_eq!(value("tenant", &format!("welcome.{field}")), wanted);
        }
        assert_eq!(value("tenant", "welcome.trialing"), true);
        assert_eq!(value("account", "previous_webhook_secret"), "file:/etc/callops/acme-stripe-former");
        assert_eq!(value("account", "livemode"), false);
        let again = apply(ACME).success().json();
        assert!(again.as_array().expect("rows").iter().all(|row| row["change"] == "unchanged"), "{again}");
        let live = ACME.replacen("livemode = false\n", "", 1);
        let now_live = apply(&live).success().json();
        assert!(now_live.as_array().unwrap().iter().any(|row| row["field"] == "livemode" && row["after"] == true), "live unless said: {now_live}");
        for (line, other, told) in [
            ("webhook_secret = \"env:ACME_STRIPE_WEBHOOK\"\n", "", "webhook_secret is missing"),
            ("livemode = false", "livemode = \"no\"", "true or false is wanted"),
            ("livemode = false", "livemode = false\nmax_concurrency = 3", "stripe has no max_concurrency"),
            ("livemode = false", "livemode = false\napi_secret = \"env:X\"", "stripe has no api_secret"),
            ("provider = \"vapi\"", "provider = \"vapi\"\nlivemode = true", "only stripe has a livemode"),
            ("account = \"acme-stripe\"", "account = \"acme-strip\"", "did you mean acme-stripe?"),
            ("account = \"acme-stripe\"", "account = \"acme-vapi\"", "is an account of vapi, which takes no payments"),
            ("campaign = \"welcome\"", "campaign = \"greeting\"", "acme has no campaign"),
            ("frequency = \"once\"", "frequency = \"weekly\"", "calls weekly, and a welcome comes once"),
            ("welcome_since = \"2026-11-20T00:00:00+01:00\"", "", "welcome_since is missing"),
            ("welcome_since = \"2026-11-20T00:00:00+01:00\"", "welcome_since = \"yesterday\"", "is no instant"),
            ("timezone_key = \"tz\"", "timezone_key = \" \"", "is no key of metadata"),
            ("trialing = true", "trialling = true", "did you mean"),
            ("name = \"Acme Dental\"", "voice_account = \"acme-stripe\"", "which keeps no conversations"),
            ("account = \"acme-vapi\"\nvapi", "account = \"acme-stripe\"\nvapi", "is an account of stripe"),
        ] {
            assert!(ACME.contains(line), "{line}");
            let output = apply(&ACME.replacen(line, other, 1)).exits(6).to_string();
            assert!(output.contains(told), "{told}: {output}");
        }
        // The campaign alone, of a tenant that stays.
        let alone = "[tenant.acme.campaign.welcome]\naccount = \"acme-vapi\"\nvapi = { assistant_id = \"a\", phone_number_id = \"p\" }\nfrequency = \"daily\"\nwindow = \"09:00-17:00\"\n";
        let output = apply(alone).exits(6).to_string();
        assert!(output.contains("acme welcomes with it"), "{output}");
    }

    async fn the_doctor_says_whether_payments_are_heard_of(db) {
        let story = begin(db).await;
        let doctor = |args: &[&str]| -> Value {
            let args = [&["doctor", "--format", "json"], args].concat();
            story.spawn_with(&[("ACME_STRIPE_WEBHOOK", "whsec_acme")], &args).wait().json()
        };
        let row = |rows: &Value, check: &str| {
            rows.as_array().unwrap().iter().find(|row| row["check"] == check).unwrap_or_else(|| panic!("{check}: {rows}")).clone()
        };
        let rows = doctor(&["--online"]);
        assert!(row(&rows, "account:acme-stripe")["what"].as_str().unwrap().contains("Stripe answers"), "{rows}");
        assert_eq!(row(&rows, "webhooks:acme-stripe")["verdict"], "warning");
        assert_eq!(row(&rows, "welcome:acme")["verdict"], "warning");
        told(&story, "checkout_paid", "cus_1").await;
        story.run(&["sync-stripe"]).success();
        let rows = doctor(&[]);
        assert!(row(&rows, "webhooks:acme-stripe")["what"].as_str().unwrap().contains("came by webhook at"), "{rows}");
        assert!(row(&rows, "welcome:acme")["what"].as_str().unwrap().contains("1 no_phone"), "{rows}");
        story.fault(serde_json::json!({"kind": "unauthorized_all", "match": {"method": "GET", "path": "/v1/events"}}));
        let rows = doctor(&["--online"]);
        assert_eq!(row(&rows, "account:acme-stripe")["verdict"], "problem");
        let rows = story.run(&["doctor", "--format", "json"]).json();
        assert!(row(&rows, "account:acme-stripe")["what"].as_str().unwrap().contains("webhook_secret"), "{rows}");
        crate::welcome::put_account(&story, "acme-stripe", callops::domain::campaign::AccountSettings {
            api_key: "env:WRONG_MODE".to_owned(), ..crate::welcome::account()
        }).await;
        let rows = story.spawn_with(&[("WRONG_MODE", "rk_live_1"), ("ACME_STRIPE_WEBHOOK", "x")], &["doctor", "--format", "json"]).wait().json();
        assert!(row(&rows, "account:acme-stripe")["what"].as_str().unwrap().contains("one of live mode"), "{rows}");
    }
}
