//! What the commands that call people share: planning, dialling, and settling what is unclear.

pub mod counts;
pub mod plan;
pub mod provider;
