//! Misbehaviour on demand: which requests, and what goes wrong with them.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::http_date;

/// What goes wrong. Those in the first group never ring.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Fault {
    RefuseAndDrop,
    SlowRefuse(Duration),
    TooManyRequests(RetryAfter),
    ServerError {
        status: u16,
        rings: bool,
    },
    Unauthorized,
    PaymentRequired,
    NumberInvalid,
    AssistantMissing,
    OverConcurrency(Over, TimeDelta),
    /// An error with this code, for services whose errors have codes.
    Coded {
        status: u16,
        code: String,
    },
    /// An answer that says of itself that it is none.
    SuccessFalse {
        message: String,
        rings: bool,
    },
    /// An answer as if it had been done.
    NothingDone,

    AcceptAndDrop,
    DelayAnswer(Duration),
    BrokenJson,
    CutBody,
    NoId,
    ListLag(TimeDelta),
}

/// How a call over the concurrency limit is dealt with; all three are on record for the real service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Over {
    /// 201 with `concurrencyBlocked`; it rings when a slot is free.
    #[default]
    QueuedBlocked,
    /// 201, and the call ends at once without ringing.
    Ended,
    /// 400.
    #[serde(rename = "http_400")]
    Http400,
}

/// What a 429 says about waiting.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum RetryAfter {
    Absent,
    Literal(String),
    /// An HTTP date so long after the answer.
    DateIn(TimeDelta),
}

impl RetryAfter {
    pub(super) fn header(&self, now: DateTime<Utc>) -> Option<String> {
        match self {
            Self::Absent => None,
            Self::Literal(text) => Some(text.clone()),
            Self::DateIn(wait) => Some(http_date(now + *wait)),
        }
    }
}

/// Which requests a rule is for. Conditions that are not given hold for all; counting starts with the rule.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Match {
    /// Only the nth (from 1) of the requests that meet the conditions below.
    nth: Option<u64>,
    /// Only every nth of them.
    every: Option<u64>,
    /// Only this share of them, drawn from the seed.
    percent: Option<f64>,
    phone_prefix: Option<String>,
    method: Option<String>,
    /// The path begins with.
    path: Option<String>,
}

/// A rule as it is sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Spec {
    kind: String,
    #[serde(default, rename = "match")]
    matching: Match,
    /// How often the fault happens at most.
    times: Option<u64>,
    ms: Option<u64>,
    seconds: Option<f64>,
    status: Option<u16>,
    rings: Option<bool>,
    retry_after: Option<String>,
    mode: Option<Over>,
    code: Option<String>,
    message: Option<String>,
}

#[derive(Debug)]
struct Rule {
    spec: Spec,
    fault: Fault,
    matched: u64,
    applied: u64,
}

/// The rules in force.
#[derive(Debug)]
pub(super) struct Faults {
    rules: Vec<Rule>,
    random: fastrand::Rng,
}

/// What happens to one request.
#[derive(Debug, Default)]
pub(super) struct Picked {
    pub(super) fault: Option<Fault>,
    pub(super) kind: Option<String>,
    pub(super) lag: TimeDelta,
}

impl Faults {
    pub(super) fn new(seed: u64) -> Self {
        Self { rules: Vec::new(), random: fastrand::Rng::with_seed(seed) }
    }

    /// Adds one rule, or every rule of a list.
    ///
    /// # Errors
    /// Naming what is wrong; then nothing is added.
    pub(super) fn add(&mut self, rules: Value) -> Result<(), String> {
        let list = match rules {
            Value::Array(list) => list,
            one => vec![one],
        };
        let rules = list.into_iter().map(Rule::parse).collect::<Result<Vec<_>, _>>()?;
        self.rules.extend(rules);
        Ok(())
    }

    pub(super) fn clear(&mut self) {
        self.rules.clear();
    }

    pub(super) fn to_json(&self) -> Value {
        let rule = |rule: &Rule| json!({"rule": rule.spec, "matched": rule.matched, "applied": rule.applied});
        self.rules.iter().map(rule).collect()
    }

    /// Counts a request in every rule; the first that fires decides what happens, a lag comes on top.
    pub(super) fn pick(&mut self, method: &str, path: &str, phone: Option<&str>, places: bool) -> Picked {
        let mut picked = Picked::default();
        for rule in &mut self.rules {
            if !rule.meets(method, path, phone, places) {
                continue;
            }
            rule.matched += 1;
            if !rule.fires(&mut self.random) {
                continue;
            }
            match &rule.fault {
                Fault::ListLag(lag) => picked.lag = picked.lag.max(*lag),
                fault if picked.fault.is_none() => {
                    picked.fault = Some(fault.clone());
                    picked.kind = Some(rule.spec.kind.clone());
                }
                _ => continue,
            }
            rule.applied += 1;
        }
        picked
    }
}

impl Rule {
    fn parse(value: Value) -> Result<Self, String> {
        let spec: Spec = serde_json::from_value(value).map_err(|error| format!("fault rule: {error}"))?;
        let ms = || spec.ms.map(Duration::from_millis).ok_or_else(|| format!("{} needs `ms`", spec.kind));
        let seconds = |default: f64| {
            let seconds = spec.seconds.unwrap_or(default);
            super::seconds(seconds).ok_or_else(|| format!("`seconds` {seconds} is no length of time"))
        };
        let fault = match spec.kind.as_str() {
            "refuse_and_drop" => Fault::RefuseAndDrop,
            "slow_refuse" => Fault::SlowRefuse(ms()?),
            "too_many_requests" => Fault::TooManyRequests(retry_after(spec.retry_after.as_deref())?),
            "server_error" => {
                Fault::ServerError { status: server_status(spec.status)?, rings: spec.rings == Some(true) }
            }
            "unauthorized_all" => Fault::Unauthorized,
            "payment_required" => Fault::PaymentRequired,
            "number_invalid" => Fault::NumberInvalid,
            "assistant_missing" => Fault::AssistantMissing,
            "over_concurrency" => Fault::OverConcurrency(spec.mode.unwrap_or_default(), seconds(60.0)?),
            "coded" => Fault::Coded {
                status: server_status(Some(spec.status.unwrap_or(429)))?,
                code: spec.code.clone().ok_or("coded needs `code`")?,
            },
            "success_false" => Fault::SuccessFalse {
                message: spec.message.clone().ok_or("success_false needs `message`")?,
                rings: spec.rings == Some(true),
            },
            "nothing_done"
                if spec.matching.path.as_deref().is_some_and(|path| path.starts_with(super::twilio::ROOT)) =>
            {
                Fault::NothingDone
            }
            "nothing_done" => return Err(format!("nothing_done needs a `path` below {}", super::twilio::ROOT)),
            "accept_and_drop" => Fault::AcceptAndDrop,
            "delay_answer" => Fault::DelayAnswer(ms()?),
            "broken_json" => Fault::BrokenJson,
            "cut_body" => Fault::CutBody,
            "no_id" => Fault::NoId,
            "list_lag" => Fault::ListLag(seconds(60.0)?),
            other => return Err(format!("`{other}` is no kind of fault")),
        };
        if spec.matching.nth == Some(0) || spec.matching.every == Some(0) {
            return Err("`nth` and `every` count from 1".to_owned());
        }
        Ok(Self { spec, fault, matched: 0, applied: 0 })
    }

    fn meets(&self, method: &str, path: &str, phone: Option<&str>, places: bool) -> bool {
        let matching = &self.spec.matching;
        let everywhere = matches!(self.fault, Fault::Unauthorized);
        let method_is = match &matching.method {
            Some(wanted) => wanted.eq_ignore_ascii_case(method),
            // A fault is for placing calls unless the rule says otherwise.
            None => everywhere || matching.path.is_some() || places,
        };
        method_is
            && matching.path.as_deref().is_none_or(|prefix| path.starts_with(prefix))
            && matching.phone_prefix.as_deref().is_none_or(|prefix| phone.is_some_and(|p| p.starts_with(prefix)))
    }

    fn fires(&self, random: &mut fastrand::Rng) -> bool {
        let matching = &self.spec.matching;
        matching.nth.is_none_or(|nth| self.matched == nth)
            && matching.every.is_none_or(|every| self.matched.is_multiple_of(every))
            && matching.percent.is_none_or(|percent| random.f64() * 100.0 < percent)
            && self.spec.times.is_none_or(|times| self.applied < times)
    }
}

/// `absent`, `absurd`, `date+SECONDS`, or the header's very text.
fn retry_after(text: Option<&str>) -> Result<RetryAfter, String> {
    Ok(match text {
        None | Some("absent") => RetryAfter::Absent,
        Some("absurd") => RetryAfter::Literal("99999999999999999999".to_owned()),
        Some(text) => match text.strip_prefix("date+") {
            Some(wait) => {
                let wait = wait.parse().ok().and_then(super::seconds);
                RetryAfter::DateIn(wait.ok_or_else(|| format!("`{text}` has no number of seconds"))?)
            }
            None if text.bytes().all(|byte| matches!(byte, 0x20..=0x7e)) => RetryAfter::Literal(text.to_owned()),
            None => return Err("`retry_after` is no header value".to_owned()),
        },
    })
}

fn server_status(status: Option<u16>) -> Result<u16, String> {
    let status = status.unwrap_or(500);
    if (400..=599).contains(&status) { Ok(status) } else { Err(format!("status {status} is no error")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fired(rule: Value, requests: usize) -> Vec<usize> {
        let mut faults = Faults::new(7);
        faults.add(rule).unwrap();
        (1..=requests).filter(|_| faults.pick("POST", "/call", Some("+14155550100"), true).fault.is_some()).collect()
    }

    #[test]
    fn rules_fire_on_the_requests_that_they_name() {
        assert_eq!(fired(json!({"kind": "no_id", "match": {"nth": 3}}), 6), [3]);
        assert_eq!(fired(json!({"kind": "no_id", "match": {"every": 2}}), 6), [2, 4, 6]);
        assert_eq!(fired(json!({"kind": "no_id", "times": 2}), 6), [1, 2]);
        assert_eq!(fired(json!({"kind": "no_id", "match": {"phone_prefix": "+44"}}), 6), [0; 0]);
        assert_eq!(fired(json!({"kind": "no_id", "match": {"method": "GET"}}), 6), [0; 0]);
        let share = fired(json!({"kind": "no_id", "match": {"percent": 25}}), 400).len();
        assert!((60..140).contains(&share), "{share}");
    }

    #[test]
    fn only_a_refusal_of_the_key_is_for_every_request_by_itself() {
        let mut faults = Faults::new(7);
        faults.add(json!([{"kind": "no_id"}, {"kind": "unauthorized_all"}])).unwrap();
        assert_eq!(faults.pick("GET", "/call", None, false).fault, Some(Fault::Unauthorized));
        assert_eq!(faults.pick("POST", "/call", None, true).fault, Some(Fault::NoId));
    }

    #[test]
    fn a_rule_that_makes_no_sense_is_refused_whole() {
        let mut faults = Faults::new(7);
        for bad in [
            json!({"kind": "explode"}),
            json!({"kind": "no_id", "mach": {}}),
            json!({"kind": "delay_answer"}),
            json!({"kind": "nothing_done", "match": {"method": "DELETE"}}),
            json!({"kind": "no_id", "match": {"nth": 0}}),
            json!([{"kind": "no_id"}, {"kind": "server_error", "status": 200}]),
        ] {
            assert!(faults.add(bad.clone()).is_err(), "{bad}");
        }
        assert_eq!(faults.to_json(), json!([]));
    }
}
