//! The rules of calling people: pure values and functions, with no clock, environment or input and output.

pub mod agent;
pub mod call;
pub mod call_status;
pub mod campaign;
pub mod contact_row;
pub mod conversation;
pub mod csv_cell;
pub mod dial;
pub mod duration;
pub mod event;
pub mod evidence;
pub mod gate;
pub mod outcome;
pub mod phone;
pub mod preferred;
pub mod region;
pub mod schedule;
pub mod secret;
pub mod secret_ref;
pub mod settle;
pub mod signature;
pub mod slot;
pub mod suppression;
pub mod window;
pub mod zone;
