//! Which column of a list holds what.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use thiserror::Error;

use super::synonyms::{NOT_PHONE_WORDS, PHONE_WORDS, synonyms};
use crate::domain::csv_cell::{escape, unescape};

/// What a column can mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Field {
    /// The number to call.
    Phone,
    /// Digits to key in once the call is answered, where they do not stand behind the number.
    Extension,
    /// The whole name.
    Name,
    /// The given name, joined with [`Field::LastName`] where there is no whole name.
    FirstName,
    /// The family name.
    LastName,
    /// An e-mail address.
    Email,
    /// The person's time zone.
    Timezone,
    /// The time of day at which the person asked to be called.
    PreferredTime,
    /// The person's id in the system that the list comes from.
    ExternalId,
    /// The country that a number without a country code belongs to.
    Region,
    /// The state or province, kept as the attribute `state`.
    State,
    /// The postal code, kept as the attribute `postal_code`.
    PostalCode,
}

/// Columns that a rejects file has behind the original ones, and that an import passes over.
pub const REJECT_COLUMNS: [&str; 2] = ["callops_line", "callops_reason"];

/// Columns that a listing of contacts has behind what a contact holds, and that an import passes over.
pub const EXPORT_COLUMNS: [&str; 3] = ["callops_tenant", "callops_id", "callops_created_at"];

/// A column of this beginning is an attribute, whatever the rest of its name would mean by itself.
const ATTRIBUTE_MARK: &str = "attribute:";
/// A header is read no further than this, but for its marked attributes.
const MAX_NAME_CHARS: usize = 200;

impl Field {
    /// Every field.
    pub const ALL: [Self; 12] = [
        Self::Phone,
        Self::Extension,
        Self::Name,
        Self::FirstName,
        Self::LastName,
        Self::Email,
        Self::Timezone,
        Self::PreferredTime,
        Self::ExternalId,
        Self::Region,
        Self::State,
        Self::PostalCode,
    ];

    /// The name used on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Phone => "phone",
            Self::Extension => "extension",
            Self::Name => "name",
            Self::FirstName => "first_name",
            Self::LastName => "last_name",
            Self::Email => "email",
            Self::Timezone => "timezone",
            Self::PreferredTime => "preferred_time",
            Self::ExternalId => "external_id",
            Self::Region => "region",
            Self::State => "state",
            Self::PostalCode => "postal_code",
        }
    }

    /// Whether the field is kept as an attribute of its name.
    pub const fn is_attribute(self) -> bool {
        matches!(self, Self::State | Self::PostalCode)
    }

    /// The field of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        let name = name.trim().to_lowercase().replace(['-', ' '], "_");
        Self::ALL.into_iter().find(|field| field.name() == name)
    }
}

/// How the header of one list is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    columns: Vec<String>,
    fields: Vec<(Field, usize)>,
    attributes: Vec<(usize, String)>,
    phone_alternatives: Vec<String>,
    is_region_sure: bool,
    is_phone_sure: bool,
}

/// Headers of columns that hold countries in some lists and states in others.
const COUNTRY_OR_STATE: [&str; 2] = ["region", "land"];

/// Why a header cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MappingProblem {
    /// A column that was asked for is not there.
    #[error("there is no column `{column}` for {}; the columns are: {}", .field.name(), list(.columns))]
    NoSuchColumn {
        /// What it was to be.
        field: Field,
        /// The name that was asked for.
        column: String,
        /// The column that was probably meant.
        nearest: Option<String>,
        /// Every column of the list.
        columns: Vec<String>,
    },
    /// No column looks like phone numbers.
    #[error("no column looks like phone numbers; the columns are: {}", list(.columns))]
    NoPhoneColumn {
        /// Every column of the list.
        columns: Vec<String>,
    },
    /// One field was given two columns.
    #[error("{} is mapped twice", .field.name())]
    Twice {
        /// Which.
        field: Field,
    },
}

fn list(columns: &[String]) -> String {
    const SHOWN: usize = 40;
    let mut text = columns.iter().take(SHOWN).map(|column| format!("`{column}`")).collect::<Vec<_>>().join(", ");
    if columns.len() > SHOWN {
        text = format!("{text} and {} more", columns.len() - SHOWN);
    }
    text
}

impl Mapping {
    /// Reads a header. What is in `explicit` wins over synonyms; an explicit column that is empty leaves the field
    /// without a column.
    ///
    /// # Errors
    /// When an explicit column is not in the header, or no column is the phone's.
    pub fn new(header: &[String], explicit: &[(Field, String)]) -> Result<Self, MappingProblem> {
        let columns: Vec<String> = header.iter().map(|name| column_name(name)).collect();
        let mut fields: Vec<(Field, usize)> = Vec::new();
        let mut settled: Vec<Field> = Vec::new();
        for (field, column) in explicit {
            if settled.contains(field) {
                return Err(MappingProblem::Twice { field: *field });
            }
            settled.push(*field);
            if !column.trim().is_empty() {
                fields.push((*field, find_column(&columns, *field, column)?));
            }
        }
        let free = |fields: &[(Field, usize)], index: usize| {
            fields.iter().all(|(_, taken)| *taken != index) && !is_passed_over(&columns[index])
        };
        let mut phone_alternatives = Vec::new();
        for field in Field::ALL {
            if settled.contains(&field) {
                continue;
            }
            let mut candidates: Vec<(usize, usize)> = (0..columns.len())
                .filter(|index| free(&fields, *index))
                .filter_map(|index| rank(field, &columns[index]).map(|rank| (rank, index)))
                .collect();
            candidates.sort_unstable();
            if let Some((_, index)) = candidates.first() {
                fields.push((field, *index));
            }
            if field == Field::Phone {
                phone_alternatives = candidates.iter().skip(1).map(|(_, index)| columns[*index].clone()).collect();
            }
        }
        if !fields.iter().any(|(field, _)| *field == Field::Phone) {
            return Err(MappingProblem::NoPhoneColumn { columns });
        }
        let kept = fields.iter().map(|(field, _)| *field).filter(|field| field.is_attribute());
        let reserved: Vec<&str> = kept.map(Field::name).collect();
        let attributes = attribute_names(&columns, &reserved, |index| free(&fields, index));
        fields.sort_unstable();
        let mut mapping = Self {
            columns,
            fields,
            attributes,
            phone_alternatives,
            is_region_sure: settled.contains(&Field::Region),
            is_phone_sure: settled.contains(&Field::Phone),
        };
        let header = |field| mapping.column_of(field).map(|index| fold(&mapping.columns[index]));
        let is_country = header(Field::Region).is_none_or(|header| !COUNTRY_OR_STATE.contains(&header.as_str()));
        let is_phone = header(Field::Phone).is_some_and(|header| synonyms(Field::Phone).any(|known| known == header));
        mapping.is_region_sure |= is_country;
        mapping.is_phone_sure |= is_phone;
        Ok(mapping)
    }

    /// The same without these columns, which mean something else to whoever reads the list: they are no attributes, and no
    /// field of a contact but its phone and its id.
    #[must_use]
    pub fn without(mut self, places: &[usize]) -> Self {
        self.attributes.retain(|(place, _)| !places.contains(place));
        self.fields
            .retain(|(field, place)| matches!(field, Field::Phone | Field::ExternalId) || !places.contains(place));
        self
    }

    /// Whether the region's column can only be one of countries: by its name, or because somebody said so.
    pub fn is_region_sure(&self) -> bool {
        self.is_region_sure
    }

    /// Whether the phone's column is named just so, or by somebody, and not only by a word that may be part of a name.
    pub fn is_phone_sure(&self) -> bool {
        self.is_phone_sure
    }

    /// How many columns a row must have.
    pub fn width(&self) -> usize {
        self.columns.len()
    }

    /// The header as it was, trimmed.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The column of a field, from 0.
    pub fn column_of(&self, field: Field) -> Option<usize> {
        self.fields.iter().find(|(mapped, _)| *mapped == field).map(|(_, index)| *index)
    }

    /// Each mapped field with its column's name.
    pub fn fields(&self) -> impl Iterator<Item = (Field, &str)> {
        self.fields.iter().map(|(field, index)| (*field, self.columns[*index].as_str()))
    }

    /// Columns that become attributes: index and a name that is not empty and used once.
    pub fn attributes(&self) -> &[(usize, String)] {
        &self.attributes
    }

    /// Other columns that also look like phone numbers, and are kept as attributes.
    pub fn phone_alternatives(&self) -> &[String] {
        &self.phone_alternatives
    }
}

/// The header under which an import takes a column for the attribute of this name: the name itself, unless it would mean
/// something else there.
pub fn attribute_header(name: &str) -> Cow<'_, str> {
    let is_plain = !name.is_empty()
        && column_name(&escape(name)) == name
        && !name.starts_with(ATTRIBUTE_MARK)
        && !is_passed_over(name)
        && Field::ALL.iter().all(|field| rank(*field, name).is_none());
    if is_plain { Cow::Borrowed(name) } else { Cow::Owned(format!("{ATTRIBUTE_MARK}{name}")) }
}

fn is_passed_over(column: &str) -> bool {
    REJECT_COLUMNS.contains(&column) || EXPORT_COLUMNS.contains(&column)
}

/// What a cell of the header says.
fn column_name(cell: &str) -> String {
    let name = unescape(cell).trim();
    if name.starts_with(ATTRIBUTE_MARK) { name.to_owned() } else { name.chars().take(MAX_NAME_CHARS).collect() }
}

fn find_column(columns: &[String], field: Field, wanted: &str) -> Result<usize, MappingProblem> {
    let wanted = wanted.trim();
    column_named(columns, wanted).ok_or_else(|| MappingProblem::NoSuchColumn {
        field,
        column: wanted.to_owned(),
        nearest: nearest(columns.iter().map(String::as_str), wanted).map(str::to_owned),
        columns: columns.to_vec(),
    })
}

/// The place of the column of this name: to the letter, else without case, else without accents, blanks and signs.
pub(in crate::domain) fn column_named(columns: &[String], wanted: &str) -> Option<usize> {
    let wanted = wanted.trim();
    let by = |same: &dyn Fn(&str) -> bool| columns.iter().position(|column| same(column));
    by(&|column| column == wanted)
        .or_else(|| by(&|column| column.to_lowercase() == wanted.to_lowercase()))
        .or_else(|| by(&|column| !fold(wanted).is_empty() && fold(column) == fold(wanted)))
}

/// The one of `names` that is closest to `wanted`, if any is close.
pub fn nearest<'a>(names: impl Iterator<Item = &'a str>, wanted: &str) -> Option<&'a str> {
    let wanted = fold(wanted);
    names
        .map(|name| {
            let folded = fold(name);
            let contained =
                folded.len() >= 3 && wanted.len() >= 3 && (folded.contains(&wanted) || wanted.contains(&folded));
            (if contained { 1 } else { strsim::damerau_levenshtein(&folded, &wanted) }, name)
        })
        .filter(|(edits, _)| *edits <= 1 + wanted.chars().count() / 4)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, name)| name)
}

fn attribute_names(
    columns: &[String],
    reserved: &[&str],
    is_attribute: impl Fn(usize) -> bool,
) -> Vec<(usize, String)> {
    let mut names: Vec<(usize, String)> = Vec::new();
    let mut taken: HashSet<String> = reserved.iter().map(|name| (*name).to_owned()).collect();
    let mut copies: HashMap<String, u32> = HashMap::new();
    for (index, column) in columns.iter().enumerate().filter(|(index, _)| is_attribute(*index)) {
        let column = column.strip_prefix(ATTRIBUTE_MARK).filter(|name| !name.is_empty()).unwrap_or(column);
        let base = if column.is_empty() { format!("column_{}", index + 1) } else { column.to_owned() };
        let mut name = base.clone();
        while !taken.insert(name.clone()) {
            let copy = copies.entry(base.clone()).or_insert(1);
            *copy += 1;
            name = format!("{base}_{copy}");
        }
        names.push((index, name));
    }
    names
}

/// How sure it is that this header means the field: smaller is surer, none is no.
fn rank(field: Field, header: &str) -> Option<usize> {
    if header.starts_with(ATTRIBUTE_MARK) {
        return None;
    }
    let folded = fold(header);
    if field == Field::Phone
        && ["fax", "telecopie", "ファックス", "传真", "факс"].iter().any(|fax| folded.contains(fax))
    {
        return None;
    }
    if let Some(rank) = synonyms(field).position(|synonym| synonym == folded) {
        return Some(rank);
    }
    if field != Field::Phone {
        return None;
    }
    let words = words(header);
    let has = |list: &str| words.iter().any(|word| list.split_whitespace().any(|listed| listed == word));
    (has(PHONE_WORDS) && !has(NOT_PHONE_WORDS)).then_some(usize::MAX)
}

/// A header without case, accents, blanks and signs.
pub(in crate::domain) fn fold(header: &str) -> String {
    header.chars().flat_map(char::to_lowercase).map(plain_letter).filter(|c| c.is_alphanumeric()).collect()
}

fn plain_letter(c: char) -> char {
    match c {
        'à'..='å' => 'a',
        'ç' => 'c',
        'è'..='ë' | 'ę' => 'e',
        'ì'..='ï' => 'i',
        'ñ' => 'n',
        'ò'..='ö' | 'ø' => 'o',
        'ù'..='ü' => 'u',
        'ł' => 'l',
        'ś' => 's',
        other => other,
    }
}

/// The words of a header, parted by signs and by capitals inside (`OfficePhone`).
fn words(header: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before_is_lower = false;
    for c in header.chars() {
        if !c.is_alphabetic() || c.is_uppercase() && before_is_lower {
            words.push(String::new());
        }
        before_is_lower = c.is_lowercase();
        if c.is_alphabetic() {
            let word = words.last_mut().expect("there is always a last word");
            word.extend(c.to_lowercase().map(plain_letter));
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests;
