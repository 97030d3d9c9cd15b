//! The queue of another system that is taken over: what its rows say, and who of them may still be called.

mod columns;
mod people;

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Utc};

pub use self::columns::{QueueColumns, QueueField, QueueRow};
pub use self::people::{Decided, Fate, Link, Row, decide};
use super::call::CallStatus;

/// The words of other queues, each with the status that it is here. A word that is not among them says nothing, so that
/// nobody is called because of it.
pub const STATUS_WORDS: &[(&str, CallStatus)] = &[
    ("pending", CallStatus::Scheduled),
    ("queued", CallStatus::Scheduled),
    ("retrying", CallStatus::Scheduled),
    ("scheduled", CallStatus::Scheduled),
    ("calling", CallStatus::Calling),
    ("in_progress", CallStatus::InProgress),
    ("processing", CallStatus::InProgress),
    ("completed", CallStatus::Completed),
    ("done", CallStatus::Completed),
    ("failed", CallStatus::Failed),
    ("cancelled", CallStatus::Cancelled),
    ("canceled", CallStatus::Cancelled),
];

/// Why somebody's enrollment is withdrawn from the start: another system had them called.
pub const CALLED_ELSEWHERE: &str = "called_elsewhere";
/// The same: it tried them, and did not reach them. A row that says they wait brings them back.
pub const FAILED_ELSEWHERE: &str = "failed_elsewhere";
/// The same: it took their call back.
pub const CANCELLED_ELSEWHERE: &str = "cancelled_elsewhere";
/// The same: nobody can tell whether they were called.
pub const UNCLEAR_ELSEWHERE: &str = "unclear_elsewhere";

/// What a row says of its person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Said {
    /// They wait for their call.
    Waiting,
    /// They were tried, and not reached.
    Failed,
    /// Their call was taken back.
    Cancelled,
    /// They had their call.
    Called,
    /// A call was under way when the queue was written: it may have rung.
    MayHaveRung,
    /// Nobody can tell: a word that is not known, or none.
    Unclear,
}

impl Said {
    /// Everything that a row can say.
    pub const ALL: [Self; 6] =
        [Self::Waiting, Self::Failed, Self::Cancelled, Self::Called, Self::MayHaveRung, Self::Unclear];

    /// The stable word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Called => "called",
            Self::MayHaveRung => "may_have_rung",
            Self::Unclear => "unclear",
        }
    }

    /// Whether the person's one call is spent.
    pub const fn is_spent(self) -> bool {
        matches!(self, Self::Called | Self::MayHaveRung)
    }
}

/// What a status word of another queue means; none for a word that nobody knows. Case, blanks and dashes do not matter.
pub fn said_by(word: &str) -> Option<Said> {
    let word = word.trim().to_lowercase().replace(['-', ' '], "_");
    let (_, status) = STATUS_WORDS.iter().find(|(known, _)| *known == word)?;
    Some(match status {
        CallStatus::Scheduled => Said::Waiting,
        CallStatus::Calling | CallStatus::InProgress => Said::MayHaveRung,
        CallStatus::Completed => Said::Called,
        CallStatus::Failed => Said::Failed,
        CallStatus::Cancelled => Said::Cancelled,
    })
}

/// Reads yes or no as databases and spreadsheets write them; none for anything else.
pub fn flag(text: &str) -> Option<bool> {
    match text.trim().to_lowercase().as_str() {
        "true" | "t" | "yes" | "y" | "1" | "1.0" => Some(true),
        "false" | "f" | "no" | "n" | "0" | "0.0" => Some(false),
        _ => None,
    }
}

/// Reads an instant as databases write them: RFC 3339 with `T` or a blank, with a short offset, without one (then UTC), a
/// date alone, or seconds or milliseconds since 1970. None for anything else.
pub fn instant(text: &str) -> Option<DateTime<Utc>> {
    /// Numbers from here on are milliseconds: as seconds they would lie beyond the year 5000.
    const MILLISECONDS_FROM: i64 = 100_000_000_000;
    let text = text.trim().replacen(' ', "T", 1);
    let text = text.strip_suffix(" UTC").unwrap_or(&text);
    if let Ok(at) = DateTime::parse_from_rfc3339(text).or_else(|_| DateTime::parse_from_str(text, "%FT%T%.f%#z")) {
        return Some(at.to_utc());
    }
    if let Ok(at) = NaiveDateTime::parse_from_str(text, "%FT%T%.f") {
        return Some(at.and_utc());
    }
    if let Ok(date) = text.parse::<NaiveDate>() {
        return Some(date.and_time(NaiveTime::MIN).and_utc());
    }
    match text.parse::<i64>() {
        Ok(number) if number >= MILLISECONDS_FROM => DateTime::from_timestamp_millis(number),
        Ok(number) if number > 0 => DateTime::from_timestamp(number, 0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_of_the_table_means_what_its_status_means() {
        for (word, said) in [
            ("pending", Said::Waiting),
            (" Retrying ", Said::Waiting),
            ("SCHEDULED", Said::Waiting),
            ("queued", Said::Waiting),
            ("processing", Said::MayHaveRung),
            ("in progress", Said::MayHaveRung),
            ("in-progress", Said::MayHaveRung),
            ("calling", Said::MayHaveRung),
            ("completed", Said::Called),
            ("done", Said::Called),
            ("failed", Said::Failed),
            ("cancelled", Said::Cancelled),
            ("canceled", Said::Cancelled),
        ] {
            assert_eq!(said_by(word), Some(said), "{word}");
        }
        for word in ["", "complete?", "paused", "success", "erledigt", "pending!"] {
            assert_eq!(said_by(word), None, "{word}");
        }
    }

    #[test]
    fn flags_and_instants_are_read_as_databases_write_them() {
        for (text, wanted) in
            [("t", Some(true)), ("FALSE", Some(false)), ("1", Some(true)), ("0.0", Some(false)), ("?", None)]
        {
            assert_eq!(flag(text), wanted, "{text}");
        }
        for text in [
            "2026-11-20T08:15:30Z",
            "2026-11-20 08:15:30+00:00",
            "2026-11-20 08:15:30+00",
            "2026-11-20 10:15:30.000+02",
            "2026-11-20 08:15:30",
            "2026-11-20 08:15:30 UTC",
            "1795162530",
            "1795162530000",
        ] {
            assert_eq!(instant(text).map(|at| at.timestamp()), Some(1_795_162_530), "{text}");
        }
        assert_eq!(instant("2026-11-20").map(|at| at.to_rfc3339()), Some("2026-11-20T00:00:00+00:00".to_owned()));
        for text in ["", "yesterday", "20.11.2026", "-1", "2026-13-01"] {
            assert_eq!(instant(text), None, "{text}");
        }
    }
}
