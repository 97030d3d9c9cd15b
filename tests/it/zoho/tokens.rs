//! Access tokens: shared, refreshed early, and never asked for too often.

use callops::domain::billing::BillingSettings;
use chrono::TimeDelta;
use serde_json::{Value, json};

use super::{
    Since, begin, billing, check_equal, check_ledger, put_account, put_tenant, run_sync, spawn, sync, try_sync,
};
use crate::common::story::Story;
use crate::common::{Backend, Running, on_both_databases};

fn issued(story: &Story) -> Value {
    story.sandbox.zoho_ledger()["tokens"][0]["issued"].clone()
}

/// The files that hold tokens.
fn token_files(story: &Story) -> Vec<std::path::PathBuf> {
    let folder = match story.backend() {
        Backend::Sqlite => story.scratch().path().to_owned(),
        Backend::Postgres => story.scratch().path().join("home/data/callops"),
    };
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("zoho-"))).collect()
}

on_both_databases! {
    async fn a_token_is_shared_by_runs_and_readable_by_its_owner_alone(db) {
        let story = begin(db).await;
        story.sandbox.zoho(json!({"many": {"customers": 3, "invoices": 5}})).expect("books");
        for _ in 0..3 {
            run_sync(&story, &[]).success();
        }
        let running: Vec<Running> = (0..4).map(|_| spawn(&story, &["--full"])).collect();
        for one in running {
            one.wait().success();
        }
        assert_eq!(issued(&story), 1);
        let files = token_files(&story);
        assert_eq!(files.len(), 2, "{files:?}");
        for file in files {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = std::fs::metadata(&file).expect("metadata").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", file.display());
        }
        // A minute before it expires it is replaced.
        story.wait(TimeDelta::seconds(3600 - 61));
        run_sync(&story, &[]).success();
        story.wait(TimeDelta::seconds(2));
        run_sync(&story, &[]).success();
        assert_eq!(issued(&story), 2);
        assert_eq!(story.sandbox.zoho_ledger()["strangers"], 0);
    }

    async fn a_refused_token_is_replaced_once(db) {
        let story = begin(db).await;
        story.sandbox.zoho(json!({"many": {"customers": 300, "invoices": 900}})).expect("books");
        let refusal = |nth: Value, times: u32| json!({"kind": "coded", "code": "57", "status": 401, "times": times,
            "match": {"method": "GET", "path": "/books/v3/invoices", "nth": nth}});
        story.fault(refusal(json!(3), 1));
        sync(&story, false).await;
        check_equal(&story, "acme", Since::Full).await;
        assert_eq!(issued(&story), 2);
        // A token that may not read invoices stays such a one.
        story.sandbox.clear_faults();
        story.fault(json!({"kind": "coded", "code": "57", "status": 401, "match": {"method": "GET", "path": "/books/v3/invoices"}}));
        story.wait(TimeDelta::minutes(5));
        let told = run_sync(&story, &[]).exits(6).to_string();
        assert!(told.contains("refuses the access token") && told.contains("ZohoBooks.invoices.READ"), "{told}");
        assert_eq!(issued(&story), 3);
        check_ledger(&story).await;
    }

    async fn a_token_that_expires_in_the_middle_is_no_failure(db) {
        let story = begin(db).await;
        // The minute's requests are spent four times, and a token is good for two minutes.
        story.sandbox.zoho(json!({"many": {"customers": 300, "invoices": 1600},
            "settings": {"expires_in": 120, "per_minute": 3, "per_day": 5000}})).expect("books");
        put_tenant(&story, "acme", BillingSettings {
            requests_per_minute: Some(3), ..billing() }).await;
        let began_at = story.now();
        sync(&story, false).await;
        check_equal(&story, "acme", Since::Full).await;
        check_ledger(&story).await;
        let minutes = (story.now() - began_at).num_minutes();
        assert!(minutes >= 4 && issued(&story).as_u64() > Some(3), "{minutes} minutes, {}", issued(&story));
    }

    async fn an_eleventh_token_in_ten_minutes_is_not_asked_for(db) {
        let story = begin(db).await;
        story.sandbox.zoho(json!({"many": {"customers": 1, "invoices": 1}, "settings": {"expires_in": 1}})).expect("books");
        // A token that expires at once is asked for anew each time.
        while issued(&story) != json!(10) {
            let _ = try_sync(&story.app, "acme", false).await;
        }
        let (_, result) = try_sync(&story.app, "acme", false).await;
        let told = format!("{:#}", result.expect_err("a refusal"));
        assert!(told.contains("as many as Zoho gives out"), "{told}");
        let ledger = story.sandbox.zoho_ledger();
        assert_eq!((&ledger["tokens"][0]["most_in_ten_minutes"], &ledger["tokens"][0]["refused"]), (&json!(10), &json!(0)));
        story.sandbox.zoho(json!({"settings": {"expires_in": 3600}})).expect("settings");
        story.wait(TimeDelta::minutes(10));
        sync(&story, false).await;
        check_equal(&story, "acme", Since::Full).await;
    }

    async fn what_is_wrong_with_credentials_is_told_in_words(db) {
        let story = begin(db).await;
        let told = |edit: fn(&mut callops::domain::campaign::AccountSettings)| {
            let story = &story;
            async move {
                put_account(story, edit).await;
                run_sync(story, &[]).exits(6).to_string()
            }
        };
        let unknown = told(|account| "env:OTHER_KEY".clone_into(&mut account.api_key)).await;
        assert!(unknown.contains("knows no such refresh token (invalid_code)") && unknown.contains("data_center"), "{unknown}");
        let client = told(|account| account.client_id = Some("1000.OTHER".to_owned())).await;
        assert!(client.contains("knows no such client (invalid_client)"), "{client}");
        let secret = told(|account| account.api_secret = Some("env:ACME_KEY".to_owned())).await;
        assert!(secret.contains("refuses the client's secret"), "{secret}");
        for text in [&unknown, &client, &secret] {
            assert!(!text.contains("sandbox-key") && !text.contains("other-key"), "{text}");
        }
        put_account(&story, |_| {}).await;
        let elsewhere = BillingSettings { organization_id: "999".to_owned(), ..billing() };
        put_tenant(&story, "acme", elsewhere).await;
        let told = run_sync(&story, &[]).exits(6).to_string();
        assert!(told.contains("6041") && told.contains("billing.organization_id"), "{told}");
    }
}
