//! What the server says about itself, and how it begins and ends.

use std::collections::BTreeSet;

use callops::server::{Audience, ROUTES};
use serde_json::{Value, json};

use super::{ACCOUNT_SECRET, ADA, CRON_SECRET, Serving, TENANT_SECRET, WEBHOOK_SECRET, attempt_to, begin};
use crate::common::{Callops, Scratch, on_both_databases};

fn description() -> Value {
    serde_json::from_str(include_str!("../../../src/server/openapi.json")).expect("JSON")
}

#[test]
fn the_description_names_every_route_and_no_other() {
    let described = description();
    let methods = |path: &Value| -> BTreeSet<String> {
        path.as_object().expect("a path").keys().filter(|key| *key != "parameters").cloned().collect()
    };
    let described: BTreeSet<(String, BTreeSet<String>)> = described["paths"]
        .as_object()
        .expect("paths")
        .iter()
        .map(|(path, operations)| (path.clone(), methods(operations)))
        .collect();
    let routes: BTreeSet<(String, BTreeSet<String>)> = ROUTES
        .iter()
        .map(|route| (route.path.to_owned(), route.methods.iter().map(|method| (*method).to_owned()).collect()))
        .collect();
    assert_eq!(described, routes);
}

/// References of the description lead somewhere.
#[test]
fn the_description_refers_to_what_it_holds() {
    fn references<'v>(value: &'v Value, found: &mut BTreeSet<&'v str>) {
        match value {
            Value::Object(object) => object.iter().for_each(|(key, value)| match value.as_str() {
                Some(text) if key == "$ref" => drop(found.insert(text)),
                _ => references(value, found),
            }),
            Value::Array(list) => list.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    let description = description();
    let mut found = BTreeSet::new();
    references(&description, &mut found);
    assert!(found.len() > 4, "{found:?}");
    for reference in found {
        let pointer = reference.strip_prefix('#').expect("within the description");
        assert!(description.pointer(pointer).is_some(), "{reference}");
    }
}

#[test]
fn a_server_without_a_database_or_an_address_does_not_begin() {
    let scratch = Scratch::new();
    let callops = Callops::new(&scratch).env("CALLOPS_DATABASE_URL", "callops.db");
    let output = callops.run(["serve", "--listen", "127.0.0.1:0", "--admin-bind", "127.0.0.1:0"]).exits(6);
    assert!(output.stderr.contains("there is no database"), "{output}");
    callops.run(["init"]).success();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let output = callops.run(["serve", "--listen", &address, "--admin-bind", "127.0.0.1:0"]).exits(6);
    assert!(output.stderr.contains(&address) && output.stderr.contains("--listen"), "{output}");
    callops.run(["serve", "--listen", "nowhere"]).exits(2);
}

on_both_databases! {
    async fn each_route_is_on_its_own_address_and_takes_its_own_methods(db) {
        let story = begin(db, &[]).await;
        let serving = Serving::start(&story);
        for route in ROUTES {
            let path = route.path.replace("{account}", "acme-vapi");
            for (base, audience) in [(&serving.url, Audience::Senders), (&serving.admin_url, Audience::Operators)] {
                for method in ["GET", "POST", "PUT", "DELETE", "PATCH"] {
                    let request = serving.client.request(method.parse().expect("a method"), format!("{base}{path}"));
                    let status = request.send().await.expect("an answer").status().as_u16();
                    let is_taken = route.methods.contains(&method.to_lowercase().as_str());
                    let expected = match (route.audience == audience, is_taken, audience) {
                        (false, ..) => 404,
                        (_, false, _) => 405,
                        (_, _, Audience::Operators) => 200,
                        // Nobody shows a secret here; a GET for Vapi's address needs none.
                        (..) if path.starts_with("/api/vapi") && method == "GET" => 200,
                        _ => 401,
                    };
                    assert_eq!(status, expected, "{method} {base}{path}");
                }
            }
        }
        assert_eq!(serving.client.get(format!("{}/.env", serving.url)).send().await.expect("an answer").status(), 404);
    }

    async fn health_and_metrics_show_what_is_there(db) {
        let story = begin(db, &[ADA]).await;
        story.process(&[]).await;
        let attempt = attempt_to(&story, ADA).await;
        let serving = Serving::start(&story);
        assert_eq!(serving.admin("/healthz").await, (200, json!({"status": "ok"}).to_string()));
        serving.report(WEBHOOK_SECRET, &json!({"reminder_id": attempt.id, "event_type": "call_answered"})).await;
        serving.report("wrong", &json!({"reminder_id": attempt.id, "event_type": "call_answered"})).await;
        serving.report(WEBHOOK_SECRET, &json!({"reminder_id": "x", "event_type": "call_answered"})).await;
        let (status, metrics) = serving.admin("/metrics").await;
        assert_eq!(status, 200);
        for line in [
            "callops_requests_total{route=\"/api/webhooks/call-status\",status=\"200\"} 1",
            "callops_requests_total{route=\"/api/webhooks/call-status\",status=\"401\"} 1",
            "callops_requests_total{route=\"/api/webhooks/call-status\",status=\"404\"} 1",
            "callops_events_waiting{state=\"pending\"} 0",
            "callops_events_waiting{state=\"unmatched\"} 1",
            "callops_runs_under_way 0",
        ] {
            assert!(metrics.lines().any(|found| found == line), "{line}\n{metrics}");
        }
        assert!(metrics.ends_with("# EOF\n"), "{metrics}");
        let (_, text) = serving.admin("/openapi.json").await;
        assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON"), description());
        let output = serving.end();
        for secret in [WEBHOOK_SECRET, CRON_SECRET, ACCOUNT_SECRET, TENANT_SECRET, "call_answered\":"] {
            assert!(!output.stderr.contains(secret), "{output}");
        }
    }
}
