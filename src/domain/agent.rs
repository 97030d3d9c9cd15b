//! What a provider has of the agent and the line that a campaign names.

/// Whether a provider has a campaign's agent and line, and where it sends what becomes of their calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentReport {
    /// It does not have the one that this key of the campaign's settings names.
    Missing(&'static str),
    /// It has both.
    Present {
        /// Where their webhooks go, as far as agent or line say so.
        webhook_url: Option<String>,
        /// Whether the end of a call is among what webhooks tell.
        tells_ends: bool,
    },
}
