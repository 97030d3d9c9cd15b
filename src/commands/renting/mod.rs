//! What the commands that rent numbers have in common.

pub mod accounts;
mod buying;
pub mod confirming;
pub mod evidence;
pub mod inventory;
pub mod moment;
pub mod purchase;
