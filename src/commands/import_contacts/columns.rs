//! Which column of a list is what: by its header, by the command line, or by what its first row looks like.

use serde_json::{Map, Value, json};

use super::list::{ListReader, looks_like_a_phone};
use super::{Header, Setting};
use crate::domain::contact_row::{Field, Mapping, MappingProblem, nearest};
use crate::error::Failure;

/// The columns of a list.
pub(super) struct Columns {
    pub(super) mapping: Mapping,
    pub(super) has_header: bool,
}

impl Columns {
    /// Reads the header of a list that is at its beginning, or finds that it has none.
    ///
    /// # Errors
    /// Usage errors that name the list: nothing in it, no phone column, a column that is asked for and not there.
    pub(super) fn of(list: &mut ListReader, setting: &Setting<'_>) -> anyhow::Result<Self> {
        let (args, name) = (setting.args, setting.source.name());
        let with_list = |failure: Failure| {
            let hints = failure.hints().to_vec();
            hints.into_iter().fold(Failure::new(failure.exit(), format!("{name}: {failure}")), Failure::hint)
        };
        let first = match list.header() {
            Ok(first) => first.ok_or_else(|| with_list(Failure::usage("it has no header and no rows")))?,
            Err(error) => {
                return Err(error.downcast::<Failure>().map_or_else(|e| e, |failure| with_list(failure).into()));
            }
        };
        let as_header = (args.header != Header::No).then(|| Mapping::new(&first, &setting.explicit));
        let numbers: Vec<usize> = (0..first.len()).filter(|index| looks_like_a_phone(&first[*index])).collect();
        let has_header = match &as_header {
            None => false,
            Some(Ok(_)) => true,
            // A number in the place of a name is a row.
            Some(Err(_)) => args.header == Header::Yes || numbers.is_empty(),
        };
        if let Some(mapping) = as_header.filter(|_| has_header) {
            let mapping = mapping.map_err(|problem| header_failure(name, problem))?;
            return Ok(Self { mapping, has_header: true });
        }
        list.put_back();
        let names: Vec<String> = (1..=first.len()).map(|number| format!("column_{number}")).collect();
        let mut explicit = setting.explicit.clone();
        if !explicit.iter().any(|(field, _)| *field == Field::Phone) {
            let [phone] = numbers[..] else {
                let shown: Vec<String> =
                    names.iter().zip(&first).map(|(name, cell)| format!("`{name}` ({cell})")).collect();
                let problem = if numbers.is_empty() { "no column looks" } else { "more than one column looks" };
                return Err(with_list(
                    Failure::usage(format!("{problem} like phone numbers; the first row is {}", shown.join(", ")))
                        .hint("say which one it is with --map phone=column_1, --map phone=column_2 or so"),
                )
                .into());
            };
            explicit.push((Field::Phone, names[phone].clone()));
        }
        let mapping = Mapping::new(&names, &explicit).map_err(|problem| header_failure(name, problem))?;
        Ok(Self { mapping, has_header: false })
    }

    /// The names to be written above the rows of a list that has none, so that they are read again as they were.
    pub(super) fn written_names(&self) -> Option<Vec<String>> {
        let name = |(index, column): (usize, &String)| {
            let field = Field::ALL.into_iter().find(|field| self.mapping.column_of(*field) == Some(index));
            field.map_or_else(|| column.clone(), |field| field.name().to_owned())
        };
        (!self.has_header).then(|| self.mapping.columns().iter().enumerate().map(name).collect())
    }

    /// How the list is read, to be kept with the import.
    pub(super) fn reading(&self, list: &ListReader, setting: &Setting<'_>) -> Value {
        let fields: Map<String, Value> =
            self.mapping.fields().map(|(field, column)| (field.name().to_owned(), json!(column))).collect();
        json!({
            "encoding": list.encoding().name(),
            "delimiter": char::from(list.dialect().delimiter).to_string(),
            "header": self.has_header,
            "columns": fields,
            "region": setting.region.map(|region| region.to_string()),
            "on_existing": setting.args.on_existing.as_str(),
        })
    }
}

/// Reads `FIELD=COLUMN`.
pub(super) fn map_option(text: &str) -> anyhow::Result<(Field, String)> {
    let names = || Field::ALL.iter().map(|field| field.name());
    let Some((field, column)) = text.split_once('=') else {
        return Err(Failure::usage(format!("`--map {text}` is not FIELD=COLUMN"))
            .hint("for example --map phone=\"Mobile #\"")
            .into());
    };
    if let Some(field) = Field::from_name(field) {
        return Ok((field, column.to_owned()));
    }
    let hint = match nearest(names(), field) {
        Some(name) => format!("did you mean `--map {name}={column}`?"),
        None => format!("fields: {}", names().collect::<Vec<_>>().join(", ")),
    };
    Err(Failure::usage(format!("`--map {text}`: there is no field `{field}`")).hint(hint).into())
}

fn header_failure(list: &str, problem: MappingProblem) -> anyhow::Error {
    let failure = Failure::usage(format!("{list}: {problem}"));
    match problem {
        MappingProblem::NoSuchColumn { field, nearest: Some(column), .. } => {
            failure.hint(format!("did you mean `--map {}=\"{column}\"`?", field.name()))
        }
        MappingProblem::NoPhoneColumn { .. } => {
            failure.hint("say which one it is with --map phone=\"COLUMN\"; a list without a header wants --header no")
        }
        MappingProblem::NoSuchColumn { .. } | MappingProblem::Twice { .. } => failure,
    }
    .into()
}
