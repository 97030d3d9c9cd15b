//! Reminders in the files that `apply` takes.

use crate::common::on_both_databases;

const BOOKS: &str = r#"
[account.books]
provider = "zoho"
client_id = "1000.CLIENT"
api_secret = "env:SECRET"
api_key = "env:KEY"
data_center = "us"
[account.voice]
provider = "vapi"
api_key = "env:KEY"
[tenant.acme]
name = "Acme"
region = "US"
timezone = "America/New_York"
[tenant.acme.billing]
account = "books"
organization_id = "1"
"#;

fn campaign(reminders: &str) -> String {
    format!(
        "[tenant.acme.campaign.dunning]\naccount = \"voice\"\nvapi = {{ assistant_id = \"a\", phone_number_id = \"p\" }}\n\
         window = \"09:00-17:00\"\nreminders = {{ {reminders} }}\n"
    )
}

on_both_databases! {
    fn every_key_is_kept_and_each_edit_of_one_is_a_change(db) {
        let callops = db.callops().env("KEY", "k").env("SECRET", "s");
        let apply = |reminders: &str| {
            db.scratch().write("books.toml", BOOKS);
            db.scratch().write("campaign.toml", campaign(reminders));
            callops.run(["apply", "books.toml", "campaign.toml", "--format", "json"])
        };
        assert_eq!(apply("").code(), Some(0));
        let keys = [
            ("offsets", "[0, 3, 3, -3]", "[-3,0,3]"),
            ("statuses", "[\"overdue\"]", "[\"overdue\"]"),
            ("min_balance", "\"10.50\"", "\"10.50\""),
            ("exclude_customers", "[\"7\"]", "[\"7\"]"),
            ("exclude_invoices", "[\"INV-1\"]", "[\"INV-1\"]"),
            ("max_days_overdue", "90", "90"),
            ("max_age", "\"5m\"", "\"5m\""),
            ("max_attempts_per_week", "3", "3"),
            ("rest_days", "0", "0"),
            ("pause_days", "5", "5"),
            ("answer_field", "\"answer\"", "\"answer\""),
        ];
        let mut given_so_far = Vec::new();
        for (key, given, kept) in keys {
            given_so_far.push(format!("{key} = {given}"));
            let all = given_so_far.join(", ");
            let output = apply(&all);
            assert_eq!(output.code(), Some(0), "{output}");
            let changes = output.json();
            let field = format!("reminders.{key}");
            let change = changes.as_array().expect("changes").iter().find(|change| change["field"] == field.as_str());
            let after = change.map(|change| change["after"].clone()).unwrap_or_default();
            let after = after.as_str().map_or_else(|| after.to_string(), str::to_owned);
            assert_eq!(after.replace(' ', "").trim_matches('"'), kept.trim_matches('"'), "{key}: {changes}");
            let again = apply(&all);
            assert!(again.json().as_array().expect("changes").iter().all(|change| change["change"] == "unchanged"), "{again}");
        }
    }

    fn what_cannot_be_meant_is_refused_by_place(db) {
        let callops = db.callops().env("KEY", "k").env("SECRET", "s");
        for (reminders, problem) in [
            ("offsets = []", "no offset is given"),
            ("offsets = [400]", "\"400\" is no number of days from -365 to 365"),
            ("statuses = [\"paid\"]", "of an invoice that is paid nothing is owed"),
            ("min_balance = \"-1\"", "\"-1\" is no amount"),
            ("offsets = [0, 10], max_days_overdue = 9", "9 is not from 10 to 3650"),
            ("max_age = \"1s\"", "is not from 1m to 1d"),
            ("offset = [1]", "unknown key tenant.acme.campaign.dunning.reminders.offset"),
        ] {
            db.scratch().write("books.toml", BOOKS);
            db.scratch().write("campaign.toml", campaign(reminders));
            let output = callops.run(["apply", "books.toml", "campaign.toml"]);
            assert_eq!(output.code(), Some(6), "{reminders}: {output}");
            assert!(output.stderr.contains(problem), "{reminders}: {output}");
        }
        db.scratch().write("campaign.toml", campaign("").replace("window", "frequency = \"once\"\nwindow"));
        let output = callops.run(["apply", "books.toml", "campaign.toml"]);
        assert!(output.stderr.contains("it has both a frequency and reminders"), "{output}");
        let (before, _) = BOOKS.split_once("[tenant.acme.billing]").expect("books");
        db.scratch().write("books.toml", before);
        db.scratch().write("campaign.toml", campaign(""));
        let output = callops.run(["apply", "books.toml", "campaign.toml"]);
        assert!(output.stderr.contains("it reminds of invoices, and nothing says where those of acme are"), "{output}");
    }
}
