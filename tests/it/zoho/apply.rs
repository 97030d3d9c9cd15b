//! Accounts and bills from TOML.

use crate::common::on_both_databases;

const ACME: &str = r#"
[account.acme-zoho]
provider = "zoho"
api_key = "env:ACME_ZOHO_TOKEN"
api_secret = "file:/etc/callops/acme-zoho-secret"
client_id = "1000.ABC"
data_center = "eu"

[tenant.acme]
name = "Acme Dental"

[tenant.acme.billing]
account = "acme-zoho"
organization_id = "10229182"
plan = "standard"
full_sync_after = "2d"
"#;

on_both_databases! {
    fn an_account_and_bills_are_put_in_and_what_is_wrong_is_told(db) {
        let apply = |text: &str| {
            db.scratch().write("acme.toml", text);
            db.callops().env("ACME_ZOHO_TOKEN", "t").run(["apply", "acme.toml", "--format", "json"])
        };
        let changes = apply(ACME).success().json();
        let value = |field: &str| {
            let rows = changes.as_array().expect("rows");
            rows.iter().find(|row| row["field"] == field).unwrap_or_else(|| panic!("{field}: {changes}"))["after"].clone()
        };
        for (field, wanted) in [("client_id", "1000.ABC"), ("data_center", "eu"), ("billing.organization_id", "10229182"),
            ("billing.plan", "standard"), ("billing.full_sync_after", "2d")] {
            assert_eq!(value(field), wanted);
        }
        assert!(!changes.to_string().contains("max_concurrency"), "it places no calls: {changes}");
        apply(ACME).success();
        for (line, other, told) in [
            ("client_id = \"1000.ABC\"", "", "client_id is missing"),
            ("api_secret = \"file:/etc/callops/acme-zoho-secret\"", "", "api_secret is missing"),
            ("api_secret = \"file:/etc/callops/acme-zoho-secret\"", "api_secret = \"hush\"", "not a reference to a secret"),
            ("data_center = \"eu\"", "", "data_center is missing"),
            ("data_center = \"eu\"", "data_center = \"mars\"", "is no data centre; there are us, eu"),
            ("data_center = \"eu\"", "data_center = \"eu\"\nmax_concurrency = 3", "zoho has no max_concurrency"),
            ("provider = \"zoho\"", "provider = \"vapi\"", "only zoho has a client_id"),
            ("account = \"acme-zoho\"", "account = \"acme-soho\"", "there is no account"),
            ("organization_id = \"10229182\"", "", "billing.organization_id is missing"),
            ("organization_id = \"10229182\"", "organization_id = \"Zillium\"", "is no id of an organisation"),
            ("plan = \"standard\"", "plan = \"gold\"", "is no plan; there are free"),
            ("full_sync_after = \"2d\"", "full_sync_after = \"1s\"", "is not from 1h to 90d"),
            ("name = \"Acme Dental\"", "voice_account = \"acme-zoho\"", "which keeps no conversations"),
        ] {
            assert!(ACME.contains(line), "{line}");
            let output = apply(&ACME.replacen(line, other, 1)).exits(6).to_string();
            assert!(output.contains(told), "{told}: {output}");
        }
    }
}
