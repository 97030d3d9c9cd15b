//! From the cells of a row to a contact.

use std::sync::Arc;

use thiserror::Error;

use super::cells::Cells;
use super::columns::{Field, Mapping};
use crate::domain::csv_cell::unescape;
use crate::domain::phone::{CallAlso, ParsedPhone, Phone, PhoneParser, PhoneProblem};
use crate::domain::preferred::PreferredTime;
use crate::domain::region::Region;
use crate::domain::zone::Zone;

/// What a row says about one contact. A field is none where the row has nothing to say about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContactRow {
    /// The number to call.
    pub phone: Phone,
    /// What to key in once connected.
    pub extension: Option<String>,
    /// Further valid numbers of the same cell, in order.
    pub alternates: Vec<Phone>,
    /// The whole name.
    pub name: Option<String>,
    /// An e-mail address, as written.
    pub email: Option<String>,
    /// The id in the system that the list comes from.
    pub external_id: Option<String>,
    /// The person's zone.
    pub timezone: Option<Zone>,
    /// The time of day at which the person asked to be called.
    pub preferred_time: Option<PreferredTime>,
    /// Every other column that is not empty, as the text of a JSON object: text under the column's name. Empty where
    /// there is none.
    pub attributes: String,
}

/// Why a row was not taken: the reason's stable word, and a sentence.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{detail}")]
pub struct RowProblem {
    /// The class of the problem.
    pub reason: RowReason,
    /// What is wrong, with the value.
    pub detail: String,
}

/// The classes of problems of a row. The texts of [`RowReason::code`] are an API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RowReason {
    /// The phone cell.
    Phone(PhoneProblem),
    /// More or fewer cells than the header has.
    RaggedRow,
    /// A quote that is never closed, so that the row swallows those behind it.
    UnclosedQuote,
    /// Bytes that are no text in the list's encoding.
    BadEncoding,
    /// A NUL character, which no database text can hold.
    NulByte,
    /// The country is none that has a numbering plan, and the number needs one.
    UnknownRegion,
    /// The country may as well be a state, and the number needs one.
    AmbiguousRegion,
    /// The extension is no digits.
    InvalidExtension,
    /// The zone is no IANA name, and no US name that means just one zone.
    InvalidTimezone,
    /// The preferred time is no `HH:MM`.
    InvalidPreferredTime,
}

impl RowReason {
    /// The stable word for this class.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Phone(problem) => problem.code(),
            Self::RaggedRow => "ragged_row",
            Self::UnclosedQuote => "unclosed_quote",
            Self::BadEncoding => "bad_encoding",
            Self::NulByte => "nul_byte",
            Self::UnknownRegion => "unknown_region",
            Self::AmbiguousRegion => "ambiguous_region",
            Self::InvalidExtension => "invalid_extension",
            Self::InvalidTimezone => "invalid_timezone",
            Self::InvalidPreferredTime => "invalid_preferred_time",
        }
    }
}

/// The attribute that keeps the further valid numbers of a phone cell, parted by blanks.
pub const ALTERNATE_PHONES: &str = "alternate_phones";

/// Reads rows of one list. Threads that share its phone parser wait for one another.
pub struct RowReader {
    mapping: Mapping,
    /// The column of each field, in the order of [`Field::ALL`].
    columns: [Option<usize>; Field::ALL.len()],
    /// Each attribute's column, and its name as a JSON key.
    attributes: Vec<(usize, Vec<u8>)>,
    /// The attribute's column that is named as the one for further numbers: an exported list has one.
    alternates_column: Option<usize>,
    region: Option<Region>,
    also: CallAlso,
    parser: Arc<PhoneParser>,
}

impl ContactRow {
    /// A row of which nothing but the phone is known.
    pub const fn bare(phone: Phone) -> Self {
        Self {
            phone,
            extension: None,
            alternates: Vec::new(),
            name: None,
            email: None,
            external_id: None,
            timezone: None,
            preferred_time: None,
            attributes: String::new(),
        }
    }
}

impl RowReader {
    /// A reader for lists with this header; `region` counts where a row names none, and of numbers that cost extra the
    /// classes in `also` are taken.
    pub fn new(mapping: Mapping, region: Option<Region>, also: CallAlso) -> Self {
        Self::with_parser(mapping, region, also, Arc::default())
    }

    /// As [`RowReader::new`], with a parser that is there already: it takes a while to make, and longer to get into its
    /// stride.
    pub fn with_parser(mapping: Mapping, region: Option<Region>, also: CallAlso, parser: Arc<PhoneParser>) -> Self {
        let columns = Field::ALL.map(|field| mapping.column_of(field));
        let key = |name: &str| serde_json::to_vec(name).expect("text is JSON");
        let attributes = mapping.attributes().iter().map(|(index, name)| (*index, key(name))).collect();
        let alternates = mapping.attributes().iter().find(|(_, name)| name == ALTERNATE_PHONES);
        let alternates_column = alternates.map(|(index, _)| *index);
        Self { mapping, columns, attributes, alternates_column, region, also, parser }
    }

    /// How the header was read.
    pub fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    /// Reads one row from its raw cells.
    ///
    /// # Errors
    /// A [`RowProblem`]; the first found, structure before phone before the other fields.
    pub fn read(&self, cells: Cells<'_>) -> Result<ContactRow, RowProblem> {
        let text = self.text(cells)?;
        let cell = |field: Field| self.columns[field as usize].and_then(|index| value(written(cells, text, index)));
        let phone_column = self.columns[Field::Phone as usize].expect("a mapping always has a phone column");
        let (parsed, alternates) = self.phone(written(cells, text, phone_column), cell(Field::Region))?;
        let own_extension = cell(Field::Extension).map(extension).transpose()?;
        let timezone = cell(Field::Timezone)
            .map(|text| Zone::from_cell(text, &parsed.phone))
            .transpose()
            .map_err(|error| problem(RowReason::InvalidTimezone, error.to_string()))?;
        let preferred_time = cell(Field::PreferredTime)
            .map(preferred_time)
            .transpose()
            .map_err(|error| problem(RowReason::InvalidPreferredTime, error))?;
        let attributes = self.attributes(cells, text, &alternates);
        Ok(ContactRow {
            phone: parsed.phone,
            extension: parsed.extension.or(own_extension),
            alternates,
            name: cell(Field::Name).map(str::to_owned).or_else(|| {
                match (cell(Field::FirstName), cell(Field::LastName)) {
                    (Some(first), Some(last)) => Some(format!("{first} {last}")),
                    (first, last) => first.or(last).map(str::to_owned),
                }
            }),
            email: cell(Field::Email).map(str::to_owned),
            external_id: cell(Field::ExternalId).map(str::to_owned),
            timezone,
            preferred_time,
            attributes,
        })
    }

    /// The phone of a row of which nothing else needs to be readable; none where it has no usable one.
    pub fn phone_of(&self, cells: Cells<'_>) -> Option<Phone> {
        if cells.len() != self.mapping.width() {
            return None;
        }
        let cell = |field: Field| {
            let place = self.columns[field as usize]?;
            std::str::from_utf8(cells.iter().nth(place)?).ok()
        };
        let region = cell(Field::Region).and_then(value_of);
        self.phone(unescape(cell(Field::Phone)?), region).ok().map(|(parsed, _)| parsed.phone)
    }

    /// The text of all cells, one behind another, once each of them is known to be text.
    fn text<'a>(&self, cells: Cells<'a>) -> Result<&'a str, RowProblem> {
        let (found, wanted) = (cells.len(), self.mapping.width());
        if found != wanted {
            let detail = format!("the row has {found} cells where the header has {wanted}");
            return Err(problem(RowReason::RaggedRow, detail));
        }
        if let Some(text) = cells.as_text()
            && !text.as_bytes().contains(&0)
        {
            return Ok(text);
        }
        let columns = self.mapping.columns();
        let bad = cells.iter().zip(columns).find_map(|(bytes, column)| {
            if bytes.contains(&0) {
                return Some(problem(RowReason::NulByte, format!("column `{column}` holds a NUL character")));
            }
            let at = std::str::from_utf8(bytes).err()?.valid_up_to() + 1;
            let detail = format!("column `{column}` is no text in the list's encoding from its byte {at} on");
            Some(problem(RowReason::BadEncoding, detail))
        });
        Err(bad.expect("a row that is no text has a cell that is none"))
    }

    fn phone(&self, text: &str, region_cell: Option<&str>) -> Result<(ParsedPhone, Vec<Phone>), RowProblem> {
        // A country that is not understood is not replaced by another: only numbers that need none pass.
        let region = self.region(region_cell);
        let by_plan = region.as_ref().ok().copied().flatten();
        let refused = match self.parser.parse(text, by_plan, self.also) {
            Ok(parsed) => return Ok((parsed, Vec::new())),
            Err(PhoneProblem::RegionNeeded) if region.is_err() => {
                return Err(region.err().unwrap_or_else(|| problem(RowReason::UnknownRegion, String::new())));
            }
            Err(refused) => refused,
        };
        // Of a number whose digits are lost a part is no number, and of a cell that speaks of a fax nobody knows which is.
        let is_whole = !matches!(refused, PhoneProblem::SpreadsheetDamage | PhoneProblem::Fax);
        if let Some(several) = is_whole.then(|| self.several(text, by_plan)).flatten() {
            return Ok(several);
        }
        let shown: String = text.trim().chars().take(60).collect();
        let detail =
            if refused == PhoneProblem::NoPhone { refused.to_string() } else { format!("`{shown}`: {refused}") };
        Err(problem(RowReason::Phone(refused), detail))
    }

    /// The region that a row's number is read by: that of its cell, else the list's.
    fn region(&self, cell: Option<&str>) -> Result<Option<Region>, RowProblem> {
        let Some(text) = cell else { return Ok(self.region) };
        let is_code = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_alphabetic());
        if is_code && !self.mapping.is_region_sure() {
            // `DE` is Germany or Delaware, `IN` India or Indiana: a number read by the wrong one is somebody else's.
            if let Some(region) = self.region.filter(|region| region.code().eq_ignore_ascii_case(text)) {
                return Ok(Some(region));
            }
            let column =
                self.columns[Field::Region as usize].map_or("", |index| self.mapping.columns()[index].as_str());
            let detail = format!(
                "`{text}` in column `{column}` may be a country or a state: --map region=\"{column}\" reads countries, \
                 --map state=\"{column}\" states"
            );
            return Err(problem(RowReason::AmbiguousRegion, detail));
        }
        Region::from_cell(text).map(Some).map_err(|error| problem(RowReason::UnknownRegion, error.to_string()))
    }

    /// The first valid number of a cell with several, and the other valid ones.
    fn several(&self, text: &str, region: Option<Region>) -> Option<(ParsedPhone, Vec<Phone>)> {
        const MAX_CHARS: usize = 500;
        if text.len() > MAX_CHARS {
            return None;
        }
        let digits = |part: &str| part.chars().filter(|c| c.is_numeric()).count();
        let parts: Vec<&str> =
            text.split(['/', ';', '|', '\n', '&', ',']).flat_map(|part| part.split(" or ")).collect();
        // Parts of less than seven digits are pieces of a number or an extension. Where the first is one, as the area
        // code in `030/1234567/...`, what follows is no whole number either.
        if parts.iter().map(|part| digits(part)).find(|digits| *digits > 0)? < 7 {
            return None;
        }
        let mut numbers = parts
            .into_iter()
            .filter(|part| digits(part) >= 7)
            .filter_map(|part| self.parser.parse(part, region, self.also).ok());
        let first = numbers.next()?;
        let rest: Vec<Phone> = numbers.map(|parsed| parsed.phone).collect();
        let mut alternates: Vec<Phone> = Vec::new();
        for phone in rest {
            if phone != first.phone && !alternates.contains(&phone) {
                alternates.push(phone);
            }
        }
        Some((first, alternates))
    }

    /// The row's attributes as a JSON object; empty text where there are none.
    fn attributes(&self, cells: Cells<'_>, text: &str, alternates: &[Phone]) -> String {
        let mut json = Vec::new();
        let mut has_alternates = false;
        let mut push = |key: &[u8], value: &str| {
            if json.is_empty() {
                json.reserve(128);
            }
            json.push(if json.is_empty() { b'{' } else { b',' });
            json.extend_from_slice(key);
            json.push(b':');
            serde_json::to_writer(&mut json, value).expect("text is JSON");
        };
        for (index, key) in &self.attributes {
            let text = written(cells, text, *index).trim();
            // What databases and spreadsheets write for nothing; `none` or `-` can be an answer here.
            if !text.is_empty() && !["NULL", "\\N", "#N/A"].contains(&text) {
                push(key, text);
                has_alternates |= Some(*index) == self.alternates_column;
            }
        }
        for field in Field::ALL.into_iter().filter(|field| field.is_attribute()) {
            let cell = self.columns[field as usize].and_then(|index| value(written(cells, text, index)));
            if let Some(text) = cell {
                push(format!("\"{}\"", field.name()).as_bytes(), text);
            }
        }
        if !alternates.is_empty() && !has_alternates {
            let list: Vec<&str> = alternates.iter().map(Phone::as_str).collect();
            push(format!("\"{ALTERNATE_PHONES}\"").as_bytes(), &list.join(" "));
        }
        if json.is_empty() {
            return String::new();
        }
        json.push(b'}');
        String::from_utf8(json).expect("JSON of text is text")
    }
}

/// A cell as it was before a spreadsheet was kept from taking it for a formula.
fn written<'a>(cells: Cells<'a>, text: &'a str, index: usize) -> &'a str {
    unescape(cells.text(text, index))
}

/// What a raw cell says, or none where it says that there is nothing.
pub(in crate::domain) fn value_of(cell: &str) -> Option<&str> {
    value(unescape(cell))
}

/// The cell's text, or none where it says that there is none.
fn value(cell: &str) -> Option<&str> {
    // Fewer than a phone cell has: `X` or `0` may be an id, `NA` is Namibia, and somebody may be called Private.
    const NOTHING: [&str; 12] =
        ["null", "(null)", "\\n", "nil", "none", "n/a", "#n/a", "nan", "<na>", "undefined", "-", "--"];
    let text = cell.trim();
    (!text.is_empty() && !NOTHING.iter().any(|word| word.eq_ignore_ascii_case(text))).then_some(text)
}

/// Reads `101`, `x101`, `ext. 101` or, as a spreadsheet writes numbers, `101.0`.
fn extension(text: &str) -> Result<String, RowProblem> {
    const MAX_DIGITS: usize = 20;
    let folded = text.to_lowercase();
    let bare = ["extension", "extn", "ext", "x", "#"].iter().find_map(|label| folded.strip_prefix(label));
    let digits = bare.map_or(folded.as_str(), |rest| rest.trim_start_matches(['.', ':', '#', ' ']));
    let digits = digits.strip_suffix(".0").unwrap_or(digits);
    if (1..=MAX_DIGITS).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(digits.to_owned());
    }
    let shown: String = text.chars().take(60).collect();
    Err(problem(RowReason::InvalidExtension, format!("the extension `{shown}` is not digits, such as 101")))
}

/// Reads `9:30`, `09:30` or, as a spreadsheet writes times, `09:30:00`.
///
/// # Errors
/// When it is no time of day.
pub fn preferred_time(text: &str) -> Result<PreferredTime, String> {
    let text = text.strip_suffix(":00").filter(|rest| rest.contains(':')).unwrap_or(text);
    let padded = if text.len() == 4 { format!("0{text}") } else { text.to_owned() };
    padded.parse().map_err(|error: crate::domain::preferred::PreferredTimeError| error.to_string())
}

fn problem(reason: RowReason, detail: String) -> RowProblem {
    RowProblem { reason, detail }
}

#[cfg(test)]
mod tests;
