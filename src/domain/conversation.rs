//! What a provider recorded of a conversation, and when it is asked for the record again.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, TimeDelta, Utc};

use super::call::{UnknownWord, words};

/// The first time between two questions about a call that is over.
const FIRST_WAIT_SECONDS: i64 = 30;
/// The longest time between two such questions.
const LONGEST_WAIT_SECONDS: i64 = 3600;
/// A record is given up after so many questions: about six hours after the end of the call.
pub const MOST_TRIES: i64 = 12;
/// A record that says that the call is over, and lacks something still after so many questions, will not get it any
/// more: an agent may be set up to analyse or transcribe nothing.
const ENOUGH_TRIES: i64 = 5;

/// How far the record of a conversation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConversationStatus {
    /// The provider has shown no record of the finished call yet.
    Pending,
    /// The provider has shown one, and does something to it still.
    Processing,
    /// It is here, with all that the provider has.
    Completed,
    /// It was asked for often enough, and did not come.
    Failed,
}

words!(ConversationStatus, "conversation status", {
    Pending => "pending", Processing => "processing", Completed => "completed", Failed => "failed",
});

/// What a provider recorded of one call. Everything may be absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// When the conversation began.
    pub started_at: Option<DateTime<Utc>>,
    /// When the call ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// Length of the conversation in seconds.
    pub duration_seconds: Option<i64>,
    /// What it cost, in US dollars.
    pub cost_usd: Option<f64>,
    /// What was said, in short.
    pub summary: Option<String>,
    /// What was said, word for word.
    pub transcript: Option<String>,
    /// What the provider made of it, as JSON text.
    pub analysis: Option<String>,
    /// The record as it came, as JSON text; none of what an agent reported.
    pub raw: Option<String>,
    /// Whether the provider has nothing to add.
    pub is_complete: bool,
}

/// What a question about a record that is not complete brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfinished {
    /// The call is over, and the record lacks something still.
    Incomplete,
    /// There is no usable record of a call that is over, and why.
    Missing(String),
    /// The provider keeps no records: what is known by other ways is all there is.
    NoneKept,
}

/// Where a conversation stands after a question that did not complete it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// How far it is.
    pub status: ConversationStatus,
    /// How often it was asked for.
    pub tries: i64,
    /// When it is asked for again.
    pub next_try_at: Option<DateTime<Utc>>,
    /// What was wrong.
    pub last_error: Option<String>,
}

/// What follows from a question that did not complete the record, after `tries` that did not either.
pub fn asked(tries: i64, unfinished: Unfinished, now: DateTime<Utc>) -> Asked {
    let tries = tries + 1;
    let (waiting, enough, given_up, last_error) = match unfinished {
        Unfinished::Incomplete => (ConversationStatus::Processing, ENOUGH_TRIES, ConversationStatus::Completed, None),
        Unfinished::NoneKept => (ConversationStatus::Completed, 0, ConversationStatus::Completed, None),
        Unfinished::Missing(why) => (ConversationStatus::Pending, MOST_TRIES, ConversationStatus::Failed, Some(why)),
    };
    let is_over = tries >= enough;
    Asked {
        status: if is_over { given_up } else { waiting },
        tries,
        next_try_at: (!is_over).then(|| now + wait_after(tries)),
        last_error,
    }
}

/// How long to wait after so many questions.
pub fn wait_after(tries: i64) -> TimeDelta {
    let doublings = u32::try_from(tries.clamp(0, 7)).unwrap_or(0);
    TimeDelta::seconds((FIRST_WAIT_SECONDS << doublings).min(LONGEST_WAIT_SECONDS))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks until nobody asks any more; yields where it ends, and how long that took.
    fn ask_on(unfinished: impl Fn() -> Unfinished) -> (Asked, TimeDelta) {
        let mut now = DateTime::UNIX_EPOCH;
        let mut tries = 0;
        loop {
            let asked = asked(tries, unfinished(), now);
            assert_eq!(asked.tries, tries + 1);
            match asked.next_try_at {
                Some(at) => {
                    assert!(
                        at > now && !matches!(asked.status, ConversationStatus::Completed | ConversationStatus::Failed)
                    );
                    (now, tries) = (at, asked.tries);
                }
                None => return (asked, now - DateTime::UNIX_EPOCH),
            }
        }
    }

    #[test]
    fn what_never_comes_is_given_up_after_hours() {
        let (asked, took) = ask_on(|| Unfinished::Missing("no such call".to_owned()));
        assert_eq!((asked.status, asked.last_error.as_deref()), (ConversationStatus::Failed, Some("no such call")));
        assert_eq!((asked.tries, took.num_hours()), (MOST_TRIES, 6));
    }

    #[test]
    fn what_lacks_something_for_long_is_all_there_is() {
        let (asked, took) = ask_on(|| Unfinished::Incomplete);
        assert_eq!((asked.status, asked.last_error), (ConversationStatus::Completed, None));
        assert_eq!(took, TimeDelta::seconds(60 + 120 + 240 + 480));
    }

    #[test]
    fn the_wait_grows_up_to_an_hour() {
        let waits: Vec<i64> = (0..9).map(|tries| wait_after(tries).num_seconds()).collect();
        assert_eq!(waits, [30, 60, 120, 240, 480, 960, 1920, 3600, 3600]);
    }
}
