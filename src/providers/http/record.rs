//! Reading what others wrote: records as JSON, and ids that become part of a path.

use serde_json::Value;

/// The text at a place of a record; none where there is none, or an empty one.
pub(in crate::providers) fn text(raw: &Value, pointer: &str) -> Option<String> {
    // PostgreSQL keeps no NUL in a text.
    raw.pointer(pointer).and_then(Value::as_str).map(|text| text.replace('\0', "")).filter(|text| !text.is_empty())
}

/// The path of one thing; none for what cannot be an id, so that nothing else is ever reached through one.
pub(in crate::providers) fn id_path(kind: &str, id: &str) -> Option<String> {
    let is_id = !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    is_id.then(|| format!("{kind}/{id}"))
}
