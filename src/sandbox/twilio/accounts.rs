//! Twilio's accounts, and who may speak for them.

use std::collections::HashMap;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};

/// The account that is there from the start.
pub(in crate::sandbox) const MAIN: &str = "AC0000000000000000000000000000005a";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) sid: String,
    pub(super) friendly_name: String,
    /// The main account that it is a part of; none of a main account.
    pub(super) owner: Option<String>,
    /// Its auth token; without one, any key of the sandbox's organisations is.
    pub(super) key: Option<String>,
    pub(super) status: String,
    pub(super) created_at: DateTime<Utc>,
}

/// Every account, in the order in which they were made.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    all: Vec<Account>,
    by_sid: HashMap<String, usize>,
}

impl Accounts {
    /// Adds an account, or changes the one that has its sid.
    pub(super) fn put(&mut self, account: Account) {
        if let Some(index) = self.by_sid.get(&account.sid) {
            self.all[*index] = account;
        } else {
            self.by_sid.insert(account.sid.clone(), self.all.len());
            self.all.push(account);
        }
    }

    pub(super) fn get(&self, index: usize) -> &Account {
        &self.all[index]
    }

    pub(super) fn find(&self, sid: &str) -> Option<usize> {
        self.by_sid.get(sid).copied()
    }

    /// The account whose credentials a request shows: its sid and auth token, or its API key and the secret of that. An
    /// account's API key is its sid with `SK` for `AC`, and the secret is the auth token.
    pub(super) fn speaker(&self, headers: &HeaderMap, keys: &HashMap<String, String>) -> Option<usize> {
        let encoded = headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Basic ")?;
        let decoded = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
        let (user, password) = decoded.split_once(':')?;
        let index = match user.strip_prefix("SK") {
            Some(rest) => self.find(&format!("AC{rest}")),
            None => self.find(user),
        }?;
        let holds = match &self.all[index].key {
            Some(key) => key == password,
            None => keys.contains_key(password),
        };
        holds.then_some(index)
    }

    /// The account of that sid, if whoever speaks reaches it: a main account reaches its subaccounts.
    pub(super) fn reached(&self, speaker: usize, sid: &str) -> Option<usize> {
        self.find(sid).filter(|index| self.is_of(*index, speaker))
    }

    /// An account and its subaccounts.
    pub(super) fn of(&self, speaker: usize) -> impl Iterator<Item = (usize, &Account)> {
        self.all.iter().enumerate().filter(move |(index, _)| self.is_of(*index, speaker))
    }

    fn is_of(&self, index: usize, speaker: usize) -> bool {
        index == speaker || self.all[index].owner.as_ref() == Some(&self.all[speaker].sid)
    }
}

/// The number in a sid, which is written in lower case.
pub(super) fn sid(prefix: &str, text: &str) -> Option<u128> {
    let hex = text.strip_prefix(prefix).filter(|hex| hex.len() == 32)?;
    let is_lower = hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_lower.then(|| u128::from_str_radix(hex, 16).ok())?
}

/// Whether a text has the form of a sid, in either case.
pub(super) fn is_sid(prefix: &str, text: &str) -> bool {
    text.strip_prefix(prefix).is_some_and(|hex| hex.len() == 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
}
