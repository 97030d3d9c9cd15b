//! Webhooks of strangers, in thousands; and webhooks while a list is imported.

use callops::domain::call::AttemptState;
use callops::domain::secret::Secret;
use callops::domain::signature::callops::sign;
use callops::domain::signature::to_hex;
use callops::store::attempts::Attempt;
use callops::store::setup;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};

use super::{say, seed, size};
use crate::common::on_both_databases;
use crate::common::story::Story;
use crate::serve::under_load::placed;
use crate::serve::{
    ACCOUNT_SECRET, ADA, CRON_SECRET, OTHER_SECRET, Serving, TENANT_SECRET, WEBHOOK_SECRET, attempt_to, begin, events,
};

/// A way to show who sends a webhook.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Scheme {
    CallStatus,
    CallStatusTimed,
    VapiSecret,
    VapiBearer,
    VapiHmac,
    ElevenLabs,
    Cron,
}

use Scheme::{CallStatus, CallStatusTimed, Cron, ElevenLabs, VapiBearer, VapiHmac, VapiSecret};

/// One request that must not be accepted.
struct Forgery {
    path: &'static str,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    /// Rightly shown who sends it, and nothing that can be read.
    is_malformed: bool,
}

impl Scheme {
    const ALL: [Self; 7] = [CallStatus, CallStatusTimed, VapiSecret, VapiBearer, VapiHmac, ElevenLabs, Cron];

    fn path(self) -> &'static str {
        match self {
            CallStatus | CallStatusTimed => "/api/webhooks/call-status",
            // By name, so that another account's secret is no sender's.
            VapiSecret | VapiBearer | VapiHmac => "/api/vapi/webhook/acme-vapi",
            ElevenLabs => "/api/voice/post_call/eleven",
            Cron => "/api/cron/process-calls",
        }
    }

    /// The secret that is right, and those of others.
    fn secrets(self) -> (&'static str, [&'static str; 3]) {
        match self {
            CallStatus | CallStatusTimed => (WEBHOOK_SECRET, [ACCOUNT_SECRET, CRON_SECRET, "wrong"]),
            VapiSecret | VapiBearer | VapiHmac | ElevenLabs => (ACCOUNT_SECRET, [OTHER_SECRET, TENANT_SECRET, "wrong"]),
            Cron => (CRON_SECRET, [WEBHOOK_SECRET, OTHER_SECRET, "wrong"]),
        }
    }

    /// What is genuine to say of an attempt.
    fn body(self, attempt: &Attempt) -> Vec<u8> {
        match self {
            CallStatus | CallStatusTimed => json!({"reminder_id": attempt.id, "event_type": "call_completed"}),
            VapiSecret | VapiBearer | VapiHmac => json!({"message": {"type": "status-update", "status": "ended",
                "endedReason": "customer-busy", "call": {"id": attempt.provider_call_id, "name": attempt.id}}}),
            ElevenLabs => json!({"type": "call_initiation_failure", "event_timestamp": 1, "data":
                {"conversation_id": attempt.provider_call_id, "failure_reason": "busy"}}),
            Cron => Value::Null,
        }
        .to_string()
        .into_bytes()
    }

    /// The headers by which a body is shown to be of whoever has the secret, at a time in seconds.
    fn headers(self, secret: &str, at: i64, body: &[u8]) -> Vec<(&'static str, String)> {
        let at = at.to_string();
        match self {
            CallStatus => vec![("X-Webhook-Signature", sign(&Secret::new(secret), None, body))],
            CallStatusTimed => {
                vec![("X-Webhook-Signature", sign(&Secret::new(secret), Some(&at), body)), ("X-Webhook-Timestamp", at)]
            }
            VapiSecret => vec![("X-Vapi-Secret", secret.to_owned())],
            VapiBearer | Cron => vec![("Authorization", format!("Bearer {secret}"))],
            VapiHmac => {
                let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).expect("a key");
                mac.update(at.as_bytes());
                mac.update(b".");
                mac.update(body);
                vec![("X-Signature", to_hex(&mac.finalize().into_bytes())), ("X-Timestamp", at)]
            }
            ElevenLabs => {
                let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).expect("a key");
                mac.update(at.as_bytes());
                mac.update(b".");
                mac.update(body);
                vec![("ElevenLabs-Signature", format!("t={at},v0={}", to_hex(&mac.finalize().into_bytes())))]
            }
        }
    }

    fn signs_the_body(self) -> bool {
        matches!(self, CallStatus | CallStatusTimed | VapiHmac | ElevenLabs)
    }

    fn forge(self, genuine: &[u8], now: i64, random: &mut fastrand::Rng) -> Forgery {
        let (right, others) = self.secrets();
        let mut body = genuine.to_vec();
        let mut is_malformed = false;
        let headers = match random.u8(0..12) {
            0..3 => self.headers(others[random.usize(0..3)], now, &body),
            3 => {
                let mut headers = self.headers(right, now, &body);
                let length = random.usize(0..headers[0].1.len());
                headers[0].1.truncate(length);
                headers
            }
            4 => self.headers(right, now, &body).split_off(1),
            5 => {
                // One bit of what shows the sender is another, and a header can hold it still.
                let mut headers = self.headers(right, now, &body);
                let mut bytes = headers[0].1.clone().into_bytes();
                let at = random.usize(bytes.len() - 8..bytes.len());
                bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
                headers[0].1 = String::from_utf8(bytes).expect("ASCII");
                headers
            }
            6 if self.signs_the_body() => {
                let headers = self.headers(right, now, &body);
                let at = random.usize(0..body.len());
                body[at] ^= 1 << random.u8(0..8);
                headers
            }
            7 if matches!(self, CallStatusTimed | VapiHmac) => {
                let by = random.i64(1801..1_000_000);
                self.headers(right, if random.bool() { now - by } else { now + by + 1000 }, &body)
            }
            8 => vec![(self.headers(right, now, &body)[0].0, "~x".repeat(random.usize(1..2000)))],
            kind if self != Cron => {
                is_malformed = true;
                body = malformed(genuine, kind, random);
                self.headers(right, now, &body)
            }
            _ => Vec::new(),
        };
        Forgery { path: self.path(), headers, body, is_malformed }
    }
}

/// A body of somebody who may send, that says nothing that can be read.
fn malformed(genuine: &[u8], kind: u8, random: &mut fastrand::Rng) -> Vec<u8> {
    let text = std::str::from_utf8(genuine).expect("JSON");
    match kind {
        9 => "[".repeat(10_000).into_bytes(),
        10 => genuine[..random.usize(0..genuine.len())].to_vec(),
        // No JSON is 0xff at any place, in whatever it stands.
        11 => {
            let mut body = genuine.to_vec();
            body.insert(random.usize(0..=genuine.len()), 0xff);
            body
        }
        _ => {
            let words = ["reminder_id", "message", "type", "event_type"];
            words.iter().fold(text.to_owned(), |text, word| text.replace(&format!("\"{word}\""), "\"x\"")).into_bytes()
        }
    }
}

/// The memory that the process holds, in KiB; zero where nobody says.
fn memory_kib(serving: &Serving) -> u64 {
    let Ok(status) = std::fs::read_to_string(format!("/proc/{}/status", serving.running.id())) else { return 0 };
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a line");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
}

async fn send(serving: &Serving, forgeries: Vec<Forgery>, scheme: Scheme) {
    let answers = futures_util::future::join_all(forgeries.iter().map(async |forgery| {
        let headers: Vec<(&str, &str)> = forgery.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        serving.post(forgery.path, &headers, forgery.body.clone()).await
    }));
    for (forgery, (status, answer)) in forgeries.iter().zip(answers.await) {
        let expected = if forgery.is_malformed { 400 } else { 401 };
        assert_eq!(
            status,
            expected,
            "{scheme:?} {:?} {} {answer}",
            forgery.headers,
            String::from_utf8_lossy(&forgery.body)
        );
        assert!(forgery.is_malformed || answer == json!({"error": "unauthorized"}), "{answer}");
    }
}

/// Another account, by whose agents nobody is called.
async fn add_elevenlabs(story: &Story) {
    let now = story.now();
    let mut account = story.write(async |tx| setup::accounts(tx).await).await.remove(0);
    "eleven".clone_into(&mut account.name);
    "elevenlabs".clone_into(&mut account.provider);
    story.write(async |tx| setup::put_account(tx, &account, now).await).await;
}

async fn forge_thousands(story: &Story, count: usize) {
    story.process(&[]).await;
    let attempt = attempt_to(story, ADA).await;
    let serving = Serving::start(story);
    let mut random = fastrand::Rng::with_seed(seed());
    for scheme in Scheme::ALL {
        let genuine = scheme.body(&attempt);
        let mut early = 0;
        for sent in (0..count).step_by(100) {
            if sent == count / 10 {
                early = memory_kib(&serving);
            }
            let now = story.now().timestamp();
            let batch = (0..100).map(|_| scheme.forge(&genuine, now, &mut random)).collect();
            send(&serving, batch, scheme).await;
        }
        let late = memory_kib(&serving);
        say(&format!("{scheme:?}: {count} refused; {early} KiB after {}, {late} KiB after all", count / 10));
        assert!(late < early + 10 * 1024, "{scheme:?}: {early} KiB, then {late} KiB");
    }
    assert_eq!(events(story).len(), 0);
    assert_eq!(attempt_to(story, ADA).await.state, AttemptState::Placed);
    let (_, metrics) = serving.admin("/metrics").await;
    assert!(!metrics.contains("status=\"5"), "{metrics}");

    // Another tenant's secret is a sender's, of whom nothing is taken that is about this tenant.
    let genuine = CallStatus.body(&attempt);
    let headers = CallStatus.headers(OTHER_SECRET, 0, &genuine);
    for _ in 0..100 {
        let (status, answer) = serving.post(CallStatus.path(), &[(headers[0].0, &headers[0].1)], genuine.clone()).await;
        assert_eq!((status, &answer["applied"]), (404, &json!(false)), "{answer}");
    }
    assert_eq!(events(story).len(), 1);
    assert_eq!(attempt_to(story, ADA).await.state, AttemptState::Placed);

    // What is genuine was not taken for a forgery.
    for scheme in [CallStatus, CallStatusTimed, VapiSecret, VapiBearer, VapiHmac, ElevenLabs] {
        let genuine = scheme.body(&attempt);
        let headers = scheme.headers(scheme.secrets().0, story.now().timestamp(), &genuine);
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(serving.post(scheme.path(), &headers, genuine).await.0, 200, "{scheme:?}");
    }
    assert_eq!(attempt_to(story, ADA).await.state, AttemptState::Ended);
    let output = serving.end();
    assert!(!output.stderr.contains("panic") && !output.stderr.contains("[[["), "{output}");
}

on_both_databases! {
    async fn forged_and_malformed_ones_change_nothing_and_cost_no_memory(db) {
        let story = Box::pin(begin(db, &[ADA])).await;
        add_elevenlabs(&story).await;
        Box::pin(forge_thousands(&story, size(1000, 10_000))).await;
    }

    async fn webhooks_are_stored_while_a_list_is_imported(db) {
        let story = begin(db, &[]).await;
        let ids = placed(&story, 20).await;
        let serving = Serving::start(&story);
        let rows = size(20_000, 1_000_000);
        // Washington has no exchanges such as 211, and 555 is for films.
        let exchanges = (200..1000).filter(|exchange| exchange % 100 != 11 && *exchange != 555);
        let phones = exchanges.flat_map(|exchange| (0..10_000).map(move |line| format!("+1202{exchange}{line:04}\n")));
        let list: String = std::iter::once("phone\n".to_owned()).chain(phones.take(rows)).collect();
        story.scratch().write("list.csv", list);
        let mut import = story.spawn_with(&[], &["import-contacts", "list.csv", "--tenant", "other", "--quiet"]);
        let mut answers = Vec::new();
        for n in 0..100 {
            let body = json!({"reminder_id": ids[n % 20], "event_type": "call_answered", "reason": n.to_string()});
            answers.push(serving.report(WEBHOOK_SECRET, &body).await.0);
        }
        let was_under_way = !import.is_over();
        while !import.is_over() {
            let body = json!({"reminder_id": ids[0], "event_type": "call_completed"});
            answers.push(serving.report(WEBHOOK_SECRET, &body).await.0);
        }
        import.wait().success();
        assert!(answers.iter().all(|status| *status == 200), "{answers:?}");
        assert!(was_under_way || rows < 1_000_000, "the import was over before the webhooks were");
    }
}
