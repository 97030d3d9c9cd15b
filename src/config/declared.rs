//! Every key of `callops.toml` and every environment variable, declared once.

/// A key of `callops.toml`.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// Its default, as people read it; `None` when it may simply be absent.
    pub default: Option<&'static str>,
    /// A value as it stands in the file.
    pub example: &'static str,
    /// What it does, as a sentence of Markdown.
    pub meaning: &'static str,
}

/// An environment variable that callops reads.
#[derive(Clone, Copy, Debug)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// The key that it overrides.
    pub overrides: Option<&'static str>,
    /// What it does, as a sentence of Markdown.
    pub meaning: &'static str,
}

/// The keys, in the order of the documentation.
pub const KEYS: &[Key] = &[
    Key {
        name: "database_url",
        default: Some("`callops.db` in the platform's data directory"),
        example: "\"postgres://callops@db.internal/callops\"",
        meaning: "The database: `postgres://..`, `sqlite:///path`, or the path of a SQLite file. A relative path starts \
                  at the folder of the file that holds it.",
    },
    Key {
        name: "database_schema",
        default: Some("`callops`"),
        example: "\"calls\"",
        meaning: "The PostgreSQL schema that holds the tables. SQLite has none.",
    },
    Key {
        name: "database_statement_cache",
        default: Some("`true`"),
        example: "false",
        meaning: "Whether prepared statements are kept. Turn it off behind a PostgreSQL pooler in transaction mode that \
                  does not carry them.",
    },
    Key {
        name: "env_file",
        default: None,
        example: "\"callops.env\"",
        meaning: "A file of `NAME=value` lines for the bare environment that cron gives. The real environment wins over \
                  it. Keep it at mode 0600.",
    },
    Key {
        name: "log",
        default: Some("`warn`"),
        example: "\"callops=debug\"",
        meaning: "What is logged to stderr: a level, or a list of `target=level`.",
    },
    Key {
        name: "ping_url",
        default: None,
        example: "\"https://ping.example/callops\"",
        meaning: "An address that is asked after each run that went well, for a service that raises the alarm when it \
                  hears nothing; or a reference to it, as `env:NAME` or `file:/path`.",
    },
    Key {
        name: "alert_url",
        default: None,
        example: "\"env:ALERT_URL\"",
        meaning: "An address that findings are sent to by `detect-duplicates --alert`: a Slack webhook, or any other \
                  that takes JSON by POST; or a reference to it, as `env:NAME` or `file:/path`. Plain http only on this \
                  machine.",
    },
    Key {
        name: "run_interval",
        default: Some("`1m`"),
        example: "\"5m\"",
        meaning: "How often cron starts `process-calls`.",
    },
    Key {
        name: "request_timeout",
        default: Some("`20s`"),
        example: "\"30s\"",
        meaning: "How long a provider may take to answer one request, from `1s` to `5m`.",
    },
    Key {
        name: "listen",
        default: Some("`127.0.0.1:8787`"),
        example: "\"0.0.0.0:8787\"",
        meaning: "Where `serve` answers webhooks and hosted cron services.",
    },
    Key {
        name: "admin_bind",
        default: Some("`127.0.0.1:8788`"),
        example: "\"10.0.0.5:8788\"",
        meaning: "Where `serve` answers about itself: health, metrics, its description. It asks nobody for a secret.",
    },
    Key {
        name: "public_url",
        default: None,
        example: "\"https://calls.acme.example\"",
        meaning: "The address by which senders reach `serve`, where a proxy stands before it.",
    },
];

/// The configuration file itself.
pub(super) const CONFIG: &str = "CALLOPS_CONFIG";
/// Overrides `database_url`.
pub(super) const DATABASE_URL: &str = "CALLOPS_DATABASE_URL";
/// Overrides `database_schema`.
pub(super) const DATABASE_SCHEMA: &str = "CALLOPS_DATABASE_SCHEMA";
/// Overrides `env_file`.
pub(super) const ENV_FILE: &str = "CALLOPS_ENV_FILE";
/// Overrides `log`.
pub(super) const LOG: &str = "CALLOPS_LOG";
/// Signs `call-status` webhooks of every tenant.
pub(super) const WEBHOOK_SECRET: &str = "WEBHOOK_SECRET";
/// Opens the cron endpoints.
pub(super) const CRON_SECRET: &str = "CRON_SECRET";
/// Turns colours off.
pub(super) const NO_COLOR: &str = "NO_COLOR";

/// The variables, in the order of the documentation.
pub const VARIABLES: &[Variable] = &[
    Variable {
        name: CONFIG,
        overrides: None,
        meaning: "The configuration file, when `--config` does not name it. Not read from `env_file`.",
    },
    Variable { name: DATABASE_URL, overrides: Some("database_url"), meaning: "The database." },
    Variable { name: DATABASE_SCHEMA, overrides: Some("database_schema"), meaning: "The PostgreSQL schema." },
    Variable {
        name: ENV_FILE,
        overrides: Some("env_file"),
        meaning: "The file of further variables. A relative path starts at the working directory.",
    },
    Variable { name: LOG, overrides: Some("log"), meaning: "What is logged." },
    Variable {
        name: WEBHOOK_SECRET,
        overrides: None,
        meaning: "The secret by which `serve` verifies `call-status` webhooks for every tenant. A tenant's own \
                  `webhook_secret` counts beside it, for that tenant.",
    },
    Variable {
        name: CRON_SECRET,
        overrides: None,
        meaning: "The bearer token of the endpoints by which a hosted cron service starts runs of `serve`. Without it \
                  they refuse everybody.",
    },
    Variable {
        name: "WEBHOOK_URL",
        overrides: None,
        meaning: "Where `send-event` reports to: the server's `/api/webhooks/call-status`. Not read from `env_file`.",
    },
    Variable { name: NO_COLOR, overrides: None, meaning: "No colours, when it is set to anything but nothing." },
    Variable {
        name: "HOME",
        overrides: None,
        meaning: "The base of the platform's configuration and data directories. On Linux, `XDG_CONFIG_HOME` and \
                  `XDG_DATA_HOME` move them.",
    },
    Variable {
        name: "HTTPS_PROXY",
        overrides: None,
        meaning: "A proxy for requests to providers, with `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` as other programs \
                  know them. Not read from `env_file`.",
    },
    Variable {
        name: "PGHOST",
        overrides: None,
        meaning: "With `PGPORT`, `PGUSER`, `PGPASSWORD`, `PGDATABASE`, `PGSSLMODE` and their kin: what a `postgres:` URL \
                  leaves out. Not read from `env_file`.",
    },
];

/// The tables of `docs/configuration.md`, as they must stand there.
#[cfg(test)]
fn documentation() -> String {
    use std::fmt::Write as _;

    let mut text = String::from("| key | default | meaning |\n|---|---|---|\n");
    for key in KEYS {
        let default = key.default.unwrap_or("none");
        writeln!(text, "| `{}` | {default} | {} Example: `{}` |", key.name, key.meaning, key.example)
            .expect("a string can be written");
    }
    text.push_str("\n| variable | overrides | meaning |\n|---|---|---|\n");
    for variable in VARIABLES {
        let overrides = variable.overrides.map_or(String::new(), |key| format!("`{key}`"));
        writeln!(text, "| `{}` | {overrides} | {} |", variable.name, variable.meaning)
            .expect("a string can be written");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_lists_what_is_declared() {
        let page = include_str!("../../docs/configuration.md");
        for table in documentation().split("\n\n") {
            assert!(
                page.contains(table.trim()),
                "docs/configuration.md differs from the declared keys and variables; this table has to stand there:\n\n\
                 {table}"
            );
        }
        let rows = |text: &str| text.lines().filter(|line| line.starts_with("| `")).count();
        assert_eq!(rows(page), rows(&documentation()), "docs/configuration.md lists something that is not declared");
    }

    #[test]
    fn each_name_is_declared_once_and_each_override_is_a_key() {
        let mut names: Vec<_> = KEYS.iter().map(|key| key.name).chain(VARIABLES.iter().map(|v| v.name)).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
        for variable in VARIABLES {
            if let Some(key) = variable.overrides {
                assert!(KEYS.iter().any(|declared| declared.name == key), "{key}");
            }
        }
    }
}
