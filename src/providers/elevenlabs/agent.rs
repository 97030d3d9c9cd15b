//! Agents and their lines: whether they are there, and whether somebody is told what becomes of their calls.

use reqwest::Method;
use serde_json::Value;

use super::{ElevenLabs, broken};
use crate::domain::agent::AgentReport;
use crate::domain::numbers::VoiceNumber;
use crate::providers::http::{ReadError, read, text, unbuilt};

/// The event that tells how a conversation went.
const TRANSCRIPT: &str = "transcript";

impl ElevenLabs {
    /// What the service has of an agent and of the line that it calls from, by `twilio` or a `sip_trunk`, and of the webhook of the workspace, or of
    /// the agent where that has one of its own.
    ///
    /// # Errors
    /// When an answer is no record, or there is none.
    pub async fn agent(&self, agent_id: &str, phone_number_id: &str, via: &str) -> Result<AgentReport, ReadError> {
        let Some(agent) = self.one("/v1/convai/agents", agent_id).await? else {
            return Ok(AgentReport::Missing("agent_id"));
        };
        let Some(line) = self.one("/v1/convai/phone-numbers", phone_number_id).await? else {
            return Ok(AgentReport::Missing("agent_phone_number_id"));
        };
        let line: Value = serde_json::from_slice(&line.body).map_err(|_| broken(&line))?;
        if let Some(own) = text(&line, "/provider").filter(|own| own != via) {
            return Ok(AgentReport::OtherWay { via: own });
        }
        let agent: Value = serde_json::from_slice(&agent.body).map_err(|_| broken(&agent))?;
        let settings = self.setting("/v1/convai/settings").await?;
        let webhooks = self.setting("/v1/workspace/webhooks").await?;
        Ok(report_of(&agent, &settings, &webhooks))
    }

    /// Every number of the workspace.
    ///
    /// # Errors
    /// When the answer is no list, or there is none.
    pub async fn numbers(&self) -> Result<Vec<VoiceNumber>, ReadError> {
        let answer = read(self.send(Method::GET, "/v1/convai/phone-numbers").map_err(|error| unbuilt(&error))?).await?;
        let records: Vec<Value> = serde_json::from_slice(&answer.body).map_err(|_| broken(&answer))?;
        let number = |record: &Value| {
            Some(VoiceNumber { id: text(record, "/phone_number_id")?, phone: text(record, "/phone_number")? })
        };
        Ok(records.iter().filter_map(number).collect())
    }

    /// Something of the workspace; nothing where the key may not see it.
    async fn setting(&self, path: &str) -> Result<Value, ReadError> {
        let request = self.send(Method::GET, path).map_err(|error| unbuilt(&error))?;
        match read(request).await {
            Ok(answer) => serde_json::from_slice(&answer.body).map_err(|_| broken(&answer)),
            Err(ReadError::Unauthorized { .. } | ReadError::NotFound { .. }) => Ok(Value::Null),
            Err(error) => Err(error),
        }
    }
}

fn report_of(agent: &Value, settings: &Value, webhooks: &Value) -> AgentReport {
    let own = agent.pointer("/platform_settings/workspace_overrides/webhooks").filter(|own| !own.is_null());
    let own = own.filter(|own| text(own, "/post_call_webhook_id").is_some());
    let Some(chosen) = own.or_else(|| settings.get("webhooks")) else { return told(None, true) };
    let id = text(chosen, "/post_call_webhook_id");
    let mut all = webhooks.get("webhooks").and_then(Value::as_array).into_iter().flatten();
    let hook = all.find(|hook| id.is_some() && text(hook, "/webhook_id") == id);
    let url = hook.and_then(|hook| text(hook, "/webhook_url"));
    let is = |key| hook.and_then(|hook| hook.get(key)).and_then(Value::as_bool) == Some(true);
    if is("is_auto_disabled") || is("is_disabled") {
        let number = |key| hook.and_then(|hook| hook.get(key)).and_then(Value::as_i64);
        return AgentReport::Unheard {
            webhook_url: url.unwrap_or_default(),
            by_itself: is("is_auto_disabled"),
            last_failure: number("most_recent_failure_error_code"),
            failed_at: number("most_recent_failure_timestamp")
                .and_then(|seconds| chrono::DateTime::from_timestamp(seconds, 0)),
        };
    }
    let events = chosen.get("events").and_then(Value::as_array);
    told(url, events.is_none_or(|events| events.is_empty() || events.iter().any(|event| event == TRANSCRIPT)))
}

fn told(webhook_url: Option<String>, tells_ends: bool) -> AgentReport {
    AgentReport::Present { webhook_url, tells_ends }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_agents_webhook_comes_before_the_workspaces() {
        let hook = |id: &str| json!({"webhook_id": id, "webhook_url": format!("https://{id}"), "is_disabled": false});
        let webhooks = json!({"webhooks": [hook("ours"), hook("theirs")]});
        let settings = json!({"webhooks": {"post_call_webhook_id": "theirs", "events": ["transcript"]}});
        let own = |id: Value| json!({"platform_settings": {"workspace_overrides": {"webhooks": {"post_call_webhook_id": id}}}});
        for (agent, settings, url) in [
            (own(json!("ours")), &settings, Some("https://ours")),
            (own(json!(null)), &settings, Some("https://theirs")),
            (json!({}), &settings, Some("https://theirs")),
            (json!({}), &json!({"webhooks": {"post_call_webhook_id": "gone"}}), None),
            (json!({}), &json!({"webhooks": {}}), None),
            (json!({}), &Value::Null, None),
        ] {
            assert_eq!(report_of(&agent, settings, &webhooks), told(url.map(str::to_owned), true), "{agent}");
        }
    }

    #[test]
    fn a_webhook_may_be_off_or_tell_nothing_of_talks() {
        let settings = json!({"webhooks": {"post_call_webhook_id": "w", "events": ["audio"]}});
        let mut hook = json!({"webhook_id": "w", "webhook_url": "https://w", "is_auto_disabled": false,
            "most_recent_failure_error_code": 401, "most_recent_failure_timestamp": 1_739_537_297});
        let report = |hook: &Value| report_of(&json!({}), &settings, &json!({"webhooks": [hook]}));
        assert_eq!(report(&hook), told(Some("https://w".to_owned()), false));
        hook["is_auto_disabled"] = json!(true);
        assert_eq!(
            report(&hook),
            AgentReport::Unheard {
                webhook_url: "https://w".to_owned(),
                by_itself: true,
                last_failure: Some(401),
                failed_at: chrono::DateTime::from_timestamp(1_739_537_297, 0),
            }
        );
    }
}
