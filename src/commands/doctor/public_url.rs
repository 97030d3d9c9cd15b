//! Whether webhooks that are sent to `public_url` reach `serve`.

use super::Report;
use crate::app::App;
use crate::providers::webhook::{Knock, knock};

/// Where webhooks come in, each by a way of its own through a proxy.
const PATHS: [&str; 2] = ["/api/webhooks/call-status", "/api/vapi/webhook"];

/// Knocks at `public_url`, where it is set, as a stranger: `serve` asks him for a signature, and nobody else does.
pub(super) async fn check(app: &App, report: &mut Report) {
    let Some(base) = &app.config.public_url else { return };
    for path in PATHS {
        let url = format!("{base}{path}");
        let came = knock(app.http().await, &url).await;
        match fault(&came) {
            None => report.ok("public_url", format!("{url} asks for a signature, as it should")),
            Some((what, hint)) => report.warning("public_url", format!("{url}: {what}"), hint),
        }
        // Whoever cannot be reached is not reached by another path.
        if matches!(came, Knock::NotConnected(_) | Knock::Silent(_)) {
            return;
        }
    }
}

/// What is wrong with what came, and what to look at.
fn fault(came: &Knock) -> Option<(String, &'static str)> {
    let (status, location) = match came {
        Knock::Answered { is_serve: true, .. } => return None,
        Knock::Answered { status, location, .. } => (*status, location.as_deref()),
        Knock::NotConnected(reason) => {
            return Some((
                format!("no connection from this machine: {reason}"),
                "see that `callops serve` and the proxy before it run, that the name leads there, that its certificate is \
                 valid, and that the firewall lets senders in",
            ));
        }
        Knock::Silent(reason) => {
            return Some((
                format!("no answer: {reason}"),
                "see that the proxy is well, that it leads to the address that `callops serve` listens on, and that \
                 `serve` runs",
            ));
        }
    };
    Some(match status {
        200..=299 => (
            format!("somebody answers without asking for a signature (status {status})"),
            "it is not `callops serve` that answers, so webhooks are lost: look at where the proxy leads",
        ),
        300..=399 => (
            format!("it leads elsewhere (status {status}, to {})", location.unwrap_or("nowhere")),
            "senders do not follow: set public_url to where it leads, or have the proxy pass requests on",
        ),
        404 | 405 => (
            format!("something else answers there (status {status})"),
            "look at the path in the proxy: it must pass /api/.. on to `callops serve` as it came",
        ),
        401 | 403 | 407 => (
            format!("strangers are turned away before they reach `callops serve` (status {status})"),
            "look at what the proxy or firewall demands: senders have nothing but their signature",
        ),
        502..=504 => (
            format!("nobody answers behind the proxy (status {status})"),
            "see that `callops serve` runs, and that the proxy leads to the address that it listens on",
        ),
        _ => (
            format!("it answers with status {status} and not with 401"),
            "look at the log of `callops serve`, and at the proxy before it",
        ),
    })
}
