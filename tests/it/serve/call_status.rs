//! What an agent's report does to its call.

use callops::domain::call::{AttemptState, CallStatus};
use callops::domain::outcome::Outcome;
use callops::domain::secret::Secret;
use callops::domain::signature::callops::sign;
use chrono::TimeDelta;
use serde_json::{Value, json};

use super::{ADA, BOB, OTHER_SECRET, Serving, TENANT_SECRET, WEBHOOK_SECRET, attempt_to, begin, events, shown};
use crate::common::on_both_databases;

fn conversation(response: &str) -> Value {
    json!({"connected": response != "no_answer", "duration": 31, "customer_response": response, "notes": "n"})
}

fn answered(id: &str) -> Value {
    json!({"reminder_id": id, "event_type": "call_answered"})
}

fn completed(id: &str, response: &str) -> Value {
    json!({"reminder_id": id, "event_type": "call_completed", "outcome": conversation(response)})
}

fn failed(id: &str, reason: &str) -> Value {
    json!({"reminder_id": id, "event_type": "call_failed", "reason": reason})
}

on_both_databases! {
    async fn each_kind_of_report_does_what_the_table_says(db) {
        let story = begin(db, &[ADA]).await;
        story.process(&[]).await;
        let attempt = attempt_to(&story, ADA).await;
        let serving = Serving::start(&story);

        let (status, answer) = serving.report(WEBHOOK_SECRET, &answered(&attempt.id)).await;
        assert_eq!((status, &answer["applied"], &answer["reason"]), (200, &json!(true), &Value::Null), "{answer}");
        let call = shown(&story, "call", &attempt.call_id);
        assert_eq!((&call["status"], &call["call_outcome"]), (&json!("in_progress"), &Value::Null));
        let before = call["last_attempt_at"].as_str().expect("a time").to_owned();

        // The tenant's own secret counts as well.
        let (status, answer) = serving.report(TENANT_SECRET, &completed(&attempt.id, "will_pay_today")).await;
        assert_eq!((status, &answer["applied"]), (200, &json!(true)), "{answer}");
        let call = shown(&story, "call", &attempt.call_id);
        assert_eq!((&call["status"], &call["outcome"], &call["skip_reason"]), (&json!("completed"), &json!("answered"), &Value::Null));
        let outcome = &call["call_outcome"];
        assert_eq!((&outcome["connected"], &outcome["duration"]), (&json!(true), &json!(31.0)), "{outcome}");
        assert_eq!((&outcome["customer_response"], &outcome["notes"]), (&json!("will_pay_today"), &json!("n")));
        assert!(outcome["reported_at"].as_str().is_some_and(|at| at.starts_with("2026-11-16T15:0")), "{outcome}");
        assert!(call["last_attempt_at"].as_str().expect("a time") >= before.as_str(), "{call}");

        let (status, again) = serving.report(WEBHOOK_SECRET, &completed(&attempt.id, "dispute")).await;
        assert_eq!((status, &again["applied"], &again["reason"]), (200, &json!(false), &json!("duplicate")));
        assert_eq!(again["event_id"], answer["event_id"], "the first is kept");
        assert_eq!(shown(&story, "call", &attempt.call_id)["call_outcome"]["customer_response"], "will_pay_today");
        let event = shown(&story, "event", answer["event_id"].as_str().expect("an id"));
        assert_eq!((&event["deliveries"], &event["status"]), (&json!(2), &json!("applied")));
        let output = serving.end();
        assert!(output.stderr.contains("outcome.customer_response") && !output.stderr.contains("will_pay_today"), "{output}");
        assert!(output.stderr.contains(&attempt.call_id) && output.stderr.contains("acme-vapi"), "{output}");
    }

    async fn completed_needs_no_answered_before_it_and_no_answer_is_tried_again(db) {
        let story = begin(db, &[ADA, BOB]).await;
        story.process(&[]).await;
        let (ada, bob) = (attempt_to(&story, ADA).await, attempt_to(&story, BOB).await);
        let serving = Serving::start(&story);
        assert_eq!(serving.report(WEBHOOK_SECRET, &json!({"reminder_id": ada.id, "event_type": "call_completed"})).await.0, 200);
        assert_eq!(serving.report(WEBHOOK_SECRET, &completed(&bob.id, "no_answer")).await.0, 200);
        let (ada, bob) = (attempt_to(&story, ADA).await, attempt_to(&story, BOB).await);
        assert_eq!((ada.state, ada.outcome), (AttemptState::Ended, Some(Outcome::Answered)));
        assert_eq!((bob.state, bob.outcome), (AttemptState::Ended, Some(Outcome::NoAnswer)));
        let waits = shown(&story, "call", &bob.call_id);
        assert_eq!((&waits["status"], &waits["call_outcome"]["connected"]), (&json!("scheduled"), &json!(false)));
        assert!(waits["next_attempt_at"].as_str().is_some_and(|at| at.starts_with("2026-11-16T17:0")), "{waits}");
    }

    async fn failed_is_failed_with_the_reason_and_late_reports_of_the_first_attempt_leave_the_second_alone(db) {
        let story = begin(db, &[ADA, BOB]).await;
        story.process(&[]).await;
        let (ada, bob) = (attempt_to(&story, ADA).await, attempt_to(&story, BOB).await);
        let serving = Serving::start(&story);
        assert_eq!(serving.report(WEBHOOK_SECRET, &failed(&ada.id, "busy")).await.0, 200);
        let call = shown(&story, "call", &ada.call_id);
        assert_eq!((&call["status"], &call["reason"], &call["next_attempt_at"]), (&json!("failed"), &json!("busy"), &Value::Null));

        assert_eq!(serving.report(WEBHOOK_SECRET, &completed(&bob.id, "no_answer")).await.0, 200);
        let by_call = failed(&bob.call_id, "gone");
        let (status, answer) = serving.report(WEBHOOK_SECRET, &by_call).await;
        assert_eq!((status, &answer["reason"]), (200, &json!("no attempt of this call is open")), "{answer}");
        // The server's clock runs.
        story.wait(TimeDelta::minutes(121));
        story.process(&[]).await;
        let second = attempt_to(&story, BOB).await;
        assert_eq!((second.number, second.state), (2, AttemptState::Placed));

        let (status, answer) = serving.report(WEBHOOK_SECRET, &failed(&bob.id, "late")).await;
        assert_eq!((status, &answer["applied"]), (200, &json!(true)), "it is known of the first attempt now");
        // By the call's id, in the same words as before the second attempt.
        let (status, answer) = serving.report(WEBHOOK_SECRET, &by_call).await;
        assert_eq!((status, &answer["reason"]), (200, &json!("duplicate")));
        assert_eq!(attempt_to(&story, BOB).await.state, AttemptState::Placed, "the second attempt goes on");
        assert_eq!(serving.report(WEBHOOK_SECRET, &completed(&bob.call_id, "dispute")).await.1["applied"], true);
        let second = attempt_to(&story, BOB).await;
        assert_eq!((second.number, second.outcome), (2, Some(Outcome::Answered)), "the only open attempt is meant");
    }

    async fn every_order_of_three_reports_twice_each_comes_to_the_same(db) {
        let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
        let phones: Vec<String> = (0..12).map(|n| format!("+120255502{n:02}")).collect();
        let story = begin(db, &phones.iter().map(String::as_str).collect::<Vec<_>>()).await;
        story.process(&[]).await;
        let serving = Serving::start(&story);
        for (response, phones) in ["will_pay_today", "no_answer"].into_iter().zip(phones.chunks(6)) {
            let mut ends = Vec::new();
            for (order, phone) in orders.iter().zip(phones) {
                let id = attempt_to(&story, phone).await.id;
                let reports = [answered(&id), completed(&id, response), failed(&id, "the line broke")];
                for which in order {
                    for turn in 0..2 {
                        let (status, answer) = serving.report(WEBHOOK_SECRET, &reports[*which]).await;
                        assert_eq!(status, 200, "{answer}");
                        assert!(turn == 0 || answer["reason"] == "duplicate", "{answer}");
                    }
                }
                let attempt = attempt_to(&story, phone).await;
                let call = shown(&story, "call", &attempt.call_id);
                ends.push(json!([attempt.state.as_str(), attempt.outcome, attempt.reason, call["status"], call["outcome"],
                    call["reason"], call["call_outcome"]["customer_response"], call["next_attempt_at"].is_null()]));
            }
            ends.dedup();
            assert_eq!(ends.len(), 1, "{ends:#?}");
            // An agent that failed is not to call again, whatever else it says.
            let status = if response == "no_answer" { CallStatus::Failed } else { CallStatus::Completed };
            assert_eq!(ends[0][3], status.as_str(), "{ends:?}");
        }
    }

    async fn an_agent_that_failed_does_not_call_again_whatever_the_provider_says_of_the_call(db) {
        let story = begin(db, &[ADA, BOB]).await;
        story.script(ADA, json!(["customer-busy"])).await;
        story.script(BOB, json!(["customer-busy"])).await;
        story.process(&[]).await;
        let serving = Serving::start(&story);
        let (ada, bob) = (attempt_to(&story, ADA).await, attempt_to(&story, BOB).await);
        serving.report(WEBHOOK_SECRET, &failed(&ada.id, "asked never to be called again")).await;
        story.wait(TimeDelta::minutes(5));
        // Of Bob the provider speaks first, and a retry waits when the agent speaks.
        story.collect().await;
        assert_eq!(shown(&story, "call", &bob.call_id)["status"], "scheduled");
        serving.report(WEBHOOK_SECRET, &failed(&bob.id, "asked never to be called again")).await;
        story.wait(TimeDelta::minutes(5));
        story.collect().await;
        for attempt in [ada, bob] {
            let call = shown(&story, "call", &attempt.call_id);
            assert_eq!(
                (&call["status"], &call["outcome"], &call["reason"], &call["next_attempt_at"]),
                (&json!("failed"), &json!("agent_failed"), &json!("asked never to be called again"), &Value::Null)
            );
            assert_eq!(call["conversations"][0]["status"], "completed", "its record is collected all the same");
        }
    }

    async fn the_truth_of_a_report_replaces_a_timers_verdict(db) {
        let story = begin(db, &[ADA]).await;
        story.fault(json!({"kind": "list_lag", "seconds": 100_000}));
        story.process(&[]).await;
        let first = attempt_to(&story, ADA).await;
        story.write(async |tx| {
            use callops::domain::call::Evidence;
            use callops::domain::evidence::{Ending, Observation, Seen};
            let at = first.placing_at.expect("dialled");
            let timeout = Observation { attempt_id: first.id.clone(), by: Evidence::Timer, at, seen: Seen::Ended(Ending::timeout(at)) };
            callops::store::evidence::apply(tx, &[timeout], at).await
        }).await;
        assert_eq!(story.only_call().await.status, CallStatus::Failed);
        let serving = Serving::start(&story);
        assert_eq!(serving.report(WEBHOOK_SECRET, &completed(&first.id, "already_paid")).await.1["applied"], true);
        assert_eq!(story.only_call().await.status, CallStatus::Completed);
    }

    async fn wrong_shapes_are_told_field_by_field_and_not_stored(db) {
        let story = begin(db, &[]).await;
        let serving = Serving::start(&story);
        let fields = |answer: &Value| -> Vec<String> {
            let problems = answer["fields"].as_array().unwrap_or_else(|| panic!("{answer}"));
            problems.iter().map(|problem| problem["field"].as_str().expect("a name").to_owned()).collect()
        };
        let (status, answer) = serving.report(WEBHOOK_SECRET, &json!({"outcome": {"connected": "hunter2"}})).await;
        assert_eq!(status, 400);
        assert_eq!(fields(&answer), ["reminder_id", "event_type", "outcome.connected", "outcome.duration", "outcome.customer_response"]);
        assert!(!answer.to_string().contains("hunter2"), "{answer}");
        let raw = "{\"reminder_id\": ";
        for body in [raw.to_owned(), "[".repeat(10_000), "\u{feff}{}".to_owned(), String::new(), "7".to_owned()] {
            let signature = sign(&Secret::new(WEBHOOK_SECRET), None, body.as_bytes());
            let (status, answer) = serving.post("/api/webhooks/call-status", &[("X-Webhook-Signature", &signature)], body).await;
            assert_eq!((status, fields(&answer)), (400, vec![String::new()]), "{answer}");
        }
        let signature = sign(&Secret::new(WEBHOOK_SECRET), None, b"\"\xff\"");
        assert_eq!(serving.post("/api/webhooks/call-status", &[("X-Webhook-Signature", &signature)], b"\"\xff\"".to_vec()).await.0, 400);
        assert_eq!(events(&story).len(), 0);
        let (_, metrics) = serving.admin("/metrics").await;
        assert!(metrics.contains("callops_requests_total{route=\"/api/webhooks/call-status\",status=\"400\"} 7"), "{metrics}");
    }

    async fn unknown_ids_are_404_and_kept_and_nobody_reports_for_another_tenant(db) {
        let story = begin(db, &[ADA]).await;
        story.process(&[]).await;
        let attempt = attempt_to(&story, ADA).await;
        let serving = Serving::start(&story);
        let (status, answer) = serving.report(WEBHOOK_SECRET, &answered("b0c3f2de-0000-4000-8000-000000000000")).await;
        assert_eq!((status, &answer["applied"]), (404, &json!(false)), "{answer}");
        for id in [&attempt.id, &attempt.call_id] {
            let (status, answer) = serving.report(OTHER_SECRET, &failed(id, "no")).await;
            assert_eq!((status, &answer["applied"]), (404, &json!(false)), "{answer}");
        }
        assert_eq!(attempt_to(&story, ADA).await.state, AttemptState::Placed);
        // It does not stand in the way of what the tenant's own sender says in the same words.
        assert_eq!(serving.report(TENANT_SECRET, &failed(&attempt.id, "no")).await.1["applied"], true);
        assert_eq!(events(&story).iter().filter(|event| event["status"] == "unmatched").count(), 3);
        // Nor does a sweep match it later.
        for _ in 0..4 {
            story.sweep().await;
        }
        assert_eq!(events(&story).iter().filter(|event| event["status"] == "unmatched").count(), 3);
    }

    async fn a_signed_time_limits_replays(db) {
        let story = begin(db, &[ADA]).await;
        story.process(&[]).await;
        let serving = Serving::start(&story);
        let body = answered(&attempt_to(&story, ADA).await.id).to_string();
        let now = story.now().timestamp();
        for (at, signed, expected) in [(now - 400, now - 400, 401), (now + 400, now + 400, 401), (now, now - 1, 401), (now, now, 200)] {
            let signature = sign(&Secret::new(WEBHOOK_SECRET), Some(&signed.to_string()), body.as_bytes());
            let headers = [("X-Webhook-Signature", signature.as_str()), ("X-Webhook-Timestamp", &at.to_string())];
            let (status, answer) = serving.post("/api/webhooks/call-status", &headers, body.clone()).await;
            assert_eq!(status, expected, "{at} {signed} {answer}");
        }
    }

    async fn send_event_is_understood(db) {
        let story = begin(db, &[ADA]).await;
        story.process(&[]).await;
        let attempt = attempt_to(&story, ADA).await;
        let serving = Serving::start_today(&story);
        let url = format!("{}/api/webhooks/call-status", serving.url);
        let variables = [("WEBHOOK_URL", url.as_str()), ("WEBHOOK_SECRET", WEBHOOK_SECRET)];
        for args in [
            vec!["send-event", "answered", "--reminder-id", &attempt.id],
            vec!["send-event", "completed", "--reminder-id", &attempt.id, "--duration", "42", "--response", "dispute"],
        ] {
            story.spawn_today(&variables, &args).wait().success();
        }
        let call = shown(&story, "call", &attempt.call_id);
        assert_eq!((&call["status"], &call["call_outcome"]["customer_response"]), (&json!("completed"), &json!("dispute")));
    }
}
