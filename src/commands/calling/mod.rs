//! What the commands that call people share: planning, dialling, and settling what is unclear.

mod answers;
mod ask;
pub mod counts;
pub mod dial;
pub mod directory;
mod freshness;
pub mod inbox;
pub mod plan;
pub mod provider;
pub mod records;
pub mod rotation;
pub mod sessions;
pub mod stop;
pub mod sweep;
pub mod tick;
