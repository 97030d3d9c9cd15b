//! TOML whose errors say file, line, column, value and rule.

use std::fmt;
use std::fs;
use std::ops::Range;
use std::path::Path;

use anyhow::Result;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::error::Failure;

/// A TOML text and the name by which errors call it.
#[derive(Clone, Debug)]
pub struct Document {
    name: String,
    text: String,
}

impl Document {
    /// Reads a file.
    ///
    /// # Errors
    /// Exit 6 when it cannot be read or is not UTF-8.
    pub fn read(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let bytes = fs::read(path).map_err(|error| Failure::configuration(format!("cannot read {name}: {error}")))?;
        let mut text = String::from_utf8(bytes).map_err(|error| {
            let sound = String::from_utf8_lossy(&error.as_bytes()[..error.utf8_error().valid_up_to()]).into_owned();
            let line = 1 + sound.matches('\n').count();
            Failure::configuration(format!("{name}:{line}: this line is not UTF-8")).hint("save the file as UTF-8")
        })?;
        // Editors on Windows put a byte order mark first.
        if text.starts_with('\u{feff}') {
            text.remove(0);
        }
        Ok(Self { name, text })
    }

    /// A text that is already here.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), text: text.into() }
    }

    /// The top of the document.
    ///
    /// # Errors
    /// Exit 6 when it is no TOML.
    pub fn root(&self) -> Result<Section<'_>> {
        let table = DeTable::parse(&self.text).map_err(|error| {
            let message = error.message().replace('\n', ", ");
            self.failure(error.span().unwrap_or(0..0), message)
        })?;
        Ok(Section { document: self, path: String::new(), span: table.span(), table: table.into_inner() })
    }

    /// An error about what stands at these bytes: exit 6, beginning with `file:line:column: `.
    pub fn failure(&self, at: Range<usize>, message: impl fmt::Display) -> Failure {
        Failure::configuration(format!("{}: {message}", self.place(&at)))
    }

    fn place(&self, at: &Range<usize>) -> String {
        let before = self.text.get(..at.start.min(self.text.len())).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        format!("{}:{line}:{column}", self.name)
    }
}

/// A table of a document. Values are read by their key; [`Section::refuse_unknown`] finds what nothing reads.
#[derive(Clone, Debug)]
pub struct Section<'d> {
    document: &'d Document,
    path: String,
    span: Range<usize>,
    table: DeTable<'d>,
}

/// A value, its full key, and where it stands.
#[derive(Clone, Debug)]
pub struct Located<'d, T> {
    document: &'d Document,
    key: String,
    span: Range<usize>,
    /// The value.
    pub value: T,
}

impl<'d, T> Located<'d, T> {
    /// An error about this value: exit 6, with its place and its key before the message.
    pub fn failure(&self, message: impl fmt::Display) -> Failure {
        self.document.failure(self.span.clone(), format_args!("{}: {message}", self.key))
    }

    /// Where it stands: `file:line:column`.
    pub fn place(&self) -> String {
        self.document.place(&self.span)
    }

    /// Turns the value into something stricter; the error is told with the value's place.
    pub fn try_map<U, E: fmt::Display>(
        self,
        convert: impl FnOnce(T) -> Result<U, E>,
    ) -> Result<Located<'d, U>, Failure> {
        let Self { document, key, span, value } = self;
        match convert(value) {
            Ok(value) => Ok(Located { document, key, span, value }),
            Err(error) => Err(document.failure(span, format_args!("{key}: {error}"))),
        }
    }
}

impl<'d> Section<'d> {
    /// A string.
    ///
    /// # Errors
    /// Exit 6 when it is something else.
    pub fn string(&self, key: &str) -> Result<Option<Located<'d, String>>> {
        self.typed(key, "a string in quotes", |value| match value {
            DeValue::String(text) => Some(text.to_string()),
            _ => None,
        })
    }

    /// A boolean.
    ///
    /// # Errors
    /// Exit 6 when it is something else.
    pub fn boolean(&self, key: &str) -> Result<Option<Located<'d, bool>>> {
        self.typed(key, "true or false", DeValue::as_bool)
    }

    /// A table below this one; an empty one when it is absent.
    ///
    /// # Errors
    /// Exit 6 when it is something else.
    pub fn section(&self, key: &str) -> Result<Section<'d>> {
        let table = self.typed(key, "a table", |value| match value {
            DeValue::Table(table) => Some(table.clone()),
            _ => None,
        })?;
        let path = self.path_of(key);
        Ok(match table {
            Some(Located { span, value, .. }) => Section { document: self.document, path, span, table: value },
            None => Section { document: self.document, path, span: self.span.clone(), table: DeTable::new() },
        })
    }

    /// An integer.
    ///
    /// # Errors
    /// Exit 6 when it is something else, or does not fit.
    pub fn integer(&self, key: &str) -> Result<Option<Located<'d, i64>>> {
        self.typed(key, "a whole number", |value| match value {
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => None,
        })
    }

    /// A string, whole number or date, as text.
    ///
    /// # Errors
    /// Exit 6 when it is something else.
    pub fn text(&self, key: &str) -> Result<Option<Located<'d, String>>> {
        self.typed(key, "a string, whole number or date", text)
    }

    /// A list of strings, whole numbers or dates, each as text.
    ///
    /// # Errors
    /// Exit 6 when it is something else, or one of its members is.
    pub fn texts(&self, key: &str) -> Result<Option<Located<'d, Vec<Located<'d, String>>>>> {
        let list = self.typed(key, "a list", |value| match value {
            DeValue::Array(list) => Some(list.clone()),
            _ => None,
        })?;
        let Some(Located { document, key, span, value: list }) = list else { return Ok(None) };
        let mut value = Vec::with_capacity(list.len());
        for member in &list {
            let (span, key) = (member.span(), key.clone());
            let Some(text) = text(member.get_ref()) else {
                let message = format_args!("{key}: a list of strings, whole numbers or dates is wanted");
                return Err(document.failure(span, message).into());
            };
            value.push(Located { document, key, span, value: text });
        }
        Ok(Some(Located { document, key, span, value }))
    }

    /// The tables below this one, in the order in which the file has them.
    ///
    /// # Errors
    /// Exit 6 when one of them is something else.
    pub fn sections(&self) -> Result<Vec<(Located<'d, String>, Section<'d>)>> {
        let mut keys: Vec<_> = self.table.keys().collect();
        keys.sort_by_key(|key| key.span().start);
        keys.into_iter()
            .map(|key| {
                let name = key.get_ref().as_ref();
                let located = Located {
                    document: self.document,
                    key: self.path_of(name),
                    span: key.span(),
                    value: name.to_owned(),
                };
                Ok((located, self.section(name)?))
            })
            .collect()
    }

    /// Whether this key stands here.
    pub fn has(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    /// The keys that stand here.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.table.keys().map(|key| key.get_ref().as_ref())
    }

    /// An error for each key that is not among these, with the nearest known one as a hint, in the file's order.
    pub fn unknown(&self, known: &[&str]) -> Vec<Failure> {
        let mut keys: Vec<_> = self.table.keys().filter(|key| !known.contains(&key.get_ref().as_ref())).collect();
        keys.sort_by_key(|key| key.span().start);
        let failure = |key: &Spanned<toml::de::DeString<'d>>| {
            let name = key.get_ref().as_ref();
            let failure = self.document.failure(key.span(), format_args!("unknown key {}", self.path_of(name)));
            match nearest(name, known.iter().copied()) {
                Some(name) => failure.hint(format!("did you mean {}?", self.path_of(name))),
                None => failure.hint(format!("the keys here are {}", known.join(", "))),
            }
        };
        keys.into_iter().map(failure).collect()
    }

    /// Refuses a key that is not among these.
    ///
    /// # Errors
    /// Exit 6 naming the first such key in the file, with the nearest known one as a hint.
    pub fn refuse_unknown<'k>(&self, known: impl IntoIterator<Item = &'k str>) -> Result<()> {
        let known: Vec<&str> = known.into_iter().collect();
        self.unknown(&known).into_iter().next().map_or(Ok(()), |failure| Err(failure.into()))
    }

    fn typed<T>(
        &self,
        key: &str,
        wanted: &str,
        read: impl FnOnce(&DeValue<'d>) -> Option<T>,
    ) -> Result<Option<Located<'d, T>>> {
        let Some(found) = self.find(key) else { return Ok(None) };
        let (document, key) = (self.document, self.path_of(key));
        match read(found.get_ref()) {
            Some(value) => Ok(Some(Located { document, key, span: found.span(), value })),
            None => Err(document
                .failure(found.span(), format_args!("{key}: {wanted} is wanted, not {}", kind(found.get_ref())))
                .into()),
        }
    }

    fn find(&self, key: &str) -> Option<&Spanned<DeValue<'d>>> {
        self.table.iter().find(|(name, _)| name.get_ref().as_ref() == key).map(|(_, value)| value)
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

fn text(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.to_string()),
        DeValue::Datetime(at) => Some(at.to_string()),
        _ => None,
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// The candidate that somebody who wrote `name` probably meant.
pub fn nearest<'k>(name: &str, candidates: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let name = name.to_lowercase().replace('-', "_");
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.chars().count() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Exit, classify, hints};

    fn document(text: &str) -> Document {
        Document::new("callops.toml", text)
    }

    #[track_caller]
    fn told<T: fmt::Debug>(result: Result<T>) -> (String, Vec<String>) {
        let error = result.expect_err("an error");
        assert_eq!(classify(&error), Exit::Configuration);
        (error.to_string(), hints(&error))
    }

    #[test]
    fn values_are_found_by_key_and_section() {
        let document = document("name = \"ä\"\n[server]\nbind = \"x\"\non = true\n");
        let root = document.root().expect("TOML");
        assert_eq!(root.string("name").expect("a string").expect("present").value, "ä");
        assert!(root.string("other").expect("no error").is_none());
        let server = root.section("server").expect("a table");
        assert!(server.boolean("on").expect("a boolean").expect("present").value);
        assert_eq!(server.keys().collect::<Vec<_>>(), ["bind", "on"]);
        assert!(root.section("absent").expect("no error").string("x").expect("no error").is_none());
    }

    #[test]
    fn an_error_names_file_line_column_key_value_and_rule() {
        let document = document("a = 1\n[server]\n  \"ä\" = \"x\"; b = 1");
        assert_eq!(told(document.root()).0.split(": ").next(), Some("callops.toml:3:12"));

        let document = self::document("a = 1\n[server]\nbind = [\"x\"]\n");
        let root = document.root().expect("TOML");
        let server = root.section("server").expect("a table");
        assert_eq!(
            told(server.string("bind")).0,
            "callops.toml:3:8: server.bind: a string in quotes is wanted, not a list"
        );
        assert_eq!(told(root.section("a")).0, "callops.toml:1:5: a: a table is wanted, not an integer");

        let document = self::document("s = 1\nserver = { \"ä\" = 1, log = \"x\" }");
        let log = document.root().expect("TOML").section("server").expect("a table").string("log");
        let log = log.expect("a string").expect("present");
        assert_eq!(log.failure("no such level").to_string(), "callops.toml:2:27: server.log: no such level");
    }

    #[test]
    fn the_first_unknown_key_is_told_with_the_nearest_known_one() {
        let document = document("zzz = 1\ndatabse_url = 2\n[server]\nPublic-URL = 1\n");
        let root = document.root().expect("TOML");
        let known = ["database_url", "server"];
        assert_eq!(
            told(root.refuse_unknown(known)),
            ("callops.toml:1:1: unknown key zzz".to_owned(), vec!["the keys here are database_url, server".to_owned()])
        );
        assert_eq!(
            told(root.refuse_unknown(["database_url", "server", "zzz"])),
            ("callops.toml:2:1: unknown key databse_url".to_owned(), vec!["did you mean database_url?".to_owned()])
        );
        assert_eq!(
            told(root.section("server").expect("a table").refuse_unknown(["bind", "public_url"])),
            (
                "callops.toml:4:1: unknown key server.Public-URL".to_owned(),
                vec!["did you mean server.public_url?".to_owned()]
            )
        );
    }

    #[test]
    fn a_file_that_is_no_text_is_refused_by_line() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write(file.path(), b"a = 1\nb = \"\xff\"\n").expect("written");
        assert!(told(Document::read(file.path())).0.ends_with(":2: this line is not UTF-8"));
        fs::write(file.path(), "\u{feff}a = \"x\"\n").expect("written");
        let document = Document::read(file.path()).expect("read");
        assert!(document.root().expect("TOML").string("a").expect("a string").is_some());
        assert!(told(Document::read(Path::new("/nowhere/callops.toml"))).0.contains("/nowhere/callops.toml"));
    }
}
