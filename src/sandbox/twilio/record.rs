//! What Twilio's resources look like, written without building them first.

use chrono::{DateTime, Utc};
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use super::ROOT;
use super::accounts::Account;
use super::contract::Paging;
use super::numbers::{Capabilities, Number, digits, formatted};

/// RFC 2822, as the service writes it.
fn date(at: DateTime<Utc>) -> String {
    at.format("%a, %d %b %Y %H:%M:%S +0000").to_string()
}

/// A page of a listing.
pub(super) struct Page<'a, T> {
    pub(super) path: &'a str,
    pub(super) paging: &'a Paging,
    /// What the listing is of.
    pub(super) key: &'a str,
    pub(super) items: Vec<T>,
    /// The sid of the last item, if more follow.
    pub(super) more_after: Option<String>,
}

impl<T: Serialize> Serialize for Page<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { path, paging, key, items, more_after } = self;
        let start = paging.page * paging.size;
        let next = more_after.as_deref().map(|sid| paging.uri(path, paging.page + 1, Some(sid)));
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("first_page_uri", &paging.uri(path, 0, None))?;
        map.serialize_entry("end", &(start + items.len().saturating_sub(1)))?;
        // Nobody goes back here.
        map.serialize_entry("previous_page_uri", &None::<String>)?;
        map.serialize_entry(key, items)?;
        map.serialize_entry("uri", &paging.uri(path, paging.page, paging.after.as_deref()))?;
        map.serialize_entry("page_size", &paging.size)?;
        map.serialize_entry("start", &start)?;
        map.serialize_entry("next_page_uri", &next)?;
        map.serialize_entry("page", &paging.page)?;
        map.end()
    }
}

#[derive(Debug, Serialize)]
pub(super) struct IncomingNumber<'a> {
    account_sid: &'a str,
    address_requirements: &'a str,
    address_sid: Option<&'a str>,
    api_version: &'a str,
    beta: bool,
    capabilities: Capabilities,
    date_created: String,
    date_updated: String,
    emergency_address_sid: Option<&'a str>,
    emergency_address_status: &'a str,
    emergency_status: &'a str,
    friendly_name: String,
    identity_sid: Option<&'a str>,
    origin: &'a str,
    phone_number: String,
    sid: String,
    sms_application_sid: &'a str,
    sms_fallback_method: &'a str,
    sms_fallback_url: &'a str,
    sms_method: &'a str,
    sms_url: &'a str,
    status: &'a str,
    status_callback: &'a str,
    status_callback_method: &'a str,
    trunk_sid: Option<&'a str>,
    #[serde(rename = "type")]
    kind: &'a str,
    uri: String,
    voice_application_sid: &'a str,
    voice_caller_id_lookup: bool,
    voice_fallback_method: &'a str,
    voice_fallback_url: Option<&'a str>,
    voice_method: &'a str,
    voice_receive_mode: &'a str,
    voice_url: Option<&'a str>,
    bundle_sid: Option<&'a str>,
}

impl<'a> IncomingNumber<'a> {
    pub(super) fn of(number: &'a Number, account: &'a Account) -> Self {
        let set = |key| number.set.get(key).map(String::as_str);
        let sid_of = |key| set(key).filter(|sid| !sid.is_empty());
        let sid = number.sid();
        Self {
            account_sid: &account.sid,
            address_requirements: "none",
            address_sid: sid_of("address_sid"),
            api_version: set("api_version").unwrap_or("2010-04-01"),
            beta: false,
            capabilities: number.capabilities,
            date_created: date(number.bought_at),
            date_updated: date(number.updated_at),
            emergency_address_sid: sid_of("emergency_address_sid"),
            emergency_address_status: "unregistered",
            emergency_status: set("emergency_status").unwrap_or("Inactive"),
            friendly_name: number.friendly_name(),
            identity_sid: sid_of("identity_sid"),
            origin: "twilio",
            phone_number: number.e164(),
            sms_application_sid: set("sms_application_sid").unwrap_or_default(),
            sms_fallback_method: set("sms_fallback_method").unwrap_or("POST"),
            sms_fallback_url: set("sms_fallback_url").unwrap_or_default(),
            sms_method: set("sms_method").unwrap_or("POST"),
            sms_url: set("sms_url").unwrap_or_default(),
            status: "in-use",
            status_callback: set("status_callback").unwrap_or_default(),
            status_callback_method: set("status_callback_method").unwrap_or("POST"),
            trunk_sid: sid_of("trunk_sid"),
            kind: "local",
            uri: format!("{ROOT}Accounts/{}/IncomingPhoneNumbers/{sid}.json", account.sid),
            sid,
            voice_application_sid: set("voice_application_sid").unwrap_or_default(),
            voice_caller_id_lookup: set("voice_caller_id_lookup") == Some("true"),
            voice_fallback_method: set("voice_fallback_method").unwrap_or("POST"),
            voice_fallback_url: set("voice_fallback_url"),
            voice_method: set("voice_method").unwrap_or("POST"),
            voice_receive_mode: set("voice_receive_mode").unwrap_or("voice"),
            voice_url: set("voice_url"),
            bundle_sid: sid_of("bundle_sid"),
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct AvailableNumber<'a> {
    friendly_name: String,
    phone_number: String,
    lata: Option<&'a str>,
    locality: Option<&'a str>,
    rate_center: Option<&'a str>,
    latitude: Option<f64>,
    longitude: Option<f64>,
    region: Option<&'a str>,
    postal_code: Option<&'a str>,
    iso_country: &'a str,
    address_requirements: &'a str,
    beta: bool,
    capabilities: Capabilities,
}

impl<'a> AvailableNumber<'a> {
    pub(super) fn of(phone: u64, country: &'a str, capabilities: Capabilities) -> Self {
        Self {
            friendly_name: formatted(phone),
            phone_number: format!("+{phone}"),
            lata: None,
            locality: None,
            rate_center: None,
            latitude: None,
            longitude: None,
            region: None,
            postal_code: None,
            iso_country: country,
            address_requirements: "none",
            beta: false,
            capabilities,
        }
    }
}

/// A call that is on record.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) account: usize,
    pub(super) sid: u128,
    pub(super) to: String,
    pub(super) from: String,
    pub(super) status: String,
    pub(super) direction: String,
    pub(super) start_time: DateTime<Utc>,
    pub(super) end_time: Option<DateTime<Utc>>,
    pub(super) duration_seconds: Option<u64>,
}

impl Call {
    pub(super) fn sid(&self) -> String {
        format!("CA{:032x}", self.sid)
    }

    /// The end of it that is the account's own.
    pub(super) fn ours(&self) -> &str {
        if self.direction == "inbound" { &self.to } else { &self.from }
    }
}

/// What a resource has below it.
struct Below<'a> {
    root: &'a str,
    names: &'a [(&'a str, &'a str)],
}

impl Serialize for Below<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.names.iter().map(|(key, name)| (key, format!("{}/{name}.json", self.root))))
    }
}

#[derive(Serialize)]
pub(super) struct CallRecord<'a> {
    account_sid: &'a str,
    answered_by: Option<&'a str>,
    api_version: &'a str,
    caller_name: Option<&'a str>,
    date_created: String,
    date_updated: String,
    direction: &'a str,
    duration: Option<String>,
    end_time: Option<String>,
    forwarded_from: Option<&'a str>,
    from: &'a str,
    from_formatted: String,
    group_sid: Option<&'a str>,
    parent_call_sid: Option<&'a str>,
    phone_number_sid: Option<String>,
    price: Option<String>,
    price_unit: &'a str,
    queue_time: &'a str,
    sid: String,
    start_time: String,
    status: &'a str,
    subresource_uris: serde_json::Value,
    to: &'a str,
    to_formatted: String,
    trunk_sid: Option<&'a str>,
    uri: String,
}

impl<'a> CallRecord<'a> {
    /// `number` is the sid of the account's end of the call.
    pub(super) fn of(call: &'a Call, account: &'a Account, number: Option<u128>) -> Self {
        let sid = call.sid();
        let root = format!("{ROOT}Accounts/{}/Calls/{sid}", account.sid);
        let names = [("notifications", "Notifications"), ("recordings", "Recordings"), ("events", "Events")];
        let below = Below { root: &root, names: &names };
        let written = |phone: &str| digits(phone).map_or_else(|| phone.to_owned(), formatted);
        Self {
            account_sid: &account.sid,
            answered_by: None,
            api_version: "2010-04-01",
            caller_name: None,
            date_created: date(call.start_time),
            date_updated: date(call.end_time.unwrap_or(call.start_time)),
            direction: &call.direction,
            duration: call.duration_seconds.map(|seconds| seconds.to_string()),
            end_time: call.end_time.map(date),
            forwarded_from: None,
            from: &call.from,
            from_formatted: written(&call.from),
            group_sid: None,
            parent_call_sid: None,
            phone_number_sid: number.map(|sid| format!("PN{sid:032x}")),
            price: call.duration_seconds.map(|_| "-0.00850".to_owned()),
            price_unit: "USD",
            queue_time: "0",
            start_time: date(call.start_time),
            status: &call.status,
            subresource_uris: serde_json::to_value(&below).unwrap_or_default(),
            to: &call.to,
            to_formatted: written(&call.to),
            trunk_sid: None,
            uri: format!("{root}.json"),
            sid,
        }
    }
}

#[derive(Serialize)]
pub(super) struct AccountRecord<'a> {
    auth_token: Option<&'a str>,
    date_created: String,
    date_updated: String,
    friendly_name: &'a str,
    owner_account_sid: &'a str,
    sid: &'a str,
    status: &'a str,
    subresource_uris: serde_json::Value,
    #[serde(rename = "type")]
    kind: &'a str,
    uri: String,
}

impl<'a> AccountRecord<'a> {
    /// `usual` is the auth token of accounts that were given none. The service does show it.
    pub(super) fn of(account: &'a Account, usual: Option<&'a str>) -> Self {
        let root = format!("{ROOT}Accounts/{}", account.sid);
        let names = [
            ("available_phone_numbers", "AvailablePhoneNumbers"),
            ("calls", "Calls"),
            ("incoming_phone_numbers", "IncomingPhoneNumbers"),
        ];
        let below = Below { root: &root, names: &names };
        Self {
            auth_token: account.key.as_deref().or(usual),
            date_created: date(account.created_at),
            date_updated: date(account.created_at),
            friendly_name: &account.friendly_name,
            // A main account's owner is itself.
            owner_account_sid: account.owner.as_ref().unwrap_or(&account.sid),
            sid: &account.sid,
            status: &account.status,
            subresource_uris: serde_json::to_value(&below).unwrap_or_default(),
            kind: "Full",
            uri: format!("{root}.json"),
        }
    }
}
