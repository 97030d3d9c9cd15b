//! What the integration tests stand on: databases of both kinds, the real binary, and stable text for snapshots.
//!
//! A test of a command looks like this, and runs once on each database:
//!
//! ```ignore
//! use crate::common::on_both_databases;
//!
//! on_both_databases! {
//!     fn status_of_a_new_database(db) {
//!         let output = db.callops().run(["status"]);
//!         insta::assert_snapshot!(output, @"...");
//!     }
//! }
//! ```

/// Makes of each `fn name(db) { .. }` or `async fn name(db) { .. }` two tests, `name::sqlite` and `name::postgres`.
///
/// `db` is a [`TestDatabase`] of its own for each test, made by `callops init`; write `name(db: empty)` for one in which
/// nothing was created yet. The body fails by
/// panicking.
macro_rules! on_both_databases {
    () => {};
    ($(#[$meta:meta])* async fn $name:ident($db:ident $(: $state:ident)?) $body:block $($rest:tt)*) => {
        $crate::common::on_both_databases!(@tests [$(#[$meta])*] $name [$($state)?] |database| {
            $crate::common::block_on(async move || { let $db = database; $body })
        });
        $crate::common::on_both_databases!($($rest)*);
    };
    ($(#[$meta:meta])* fn $name:ident($db:ident $(: $state:ident)?) $body:block $($rest:tt)*) => {
        $crate::common::on_both_databases!(@tests [$(#[$meta])*] $name [$($state)?] |database| { let $db = database; $body });
        $crate::common::on_both_databases!($($rest)*);
    };
    (@tests [$($meta:tt)*] $name:ident [$($state:ident)?] |$database:ident| $body:block) => {
        $($meta)*
        mod $name {
            #[allow(unused_imports, clippy::allow_attributes, reason = "not every body needs something from it")]
            use super::*;

            fn run($database: $crate::common::TestDatabase) $body

            #[test]
            fn sqlite() {
                run($crate::common::on_both_databases!(@make [$($state)?] $crate::common::Backend::Sqlite));
            }

            #[test]
            fn postgres() {
                run($crate::common::on_both_databases!(@make [$($state)?] $crate::common::Backend::Postgres));
            }
        }
    };
    (@make [] $backend:expr) => { $crate::common::TestDatabase::new($backend) };
    (@make [empty] $backend:expr) => { $crate::common::TestDatabase::empty($backend) };
}
pub(crate) use on_both_databases;

/// `insta::assert_snapshot!` for a test that runs on both databases: both have the same inline snapshot.
macro_rules! assert_same_snapshot {
    ($($assertion:tt)*) => {
        insta::allow_duplicates! { insta::assert_snapshot!($($assertion)*) }
    };
}
pub(crate) use assert_same_snapshot;

mod database;
mod own_postgres;
pub(crate) mod proxy;
mod redact;
mod run;
pub(crate) mod schema;
mod scratch;
pub(crate) mod small_disk;
pub(crate) mod story;

pub(crate) use database::{Backend, TestDatabase};
pub(crate) use own_postgres::OwnPostgres;
pub(crate) use redact::Redactor;
pub(crate) use run::{Callops, Condition, Output, Running};
pub(crate) use scratch::{Scratch, unfinished};

/// Runs async code to its end on a runtime of its own, from any thread, inside or outside another runtime.
///
/// It takes a closure and not a future, because the futures of some sqlx calls cannot be sent to another thread.
pub(crate) fn block_on<T: Send>(code: impl AsyncFnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .expect("a runtime")
                .block_on(code())
        });
        match thread.join() {
            Ok(output) => output,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// A variable of the test run's own environment.
#[expect(clippy::disallowed_methods, reason = "the tests' own settings are read here, and nowhere else")]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
