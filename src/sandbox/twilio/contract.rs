//! What Twilio accepts: parameters by their names, and no others.

use chrono::{DateTime, NaiveDate, Utc};

use super::accounts::is_sid;
use super::numbers::{Set, digits};

/// What a request is refused for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) code: u32,
    pub(super) message: String,
}

impl Wrong {
    pub(super) fn new(code: u32, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// A parameter that is unknown, or whose value makes no sense.
    pub(super) fn parameter(message: impl Into<String>) -> Self {
        Self::new(20001, message)
    }
}

/// The parameters of a query or a form, in the order in which they came.
#[derive(Debug)]
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// # Errors
    /// Naming the first that is not known.
    pub(super) fn parse(encoded: &[u8], known: &[&str]) -> Result<Self, Wrong> {
        let pairs: Vec<(String, String)> = form_urlencoded::parse(encoded).into_owned().collect();
        match pairs.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            Some((name, _)) => Err(Wrong::parameter(format!("Unknown parameter {name}"))),
            None => Ok(Self(pairs)),
        }
    }

    /// The last of that name.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|(has, _)| has == name).map(|(_, value)| value.as_str())
    }

    /// # Errors
    /// When it is neither `true` nor `false`.
    pub(super) fn truth(&self, name: &str) -> Result<Option<bool>, Wrong> {
        match self.get(name) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(other) => Err(Wrong::parameter(format!("{name} is neither true nor false: {other}"))),
        }
    }

    /// What a page leaves as it is for the pages after it.
    fn filters(&self) -> String {
        let kept = self.0.iter().filter(|(name, _)| !PAGING.contains(&name.as_str()));
        form_urlencoded::Serializer::new(String::new()).extend_pairs(kept).finish()
    }
}

pub(super) const PAGING: &[&str] = &["PageSize", "Page", "PageToken"];

/// Which page of a listing.
#[derive(Debug)]
pub(super) struct Paging {
    pub(super) size: usize,
    pub(super) page: usize,
    /// The sid of the last thing of the page before.
    pub(super) after: Option<String>,
    filters: String,
}

impl Paging {
    pub(super) fn parse(parameters: &Parameters) -> Result<Self, Wrong> {
        let size = page_size(parameters)?.unwrap_or(50);
        let page: usize = match parameters.get("Page").map(str::parse) {
            None => 0,
            Some(Ok(page)) => page,
            Some(Err(_)) => return Err(Wrong::parameter("Page is no number")),
        };
        let after = match parameters.get("PageToken").map(|token| token.strip_prefix("PA")) {
            None => None,
            Some(Some(sid)) => Some(sid.to_owned()),
            Some(None) => return Err(Self::bad_token()),
        };
        if page > 0 && after.is_none() {
            return Err(Wrong::parameter("Page needs the PageToken of the page before"));
        }
        Ok(Self { size, page, after, filters: parameters.filters() })
    }

    pub(super) fn bad_token() -> Wrong {
        Wrong::parameter("PageToken is not one that was given")
    }

    /// The address of a page.
    pub(super) fn uri(&self, path: &str, page: usize, after: Option<&str>) -> String {
        let (filters, size) = (&self.filters, self.size);
        let and = if filters.is_empty() { "" } else { "&" };
        let token = after.map(|sid| format!("&PageToken=PA{sid}")).unwrap_or_default();
        format!("{path}?{filters}{and}PageSize={size}&Page={page}{token}")
    }
}

pub(super) fn page_size(parameters: &Parameters) -> Result<Option<usize>, Wrong> {
    match parameters.get("PageSize").map(str::parse) {
        None => Ok(None),
        Some(Ok(size @ 1..=1000)) => Ok(Some(size)),
        Some(_) => Err(Wrong::parameter("PageSize is no number from 1 to 1000")),
    }
}

/// What a value must be.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Text,
    Url,
    Method,
    Truth,
    Sid(&'static str),
    Word(&'static [&'static str]),
}

/// What can be set of a number: the parameter, the key of the record, and what it must be.
const SETTABLE: &[(&str, &str, Kind)] = &[
    ("ApiVersion", "api_version", Kind::Word(&["2010-04-01", "2008-08-01"])),
    ("FriendlyName", "friendly_name", Kind::Text),
    ("SmsApplicationSid", "sms_application_sid", Kind::Sid("AP")),
    ("SmsFallbackMethod", "sms_fallback_method", Kind::Method),
    ("SmsFallbackUrl", "sms_fallback_url", Kind::Url),
    ("SmsMethod", "sms_method", Kind::Method),
    ("SmsUrl", "sms_url", Kind::Url),
    ("StatusCallback", "status_callback", Kind::Url),
    ("StatusCallbackMethod", "status_callback_method", Kind::Method),
    ("VoiceApplicationSid", "voice_application_sid", Kind::Sid("AP")),
    ("VoiceCallerIdLookup", "voice_caller_id_lookup", Kind::Truth),
    ("VoiceFallbackMethod", "voice_fallback_method", Kind::Method),
    ("VoiceFallbackUrl", "voice_fallback_url", Kind::Url),
    ("VoiceMethod", "voice_method", Kind::Method),
    ("VoiceUrl", "voice_url", Kind::Url),
    ("EmergencyStatus", "emergency_status", Kind::Word(&["Active", "Inactive"])),
    ("EmergencyAddressSid", "emergency_address_sid", Kind::Sid("AD")),
    ("TrunkSid", "trunk_sid", Kind::Sid("TK")),
    ("IdentitySid", "identity_sid", Kind::Sid("RI")),
    ("AddressSid", "address_sid", Kind::Sid("AD")),
    ("VoiceReceiveMode", "voice_receive_mode", Kind::Word(&["voice", "fax"])),
    ("BundleSid", "bundle_sid", Kind::Sid("BU")),
];

/// A form about a number: what it sets, and the rest of it.
pub(super) fn parse_settings(body: &[u8], besides: &[&str]) -> Result<(Set, Parameters), Wrong> {
    let known: Vec<&str> = SETTABLE.iter().map(|(parameter, ..)| *parameter).chain(besides.iter().copied()).collect();
    let parameters = Parameters::parse(body, &known)?;
    let mut set = Set::new();
    for (parameter, key, kind) in SETTABLE {
        if let Some(value) = parameters.get(parameter) {
            check(parameter, value, *kind)?;
            set.insert(key, value.to_owned());
        }
    }
    Ok((set, parameters))
}

fn check(parameter: &str, value: &str, kind: Kind) -> Result<(), Wrong> {
    let wrong = |code, what: &str| Err(Wrong::new(code, format!("{parameter} {what}")));
    match kind {
        Kind::Text if value.chars().count() > 64 => wrong(20001, "is longer than 64 characters"),
        Kind::Url if !value.is_empty() && !is_url(value) => wrong(21402, "is not a valid URL"),
        Kind::Method if !matches!(value, "GET" | "POST") => wrong(21403, "is neither GET nor POST"),
        Kind::Truth if !matches!(value, "true" | "false") => wrong(20001, "is neither true nor false"),
        Kind::Sid(prefix) if !value.is_empty() && !is_sid(prefix, value) => wrong(20001, "is no sid of that kind"),
        Kind::Word(words) if !words.contains(&value) => wrong(20001, "is not one of its words"),
        _ => Ok(()),
    }
}

fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/') && !text.contains(char::is_whitespace))
}

pub(super) const CALL_STATUSES: &[&str] =
    &["queued", "ringing", "in-progress", "completed", "busy", "failed", "no-answer", "canceled"];

/// Which calls a listing shows; days are those of UTC.
#[derive(Debug, Default)]
pub(super) struct CallFilter {
    to: Option<String>,
    from: Option<String>,
    parent: Option<String>,
    status: Option<String>,
    started: Days,
    ended: Days,
}

#[derive(Debug, Default)]
struct Days {
    on: Option<NaiveDate>,
    before: Option<NaiveDate>,
    /// This day or later.
    from: Option<NaiveDate>,
}

impl Days {
    fn hold(&self, at: Option<DateTime<Utc>>) -> bool {
        let day = at.map(|at| at.date_naive());
        self.on.is_none_or(|on| day == Some(on))
            && self.before.is_none_or(|before| day.is_some_and(|day| day < before))
            && self.from.is_none_or(|from| day.is_some_and(|day| day >= from))
    }
}

pub(super) const CALL_FILTERS: &[&str] = &[
    "To",
    "From",
    "ParentCallSid",
    "Status",
    "StartTime",
    "StartTime<",
    "StartTime>",
    "EndTime",
    "EndTime<",
    "EndTime>",
    "PageSize",
    "Page",
    "PageToken",
];

impl CallFilter {
    pub(super) fn parse(parameters: &Parameters) -> Result<Self, Wrong> {
        let day = |name: &str| match parameters.get(name) {
            None => Ok(None),
            Some(text) => match (text.parse::<NaiveDate>(), DateTime::parse_from_rfc3339(text)) {
                (Ok(day), _) => Ok(Some(day)),
                (_, Ok(at)) => Ok(Some(at.to_utc().date_naive())),
                _ => Err(Wrong::parameter(format!("{name} is no date like 2026-11-20"))),
            },
        };
        let days = |name: &str| {
            let (before, from) = (day(&format!("{name}<"))?, day(&format!("{name}>"))?);
            Ok(Days { on: day(name)?, before, from })
        };
        let text = |name| parameters.get(name).map(str::to_owned);
        let status = text("Status");
        if status.as_deref().is_some_and(|status| !CALL_STATUSES.contains(&status)) {
            return Err(Wrong::parameter("Status is no status of a call"));
        }
        let parent = text("ParentCallSid");
        if parent.as_deref().is_some_and(|sid| !is_sid("CA", sid)) {
            return Err(Wrong::parameter("ParentCallSid is no sid of a call"));
        }
        Ok(Self {
            to: text("To"),
            from: text("From"),
            parent,
            status,
            started: days("StartTime")?,
            ended: days("EndTime")?,
        })
    }

    pub(super) fn holds(&self, call: &super::record::Call) -> bool {
        let is = |wanted: &Option<String>, has: &str| wanted.as_ref().is_none_or(|wanted| wanted == has);
        // No call here is a part of another.
        self.parent.is_none()
            && is(&self.to, &call.to)
            && is(&self.from, &call.from)
            && is(&self.status, &call.status)
            && self.started.hold(Some(call.start_time))
            && self.ended.hold(call.end_time)
    }
}

/// Which phones a listing shows: those that hold the pattern, in which `*` is any digit.
pub(super) fn is_like(pattern: &str, phone: u64) -> bool {
    let has = format!("+{phone}");
    let (wanted, has) = (pattern.as_bytes(), has.as_bytes());
    let same = |wanted: &u8, has: &u8| wanted == has || (*wanted == b'*' && has.is_ascii_digit());
    wanted.is_empty() || has.windows(wanted.len()).any(|part| wanted.iter().zip(part).all(|(w, h)| same(w, h)))
}

/// The phone that somebody wants to buy.
pub(super) fn parse_phone(text: &str) -> Result<u64, Wrong> {
    digits(text).ok_or_else(|| Wrong::new(21421, "PhoneNumber is invalid"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(form: &str) -> u32 {
        parse_settings(form.as_bytes(), &["PhoneNumber"]).err().map_or(0, |wrong| wrong.code)
    }

    #[test]
    fn settings_are_of_their_kind_or_refused() {
        let sid = "0".repeat(32);
        for (form, expected) in [
            ("FriendlyName=Acme+Dental&VoiceUrl=https%3A%2F%2Fa.example%2F&VoiceMethod=GET&PhoneNumber=x", 0),
            ("VoiceUrl=&TrunkSid=", 0),
            (&format!("TrunkSid=TK{sid}"), 0),
            (&format!("TrunkSid=AP{sid}"), 20001),
            ("Friendlyname=x", 20001),
            (&format!("FriendlyName={}", "x".repeat(65)), 20001),
            ("VoiceUrl=a.example", 21402),
            ("VoiceMethod=PUT", 21403),
            ("VoiceCallerIdLookup=yes", 20001),
            ("VoiceReceiveMode=video", 20001),
        ] {
            assert_eq!(code(form), expected, "{form}");
        }
    }

    #[test]
    fn phones_are_found_by_a_part() {
        for (pattern, found) in
            [("+18025550101", true), ("802555", true), ("*55501", true), ("0101*", false), (" 1802", false)]
        {
            assert_eq!(is_like(pattern, 18_025_550_101), found, "{pattern}");
        }
    }
}
