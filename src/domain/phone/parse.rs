//! From a written number to one that may be dialled.

use std::borrow::Cow;
use std::fmt::Write as _;

use rlibphonenumber::{
    NumberLengthType, ParseError, PhoneNumber, PhoneNumberType, PhoneNumberUtil, Region as LibraryRegion,
    ValidationError,
};

use super::repair::repair;
use super::{CallAlso, Costly, ParsedPhone, Phone, PhoneProblem};
use crate::domain::region::Region;

/// No written number is longer; what is, is another column's text, and costs time.
const MAX_INPUT_CHARS: usize = 250;

thread_local! {
    // The library's own shared instance is contended between threads; one each costs a few milliseconds and megabytes.
    static PARSER: PhoneParser = PhoneParser::new();
}

/// Reads `input` as one phone number, with this thread's own parser. National numbers are read by `region`'s plan; of
/// those that cost extra, the classes in `also` are taken.
///
/// # Errors
/// A [`PhoneProblem`] for anything that may not be dialled.
///
/// # Examples
/// ```
/// use callops::domain::phone::parse_phone;
/// let parsed = parse_phone("(802) 223-6942 x1", Some("US".parse().unwrap()), Default::default()).unwrap();
/// assert_eq!((parsed.phone.as_str(), parsed.extension.as_deref()), ("+18022236942", Some("1")));
/// ```
pub fn parse_phone(input: &str, region: Option<Region>, also: CallAlso) -> Result<ParsedPhone, PhoneProblem> {
    PARSER.with(|parser| parser.parse(input, region, also))
}

/// Reads `input` as the number of somebody who is not to be called, with this thread's own parser. Numbers that may not
/// be dialled are read too, if they have an E.164 form, and so is E.164 text of which no plan knows any more.
///
/// # Errors
/// A [`PhoneProblem`] for what is no number.
pub fn identify_phone(input: &str, region: Option<Region>) -> Result<Phone, PhoneProblem> {
    PARSER.with(|parser| parser.identify(input, region))
}

/// Whether the library has a numbering plan for this region.
pub(crate) fn is_supported(region: LibraryRegion) -> bool {
    PARSER.with(|parser| parser.library.get_country_code_for_region(region).is_some())
}

/// The numbering plans of the world. Costs milliseconds to make: keep one per thread.
pub struct PhoneParser {
    library: PhoneNumberUtil,
}

impl Default for PhoneParser {
    fn default() -> Self {
        Self::new()
    }
}

impl PhoneParser {
    /// Loads the numbering plans that are built in.
    pub fn new() -> Self {
        Self { library: PhoneNumberUtil::new().expect("the numbering plans built into the program are readable") }
    }

    /// Reads `input` as one phone number; see [`parse_phone`].
    pub fn parse(&self, input: &str, region: Option<Region>, also: CallAlso) -> Result<ParsedPhone, PhoneProblem> {
        if input.len() > MAX_INPUT_CHARS && input.chars().nth(MAX_INPUT_CHARS).is_some() {
            let blank = input.chars().all(char::is_whitespace);
            return Err(if blank { PhoneProblem::NoPhone } else { PhoneProblem::NotANumber });
        }
        let text = repair(input)?;
        // Nearly every number is digits and common signs alone, in which nothing can be said or parted.
        let is_plain = text.bytes().all(|byte| byte.is_ascii_digit() || b" +-().".contains(&byte));
        if !is_plain && names_a_fax(&text) {
            return Err(PhoneProblem::Fax);
        }
        if !is_plain
            && let Some(first) = before_separator(&text)
            && self.read(&first, region, also).is_ok()
        {
            return Err(PhoneProblem::SeveralNumbers);
        }
        let problem = match self.read(&text, region, also) {
            Ok(parsed) => return Ok(parsed),
            Err(problem) => problem,
        };
        // `00` is how most of the world dials `+`; only what is no number of the region itself is read so.
        if let Some(rest) = text.strip_prefix("00")
            && let Ok(parsed) = self.read(&format!("+{rest}"), None, also)
        {
            return Ok(parsed);
        }
        Err(problem)
    }

    /// Reads `input` as a number that may be one that is not dialled; see [`identify_phone`].
    pub fn identify(&self, input: &str, region: Option<Region>) -> Result<Phone, PhoneProblem> {
        let problem = match self.parse(input, region, CallAlso::ANY) {
            Ok(parsed) => return Ok(parsed.phone),
            Err(problem) => problem,
        };
        let undialled = match problem {
            PhoneProblem::Fax => self.undialled(input, region),
            PhoneProblem::InvalidNumber => Phone::from_e164(input.trim()).ok(),
            _ => None,
        };
        undialled.ok_or(problem)
    }

    /// The E.164 form of a number that is said to be a fax.
    fn undialled(&self, input: &str, region: Option<Region>) -> Option<Phone> {
        let text = repair(input).ok()?;
        let number = self.library.parse(&text, region.map(Region::library)).ok()?;
        if self.library.get_number_type(&number) == PhoneNumberType::Unknown { None } else { e164(&number) }
    }

    fn read(&self, text: &str, region: Option<Region>, also: CallAlso) -> Result<ParsedPhone, PhoneProblem> {
        if is_short(text, region) {
            return Err(PhoneProblem::ShortOrEmergency);
        }
        let number =
            self.library.parse(text, region.map(Region::library)).map_err(|error| explain(&error, text, region))?;
        if has_words(text, &number) || has_remark(text, &number) {
            return Err(PhoneProblem::NotANumber);
        }
        let costly = match self.library.get_number_type(&number) {
            PhoneNumberType::Unknown => {
                return Err(match self.library.is_possible_number_with_reason(&number) {
                    Ok(NumberLengthType::IsPossibleLocalOnly) | Err(ValidationError::TooShort) => {
                        PhoneProblem::TooShort
                    }
                    Err(ValidationError::TooLong) => PhoneProblem::TooLong,
                    Err(ValidationError::InvalidCountryCode) => PhoneProblem::InvalidCountryCode,
                    _ => PhoneProblem::InvalidNumber,
                });
            }
            PhoneNumberType::PremiumRate => Some(Costly::PremiumRate),
            PhoneNumberType::SharedCost => Some(Costly::SharedCost),
            _ => None,
        };
        if let Some(class) = costly.filter(|class| !also.contains(*class)) {
            return Err(class.problem());
        }
        let phone = e164(&number).ok_or(PhoneProblem::InvalidNumber)?;
        Ok(ParsedPhone { phone, extension: number.extension.filter(|digits| !digits.is_empty()) })
    }
}

fn e164(number: &PhoneNumber) -> Option<Phone> {
    let mut text = String::with_capacity(17);
    write!(text, "+{}", number.country_code).ok()?;
    if number.italian_leading_zero() {
        for _ in 0..number.number_of_leading_zeros() {
            text.push('0');
        }
    }
    write!(text, "{}", number.national_number).ok()?;
    Phone::from_e164(&text).ok()
}

fn explain(error: &ParseError, text: &str, region: Option<Region>) -> PhoneProblem {
    match error {
        ParseError::InvalidCountryCode if region.is_none() && !text.contains('+') => PhoneProblem::RegionNeeded,
        ParseError::InvalidCountryCode => PhoneProblem::InvalidCountryCode,
        ParseError::TooShortAfterIdd | ParseError::TooShortNsn => PhoneProblem::TooShort,
        ParseError::TooLongNsn => PhoneProblem::TooLong,
        ParseError::NotANumber(_) => match text.chars().filter(char::is_ascii_digit).count() {
            digits if digits > 17 => PhoneProblem::TooLong,
            1..=2 if !text.chars().any(char::is_alphabetic) => PhoneProblem::TooShort,
            _ => PhoneProblem::NotANumber,
        },
    }
}

/// The emergency numbers of more than three digits, by region. Those of Gabon that begin with 13 have any two digits
/// behind it. Source: libphonenumber's ShortNumberMetadata.xml, release 9.0.43; the library in use here has none of it.
const LONG_EMERGENCY: [(&str, &[&str]); 12] = [
    ("CF", &["1220"]),
    ("ER", &["124422", "127799", "201606", "201917", "202099", "202914"]),
    ("FM", &["320221"]),
    ("GA", &["13", "1730"]),
    ("IN", &["1298", "2611"]),
    ("NA", &["10111"]),
    ("NE", &["723141"]),
    ("OM", &["1444", "9999"]),
    ("PK", &["1122"]),
    ("SE", &["90000"]),
    ("TH", &["1669"]),
    ("ZA", &["10111", "10177"]),
];

/// Numbers that reach an emergency or an operator's short service: up to three digits, Europe's harmonised 116xxx (social
/// services) and 118xx (directory enquiries, which could pass for a local number of Jersey), and longer emergency numbers
/// of the region. Without a `+` they are dialled as they stand, so no numbering plan can make them harmless.
fn is_short(text: &str, region: Option<Region>) -> bool {
    const MAX_DIGITS: usize = 6;
    let mut digits = String::new();
    for sign in text.chars() {
        match sign {
            '0'..='9' if digits.len() == MAX_DIGITS => return false,
            '0'..='9' => digits.push(sign),
            ' ' | '-' | '.' | '(' | ')' | '*' | '#' => {}
            _ => return false,
        }
    }
    let is_european = matches!((&digits.get(..3), digits.len()), (Some("116"), 6) | (Some("118"), 5 | 6));
    let is_emergency = || {
        let Some(code) = region.map(Region::code) else { return false };
        let known = LONG_EMERGENCY.iter().filter(|(of, _)| *of == code).flat_map(|(_, numbers)| *numbers);
        known
            .clone()
            .any(|number| *number == digits || *number == "13" && digits.starts_with("13") && digits.len() == 4)
    };
    digits.len() <= 3 || is_european || is_emergency()
}

/// A number that is said to be a fax and not also a phone.
fn names_a_fax(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    text.contains("fax") && !["tel", "phone", "voice", "fon"].iter().any(|word| text.contains(word))
}

/// What stands before the first sign that parts two numbers. A slash or comma also stands inside numbers, so whoever
/// asks must see whether the part is a number by itself.
fn before_separator(text: &str) -> Option<Cow<'_, str>> {
    let lower = text.to_ascii_lowercase();
    if lower.contains("tel:") || lower.contains(";ext=") {
        return None;
    }
    let sign = text.find(['/', '|', ';', '\n', '&']);
    let word = [" or ", " oder ", " ou ", " and ", " und "].iter().filter_map(|word| lower.find(word)).min();
    let at = match (sign, word) {
        (Some(sign), Some(word)) => sign.min(word),
        (sign, word) => sign.or(word)?,
    };
    let rest = &text[at + 1..];
    // `x302/x2303` is one number with a choice of extensions, which the library cuts by itself.
    let more_digits = rest.bytes().any(|b| b.is_ascii_digit()) && !rest.trim_start().starts_with(['x', 'X', 'e', 'E']);
    more_digits.then(|| Cow::Borrowed(&text[..at]))
}

/// Whether letters were read as digits where nobody meant a vanity number: outside North America, whose numbers have
/// one length, `030 123456 Bob` would be a longer number and somebody else's.
fn has_words(text: &str, number: &PhoneNumber) -> bool {
    const NOT_VANITY: &[&str] =
        &["cell", "home", "work", "main", "mobile", "office", "direct", "desk", "line", "call", "after", "only"];
    let start = text.find(|c: char| c.is_ascii_digit() || c == '+').unwrap_or(0);
    let body = &text[start..];
    if !body.bytes().any(|b| b.is_ascii_alphabetic()) || body.starts_with("tel:") {
        return false;
    }
    let mut words = body.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty()).map(str::to_lowercase);
    let letters: usize = words.clone().map(|word| word.chars().count()).sum();
    let is_label = |word: &str| {
        matches!(word, "x" | "ext" | "extn" | "extension" | "ex" | "int" | "anexo" | "доб" | "xtn" | "isub")
            || word == "tel"
            || word == "phone"
            || word == "context"
    };
    if text.contains("phone-context") {
        return false;
    }
    if number.country_code != 1 {
        // Its digits are as many as it has, so that those of `24h` or `Zi. 12` behind it would be taken for its own.
        return words.any(|word| !(is_label(&word) && number.extension.is_some()));
    }
    if number.extension.is_some() {
        return words.any(|word| !is_label(&word) && word.chars().count() >= 3);
    }
    letters >= 3 && words.any(|word| NOT_VANITY.contains(&word.as_str()))
}

/// Whether digits in brackets stand behind a whole number, such as `(9-17)`: hours, and no part of it. Outside North
/// America, where numbers have one length, they would make it longer.
fn has_remark(text: &str, number: &PhoneNumber) -> bool {
    const WHOLE: usize = 7;
    let digits = |text: &str| text.bytes().filter(u8::is_ascii_digit).count();
    number.country_code != 1
        && text.rsplit_once('(').is_some_and(|(before, remark)| digits(before) >= WHOLE && digits(remark) > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use PhoneProblem as P;
    use proptest::prelude::*;

    fn parse(text: &str, region: &str) -> Result<String, PhoneProblem> {
        let region = (!region.is_empty()).then(|| region.parse().unwrap());
        parse_phone(text, region, CallAlso::default()).map(|p| match p.extension {
            Some(extension) => format!("{} x{extension}", p.phone),
            None => p.phone.to_string(),
        })
    }

    #[test]
    fn numbers_are_read_by_their_region_or_country_code() {
        for (text, region, want) in [
            ("802-223-6942 x1", "US", "+18022236942 x1"),
            ("(802) 223-6942 ext. 101", "US", "+18022236942 x101"),
            ("+1 802 223 6942", "", "+18022236942"),
            ("+49 30 2270123", "US", "+49302270123"),
            ("030 2270123", "DE", "+49302270123"),
            ("030/2270123", "DE", "+49302270123"),
            ("030 / 2270123", "DE", "+49302270123"),
            ("(0)30 2270123", "DE", "+49302270123"),
            ("+49 (0)30 2270123", "", "+49302270123"),
            ("0049302270123", "", "+49302270123"),
            ("0049302270123", "US", "+49302270123"),
            ("0049 30 2270123", "DE", "+49302270123"),
            ("011 49 30 2270123", "US", "+49302270123"),
            ("tel:+1-802-223-6942;ext=12", "", "+18022236942 x12"),
            ("tel:223-6942;phone-context=+1-802", "", "+18022236942"),
            ("+4915112345678", "", "+4915112345678"),
            ("+39 06 6982 3456", "", "+390669823456"),
            ("020 7183 8750", "GB", "+442071838750"),
            ("1-800-FLOWERS", "US", "+18003569377"),
            ("Tel.: 802-223-6942", "US", "+18022236942"),
            ("+49302270123.0", "", "+49302270123"),
            ("8022236942.0", "US", "+18022236942"),
            ("'+1 802 223 6942", "", "+18022236942"),
            ("(530) 583-6985 x302/x2303", "US", "+15305836985 x302"),
        ] {
            assert_eq!(parse(text, region).as_deref(), Ok(want), "{text} {region}");
        }
    }

    #[test]
    fn each_refusal_has_its_reason() {
        for (text, region, want) in [
            ("NULL", "US", P::NoPhone),
            ("1.41555E+10", "US", P::SpreadsheetDamage),
            ("802-223-6942", "", P::RegionNeeded),
            ("49302270123", "", P::RegionNeeded),
            ("+999 123 4567", "", P::InvalidCountryCode),
            ("223-6942", "US", P::TooShort),
            ("12345", "US", P::TooShort),
            ("80222369421234", "US", P::TooLong),
            ("123-456-7890", "US", P::InvalidNumber),
            ("999-999-9999", "US", P::InvalidNumber),
            ("nobody", "US", P::NotANumber),
            ("bob@example.com", "US", P::NotANumber),
            ("911", "US", P::ShortOrEmergency),
            ("112", "DE", P::ShortOrEmergency),
            ("110", "", P::ShortOrEmergency),
            ("999", "GB", P::ShortOrEmergency),
            ("116117", "DE", P::ShortOrEmergency),
            ("11880", "DE", P::ShortOrEmergency),
            ("118 000", "JE", P::ShortOrEmergency),
            ("1669", "TH", P::ShortOrEmergency),
            ("1669", "US", P::TooShort),
            ("10177", "ZA", P::ShortOrEmergency),
            ("1377", "GA", P::ShortOrEmergency),
            ("13770", "GA", P::TooShort),
            ("900-234-5678", "US", P::PremiumRate),
            ("0900 1 234567", "DE", P::PremiumRate),
            ("0180 1 123456", "DE", P::SharedCost),
            ("fax 802-223-6942", "US", P::Fax),
            ("802-223-6942 / 802-265-3610", "US", P::SeveralNumbers),
            ("+49 30 2270123 / 24", "", P::SeveralNumbers),
            ("802-223-6942 or 802-265-3610", "US", P::SeveralNumbers),
            ("030 123456 Bob", "DE", P::NotANumber),
            ("030 2270123 24h", "DE", P::NotANumber),
            ("030 2270123 Zi. 12", "DE", P::NotANumber),
            ("030 2270123 HH 2", "DE", P::NotANumber),
            ("030 2270123 2x", "DE", P::NotANumber),
            ("030 2270123 (9-17)", "DE", P::NotANumber),
        ] {
            assert_eq!(parse(text, region), Err(want), "{text} {region}");
        }
        assert_eq!(parse(&"8".repeat(1_000_000), "US"), Err(P::NotANumber));
        assert_eq!(parse(&" ".repeat(1_000_000), "US"), Err(P::NoPhone));
    }

    #[test]
    fn a_costly_number_is_taken_where_its_class_is_allowed_and_no_other() {
        let read = |text, region: &str, also: &[Costly]| {
            let also = also.iter().copied().collect();
            parse_phone(text, region.parse().ok(), also).map(|parsed| parsed.phone.as_str().to_owned())
        };
        let (premium, shared) = (Costly::PremiumRate, Costly::SharedCost);
        assert_eq!(read("0900 1 234567", "DE", &[premium]).as_deref(), Ok("+499001234567"));
        assert_eq!(read("0900 1 234567", "DE", &[shared]), Err(P::PremiumRate));
        assert_eq!(read("0180 1 123456", "DE", &[shared]).as_deref(), Ok("+491801123456"));
        assert_eq!(read("0180 1 123456", "DE", &[premium]), Err(P::SharedCost));
        for text in ["911", "112", "116117"] {
            assert_eq!(read(text, "DE", &[premium, shared]), Err(P::ShortOrEmergency), "{text}");
        }
        assert_eq!(read("fax 030 2270123", "DE", &[premium, shared]), Err(P::Fax));
    }

    #[test]
    fn a_float_cell_never_becomes_the_longer_number_that_the_library_sees() {
        let library = PhoneNumberUtil::new().unwrap();
        let wrong = library.parse("+49302270123.0", None).unwrap();
        assert!(library.is_valid_number(&wrong), "the trap is still there");
        assert_eq!(e164(&wrong).unwrap().as_str(), "+493022701230");
        assert_eq!(parse("+49302270123.0", "").unwrap(), "+49302270123");
    }

    #[test]
    fn the_worlds_example_numbers_are_read_as_the_library_reads_them() {
        use rlibphonenumber::PhoneNumberFormat as F;
        let library = PhoneNumberUtil::new().unwrap();
        let mut read = 0;
        for region in library.get_supported_regions() {
            for kind in [
                PhoneNumberType::FixedLine,
                PhoneNumberType::Mobile,
                PhoneNumberType::TollFree,
                PhoneNumberType::PremiumRate,
                PhoneNumberType::SharedCost,
                PhoneNumberType::VoIP,
                PhoneNumberType::UAN,
            ] {
                let Ok(number) = library.get_example_number_for_type_and_region(region, kind) else { continue };
                for format in [F::E164, F::International, F::National, F::RFC3966] {
                    let text = library.format(&number, format).into_owned();
                    let again = library.parse(&text, Some(region)).unwrap();
                    let want = match library.get_number_type(&again) {
                        PhoneNumberType::Unknown => continue,
                        PhoneNumberType::PremiumRate => Err(P::PremiumRate),
                        PhoneNumberType::SharedCost => Err(P::SharedCost),
                        _ => Ok(library.format(&again, F::E164).into_owned()),
                    };
                    read += 1;
                    let got = parse(&text, &region.to_string());
                    assert_eq!(got, want, "{text} {region} {kind:?}");
                }
            }
        }
        assert!(read > 3000, "{read}");
    }

    proptest! {
        #[test]
        fn any_text_gets_an_answer_and_a_number_reads_as_itself(text in ".{0,40}", region in 0..4usize) {
            let region = ["", "US", "DE", "IT"][region];
            if let Ok(answer) = parse(&text, region) {
                let e164 = answer.split(' ').next().unwrap();
                prop_assert_eq!(parse(e164, ""), Ok(e164.to_owned()));
            }
        }

        #[test]
        fn a_decimal_tail_never_changes_the_number(national in 2_000_000_000u64..9_999_999_999, tail in prop::sample::select(vec![".0", ".00", ",0", ".000", ".0000000", " .0", ". 0", ",00"])) {
            for (country, region) in [("+1", "US"), ("+49", "DE")] {
                let plain = parse(&format!("{country}{national}"), region);
                let float = parse(&format!("{country}{national}{tail}"), region);
                prop_assert_eq!(plain, float);
            }
        }

        #[test]
        fn written_number_like_text_is_never_a_panic(text in "[0-9+() ./;x#,\\-eE٣]{0,30}") {
            let _ = parse(&text, "DE");
            let _ = parse(&text, "");
        }
    }
}
