//! Numbers whose calls cost extra, and who has them called all the same.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::PhoneProblem;
use crate::domain::call::{UnknownWord, words};

/// A class of numbers whose calls cost the caller extra.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Costly {
    /// Callers pay for a service, as behind `0900` in Germany.
    PremiumRate,
    /// Callers pay a part that is more than an ordinary call, as behind `0180` in Germany.
    SharedCost,
}

words!(Costly, "class of numbers", { PremiumRate => "premium_rate", SharedCost => "shared_cost" });

impl Costly {
    /// Why such a number is refused.
    pub const fn problem(self) -> PhoneProblem {
        match self {
            Self::PremiumRate => PhoneProblem::PremiumRate,
            Self::SharedCost => PhoneProblem::SharedCost,
        }
    }
}

/// The costly classes that are called all the same; none by default.
///
/// Serialised as a list of words. Emergency and short numbers cannot be in it: they have no E.164 form, in which phones
/// are stored and dialled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<&'static str>")]
pub struct CallAlso {
    premium_rate: bool,
    shared_cost: bool,
}

impl CallAlso {
    /// Every class: for finding a contact by its phone, which may have been taken under another rule.
    pub const ANY: Self = Self { premium_rate: true, shared_cost: true };

    /// Whether numbers of this class are called.
    pub const fn contains(self, class: Costly) -> bool {
        match class {
            Costly::PremiumRate => self.premium_rate,
            Costly::SharedCost => self.shared_cost,
        }
    }

    /// The words of the classes, in one order.
    pub fn words(self) -> Vec<&'static str> {
        Costly::ALL.iter().filter(|class| self.contains(**class)).map(|class| class.as_str()).collect()
    }
}

impl FromIterator<Costly> for CallAlso {
    fn from_iter<I: IntoIterator<Item = Costly>>(classes: I) -> Self {
        let mut also = Self::default();
        for class in classes {
            match class {
                Costly::PremiumRate => also.premium_rate = true,
                Costly::SharedCost => also.shared_cost = true,
            }
        }
        also
    }
}

impl TryFrom<Vec<String>> for CallAlso {
    type Error = UnknownWord;

    fn try_from(words: Vec<String>) -> Result<Self, UnknownWord> {
        words.iter().map(|word| word.parse::<Costly>()).collect()
    }
}

impl From<CallAlso> for Vec<&'static str> {
    fn from(also: CallAlso) -> Self {
        also.words()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_stored_as_words() {
        for (json, also) in [
            ("[]", CallAlso::default()),
            (r#"["shared_cost"]"#, CallAlso::from_iter([Costly::SharedCost])),
            (r#"["premium_rate","shared_cost"]"#, CallAlso::ANY),
        ] {
            assert_eq!(serde_json::to_string(&also).unwrap(), json);
            assert_eq!(serde_json::from_str::<CallAlso>(json).unwrap(), also);
        }
        assert!(serde_json::from_str::<CallAlso>(r#"["emergency"]"#).is_err());
    }
}
