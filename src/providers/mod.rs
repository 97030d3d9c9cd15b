//! Clients of outside services. Each turns its provider's shapes into the domain's; none knows the store.

pub mod alert;
pub mod elevenlabs;
pub mod http;
pub mod livekit;
pub mod ping;
pub mod stripe;
pub mod twilio;
pub mod vapi;
pub mod webhook;
pub mod zoho;

pub use http::{Http, ReadError};
