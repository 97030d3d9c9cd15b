//! The records of calls.

use chrono::{DateTime, NaiveDate, Utc};
use serde::Deserialize;
use serde_json::Value;

use super::super::http::ReadError;
use super::{MAX_PAGES, PAGE_SIZE, Twilio, date, endless, next_page, path_of, said};
use crate::domain::outcome::Outcome;

/// Which calls to list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallFilter<'f> {
    /// Only to this number.
    pub to: Option<&'f str>,
    /// Only from this number.
    pub from: Option<&'f str>,
    /// Only of this day, in UTC, or later: the service's filters know days only.
    pub since: Option<NaiveDate>,
}

/// The record of one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallRecord {
    /// Its SID, which begins with `CA`.
    pub sid: String,
    /// Who was called.
    pub to: String,
    /// Who called.
    pub from: String,
    /// `queued`, `ringing`, `in-progress`, `completed`, `busy`, `failed`, `no-answer` or `canceled`.
    pub status: String,
    /// Whether somebody outside called in.
    pub is_inbound: bool,
    /// Whether it is the other leg of a call, which it was made for.
    pub is_leg: bool,
    /// When it began.
    pub started_at: Option<DateTime<Utc>>,
    /// When it was over.
    pub ended_at: Option<DateTime<Utc>>,
    /// How long it lasted.
    pub duration_seconds: Option<i64>,
}

impl CallRecord {
    /// What came of a call that is over; none while it goes on, or in words that are not known.
    pub fn outcome(&self) -> Option<Outcome> {
        Some(match self.status.as_str() {
            "completed" => Outcome::Answered,
            "busy" => Outcome::Busy,
            "no-answer" => Outcome::NoAnswer,
            "failed" => Outcome::ProviderError,
            "canceled" => Outcome::Cancelled,
            _ => return None,
        })
    }
}

#[derive(Deserialize)]
struct Page {
    calls: Vec<Record>,
    #[serde(default)]
    next_page_uri: Option<String>,
}

#[derive(Deserialize)]
struct Record {
    sid: String,
    #[serde(default)]
    to: Option<String>,
    #[serde(default)]
    from: Option<String>,
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    direction: Option<String>,
    #[serde(default)]
    parent_call_sid: Option<String>,
    #[serde(default)]
    start_time: Option<String>,
    #[serde(default)]
    end_time: Option<String>,
    /// Seconds, as text.
    #[serde(default)]
    duration: Option<Value>,
}

impl From<Record> for CallRecord {
    fn from(record: Record) -> Self {
        let seconds = |value: Value| value.as_i64().or_else(|| value.as_str()?.parse().ok());
        Self {
            sid: record.sid,
            to: record.to.unwrap_or_default(),
            from: record.from.unwrap_or_default(),
            status: record.status.unwrap_or_default(),
            // Trunks say `originating` of calls that come in from phones.
            is_inbound: matches!(record.direction.as_deref(), Some("inbound" | "trunking-originating")),
            is_leg: said(record.parent_call_sid).is_some(),
            started_at: date(record.start_time),
            ended_at: date(record.end_time),
            duration_seconds: record.duration.and_then(seconds),
        }
    }
}

impl Twilio {
    /// Hands each call that the filter lets pass to `take`, page by page.
    ///
    /// # Errors
    /// When the listing could not be read to its end.
    pub async fn calls(
        &self,
        account_sid: &str,
        filter: CallFilter<'_>,
        mut take: impl FnMut(CallRecord),
    ) -> Result<(), ReadError> {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (key, value) in [("To", filter.to), ("From", filter.from)] {
            if let Some(value) = value {
                query.append_pair(key, value);
            }
        }
        if let Some(since) = filter.since {
            query.append_pair("StartTime>", &since.to_string());
        }
        let query = query.append_pair("PageSize", PAGE_SIZE).finish();
        let mut next = Some(format!("{}?{query}", path_of(account_sid, "Calls")));
        for _ in 0..MAX_PAGES {
            let Some(path) = next.take() else { return Ok(()) };
            let page: Page = self.get(&path, &[]).await?;
            let passes = |call: &CallRecord| {
                filter.to.is_none_or(|to| to == call.to) && filter.from.is_none_or(|from| from == call.from)
            };
            page.calls.into_iter().map(CallRecord::from).filter(passes).for_each(&mut take);
            next = next_page(&path, page.next_page_uri)?;
        }
        Err(endless())
    }

    /// How many calls to or from a number there were on this day, in UTC, or later.
    ///
    /// # Errors
    /// As [`Twilio::calls`].
    pub async fn count_calls(&self, account_sid: &str, phone: &str, since: NaiveDate) -> Result<u64, ReadError> {
        let mut count = 0;
        for (to, from) in [(Some(phone), None), (None, Some(phone))] {
            self.calls(account_sid, CallFilter { to, from, since: Some(since) }, |_| count += 1).await?;
        }
        Ok(count)
    }
}
