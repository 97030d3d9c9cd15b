//! What tests put into Twilio, and the stories that are ready.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;

use super::accounts::{Account, MAIN, is_sid, sid};
use super::carrier::Carrier;
use super::contract::CALL_STATUSES;
use super::inventory::area_code;
use super::numbers::{Capabilities, Number, Set, digits};
use super::record::Call;
use crate::sandbox::lines::{ElevenLabsLine, Lines, VapiLine};

/// A body of `POST /_sandbox/twilio`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::sandbox) struct Given {
    story: Option<Story>,
    accounts: Vec<GivenAccount>,
    numbers: Vec<GivenNumber>,
    many_numbers: Option<Many>,
    calls: Vec<GivenCall>,
    vapi_numbers: Option<Vec<VapiLine>>,
    elevenlabs_numbers: Option<Vec<ElevenLabsLine>>,
    taken: Vec<String>,
    no_numbers_in: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GivenAccount {
    sid: String,
    friendly_name: Option<String>,
    owner: Option<String>,
    key: Option<String>,
    status: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct GivenNumber {
    account: String,
    sid: Option<String>,
    phone: String,
    friendly_name: Option<String>,
    voice_url: Option<String>,
    sms_url: Option<String>,
    status_callback: Option<String>,
    trunk_sid: Option<String>,
    voice_application_sid: Option<String>,
    bought_at: Option<DateTime<Utc>>,
    capabilities: Option<Capabilities>,
}

/// Numbers in a row, all alike.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Many {
    account: String,
    count: usize,
    friendly_name: Option<String>,
    voice_url: Option<String>,
    from: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GivenCall {
    account: String,
    sid: Option<String>,
    to: String,
    from: String,
    status: String,
    direction: Option<String>,
    start_time: DateTime<Utc>,
    end_time: Option<DateTime<Utc>>,
    duration: Option<u64>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Story {
    /// Five numbers of one business, bought within 25 minutes where one was wanted, among twelve of others. The third is
    /// in use: it was called twice within the last days, and Vapi knows it.
    FiveNumbers,
}

/// What begins the numbers of a row where nobody says.
const ROW: u64 = 12_015_550_000;

impl Carrier {
    /// Takes it all in, or nothing of it.
    ///
    /// # Errors
    /// Naming what makes no sense.
    pub(in crate::sandbox) fn give(
        &mut self,
        given: Given,
        lines: &mut Lines,
        now: DateTime<Utc>,
    ) -> Result<(), String> {
        let story = given.story.map(|Story::FiveNumbers| five_numbers(now)).unwrap_or_default();
        self.check(&story)?;
        self.check(&given)?;
        self.take(story, lines, now);
        self.take(given, lines, now);
        Ok(())
    }

    fn check(&self, given: &Given) -> Result<(), String> {
        let known = |sid: &str| {
            let is_given = given.accounts.iter().any(|account| account.sid == sid);
            if is_given || self.accounts.find(sid).is_some() { Ok(()) } else { Err(format!("no account `{sid}`")) }
        };
        let phone = |text: &str| digits(text).ok_or_else(|| format!("`{text}` is no phone in E.164"));
        let sound = |prefix, given: &Option<String>| match given {
            Some(text) if sid(prefix, text).is_none() => Err(format!("`{text}` is no sid of {prefix} and 32 digits")),
            _ => Ok(()),
        };
        for account in &given.accounts {
            if !is_sid("AC", &account.sid) {
                return Err(format!("`{}` is no sid of AC and 32 digits", account.sid));
            }
            account.owner.as_deref().map_or(Ok(()), known)?;
            let status = account.status.as_deref().unwrap_or("active");
            if !["active", "suspended", "closed"].contains(&status) {
                return Err(format!("`{status}` is no status of an account"));
            }
        }
        let (mut phones, mut sids) = (HashSet::new(), HashSet::new());
        for number in &given.numbers {
            known(&number.account)?;
            sound("PN", &number.sid)?;
            let phone = phone(&number.phone)?;
            if self.numbers.is_had(phone) || !phones.insert(phone) {
                return Err(format!("`{}` is had already", number.phone));
            }
            if let Some(sid) = number.sid.as_deref().and_then(|text| sid("PN", text))
                && (self.numbers.known(sid).is_some() || !sids.insert(sid))
            {
                return Err(format!("`PN{sid:032x}` is another number's"));
            }
        }
        if let Some(many) = &given.many_numbers {
            known(&many.account)?;
            many.from.as_deref().map_or(Ok(ROW), phone)?;
            if many.count > 1_000_000 {
                return Err("`many_numbers` are a million at most".to_owned());
            }
        }
        for call in &given.calls {
            known(&call.account)?;
            sound("CA", &call.sid)?;
            if !CALL_STATUSES.contains(&call.status.as_str()) {
                return Err(format!("`{}` is no status of a call", call.status));
            }
        }
        for text in &given.taken {
            phone(text)?;
        }
        for code in &given.no_numbers_in {
            area_code(code).ok_or_else(|| format!("`{code}` is no area code"))?;
        }
        Ok(())
    }

    fn take(&mut self, given: Given, lines: &mut Lines, now: DateTime<Utc>) {
        for account in given.accounts {
            self.accounts.put(Account {
                friendly_name: account.friendly_name.unwrap_or_else(|| account.sid.clone()),
                sid: account.sid,
                owner: account.owner,
                key: account.key,
                status: account.status.unwrap_or_else(|| "active".to_owned()),
                created_at: now,
            });
        }
        for number in given.numbers {
            self.take_number(number, now);
        }
        if let Some(many) = given.many_numbers {
            self.take_many(many, now);
        }
        for call in given.calls {
            self.take_call(call);
        }
        self.inventory.taken.extend(given.taken.iter().filter_map(|text| digits(text)));
        self.inventory.none_in.extend(given.no_numbers_in.iter().filter_map(|code| area_code(code)));
        lines.vapi = given.vapi_numbers.unwrap_or_else(|| std::mem::take(&mut lines.vapi));
        lines.elevenlabs = given.elevenlabs_numbers.unwrap_or_else(|| std::mem::take(&mut lines.elevenlabs));
    }

    fn take_number(&mut self, number: GivenNumber, now: DateTime<Utc>) {
        let Some((account, phone)) = self.accounts.find(&number.account).zip(digits(&number.phone)) else { return };
        let bought_at = number.bought_at.unwrap_or(now);
        let set: Set = [
            ("friendly_name", number.friendly_name),
            ("voice_url", number.voice_url),
            ("sms_url", number.sms_url),
            ("status_callback", number.status_callback),
            ("trunk_sid", number.trunk_sid),
            ("voice_application_sid", number.voice_application_sid),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)))
        .collect();
        let sid = number.sid.and_then(|text| sid("PN", &text)).unwrap_or_else(|| self.numbers.new_sid());
        self.numbers.add(Number {
            account,
            sid,
            phone,
            set: set.into(),
            capabilities: number.capabilities.unwrap_or_default(),
            bought_at,
            updated_at: bought_at,
            visible_at: DateTime::<Utc>::MIN_UTC,
        });
    }

    fn take_many(&mut self, many: Many, now: DateTime<Utc>) {
        let Some(account) = self.accounts.find(&many.account) else { return };
        let first = many.from.as_deref().and_then(digits).unwrap_or(ROW);
        let set: Set = [("friendly_name", many.friendly_name), ("voice_url", many.voice_url)]
            .into_iter()
            .filter_map(|(key, value)| Some((key, value?)))
            .collect();
        let set = Arc::new(set);
        let free = |phone: &u64| !self.numbers.is_had(*phone);
        let phones: Vec<u64> = (first..).filter(free).take(many.count).collect();
        for phone in phones {
            let sid = self.numbers.new_sid();
            self.numbers.add(Number {
                account,
                sid,
                phone,
                set: set.clone(),
                capabilities: Capabilities::default(),
                bought_at: now,
                updated_at: now,
                visible_at: DateTime::<Utc>::MIN_UTC,
            });
        }
    }

    fn take_call(&mut self, call: GivenCall) {
        let Some(account) = self.accounts.find(&call.account) else { return };
        let sid = call.sid.and_then(|text| sid("CA", &text)).unwrap_or_else(|| self.numbers.new_sid());
        let duration_seconds = call
            .duration
            .or_else(|| call.end_time.and_then(|end| (end - call.start_time).num_seconds().try_into().ok()));
        self.calls.push(Call {
            account,
            sid,
            to: call.to,
            from: call.from,
            status: call.status,
            direction: call.direction.unwrap_or_else(|| "inbound".to_owned()),
            start_time: call.start_time,
            end_time: call.end_time,
            duration_seconds,
        });
        // The newest first; of those that started at once, the one that was given last.
        self.calls.sort_by_key(|call| Reverse(call.start_time));
    }
}

const OTHERS: [&str; 12] = [
    "Bolt Plumbing",
    "Cedar Vets",
    "Delta Movers",
    "Elm Street Books",
    "Fern Florist",
    "Granite Gym",
    "Harbor Cafe",
    "Iris Optics",
    "Juniper Spa",
    "Kestrel Bikes",
    "Lantern Hotel",
    "Maple Dental",
];

fn five_numbers(now: DateTime<Utc>) -> Given {
    // 2026-11-20T15:00:00Z
    let begin = DateTime::<Utc>::UNIX_EPOCH + TimeDelta::seconds(1_795_186_800);
    let mut numbers: Vec<GivenNumber> = OTHERS
        .iter()
        .zip(1_u32..)
        .map(|(name, n)| {
            let host = name.to_lowercase().replace(' ', "-");
            GivenNumber {
                account: MAIN.to_owned(),
                phone: format!("+1415555{:04}", 110 + n),
                friendly_name: Some((*name).to_owned()),
                voice_url: Some(format!("https://{host}.example/voice")),
                bought_at: Some(begin - TimeDelta::days(120 - 7 * i64::from(n))),
                ..GivenNumber::default()
            }
        })
        .collect();
    let phone = |n: u32| format!("+1802555{:04}", 100 + n);
    numbers.extend([0, 2, 7, 13, 25].into_iter().zip(1_u32..).map(|(minutes, n)| GivenNumber {
        account: MAIN.to_owned(),
        sid: Some(format!("PN{n:032x}")),
        phone: phone(n),
        friendly_name: Some("Acme Dental".to_owned()),
        voice_url: Some("https://voice.acme.example/twilio".to_owned()),
        status_callback: Some("https://voice.acme.example/twilio/status".to_owned()),
        bought_at: Some(begin + TimeDelta::minutes(minutes)),
        ..GivenNumber::default()
    }));
    let calls = [3, 27].into_iter().map(|hours| {
        let start_time = now - TimeDelta::hours(hours);
        GivenCall {
            account: MAIN.to_owned(),
            sid: None,
            to: phone(3),
            from: "+18025550170".to_owned(),
            status: "completed".to_owned(),
            direction: None,
            start_time,
            end_time: Some(start_time + TimeDelta::seconds(95)),
            duration: None,
        }
    });
    Given {
        numbers,
        calls: calls.collect(),
        vapi_numbers: Some(vec![VapiLine { id: "pn-acme".to_owned(), number: phone(3) }]),
        ..Given::default()
    }
}
