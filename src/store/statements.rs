//! Statements that are written once and run on either database.

/// Runs the same statement on whichever database `$tx` is; yields the number of rows changed.
macro_rules! execute {
    ($tx:expr, $sql:expr $(, $arg:expr)* $(,)?) => {
        match $tx {
            $crate::store::Tx::Sqlite(tx) => {
                sqlx::query($sql) $(.bind($arg))* .execute(&mut **tx).await.map(|done| done.rows_affected())
            }
            $crate::store::Tx::Postgres(tx) => {
                sqlx::query($sql) $(.bind($arg))* .execute(&mut **tx).await.map(|done| done.rows_affected())
            }
        }
    };
}

/// Fetches rows of type `$row` with `$fetch` = `fetch_one` | `fetch_optional` | `fetch_all`.
macro_rules! fetch {
    ($tx:expr, $row:ty, $fetch:ident, $sql:expr $(, $arg:expr)* $(,)?) => {
        match $tx {
            $crate::store::Tx::Sqlite(tx) => {
                sqlx::query_as::<_, $row>($sql) $(.bind($arg))* .$fetch(&mut **tx).await
            }
            $crate::store::Tx::Postgres(tx) => {
                sqlx::query_as::<_, $row>($sql) $(.bind($arg))* .$fetch(&mut **tx).await
            }
        }
    };
}

/// Fetches values of a single column.
macro_rules! scalar {
    ($tx:expr, $ty:ty, $fetch:ident, $sql:expr $(, $arg:expr)* $(,)?) => {
        match $tx {
            $crate::store::Tx::Sqlite(tx) => {
                sqlx::query_scalar::<_, $ty>($sql) $(.bind($arg))* .$fetch(&mut **tx).await
            }
            $crate::store::Tx::Postgres(tx) => {
                sqlx::query_scalar::<_, $ty>($sql) $(.bind($arg))* .$fetch(&mut **tx).await
            }
        }
    };
}

/// Builds a statement with a variable number of binds for whichever database `$tx` is, and runs `$finish` on it.
///
/// `$build` is a block over a `sqlx::QueryBuilder`; `$finish` is `execute`, which yields the number of rows
/// changed, or the tail of a chain such as `build_query_as::<Row>().fetch_all`.
macro_rules! dynamic {
    ($tx:expr, |$q:ident| $build:block, execute) => {
        match $tx {
            $crate::store::Tx::Sqlite(tx) => {
                let mut $q = sqlx::QueryBuilder::<sqlx::Sqlite>::new("");
                $build
                $q.build().execute(&mut **tx).await.map(|done| done.rows_affected())
            }
            $crate::store::Tx::Postgres(tx) => {
                let mut $q = sqlx::QueryBuilder::<sqlx::Postgres>::new("");
                $build
                $q.build().execute(&mut **tx).await.map(|done| done.rows_affected())
            }
        }
    };
    ($tx:expr, |$q:ident| $build:block, $($finish:tt)+) => {
        match $tx {
            $crate::store::Tx::Sqlite(tx) => {
                let mut $q = sqlx::QueryBuilder::<sqlx::Sqlite>::new("");
                $build
                $q.$($finish)+(&mut **tx).await
            }
            $crate::store::Tx::Postgres(tx) => {
                let mut $q = sqlx::QueryBuilder::<sqlx::Postgres>::new("");
                $build
                $q.$($finish)+(&mut **tx).await
            }
        }
    };
}
pub(crate) use {dynamic, execute, fetch, scalar};
