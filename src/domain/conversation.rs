//! What a provider recorded of a conversation, and when it is asked for the record again.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, TimeDelta, Utc};

use super::call::{UnknownWord, words};

/// The first time between two questions about a call that is over.
const FIRST_WAIT_SECONDS: i64 = 30;
/// The longest time between two such questions.
const LONGEST_WAIT_SECONDS: i64 = 3600;
/// A record that did not come so long after the end of the call is given up, and one that lacks something still is taken
/// as it is: an agent may be set up to analyse nothing.
const GIVE_UP_SECONDS: i64 = 6 * 3600;
/// So many questions are asked in any case: the time may have passed while nobody could be asked.
const LEAST_TRIES: i64 = 3;

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

/// What is told of a record that was taken as it was.
const TAKEN_AS_IT_WAS: &str = "the provider's record lacks a cost, an analysis or its end, and was taken as it was";

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

/// What follows from a question that did not complete a record after `tries` that did not either; `wanted_since` is the end
/// of the call, as far as it is known.
///
/// Time decides, and not how often somebody asked: several machines may ask, or a person who cannot wait.
pub fn asked(wanted_since: DateTime<Utc>, tries: i64, unfinished: Unfinished, now: DateTime<Utc>) -> Asked {
    let tries = tries + 1;
    let (waiting, given_up) = match &unfinished {
        Unfinished::Incomplete => (ConversationStatus::Processing, ConversationStatus::Completed),
        Unfinished::NoneKept => (ConversationStatus::Completed, ConversationStatus::Completed),
        Unfinished::Missing(_) => (ConversationStatus::Pending, ConversationStatus::Failed),
    };
    let is_late = now - wanted_since >= TimeDelta::seconds(GIVE_UP_SECONDS) && tries >= LEAST_TRIES;
    let is_over = is_late || unfinished == Unfinished::NoneKept;
    Asked {
        status: if is_over { given_up } else { waiting },
        tries,
        next_try_at: (!is_over).then(|| now + wait_after(wanted_since, now)),
        last_error: match unfinished {
            Unfinished::Missing(why) => Some(why),
            Unfinished::Incomplete => is_over.then(|| TAKEN_AS_IT_WAS.to_owned()),
            Unfinished::NoneKept => None,
        },
    }
}

/// How long to wait before asking again for a record that is wanted since then: as long as it was waited for by now.
pub fn wait_after(wanted_since: DateTime<Utc>, now: DateTime<Utc>) -> TimeDelta {
    let waited = (now - wanted_since).num_seconds();
    TimeDelta::seconds(waited.clamp(FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks until nobody asks any more; yields where it ends, and how long that took.
    fn ask_on(unfinished: impl Fn() -> Unfinished) -> (Asked, TimeDelta) {
        let wanted_since = DateTime::UNIX_EPOCH;
        let mut now = wanted_since + wait_after(wanted_since, wanted_since);
        let mut tries = 0;
        loop {
            let asked = asked(wanted_since, tries, unfinished(), now);
            assert_eq!(asked.tries, tries + 1);
            match asked.next_try_at {
                Some(at) => {
                    let given_up = [ConversationStatus::Completed, ConversationStatus::Failed];
                    assert!(at > now && !given_up.contains(&asked.status));
                    (now, tries) = (at, asked.tries);
                }
                None => return (asked, now - wanted_since),
            }
        }
    }

    #[test]
    fn what_never_comes_is_given_up_after_hours() {
        let (asked, took) = ask_on(|| Unfinished::Missing("no such call".to_owned()));
        assert_eq!((asked.status, asked.last_error.as_deref()), (ConversationStatus::Failed, Some("no such call")));
        assert!((6..7).contains(&took.num_hours()), "{took}");
        assert!((8..20).contains(&asked.tries), "{}", asked.tries);
    }

    #[test]
    fn what_lacks_something_for_long_is_all_there_is() {
        let (asked, took) = ask_on(|| Unfinished::Incomplete);
        assert_eq!((asked.status, asked.last_error.as_deref()), (ConversationStatus::Completed, Some(TAKEN_AS_IT_WAS)));
        assert_eq!(took.num_hours(), 6);
    }

    #[test]
    fn asking_often_gives_nothing_up_and_asking_late_asks_still() {
        let (since, soon) = (DateTime::UNIX_EPOCH, DateTime::UNIX_EPOCH + TimeDelta::minutes(1));
        for unfinished in [Unfinished::Incomplete, Unfinished::Missing(String::new())] {
            assert!(asked(since, 1000, unfinished.clone(), soon).next_try_at.is_some());
            // Nobody could be asked for two days.
            let late = asked(since, 0, unfinished, since + TimeDelta::days(2));
            assert_eq!(late.next_try_at, Some(since + TimeDelta::days(2) + TimeDelta::hours(1)));
        }
    }
}
