//! The bare selects, as somebody would write them who wants the rows of one page and nothing else.

use anyhow::{Context as _, Result};
use callops::store;
use clap::ValueEnum;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _, SqliteConnection};

/// Where PostgreSQL's tables are.
pub(crate) const SCHEMA: &str = "callops_bench";
/// How many columns are shown that are stored.
const COLUMNS: usize = 12;

/// Which invoices are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Page {
    All,
    Status,
    Overdue,
    OverdueByBalance,
    Customer,
    Text,
    TextOfNone,
    ByBalance,
    SecondByBalance,
    TwentiethByCustomer,
    ThousandthByBalance,
    AnyTenant,
}

/// What the filters are given.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    /// The id of a customer.
    pub(crate) customer: String,
    /// The day a week ago, YYYY-MM-DD.
    pub(crate) week_ago: String,
}

impl Page {
    /// Its name.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// What callops is given for it.
    pub(crate) fn options(self, given: &Given) -> Vec<&str> {
        let mut options = match self {
            Self::All | Self::AnyTenant => vec![],
            Self::Status => vec!["--status", "overdue"],
            Self::Overdue => vec!["--overdue-days", "7"],
            Self::OverdueByBalance => vec!["--overdue-days", "7", "--sort", "balance", "--reverse"],
            Self::Customer => vec!["--customer", given.customer.as_str()],
            Self::Text => vec!["--text", "bakery"],
            Self::TextOfNone => vec!["--text", "nobody is called this"],
            Self::ByBalance => vec!["--sort", "balance", "--reverse"],
            Self::SecondByBalance => vec!["--sort", "balance", "--reverse", "--page", "2"],
            Self::ThousandthByBalance => vec!["--sort", "balance", "--reverse", "--page", "1000"],
            Self::TwentiethByCustomer => vec!["--status", "sent", "--sort", "customer", "--page", "20"],
        };
        if self != Self::AnyTenant {
            options.extend(["--tenant", "acme"]);
        }
        options
    }

    fn sql(self, is_sqlite: bool, given: &Given) -> String {
        let number = |column: &str| {
            if is_sqlite { format!("CAST({column} AS REAL)") } else { format!("{column}::numeric") }
        };
        let overdue = format!(
            "AND i.status IN ('sent', 'viewed', 'overdue', 'unpaid', 'partially_paid') AND i.due_date <= '{}'",
            given.week_ago
        );
        let text = |text: &str| {
            format!("AND (lower(i.number) LIKE '%{text}%' OR lower(coalesce(c.name, i.customer_name)) LIKE '%{text}%')")
        };
        let by_due_date = || "i.due_date NULLS LAST, i.id".to_owned();
        let by_balance = || format!("{} DESC NULLS LAST, i.id DESC", number("i.balance"));
        let (filter, order, page) = match self {
            Self::All | Self::AnyTenant => (String::new(), by_due_date(), 1),
            Self::Status => ("AND i.status = 'overdue'".to_owned(), by_due_date(), 1),
            Self::Overdue => (overdue, by_due_date(), 1),
            Self::OverdueByBalance => (overdue, by_balance(), 1),
            Self::Customer => (format!("AND i.customer_id = '{}'", given.customer), by_due_date(), 1),
            Self::Text => (text("bakery"), by_due_date(), 1),
            Self::TextOfNone => (text("nobody is called this"), by_due_date(), 1),
            Self::ByBalance => (String::new(), by_balance(), 1),
            Self::SecondByBalance => (String::new(), by_balance(), 2),
            Self::ThousandthByBalance => (String::new(), by_balance(), 1000),
            Self::TwentiethByCustomer => {
                ("AND i.status = 'sent'".to_owned(), "customer_name NULLS LAST, i.id".to_owned(), 20)
            }
        };
        let tenant = if self == Self::AnyTenant { "" } else { "AND i.tenant = 'acme'" };
        let instant = if is_sqlite { "i.last_modified_at" } else { "i.last_modified_at::text" };
        format!(
            "SELECT i.id, i.tenant, i.number, coalesce(c.name, i.customer_name) AS customer_name, i.customer_id, i.status,
                    i.date, i.due_date, i.total, i.balance, i.currency, {instant}
             FROM billing_invoices i
             LEFT JOIN billing_customers c ON c.tenant = i.tenant AND c.id = i.customer_id AND c.deleted_at IS NULL
             WHERE i.deleted_at IS NULL {tenant} {filter} ORDER BY {order} LIMIT 50 OFFSET {}",
            (page - 1) * 50
        )
    }
}

/// Connects, asks, and writes the rows to stdout, a line each.
pub(crate) async fn run(url: &str, page: Page, given: &Given) -> Result<()> {
    let sql = AssertSqlSafe(page.sql(store::sqlite_path(url).is_some(), given));
    let lines: Vec<String> = if let Some(path) = store::sqlite_path(url) {
        let mut connection = SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(path)).await?;
        let rows = sqlx::query(sql).fetch_all(&mut connection).await?;
        let line = |row| line(|index| sqlx::sqlite::SqliteRow::try_get(row, index));
        let lines = rows.iter().map(line).collect::<Result<_, _>>()?;
        connection.close().await?;
        lines
    } else {
        let mut connection = PgConnection::connect(url).await?;
        connection.execute(AssertSqlSafe(format!("SET search_path TO {SCHEMA}"))).await?;
        let rows = sqlx::query(sql).fetch_all(&mut connection).await?;
        let line = |row| line(|index| sqlx::postgres::PgRow::try_get(row, index));
        let lines = rows.iter().map(line).collect::<Result<_, _>>()?;
        connection.close().await?;
        lines
    };
    #[expect(clippy::print_stdout, reason = "the rows")]
    for line in lines {
        println!("{line}");
    }
    Ok(())
}

fn line(value: impl Fn(usize) -> sqlx::Result<Option<String>>) -> sqlx::Result<String> {
    let values: Vec<String> =
        (0..COLUMNS).map(|index| Ok(value(index)?.unwrap_or_default())).collect::<sqlx::Result<_>>()?;
    Ok(values.join("\t"))
}

/// Removes what a bench left.
pub(crate) async fn forget(url: &str) -> Result<()> {
    if let Some(path) = store::sqlite_path(url) {
        for tail in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{tail}", path.display()));
        }
    } else {
        let mut connection = PgConnection::connect(url).await?;
        sqlx::raw_sql(AssertSqlSafe(format!("DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")))
            .execute(&mut connection)
            .await?;
        connection.close().await?;
    }
    Ok(())
}

/// How many invoices are stored, and the id of the customer who has most of them.
pub(crate) async fn stored(url: &str) -> Result<(i64, String)> {
    let (count, customer) = (
        "SELECT count(*) FROM billing_invoices",
        "SELECT customer_id FROM billing_invoices GROUP BY customer_id ORDER BY count(*) DESC, customer_id LIMIT 1",
    );
    if let Some(path) = store::sqlite_path(url) {
        let mut connection = SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(path)).await?;
        let count = sqlx::query_scalar(count).fetch_one(&mut connection).await?;
        Ok((count, sqlx::query_scalar(customer).fetch_one(&mut connection).await.context("no invoices")?))
    } else {
        let mut connection = PgConnection::connect(url).await?;
        connection.execute(AssertSqlSafe(format!("SET search_path TO {SCHEMA}"))).await?;
        let count = sqlx::query_scalar(count).fetch_one(&mut connection).await?;
        Ok((count, sqlx::query_scalar(customer).fetch_one(&mut connection).await.context("no invoices")?))
    }
}
