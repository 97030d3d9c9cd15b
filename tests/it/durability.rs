//! What is committed is on the disk, but for the heartbeat of a run that found nothing to do; and that one stays readable.

use callops::store::{Db, Durability, Options, Tx, runs};
use serde_json::json;
use sqlx::{Connection as _, Executor as _, PgConnection};

use crate::common::{Backend, TestDatabase, on_both_databases};

/// One connection, so that each transaction meets what the one before left there.
async fn connect(database: &TestDatabase) -> Db {
    let options = Options {
        url: database.url().to_owned(),
        schema: "callops".to_owned(),
        max_connections: 1,
        statement_cache: true,
        create: false,
    };
    Db::connect(&options).await.expect("the database")
}

/// How the commit of this transaction waits for the disk, in the database's own words.
async fn waits(tx: &mut Tx) -> callops::store::Result<String> {
    Ok(match tx {
        Tx::Sqlite(tx) => sqlx::query_scalar::<_, i64>("PRAGMA synchronous").fetch_one(&mut **tx).await?.to_string(),
        Tx::Postgres(tx) => {
            sqlx::query_scalar("SELECT current_setting('synchronous_commit')").fetch_one(&mut **tx).await?
        }
    })
}

/// Makes a PostgreSQL database commit without waiting for the disk, where its clients do not insist.
async fn wait_for_no_disk(database: &TestDatabase) {
    if database.backend() == Backend::Postgres {
        let mut connection = PgConnection::connect(database.url()).await.expect("a connection");
        connection
            .execute("DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', current_database()); END $$")
            .await
            .expect("a setting");
        connection.close().await.expect("an end");
    }
}

on_both_databases! {
    async fn a_commit_waits_for_the_disk_whatever_its_connection_did_before(db) {
        wait_for_no_disk(&db).await;
        let (lazily, durably) = match db.backend() {
            Backend::Sqlite => ("1", "2"),
            Backend::Postgres => ("off", "on"),
        };
        let store = connect(&db).await;
        let mut tx = store.read().await.expect("a transaction");
        if db.backend() == Backend::Postgres {
            assert_eq!(waits(&mut tx).await.expect("a setting"), "off", "the database does not insist");
        }
        tx.renew(&store, Durability::Passing).await.expect("a transaction");
        assert_eq!(waits(&mut tx).await.expect("a setting"), lazily);
        tx.commit().await.expect("a commit");
        assert_eq!(store.write(waits).await.expect("a setting"), durably, "after what may pass");

        let mut tx = store.read().await.expect("a transaction");
        tx.renew(&store, Durability::Passing).await.expect("a transaction");
        tx.renew(&store, Durability::Durable).await.expect("a transaction");
        assert_eq!(waits(&mut tx).await.expect("a setting"), durably, "renewed");
        tx.commit().await.expect("a commit");
        store.close().await;
    }

    async fn the_heartbeat_of_an_idle_run_is_readable_afterwards(db) {
        let log = db.scratch().path().join("callops.db-wal");
        for _ in 0..2 {
            db.callops().run(["process-calls"]).success();
            if db.backend() == Backend::Sqlite {
                let bytes = std::fs::metadata(&log).map_or(0, |file| file.len());
                assert!(bytes > 0, "the write-ahead log was put away");
            }
        }
        // The files alone, as whoever opens them after the machine stopped has them.
        let copy = db.copy();
        for database in [&copy, &db] {
            let status = database.callops().run(["status", "--format", "json"]).success().json();
            assert_eq!(status["process_calls"]["ticks"], json!(2), "{status}");
            assert_eq!(status["process_calls"]["exit_code"], json!(0), "{status}");
            let store = connect(database).await;
            let mut tx = store.read().await.expect("a transaction");
            let beats = runs::heartbeats(&mut tx).await.expect("the heartbeats");
            assert_eq!(beats.iter().map(|beat| (beat.command.as_str(), beat.ticks)).collect::<Vec<_>>(), [("process-calls", 2)]);
            drop(tx);
            store.close().await;
        }
    }
}
