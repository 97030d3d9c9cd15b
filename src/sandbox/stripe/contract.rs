//! What Stripe accepts: parameters by their names, and no others.

use serde_json::{Map, Value, json};

use crate::sandbox::query::Query;
use crate::sandbox::reply::Reply;

/// What a request is refused for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) status: u16,
    pub(super) kind: String,
    pub(super) code: Option<String>,
    pub(super) message: String,
    pub(super) param: Option<String>,
}

pub(super) fn invalid(status: u16, code: &str, message: impl Into<String>, param: &str) -> Wrong {
    Wrong {
        status,
        kind: "invalid_request_error".to_owned(),
        code: Some(code.to_owned()),
        message: message.into(),
        param: Some(param.to_owned()),
    }
}

pub(super) fn unknown_parameter(name: &str) -> Wrong {
    invalid(400, "parameter_unknown", format!("Received unknown parameter: {name}"), name)
}

impl From<Wrong> for Reply {
    fn from(wrong: Wrong) -> Self {
        let mut error = Map::new();
        if let Some(code) = &wrong.code {
            error.insert("code".to_owned(), json!(code));
            let doc_url = format!("https://stripe.com/docs/error-codes/{}", code.replace('_', "-"));
            error.insert("doc_url".to_owned(), json!(doc_url));
        }
        error.insert("message".to_owned(), json!(wrong.message));
        if let Some(param) = &wrong.param {
            error.insert("param".to_owned(), json!(param));
        }
        error.insert("type".to_owned(), json!(wrong.kind));
        Self::json(wrong.status, json!({"error": Value::Object(error)}))
    }
}

/// Which events a listing shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listing {
    /// One of these, in which `*` stands for anything; of none, any.
    kinds: Vec<String>,
    created: Vec<(Bound, i64)>,
    pub(super) limit: usize,
    pub(super) starting_after: Option<String>,
    pub(super) ending_before: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bound {
    Equal,
    Greater,
    GreaterEqual,
    Less,
    LessEqual,
}

impl Listing {
    pub(super) fn holds(&self, kind: &str, created: i64) -> bool {
        let is_kind = self.kinds.is_empty() || self.kinds.iter().any(|wanted| is_of(kind, wanted));
        let is_within = |(bound, than): &(Bound, i64)| match bound {
            Bound::Equal => created == *than,
            Bound::Greater => created > *than,
            Bound::GreaterEqual => created >= *than,
            Bound::Less => created < *than,
            Bound::LessEqual => created <= *than,
        };
        is_kind && self.created.iter().all(is_within)
    }
}

fn is_of(kind: &str, wanted: &str) -> bool {
    match wanted.strip_suffix('*') {
        Some(prefix) => kind.starts_with(prefix),
        None => kind == wanted,
    }
}

/// # Errors
/// Naming a parameter that is unknown, or whose value makes no sense.
pub(super) fn parse_listing(query: &Query) -> Result<Listing, Wrong> {
    let mut listing =
        Listing { kinds: Vec::new(), created: Vec::new(), limit: 10, starting_after: None, ending_before: None };
    for (name, value) in query.pairs() {
        let integer = || {
            let wrong = |_| invalid(400, "parameter_invalid_integer", format!("Invalid integer: {value}"), name);
            value.parse::<i64>().map_err(wrong)
        };
        let bound = match name {
            "type" => {
                listing.kinds.push(value.to_owned());
                continue;
            }
            _ if is_list(name, "types") => {
                listing.kinds.push(value.to_owned());
                continue;
            }
            "limit" => {
                let limit = integer()?;
                let most = usize::try_from(limit).ok().filter(|limit| (1..=100).contains(limit));
                listing.limit = most.ok_or_else(|| {
                    let (end, than) = if limit < 1 { ("greater", 1) } else { ("less", 100) };
                    let message = format!("This value must be {end} than or equal to {than}.");
                    invalid(400, "parameter_invalid_integer", message, name)
                })?;
                continue;
            }
            "starting_after" => {
                listing.starting_after = Some(value.to_owned());
                continue;
            }
            "ending_before" => {
                listing.ending_before = Some(value.to_owned());
                continue;
            }
            "created" => Bound::Equal,
            "created[gt]" => Bound::Greater,
            "created[gte]" => Bound::GreaterEqual,
            "created[lt]" => Bound::Less,
            "created[lte]" => Bound::LessEqual,
            _ => return Err(unknown_parameter(name)),
        };
        listing.created.push((bound, integer()?));
    }
    let both = |message: &str, param| Err(invalid(400, "parameter_invalid", message, param));
    if query.get("type").is_some() && query.names().any(|name| is_list(name, "types")) {
        return both("You may only specify one of these parameters: type, types.", "types");
    }
    if listing.starting_after.is_some() && listing.ending_before.is_some() {
        return both("You may only specify one of these parameters: ending_before, starting_after.", "ending_before");
    }
    Ok(listing)
}

/// Whether a parameter is an item of a list, `types[]` or `types[0]`.
fn is_list(name: &str, list: &str) -> bool {
    let index = name.strip_prefix(list).and_then(|rest| rest.strip_prefix('[')).and_then(|rest| rest.strip_suffix(']'));
    index.is_some_and(|index| index.bytes().all(|byte| byte.is_ascii_digit()))
}
