//! Which agent calls, from TOML.

use serde_json::{Map, Value, json};

use super::problems::Problems;
use super::read::seconds;
use crate::config::{Located, Section};
use crate::domain::agent::{AGENT_KEYS, AgentKeys, AgentValue};

/// Reads the table of one provider, of which there must be exactly one.
pub(super) fn read(at: &Located<'_, String>, section: &Section<'_>, problems: &mut Problems) -> Option<Value> {
    let given: Vec<&AgentKeys> = AGENT_KEYS.iter().filter(|keys| section.has(keys.provider)).collect();
    let [keys] = given[..] else {
        let failure = match &given[..] {
            [] => at.failure("which agent calls is missing"),
            more => {
                let names: Vec<&str> = more.iter().map(|keys| keys.provider).collect();
                at.failure(format!("{} are given, and one provider places the calls", names.join(" and ")))
            }
        };
        let AgentKeys { provider, agent, line, .. } = AGENT_KEYS[0];
        problems.add(failure.hint(format!(
            "by the provider of its account, such as {provider} = {{ {agent} = \"..\", {line} = \"..\" }}"
        )));
        return None;
    };
    let table = problems.take(section.section(keys.provider).map(Some))?;
    let required = [keys.agent, keys.line];
    let known: Vec<&str> = required.into_iter().chain(keys.optional.iter().map(|(key, _)| *key)).collect();
    problems.unknown(&table, &known);
    let mut agent = Map::new();
    for key in required {
        if !table.has(key) {
            let failure = at.failure(format!("{}.{key} is missing", keys.provider));
            problems.add(failure.hint("copy it from the provider's dashboard"));
        }
        agent.insert(key.to_owned(), Value::String(id(&table, key, problems).unwrap_or_default()));
    }
    for (key, kind) in keys.optional {
        let value = match kind {
            AgentValue::Id => id(&table, key, problems).map(Value::String),
            AgentValue::Word(words) => {
                let word = problems.take(table.string(key));
                let word = problems.convert(word, |word| {
                    let known = words.contains(&word.as_str());
                    if known { Ok(word) } else { Err(format!("{word:?} is none of {}", words.join(", "))) }
                });
                word.map(Value::String)
            }
            AgentValue::Seconds(most) => seconds(&table, key, 1..=*most, problems).map(|seconds| json!(seconds)),
        };
        agent.extend(value.map(|value| ((*key).to_owned(), value)));
    }
    Some(Value::Object(agent))
}

fn id(table: &Section<'_>, key: &str, problems: &mut Problems) -> Option<String> {
    let id = problems.take(table.string(key));
    problems.convert(id, |id| {
        let sound = !id.is_empty() && id.len() <= 200 && id.chars().all(|c| c.is_ascii_graphic());
        if sound { Ok(id) } else { Err(format!("{id:?} is no id")) }
    })
}
