//! ElevenLabs: places calls by its agents and reads what became of them.
//!
//! The service has no idempotency key and takes no call back. Our name of a call travels as `user_id`, by which its
//! conversations can be listed: one that is shown is there, one that is not shown may be there all the same.

mod agent;
mod conversation;
mod refusal;
pub mod webhook;

use reqwest::{Method, RequestBuilder};
use serde_json::{Map, Value, json};

pub use self::conversation::{extracted, report_of};
use self::refusal::judge;
use super::http::{Answer, Http, LastLook, ReadError, dial, found, id_path, read, text, unbuilt};
use crate::domain::agent::ringing_seconds;
use crate::domain::dial::{CallReport, DialAnswer, DialRequest, DialResult, RefusalClass};
use crate::domain::secret::Secret;

/// Where the real service answers; other regions have addresses of their own.
pub const BASE_URL: &str = "https://api.elevenlabs.io";

const CONVERSATIONS: &str = "/v1/convai/conversations";
/// Conversations per page; the service takes 1 to 100.
const PAGE: usize = 100;
/// A name is borne by one call. A listing by name that shows so many others was not filtered.
const MOST_STRANGERS: usize = 5;
/// Pages of one listing by name.
const MOST_PAGES: usize = 3;
/// The service fills in variables with such names itself.
const RESERVED_PREFIX: &str = "system__";

/// A client of one ElevenLabs workspace.
#[derive(Clone, Debug)]
pub struct ElevenLabs {
    http: Http,
    key: Secret,
    base_url: String,
}

impl ElevenLabs {
    /// A client that sends to `base_url` ([`BASE_URL`], or a sandbox) with `key`.
    pub fn new(http: Http, key: Secret, base_url: impl Into<String>) -> Self {
        Self { http, key, base_url: base_url.into().trim_end_matches('/').to_owned() }
    }

    /// Asks for a call, exactly once.
    pub async fn place(&self, request: &DialRequest) -> DialResult {
        self.place_if(request, &LastLook::default()).await
    }

    /// As [`ElevenLabs::place`], unless the last look forbids it: then it was certainly not sent.
    pub async fn place_if(&self, request: &DialRequest, last_look: &LastLook) -> DialResult {
        let (path, body) = match place_body(request) {
            Ok(wanted) => wanted,
            Err((class, reason)) => {
                let answer = DialAnswer::Refused { class, reason, http_status: None, retry_after: None };
                return DialResult { answer, provider_date: None };
            }
        };
        dial(self.send(Method::POST, path), body.to_string(), last_look, judge).await
    }

    /// The record of one call; none when the service does not know it, which may only mean not yet.
    ///
    /// # Errors
    /// When the answer is no record, or there is none.
    pub async fn get(&self, id: &str) -> Result<Option<CallReport>, ReadError> {
        let Some(answer) = self.one(CONVERSATIONS, id).await? else { return Ok(None) };
        let record = serde_json::from_slice(&answer.body).ok().and_then(report_of);
        record.map(Some).ok_or_else(|| broken(&answer))
    }

    /// The record of the call that bears this name; none when the service lists none, which proves nothing.
    ///
    /// # Errors
    /// When the listing could not be read to its end, or a conversation that it shows could not be read.
    pub async fn find(&self, name: &str) -> Result<Option<CallReport>, ReadError> {
        let mut cursor: Option<String> = None;
        let mut strangers = 0;
        for _ in 0..MOST_PAGES {
            let mut query = vec![("user_id", name.to_owned()), ("page_size", PAGE.to_string())];
            query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
            let (_, page) = self.conversations(&query).await?;
            let listed = page.get("conversations").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            for id in listed.iter().filter_map(|conversation| text(conversation, "/conversation_id")) {
                // The listing does not say whose name a conversation bears; only its record does.
                let Some(report) = self.get(&id).await? else {
                    let reason = format!("it shows the conversation {id}, which cannot be read yet");
                    return Err(ReadError::Incomplete { reason });
                };
                if report.correlation.as_deref() == Some(name) {
                    return Ok(Some(report));
                }
                strangers += 1;
                if strangers > MOST_STRANGERS {
                    let reason = "it shows conversations of other names than the one that was asked for".to_owned();
                    return Err(ReadError::Incomplete { reason });
                }
            }
            cursor = text(&page, "/next_cursor");
            if page.get("has_more").and_then(Value::as_bool) != Some(true) || cursor.is_none() {
                return Ok(None);
            }
        }
        Err(ReadError::Incomplete { reason: format!("more than {MOST_PAGES} pages") })
    }

    /// Asks for the newest conversation, and yields the provider's clock. Nothing in the answer names the workspace.
    ///
    /// # Errors
    /// When the key is refused or there is no usable answer.
    pub async fn probe(&self) -> Result<Option<chrono::DateTime<chrono::Utc>>, ReadError> {
        let (answer, _) = self.conversations(&[("page_size", "1".to_owned())]).await?;
        Ok(answer.date)
    }

    async fn conversations(&self, query: &[(&str, String)]) -> Result<(Answer, Value), ReadError> {
        let request = self.send(Method::GET, CONVERSATIONS).map_err(|error| unbuilt(&error))?.query(query);
        let answer = read(request).await?;
        let page: Value = serde_json::from_slice(&answer.body).map_err(|_| broken(&answer))?;
        if !page.get("conversations").is_some_and(Value::is_array) {
            return Err(broken(&answer));
        }
        Ok((answer, page))
    }

    /// One thing by its id; none when the service does not have it.
    async fn one(&self, kind: &str, id: &str) -> Result<Option<Answer>, ReadError> {
        let Some(path) = id_path(kind, id) else { return Ok(None) };
        found(read(self.send(Method::GET, &path).map_err(|error| unbuilt(&error))?).await)
    }

    fn send(&self, method: Method, path: &str) -> Result<RequestBuilder, reqwest::Error> {
        let client = self.http.client(&self.base_url)?;
        Ok(client.request(method, format!("{}{path}", self.base_url)).header("xi-api-key", self.key.expose()))
    }
}

/// What a complete answer to the request for a call proves.
pub fn verdict(status: u16, body: &[u8]) -> DialAnswer {
    judge(&Answer { status, body: body.to_vec(), ..Answer::default() })
}

fn broken(answer: &Answer) -> ReadError {
    ReadError::Broken { status: answer.status, body: answer.excerpt() }
}

/// Where to ask for a call, and how; an error says whose fault it is that there can be none.
fn place_body(request: &DialRequest) -> Result<(&'static str, Value), (RefusalClass, String)> {
    let campaign = |reason: String| (RefusalClass::Campaign, reason);
    let agent = |key: &str| {
        let id = request.agent.get(key).and_then(Value::as_str).filter(|id| !id.is_empty());
        id.ok_or_else(|| campaign(format!("the campaign's elevenlabs agent has no `{key}`")))
    };
    let path = match request.agent.get("via").and_then(Value::as_str) {
        None | Some("twilio") => "/v1/convai/twilio/outbound-call",
        Some("sip_trunk") => "/v1/convai/sip-trunk/outbound-call",
        Some(other) => return Err(campaign(format!("the campaign's elevenlabs agent calls by no `{other}`"))),
    };
    if let Some(extension) = request.extension.as_deref().filter(|extension| !extension.is_empty()) {
        // Without it somebody else would be reached.
        let reason = format!("ElevenLabs cannot dial the extension `{extension}`");
        return Err((RefusalClass::Number, reason));
    }
    let body = json!({
        "agent_id": agent("agent_id")?,
        "agent_phone_number_id": agent("agent_phone_number_id")?,
        "to_number": request.to,
        "conversation_initiation_client_data": {
            "user_id": request.attempt_id,
            "dynamic_variables": variables(request),
        },
        // Said even where it is the service's own: our deadline counts on it.
        "telephony_call_config": {"ringing_timeout_secs": ringing_seconds(&request.agent)},
    });
    Ok((path, body))
}

/// The values for the agent's template. The service takes texts, numbers and truth values.
fn variables(request: &DialRequest) -> Map<String, Value> {
    let mut variables = Map::new();
    let name = request.customer_name.as_deref().map(str::trim).filter(|name| !name.is_empty());
    variables.extend(name.map(|name| ("customer_name".to_owned(), name.into())));
    for (key, value) in request.variables.iter().filter(|(key, _)| !key.starts_with(RESERVED_PREFIX)) {
        let value = match value {
            Value::Null => continue,
            Value::String(_) | Value::Number(_) | Value::Bool(_) => value.clone(),
            Value::Array(_) | Value::Object(_) => value.to_string().into(),
        };
        variables.insert(key.clone(), value);
    }
    variables
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(agent: Value) -> DialRequest {
        DialRequest {
            attempt_id: "01JD0000000000000000000001".to_owned(),
            to: "+14155550100".to_owned(),
            extension: None,
            customer_name: Some(" Zoë ".to_owned()),
            agent,
            variables: Map::from_iter([
                ("due".to_owned(), json!("Friday")),
                ("rows".to_owned(), json!([1, "a"])),
                ("nothing".to_owned(), json!(null)),
                ("system__time".to_owned(), json!("now")),
                ("amount".to_owned(), json!(12.5)),
            ]),
        }
    }

    #[test]
    fn a_call_is_asked_for_by_the_agents_own_way() {
        let twilio = json!({"agent_id": "a", "agent_phone_number_id": "p"});
        let (path, body) = place_body(&request(twilio)).unwrap();
        assert_eq!(path, "/v1/convai/twilio/outbound-call");
        assert_eq!(
            body,
            json!({
                "agent_id": "a", "agent_phone_number_id": "p", "to_number": "+14155550100",
                "conversation_initiation_client_data": {
                    "user_id": "01JD0000000000000000000001",
                    "dynamic_variables":
                        {"customer_name": "Zoë", "due": "Friday", "rows": "[1,\"a\"]", "amount": 12.5},
                },
                "telephony_call_config": {"ringing_timeout_secs": 60},
            })
        );
        let trunk = json!({"agent_id": "a", "agent_phone_number_id": "p", "via": "sip_trunk", "ringing_timeout": 25});
        let (path, body) = place_body(&request(trunk)).unwrap();
        assert_eq!(path, "/v1/convai/sip-trunk/outbound-call");
        assert_eq!(body["telephony_call_config"]["ringing_timeout_secs"], 25);
    }

    #[test]
    fn what_cannot_be_asked_for_is_somebodys_fault() {
        let agent = json!({"agent_id": "a", "agent_phone_number_id": "p"});
        let extended = DialRequest { extension: Some("12".to_owned()), ..request(agent) };
        assert_eq!(place_body(&extended).unwrap_err().0, RefusalClass::Number);
        for agent in [
            json!({}),
            json!({"agent_id": "a"}),
            json!({"agent_id": "", "agent_phone_number_id": "p"}),
            json!({"agent_id": "a", "agent_phone_number_id": "p", "via": "exotel"}),
        ] {
            assert_eq!(place_body(&request(agent.clone())).unwrap_err().0, RefusalClass::Campaign, "{agent}");
        }
    }
}
