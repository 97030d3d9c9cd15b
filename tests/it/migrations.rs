//! The two migration folders tell the same story.

use std::collections::BTreeSet;
use std::path::Path;

use callops::store::{Db, Options};

use crate::common::{Backend, TestDatabase, block_on, on_both_databases};

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

/// What a database says about its own tables: columns with their kind, and indexes with their columns.
///
/// What is no column of an index but made of some is shown as `..`. Instants are text and booleans are integers on SQLite, so each kind of PostgreSQL is called by SQLite's name for it.
async fn shape(database: &TestDatabase) -> BTreeSet<String> {
    let options = Options {
        url: database.url().to_owned(),
        schema: "callops".to_owned(),
        max_connections: 1,
        statement_cache: true,
        create: true,
    };
    let db = Db::connect(&options).await.expect("the database can be created");
    db.migrate().await.expect("the migrations run");
    let lines: Vec<String> = match &db {
        Db::Sqlite(pool) => sqlx::query_scalar(SQLITE_SHAPE).fetch_all(pool.connections()).await,
        Db::Postgres(pool, _) => sqlx::query_scalar(POSTGRES_SHAPE).fetch_all(pool.connections()).await,
    }
    .expect("the catalogue can be read");
    db.close().await;
    lines.into_iter().collect()
}

const SQLITE_SHAPE: &str = r#"
    SELECT t.name || '.' || c.name || ' ' || c.type || iif(c."notnull" OR c.pk > 0, ' not null', '')
    FROM sqlite_schema t, pragma_table_xinfo(t.name) c
    WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite\_%' ESCAPE '\' AND t.name NOT LIKE '\_sqlx%' ESCAPE '\'
    UNION ALL
    SELECT t.name || '(' || (SELECT group_concat(coalesce(c.name, '..'), ', ') FROM
            (SELECT name FROM pragma_index_info(i.name) ORDER BY seqno) c) || ')'
        || iif(i."unique", ' unique', '') || iif(i.partial, ' where', '')
    FROM sqlite_schema t, pragma_index_list(t.name) i
    WHERE t.type = 'table' AND t.name NOT LIKE '\_sqlx%' ESCAPE '\'
"#;

const POSTGRES_SHAPE: &str = r"
    SELECT table_name || '.' || column_name || ' ' || CASE data_type
            WHEN 'text' THEN 'TEXT' WHEN 'timestamp with time zone' THEN 'TEXT'
            WHEN 'bigint' THEN 'INTEGER' WHEN 'boolean' THEN 'INTEGER'
            WHEN 'double precision' THEN 'REAL' WHEN 'bytea' THEN 'BLOB' ELSE data_type END
        || CASE is_nullable WHEN 'NO' THEN ' not null' ELSE '' END
    FROM information_schema.columns
    WHERE table_schema = 'callops' AND table_name NOT LIKE '\_sqlx%'
    UNION ALL
    SELECT t.relname || '(' || (SELECT string_agg(coalesce(a.attname, '..'), ', ' ORDER BY k.position)
            FROM unnest(i.indkey::int[]) WITH ORDINALITY k (attnum, position)
            LEFT JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = k.attnum) || ')'
        || CASE WHEN i.indisunique THEN ' unique' ELSE '' END
        || CASE WHEN i.indpred IS NOT NULL THEN ' where' ELSE '' END
    FROM pg_index i JOIN pg_class t ON t.oid = i.indrelid JOIN pg_namespace n ON n.oid = t.relnamespace
    WHERE n.nspname = 'callops' AND t.relname NOT LIKE '\_sqlx%'
";

#[test]
fn both_databases_get_the_same_tables_columns_and_indexes() {
    let (sqlite, postgres) = block_on(async || {
        let (sqlite, postgres) = (TestDatabase::empty(Backend::Sqlite), TestDatabase::empty(Backend::Postgres));
        (shape(&sqlite).await, shape(&postgres).await)
    });
    assert!(sqlite.len() > 50, "{sqlite:#?}");
    let missing = |from: &BTreeSet<String>, of: &BTreeSet<String>| of.difference(from).cloned().collect::<Vec<_>>();
    assert_eq!(missing(&postgres, &sqlite), Vec::<String>::new(), "on SQLite only");
    assert_eq!(missing(&sqlite, &postgres), Vec::<String>::new(), "on PostgreSQL only");
}

on_both_databases! {
    /// The promise of one call per slot rests on these, whatever the program does.
    async fn the_database_itself_forbids_a_second_call(db: empty) {
        let shape = shape(&db).await;
        for index in [
            "slots(tenant, phone, purpose, key) unique",
            "slots(tenant, purpose, subject, key) unique where",
            "attempts(tenant, phone) unique where",
        ] {
            assert!(shape.contains(index), "{index} is missing in {shape:#?}");
        }
    }
}
