//! Reading the books of tenants, within what their organisations allow.

pub mod accounts;
pub mod asking;
mod reading;
pub mod sync;
