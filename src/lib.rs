//! callops calls each person at most once per slot, at the right local time, and can explain itself.
//!
//! Layers: `main -> commands | server -> store | providers -> domain`. See `docs/architecture.md`.

pub mod clock;
pub mod commands;
pub mod domain;
pub mod error;
pub mod output;
pub mod providers;
pub mod store;
