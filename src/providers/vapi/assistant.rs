//! Assistants and lines: whether they are there, and where their server messages go.

use reqwest::Method;
use serde_json::Value;

use super::Vapi;
use crate::domain::agent::AgentReport;
use crate::domain::numbers::VoiceNumber;
use crate::providers::http::{ReadError, found, id_path, read, text, unbuilt};

/// The most numbers that the service lists at once.
const MOST_NUMBERS: usize = 1000;
/// The message that tells how a call ended.
const LAST_MESSAGE: &str = "end-of-call-report";

impl Vapi {
    /// What the service has of an assistant and of the line that it calls from.
    ///
    /// # Errors
    /// When an answer is no record, or there is none.
    pub async fn agent(&self, assistant_id: &str, phone_number_id: &str) -> Result<AgentReport, ReadError> {
        let Some(assistant) = self.record("/assistant", assistant_id).await? else {
            return Ok(AgentReport::Missing("assistant_id"));
        };
        let Some(line) = self.record("/phone-number", phone_number_id).await? else {
            return Ok(AgentReport::Missing("phone_number_id"));
        };
        Ok(report_of(&assistant, &line))
    }

    /// Every number of the organisation.
    ///
    /// # Errors
    /// When the answer is no list, there is none, or it is as long as the service's longest and may lack some.
    pub async fn numbers(&self) -> Result<Vec<VoiceNumber>, ReadError> {
        let request = self.send(Method::GET, "/phone-number").map_err(|error| unbuilt(&error))?;
        let answer = read(request.query(&[("limit", MOST_NUMBERS)])).await?;
        let Ok(records) = serde_json::from_slice::<Vec<Value>>(&answer.body) else {
            return Err(ReadError::Broken { status: answer.status, body: answer.excerpt() });
        };
        if records.len() >= MOST_NUMBERS {
            return Err(ReadError::Incomplete { reason: format!("{MOST_NUMBERS} numbers or more") });
        }
        let number = |record: &Value| Some(VoiceNumber { id: text(record, "/id")?, phone: text(record, "/number")? });
        Ok(records.iter().filter_map(number).collect())
    }

    async fn record(&self, kind: &str, id: &str) -> Result<Option<Value>, ReadError> {
        let Some(path) = id_path(kind, id) else { return Ok(None) };
        let request = self.send(Method::GET, &path).map_err(|error| unbuilt(&error))?;
        let Some(answer) = found(read(request).await)? else { return Ok(None) };
        match serde_json::from_slice(&answer.body) {
            Ok(record @ Value::Object(_)) => Ok(Some(record)),
            _ => Err(ReadError::Broken { status: answer.status, body: answer.excerpt() }),
        }
    }
}

/// The assistant's server comes before the line's; that of the organisation, which comes last, cannot be read. Records
/// from before `server` have `serverUrl`.
fn report_of(assistant: &Value, line: &Value) -> AgentReport {
    let url = |record| text(record, "/server/url").or_else(|| text(record, "/serverUrl"));
    let messages = assistant.get("serverMessages").and_then(Value::as_array);
    AgentReport::Present {
        webhook_url: url(assistant).or_else(|| url(line)),
        // Unless messages are chosen, the end of a call is among them.
        tells_ends: messages.is_none_or(|chosen| chosen.iter().any(|message| message == LAST_MESSAGE)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_assistants_server_comes_before_the_lines() {
        let (ours, theirs) = (json!({"server": {"url": "https://ours"}}), json!({"serverUrl": "https://theirs"}));
        for (assistant, line, url) in [
            (&ours, &theirs, Some("https://ours")),
            (&theirs, &ours, Some("https://theirs")),
            (&json!({}), &ours, Some("https://ours")),
            (&json!({"server": null}), &theirs, Some("https://theirs")),
            (&json!({"server": {"timeoutSeconds": 20}}), &json!({}), None),
        ] {
            let webhook_url = url.map(str::to_owned);
            assert_eq!(report_of(assistant, line), AgentReport::Present { webhook_url, tells_ends: true });
        }
    }

    #[test]
    fn messages_that_are_chosen_may_leave_the_end_out() {
        for (chosen, tells) in [
            (json!(null), true),
            (json!(["status-update", "end-of-call-report"]), true),
            (json!(["transcript"]), false),
            (json!([]), false),
        ] {
            let report = report_of(&json!({"serverMessages": chosen}), &json!({}));
            assert_eq!(report, AgentReport::Present { webhook_url: None, tells_ends: tells }, "{chosen}");
        }
    }
}
