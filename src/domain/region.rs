//! Which country's numbering plan a number without a country code is read by.

use std::fmt;
use std::str::FromStr;

use rlibphonenumber::Region as Library;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A country as its two-letter ISO 3166 code, one that has a numbering plan.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Region(Library);

/// A text that is no region.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("unknown region `{value}`: expected a two-letter ISO 3166 country code such as US, GB or DE")]
pub struct RegionProblem {
    /// The text as it was given, cut to a printable length.
    pub value: String,
    /// The region that was probably meant, where that is clear.
    pub suggestion: Option<Region>,
}

impl Region {
    /// The two-letter code in capitals.
    pub fn code(self) -> String {
        self.0.to_string()
    }

    /// Reads a cell of a country column: a code in any case, a three-letter code, or a common name of the country.
    ///
    /// # Errors
    /// When the text names no country with a numbering plan. Nothing is guessed from part of a name.
    pub fn from_cell(text: &str) -> Result<Self, RegionProblem> {
        text.parse().or_else(|problem: RegionProblem| problem.suggestion.ok_or(problem))
    }

    pub(super) fn library(self) -> Library {
        self.0
    }
}

impl FromStr for Region {
    type Err = RegionProblem;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let trimmed = text.trim();
        if trimmed.len() == 2
            && let Ok(region) = Library::from_code(trimmed)
            && super::phone::is_supported(region)
        {
            return Ok(Self(region));
        }
        let suggestion = alias(trimmed).and_then(|code| Library::from_code(code).ok()).map(Self);
        Err(RegionProblem { value: text.chars().take(60).collect(), suggestion })
    }
}

impl TryFrom<String> for Region {
    type Error = RegionProblem;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Region> for String {
    fn from(region: Region) -> Self {
        region.code()
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Region({})", self.0)
    }
}

/// Other spellings that name one country and no other.
fn alias(text: &str) -> Option<&'static str> {
    let key: String = text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    ALIASES.iter().find(|(_, names)| names.contains(&key.as_str())).map(|(code, _)| *code)
}

const ALIASES: &[(&str, &[&str])] = &[
    ("AE", &["are", "uae", "unitedarabemirates"]),
    ("AR", &["arg", "argentina"]),
    ("AT", &["aut", "austria", "österreich"]),
    ("AU", &["aus", "australia"]),
    ("BE", &["bel", "belgium", "belgique", "belgië"]),
    ("BR", &["bra", "brazil", "brasil"]),
    ("CA", &["can", "canada"]),
    ("CH", &["che", "switzerland", "schweiz", "suisse", "svizzera"]),
    ("CL", &["chl", "chile"]),
    ("CN", &["chn", "china", "中国"]),
    ("CO", &["col", "colombia"]),
    ("CZ", &["cze", "czechia", "czechrepublic", "česko"]),
    ("DE", &["deu", "ger", "germany", "deutschland", "allemagne", "alemania"]),
    ("DK", &["dnk", "denmark", "danmark"]),
    ("ES", &["esp", "spain", "españa", "spanien", "espagne"]),
    ("FI", &["fin", "finland", "suomi"]),
    ("FR", &["fra", "france", "frankreich", "francia"]),
    ("GB", &["gbr", "uk", "unitedkingdom", "greatbritain", "england", "scotland", "wales"]),
    ("GR", &["grc", "greece", "ελλάδα"]),
    ("HK", &["hkg", "hongkong"]),
    ("HU", &["hun", "hungary", "magyarország"]),
    ("IE", &["irl", "ireland"]),
    ("IL", &["isr", "israel"]),
    ("IN", &["ind", "india"]),
    ("IT", &["ita", "italy", "italia", "italien"]),
    ("JP", &["jpn", "japan", "日本"]),
    ("KR", &["kor", "southkorea", "republicofkorea"]),
    ("MX", &["mex", "mexico", "méxico"]),
    ("NL", &["nld", "netherlands", "thenetherlands", "nederland"]),
    ("NO", &["nor", "norway", "norge"]),
    ("NZ", &["nzl", "newzealand"]),
    ("PH", &["phl", "philippines"]),
    ("PL", &["pol", "poland", "polska"]),
    ("PT", &["prt", "portugal"]),
    ("RO", &["rou", "romania", "românia"]),
    ("SE", &["swe", "sweden", "sverige"]),
    ("SG", &["sgp", "singapore"]),
    ("TR", &["tur", "turkey", "türkiye"]),
    ("UA", &["ukr", "ukraine", "україна"]),
    ("US", &["usa", "unitedstates", "unitedstatesofamerica", "america"]),
    ("ZA", &["zaf", "southafrica"]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read_in_any_case_and_only_where_there_is_a_plan() {
        assert_eq!("us".parse::<Region>().unwrap().code(), "US");
        assert_eq!(" DE ".parse::<Region>().unwrap().to_string(), "DE");
        for bad in ["", "U", "XX", "ZZ", "001", "1", "North", "🇺🇸"] {
            assert_eq!(bad.parse::<Region>().unwrap_err().suggestion, None, "{bad:?}");
        }
    }

    #[test]
    fn a_common_name_is_a_suggestion_on_the_command_line_and_accepted_in_a_cell() {
        let problem = "USA".parse::<Region>().unwrap_err();
        assert_eq!(problem.suggestion.unwrap().code(), "US");
        assert!(problem.to_string().contains("`USA`"));
        assert_eq!(Region::from_cell("United Kingdom").unwrap().code(), "GB");
        assert_eq!(Region::from_cell("Deutschland").unwrap().code(), "DE");
        assert!(Region::from_cell("Northeast").is_err());
    }

    #[test]
    fn every_alias_names_a_supported_region() {
        for (code, names) in ALIASES {
            assert!(code.parse::<Region>().is_ok(), "{code}");
            for name in *names {
                assert_eq!(Region::from_cell(name).unwrap().code(), *code);
            }
        }
    }
}
