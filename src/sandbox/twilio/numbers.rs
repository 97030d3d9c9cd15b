//! The phone numbers that accounts have, and those that they had.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// What a number can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "they are the service's, and independent of each other")]
pub(super) struct Capabilities {
    #[serde(default = "yes")]
    pub(super) voice: bool,
    #[serde(default = "yes")]
    pub(super) sms: bool,
    #[serde(default = "yes")]
    pub(super) mms: bool,
    #[serde(default)]
    pub(super) fax: bool,
}

fn yes() -> bool {
    true
}

impl Default for Capabilities {
    fn default() -> Self {
        Self { voice: true, sms: true, mms: true, fax: false }
    }
}

/// What was set of a number, by the keys of its record.
pub(super) type Set = BTreeMap<&'static str, String>;

#[derive(Clone, Debug)]
pub(super) struct Number {
    pub(super) account: usize,
    pub(super) sid: u128,
    /// The digits of E.164.
    pub(super) phone: u64,
    /// Shared by the many that were made alike.
    pub(super) set: Arc<Set>,
    pub(super) capabilities: Capabilities,
    pub(super) bought_at: DateTime<Utc>,
    pub(super) updated_at: DateTime<Utc>,
    pub(super) visible_at: DateTime<Utc>,
}

impl Number {
    pub(super) fn sid(&self) -> String {
        format!("PN{:032x}", self.sid)
    }

    pub(super) fn e164(&self) -> String {
        format!("+{}", self.phone)
    }

    pub(super) fn friendly_name(&self) -> String {
        self.set.get("friendly_name").filter(|name| !name.is_empty()).cloned().unwrap_or_else(|| formatted(self.phone))
    }

    /// Sets what is given; a trunk and an application for calls delete each other.
    pub(super) fn change(&mut self, changes: Set, now: DateTime<Utc>) {
        let given = |key| changes.get(key).is_some_and(|sid: &String| !sid.is_empty());
        let (trunk, application) = (given("trunk_sid"), given("voice_application_sid"));
        let set = Arc::make_mut(&mut self.set);
        set.extend(changes);
        if trunk {
            set.remove("voice_application_sid");
        } else if application {
            set.remove("trunk_sid");
        }
        self.updated_at = now;
    }
}

/// A number as people of its country write it.
pub(super) fn formatted(phone: u64) -> String {
    let digits = phone.to_string();
    match digits.strip_prefix('1').filter(|national| national.len() == 10) {
        Some(national) => format!("({}) {}-{}", &national[..3], &national[3..6], &national[6..]),
        None => format!("+{digits}"),
    }
}

/// The digits of a phone in E.164.
pub(super) fn digits(phone: &str) -> Option<u64> {
    let digits = phone.strip_prefix('+')?;
    let sound = (7..=15).contains(&digits.len())
        && !digits.starts_with('0')
        && digits.bytes().all(|digit| digit.is_ascii_digit());
    sound.then(|| digits.parse().ok())?
}

#[derive(Debug)]
pub(super) struct Numbers {
    all: Vec<Number>,
    by_sid: HashMap<u128, usize>,
    /// Of a phone that was had more than once, the last.
    by_phone: HashMap<u64, usize>,
    /// What is had, by account and age.
    had: BTreeSet<(usize, DateTime<Utc>, usize)>,
    sids: fastrand::Rng,
}

impl Numbers {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            all: Vec::new(),
            by_sid: HashMap::new(),
            by_phone: HashMap::new(),
            had: BTreeSet::new(),
            sids: fastrand::Rng::with_seed(seed),
        }
    }

    pub(super) fn new_sid(&mut self) -> u128 {
        self.sids.u128(..)
    }

    pub(super) fn add(&mut self, number: Number) {
        let index = self.all.len();
        self.by_sid.insert(number.sid, index);
        self.by_phone.insert(number.phone, index);
        self.had.insert((number.account, number.bought_at, index));
        self.all.push(number);
    }

    /// How many are had by anybody.
    pub(super) fn count(&self) -> usize {
        self.had.len()
    }

    /// A number that the account has, as far as it is shown by now.
    pub(super) fn find(&self, account: usize, sid: u128, now: DateTime<Utc>) -> Option<&Number> {
        let index = *self.by_sid.get(&sid)?;
        let number = &self.all[index];
        let is_had = self.had.contains(&(account, number.bought_at, index));
        Some(number).filter(|number| is_had && number.visible_at <= now)
    }

    /// A number that anybody has or had.
    pub(super) fn known(&self, sid: u128) -> Option<&Number> {
        self.by_sid.get(&sid).map(|index| &self.all[*index])
    }

    /// Whether anybody has the phone.
    pub(super) fn is_had(&self, phone: u64) -> bool {
        self.by_phone.get(&phone).is_some_and(|index| {
            let number = &self.all[*index];
            self.had.contains(&(number.account, number.bought_at, *index))
        })
    }

    /// Whether anybody has the phone or had it: what was released is not sold again.
    pub(super) fn is_known(&self, phone: u64) -> bool {
        self.by_phone.contains_key(&phone)
    }

    /// The sid of a phone that the account has.
    pub(super) fn sid_of(&self, account: usize, phone: u64) -> Option<u128> {
        let number = &self.all[*self.by_phone.get(&phone)?];
        (number.account == account && self.is_had(phone)).then_some(number.sid)
    }

    /// Puts a number that is had in the place of what it was.
    pub(super) fn replace(&mut self, number: Number) {
        if let Some(index) = self.by_sid.get(&number.sid) {
            let before = &mut self.all[*index];
            self.had.remove(&(before.account, before.bought_at, *index));
            self.had.insert((number.account, number.bought_at, *index));
            *before = number;
        }
    }

    pub(super) fn release(&mut self, sid: u128) {
        if let Some(index) = self.by_sid.get(&sid) {
            let number = &self.all[*index];
            self.had.remove(&(number.account, number.bought_at, *index));
        }
    }

    /// The numbers of an account, the newest first, from behind the one that is given; none if there was no such number.
    pub(super) fn newest(&self, account: usize, after: Option<u128>) -> Option<impl Iterator<Item = &Number>> {
        let end = match after {
            None => (account, DateTime::<Utc>::MAX_UTC, usize::MAX),
            Some(sid) => {
                let index = *self.by_sid.get(&sid)?;
                (account, self.all[index].bought_at, index)
            }
        };
        let range = self.had.range((account, DateTime::<Utc>::MIN_UTC, 0)..end);
        Some(range.rev().map(|(_, _, index)| &self.all[*index]))
    }
}
