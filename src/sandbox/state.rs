//! The calls, the lines they occupy, and time passing over them.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap, VecDeque};

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use serde_json::{Value, json};

use super::filter::Filter;
use super::ledger::{Ledger, Ring};
use super::script::{Plan, Plans, Stuck};
use super::{elevenlabs, livekit, vapi};

/// From taking a call to its phone ringing, as its status shows it; the ledger has the ring at once.
const QUEUED_SECONDS: f64 = 1.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Scheduled,
    Queued,
    Ringing,
    InProgress,
    Ended,
}

impl Status {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Queued => "queued",
            Self::Ringing => "ringing",
            Self::InProgress => "in-progress",
            Self::Ended => "ended",
        }
    }
}

/// The service that is asked for a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Service {
    #[default]
    Vapi,
    ElevenLabs,
    LiveKit,
}

/// What a service tells by webhook.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) service: Service,
    /// Of whose call.
    pub(super) org: String,
    pub(super) body: Value,
}

/// What a valid request asks for.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    pub(super) service: Service,
    pub(super) phone: String,
    pub(super) name: Option<String>,
    pub(super) assistant: Option<String>,
    pub(super) line: Option<String>,
    pub(super) earliest_at: Option<DateTime<Utc>>,
    /// Whoever asks waits for the call to be answered or over: that takes no time.
    pub(super) at_once: bool,
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
pub(super) struct Call {
    pub(super) id: String,
    pub(super) org: String,
    pub(super) wanted: Wanted,
    pub(super) plan: Plan,
    pub(super) status: Status,
    /// It occupies a line.
    live: bool,
    erased: bool,
    pub(super) created_at: DateTime<Utc>,
    pub(super) updated_at: DateTime<Utc>,
    visible_at: DateTime<Utc>,
    pub(super) started_at: Option<DateTime<Utc>>,
    pub(super) ended_at: Option<DateTime<Utc>>,
    pub(super) ended_reason: Option<String>,
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
    by_room: HashMap<String, Vec<usize>>,
    by_creation: BTreeSet<(DateTime<Utc>, usize)>,
    orgs: HashMap<String, Org>,
    timeline: BinaryHeap<Reverse<Planned>>,
    steps: u64,
    ids: fastrand::Rng,
    /// How long after its end a call has a cost, a transcript and an analysis.
    pub(super) analysis_seconds: f64,
    /// Whether a service that can say why nobody picked up does.
    pub(super) tells_unanswered: bool,
    /// Whether somebody is to be told what happens.
    pub(super) tells: bool,
    /// What was not told yet: when it happened, and the message.
    messages: Vec<(DateTime<Utc>, Message)>,
    /// How many messages have got an id.
    numbered: u64,
}

impl Calls {
    pub(super) fn new(ledger: Ledger, plans: Plans, seed: u64) -> Self {
        Self {
            ledger,
            plans,
            all: Vec::new(),
            by_id: HashMap::new(),
            by_room: HashMap::new(),
            by_creation: BTreeSet::new(),
            orgs: HashMap::new(),
            timeline: BinaryHeap::new(),
            steps: 0,
            ids: fastrand::Rng::with_seed(seed),
            analysis_seconds: 0.0,
            tells_unanswered: true,
            tells: false,
            messages: Vec::new(),
            numbered: 0,
        }
    }

    /// What happened since this was last asked, as the service tells it.
    pub(super) fn take_messages(&mut self) -> Vec<(DateTime<Utc>, Message)> {
        std::mem::take(&mut self.messages)
    }

    /// Tells what just became of a call, in the words of its service.
    fn tell(&mut self, index: usize, now: DateTime<Utc>) {
        if !self.tells {
            return;
        }
        let call = &self.all[index];
        let (service, org) = (call.wanted.service, call.org.clone());
        match service {
            Service::Vapi | Service::ElevenLabs => {
                let messages = if service == Service::Vapi {
                    vapi::record::messages(call, self.analysis_seconds, now)
                } else {
                    elevenlabs::record::messages(call, self.analysis_seconds, now)
                };
                self.messages
                    .extend(messages.into_iter().map(|(at, body)| (at, Message { service, org: org.clone(), body })));
            }
            Service::LiveKit => {
                for (at, body) in livekit::record::messages(call, now) {
                    self.say(&org, at, body);
                }
            }
        }
    }

    /// Tells an event of LiveKit's, which gets an id.
    pub(super) fn say(&mut self, org: &str, at: DateTime<Utc>, mut body: Value) {
        self.numbered += 1;
        body["id"] = json!(format!("EV_{:012}", self.numbered));
        self.messages.push((at, Message { service: Service::LiveKit, org: org.to_owned(), body }));
    }

    /// The calls that go on in a room, as far as they are shown by now.
    pub(super) fn in_room(&self, org: &str, room: &str, now: DateTime<Utc>) -> Vec<&Call> {
        self.of_room(org, room).filter(|call| call.status != Status::Ended && call.visible_at <= now).collect()
    }

    /// When the calls of a room ended that was made since then; none of a call that goes on.
    pub(super) fn ends_in_room(
        &self,
        org: &str,
        room: &str,
        since: DateTime<Utc>,
    ) -> impl Iterator<Item = Option<DateTime<Utc>>> {
        self.of_room(org, room).filter(move |call| call.updated_at >= since).map(|call| call.ended_at)
    }

    fn of_room(&self, org: &str, room: &str) -> impl Iterator<Item = &Call> {
        let calls = self.by_room.get(room).map_or(&[][..], Vec::as_slice);
        calls.iter().map(|index| &self.all[*index]).filter(move |call| call.org == org)
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
        let id = match wanted.service {
            Service::Vapi | Service::LiveKit => new_id(&mut self.ids),
            Service::ElevenLabs => format!("conv_{}", new_id(&mut self.ids).replace('-', "")),
        };
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
        if let (Service::LiveKit, Some(room)) = (wanted.service, &wanted.name) {
            self.by_room.entry(room.clone()).or_default().push(index);
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
    pub(super) fn delete(&mut self, org: &str, id: &str, now: DateTime<Utc>) -> Option<&Call> {
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
        Some(&self.all[index])
    }

    /// Renames a call; none when the organisation has no such call.
    pub(super) fn rename(&mut self, org: &str, id: &str, name: Option<String>, now: DateTime<Utc>) -> Option<&Call> {
        let index = self.find(org, id)?;
        let call = &mut self.all[index];
        call.wanted.echo["name"] = json!(name);
        call.wanted.name = name;
        call.updated_at = now;
        Some(&self.all[index])
    }

    /// A call that its organisation can see by now.
    pub(super) fn get(&self, org: &str, id: &str, now: DateTime<Utc>) -> Option<&Call> {
        self.find(org, id).map(|index| &self.all[index]).filter(|call| call.visible_at <= now)
    }

    /// A call that was just taken.
    pub(super) fn taken(&self, id: &str) -> Option<&Call> {
        self.by_id.get(id).map(|index| &self.all[*index])
    }

    /// The newest first.
    pub(super) fn list(&self, org: &str, filter: &Filter, now: DateTime<Utc>) -> Vec<&Call> {
        let from = filter.created.ge.max(filter.created.gt).unwrap_or(DateTime::<Utc>::MIN_UTC);
        let to = [filter.created.le, filter.created.lt].into_iter().flatten().min().unwrap_or(DateTime::<Utc>::MAX_UTC);
        if from > to {
            return Vec::new();
        }
        let same = |wanted: &Option<String>, has: Option<&String>| wanted.as_ref().is_none_or(|w| Some(w) == has);
        self.by_creation
            .range((from, 0)..=(to, usize::MAX))
            .rev()
            .map(|(_, index)| &self.all[*index])
            .filter(|call| {
                call.org == org
                    && call.wanted.service == filter.service
                    && !call.erased
                    && call.visible_at <= now
                    && same(&filter.id, Some(&call.id))
                    && same(&filter.name, call.wanted.name.as_ref())
                    && same(&filter.assistant, call.wanted.assistant.as_ref())
                    && same(&filter.line, call.wanted.line.as_ref())
                    && filter.created.holds(call.created_at)
                    && filter.updated.holds(call.updated_at)
            })
            .take(filter.limit)
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
            let wait = if self.all[index].wanted.at_once { 0.0 } else { QUEUED_SECONDS * self.plans.pace };
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
                let wait = if call.wanted.at_once { 0.0 } else { call.plan.ring_seconds };
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
}

/// A version 4 UUID from the seed.
pub(super) fn new_id(random: &mut fastrand::Rng) -> String {
    let bits = random.u128(..) & !(0xf << 76) & !(0b11 << 62) | (0x4 << 76) | (0b10 << 62);
    let hex = format!("{bits:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}
