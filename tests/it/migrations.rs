//! The two migration folders tell the same story.

use std::collections::BTreeSet;
use std::path::Path;

fn migration_names(database: &str) -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(database);
    let Ok(entries) = std::fs::read_dir(&folder) else { return BTreeSet::new() };
    entries
        .map(|entry| entry.expect("the folder can be read").file_name().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with('.'))
        .collect()
}

/// What is wrong with two lists of migration files.
fn differences(sqlite: &BTreeSet<String>, postgres: &BTreeSet<String>) -> Vec<String> {
    let mut wrong: Vec<String> = sqlite
        .difference(postgres)
        .map(|name| format!("{name} is missing in migrations/postgres"))
        .chain(postgres.difference(sqlite).map(|name| format!("{name} is missing in migrations/sqlite")))
        .collect();
    let mut numbers = BTreeSet::new();
    for name in sqlite {
        let number = name.split('_').next().unwrap_or_default();
        let is_sound = number.len() == 4
            && number.chars().all(|c| c.is_ascii_digit())
            && Path::new(name).extension().is_some_and(|extension| extension == "sql");
        if !is_sound {
            wrong.push(format!("{name} is not named NNNN_name.sql"));
        }
        if !numbers.insert(number) {
            wrong.push(format!("{number} is the number of two migrations"));
        }
    }
    wrong
}

#[test]
fn every_migration_has_a_namesake() {
    let wrong = differences(&migration_names("sqlite"), &migration_names("postgres"));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_migration_without_a_namesake_is_found() {
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    assert_eq!(differences(&names(&["0001_a.sql"]), &names(&["0001_a.sql"])), Vec::<String>::new());
    assert_eq!(
        differences(
            &names(&["0001_a.sql", "0002_b.sql", "0002_c.sql", "x.sql"]),
            &names(&["0001_a.sql", "0003_d.sql"])
        ),
        [
            "0002_b.sql is missing in migrations/postgres",
            "0002_c.sql is missing in migrations/postgres",
            "x.sql is missing in migrations/postgres",
            "0003_d.sql is missing in migrations/sqlite",
            "0002 is the number of two migrations",
            "x.sql is not named NNNN_name.sql",
        ]
    );
}
