//! Which columns of a queue say how far its rows are.

use std::hash::{DefaultHasher, Hash, Hasher};

use chrono::{DateTime, Utc};

use super::{Said, flag, instant, said_by};
use crate::domain::contact_row::{Cells, cell_value, column_named, fold};

/// What a column of a queue can mean, beside what a column of a list of contacts can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum QueueField {
    /// How far the row's call is, in the words of its queue.
    Status,
    /// Whether the person had their call, whatever the status says.
    Called,
    /// The person's id where they pay: under another phone they are the same.
    CustomerId,
    /// When the row came to be.
    CreatedAt,
    /// How often the person was tried. It is passed over, and nothing that an agent has to know.
    Attempts,
}

impl QueueField {
    /// Every field.
    pub const ALL: [Self; 5] = [Self::Status, Self::Called, Self::CustomerId, Self::CreatedAt, Self::Attempts];

    /// The name used on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Called => "welcome_call_completed",
            Self::CustomerId => "customer_id",
            Self::CreatedAt => "created_at",
            Self::Attempts => "attempts",
        }
    }

    /// The field of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        let name = name.trim().to_lowercase().replace(['-', ' '], "_");
        Self::ALL.into_iter().find(|field| field.name() == name)
    }

    /// Headers that mean this field, the surest first, without case, blanks and signs.
    fn synonyms(self) -> impl Iterator<Item = &'static str> {
        let words = match self {
            Self::Status => "status callstatus queuestatus",
            Self::Called => "welcomecallcompleted callcompleted welcomecalldone welcomecalled",
            Self::CustomerId => "customerid stripecustomerid stripecustomer stripeid customer",
            Self::CreatedAt => "createdat created insertedat enqueuedat queuedat",
            Self::Attempts => "attempts attemptcount callattempts retries retrycount tries",
        };
        words.split_whitespace()
    }
}

/// The columns of one queue, by their place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueColumns {
    places: [Option<usize>; QueueField::ALL.len()],
    width: usize,
}

/// What a row says beside whom to call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueRow {
    /// How far its call is, or what makes that unclear: a stable word, and a sentence.
    pub said: Result<Said, (&'static str, String)>,
    /// The person's id where they pay.
    pub customer_id: Option<String>,
    /// When the row came to be, where that can be read.
    pub created_at: Option<DateTime<Utc>>,
}

impl QueueRow {
    /// The customer's id as a number: equal ids have equal ones.
    pub fn customer_key(&self) -> Option<u64> {
        self.customer_id.as_ref().map(|id| {
            let mut hasher = DefaultHasher::new();
            id.hash(&mut hasher);
            hasher.finish()
        })
    }
}

impl QueueColumns {
    /// Finds the columns by their names. What is in `explicit` wins; an explicit column that is empty leaves the field
    /// without a column.
    ///
    /// # Errors
    /// The field and the column that was asked for and is not there.
    pub fn new(columns: &[String], explicit: &[(QueueField, String)]) -> Result<Self, (QueueField, String)> {
        let mut found = Self { places: [None; QueueField::ALL.len()], width: columns.len() };
        for (field, column) in explicit.iter().filter(|(_, column)| !column.trim().is_empty()) {
            let place = column_named(columns, column).ok_or_else(|| (*field, column.clone()))?;
            found.places[*field as usize] = Some(place);
        }
        for field in QueueField::ALL.into_iter().filter(|field| explicit.iter().all(|(other, _)| other != field)) {
            let by_name = |word: &str| columns.iter().position(|column| fold(column) == word);
            let place = field.synonyms().find_map(by_name).filter(|place| !found.places.contains(&Some(*place)));
            found.places[field as usize] = place;
        }
        Ok(found)
    }

    /// The column of a field, from 0.
    pub fn place_of(&self, field: QueueField) -> Option<usize> {
        self.places[field as usize]
    }

    /// Every column that has a meaning here.
    pub fn places(&self) -> impl Iterator<Item = usize> {
        self.places.into_iter().flatten()
    }

    /// What the row says; none of a row with more or fewer cells than the header has, or of bytes that are no text.
    pub fn read(&self, cells: Cells<'_>) -> Option<QueueRow> {
        if cells.len() != self.width {
            return None;
        }
        let text = |field: QueueField| -> Option<Option<String>> {
            let Some(place) = self.place_of(field) else { return Some(None) };
            let cell = std::str::from_utf8(cells.iter().nth(place)?).ok()?;
            Some(cell_value(cell).map(str::to_owned))
        };
        let (status, called) = (text(QueueField::Status)?, text(QueueField::Called)?);
        Some(QueueRow {
            said: self.said(status.as_deref(), called.as_deref()),
            customer_id: text(QueueField::CustomerId)?,
            created_at: text(QueueField::CreatedAt)?.as_deref().and_then(instant),
        })
    }

    fn said(&self, status: Option<&str>, called: Option<&str>) -> Result<Said, (&'static str, String)> {
        let shown = |text: &str| text.chars().take(60).collect::<String>();
        let called = called.map(|text| flag(text).ok_or_else(|| shown(text))).transpose();
        if called == Ok(Some(true)) {
            // Whatever the status says: somebody had the call.
            return Ok(Said::Called);
        }
        let said = match status {
            Some(word) => said_by(word)
                .ok_or_else(|| ("unknown_status", format!("nobody knows what the status `{}` means", shown(word))))?,
            None if self.place_of(QueueField::Status).is_some() => {
                return Err(("no_status", "the row has no status".to_owned()));
            }
            // A queue that has no status has those who wait and those who were called.
            None if called == Ok(None) => {
                return Err(("no_status", "the row does not say whether it was called".to_owned()));
            }
            None => Said::Waiting,
        };
        match called {
            // What is spent anyway stays so.
            Err(_) if said.is_spent() => Ok(said),
            Err(text) => Err(("unreadable_flag", format!("`{text}` is neither yes nor no"))),
            Ok(_) => Ok(said),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(header: &str) -> Vec<String> {
        header.split(',').map(|name| name.trim().to_owned()).collect()
    }

    fn read(header: &str, row: &str) -> QueueRow {
        let found = QueueColumns::new(&columns(header), &[]).unwrap();
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for cell in row.split(',') {
            bytes.extend_from_slice(cell.as_bytes());
            ends.push(bytes.len());
        }
        found.read(Cells::new(&bytes, &ends)).unwrap()
    }

    #[test]
    fn columns_are_found_by_their_names_or_as_asked_for() {
        let names = columns(
            "phone_number,customer_name,Status,attempts,scheduled_for,created_at,stripe_customer_id,welcome_call_completed",
        );
        let found = QueueColumns::new(&names, &[]).unwrap();
        let places = QueueField::ALL.map(|field| found.place_of(field));
        assert_eq!(places, [Some(2), Some(7), Some(6), Some(5), Some(3)]);
        let asked = [(QueueField::Status, "scheduled for".to_owned()), (QueueField::CustomerId, String::new())];
        let found = QueueColumns::new(&names, &asked).unwrap();
        assert_eq!((found.place_of(QueueField::Status), found.place_of(QueueField::CustomerId)), (Some(4), None));
        let absent = [(QueueField::Status, "state".to_owned())];
        assert_eq!(QueueColumns::new(&names, &absent), Err((QueueField::Status, "state".to_owned())));
    }

    #[test]
    fn the_flag_spends_and_never_frees() {
        let said = |status: &str, flag: &str| {
            read("status,welcome_call_completed", &format!("{status},{flag}")).said.map_err(|(word, _)| word)
        };
        assert_eq!(said("pending", "t"), Ok(Said::Called));
        assert_eq!(said("no such word", "true"), Ok(Said::Called));
        assert_eq!(said("completed", "false"), Ok(Said::Called));
        assert_eq!(said("completed", "perhaps"), Ok(Said::Called));
        assert_eq!(said("processing", ""), Ok(Said::MayHaveRung));
        assert_eq!(said("pending", "perhaps"), Err("unreadable_flag"));
        assert_eq!(said("pending", ""), Ok(Said::Waiting));
        assert_eq!(said("no such word", "false"), Err("unknown_status"));
        assert_eq!(said("", "false"), Err("no_status"));
        assert_eq!(read("phone,welcome_call_completed", "1,f").said, Ok(Said::Waiting));
        assert_eq!(read("phone,welcome_call_completed", "1,").said.map_err(|(word, _)| word), Err("no_status"));
    }
}
