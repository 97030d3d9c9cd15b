//! The limits that callops is measured against, run as processes of their own: a bare connect-and-select, and an HTTP
//! client that does nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use callops::store;
use serde_json::json;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};

/// Connects, selects one row, ends. `schema` is where PostgreSQL's tables are.
pub(crate) async fn connect_and_select(url: &str, schema: &str) -> Result<()> {
    let select = |prefix: &str| AssertSqlSafe(format!("SELECT value FROM {prefix}meta WHERE key = 'control'"));
    let _value: String = if let Some(path) = store::sqlite_path(url) {
        let options = SqliteConnectOptions::new().filename(path);
        let mut connection = SqliteConnection::connect_with(&options).await?;
        let value = sqlx::query_scalar(select("")).fetch_one(&mut connection).await?;
        connection.close().await?;
        value
    } else {
        let mut connection = PgConnection::connect(url).await?;
        let value = sqlx::query_scalar(select(&format!("{schema}."))).fetch_one(&mut connection).await?;
        connection.close().await?;
        value
    };
    Ok(())
}

/// Posts `calls` dials of numbers from `first` on, as many at once as `concurrency`, and reads the answers.
pub(crate) async fn post(url: &str, first: u64, calls: u64, concurrency: u64) -> Result<()> {
    let client = client()?;
    let next = Arc::new(AtomicU64::new(first));
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..concurrency {
        let (client, url, next) = (client.clone(), format!("{url}/call"), Arc::clone(&next));
        workers.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= first + calls {
                    return Ok(());
                }
                let answer = client.post(&url).bearer_auth(KEY).json(&body(number)).send().await?;
                ensure!(answer.status().is_success(), "the sandbox answers {}", answer.status());
                answer.bytes().await?;
            }
        });
    }
    while let Some(worker) = workers.join_next().await {
        worker??;
    }
    Ok(())
}

/// The sandbox's usual key.
pub(crate) const KEY: &str = "sandbox-key";

#[expect(clippy::disallowed_methods, reason = "the limit that the program's own client is measured against")]
fn client() -> Result<reqwest::Client> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Ok(reqwest::Client::builder().no_proxy().tls_certs_only([]).timeout(Duration::from_secs(30)).build()?)
}

/// The phone of the N-th contact.
pub(crate) fn phone(number: u64) -> String {
    format!("+1{:010}", 2_002_000_000 + number)
}

/// A body like those that callops sends.
fn body(number: u64) -> serde_json::Value {
    let id = format!("01JD{number:022}");
    json!({
        "assistantId": "assistant-1",
        "phoneNumberId": "line-1",
        "customer": {"number": phone(number), "externalId": id, "name": "Ada"},
        "name": id,
        "assistantOverrides": {"variableValues": {"city": "Albany"}, "metadata": {"attempt_id": id}},
    })
}
