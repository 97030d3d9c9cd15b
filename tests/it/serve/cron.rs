//! Runs that a hosted cron service starts.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use callops::domain::call::AttemptState;
use serde_json::{Value, json};

use super::{ADA, CRON_SECRET, Serving, attempt_to, begin, until};
use crate::common::on_both_databases;
use crate::common::story::Story;

async fn ask(serving: &Serving, method: &str, job: &str, token: Option<&str>) -> (u16, Value) {
    let mut request =
        serving.client.request(method.parse().expect("a method"), format!("{}/api/cron/{job}", serving.url));
    if let Some(token) = token {
        request = request.header("Authorization", format!("Bearer {token}"));
    }
    let answer = request.send().await.expect("an answer");
    let status = answer.status().as_u16();
    (status, answer.json().await.expect("JSON"))
}

/// How many attempts there are in no state that a run leaves behind.
async fn unsettled(story: &Story) -> usize {
    let mut unsettled = 0;
    for call in story.calls().await {
        let attempts = story.attempts(&call).await;
        unsettled += attempts.iter().filter(|attempt| !matches!(attempt.state, AttemptState::Placed)).count();
    }
    unsettled
}

on_both_databases! {
    async fn whoever_shows_the_secret_gets_a_run_and_its_counts(db) {
        let story = begin(db, &[ADA]).await;
        let serving = Serving::start(&story);
        for token in [None, Some("wrong"), Some("")] {
            for method in ["GET", "POST"] {
                assert_eq!(ask(&serving, method, "process-calls", token).await, (401, json!({"error": "unauthorized"})));
            }
        }
        assert_eq!(story.rings(), 0);
        let (status, answer) = ask(&serving, "GET", "process-calls", Some(CRON_SECRET)).await;
        assert_eq!((status, &answer["exit_code"]), (200, &json!(0)), "{answer}");
        assert_eq!((story.rings_of(ADA), &answer["counts"]["placed"]), (1, &json!(1)), "{answer}");
        let run = story.run(&["show", "run", answer["run_id"].as_str().expect("an id"), "--format", "json"]).success().json();
        assert_eq!((&run["command"], &run["counts"]), (&json!("process-calls"), &answer["counts"]));
        for job in ["sweep-timeouts", "collect-outcomes", "process-calls"] {
            let (status, answer) = ask(&serving, "POST", job, Some(CRON_SECRET)).await;
            assert_eq!((status, &answer["exit_code"]), (200, &json!(0)), "{job} {answer}");
        }
        assert_eq!(story.rings_of(ADA), 1);
    }

    async fn overlapping_requests_ring_nobody_twice(db) {
        let phones: Vec<String> = (0..30).map(|n| format!("+120255502{n:02}")).collect();
        let story = begin(db, &phones.iter().map(String::as_str).collect::<Vec<_>>()).await;
        let serving = Serving::start(&story);
        let jobs = ["process-calls", "process-calls", "sweep-timeouts", "process-calls", "collect-outcomes"];
        let answers = futures_util::future::join_all(jobs.map(|job| ask(&serving, "GET", job, Some(CRON_SECRET)))).await;
        for (status, answer) in answers {
            assert!(matches!(status, 200 | 202), "{answer}");
        }
        until("all placed", async || story.rings() == 30 && unsettled(&story).await == 0).await;
        assert!(phones.iter().all(|phone| story.rings_of(phone) == 1));
    }

    async fn a_client_that_goes_away_after_a_second_cancels_no_dial(db) {
        let phones: Vec<String> = (0..300).map(|n| format!("+1202555{:04}", 1000 + n)).collect();
        let story = begin(db, &[]).await;
        story.people(&phones, "checkup").await;
        // The answers take long enough that the run is in the middle of them when the client goes.
        story.control("settings", json!({"latency_ms": 700})).await;
        let serving = Serving::start(&story);
        let address = serving.url.strip_prefix("http://").expect("an address");
        let mut client = TcpStream::connect(address).expect("a connection");
        write!(client, "GET /api/cron/process-calls HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {CRON_SECRET}\r\n\r\n").expect("written");
        client.set_read_timeout(Some(Duration::from_secs(1))).expect("a limit");
        assert!(client.read(&mut [0; 1]).is_err(), "the run is not over");
        let rung = story.rings();
        drop(client);
        assert!(rung < 200, "{rung} had rung already");
        until("all placed", async || story.rings() == 300 && unsettled(&story).await == 0).await;
        for phone in &phones {
            assert_eq!((story.rings_of(phone), attempt_to(&story, phone).await.state), (1, AttemptState::Placed), "{phone}");
        }
        assert_eq!(story.run(&["list", "runs", "--format", "json"]).success().json().as_array().map(Vec::len), Some(1), "recorded");
    }

    async fn a_long_run_is_answered_with_its_id_and_ends_in_order_with_the_server(db) {
        let phones: Vec<String> = (0..99).map(|n| format!("+120255502{n:02}")).collect();
        let story = begin(db, &phones.iter().map(String::as_str).collect::<Vec<_>>()).await;
        story.control("settings", json!({"latency_ms": 1900})).await;
        let serving = Serving::start(&story);
        let mut started = Vec::new();
        // One is asked for after the other while the first goes on: its probe and 99 dials take over 5 seconds.
        let (status, answer) = ask(&serving, "GET", "process-calls", Some(CRON_SECRET)).await;
        started.push(answer.clone());
        assert_eq!((status, answer.as_object().map(serde_json::Map::len)), (202, Some(1)), "{answer}");
        serving.end();
        let id = answer["run_id"].as_str().expect("an id");
        let run = story.run(&["show", "run", id, "--format", "json"]).success().json();
        assert!(run["ended_at"].is_string(), "{run}");
        for call in story.calls().await {
            for attempt in story.attempts(&call).await {
                assert!(!matches!(attempt.state, AttemptState::Placing | AttemptState::Claimed), "{attempt:?}");
            }
        }
    }
}
