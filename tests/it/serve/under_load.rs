//! Many webhooks at once, while other things go on, and when the server dies.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use callops::domain::call::AttemptState;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::{Serving, WEBHOOK_SECRET, begin, events};
use crate::common::on_both_databases;
use crate::common::story::Story;

/// Sends all of it from so many senders; yields the statuses and answers of those that were answered.
async fn send(serving: &Serving, work: Vec<Value>, senders: usize) -> Vec<(u16, Value)> {
    let work = Arc::new(Mutex::new(work));
    let senders = (0..senders).map(async |_| {
        let mut answers = Vec::new();
        loop {
            let Some(body) = work.lock().await.pop() else { break answers };
            answers.push(serving.report(WEBHOOK_SECRET, &body).await);
        }
    });
    futures_util::future::join_all(senders).await.into_iter().flatten().collect()
}

/// Calls to so many people, placed.
pub(crate) async fn placed(story: &Story, people: usize) -> Vec<String> {
    let phones: Vec<String> = (0..people).map(|n| format!("+1202555{:04}", n + 1000)).collect();
    story.people(&phones, "checkup").await;
    let mut ids = Vec::new();
    for _ in 0..20 {
        story.process(&["--concurrency", "200"]).await;
        ids.clear();
        for call in story.calls().await {
            ids.extend(
                story.attempts(&call).await.into_iter().filter(|a| a.state == AttemptState::Placed).map(|a| a.id),
            );
        }
        if ids.len() == people {
            return ids;
        }
    }
    panic!("{} of {people} placed", ids.len());
}

on_both_databases! {
    async fn each_of_two_thousand_events_that_come_five_times_is_applied_once(db) {
        let story = begin(db, &[]).await;
        let ids = placed(&story, 1000).await;
        let serving = Serving::start(&story);
        let kinds = ["call_answered", "call_completed"];
        let events: Vec<Value> = ids.iter()
            .flat_map(|id| kinds.map(|kind| json!({"reminder_id": id, "event_type": kind})))
            .collect();
        let mut work: Vec<Value> = events.iter().flat_map(|event| vec![event.clone(); 5]).collect();
        fastrand::Rng::with_seed(5).shuffle(&mut work);
        let answers = send(&serving, work, 8).await;
        assert_eq!(answers.len(), 10_000);
        assert!(answers.iter().all(|(status, _)| *status == 200));
        let applied: Vec<&str> = answers.iter().filter(|(_, answer)| answer["applied"] == true)
            .map(|(_, answer)| answer["event_id"].as_str().expect("an id")).collect();
        let once: BTreeSet<&&str> = applied.iter().collect();
        assert_eq!(once.len(), applied.len(), "none is applied twice");
        let stored = super::events(&story);
        assert_eq!(stored.len(), 2000);
        assert!(stored.iter().all(|event| event["deliveries"] == 5));
        let settled = |word: &str| stored.iter().filter(|event| event["status"] == word).count();
        // Who hears of the end first has no use for the beginning.
        assert_eq!((settled("applied") + settled("ignored"), settled("applied")), (2000, applied.len()));
        for call in story.calls().await {
            assert_eq!(call.status.as_str(), "completed");
        }
    }

    async fn what_was_answered_is_in_the_inbox_after_a_kill(db) {
        let story = begin(db, &[]).await;
        let ids = placed(&story, 60).await;
        let serving = Serving::start(&story);
        let answered = AtomicUsize::new(0);
        let acknowledged = Mutex::new(BTreeSet::new());
        let work = Mutex::new(
            (0..2000).map(|n| json!({"reminder_id": if n % 2 == 0 { ids[n % 60].clone() } else { format!("unknown-{n}") },
                "event_type": "call_answered", "reason": n.to_string()})).collect::<Vec<_>>(),
        );
        let pid = serving.running.id();
        let senders = (0..8).map(async |_| {
            loop {
                let Some(body) = work.lock().await.pop() else { break };
                let body = body.to_string();
                let signature = callops::domain::signature::callops::sign(
                    &callops::domain::secret::Secret::new(WEBHOOK_SECRET), None, body.as_bytes());
                let request = serving.client.post(format!("{}/api/webhooks/call-status", serving.url));
                let sent = request.header("X-Webhook-Signature", signature).body(body).send().await;
                // The answer was on its way when the server died.
                let Ok(answer) = sent else { break };
                let Ok(answer) = answer.json::<Value>().await else { break };
                acknowledged.lock().await.insert(answer["event_id"].as_str().expect("an id").to_owned());
                if answered.fetch_add(1, Ordering::SeqCst) == 300 {
                    assert!(std::process::Command::new("kill").args(["-KILL", &pid.to_string()]).status().expect("kill").success());
                }
            }
        });
        futures_util::future::join_all(senders).await;
        let acknowledged = acknowledged.into_inner();
        assert!(answered.load(Ordering::SeqCst) < 2000 && acknowledged.len() > 150, "killed in the middle of it");
        let stored: BTreeSet<String> = events(&story).iter().map(|event| event["id"].as_str().expect("an id").to_owned()).collect();
        assert!(acknowledged.is_subset(&stored), "{:?}", acknowledged.difference(&stored).collect::<Vec<_>>());
        // What was stored and not applied when it died is applied by the next sweep.
        story.sweep().await;
        assert!(events(&story).iter().all(|event| event["status"] != "pending"));
    }

    async fn webhooks_wait_for_whoever_holds_the_database(db) {
        let story = begin(db, &[]).await;
        let ids = placed(&story, 20).await;
        let serving = Serving::start(&story);
        let work: Vec<Value> = (0..100)
            .map(|n| json!({"reminder_id": ids[n % 20], "event_type": "call_answered", "reason": n.to_string()}))
            .collect();
        // What an import does, held for as long as the test wants.
        let mut held = story.db().await.begin().await.expect("a transaction");
        callops::store::control::lock_dialling(&mut held).await.expect("a lock");
        let mut answers = Box::pin(send(&serving, work, 20));
        let early = tokio::time::timeout(std::time::Duration::from_secs(3), &mut answers).await;
        assert_eq!(early.is_err(), matches!(held, callops::store::Tx::Sqlite(_)), "SQLite has one writer");
        held.commit().await.expect("a commit");
        let answers = match early {
            Ok(answers) => answers,
            Err(_) => answers.await,
        };
        assert_eq!((answers.len(), answers.iter().filter(|(status, _)| *status == 200).count()), (100, 100));
        assert_eq!(events(&story).len(), 20);
    }
}
