//! How a call goes: from a script, else drawn from the seed, the phone and how often it was called before.

use std::collections::{HashMap, VecDeque};

use serde::Deserialize;
use serde_json::{Map, Value};

/// What will happen to one call, in seconds of the sandbox's clock.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Plan {
    pub(super) ended_reason: String,
    /// How long it rings.
    pub(super) ring_seconds: f64,
    /// How long somebody or something is on the line; none when nobody picks up.
    pub(super) talk_seconds: Option<f64>,
    /// The status in which it stays for ever.
    pub(super) stuck: Option<Stuck>,
    pub(super) transcript: Option<String>,
    pub(super) summary: Option<String>,
    /// What the agent's analysis extracts.
    pub(super) extracted: Option<Map<String, Value>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Stuck {
    Queued,
    Ringing,
    InProgress,
}

/// `{"phone": "+1...", "outcomes": [...]}`: how the next calls to a phone go, one after another.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Script {
    pub(super) phone: String,
    pub(super) outcomes: Vec<Scripted>,
}

/// An `endedReason`, or more about the call.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Scripted {
    Reason(String),
    Detailed(Box<Details>),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Details {
    ended_reason: String,
    ring_seconds: Option<f64>,
    talk_seconds: Option<f64>,
    stuck: Option<Stuck>,
    transcript: Option<String>,
    summary: Option<String>,
    extracted: Option<Map<String, Value>>,
}

/// Draws plans.
#[derive(Debug)]
pub(super) struct Plans {
    seed: u64,
    /// Everything takes this many times as long as it usually would.
    pub(super) pace: f64,
    calls_by_phone: HashMap<String, u64>,
    scripts: HashMap<String, VecDeque<Scripted>>,
}

impl Plans {
    pub(super) fn new(seed: u64, pace: f64) -> Self {
        Self { seed, pace, calls_by_phone: HashMap::new(), scripts: HashMap::new() }
    }

    /// Appends to what is scripted for the phone.
    pub(super) fn script(&mut self, script: Script) {
        self.scripts.entry(script.phone).or_default().extend(script.outcomes);
    }

    pub(super) fn clear(&mut self) {
        self.scripts.clear();
    }

    /// How the next call to `phone` goes.
    pub(super) fn next(&mut self, phone: &str) -> Plan {
        let count = self.calls_by_phone.entry(phone.to_owned()).or_default();
        *count += 1;
        let mut random = fastrand::Rng::with_seed(mix(self.seed, phone, *count));
        let mut plan = match self.scripts.get_mut(phone).and_then(VecDeque::pop_front) {
            Some(Scripted::Reason(reason)) => plan_for(&reason, &mut random),
            Some(Scripted::Detailed(details)) => {
                let usual = plan_for(&details.ended_reason, &mut random);
                Plan {
                    ring_seconds: details.ring_seconds.unwrap_or(usual.ring_seconds),
                    talk_seconds: details.talk_seconds.or(usual.talk_seconds),
                    stuck: details.stuck,
                    transcript: details.transcript.or(usual.transcript),
                    summary: details.summary.or(usual.summary),
                    extracted: details.extracted,
                    ended_reason: usual.ended_reason,
                }
            }
            None => plan_for(usual_reason(&mut random), &mut random),
        };
        plan.ring_seconds *= self.pace;
        plan.talk_seconds = plan.talk_seconds.map(|talk| talk * self.pace);
        plan
    }
}

fn usual_reason(random: &mut fastrand::Rng) -> &'static str {
    match random.u8(0..100) {
        0..36 => "customer-ended-call",
        36..56 => "assistant-ended-call",
        56..78 => "customer-did-not-answer",
        78..86 => "customer-busy",
        _ => "voicemail",
    }
}

fn plan_for(reason: &str, random: &mut fastrand::Rng) -> Plan {
    let conversation = ["customer-ended-call", "assistant-ended-call", "assistant-said-", "assistant-forwarded-"]
        .iter()
        .any(|prefix| reason.starts_with(prefix))
        || matches!(reason, "silence-timed-out" | "exceeded-max-duration");
    let (ring_seconds, talk_seconds) = match reason {
        _ if conversation => (f64::from(random.u8(4..16)), Some(f64::from(random.u8(20..121)))),
        "voicemail" => (f64::from(random.u8(16..26)), Some(f64::from(random.u8(8..21)))),
        "customer-did-not-answer" => (30.0, None),
        _ => (3.0, None),
    };
    let topic = ["the appointment", "the opening hours", "the invoice", "a call back"][random.usize(0..4)];
    Plan {
        ended_reason: reason.to_owned(),
        ring_seconds,
        talk_seconds,
        stuck: None,
        transcript: conversation.then(|| {
            format!(
                "AI: Hello, do you have a minute to talk about {topic}?\nUser: Yes, go on.\nAI: Thank you, goodbye.\n"
            )
        }),
        summary: conversation.then(|| format!("The callee answered and spoke about {topic}.")),
        extracted: None,
    }
}

/// One number from several, the same on every machine (FNV-1a).
fn mix(seed: u64, phone: &str, count: u64) -> u64 {
    let bytes = seed.to_le_bytes().into_iter().chain(phone.bytes()).chain(count.to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_depend_on_seed_phone_and_count_alone() {
        let draw = |seed| {
            let mut plans = Plans::new(seed, 1.0);
            (0..40).map(|i| plans.next(&format!("+1415555010{}", i % 10))).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        let mut reasons: Vec<_> = draw(1).into_iter().map(|plan| plan.ended_reason).collect();
        reasons.sort();
        reasons.dedup();
        assert!(reasons.len() >= 4, "{reasons:?}");
    }

    #[test]
    fn a_script_comes_first_and_is_used_up() {
        let mut plans = Plans::new(1, 1.0);
        let usual = plans.next("+14155550100");
        let mut plans = Plans::new(1, 2.0);
        let script = r#"{"phone": "+14155550199", "outcomes": ["customer-busy", {"ended_reason": "customer-ended-call",
            "talk_seconds": 10, "stuck": "in-progress"}]}"#;
        plans.script(serde_json::from_str(script).unwrap());
        assert_eq!(plans.next("+14155550199").ended_reason, "customer-busy");
        let second = plans.next("+14155550199");
        assert_eq!((second.talk_seconds, second.stuck), (Some(20.0), Some(Stuck::InProgress)));
        assert_eq!(plans.next("+14155550100").ended_reason, usual.ended_reason);
    }
}
