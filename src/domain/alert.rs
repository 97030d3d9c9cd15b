//! Alerts: what is told to a chat or another service about findings that are new.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value, json};

use super::call::{UnknownWord, words};
use super::duplicates::Finding;

/// The most findings that one alert holds; it counts them all.
pub const MAX_FINDINGS: usize = 100;
/// The most findings that the text of an alert names: people read it on a phone.
const MAX_LINES: usize = 10;
/// The most characters of one value in the text.
const MAX_CHARS: usize = 80;

/// Where an alert stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AlertState {
    /// It is to be sent, for the first time or once more.
    Waiting,
    /// A process is sending it, or died over it.
    Sending,
    /// It arrived.
    Sent,
    /// Nobody knows whether it arrived. It is not sent again.
    Unclear,
}

words!(AlertState, "state of an alert", {
    Waiting => "waiting", Sending => "sending", Sent => "sent", Unclear => "unclear",
});

/// An alert about these findings, of `total` that are new.
pub fn message(findings: &[Finding], total: usize) -> Value {
    let things = if total == 1 { "1 new finding" } else { &format!("{total} new findings") };
    let mut text = format!("callops: {things} of duplicates");
    for finding in findings.iter().take(MAX_LINES) {
        // A string can always be written to.
        let _ = write!(text, "\n- {}", line(finding));
    }
    if total > findings.len().min(MAX_LINES) {
        let _ = write!(text, "\n- and {} more", total - findings.len().min(MAX_LINES));
    }
    text.push_str("\n`callops detect-duplicates` shows them.");
    let findings: Vec<Value> = findings.iter().take(MAX_FINDINGS).map(|finding| Value::Object(row(finding))).collect();
    json!({"text": text, "total": total, "findings": findings})
}

/// A finding in one line, for people.
fn line(finding: &Finding) -> String {
    let (kind, count) = (finding.kind, finding.count);
    let mut line = format!("{}: {count} {kind}, {}", short(&finding.tenant), short(&finding.subject));
    if let Some(minutes) = finding.minutes_between() {
        let _ = write!(line, ", {minutes} minutes apart");
    }
    if let Some(cost) = finding.detail.get("wasted_per_month").and_then(Value::as_str) {
        let _ = write!(line, ", {cost} a month wasted");
    }
    line
}

fn short(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let short: String = plain.clone().take(MAX_CHARS).collect();
    if plain.count() > MAX_CHARS { short + ".." } else { short }
}

/// A finding as programs read it, under the same names wherever it is shown.
pub fn row(finding: &Finding) -> Map<String, Value> {
    let instant = |at: Option<DateTime<Utc>>| at.map(|at| at.to_rfc3339_opts(SecondsFormat::Secs, true));
    super::duplicates::object([
        ("kind", json!(finding.kind.as_str())),
        ("tenant", json!(finding.tenant)),
        ("subject", json!(finding.subject)),
        ("count", json!(finding.count)),
        ("first_at", json!(instant(finding.first_at))),
        ("last_at", json!(instant(finding.last_at))),
        ("minutes_between", json!(finding.minutes_between())),
        ("detail", Value::Object(finding.detail.clone())),
    ])
}

/// An alert as a chat takes it: the text alone, in which its three signs of markup are escaped.
pub fn for_chat(message: &Value) -> Value {
    let text = message["text"].as_str().unwrap_or_default();
    json!({"text": text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")})
}

#[cfg(test)]
mod tests {
    use super::super::duplicates::Kind;
    use super::*;

    fn finding(subject: &str) -> Finding {
        Finding {
            kind: Kind::Contacts,
            tenant: "acme".to_owned(),
            subject: subject.to_owned(),
            count: 2,
            first_at: None,
            last_at: None,
            detail: Map::new(),
            identities: Vec::new(),
        }
    }

    #[test]
    fn a_message_is_bounded_and_says_how_many_there_are() {
        let findings = vec![finding(&"x\n".repeat(10_000)); 200];
        let message = message(&findings, 5000);
        let text = message["text"].as_str().expect("text");
        assert!(text.starts_with("callops: 5000 new findings of duplicates\n- acme: 2 contacts, x x x "), "{text}");
        assert!(text.contains("\n- and 4990 more\n"), "{text}");
        assert!(text.len() < 2000 && text.lines().count() == 13, "{text}");
        assert_eq!((message["total"].as_u64(), message["findings"].as_array().map(Vec::len)), (Some(5000), Some(100)));
    }

    #[test]
    fn a_chat_gets_no_markup_of_others() {
        let message = message(&[finding("email:<!channel>&@x.example")], 1);
        assert_eq!(
            for_chat(&message),
            json!({"text": "callops: 1 new finding of duplicates\n- acme: 2 contacts, \
                email:&lt;!channel&gt;&amp;@x.example\n`callops detect-duplicates` shows them."})
        );
    }
}
