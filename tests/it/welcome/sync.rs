//! `sync-stripe`: what webhooks missed.

use std::collections::BTreeSet;

use callops::store::welcomes::syncs;
use chrono::TimeDelta;
use serde_json::{Value, json};

use super::{ADA, SECRET, at, begin, check_asked, customer, deliver, happen, state_of, welcomes};
use crate::common::on_both_databases;
use crate::common::story::Story;
use crate::serve::{Serving, events, until};

async fn synced_until(story: &Story) -> Option<chrono::DateTime<chrono::Utc>> {
    story.write(async |tx| syncs::sync(tx, "acme-stripe").await).await.synced_until
}

/// So many customers who paid, each a second after the other.
fn many(story: &Story, count: i64) {
    let created = |n: i64| story.now().timestamp() - count + n;
    let phone = |n: i64| format!("+1202555{:04}", 100 + n);
    let customers: Vec<Value> =
        (0..count).map(|n| json!({"id": format!("cus_{n}"), "phone": phone(n), "created": created(n)})).collect();
    let usual: Vec<Value> = (0..count)
        .map(|n| json!({"kind": "checkout_paid", "customer": format!("cus_{n}"), "created": created(n)}))
        .collect();
    story.sandbox.stripe(json!({"customers": customers, "usual": usual})).unwrap();
}

fn sync(story: &Story, args: &[&str]) -> Value {
    story.run(&[&["sync-stripe", "--format", "json"], args].concat()).success().json()[0].clone()
}

on_both_databases! {
    async fn webhooks_that_were_lost_are_made_up_for_and_those_that_came_change_nothing(db) {
        let story = begin(db).await;
        let serving = Serving::with(&story, &[("ACME_STRIPE_WEBHOOK", SECRET)]);
        let url = format!("{}/api/webhooks/stripe/acme-stripe", serving.url);
        story.sandbox.stripe(json!({"webhook": {"url": url, "lose_percent": 40, "double_percent": 30, "reorder": true}})).unwrap();
        many(&story, 60);
        let kinds = ["invoice_paid", "subscription_active"];
        let usual: Vec<Value> = (0..60).flat_map(|n| kinds.map(|kind| json!({"kind": kind, "customer": format!("cus_{n}")}))).collect();
        story.sandbox.stripe(json!({"usual": usual})).unwrap();
        until("told", async || {
            let ledger = story.sandbox.stripe_ledger();
            ledger["due"] == 0 && ledger["accepted"] == ledger["sent"]
        }).await;
        let ledger = story.sandbox.stripe_ledger();
        assert!(ledger["lost"].as_u64() > Some(30), "{ledger}");
        let came = events(&story).len();
        assert!(came < 180, "{came}");
        let done = sync(&story, &[]);
        assert_eq!((&done["read"], &done["new"]), (&json!(180), &json!(180 - came)), "{done}");
        assert_eq!(events(&story).len(), 180);
        let states: Vec<Value> = welcomes(&story).iter().map(|one| one["status"].clone()).collect();
        assert_eq!(states, vec![json!("enrolled"); 60]);
        let done = sync(&story, &["--since", "7d"]);
        assert_eq!((&done["read"], &done["new"]), (&json!(180), &json!(0)), "{done}");
        assert!(events(&story).iter().all(|event| event["status"] != "pending"));
        // What is sent again after it was read is known.
        let last = crate::welcome::events_there(&story).await.remove(0);
        assert_eq!(deliver(&story, &last).await.reason.as_deref(), Some("duplicate"));
        story.wait(TimeDelta::hours(2));
        story.process(&["--concurrency", "100"]).await;
        assert_eq!(story.rings(), 60);
        check_asked(&story).await;
        serving.end();
    }

    async fn pages_that_fail_midway_lose_nothing_and_the_mark_does_not_move(db) {
        let story = begin(db).await;
        many(&story, 250);
        // The third page, which is tried three times.
        story.fault(json!({"kind": "server_error", "status": 500, "match": {"method": "GET", "path": "/v1/events", "nth": 3}}));
        for nth in [4, 5] {
            story.fault(json!({"kind": "server_error", "status": 500, "match": {"method": "GET", "path": "/v1/events", "nth": nth}}));
        }
        story.run(&["sync-stripe"]).exits(7);
        assert_eq!(synced_until(&story).await, None);
        let stored = events(&story).len();
        assert_eq!(stored, 200, "what was read stays");
        // Somebody comes and is cut off for good.
        story.sandbox.clear_faults();
        let done = sync(&story, &[]);
        assert_eq!((&done["read"], &done["new"]), (&json!(250), &json!(50)), "{done}");
        assert_eq!(synced_until(&story).await, Some(story.now()));
        assert_eq!(welcomes(&story).iter().filter(|one| one["status"] == "enrolled").count(), 250);
        // From now on an hour of overlap.
        story.wait(TimeDelta::hours(3));
        let done = sync(&story, &[]);
        assert_eq!((&done["new"], &done["since"]), (&json!(0), &json!("2026-11-16T12:00:00Z")), "{done}");
        // A span that leaves something out moves nothing.
        story.wait(TimeDelta::hours(5));
        sync(&story, &["--since", "1h"]);
        assert_eq!(synced_until(&story).await, Some(story.now() - TimeDelta::hours(5)));
        let old = story.run(&["sync-stripe", "--since", "60d"]).success();
        assert!(old.stderr.contains("30 days"), "{old}");
        check_asked(&story).await;
    }

    async fn a_sync_that_is_killed_anywhere_is_gone_on_with(db) {
        let story = begin(db).await;
        many(&story, 120);
        let log = story.scratch().path().join("points").display().to_string();
        let mut died = 0;
        for n in [1, 3, 5, 8, 12, 20, 40] {
            let n = n.to_string();
            let output = story.spawn_with(&[("CALLOPS_FAIL_AT", n.as_str()), ("CALLOPS_FAIL_LOG", &log)], &["sync-stripe"]).wait();
            died += usize::from(output.code().is_none());
            // Whoever died holds the events until the lease is over.
            story.wait(TimeDelta::minutes(6));
        }
        assert!(died >= 5, "{died}");
        story.run(&["sync-stripe"]).success();
        story.run(&["sync-stripe"]).success();
        story.process(&["--limit", "0"]).await;
        assert_eq!(events(&story).len(), 120);
        assert_eq!(welcomes(&story).iter().filter(|one| one["status"] == "enrolled").count(), 120);
        assert_eq!(synced_until(&story).await, Some(story.now()));
        let args = ["list", "enrollments", "--campaign", "acme/welcome", "--limit", "1000", "--format", "json"];
        let enrolled = story.run(&args).success().json();
        let contacts: std::collections::HashSet<&str> =
            enrolled.as_array().unwrap().iter().map(|one| one["contact"].as_str().unwrap_or_else(|| panic!("{one}"))).collect();
        assert_eq!((enrolled.as_array().unwrap().len(), contacts.len()), (120, 120), "nobody is in it twice");
    }

    async fn two_at_once_read_nothing_twice_and_do_no_harm(db) {
        let story = begin(db).await;
        many(&story, 30);
        story.fault(json!({"kind": "delay_answer", "ms": 1500, "times": 1, "match": {"method": "GET", "path": "/v1/events"}}));
        let running: Vec<_> = (0..3).map(|_| story.spawn(&["sync-stripe", "--format", "json"])).collect();
        let outputs: Vec<_> = running.into_iter().map(|one| one.wait().success()).collect();
        let held = outputs.iter().filter(|output| output.stderr.contains("another run reads these events")).count();
        // Whoever was not held off began when the one before had ended.
        let listed = story.request_paths().await.iter().filter(|path| path.starts_with("/v1/events")).count();
        assert_eq!(listed, 3 - held, "a page for each run that read");
        let read: u64 = outputs.iter().filter_map(|output| output.json()[0]["new"].as_u64()).sum();
        assert_eq!(read, 30);
        assert_eq!(events(&story).len(), 30);
        assert!(events(&story).iter().all(|event| event["deliveries"] == 1));
        assert_eq!(welcomes(&story).len(), 30);
    }

    async fn after_a_pause_longer_than_stripe_remembers_the_loss_is_told_and_the_mark_moves_on(db) {
        let story = begin(db).await;
        sync(&story, &[]);
        story.wait(TimeDelta::days(31));
        let late = story.run(&["sync-stripe"]).success();
        assert!(late.stderr.contains("events were read until 2026-11-16 13:00:00 UTC before") && late.stderr.contains("are lost"), "{late}");
        assert_eq!(synced_until(&story).await, Some(story.now()));
        // A span within the hour that is read anew leaves out a part of it.
        let mark = story.now();
        story.wait(TimeDelta::minutes(10));
        sync(&story, &["--since", "30m"]);
        assert_eq!(synced_until(&story).await, Some(mark));
        let next = story.run(&["sync-stripe"]).success();
        assert!(!next.stderr.contains("lost"), "{next}");
        assert_eq!(synced_until(&story).await, Some(story.now()));
    }

    async fn of_many_who_cannot_be_called_all_are_looked_at_in_turn(db) {
        let story = begin(db).await;
        let customers: Vec<Value> = (0..110).map(|n| json!({"id": format!("cus_{n:03}")})).collect();
        let usual: Vec<Value> = (0..110).map(|n| json!({"kind": "checkout_paid", "customer": format!("cus_{n:03}")})).collect();
        story.sandbox.stripe(json!({"customers": customers, "usual": usual})).unwrap();
        story.wait(TimeDelta::minutes(1));
        sync(&story, &[]);
        assert_eq!(state_of(&story, "cus_109"), "no_phone");
        let asked = story.request_paths().await.len();
        for _ in 0..2 {
            story.wait(TimeDelta::minutes(15));
            sync(&story, &[]);
        }
        let asked = story.request_paths().await.split_off(asked);
        let looked_at: BTreeSet<&String> = asked.iter().filter(|path| path.starts_with("/v1/customers/")).collect();
        assert_eq!(looked_at.len(), 110, "a hundred in a run, and those first that were looked at longest ago");
        customer(&story, "cus_109", json!({"phone": ADA, "created": "2026-11-16T13:00:00Z"}));
        for _ in 0..2 {
            story.wait(TimeDelta::minutes(15));
            sync(&story, &[]);
        }
        assert_eq!((state_of(&story, "cus_109"), state_of(&story, "cus_000")), ("enrolled".to_owned(), "no_phone".to_owned()));
    }

    async fn a_payment_that_waited_for_days_is_applied_and_one_unknown_customer_holds_up_nobody(db) {
        let story = begin(db).await;
        customer(&story, "cus_1", json!({"phone": ADA}));
        let unknown = |n: i64| json!({
            "id": format!("evt_{n}"), "object": "event", "type": "checkout.session.completed", "created": story.now().timestamp(),
            "livemode": false,
            "data": {"object": {"object": "checkout.session", "id": format!("cs_{n}"), "customer": "cus_gone", "payment_status": "paid"}},
        });
        deliver(&story, &unknown(1)).await;
        story.fault(json!({"kind": "server_error", "status": 500, "match": {"method": "GET", "path": "/v1/customers"}}));
        let event = happen(&story, json!({"kind": "checkout_paid", "customer": "cus_1"})).await;
        deliver(&story, &event).await;
        story.sandbox.clear_faults();
        assert_eq!(welcomes(&story).len(), 0);
        story.wait(TimeDelta::days(5));
        story.run(&["sync-stripe"]).exits(4);
        assert_eq!(state_of(&story, "cus_1"), "enrolled");
        let pending = events(&story).into_iter().filter(|event| event["status"] == "pending").count();
        assert_eq!(pending, 1, "the one of the customer whom nobody knows");
    }

    async fn an_event_of_a_connected_account_is_ignored(db) {
        let story = begin(db).await;
        customer(&story, "cus_1", json!({"phone": ADA}));
        let mut event = happen(&story, json!({"kind": "checkout_paid", "customer": "cus_1"})).await;
        event["id"] = json!("evt_connected");
        event["account"] = json!("acct_other");
        let receipt = deliver(&story, &event).await;
        assert_eq!(receipt.reason.as_deref(), Some("it is of the connected account acct_other"));
        assert_eq!(welcomes(&story).len(), 0);
        assert_eq!(events(&story).into_iter().filter(|event| event["status"] == "pending").count(), 0);
    }

    async fn a_lease_holds_others_off_until_it_ends_or_is_given_back(db) {
        let story = begin(db).await;
        let now = story.now();
        let until = now + TimeDelta::minutes(5);
        let begun = |owner: &'static str, at, until| {
            let story = &story;
            async move { story.write(async |tx| syncs::begin(tx, "acme-stripe", owner, until, at).await).await }
        };
        assert!(matches!(begun("one", now, until).await, syncs::Begun::Mine(_)));
        assert_eq!(begun("two", now, until).await, syncs::Begun::Held(until));
        let later = until + TimeDelta::minutes(5);
        assert!(matches!(begun("two", until, later).await, syncs::Begun::Mine(_)));
        let db = story.db().await;
        let lost = db.write(async |tx| syncs::keep(tx, "acme-stripe", "one", later, until).await).await;
        assert!(lost.is_err(), "another has taken over");
        assert!(db.write(async |tx| syncs::end(tx, "acme-stripe", "one", now, until).await).await.is_err());
        story.write(async |tx| syncs::end(tx, "acme-stripe", "two", now, until).await).await;
        assert_eq!(synced_until(&story).await, Some(now));
        assert!(matches!(begun("three", until, later).await, syncs::Begun::Mine(_)));
        story.write(async |tx| syncs::leave(tx, "acme-stripe", "three", until).await).await;
        assert!(matches!(begun("four", until, later).await, syncs::Begun::Mine(_)));
    }

    async fn a_refused_key_and_nobody_to_welcome_are_told(db) {
        let story = begin(db).await;
        story.fault(json!({"kind": "unauthorized_all", "match": {"method": "GET", "path": "/v1/events"}}));
        let refused = story.run(&["sync-stripe"]).exits(6);
        assert!(refused.stderr.contains("restricted key"), "{refused}");
        story.sandbox.clear_faults();
        story.run(&["sync-stripe", "--tenant", "nobody"]).exits(2);
        story.write(async |tx| {
            let mut tenant = callops::store::setup::tenant(tx, "acme").await?.expect("acme");
            "{}".clone_into(&mut tenant.settings);
            callops::store::setup::put_tenant(tx, &tenant, at("2026-11-16T13:00:00Z")).await
        }).await;
        let nobody = story.run(&["sync-stripe"]).exits(6);
        assert!(nobody.stderr.contains("no tenant welcomes anybody"), "{nobody}");
        customer(&story, "cus_1", json!({"phone": ADA}));
        let event = happen(&story, json!({"kind": "checkout_paid", "customer": "cus_1"})).await;
        assert!(deliver(&story, &event).await.reason.unwrap().contains("no tenant welcomes"));
        assert_eq!(welcomes(&story).len(), 0);
    }
}
