//! What the service knows, and how it answers.

use std::sync::Arc;

use axum::http::Method;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Value, json};

use super::accounts::{Account, Accounts, MAIN, is_sid, sid};
use super::contract::{
    CALL_FILTERS, CallFilter, PAGING, Paging, Wrong, is_like, page_size, parse_phone, parse_settings,
};
use super::inventory::{Country, Inventory, area_code, capabilities, contains};
use super::ledger::{Delete, Done, Ledger, Purchase, Update};
use super::numbers::{Number, Numbers, digits};
use super::record::{AccountRecord, AvailableNumber, Call, CallRecord, IncomingNumber, Page};
use super::{Asked, Resource, error, not_found};
use crate::sandbox::reply::Reply;

/// The longest `Contains`.
const MAX_CONTAINS_CHARS: usize = 16;

/// Everything that the service knows.
#[derive(Debug)]
pub(in crate::sandbox) struct Carrier {
    pub(super) accounts: Accounts,
    pub(super) numbers: Numbers,
    /// The newest first.
    pub(super) calls: Vec<Call>,
    pub(super) inventory: Inventory,
    pub(super) ledger: Ledger,
}

impl Carrier {
    pub(in crate::sandbox) fn new(seed: u64, now: DateTime<Utc>) -> Self {
        let mut accounts = Accounts::default();
        accounts.put(Account {
            sid: MAIN.to_owned(),
            friendly_name: "Sandbox".to_owned(),
            owner: None,
            key: None,
            status: "active".to_owned(),
            created_at: now,
        });
        Self {
            accounts,
            numbers: Numbers::new(seed),
            calls: Vec::new(),
            inventory: Inventory::new(seed),
            ledger: Ledger::default(),
        }
    }

    pub(in crate::sandbox) fn ledger(&self) -> Value {
        self.ledger.to_json(self.numbers.count())
    }
}

/// The sid of something on a page, and it.
type Item<T> = (String, T);

/// A page of what there is, of which one more than fits was taken.
fn page<T: Serialize>(asked: &Asked<'_>, paging: &Paging, key: &str, mut items: Vec<Item<T>>) -> Reply {
    let is_more = items.len() > paging.size;
    items.truncate(paging.size);
    let more_after = items.last().filter(|_| is_more).map(|(sid, _)| sid.clone());
    let items = items.into_iter().map(|(_, item)| item).collect();
    Reply::written(200, &Page { path: asked.path(), paging, key, items, more_after })
}

/// What comes behind the thing with that sid.
fn behind<T>(items: impl Iterator<Item = Item<T>>, paging: &Paging) -> Result<Vec<Item<T>>, Wrong> {
    let mut items = items;
    if let Some(after) = &paging.after {
        items.by_ref().find(|(sid, _)| sid == after).ok_or_else(Paging::bad_token)?;
    }
    Ok(items.take(paging.size + 1).collect())
}

impl Carrier {
    /// Enters a wish to release a number, whatever comes of it.
    pub(super) fn asked_to_delete(&mut self, path: &str, now: DateTime<Utc>) -> Option<usize> {
        let Some(Resource::Number(account, number)) = Resource::of(path) else { return None };
        let phone = sid("PN", number).and_then(|sid| self.numbers.known(sid)).map(Number::e164);
        let (account, sid) = (account.to_owned(), number.to_owned());
        Some(self.ledger.asked(Delete { at: now, account, sid, phone, status: Done::Nothing }))
    }

    pub(super) fn answer(&mut self, method: &Method, speaker: &str, asked: &Asked<'_>) -> Result<Reply, Reply> {
        let path = asked.path();
        let resource = Resource::of(path).ok_or_else(|| not_found(path))?;
        let stranger = || error(401, 20003, "Authenticate");
        let speaker = self.accounts.find(speaker).ok_or_else(stranger)?;
        let account = match resource.account() {
            None => speaker,
            Some(sid) if !is_sid("AC", sid) => return Err(not_found(path)),
            Some(sid) => self.accounts.reached(speaker, sid).ok_or_else(stranger)?,
        };
        match (method.as_str(), resource) {
            ("GET", Resource::Accounts) => self.list_accounts(speaker, asked),
            ("GET", Resource::Account(_)) => {
                asked.query(&[])?;
                Ok(Reply::written(200, &AccountRecord::of(self.accounts.get(account), asked.usual)))
            }
            ("GET", Resource::Numbers(_)) => self.list_numbers(account, asked),
            ("POST", Resource::Numbers(_)) => self.buy(account, asked),
            ("GET", Resource::Number(_, sid)) => {
                asked.query(&[])?;
                let number = self.number(account, sid, asked)?;
                Ok(Reply::written(200, &IncomingNumber::of(number, self.accounts.get(account))))
            }
            ("POST", Resource::Number(_, sid)) => self.update(speaker, account, sid, asked),
            ("DELETE", Resource::Number(_, sid)) => self.release(account, sid, asked),
            ("GET", Resource::Available(_, country)) => self.search(country, asked),
            ("GET", Resource::Calls(_)) => self.list_calls(account, asked),
            ("GET", Resource::Call(_, sid)) => {
                asked.query(&[])?;
                let call = self.calls.iter().find(|call| call.account == account && call.sid() == sid);
                let call = call.ok_or_else(|| not_found(path))?;
                Ok(Reply::written(200, &self.call_record(call)))
            }
            _ => Err(error(405, 20004, "Method not allowed")),
        }
    }

    fn list_accounts(&self, speaker: usize, asked: &Asked<'_>) -> Result<Reply, Reply> {
        let parameters = asked.query(&["FriendlyName", "Status", PAGING[0], PAGING[1], PAGING[2]])?;
        let paging = Paging::parse(&parameters)?;
        let (name, status) = (parameters.get("FriendlyName"), parameters.get("Status"));
        if status.is_some_and(|status| !["active", "suspended", "closed"].contains(&status)) {
            return Err(Wrong::parameter("Status is no status of an account").into());
        }
        let accounts = self
            .accounts
            .of(speaker)
            .filter(|(_, account)| name.is_none_or(|name| name == account.friendly_name))
            .filter(|(_, account)| status.is_none_or(|status| status == account.status))
            .map(|(_, account)| (account.sid.clone(), AccountRecord::of(account, asked.usual)));
        Ok(page(asked, &paging, "accounts", behind(accounts, &paging)?))
    }

    fn list_numbers(&self, account: usize, asked: &Asked<'_>) -> Result<Reply, Reply> {
        let known = ["Beta", "FriendlyName", "PhoneNumber", "Origin", PAGING[0], PAGING[1], PAGING[2]];
        let parameters = asked.query(&known)?;
        let paging = Paging::parse(&parameters)?;
        let after = match &paging.after {
            None => None,
            Some(after) => Some(sid("PN", after).ok_or_else(Paging::bad_token)?),
        };
        let (name, phone) = (parameters.get("FriendlyName"), parameters.get("PhoneNumber"));
        let is_elsewhere = parameters.get("Origin").is_some_and(|origin| origin != "twilio");
        parameters.truth("Beta")?;
        let record = self.accounts.get(account);
        let numbers = self
            .numbers
            .newest(account, after)
            .ok_or_else(Paging::bad_token)?
            .filter(|number| !is_elsewhere && number.visible_at <= asked.now)
            .filter(|number| phone.is_none_or(|pattern| is_like(pattern, number.phone)))
            .filter(|number| name.is_none_or(|name| name == number.friendly_name()))
            .take(paging.size + 1)
            .map(|number| (number.sid(), IncomingNumber::of(number, record)))
            .collect();
        Ok(page(asked, &paging, "incoming_phone_numbers", numbers))
    }

    fn number(&self, account: usize, number: &str, asked: &Asked<'_>) -> Result<&Number, Reply> {
        let number = sid("PN", number).and_then(|sid| self.numbers.find(account, sid, asked.now));
        number.ok_or_else(|| not_found(asked.path()))
    }

    fn buy(&mut self, account: usize, asked: &Asked<'_>) -> Result<Reply, Reply> {
        asked.query(&[])?;
        let (set, parameters) = parse_settings(asked.body, &["PhoneNumber", "AreaCode"])?;
        let phone = match (parameters.get("PhoneNumber"), parameters.get("AreaCode")) {
            (Some(phone), None) => {
                let phone = parse_phone(phone)?;
                let is_sold = self.inventory.sells(phone) && !self.inventory.taken.contains(&phone);
                if !is_sold || self.numbers.is_known(phone) {
                    return Err(Wrong::new(21422, "PhoneNumber is not available").into());
                }
                phone
            }
            (None, Some(code)) => self.any_in(code)?,
            _ => return Err(Wrong::parameter("One of PhoneNumber and AreaCode is needed").into()),
        };
        let mut number = Number {
            account,
            sid: self.numbers.new_sid(),
            phone,
            set: Arc::default(),
            capabilities: capabilities(phone),
            bought_at: asked.now,
            updated_at: asked.now,
            visible_at: asked.now + asked.picked.lag,
        };
        number.change(set, asked.now);
        if !asked.is_sham() {
            self.ledger.bought(Purchase {
                at: asked.now,
                account: self.accounts.get(account).sid.clone(),
                sid: number.sid(),
                phone: number.e164(),
                friendly_name: number.friendly_name(),
            });
            self.numbers.add(number.clone());
        }
        Ok(Reply::written(201, &IncomingNumber::of(&number, self.accounts.get(account))))
    }

    /// A number of an area code that can be called.
    fn any_in(&self, code: &str) -> Result<u64, Wrong> {
        let area = area_code(code).ok_or_else(|| Wrong::new(21451, "Invalid area code"))?;
        let offers = ["US", "CA"].into_iter().filter_map(Country::of);
        offers
            .flat_map(|country| self.inventory.offers(country, Some(area)))
            .filter(|phone| !self.inventory.taken.contains(phone) && capabilities(*phone).voice)
            .find(|phone| !self.numbers.is_known(*phone))
            .ok_or_else(|| Wrong::new(21452, "No phone numbers found in area code"))
    }

    fn update(&mut self, speaker: usize, account: usize, sid: &str, asked: &Asked<'_>) -> Result<Reply, Reply> {
        asked.query(&[])?;
        let mut number = self.number(account, sid, asked)?.clone();
        let (set, parameters) = parse_settings(asked.body, &["AccountSid"])?;
        if let Some(to) = parameters.get("AccountSid") {
            let reached = self.accounts.reached(speaker, to);
            number.account = reached.ok_or_else(|| Wrong::parameter("AccountSid is no account of yours"))?;
        }
        let update = Update {
            at: asked.now,
            account: self.accounts.get(account).sid.clone(),
            sid: number.sid(),
            phone: number.e164(),
            set: json!(set),
        };
        number.change(set, asked.now);
        if !asked.is_sham() {
            self.ledger.updated(update);
            self.numbers.replace(number.clone());
        }
        Ok(Reply::written(200, &IncomingNumber::of(&number, self.accounts.get(number.account))))
    }

    fn release(&mut self, account: usize, sid: &str, asked: &Asked<'_>) -> Result<Reply, Reply> {
        asked.query(&[])?;
        let number = match self.number(account, sid, asked) {
            Ok(number) => number.sid,
            Err(gone) => {
                self.ledger.done(asked.deletes, Done::Gone);
                return Err(gone);
            }
        };
        if !asked.is_sham() {
            self.ledger.done(asked.deletes, Done::Released);
            self.numbers.release(number);
        }
        Ok(Reply::empty(204))
    }

    fn search(&self, country: &str, asked: &Asked<'_>) -> Result<Reply, Reply> {
        let country = Country::of(country).ok_or_else(|| not_found(asked.path()))?;
        let parameters = asked.query(&[
            "AreaCode",
            "Contains",
            "SmsEnabled",
            "MmsEnabled",
            "VoiceEnabled",
            "FaxEnabled",
            "ExcludeAllAddressRequired",
            "ExcludeLocalAddressRequired",
            "ExcludeForeignAddressRequired",
            "Beta",
            "PageSize",
        ])?;
        // No number here needs an address, and none is new to the service.
        for name in
            ["ExcludeAllAddressRequired", "ExcludeLocalAddressRequired", "ExcludeForeignAddressRequired", "Beta"]
        {
            parameters.truth(name)?;
        }
        let can = |name| parameters.truth(name);
        let wanted = (can("VoiceEnabled")?, can("SmsEnabled")?, can("MmsEnabled")?, can("FaxEnabled")?);
        let area = match parameters.get("AreaCode") {
            None => None,
            Some(code) => Some(area_code(code).ok_or_else(|| Wrong::new(21451, "Invalid area code"))?),
        };
        let pattern = parameters.get("Contains");
        if pattern.is_some_and(|pattern| !(2..=MAX_CONTAINS_CHARS).contains(&pattern.len()) || !is_pattern(pattern)) {
            return Err(Wrong::parameter("Contains is no pattern").into());
        }
        let is = |wanted: Option<bool>, has: bool| wanted.is_none_or(|wanted| wanted == has);
        let numbers: Vec<AvailableNumber<'_>> = self
            .inventory
            .offers(country, area)
            .filter(|phone| !self.numbers.is_known(*phone))
            .filter(|phone| pattern.is_none_or(|pattern| contains(pattern, *phone)))
            .map(|phone| (phone, capabilities(phone)))
            .filter(|(_, has)| {
                is(wanted.0, has.voice) && is(wanted.1, has.sms) && is(wanted.2, has.mms) && is(wanted.3, has.fax)
            })
            .take(page_size(&parameters)?.unwrap_or(50))
            .map(|(phone, has)| AvailableNumber::of(phone, country.code(), has))
            .collect();
        Ok(Reply::written(200, &Found { available_phone_numbers: numbers, uri: asked.path() }))
    }

    fn list_calls(&self, account: usize, asked: &Asked<'_>) -> Result<Reply, Reply> {
        let parameters = asked.query(CALL_FILTERS)?;
        let paging = Paging::parse(&parameters)?;
        let filter = CallFilter::parse(&parameters)?;
        let calls = self.calls.iter().filter(|call| call.account == account && filter.holds(call));
        let calls = behind(calls.map(|call| (call.sid(), call)), &paging)?;
        let calls = calls.into_iter().map(|(sid, call)| (sid, self.call_record(call))).collect();
        Ok(page(asked, &paging, "calls", calls))
    }

    fn call_record<'a>(&'a self, call: &'a Call) -> CallRecord<'a> {
        let number = digits(call.ours()).and_then(|phone| self.numbers.sid_of(call.account, phone));
        CallRecord::of(call, self.accounts.get(call.account), number)
    }
}

/// What a search found: not a page, and there is no next one.
#[derive(Serialize)]
struct Found<'a> {
    available_phone_numbers: Vec<AvailableNumber<'a>>,
    uri: &'a str,
}

fn is_pattern(pattern: &str) -> bool {
    pattern.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'*' | b'%' | b'+' | b'$'))
        && pattern.bytes().filter(u8::is_ascii_alphanumeric).count() >= 2
}
