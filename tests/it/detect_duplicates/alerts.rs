//! Who is told of findings: once, whatever happens to the telling.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use callops::domain::alert::AlertState;
use callops::store::alerts::{self, Alert};

use super::*;

/// What the service does with a request that it has read.
enum Does {
    Answers(u16),
    /// Says that it has it, and answers when it is told to.
    Holds(Sender<()>, Receiver<()>),
    Drops,
}

#[derive(Default)]
struct Seen {
    script: VecDeque<Does>,
    bodies: Vec<Value>,
}

/// A service that takes alerts, by its script first and with 200 after that.
#[derive(Clone)]
struct Service {
    port: u16,
    seen: Arc<Mutex<Seen>>,
}

impl Service {
    fn start(script: impl IntoIterator<Item = Does>) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").expect("a port"), script)
    }

    fn on(listener: TcpListener, script: impl IntoIterator<Item = Does>) -> Self {
        let port = listener.local_addr().expect("an address").port();
        let seen = Seen { script: script.into_iter().collect(), bodies: Vec::new() };
        let service = Self { port, seen: Arc::new(Mutex::new(seen)) };
        let taker = service.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (taker, stream) = (taker.clone(), stream.expect("a connection"));
                // Whoever is killed in the middle of a request leaves half of one.
                std::thread::spawn(move || taker.take(stream));
            }
        });
        service
    }

    fn take(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let does = {
            let mut seen = self.seen.lock().expect("no panic");
            seen.bodies.push(serde_json::from_slice(&body).expect("JSON"));
            seen.script.pop_front().unwrap_or(Does::Answers(200))
        };
        let status = match does {
            Does::Answers(status) => status,
            Does::Holds(here, go_on) => {
                here.send(()).expect("a test that waits");
                go_on.recv().expect("a test that goes on");
                200
            }
            Does::Drops => return Ok(()),
        };
        write!(stream, "HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    }

    fn bodies(&self) -> Vec<Value> {
        self.seen.lock().expect("no panic").bodies.clone()
    }

    /// Has a story tell it.
    fn configure(&self, story: &Story) {
        let config = format!("request_timeout = \"5s\"\nalert_url = \"http://127.0.0.1:{}/hunter2\"\n", self.port);
        story.scratch().write("callops.toml", config);
    }
}

/// How often an alert named this subject.
fn told(service: &Service, subject: &str) -> usize {
    let names = |body: &Value| body["findings"].as_array().expect("findings").iter().any(|f| f["subject"] == subject);
    service.bodies().iter().filter(|body| names(body)).count()
}

async fn all_alerts(story: &Story) -> Vec<Alert> {
    let ids: Vec<(String,)> = story
        .write(async |tx| {
            let sql = "SELECT id FROM alerts ORDER BY created_at, id";
            Ok(match tx {
                Tx::Sqlite(tx) => sqlx::query_as(sql).fetch_all(&mut **tx).await?,
                Tx::Postgres(tx) => sqlx::query_as(sql).fetch_all(&mut **tx).await?,
            })
        })
        .await;
    let mut all = Vec::new();
    for (id,) in ids {
        all.push(story.write(async |tx| alerts::alert(tx, &id).await).await.expect("an alert"));
    }
    all
}

async fn states(story: &Story) -> Vec<(AlertState, i64)> {
    all_alerts(story).await.iter().map(|alert| (alert.state, alert.tries)).collect()
}

/// Two contacts with one address.
async fn pair(story: &Story, n: u32) -> String {
    for i in 0..2 {
        contact(story, &format!("+1303555{:04}", 2 * n + i), Some(&format!("p{n}@x.example")), None).await;
    }
    format!("email:p{n}@x.example")
}

const ALERT: [&str; 3] = ["--kind", "contacts", "--alert"];

on_both_databases! {
    async fn a_finding_is_told_once(db) {
        let story = begin(db).await;
        let service = Service::start([]);
        service.configure(&story);
        detect(&story, &ALERT).success();
        assert!(service.bodies().is_empty());
        let subject = pair(&story, 0).await;
        let output = detect(&story, &ALERT).exits(3);
        assert_eq!(output.stderr, "duplicates: contacts 1\n1 alert sent\n");
        let bodies = service.bodies();
        assert_eq!((bodies.len(), &bodies[0]["total"]), (1, &json!(1)));
        assert_eq!(bodies[0]["findings"], detect(&story, &ALERT).exits(3).json());
        assert_eq!(
            bodies[0]["text"],
            format!("callops: 1 new finding of duplicates\n- acme: 2 contacts, {subject}, 0 minutes apart\n\
                `callops detect-duplicates` shows them.")
        );
        let second = pair(&story, 1).await;
        detect(&story, &["--kind", "contacts"]).exits(3);
        assert_eq!(service.bodies().len(), 1, "nobody is told without --alert");
        detect(&story, &ALERT).exits(3);
        assert_eq!((told(&service, &subject), told(&service, &second), service.bodies().len()), (1, 1, 2));
        assert_eq!(states(&story).await, [(AlertState::Sent, 1); 2]);
    }

    async fn numbers_that_become_more_are_news_and_fewer_are_not(db) {
        let story = begin(db).await;
        let service = Service::start([]);
        service.configure(&story);
        let run = || drop(detect(&story, &["--kind", "numbers", "--alert"]).exits(3));
        number(&story, "PN1", "+15005550001", Some("acme"), None, 0).await;
        number(&story, "PN2", "+15005550002", Some("acme"), None, 1).await;
        run();
        number(&story, "PN3", "+15005550003", Some("acme"), None, 2).await;
        run();
        assert_eq!(service.bodies().len(), 2);
        sql(&story, "UPDATE numbers SET status = 'gone' WHERE sid = 'PN1'").await;
        run();
        assert_eq!(service.bodies().len(), 2);
        number(&story, "PN4", "+15005550004", Some("acme"), None, 3).await;
        run();
        assert_eq!(service.bodies().len(), 3);
    }

    async fn a_burst_is_known_by_its_first_call_and_a_record_by_its_id(db) {
        let story = begin(db).await;
        let service = Service::start([]);
        service.configure(&story);
        for (call, seconds) in [("a", 0), ("b", 60)] {
            ring(&story, ADA, call, 1, seconds).await;
        }
        sql(&story, "UPDATE attempts SET provider_call_id = 'conv-1' WHERE id = 'a-1'").await;
        session(&story, "s1", "conv-1").await;
        for id in ["r1", "r2"] {
            record(&story, id, "2026-11-16T15:00:01+00:00", 62, "good evening").await;
        }
        detect(&story, &["--alert"]).exits(3);
        assert_eq!(service.bodies()[0]["total"], 3);
        ring(&story, ADA, "c", 1, 120).await;
        detect(&story, &["--alert"]).exits(3);
        assert_eq!(service.bodies().len(), 1, "the same burst");
        for (call, seconds) in [("d", 10_000), ("e", 10_001)] {
            ring(&story, ADA, call, 1, seconds).await;
        }
        detect(&story, &["--alert"]).exits(3);
        assert_eq!((service.bodies().len(), &service.bodies()[1]["total"]), (2, &json!(1)));
    }

    async fn what_did_not_arrive_is_sent_by_the_next_run_and_what_may_have_is_not(db) {
        let story = begin(db).await;
        // A port at which nobody listens.
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        Service { port, seen: Arc::default() }.configure(&story);
        let first = pair(&story, 0).await;
        let output = detect(&story, &ALERT).exits(7);
        assert!(output.stderr.contains("is not delivered: it cannot be reached"), "{output}");
        assert!(!output.to_string().contains("hunter2"), "{output}");
        assert_eq!(states(&story).await, [(AlertState::Waiting, 1)]);

        let service = Service::start([Does::Answers(500), Does::Answers(200), Does::Drops]);
        service.configure(&story);
        let output = detect(&story, &ALERT).exits(7);
        assert!(output.stderr.contains("it answered with status 500; the next run"), "{output}");
        // Without anything new, too.
        story.wait(TimeDelta::hours(1));
        detect(&story, &["--kind", "calls", "--alert"]).success();
        assert_eq!((told(&service, &first), states(&story).await), (2, vec![(AlertState::Sent, 3)]));

        let lost = pair(&story, 1).await;
        let output = detect(&story, &ALERT).exits(7);
        assert!(output.stderr.contains("no answer came, so it may have arrived"), "{output}");
        let output = detect(&story, &ALERT).exits(3);
        assert!(output.stderr.contains("1 alert of the last 7 days may not have arrived"), "{output}");
        assert_eq!((told(&service, &lost), service.bodies().len()), (1, 3));
        assert_eq!(states(&story).await, [(AlertState::Sent, 3), (AlertState::Unclear, 1)]);
        assert!(all_alerts(&story).await.iter().all(|alert| !format!("{alert:?}").contains("hunter2")));
        story.wait(TimeDelta::days(8));
        assert_eq!(detect(&story, &ALERT).exits(3).stderr, "duplicates: contacts 2\n");
    }

    async fn without_an_address_nobody_is_told_and_nothing_done(db) {
        let story = begin(db).await;
        pair(&story, 0).await;
        assert!(detect(&story, &ALERT).exits(6).stderr.contains("alert_url"));
        story.scratch().write("callops.toml", "alert_url = 'env:NOWHERE'\n");
        assert!(detect(&story, &ALERT).exits(6).stderr.contains("NOWHERE is not set"));
        assert!(states(&story).await.is_empty());
    }

    async fn of_two_at_once_one_tells(db) {
        let story = begin(db).await;
        let ((here, is_here), (go_on, goes_on)) = (channel(), channel());
        let service = Service::start([Does::Holds(here, goes_on)]);
        service.configure(&story);
        let subject = pair(&story, 0).await;
        let now = story.now().to_rfc3339();
        let first = story.spawn_today(&[], &["detect-duplicates", "--alert", "--now", &now]);
        is_here.recv().expect("a request");
        detect(&story, &ALERT).exits(3);
        assert_eq!(service.bodies().len(), 1);
        go_on.send(()).expect("a service that waits");
        first.wait().exits(3);
        assert_eq!((told(&service, &subject), states(&story).await), (1, vec![(AlertState::Sent, 1)]));

        // All begin at the same moment: whoever is first makes the one alert.
        let subject = pair(&story, 1).await;
        let many: Vec<_> = (0..4).map(|_| story.spawn(&["detect-duplicates", "--alert"])).collect();
        for running in many {
            running.wait().exits(3);
        }
        assert_eq!((told(&service, &subject), service.bodies().len()), (1, 2));
    }

    /// Somebody who was given up for dead comes back: what it knows counts, and nobody sent a second time.
    async fn a_late_answer_replaces_a_verdict(db) {
        let story = begin(db).await;
        let ((here, is_here), (go_on, goes_on)) = (channel(), channel());
        let service = Service::start([Does::Holds(here, goes_on)]);
        service.configure(&story);
        pair(&story, 0).await;
        let slow = story.spawn(&["detect-duplicates", "--alert"]);
        is_here.recv().expect("a request");
        story.wait(TimeDelta::seconds(66));
        detect(&story, &ALERT).exits(3);
        assert_eq!(states(&story).await, [(AlertState::Unclear, 1)]);
        go_on.send(()).expect("a service that waits");
        slow.wait().exits(3);
        assert_eq!((states(&story).await, service.bodies().len()), (vec![(AlertState::Sent, 1)], 1));
    }

    async fn killed_anywhere_it_tells_nobody_twice_and_loses_nothing_quietly(db) {
        let story = begin(db).await;
        let service = Service::start([]);
        service.configure(&story);
        let log = story.scratch().path().join("points").display().to_string();
        let mut unclear = 0;
        let mut points = Vec::new();
        for n in 1.. {
            let subject = pair(&story, n).await;
            let at = n.to_string();
            let _ = std::fs::remove_file(&log);
            let plan = [("CALLOPS_FAIL_AT", at.as_str()), ("CALLOPS_FAIL_LOG", log.as_str())];
            let output = story.spawn_with(&plan, &["detect-duplicates", "--kind", "contacts", "--alert"]).wait();
            let killed = output.code().is_none();
            points = std::fs::read_to_string(&log).unwrap_or_default().lines().map(str::to_owned).collect();
            // At once, and when whoever was killed is given up.
            detect(&story, &ALERT).exits(3);
            story.wait(TimeDelta::minutes(10));
            detect(&story, &ALERT).exits(3);
            let alerts = all_alerts(&story).await;
            let alert = alerts.iter().find(|alert| alert.body.contains(&subject)).expect("an alert");
            let times = told(&service, &subject);
            assert!(times <= 1, "killed at {points:?}: told {times} times");
            match alert.state {
                AlertState::Sent => assert_eq!(times, 1, "killed at {points:?}"),
                AlertState::Unclear => unclear += 1,
                other => panic!("killed at {points:?}: {other}"),
            }
            if !killed {
                break;
            }
        }
        assert!(points.iter().any(|point| point == "alert.answered"), "{points:?}");
        assert!(unclear >= 2, "killed before the sending and after it: {unclear}");
    }

    async fn the_outbox_is_guarded_by_state(db) {
        let story = begin(db).await;
        let now: DateTime<Utc> = story.now();
        let findings = [("contacts", "acme email:a"), ("calls", "acme email:a"), ("contacts", "acme email:a")];
        let gathered = story.write(async |tx| alerts::gather(tx, "A1", &findings, now).await).await;
        assert_eq!(gathered.len(), 2);
        let again = story.write(async |tx| alerts::gather(tx, "A2", &findings[..1], now).await).await;
        assert!(again.is_empty());
        story.write(async |tx| alerts::write(tx, "A1", "{}", now).await).await;
        let waiting = story.write(async |tx| alerts::waiting(tx, 10).await).await;
        assert_eq!(waiting.iter().map(|alert| alert.id.as_str()).collect::<Vec<_>>(), ["A1", "A2"]);
        let alert = &waiting[0];
        let settle = async |state| {
            story.write(async |tx| alerts::settle(tx, alert, state, None, now).await).await
        };
        assert!(!settle(AlertState::Sent).await, "nobody took it");
        assert!(story.write(async |tx| alerts::take(tx, alert, now).await).await);
        assert!(!story.write(async |tx| alerts::take(tx, alert, now).await).await);
        assert_eq!(story.write(async |tx| alerts::give_up(tx, now, now).await).await, 0);
        assert!(settle(AlertState::Sent).await);
        assert!(!settle(AlertState::Waiting).await, "what arrived stays so");
        let write = story.db().await.write(async |tx| alerts::write(tx, "A1", "{}", now).await).await;
        assert!(write.is_err(), "it was sent");
    }
}
