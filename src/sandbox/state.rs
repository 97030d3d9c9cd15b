//! The calls, the lines they occupy, and time passing over them.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap, VecDeque};

use chrono::{DateTime, DurationRound, SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};

use super::ledger::{Ledger, Ring};
use super::script::{Plan, Plans, Stuck};

/// From taking a call to its phone ringing, as its status shows it; the ledger has the ring at once.
const QUEUED_SECONDS: f64 = 1.0;
/// What a message about the end of a call says beside the call, and not in it.
const TOLD_BESIDE_THE_CALL: [&str; 6] = ["endedReason", "startedAt", "endedAt", "cost", "analysis", "artifact"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Scheduled,
    Queued,
    Ringing,
    InProgress,
    Ended,
}

impl Status {
    fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Queued => "queued",
            Self::Ringing => "ringing",
            Self::InProgress => "in-progress",
            Self::Ended => "ended",
        }
    }
}

/// What a valid request asks for.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    pub(super) phone: String,
    pub(super) name: Option<String>,
    pub(super) assistant: Option<String>,
    pub(super) line: Option<String>,
    pub(super) earliest_at: Option<DateTime<Utc>>,
    /// The request's own properties, which the record repeats.
    pub(super) echo: Value,
}

/// How a call is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taking {
    /// It rings.
    Ring,
    /// It waits for a free line.
    Wait,
    /// It waits so long, and then for a free line.
    WaitAtLeast(TimeDelta),
    /// It ends with the account's concurrency limit as its reason.
    End,
}

#[derive(Debug)]
struct Call {
    id: String,
    org: String,
    wanted: Wanted,
    plan: Plan,
    status: Status,
    /// It occupies a line.
    live: bool,
    erased: bool,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    visible_at: DateTime<Utc>,
    started_at: Option<DateTime<Utc>>,
    ended_at: Option<DateTime<Utc>>,
    ended_reason: Option<String>,
}

#[derive(Debug)]
struct Org {
    limit: usize,
    live: usize,
    waiting: VecDeque<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Due,
    Ringing,
    Answered,
    Ended,
}

/// A step of a call at its instant; steps of one instant happen in the order in which they were planned.
type Planned = (DateTime<Utc>, u64, usize, Step);

/// The calls of every organisation.
#[derive(Debug)]
pub(super) struct Calls {
    pub(super) ledger: Ledger,
    pub(super) plans: Plans,
    all: Vec<Call>,
    by_id: HashMap<String, usize>,
    by_creation: BTreeSet<(DateTime<Utc>, usize)>,
    orgs: HashMap<String, Org>,
    timeline: BinaryHeap<Reverse<Planned>>,
    steps: u64,
    ids: fastrand::Rng,
    /// How long after its end a call has a cost, a transcript and an analysis.
    pub(super) analysis_seconds: f64,
    /// Whether somebody is to be told what happens.
    pub(super) tells: bool,
    /// What was not told yet: when it happened, and the message.
    messages: Vec<(DateTime<Utc>, Value)>,
}

/// Which calls a listing shows.
#[derive(Debug, Default)]
pub(super) struct Filter {
    pub(super) id: Option<String>,
    pub(super) assistant: Option<String>,
    pub(super) line: Option<String>,
    pub(super) created: Between,
    pub(super) updated: Between,
    pub(super) limit: usize,
}

/// A range of time; ends are exclusive or inclusive by their name.
#[derive(Debug, Default)]
pub(super) struct Between {
    pub(super) gt: Option<DateTime<Utc>>,
    pub(super) ge: Option<DateTime<Utc>>,
    pub(super) lt: Option<DateTime<Utc>>,
    pub(super) le: Option<DateTime<Utc>>,
}

impl Between {
    fn holds(&self, at: DateTime<Utc>) -> bool {
        self.gt.is_none_or(|gt| at > gt)
            && self.ge.is_none_or(|ge| at >= ge)
            && self.lt.is_none_or(|lt| at < lt)
            && self.le.is_none_or(|le| at <= le)
    }
}

impl Calls {
    pub(super) fn new(ledger: Ledger, plans: Plans, seed: u64) -> Self {
        Self {
            ledger,
            plans,
            all: Vec::new(),
            by_id: HashMap::new(),
            by_creation: BTreeSet::new(),
            orgs: HashMap::new(),
            timeline: BinaryHeap::new(),
            steps: 0,
            ids: fastrand::Rng::with_seed(seed),
            analysis_seconds: 0.0,
            tells: false,
            messages: Vec::new(),
        }
    }

    /// What happened since this was last asked, as the service tells it.
    pub(super) fn take_messages(&mut self) -> Vec<(DateTime<Utc>, Value)> {
        std::mem::take(&mut self.messages)
    }

    /// Tells the status of a call, and of one that ended what came of it.
    fn tell(&mut self, index: usize, now: DateTime<Utc>) {
        if !self.tells {
            return;
        }
        let analysed_at = now + super::seconds(self.analysis_seconds).unwrap_or(TimeDelta::zero());
        let record = self.record(index, analysed_at);
        let mut call = record.clone();
        if let Some(call) = call.as_object_mut() {
            call.retain(|key, _| !TOLD_BESIDE_THE_CALL.contains(&key.as_str()));
        }
        let mut message = json!({
            "type": "status-update", "timestamp": now.timestamp_millis(), "status": record["status"], "call": call,
        });
        if let Some(reason) = record.get("endedReason") {
            message["endedReason"] = reason.clone();
            let mut report =
                json!({"type": "end-of-call-report", "timestamp": analysed_at.timestamp_millis(), "call": call});
            for key in TOLD_BESIDE_THE_CALL {
                if let Some(value) = record.get(key) {
                    report[key] = value.clone();
                }
            }
            self.messages.push((now, json!({"message": message})));
            self.messages.push((analysed_at, json!({"message": report})));
        } else {
            self.messages.push((now, json!({"message": message})));
        }
    }

    /// Gives an organisation so many lines; calls that wait for one ring now.
    pub(super) fn set_limit(&mut self, org: &str, limit: usize, now: DateTime<Utc>) {
        let lines = Org { limit, live: 0, waiting: VecDeque::new() };
        self.orgs.entry(org.to_owned()).or_insert(lines).limit = limit;
        self.ring_waiting(org, now);
    }

    pub(super) fn limit(&self, org: &str) -> usize {
        self.orgs.get(org).map_or(0, |org| org.limit)
    }

    /// Lines that are free.
    pub(super) fn free(&self, org: &str) -> usize {
        self.orgs.get(org).map_or(0, |org| org.limit.saturating_sub(org.live))
    }

    /// Lets everything happen that is due by `now`, in its order and each at its own instant.
    pub(super) fn advance(&mut self, now: DateTime<Utc>) {
        while let Some(Reverse((at, _, call, step))) = self.timeline.peek().copied() {
            if at > now {
                break;
            }
            self.timeline.pop();
            self.step(call, step, at);
        }
    }

    /// Takes a call and gives its id. What rings is in the ledger when this returns.
    pub(super) fn take(
        &mut self,
        org: &str,
        wanted: Wanted,
        taking: Taking,
        lag: TimeDelta,
        now: DateTime<Utc>,
    ) -> String {
        let id = new_id(&mut self.ids);
        let index = self.all.len();
        let created_at = now.duration_trunc(TimeDelta::milliseconds(1)).unwrap_or(now);
        let mut plan = self.plans.next(&wanted.phone);
        let earliest_at = wanted.earliest_at.filter(|at| *at > now);
        if taking == Taking::End {
            plan = Plan {
                ended_reason: "call.start.error-subscription-concurrency-limit-reached".to_owned(),
                talk_seconds: None,
                stuck: None,
                transcript: None,
                summary: None,
                ..plan
            };
        }
        self.all.push(Call {
            id: id.clone(),
            org: org.to_owned(),
            wanted,
            plan,
            status: Status::Scheduled,
            live: false,
            erased: false,
            created_at,
            updated_at: now,
            visible_at: now + lag,
            started_at: None,
            ended_at: None,
            ended_reason: None,
        });
        self.by_id.insert(id.clone(), index);
        self.by_creation.insert((created_at, index));
        match taking {
            Taking::End => {
                self.all[index].status = Status::Queued;
                self.later(now, 0.0, index, Step::Ended);
            }
            _ if earliest_at.is_some() => self.at(earliest_at.unwrap_or(now), index, Step::Due),
            Taking::Ring => self.ring(index, now),
            Taking::Wait => self.wait(index),
            Taking::WaitAtLeast(wait) => self.at(now + wait, index, Step::Due),
        }
        id
    }

    /// Takes a call back, or erases the record of one that has ended; none when the organisation has no such call.
    pub(super) fn delete(&mut self, org: &str, id: &str, now: DateTime<Utc>) -> Option<Value> {
        let index = self.find(org, id)?;
        let call = &mut self.all[index];
        if call.status == Status::Ended {
            call.erased = true;
        } else {
            let reason = if call.live { "call-deleted" } else { "scheduled-call-deleted" };
            reason.clone_into(&mut call.plan.ended_reason);
            call.plan.transcript = None;
            call.plan.summary = None;
            self.step(index, Step::Ended, now);
        }
        Some(self.record(index, now))
    }

    /// Renames a call; none when the organisation has no such call.
    pub(super) fn rename(&mut self, org: &str, id: &str, name: Option<String>, now: DateTime<Utc>) -> Option<Value> {
        let index = self.find(org, id)?;
        let call = &mut self.all[index];
        call.wanted.echo["name"] = json!(name);
        call.wanted.name = name;
        call.updated_at = now;
        Some(self.record(index, now))
    }

    /// The record of a call that its organisation can see by now.
    pub(super) fn get(&self, org: &str, id: &str, now: DateTime<Utc>) -> Option<Value> {
        self.find(org, id).filter(|index| self.all[*index].visible_at <= now).map(|index| self.record(index, now))
    }

    /// The record of a call that was just taken.
    pub(super) fn taken(&self, id: &str, now: DateTime<Utc>) -> Value {
        self.by_id.get(id).map_or(Value::Null, |index| self.record(*index, now))
    }

    /// The newest first.
    pub(super) fn list(&self, org: &str, filter: &Filter, now: DateTime<Utc>) -> Vec<Value> {
        let from = filter.created.ge.max(filter.created.gt).unwrap_or(DateTime::<Utc>::MIN_UTC);
        let to = [filter.created.le, filter.created.lt].into_iter().flatten().min().unwrap_or(DateTime::<Utc>::MAX_UTC);
        if from > to {
            return Vec::new();
        }
        let same = |wanted: &Option<String>, has: Option<&String>| wanted.as_ref().is_none_or(|w| Some(w) == has);
        self.by_creation
            .range((from, 0)..=(to, usize::MAX))
            .rev()
            .map(|(_, index)| *index)
            .filter(|index| {
                let call = &self.all[*index];
                call.org == org
                    && !call.erased
                    && call.visible_at <= now
                    && same(&filter.id, Some(&call.id))
                    && same(&filter.assistant, call.wanted.assistant.as_ref())
                    && same(&filter.line, call.wanted.line.as_ref())
                    && filter.created.holds(call.created_at)
                    && filter.updated.holds(call.updated_at)
            })
            .take(filter.limit)
            .map(|index| self.record(index, now))
            .collect()
    }

    fn find(&self, org: &str, id: &str) -> Option<usize> {
        self.by_id.get(id).copied().filter(|index| self.all[*index].org == org && !self.all[*index].erased)
    }

    fn at(&mut self, at: DateTime<Utc>, call: usize, step: Step) {
        self.steps += 1;
        self.timeline.push(Reverse((at, self.steps, call, step)));
    }

    fn later(&mut self, now: DateTime<Utc>, seconds: f64, call: usize, step: Step) {
        // What never comes is as good as not planned.
        if let Some(at) = super::seconds(seconds).and_then(|wait| now.checked_add_signed(wait)) {
            self.at(at, call, step);
        }
    }

    fn wait(&mut self, index: usize) {
        if let Some(org) = self.orgs.get_mut(&self.all[index].org) {
            org.waiting.push_back(index);
        }
    }

    fn ring_waiting(&mut self, org: &str, now: DateTime<Utc>) {
        while let Some(lines) = self.orgs.get_mut(org).filter(|lines| lines.live < lines.limit) {
            let Some(index) = lines.waiting.pop_front() else { break };
            if self.all[index].status == Status::Scheduled {
                self.ring(index, now);
            }
        }
    }

    /// The one place where a phone rings: the ledger has it before anybody is told.
    fn ring(&mut self, index: usize, now: DateTime<Utc>) {
        let call = &mut self.all[index];
        call.status = Status::Queued;
        call.live = true;
        call.updated_at = now;
        let live = self.orgs.get_mut(&call.org).map_or(1, |org| {
            org.live += 1;
            org.live
        });
        let ring = Ring {
            at: now,
            phone: call.wanted.phone.clone(),
            name: call.wanted.name.clone(),
            org: call.org.clone(),
            id: call.id.clone(),
            assistant: call.wanted.assistant.clone(),
            line: call.wanted.line.clone(),
        };
        let is_stuck = call.plan.stuck == Some(Stuck::Queued);
        self.ledger.record(ring, live);
        self.tell(index, now);
        if !is_stuck {
            let wait = QUEUED_SECONDS * self.plans.pace;
            self.later(now, wait, index, Step::Ringing);
        }
    }

    fn step(&mut self, index: usize, step: Step, now: DateTime<Utc>) {
        let call = &mut self.all[index];
        if call.status == Status::Ended {
            return;
        }
        call.updated_at = now;
        let stuck = call.plan.stuck;
        match step {
            Step::Due => {
                if self.orgs.get(&call.org).is_some_and(|org| org.live < org.limit) {
                    self.ring(index, now);
                } else {
                    self.wait(index);
                }
            }
            Step::Ringing => {
                call.status = Status::Ringing;
                let next = if call.plan.talk_seconds.is_some() { Step::Answered } else { Step::Ended };
                let wait = call.plan.ring_seconds;
                self.tell(index, now);
                if stuck != Some(Stuck::Ringing) {
                    self.later(now, wait, index, next);
                }
            }
            Step::Answered => {
                call.status = Status::InProgress;
                call.started_at = Some(now);
                let wait = call.plan.talk_seconds.unwrap_or_default();
                self.tell(index, now);
                if stuck != Some(Stuck::InProgress) {
                    self.later(now, wait, index, Step::Ended);
                }
            }
            Step::Ended => {
                call.status = Status::Ended;
                call.ended_at = Some(now);
                call.ended_reason = Some(call.plan.ended_reason.clone());
                let was_live = std::mem::take(&mut call.live);
                let org = call.org.clone();
                self.tell(index, now);
                if was_live {
                    if let Some(lines) = self.orgs.get_mut(&org) {
                        lines.live = lines.live.saturating_sub(1);
                    }
                    self.ring_waiting(&org, now);
                }
            }
        }
    }

    /// The record of a call as it is at `now`.
    fn record(&self, index: usize, now: DateTime<Utc>) -> Value {
        let call = &self.all[index];
        let time = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Millis, true);
        let mut record = json!({
            "id": call.id,
            "orgId": call.org,
            "type": "outboundPhoneCall",
            "status": call.status.as_str(),
            "createdAt": time(call.created_at),
            "updatedAt": time(call.updated_at),
            "phoneCallProvider": "twilio",
            "phoneCallTransport": "pstn",
            "cost": 0,
        });
        if let Some(echo) = call.wanted.echo.as_object() {
            for (key, value) in echo {
                record[key] = value.clone();
            }
        }
        if let Some(at) = call.started_at {
            record["startedAt"] = json!(time(at));
        }
        if let (Some(ended_at), Some(reason)) = (call.ended_at, &call.ended_reason) {
            record["endedAt"] = json!(time(ended_at));
            record["endedReason"] = json!(reason);
            if super::seconds(self.analysis_seconds).is_some_and(|wait| now < ended_at + wait) {
                record.as_object_mut().map(|record| record.remove("cost"));
                return record;
            }
            if let Some(started_at) = call.started_at {
                // Five cents and a tenth of a cent a second, in whole cents: sums are the same on every machine.
                let cents = 5 + (ended_at - started_at).num_seconds() / 10;
                record["cost"] = json!(f64::from(i32::try_from(cents).unwrap_or(i32::MAX)) / 100.0);
            }
            if let Some(summary) = &call.plan.summary {
                record["analysis"] = json!({"summary": summary, "successEvaluation": "true"});
            }
            if let Some(transcript) = &call.plan.transcript {
                record["artifact"] = json!({"transcript": transcript});
            }
        }
        record
    }
}

/// A version 4 UUID from the seed.
pub(super) fn new_id(random: &mut fastrand::Rng) -> String {
    let bits = random.u128(..) & !(0xf << 76) & !(0b11 << 62) | (0x4 << 76) | (0b10 << 62);
    let hex = format!("{bits:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}
