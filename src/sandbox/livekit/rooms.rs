//! The rooms of every organisation.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::sandbox::state::Calls;

/// What a valid request for a room asks for.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) name: String,
    pub(super) metadata: String,
    pub(super) empty_timeout: u32,
    pub(super) departure_timeout: u32,
    pub(super) max_participants: u32,
    pub(super) agents: Vec<String>,
}

#[derive(Debug)]
pub(in crate::sandbox) struct Room {
    pub(super) sid: String,
    pub(super) name: String,
    pub(super) metadata: String,
    pub(super) empty_timeout: u32,
    pub(super) departure_timeout: u32,
    pub(super) max_participants: u32,
    pub(super) created_at: DateTime<Utc>,
    /// Agents that were started in it.
    pub(super) agents: Vec<String>,
}

/// Rooms by organisation and name, those that are closed as well.
#[derive(Debug, Default)]
pub(in crate::sandbox) struct Rooms {
    all: BTreeMap<(String, String), Room>,
    made: u64,
    agents_started: BTreeMap<String, u64>,
}

impl Rooms {
    /// Makes a room and starts its agents, or applies the settings to the one that is there.
    pub(super) fn open(&mut self, org: &str, wanted: Wanted, is_new: bool, now: DateTime<Utc>) -> &Room {
        let key = (org.to_owned(), wanted.name.clone());
        if is_new {
            self.made += 1;
            self.all.remove(&key);
            for agent in &wanted.agents {
                *self.agents_started.entry(agent.clone()).or_default() += 1;
            }
        }
        let made = self.made;
        let room = self.all.entry(key).or_insert_with(|| Room {
            sid: format!("RM_{made:012}"),
            name: wanted.name,
            metadata: String::new(),
            empty_timeout: 0,
            departure_timeout: 0,
            max_participants: 0,
            created_at: now,
            agents: wanted.agents,
        });
        room.empty_timeout = wanted.empty_timeout;
        room.departure_timeout = wanted.departure_timeout;
        room.max_participants = wanted.max_participants;
        if !wanted.metadata.is_empty() {
            room.metadata = wanted.metadata;
        }
        room
    }

    pub(super) fn of(&self, org: &str) -> impl Iterator<Item = &Room> {
        self.all.iter().filter(move |((owner, _), _)| owner == org).map(|(_, room)| room)
    }

    /// Whether a room is there: somebody is in it, left it a moment ago, or may still come. Agents do not keep it open.
    pub(super) fn is_open(&self, org: &str, name: &str, calls: &Calls, now: DateTime<Utc>) -> bool {
        let Some(room) = self.all.get(&(org.to_owned(), name.to_owned())) else { return false };
        let seconds = |seconds: u32| TimeDelta::seconds(seconds.into());
        let mut is_empty = true;
        let is_used = calls.ends_in_room(org, name, room.created_at).any(|left_at| {
            is_empty = false;
            left_at.is_none_or(|left_at| now < left_at + seconds(room.departure_timeout))
        });
        is_used || is_empty && now < room.created_at + seconds(room.empty_timeout)
    }

    /// How many agents of each name were started.
    pub(in crate::sandbox) fn agents_started(&self) -> Value {
        json!(self.agents_started)
    }
}
