//! Failures of a database that may be over in a moment.

use std::time::Duration;

/// How often a transaction that the database rolled back for its own reasons is run again.
pub(super) const MAX_TRIES: u32 = 8;

/// Whether the database rolled back for its own reasons, so that the same transaction may succeed when run again:
/// 40001 serialisation, 40P01 deadlock, 53300 too many connections, 57P03 starting up, 23503 somebody removed, or began to
/// use, what this one was about to use or remove (an import is undone while its people are claimed); SQLite busy and
/// locked.
pub(super) fn is_transient(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else { return false };
    match error.code().as_deref() {
        Some("23503" | "40001" | "40P01" | "53300" | "57P03") => true,
        Some(code) if code.len() < 5 => code.parse::<i32>().is_ok_and(|code| matches!(code & 0xff, 5 | 6)),
        _ => false,
    }
}

/// Waits a little, longer after each try, and not as long as others who try.
pub(super) async fn back_off(tries: u32) {
    let ceiling_ms = 10_u64 << tries.min(7);
    tokio::time::sleep(Duration::from_millis(fastrand::u64(ceiling_ms / 2..=ceiling_ms))).await;
}
