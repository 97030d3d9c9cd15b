//! Reading the books of tenants, within what their organisations allow.

pub mod accounts;
pub mod asking;
pub mod debtors;
pub mod looking;
mod reading;
pub mod sync;
