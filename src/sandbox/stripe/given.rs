//! What tests put into Stripe.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::mailbox::{Hook, Secrets};
use super::usual::{Shape, Usual, customer};
use super::{Account, Stripe};

/// A body of `POST /_sandbox/stripe`. It is carried out in this order.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::sandbox) struct Given {
    shape: Option<Shape>,
    accounts: Vec<GivenAccount>,
    webhook: Option<Hook>,
    customers: Vec<GivenCustomer>,
    events: Vec<GivenEvent>,
    /// One or a list of them.
    usual: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GivenAccount {
    key: String,
    webhook_secret: String,
    /// The one that is being rolled; none where none is given.
    previous_secret: Option<String>,
    #[serde(default)]
    livemode: bool,
}

/// A customer by the service's own names; what is not given is as of a customer of whom nothing is known.
#[derive(Debug, Deserialize)]
struct GivenCustomer {
    id: String,
    account: Option<String>,
    created: Option<When>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GivenEvent {
    #[serde(rename = "type")]
    kind: String,
    object: Value,
    previous_attributes: Option<Value>,
    id: Option<String>,
    account: Option<String>,
    created: Option<When>,
    livemode: Option<bool>,
    api_version: Option<String>,
}

/// A time in seconds, as the service writes it, or as text.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum When {
    Seconds(i64),
    Text(DateTime<Utc>),
}

impl When {
    pub(super) fn seconds(self) -> i64 {
        match self {
            Self::Seconds(seconds) => seconds,
            Self::Text(at) => at.timestamp(),
        }
    }
}

impl Stripe {
    /// Takes it all in, or nothing of it.
    ///
    /// # Errors
    /// Naming what makes no sense.
    pub(in crate::sandbox) fn give(&mut self, given: Given, now: DateTime<Utc>) -> Result<(), String> {
        let shape = given.shape.unwrap_or(self.shape);
        let mut accounts = self.accounts.clone();
        for account in given.accounts {
            put(&mut accounts, account);
        }
        let whose = |key: Option<&str>| match key {
            Some(key) => accounts.iter().position(|account| account.key == key).ok_or(format!("no account `{key}`")),
            None if accounts.is_empty() => Err("no account is there".to_owned()),
            None => Ok(0),
        };
        let hook = match given.webhook {
            Some(hook) => {
                hook.check()?;
                Some((whose(hook.account.as_deref())?, hook))
            }
            None => None,
        };
        let mut objects = Vec::new();
        let mut events = Vec::new();
        for one in given.customers {
            let account = whose(one.account.as_deref())?;
            let created = one.created.map_or(now.timestamp(), When::seconds);
            objects.push((account, customer(&one.id, created, accounts[account].livemode, one.rest)));
        }
        for one in given.events {
            let account = whose(one.account.as_deref())?;
            if !one.object.is_object() {
                return Err(format!("{} is about no object", one.kind));
            }
            let livemode = one.livemode.unwrap_or(accounts[account].livemode);
            let id = one.id.unwrap_or_else(|| self.new_event_id());
            let mut event = event(&id, &one.kind, one.object, livemode, shape);
            event["created"] = json!(one.created.map_or(now.timestamp(), When::seconds));
            if let Some(version) = one.api_version {
                event["api_version"] = json!(version);
            }
            if let Some(previous) = one.previous_attributes {
                event["data"]["previous_attributes"] = previous;
            }
            events.push((account, event));
        }
        let usual = match given.usual {
            None => Vec::new(),
            Some(Value::Array(many)) => many,
            Some(one) => vec![one],
        };
        for one in usual {
            let one: Usual = serde_json::from_value(one).map_err(|error| format!("usual: {error}"))?;
            let account = whose(one.account.as_deref())?;
            let livemode = one.livemode.unwrap_or(accounts[account].livemode);
            let is_known = self.objects.contains_key(&(account, one.customer.clone()))
                || objects.iter().any(|(of, object)| *of == account && object["id"] == one.customer.as_str());
            if !is_known {
                objects.push((account, one.customer(now, livemode)));
            }
            let id = one.id.clone().unwrap_or_else(|| self.new_event_id());
            let mut event = event(&id, one.kind.event(), one.object(now, livemode, shape), livemode, shape);
            event["created"] = json!(one.created(now));
            events.push((account, event));
        }
        let mut ids: HashSet<&Value> = self.events.iter().map(|event| &event.value["id"]).collect();
        if let Some((_, event)) = events.iter().find(|(_, event)| !ids.insert(&event["id"])) {
            return Err(format!("{} was there before", event["id"]));
        }
        self.shape = shape;
        self.accounts = accounts;
        self.mailbox.hooks.extend(hook);
        for (account, object) in objects {
            self.objects.insert((account, object["id"].as_str().unwrap_or_default().to_owned()), object);
        }
        for (account, event) in events {
            self.happen(account, event, now);
        }
        Ok(())
    }

    fn new_event_id(&mut self) -> String {
        format!("evt_1{:020x}", self.random.u128(..) >> 48)
    }
}

/// Adds an account, or changes the one that has its key.
fn put(accounts: &mut Vec<Account>, given: GivenAccount) {
    let account = Account {
        livemode: given.livemode,
        secrets: Secrets { current: given.webhook_secret, previous: given.previous_secret },
        key: given.key,
    };
    match accounts.iter_mut().find(|has| has.key == account.key) {
        Some(has) => *has = account,
        None => accounts.push(account),
    }
}

fn event(id: &str, kind: &str, mut object: Value, livemode: bool, shape: Shape) -> Value {
    if object.get("livemode").is_some() {
        object["livemode"] = json!(livemode);
    }
    json!({
        "id": id, "object": "event", "api_version": shape.api_version(), "context": null, "created": 0,
        "data": {"object": object}, "livemode": livemode, "pending_webhooks": 1,
        "request": {"id": format!("req_{}", id.trim_start_matches("evt_")), "idempotency_key": null}, "type": kind,
    })
}
