//! What becomes of conversations, from TOML.

use std::collections::BTreeMap;

use super::problems::Problems;
use crate::config::{Located, Section};
use crate::domain::records::{KindMapping, RecordMapping};

const KEYS: &[&str] = &["name", "phone", "email", "intent", "booking", "ticket"];
const KIND_KEYS: &[&str] = &["intents", "fields"];

/// Reads a tenant's `records`.
pub(super) fn read(at: &Located<'_, String>, section: &Section<'_>, problems: &mut Problems) -> Option<RecordMapping> {
    if !section.has("records") {
        return None;
    }
    let table = problems.take(section.section("records").map(Some))?;
    problems.unknown(&table, KEYS);
    let mut field = |key: &str, usual: &str| {
        let field = problems.take(table.string(key));
        problems.convert(field, sound).unwrap_or_else(|| usual.to_owned())
    };
    let (name, phone) = (field("name", "name"), field("phone", "phone"));
    let email = problems.take(table.string("email"));
    let email = problems.convert(email, sound);
    let intent = problems.take(table.string("intent"));
    let intent = problems.convert(intent, sound);
    let booking = kind(at, &table, "booking", intent.is_some(), problems);
    let ticket = kind(at, &table, "ticket", intent.is_some(), problems);
    Some(RecordMapping { name, phone, email, intent, booking, ticket })
}

fn kind(
    at: &Located<'_, String>,
    table: &Section<'_>,
    key: &str,
    has_intent: bool,
    problems: &mut Problems,
) -> Option<KindMapping> {
    if !table.has(key) {
        return None;
    }
    let kind = problems.take(table.section(key).map(Some))?;
    problems.unknown(&kind, KIND_KEYS);
    let intents = problems.take(kind.texts("intents"));
    let intents: Vec<String> = intents
        .map(|list| list.value.into_iter().filter_map(|word| problems.convert(Some(word), sound)).collect())
        .unwrap_or_default();
    let mut fields = BTreeMap::new();
    if let Some(table) = problems.take(kind.section("fields").map(Some)) {
        for name in table.keys() {
            let field = problems.take(table.string(name));
            if let Some(field) = problems.convert(field, sound) {
                fields.insert(name.to_owned(), field);
            }
        }
    }
    if fields.is_empty() {
        problems.add(
            at.failure(format!("records.{key}.fields is missing"))
                .hint("such as fields = { service = \"wanted_service\" }"),
        );
    }
    if !intents.is_empty() && !has_intent {
        problems.add(
            at.failure(format!("records.{key}.intents are given, and not which extracted field says the intent"))
                .hint("give records an intent, such as intent = \"customer_intent\""),
        );
    }
    Some(KindMapping { intents, fields })
}

fn sound(text: String) -> Result<String, String> {
    let is_sound = !text.trim().is_empty() && text.len() <= 200 && !text.chars().any(char::is_control);
    if is_sound { Ok(text) } else { Err(format!("{text:?} is no name of an extracted field")) }
}
