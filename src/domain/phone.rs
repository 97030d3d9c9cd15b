//! Phone numbers: what may be dialled, and why a text may not.

mod costly;
mod parse;
mod repair;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use costly::{CallAlso, Costly};
pub(super) use parse::is_supported;
pub use parse::{PhoneParser, identify_phone, parse_phone};

/// A phone number as E.164 text: `+`, the country calling code, the national number; 7 to 16 characters.
///
/// Small enough to copy. Numbers are ordered as their text is, which is the order the database keeps.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Phone([u8; 16]);

/// A text that is not E.164.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{0}` is not an E.164 number: expected `+`, then 6 to 15 digits that do not begin with 0")]
pub struct NotE164(pub String);

impl Phone {
    /// Reads E.164 text strictly, without asking whether a numbering plan has such a number: numbers that were
    /// stored once stay readable when plans change.
    ///
    /// # Errors
    /// When the text is anything but `+` and 6 to 15 digits of which the first is not 0.
    pub fn from_e164(text: &str) -> Result<Self, NotE164> {
        let bytes = text.as_bytes();
        let well_formed = (7..=16).contains(&bytes.len())
            && bytes[0] == b'+'
            && bytes[1] != b'0'
            && bytes[1..].iter().all(u8::is_ascii_digit);
        if !well_formed {
            return Err(NotE164(text.chars().take(60).collect()));
        }
        let mut number = [0; 16];
        number[..bytes.len()].copy_from_slice(bytes);
        Ok(Self(number))
    }

    /// The number as an integer, which tells it from every other: at most 15 digits, of which the first is not 0.
    pub fn digits(&self) -> u64 {
        self.as_str().bytes().skip(1).fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))
    }

    /// The E.164 text.
    pub fn as_str(&self) -> &str {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(self.0.len());
        std::str::from_utf8(&self.0[..end]).expect("a phone holds `+` and ASCII digits only")
    }
}

impl fmt::Display for Phone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Phone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Phone({})", self.as_str())
    }
}

impl FromStr for Phone {
    type Err = NotE164;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::from_e164(text)
    }
}

impl TryFrom<String> for Phone {
    type Error = NotE164;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::from_e164(&text)
    }
}

impl From<Phone> for String {
    fn from(phone: Phone) -> Self {
        phone.as_str().to_owned()
    }
}

/// A number that may be dialled, and the extension that was written behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedPhone {
    /// What is dialled, and what makes a contact unique.
    pub phone: Phone,
    /// Digits to be keyed in once connected; never part of [`ParsedPhone::phone`].
    pub extension: Option<String>,
}

/// Why a text was not taken as a phone number. The texts of [`PhoneProblem::code`] are an API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Error)]
pub enum PhoneProblem {
    /// Empty, or a word or sign that stands for nothing.
    #[error("there is no phone number")]
    NoPhone,
    /// Digits that a spreadsheet rounded, cut or turned into a decimal number.
    #[error("a spreadsheet changed this number: format the column as text and enter it again")]
    SpreadsheetDamage,
    /// National form, and nobody said which country.
    #[error("the number has no country code: give a region, or write it as +<country code>...")]
    RegionNeeded,
    /// A `+` or international prefix and then no country's calling code.
    #[error("no country has this calling code")]
    InvalidCountryCode,
    /// Fewer digits than any number of that country.
    #[error("the number has too few digits")]
    TooShort,
    /// More digits than any number of that country.
    #[error("the number has too many digits")]
    TooLong,
    /// Well formed, but no such number can exist in that country's numbering plan.
    #[error("no such number exists in the numbering plan")]
    InvalidNumber,
    /// No digits to speak of, or words among them.
    #[error("this is not a phone number")]
    NotANumber,
    /// Several numbers in one text.
    #[error("there is more than one number")]
    SeveralNumbers,
    /// An emergency or short number, which only the phones of its own country or network can dial.
    #[error("emergency and short numbers are not called")]
    ShortOrEmergency,
    /// A number whose callers pay for a service.
    #[error("premium-rate numbers are not called unless the tenant's call_also names premium_rate")]
    PremiumRate,
    /// A number whose callers pay more than for others, and the called the rest.
    #[error("shared-cost numbers are not called unless the tenant's call_also names shared_cost")]
    SharedCost,
    /// Said to be a fax, and not also a phone.
    #[error("this is said to be a fax, which is not called")]
    Fax,
}

impl PhoneProblem {
    /// Every problem, for documentation and tests.
    pub const ALL: [Self; 13] = [
        Self::NoPhone,
        Self::SpreadsheetDamage,
        Self::RegionNeeded,
        Self::InvalidCountryCode,
        Self::TooShort,
        Self::TooLong,
        Self::InvalidNumber,
        Self::NotANumber,
        Self::SeveralNumbers,
        Self::ShortOrEmergency,
        Self::PremiumRate,
        Self::SharedCost,
        Self::Fax,
    ];

    /// The stable word for this problem.
    pub const fn code(self) -> &'static str {
        match self {
            Self::NoPhone => "no_phone",
            Self::SpreadsheetDamage => "spreadsheet_damage",
            Self::RegionNeeded => "region_needed",
            Self::InvalidCountryCode => "invalid_country_code",
            Self::TooShort => "too_short",
            Self::TooLong => "too_long",
            Self::InvalidNumber => "invalid_number",
            Self::NotANumber => "not_a_number",
            Self::SeveralNumbers => "several_numbers",
            Self::ShortOrEmergency => "short_or_emergency",
            Self::PremiumRate => "premium_rate",
            Self::SharedCost => "shared_cost",
            Self::Fax => "fax",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_e164_text_is_a_phone() {
        for good in ["+18021234567", "+989601", "+123456789012345"] {
            let phone = Phone::from_e164(good).unwrap();
            assert_eq!(phone.as_str(), good);
            assert_eq!(phone.to_string(), good);
            assert_eq!(serde_json::to_string(&phone).unwrap(), format!("\"{good}\""));
            assert_eq!(serde_json::from_str::<Phone>(&format!("\"{good}\"")).unwrap(), phone);
        }
        for bad in [
            "",
            "+",
            "18021234567",
            "+08021234567",
            "+1802123456x",
            "+12345",
            "+1234567890123456",
            "+1 802",
            "+1٨٠٢١٢٣",
        ] {
            assert!(Phone::from_e164(bad).is_err(), "{bad}");
        }
        assert!(serde_json::from_str::<Phone>("\"802\"").is_err());
    }

    #[test]
    fn phones_are_ordered_as_their_text() {
        let mut texts = vec!["+18021234567", "+1802123456", "+4930227", "+3511234567", "+35112345678"];
        let mut phones: Vec<Phone> = texts.iter().map(|t| t.parse().unwrap()).collect();
        texts.sort_unstable();
        phones.sort_unstable();
        assert_eq!(phones.iter().map(Phone::as_str).collect::<Vec<_>>(), texts);
    }

    #[test]
    fn codes_are_distinct_and_snake_case() {
        let mut codes: Vec<_> = PhoneProblem::ALL.iter().map(|p| p.code()).collect();
        assert!(codes.iter().all(|c| c.chars().all(|c| c.is_ascii_lowercase() || c == '_')));
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), PhoneProblem::ALL.len());
    }
}
