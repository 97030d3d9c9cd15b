//! Which of several numbers of a business is kept, and which are released.

use std::str::FromStr;

use chrono::{DateTime, Utc};

use super::evidence::Evidence;

/// One of the numbers of a business.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its SID.
    pub sid: String,
    /// When it was bought, as far as Twilio says.
    pub bought_at: Option<DateTime<Utc>>,
    /// What is known of its use.
    pub evidence: Evidence,
}

/// Which one a business keeps, besides those that are in use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// One in use, else the database's, else the oldest.
    #[default]
    Usual,
    /// One in use; none where none is.
    InUse,
    /// The one that was bought first.
    Oldest,
    /// The one that was bought last.
    Newest,
    /// The one with this SID.
    Sid(String),
}

impl FromStr for Keep {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "in-use" => Ok(Self::InUse),
            "oldest" => Ok(Self::Oldest),
            "newest" => Ok(Self::Newest),
            sid if is_number_sid(sid) => Ok(Self::Sid(sid.to_owned())),
            _ => {
                Err("write in-use, oldest, newest, or the SID of a number, such as PN followed by 32 hex digits".into())
            }
        }
    }
}

/// Whether a text has the shape of a number's SID.
pub fn is_number_sid(text: &str) -> bool {
    text.len() == 34 && text.starts_with("PN") && text.bytes().skip(2).all(|byte| byte.is_ascii_hexdigit())
}

/// What becomes of one number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Its SID.
    pub sid: String,
    /// Whether it is kept.
    pub keeps: bool,
    /// Why.
    pub reasons: Vec<String>,
}

/// What becomes of all numbers of a business.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The one that the business is to be called at and to call from.
    pub keeper_sid: String,
    /// Every number once, the one that was bought first before the others.
    pub verdicts: Vec<Verdict>,
}

/// Chooses; none where there is no number, or none of the wanted kind: then all are kept.
///
/// A number in use is kept, and so is one of whose use some source could not be asked. The order of the candidates does
/// not matter.
pub fn choose(candidates: &[Candidate], keep: &Keep) -> Option<Choice> {
    let mut sorted: Vec<&Candidate> = candidates.iter().collect();
    // One without a date comes last: it is not taken for the oldest.
    sorted.sort_by(|one, other| age(one).cmp(&age(other)));
    let in_use = |candidate: &&&Candidate| !candidate.evidence.uses().is_empty();
    let in_database = |candidate: &&&Candidate| candidate.evidence.in_database;
    let used = || {
        let mut used = sorted.iter().filter(in_use);
        used.clone().find(in_database).or_else(|| used.next())
    };
    let keeper = match keep {
        Keep::Usual => used().or_else(|| sorted.iter().find(in_database)).or_else(|| sorted.first()),
        Keep::InUse => used(),
        Keep::Oldest => sorted.first(),
        // One without a date is not taken for the newest either.
        Keep::Newest => sorted.iter().rfind(|candidate| candidate.bought_at.is_some()).or_else(|| sorted.last()),
        Keep::Sid(sid) => sorted.iter().find(|candidate| candidate.sid == *sid),
    }?;
    let verdicts = sorted.iter().map(|candidate| verdict(candidate, candidate.sid == keeper.sid, keep));
    Some(Choice { keeper_sid: keeper.sid.clone(), verdicts: verdicts.collect() })
}

fn age(candidate: &Candidate) -> (DateTime<Utc>, &str) {
    (candidate.bought_at.unwrap_or(DateTime::<Utc>::MAX_UTC), &candidate.sid)
}

fn verdict(candidate: &Candidate, is_keeper: bool, keep: &Keep) -> Verdict {
    let mut reasons = candidate.evidence.uses();
    reasons.extend(candidate.evidence.doubts());
    if candidate.evidence.in_database {
        reasons.push("in the database".to_owned());
    }
    let is_held = !candidate.evidence.uses().is_empty() || !candidate.evidence.doubts().is_empty();
    if is_keeper {
        match keep {
            Keep::Oldest => reasons.push("bought first".to_owned()),
            Keep::Newest => reasons.push("bought last".to_owned()),
            Keep::Sid(_) => reasons.push("named by --keep".to_owned()),
            Keep::Usual if reasons.is_empty() => reasons.push("bought first".to_owned()),
            Keep::Usual | Keep::InUse => {}
        }
    }
    if !is_keeper && !is_held {
        reasons.push("not in use".to_owned());
    }
    Verdict { sid: candidate.sid.clone(), keeps: is_keeper || is_held, reasons }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn evidence() -> impl Strategy<Value = Evidence> {
        let unread = || Just("it could not be read".to_owned());
        let list = || proptest::collection::vec("[a-z]{1,3}", 0..2);
        (
            any::<bool>(),
            prop_oneof![6 => (0..3_u64).prop_map(Ok), 1 => unread().prop_map(Err)],
            prop_oneof![6 => list().prop_map(Ok), 1 => unread().prop_map(Err)],
            prop_oneof![6 => list().prop_map(Ok), 1 => unread().prop_map(Err)],
            proptest::option::weighted(0.1, "TK[0-9]"),
            proptest::option::weighted(0.1, "https://[a-z]"),
        )
            .prop_map(|(in_database, recent_calls, voice_accounts, campaigns, trunk, foreign_sms_url)| {
                Evidence { in_database, recent_calls, voice_accounts, campaigns, trunk, foreign_sms_url }
            })
    }

    fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
        // Few moments, so that some were bought at one.
        let one = (proptest::option::weighted(0.9, 0..4_i64), evidence());
        proptest::collection::vec(one, 0..7).prop_map(|all| {
            let candidate = |(n, (bought_at, evidence)): (usize, (Option<i64>, Evidence))| Candidate {
                sid: format!("PN{n:032x}"),
                bought_at: bought_at.and_then(|seconds| DateTime::from_timestamp(seconds, 0)),
                evidence,
            };
            all.into_iter().enumerate().map(candidate).collect()
        })
    }

    fn keep() -> impl Strategy<Value = Keep> {
        prop_oneof![
            Just(Keep::Usual),
            Just(Keep::InUse),
            Just(Keep::Oldest),
            Just(Keep::Newest),
            (0..8_u32).prop_map(|n| Keep::Sid(format!("PN{n:032x}"))),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn one_is_kept_and_none_in_use_is_released_in_whatever_order(
            (given, shuffled) in candidates().prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())),
            keep in keep(),
        ) {
            let choice = choose(&given, &keep);
            prop_assert_eq!(&choice, &choose(&shuffled, &keep));
            let Some(choice) = choice else {
                let named = given.iter().any(|one| Keep::Sid(one.sid.clone()) == keep);
                let used = given.iter().any(|one| !one.evidence.uses().is_empty());
                prop_assert!(given.is_empty() || (keep == Keep::InUse && !used) || (matches!(keep, Keep::Sid(_)) && !named));
                return Ok(());
            };
            prop_assert_eq!(choice.verdicts.len(), given.len());
            prop_assert!(choice.verdicts.iter().any(|verdict| verdict.keeps && verdict.sid == choice.keeper_sid));
            for verdict in &choice.verdicts {
                let candidate = given.iter().find(|one| one.sid == verdict.sid).expect("one of the given");
                let is_held = !candidate.evidence.uses().is_empty() || !candidate.evidence.doubts().is_empty();
                prop_assert_eq!(verdict.keeps, is_held || verdict.sid == choice.keeper_sid);
                prop_assert!(!verdict.reasons.is_empty());
            }
            if keep == Keep::Usual {
                let keeper = given.iter().find(|one| one.sid == choice.keeper_sid).expect("one of the given");
                let any_used = given.iter().any(|one| !one.evidence.uses().is_empty());
                prop_assert_eq!(!keeper.evidence.uses().is_empty(), any_used);
                if !any_used && given.iter().any(|one| one.evidence.in_database) {
                    prop_assert!(keeper.evidence.in_database);
                }
            }
        }
    }

    fn unused(sid: &str, bought_at: i64) -> Candidate {
        let evidence = Evidence {
            in_database: false,
            recent_calls: Ok(0),
            voice_accounts: Ok(Vec::new()),
            campaigns: Ok(Vec::new()),
            trunk: None,
            foreign_sms_url: None,
        };
        Candidate { sid: sid.to_owned(), bought_at: DateTime::from_timestamp(bought_at, 0), evidence }
    }

    #[test]
    fn one_in_use_comes_before_the_databases_and_that_before_the_oldest() {
        let mut all = [unused("PNc", 3), unused("PNa", 1), unused("PNb", 2)];
        let keeper = |all: &[Candidate]| choose(all, &Keep::Usual).expect("a choice").keeper_sid;
        assert_eq!(keeper(&all), "PNa");
        all[0].evidence.in_database = true;
        assert_eq!(keeper(&all), "PNc");
        all[2].evidence.recent_calls = Ok(2);
        let choice = choose(&all, &Keep::Usual).expect("a choice");
        let kept: Vec<(&str, bool)> = choice.verdicts.iter().map(|one| (one.sid.as_str(), one.keeps)).collect();
        assert_eq!(kept, [("PNa", false), ("PNb", true), ("PNc", false)]);
        assert_eq!(choice.keeper_sid, "PNb");
        assert_eq!(choose(&[unused("PNa", 1)], &Keep::InUse), None);
    }
}
