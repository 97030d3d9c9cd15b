//! What Vapi's `endedReason` means. The set is open: hundreds of values, and new ones every month.

use crate::domain::outcome::Outcome;

/// The outcome that an `endedReason` stands for; [`Outcome::Unknown`] when this version does not know it.
pub fn outcome_of(ended_reason: &str) -> Outcome {
    if let Some(outcome) = sip_outcome(ended_reason) {
        return outcome;
    }
    match ended_reason {
        "exceeded-max-duration"
        | "silence-timed-out"
        | "call.in-progress.twilio-completed-call"
        | "call.in-progress.sip-completed-call"
        | "vonage-completed"
        | "call.in-progress.error-transfer-failed" => Outcome::Answered,
        "voicemail" => Outcome::Voicemail,
        "customer-did-not-answer" => Outcome::NoAnswer,
        "customer-busy" => Outcome::Busy,
        "vonage-rejected" => Outcome::Rejected,
        "twilio-reported-customer-misdialed" => Outcome::InvalidNumber,
        "manually-canceled" | "scheduled-call-deleted" | "call-deleted" => Outcome::Cancelled,
        "assistant-not-found" | "assistant-not-valid" | "call-start-error-neither-assistant-nor-server-set" => {
            Outcome::AccountError
        }
        "worker-shutdown"
        | "assistant-join-timed-out"
        | "call.start.error-get-transport"
        | "vonage-disconnected"
        | "phone-call-provider-closed-websocket"
        | "phone-call-provider-bypass-enabled-but-no-call-received" => Outcome::ProviderError,
        reason => by_shape(reason),
    }
}

fn by_shape(reason: &str) -> Outcome {
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| reason.starts_with(prefix));
    if starts(&["customer-ended-call", "assistant-ended-call", "assistant-said-", "assistant-forwarded-"])
        // A person had been handed on, or was about to be.
        || starts(&["call.forwarding.", "call.in-progress.error-warm-transfer-"])
    {
        Outcome::Answered
    } else if starts(&["call.start.error-vapifault", "call.start.error-providerfault"]) {
        Outcome::ProviderError
    } else if starts(&["call.start.", "assistant-request-"]) {
        // The call was never dialled: credits, limits, a missing assistant or line.
        Outcome::AccountError
    } else if starts(&["call.in-progress.error-", "call.ringing.error-", "pipeline-error-", "pipeline-no-available-"])
        || reason.ends_with("-failed-to-connect-call")
    {
        Outcome::ProviderError
    } else {
        Outcome::Unknown
    }
}

/// The outcome of `...outbound-sip-NNN-...`, by the SIP status.
fn sip_outcome(reason: &str) -> Option<Outcome> {
    let (_, rest) = reason.split_once("outbound-sip-")?;
    let status: u16 = rest.get(..3)?.parse().ok()?;
    Some(match status {
        // The trunk refused our credentials or credit.
        401 | 402 | 407 => Outcome::AccountError,
        404 | 410 | 484 | 604 => Outcome::InvalidNumber,
        408 | 480 | 487 => Outcome::NoAnswer,
        486 | 600 => Outcome::Busy,
        403 | 603 | 607 | 608 => Outcome::Rejected,
        _ => Outcome::ProviderError,
    })
}

/// Whether a call that ended like this was never dialled.
pub(super) fn ended_before_dialling(reason: &str) -> bool {
    reason.starts_with("call.start.") || reason == "scheduled-call-deleted"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ended_reasons_of_the_contract_have_their_outcome() {
        let table: &[(Outcome, &[&str])] = &[
            (
                Outcome::Answered,
                &[
                    "customer-ended-call",
                    "customer-ended-call-during-transfer",
                    "assistant-ended-call",
                    "assistant-ended-call-after-message-spoken",
                    "assistant-said-end-call-phrase",
                    "assistant-forwarded-call",
                    "exceeded-max-duration",
                    "silence-timed-out",
                    "call.in-progress.twilio-completed-call",
                    "call.forwarding.operator-busy",
                    "call.in-progress.error-warm-transfer-silence-timeout",
                ],
            ),
            (Outcome::Voicemail, &["voicemail"]),
            (
                Outcome::NoAnswer,
                &[
                    "customer-did-not-answer",
                    "call.in-progress.error-providerfault-outbound-sip-408-request-timeout",
                    "call.in-progress.error-providerfault-outbound-sip-480-temporarily-unavailable",
                ],
            ),
            (Outcome::Busy, &["customer-busy", "call.in-progress.error-providerfault-outbound-sip-486-busy-here"]),
            (
                Outcome::Rejected,
                &["vonage-rejected", "call.in-progress.error-providerfault-outbound-sip-403-forbidden"],
            ),
            (Outcome::InvalidNumber, &["twilio-reported-customer-misdialed"]),
            (Outcome::Cancelled, &["manually-canceled", "scheduled-call-deleted", "call-deleted"]),
            (
                Outcome::ProviderError,
                &[
                    "twilio-failed-to-connect-call",
                    "vonage-failed-to-connect-call",
                    "call.in-progress.error-sip-outbound-call-failed-to-connect",
                    "call.in-progress.error-providerfault-outbound-sip-503-service-unavailable",
                    "call.in-progress.error-vapifault-openai-401-account-not-in-organization",
                    "call.in-progress.error-providerfault-vapi-voice-failed",
                    "call.start.error-vapifault-get-org",
                    "pipeline-error-openai-401-unauthorized",
                    "phone-call-provider-closed-websocket",
                ],
            ),
            (
                Outcome::AccountError,
                &[
                    "call.start.error-subscription-frozen",
                    "call.start.error-subscription-insufficient-credits",
                    "call.start.error-subscription-concurrency-limit-reached",
                    "call.start.error-subscription-something-new",
                    "call.start.error-fraud-check-failed",
                    "call.start.error-vapi-number-international",
                    "call.start.error-vapi-number-outbound-daily-limit",
                    "call.start.error-get-assistant",
                    "assistant-not-found",
                    "call.in-progress.error-providerfault-outbound-sip-407-proxy-authentication-required",
                ],
            ),
            (
                Outcome::Unknown,
                &[
                    "",
                    "something-new",
                    "customer-did-not-give-microphone-permission",
                    "outbound-sip-",
                    "outbound-sip-é",
                ],
            ),
        ];
        for (outcome, reasons) in table {
            for reason in *reasons {
                assert_eq!(outcome_of(reason), *outcome, "{reason}");
            }
        }
    }
}
