//! Exit codes, and errors that say what was wrong, where, and what to do next.

use std::fmt;
use std::io::{self, ErrorKind};

use sqlx::migrate::MigrateError;

use crate::store::StoreError;

/// How a command ended. The numbers are an API for cron, systemd and scripts; a code that a script does not know
/// must be treated as failure.
///
/// When several apply, the one that stands first in this list wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exit {
    /// 1: an unexpected failure, a defect of callops itself.
    Unexpected,
    /// 2: the command line was wrong.
    Usage,
    /// 6: configuration, credentials, schema or clock are wrong; somebody must mend them.
    Configuration,
    /// 7: the database or a provider cannot be reached; trying again later may help.
    Unreachable,
    /// 5: refused by a cap or a missing confirmation.
    Refused,
    /// 4: some items failed or were rejected; the rest is done.
    Partial,
    /// 3: findings: duplicates, drift, a plan that was only printed, old unknowns.
    Findings,
    /// 0: done, or nothing to do.
    Success,
    /// 130: ended by SIGINT after finishing what was in flight.
    Interrupted,
    /// 143: ended by SIGTERM after finishing what was in flight.
    Terminated,
}

impl Exit {
    /// The process exit code.
    pub const fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Unexpected => 1,
            Self::Usage => 2,
            Self::Findings => 3,
            Self::Partial => 4,
            Self::Refused => 5,
            Self::Configuration => 6,
            Self::Unreachable => 7,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }

    /// The stable word for this class, as shown in JSON errors.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Unexpected => "unexpected",
            Self::Usage => "usage",
            Self::Findings => "findings",
            Self::Partial => "partial",
            Self::Refused => "refused",
            Self::Configuration => "configuration",
            Self::Unreachable => "unreachable",
            Self::Interrupted => "interrupted",
            Self::Terminated => "terminated",
        }
    }

    /// The order in which classes win over one another: a smaller rank wins.
    const fn rank(self) -> u8 {
        match self {
            Self::Interrupted | Self::Terminated => 0,
            Self::Unexpected => 1,
            Self::Usage => 2,
            Self::Configuration => 3,
            Self::Unreachable => 4,
            Self::Refused => 5,
            Self::Partial => 6,
            Self::Findings => 7,
            Self::Success => 8,
        }
    }

    /// The one of the two that a process should end with.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        if other.rank() < self.rank() { other } else { self }
    }
}

/// A failure of a known class, with hints on what to do next.
///
/// The message is a lower-case fragment that names what was wrong and where. Carried inside [`anyhow::Error`];
/// the outermost `Failure` of a chain decides the exit code.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    message: String,
    hints: Vec<String>,
}

impl Failure {
    /// A failure of class `exit`.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hints: Vec::new() }
    }

    /// Exit 2.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// Exit 6.
    pub fn configuration(message: impl Into<String>) -> Self {
        Self::new(Exit::Configuration, message)
    }

    /// Exit 7.
    pub fn unreachable(message: impl Into<String>) -> Self {
        Self::new(Exit::Unreachable, message)
    }

    /// Exit 5.
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(Exit::Refused, message)
    }

    /// Exit 4.
    pub fn partial(message: impl Into<String>) -> Self {
        Self::new(Exit::Partial, message)
    }

    /// Adds a line saying what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// The class.
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// The hints, in the order in which they were added.
    pub fn hints(&self) -> &[String] {
        &self.hints
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// The class of any error: that of its outermost [`Failure`], else what the database error says, else unexpected.
pub fn classify(error: &anyhow::Error) -> Exit {
    // This finds one that was added as context, too, which the chain hides behind a type of its own.
    if let Some(failure) = error.downcast_ref::<Failure>() {
        return failure.exit();
    }
    for cause in error.chain() {
        if let Some(failure) = cause.downcast_ref::<Failure>() {
            return failure.exit();
        }
        if let Some(error) = cause.downcast_ref::<StoreError>() {
            return classify_store(error);
        }
        if let Some(error) = cause.downcast_ref::<sqlx::Error>() {
            return classify_database(error);
        }
        // A disk without room, or a quota: as with the database's, there may be some later.
        if let Some(error) = cause.downcast_ref::<io::Error>()
            && matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge)
        {
            return Exit::Unreachable;
        }
    }
    Exit::Unexpected
}

fn classify_store(error: &StoreError) -> Exit {
    match error {
        StoreError::Missing(_) | StoreError::UnknownUrl | StoreError::Schema { .. } => Exit::Configuration,
        StoreError::Unreadable { .. } => Exit::Partial,
        StoreError::Database(error) | StoreError::Migrate(MigrateError::Execute(error)) => classify_database(error),
        StoreError::Conflict(_) | StoreError::Migrate(_) => Exit::Unexpected,
    }
}

fn classify_database(error: &sqlx::Error) -> Exit {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::Protocol(_) => Exit::Unreachable,
        sqlx::Error::Configuration(_) => Exit::Configuration,
        sqlx::Error::Database(error) => match error.code().as_deref() {
            // SQLSTATE classes: 08 connection, 53 resources, 57 operator intervention, 40 rollback, 58 system;
            // SQLite primary result codes: 5 busy, 6 locked, 10 I/O, 13 full.
            Some(code)
                if ["08", "53", "57", "40", "58"].iter().any(|class| code.len() == 5 && code.starts_with(class)) =>
            {
                Exit::Unreachable
            }
            Some("28P01" | "28000" | "3D000" | "42501") => Exit::Configuration,
            Some(code) if code.len() < 5 && code.parse::<i32>().is_ok_and(|n| [5, 6, 10, 13].contains(&(n & 0xff))) => {
                Exit::Unreachable
            }
            // SQLite: 8 read-only, 11 corrupt, 14 cannot open, 26 not a database.
            Some(code)
                if code.len() < 5 && code.parse::<i32>().is_ok_and(|n| [8, 11, 14, 26].contains(&(n & 0xff))) =>
            {
                Exit::Configuration
            }
            _ => Exit::Unexpected,
        },
        _ => Exit::Unexpected,
    }
}

/// How a database can fail in the middle of a command so that trying again later may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// There is no room for what is to be written.
    Full,
    /// A file of SQLite's cannot be read or written.
    Unwritable,
    /// The server is not reached any more, or lets nobody in.
    Connection,
}

/// What kind of loss an error is; none when it is another error, or one that is explained already.
pub fn loss(error: &anyhow::Error) -> Option<Loss> {
    if !hints(error).is_empty() || classify(error) != Exit::Unreachable {
        return None;
    }
    let database = error.chain().find_map(|cause| match cause.downcast_ref::<StoreError>() {
        Some(StoreError::Database(error) | StoreError::Migrate(MigrateError::Execute(error))) => Some(error),
        _ => cause.downcast_ref::<sqlx::Error>(),
    })?;
    let sqlx::Error::Database(database) = database else { return Some(Loss::Connection) };
    match database.code()?.as_ref() {
        "53100" | SQLITE_FULL | SQLITE_SHARED_MEMORY => Some(Loss::Full),
        // 40: it rolled back for its own reasons, again and again, and is there.
        code if code.len() == 5 => (!code.starts_with("40")).then_some(Loss::Connection),
        code => code.parse::<i32>().is_ok_and(|code| code & 0xff == SQLITE_IO).then_some(Loss::Unwritable),
    }
}

/// No room in the file system.
const SQLITE_FULL: &str = "13";
/// The file that stands for shared memory cannot grow, which is how a read finds the disk full.
const SQLITE_SHARED_MEMORY: &str = "4874";
/// Any other failure of the file system, of which the upper bits say more.
const SQLITE_IO: i32 = 10;

/// An error with its causes in one line. A cause that the text before it ends with already is not repeated: some
/// libraries show their source, others leave that to us.
pub fn message(error: &anyhow::Error) -> String {
    let mut message = String::new();
    for cause in error.chain() {
        let text = cause.to_string();
        if message.is_empty() {
            message = text;
        } else if !message.ends_with(&text) {
            message.push_str(": ");
            message.push_str(&text);
        }
    }
    message
}

/// The hints carried by an error's chain.
pub fn hints(error: &anyhow::Error) -> Vec<String> {
    let mut failures: Vec<&Failure> = error.chain().filter_map(|cause| cause.downcast_ref::<Failure>()).collect();
    if let Some(outermost) = error.downcast_ref::<Failure>()
        && !failures.iter().any(|failure| std::ptr::eq(*failure, outermost))
    {
        failures.insert(0, outermost);
    }
    failures.into_iter().flat_map(|failure| failure.hints().iter().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    #[test]
    fn the_first_class_of_the_documented_order_wins() {
        let order = [
            Exit::Unexpected,
            Exit::Usage,
            Exit::Configuration,
            Exit::Unreachable,
            Exit::Refused,
            Exit::Partial,
            Exit::Findings,
            Exit::Success,
        ];
        for (i, first) in order.iter().enumerate() {
            for second in &order[i..] {
                assert_eq!(first.or(*second), *first);
                assert_eq!(second.or(*first), *first);
            }
        }
    }

    #[test]
    fn a_cause_is_told_once() {
        let io = || std::io::Error::other("connection refused");
        let error = anyhow::Error::new(sqlx::Error::Io(io())).context("cannot open it");
        assert!(error.chain().count() > 2, "sqlx shows its source and hands it on as well");
        let told = message(&error);
        assert_eq!(told.matches("connection refused").count(), 1, "{told}");
        assert!(told.starts_with("cannot open it: "), "{told}");
        assert_eq!(message(&anyhow::Error::new(io()).context("cannot ask")), "cannot ask: connection refused");
    }

    #[test]
    fn the_class_survives_context() {
        let error = Err::<(), _>(Failure::refused("too many").hint("raise the cap"))
            .context("cannot release")
            .expect_err("an error");
        assert_eq!(classify(&error), Exit::Refused);
        assert_eq!(hints(&error), ["raise the cap"]);
        assert_eq!(classify(&anyhow::anyhow!("what?")), Exit::Unexpected);

        let error = Err::<(), _>(std::io::Error::other("disk full"))
            .context(Failure::configuration("cannot write it").hint("make room"))
            .context("cannot go on")
            .expect_err("an error");
        assert_eq!(classify(&error), Exit::Configuration);
        assert_eq!(hints(&error), ["make room"]);
        assert_eq!(message(&error), "cannot go on: cannot write it: disk full");
    }
}
