//! The numbers that the agents' services know, as far as somebody says so.

use serde::Deserialize;

/// A number of Vapi's.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VapiLine {
    pub(super) id: String,
    pub(super) number: String,
}

/// A number of ElevenLabs'.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ElevenLabsLine {
    pub(super) phone_number_id: String,
    pub(super) phone_number: String,
}

#[derive(Debug, Default)]
pub(super) struct Lines {
    pub(super) vapi: Vec<VapiLine>,
    pub(super) elevenlabs: Vec<ElevenLabsLine>,
}
