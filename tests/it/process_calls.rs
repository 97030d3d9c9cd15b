//! `process-calls`, `sweep-timeouts` and `collect-outcomes`: stories of real days, each told on both databases, with
//! the sandbox's ledger as the judge.

mod caps;
mod settling;
mod stories;
mod timeouts;
mod zones;
