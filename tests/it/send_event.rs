//! `send-event`: a report reaches the server once it can, and is not lost until then.

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use callops::clock::Clock;
use callops::domain::secret::Secret;
use callops::domain::signature::callops::{Delivery, verify};
use serde_json::{Value, json};

use crate::common::{Callops, Output, Scratch};

const SECRET: &str = "test_secret";
const ATTEMPT: &str = "01JD5Q3G7V9M2C8K4R6T0W1XYZ";

/// What the server does with the next request.
#[derive(Clone, Debug)]
enum Answer {
    Takes,
    Says(u16, &'static str),
    Hangs,
}

struct Seen {
    clock: Clock,
    /// What is answered, in order; then everything is taken.
    script: Vec<Answer>,
    /// When each request came, and its body.
    requests: Vec<(Duration, Value)>,
}

/// A server that takes signed events.
struct Server {
    url: String,
    seen: Arc<Mutex<Seen>>,
    listener: Option<TcpListener>,
    runtime: tokio::runtime::Runtime,
}

impl Server {
    /// One that has an address, and is not listening yet.
    fn at_rest(script: &[Answer]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/api/webhooks/call-status", listener.local_addr().expect("an address"));
        let seen =
            Arc::new(Mutex::new(Seen { clock: Clock::machine(), script: script.to_vec(), requests: Vec::new() }));
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        Self { url, seen, listener: Some(listener), runtime }
    }

    fn started(script: &[Answer]) -> Self {
        let mut server = Self::at_rest(script);
        let listener = server.listener.take().expect("a listener");
        listener.set_nonblocking(true).expect("a socket");
        let router = Router::new().route("/api/webhooks/call-status", post(take)).with_state(Arc::clone(&server.seen));
        server.runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            axum::serve(listener, router).await.expect("a server");
        });
        server
    }

    fn requests(&self) -> Vec<(Duration, Value)> {
        self.seen.lock().expect("no panic").requests.clone()
    }
}

async fn take(State(seen): State<Arc<Mutex<Seen>>>, headers: HeaderMap, body: Bytes) -> (StatusCode, String) {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let delivery =
        Delivery { signature: header("x-webhook-signature"), timestamp: header("x-webhook-timestamp"), body: &body };
    let timestamp = delivery.timestamp.and_then(|text| text.parse().ok()).expect("a time");
    let now = chrono::DateTime::from_timestamp(timestamp, 0).expect("a time");
    let answer = {
        let mut seen = seen.lock().expect("no panic");
        let at = seen.clock.monotonic();
        seen.requests.push((at, serde_json::from_slice(&body).expect("JSON")));
        if seen.script.is_empty() { Answer::Takes } else { seen.script.remove(0) }
    };
    match answer {
        Answer::Says(status, text) => (StatusCode::from_u16(status).expect("a status"), text.to_owned()),
        Answer::Hangs => std::future::pending().await,
        Answer::Takes if verify(&Secret::new(SECRET), &delivery, now).is_ok() => {
            (StatusCode::OK, json!({"applied": true, "reason": "completed", "event_id": "E1"}).to_string())
        }
        Answer::Takes => (StatusCode::UNAUTHORIZED, String::new()),
    }
}

struct Agent {
    scratch: Scratch,
    url: String,
    secret: &'static str,
}

impl Agent {
    fn of(server: &Server) -> Self {
        Self { scratch: Scratch::new(), url: server.url.clone(), secret: SECRET }
    }

    fn run(&self, args: &[&str]) -> Output {
        let spool = self.spool().display().to_string();
        let fixed = ["send-event", "--format", "json", "--spool", &spool];
        Callops::new(&self.scratch)
            .env("WEBHOOK_URL", &self.url)
            .env("WEBHOOK_SECRET", self.secret)
            .run(fixed.into_iter().chain(args.iter().copied()))
    }

    fn report(&self, event: &str) -> Output {
        self.run(&[event, "--reminder-id", ATTEMPT])
    }

    fn spool(&self) -> PathBuf {
        self.scratch.path().join("spool")
    }

    /// How many events wait.
    fn waiting(&self) -> usize {
        let entries = std::fs::read_dir(self.spool()).expect("a spool");
        entries.filter(|entry| entry.as_ref().expect("an entry").path().extension().is_some()).count()
    }
}

#[test]
fn a_report_is_signed_and_delivered() {
    let server = Server::started(&[]);
    let agent = Agent::of(&server);
    let output = agent.run(&[
        "completed",
        "--reminder-id",
        ATTEMPT,
        "--reason",
        "done",
        "--duration",
        "42.5",
        "--response",
        "will_pay_today",
        "--notes",
        "calls back",
    ]);
    assert_eq!(output.success().json()["event_id"], "E1");
    let want = json!({
        "reminder_id": ATTEMPT, "event_type": "call_completed", "reason": "done",
        "outcome": {"connected": true, "duration": 42.5, "customer_response": "will_pay_today", "notes": "calls back"},
    });
    assert_eq!(server.requests().iter().map(|(_, body)| body).collect::<Vec<_>>(), [&want]);
    assert_eq!(agent.waiting(), 0);
}

#[test]
fn an_event_is_sent_three_times_and_then_kept() {
    let busy = Answer::Says(503, "busy");
    let server = Server::started(&[busy.clone(), busy.clone(), busy.clone(), busy]);
    let agent = Agent::of(&server);
    let output = agent.report("answered").exits(7);
    assert!(output.stderr.contains("status 503") && output.stderr.contains("--flush"), "{output}");
    let times: Vec<Duration> = server.requests().windows(2).map(|pair| pair[1].0.saturating_sub(pair[0].0)).collect();
    assert_eq!(times.len(), 2);
    let two_seconds = Duration::from_millis(1900)..Duration::from_secs(4);
    assert!(times.iter().all(|time| two_seconds.contains(time)), "{times:?}");
    assert_eq!(agent.waiting(), 1);
    assert_eq!(agent.run(&["--flush"]).exits(7).json()["left"], 1);
    // The next event takes the one that waits along.
    let output = agent.report("completed").success().json();
    assert_eq!((&output["flushed"], &output["left"]), (&json!(1), &json!(0)));
    let types: Vec<String> = server.requests().iter().skip(4).map(|(_, body)| body["event_type"].to_string()).collect();
    assert_eq!(types, [r#""call_completed""#, r#""call_answered""#]);
    assert_eq!(agent.waiting(), 0);
}

#[test]
fn what_waits_is_flushed_in_order() {
    let server = Server::at_rest(&[]);
    let mut agent = Agent::of(&server);
    // Nobody listens there.
    agent.url = "http://127.0.0.1:1/api/webhooks/call-status".to_owned();
    for event in ["answered", "completed"] {
        agent.report(event).exits(7);
    }
    assert_eq!(agent.waiting(), 2);
    drop(server);
    let server = Server::started(&[]);
    agent.url.clone_from(&server.url);
    let output = agent.run(&["--flush"]).success().json();
    assert_eq!((&output["flushed"], &output["left"]), (&json!(2), &json!(0)));
    let types: Vec<String> = server.requests().iter().map(|(_, body)| body["event_type"].to_string()).collect();
    assert_eq!(types, [r#""call_answered""#, r#""call_completed""#]);
    assert_eq!(agent.run(&["--flush"]).success().json()["flushed"], 0);
}

#[test]
fn a_server_that_hangs_is_given_ten_seconds() {
    let server = Server::started(&[Answer::Hangs]);
    let agent = Agent::of(&server);
    agent.report("answered").success();
    let requests = server.requests();
    let apart = requests[1].0.saturating_sub(requests[0].0);
    assert!((Duration::from_secs(9)..Duration::from_secs(15)).contains(&apart), "{apart:?}");
}

#[test]
fn an_answer_that_names_no_event_is_no_delivery() {
    let portal = Answer::Says(200, "<html>please log in</html>");
    let server = Server::started(&[portal.clone(), portal, Answer::Takes]);
    let agent = Agent::of(&server);
    agent.report("answered").success();
    assert_eq!(server.requests().len(), 3);
    // An id that the server does not know yet is kept there.
    let server = Server::started(&[Answer::Says(404, r#"{"applied":false,"reason":"unknown id","event_id":"E2"}"#)]);
    let agent = Agent::of(&server);
    assert_eq!(agent.report("answered").success().json()["event_id"], "E2");
    assert_eq!(agent.waiting(), 0);
}

#[test]
fn what_will_never_be_taken_is_put_aside() {
    let server = Server::started(&[Answer::Says(400, "event_type is wrong")]);
    let agent = Agent::of(&server);
    let output = agent.report("answered").exits(2);
    assert!(output.stderr.contains("event_type is wrong"), "{output}");
    assert_eq!((server.requests().len(), agent.waiting()), (1, 0));
    assert_eq!(std::fs::read_dir(agent.spool().join("refused")).expect("a folder").count(), 1);
}

#[test]
fn another_secret_is_refused_and_the_event_kept() {
    let server = Server::started(&[]);
    let mut agent = Agent::of(&server);
    agent.secret = "another";
    let output = agent.report("answered").exits(6);
    assert!(output.stderr.contains("WEBHOOK_SECRET") && !output.stderr.contains("another"), "{output}");
    assert_eq!((server.requests().len(), agent.waiting()), (1, 1));
    agent.secret = SECRET;
    assert_eq!(agent.run(&["--flush"]).success().json()["flushed"], 1);
}

#[test]
fn what_the_server_would_refuse_is_told_before() {
    let server = Server::started(&[]);
    let agent = Agent::of(&server);
    for (args, says) in [
        (&["answered"][..], "--reminder-id"),
        (&["answered", "--reminder-id", ""], "reminder_id"),
        (&["completed", "--reminder-id", ATTEMPT, "--duration", "9999999", "--response", "dispute"], "duration"),
        (&["completed", "--reminder-id", ATTEMPT, "--duration", "1"], "--response"),
        (&["completed", "--reminder-id", ATTEMPT, "--duration", "1", "--response", "maybe"], "will_pay_today"),
    ] {
        let output = agent.run(args).exits(2);
        assert!(output.stderr.contains(says), "{says}: {output}");
    }
    assert_eq!(server.requests().len(), 0);
    let scratch = Scratch::new();
    let output = Callops::new(&scratch).run(["send-event", "answered", "--reminder-id", ATTEMPT]).exits(6);
    assert!(output.stderr.contains("WEBHOOK_URL is not set"), "{output}");
}
