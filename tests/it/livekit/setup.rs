//! Accounts and campaigns of LiveKit's, put in and looked at.

use chrono::TimeDelta;
use serde_json::{Value, json};

use super::stories::{ADA, begin, rules};
use crate::common::{Output, TestDatabase, on_both_databases};

const SOUND: &str = r#"
[account.acme-livekit]
provider = "livekit"
api_key = "env:ACME_LIVEKIT_KEY"
api_secret = "env:ACME_LIVEKIT_SECRET"
base_url = "wss://acme.livekit.cloud"

[tenant.acme]
name = "Acme Dental"
timezone = "America/New_York"

[tenant.acme.campaign.reminder]
account = "acme-livekit"
livekit = { agent_name = "reminder", sip_trunk_id = "ST_1", sip_number = "+15005550001", ringing_timeout = "45s" }
window = "09:00-17:00"
zone_policy = "campaign"
"#;

fn apply(db: &TestDatabase, text: &str) -> Output {
    std::fs::write(db.scratch().path().join("livekit.toml"), text).expect("a file");
    db.callops().run(["apply", "livekit.toml", "--format", "csv"])
}

on_both_databases! {
    fn an_account_needs_a_pair_of_keys_and_an_address(db) {
        let output = apply(&db, SOUND).success();
        for line in [
            "account,acme-livekit,created,api_secret,,env:ACME_LIVEKIT_SECRET",
            "account,acme-livekit,created,base_url,,wss://acme.livekit.cloud",
        ] {
            assert!(output.stdout.contains(line), "{output}");
        }
        assert!(apply(&db, SOUND).success().stdout.contains("account,acme-livekit,unchanged"));
        let wss = "base_url = \"wss://acme.livekit.cloud\"";
        for (from, to, said) in [
            ("api_secret = \"env:ACME_LIVEKIT_SECRET\"", "", "account.acme-livekit: api_secret is missing"),
            ("\"env:ACME_LIVEKIT_SECRET\"", "\"hunter2\"", "not a reference to a secret"),
            (wss, "", "account.acme-livekit: base_url is missing"),
            (wss, "base_url = \"ws://acme.livekit.cloud\"", "must begin with https://"),
            (wss, "base_url = \"http://acme.livekit.cloud\"", "must begin with https://"),
            (wss, &format!("{wss}\nwebhook_secret = \"env:X\""), "livekit has no webhook_secret"),
            (wss, &format!("{wss}\nwebhook_signature = {{}}"), "livekit has no webhook_signature"),
            ("\"livekit\"\napi_key", "\"vapi\"\napi_key", "only livekit, twilio and zoho have an api_secret"),
            ("\"45s\"", "\"81s\"", "livekit.ringing_timeout"),
        ] {
            let output = apply(&db, &SOUND.replace(from, to)).exits(6);
            assert!(output.stderr.contains(said) && !output.stderr.contains("hunter2"), "{said}: {output}");
        }
        for address in ["https://acme.livekit.cloud", "ws://127.0.0.1:7880", "http://127.0.0.1:7880"] {
            apply(&db, &SOUND.replace("wss://acme.livekit.cloud", address)).success();
        }
    }

    async fn doctor_says_what_can_be_known(db) {
        let story = begin(db, &rules(), &[ADA]).await;
        let said = |check: &str| -> Value {
            let shown = story.run(&["doctor", "--online", "--format", "json"]);
            let rows: Vec<Value> = serde_json::from_str(&shown.stdout).unwrap_or_else(|error| panic!("{error}: {shown}"));
            rows.into_iter().find(|row| row["check"] == check).unwrap_or_else(|| panic!("{check}: {shown}"))
        };
        let account = said("account:acme-livekit");
        assert_eq!(account["verdict"], "ok", "{account}");
        let what = "livekit: the key can be read, which signs its webhooks as well; the provider does not say whose key \
                    it is; the provider answers";
        assert_eq!(account["what"], what);
        assert_eq!(said("agent:acme/reminder")["what"], "the provider has its trunk; it lists neither agents nor where webhooks go");
        assert_eq!(said("webhooks:acme-livekit")["verdict"], "ok");
        story.fault(json!({"kind": "assistant_missing", "match": {"path": "/twirp/livekit.SIP/ListSIPOutboundTrunk"}}));
        let missing = said("agent:acme/reminder");
        assert_eq!(missing["what"], "cannot call: livekit does not have its sip_trunk_id", "{missing}");
        story.sandbox.clear_faults();
        story.fault(json!({"kind": "unauthorized_all"}));
        assert_eq!(said("account:acme-livekit")["verdict"], "problem");
    }

    async fn a_secret_that_cannot_be_read_calls_nobody(db) {
        let story = begin(db, &rules(), &[ADA]).await;
        let mut account = story.write(async |tx| callops::store::setup::accounts(tx).await).await;
        account.retain(|account| account.provider == "livekit");
        let mut account = account.remove(0);
        let mut settings: Value = serde_json::from_str(&account.settings).expect("JSON");
        for (secret, said) in [(json!("env:NOT_SET"), "NOT_SET"), (Value::Null, "api_secret is missing")] {
            settings["api_secret"] = secret;
            account.settings = settings.to_string();
            let now = story.now();
            story.write(async |tx| callops::store::setup::put_account(tx, &account, now).await).await;
            let output = story.run(&["process-calls"]).exits(6);
            assert!(output.stderr.contains(said), "{output}");
            story.wait(TimeDelta::minutes(1));
        }
        assert_eq!(story.rings(), 0);
    }
}
