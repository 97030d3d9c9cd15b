//! The columns of each kind. Their names are an API.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::billing::Wanted;
use super::{Kind, billing, welcomes};
use crate::commands::calling::provider::places_calls;
use crate::commands::suppressing::scope_shown;
use crate::commands::telling::{instant, json_text};
use crate::domain::numbers::Claim;
use crate::domain::zone::zones_of_callee;
use crate::output::Rows;
use crate::store::calls::{self, Call};
use crate::store::listing::{self, Filter};
use crate::store::{
    Result, Tx, control, conversations, events, imports, numbers as store_numbers, records as store_records, sessions,
    setup, suppressions,
};

/// The rows of a kind, and whether there are more than the limit.
pub(super) async fn rows(
    tx: &mut Tx,
    kind: Kind,
    mut filter: Filter,
    books: &Wanted,
    now: DateTime<Utc>,
) -> Result<(Rows, bool)> {
    let limit = usize::try_from(filter.limit).unwrap_or(usize::MAX);
    // One more than is shown tells whether there are more.
    filter.limit += 1;
    let (columns, mut rows) = match kind {
        Kind::Campaigns => campaigns(tx, &filter).await?,
        Kind::Contacts => contacts(tx, &filter).await?,
        Kind::Calls => calls(tx, &filter).await?,
        Kind::Attempts => attempts(tx, &filter).await?,
        Kind::Runs => runs(tx, &filter).await?,
        Kind::Tenants => tenants(tx, &filter).await?,
        Kind::Accounts => accounts(tx).await?,
        Kind::Findings => findings(tx, &filter).await?,
        Kind::Enrollments => enrollments(tx, &filter).await?,
        Kind::Imports => imports(tx, &filter).await?,
        Kind::Suppressions => suppressions(tx, &filter, now).await?,
        Kind::Events => events(tx, &filter).await?,
        Kind::Conversations => conversations(tx, &filter).await?,
        Kind::Sessions => sessions(tx, &filter).await?,
        Kind::Bookings => records(tx, store_records::Kind::Booking, &filter).await?,
        Kind::Tickets => records(tx, store_records::Kind::Ticket, &filter).await?,
        Kind::Customers => billing::customers(tx, &filter, books).await?,
        Kind::Invoices => billing::invoices(tx, &filter, books).await?,
        Kind::Debtors => billing::debtors(tx, &filter).await?,
        Kind::Numbers => numbers(tx, &filter).await?,
        Kind::Welcomes => welcomes::rows(tx, &filter).await?,
    };
    let is_cut = rows.len() > limit;
    rows.truncate(limit);
    let mut listed = Rows::new(columns);
    for row in rows {
        listed.push(row);
    }
    Ok((listed, is_cut))
}

pub(super) type Listed = (&'static [&'static str], Vec<Vec<Value>>);

async fn campaigns(tx: &mut Tx, filter: &Filter) -> Result<Listed> {
    let numbers: HashMap<String, listing::CampaignRow> =
        listing::campaign_numbers(tx, None).await?.into_iter().map(|row| (row.id.clone(), row)).collect();
    let mut rows = Vec::new();
    for campaign in setup::campaigns(tx).await? {
        let status = if campaign.active { "active" } else { "stopped" };
        let passes = filter.tenant.as_ref().is_none_or(|tenant| *tenant == campaign.tenant)
            && filter.campaign_id.as_ref().is_none_or(|id| *id == campaign.id)
            && filter.status.as_ref().is_none_or(|word| word == status);
        if !passes {
            continue;
        }
        let rules = campaign.rules().ok();
        let numbers = numbers.get(&campaign.id);
        rows.push(vec![
            json!(campaign.full_name()),
            json!(status),
            json!(campaign.purpose),
            json!(campaign.account),
            json!(campaign.priority),
            json!(rules.as_ref().map(|rules| match rules.reminders {
                Some(_) => "reminders",
                None => rules.frequency.as_str(),
            })),
            json!(rules.as_ref().map(|rules| rules.schedule.days.to_string())),
            json!(rules.as_ref().map(|rules| rules.schedule.window)),
            json!(numbers.map(|row| row.enrolled)),
            json!(numbers.map(|row| row.scheduled)),
            json!(numbers.map(|row| row.live)),
            instant(campaign.held_until),
        ]);
    }
    Ok((
        &[
            "campaign",
            "status",
            "purpose",
            "account",
            "priority",
            "frequency",
            "days",
            "window",
            "enrolled",
            "scheduled",
            "live",
            "held_until",
        ],
        rows,
    ))
}

async fn contacts(tx: &mut Tx, filter: &Filter) -> Result<Listed> {
    let rows = listing::contacts(tx, filter).await?.into_iter().map(|contact| {
        vec![
            json!(contact.id),
            json!(contact.tenant),
            json!(contact.phone),
            json!(contact.extension),
            json!(contact.name),
            json!(contact.timezone),
            json!(zones_of_callee(contact.timezone.as_deref(), &contact.phone).map(|(zones, _)| zones.summary())),
            json!(contact.preferred_time),
            instant(Some(contact.created_at)),
        ]
    });
    let columns = &["id", "tenant", "phone", "extension", "name", "timezone", "zones", "preferred_time", "created_at"];
    Ok((columns, rows.collect()))
}

/// The columns of calls.
pub(in crate::commands) const CALL_COLUMNS: &[&str] = &[
    "id",
    "campaign",
    "phone",
    "slot",
    "status",
    "outcome",
    "reason",
    "attempts",
    "next_attempt_at",
    "created_at",
    "ended_at",
];

/// A call under [`CALL_COLUMNS`].
pub(in crate::commands) fn call_row(call: &Call) -> Vec<Value> {
    vec![
        json!(call.id),
        json!(format!("{}/{}", call.tenant, call.campaign)),
        json!(call.phone),
        json!(call.slot_key),
        json!(call.status.as_str()),
        json!(call.outcome),
        json!(call.reason),
        json!(call.attempt_count),
        instant(call.next_attempt_at),
        instant(Some(call.created_at)),
        instant(call.ended_at),
    ]
}

async fn calls(tx: &mut Tx, filter: &Filter) -> Result<Listed> {
    let filter = calls::Filter {
        tenant: filter.tenant.clone(),
        campaign_id: filter.campaign_id.clone(),
        phone: filter.phone.clone(),
        status: filter.status.as_deref().and_then(|word| word.parse().ok()),
        since: filter.since,
        limit: filter.limit,
    };
    Ok((CALL_COLUMNS, calls::calls(tx, &filter).await?.iter().map(call_row).collect()))
}

async fn attempts(tx: &mut Tx, filter: &Filter) -> Result<Listed> {
    let rows = listing::attempts(tx, filter).await?.into_iter().map(|attempt| {
        vec![
            json!(attempt.id),
            json!(attempt.call_id),
            json!(attempt.number),
            json!(format!("{}/{}", attempt.tenant, attempt.campaign)),
            json!(attempt.phone),
            json!(attempt.account),
            json!(attempt.state.as_str()),
            json!(attempt.outcome),
            json!(attempt.evidence.map(crate::domain::call::Evidence::as_str)),
            json!(attempt.reason),
            instant(attempt.placing_at),
            instant(attempt.ended_at),
            json!(attempt.provider_call_id),
        ]
    });
    Ok((
        &[
            "id",
            "call",
            "number",
            "campaign",
            "phone",
            "account",
            "state",
            "outcome",
            "evidence",
            "reason",
            "placing_at",
            "ended_at",
            "provider_call_id",
        ],
        rows.collect(),
    ))
}

async fn runs(tx: &mut Tx, filter: &Filter) -> Result<Listed> {
    let rows = listing::runs(tx, filter).await?.into_iter().map(|run| {
        vec![
            json!(run.id),
            json!(run.command),
            json!(run.host),
            instant(Some(run.started_at)),
            instant(run.ended_at),
            json!(run.exit_code),
            json_text(run.counts.as_deref()),
        ]
    });
    Ok((&["id", "command", "host", "started_at", "ended_at", "exit_code", "counts"], rows.collect()))
}

async fn imports(tx: &mut Tx, filter: &Filter) -> Result<Listed> {
    let campaigns: HashMap<String, String> =
        setup::campaigns(tx).await?.into_iter().map(|campaign| (campaign.id.clone(), campaign.full_name())).collect();
    let rows = imports::imports(tx, filter).await?.into_iter().map(|import| {
        let counts = json_text(Some(&import.counts));
        let mut row = vec![
            json!(import.id),
            json!(import.tenant),
            json!(import.campaign_id.as_ref().and_then(|id| campaigns.get(id))),
            json!(import.file_name),
        ];
        row.extend(["rows", "created", "updated", "rejected"].map(|count| counts[count].clone()));
        row.extend([instant(Some(import.created_at)), instant(import.undone_at)]);
        row
    });
    let columns =
        &["id", "tenant", "campaign", "file", "rows", "created", "updated", "rejected", "created_at", "undone_at"];
    Ok((columns, rows.collect()))
}

async fn tenants(tx: &mut Tx, filter: &Filter) -> Result<Listed> {
    let paused: HashSet<String> = control::pauses(tx).await?.into_iter().map(|pause| pause.scope).collect();
    let mut campaigns: HashMap<String, i64> = HashMap::new();
    for campaign in setup::campaigns(tx).await? {
        *campaigns.entry(campaign.tenant).or_default() += 1;
    }
    let mut rows = Vec::new();
    for tenant in setup::tenants(tx).await? {
        if filter.tenant.as_ref().is_some_and(|name| *name != tenant.name) {
            continue;
        }
        let is_paused = paused.contains(control::EVERYBODY) || paused.contains(&control::tenant_scope(&tenant.name));
        rows.push(vec![
            json!(tenant.name),
            json!(tenant.display_name),
            json!(tenant.region),
            json!(tenant.timezone),
            json!(campaigns.get(&tenant.name).copied().unwrap_or_default()),
            json!(is_paused),
        ]);
    }
    Ok((&["tenant", "name", "region", "timezone", "campaigns", "paused"], rows))
}

async fn accounts(tx: &mut Tx) -> Result<Listed> {
    let rows = setup::accounts(tx).await?.into_iter().map(|account| {
        vec![
            json!(account.name),
            json!(account.provider),
            // What rents numbers places no calls.
            json!(Some(account.max_concurrency).filter(|_| places_calls(&account.provider))),
            json!(account.calls_per_minute),
            json!(account.org_id),
            instant(account.held_until),
            json!(account.held_reason),
        ]
    });
    Ok((
        &["account", "provider", "max_concurrency", "calls_per_minute", "org_id", "held_until", "held_reason"],
        rows.collect(),
    ))
}

async fn findings(tx: &mut Tx, filter: &Filter) -> Result<Listed> {
    let is_resolved = filter.status.as_deref() == Some("resolved");
    let rows = listing::findings(tx, filter, is_resolved).await?.into_iter().map(|finding| {
        vec![
            json!(finding.kind),
            json!(finding.subject),
            json!(finding.detail),
            instant(Some(finding.first_seen_at)),
            instant(Some(finding.last_seen_at)),
            instant(finding.resolved_at),
        ]
    });
    Ok((&["kind", "subject", "detail", "first_seen_at", "last_seen_at", "resolved_at"], rows.collect()))
}

/// The columns of enrollments.
pub(in crate::commands) const ENROLLMENT_COLUMNS: &[&str] = &[
    "campaign",
    "contact",
    "phone",
    "name",
    "status",
    "last_reason",
    "last_checked_at",
    "next_check_at",
    "created_at",
];

/// An enrollment under [`ENROLLMENT_COLUMNS`].
pub(in crate::commands) fn enrollment_row(row: &listing::EnrollmentRow) -> Vec<Value> {
    vec![
        json!(format!("{}/{}", row.tenant, row.campaign)),
        json!(row.contact_id),
        json!(row.phone),
        json!(row.name),
        json!(row.status),
        json!(row.last_reason),
        instant(row.last_checked_at),
        instant(row.next_check_at),
        instant(Some(row.created_at)),
    ]
}

async fn enrollments(tx: &mut Tx, filter: &Filter) -> Result<Listed> {
    Ok((ENROLLMENT_COLUMNS, listing::enrollments(tx, filter, None).await?.iter().map(enrollment_row).collect()))
}

async fn suppressions(tx: &mut Tx, filter: &Filter, now: DateTime<Utc>) -> Result<Listed> {
    let filter = suppressions::Filter {
        tenant: filter.tenant.clone(),
        phone: filter.phone.clone(),
        is_active: filter.status.as_deref().map(|word| word == "active"),
        since: filter.since,
        limit: filter.limit,
    };
    let rows = suppressions::list(tx, &filter, now).await?.into_iter().map(|suppression| {
        vec![
            json!(scope_shown(&suppression.tenant)),
            json!(suppression.what().to_string()),
            json!(if suppression.is_active(now) { "active" } else { "expired" }),
            json!(suppression.reason),
            json!(suppression.source),
            instant(Some(suppression.created_at)),
            instant(suppression.expires_at),
        ]
    });
    Ok((&["tenant", "pattern", "status", "reason", "source", "created_at", "expires_at"], rows.collect()))
}

async fn events(tx: &mut Tx, filter: &Filter) -> Result<Listed> {
    let rows = events::list(tx, filter).await?.into_iter().map(|event| {
        vec![
            json!(event.id),
            json!(event.source.as_str()),
            json!(event.kind),
            json!(event.state.as_str()),
            json!(event.reason),
            json!(event.named),
            json!(event.provider_call_id),
            json!(event.attempt_id),
            json!(event.deliveries),
            instant(Some(event.received_at)),
        ]
    });
    Ok((
        &[
            "id",
            "source",
            "kind",
            "status",
            "reason",
            "named",
            "provider_call_id",
            "attempt",
            "deliveries",
            "received_at",
        ],
        rows.collect(),
    ))
}

async fn conversations(tx: &mut Tx, filter: &Filter) -> Result<Listed> {
    let rows = conversations::list(tx, filter).await?.into_iter().map(|conversation| {
        vec![
            json!(conversation.id),
            json!(conversation.tenant),
            json!(conversation.phone),
            json!(conversation.account),
            json!(conversation.provider_call_id),
            json!(conversation.status.as_str()),
            json!(conversation.tries),
            json!(conversation.last_error),
            json!(conversation.duration_seconds),
            json!(conversation.cost_usd),
            json!(conversation.summary),
            instant(Some(conversation.created_at)),
        ]
    });
    Ok((
        &[
            "id",
            "tenant",
            "phone",
            "account",
            "provider_call_id",
            "status",
            "tries",
            "last_error",
            "duration_seconds",
            "cost_usd",
            "summary",
            "created_at",
        ],
        rows.collect(),
    ))
}

async fn sessions(tx: &mut Tx, filter: &Filter) -> Result<Listed> {
    let rows = sessions::list(tx, filter).await?.into_iter().map(|session| {
        vec![
            json!(session.id),
            json!(session.tenant),
            json!(session.account),
            json!(session.external_id),
            json!(session.status.as_str()),
            json!(session.conversation_id),
            instant(Some(session.started_at)),
            instant(session.ended_at),
        ]
    });
    Ok((
        &["id", "tenant", "account", "external_id", "status", "conversation", "started_at", "ended_at"],
        rows.collect(),
    ))
}

async fn records(tx: &mut Tx, kind: store_records::Kind, filter: &Filter) -> Result<Listed> {
    let rows = store_records::list(tx, kind, filter).await?.into_iter().map(|record| {
        vec![
            json!(record.conversation_id),
            json!(record.tenant),
            json!(record.contact_id),
            json_text(Some(&record.fields)),
            instant(Some(record.created_at)),
        ]
    });
    Ok((&["conversation", "tenant", "contact", "fields", "created_at"], rows.collect()))
}

async fn numbers(tx: &mut Tx, filter: &Filter) -> Result<Listed> {
    let of_tenants: HashSet<String> =
        store_numbers::tenant_numbers(tx).await?.into_iter().map(|number| number.sid).collect();
    let rows = store_numbers::list(tx, filter).await?.into_iter().map(|number| {
        vec![
            json!(number.phone),
            json!(number.owner()),
            json!(number.status.as_str()),
            json!(of_tenants.contains(&number.sid)),
            json!(number.tenant.is_some()),
            json!(number.claim.map(Claim::as_str)),
            json!(number.friendly_name),
            instant(number.bought_at),
            instant(Some(number.last_seen_at)),
            json!(number.account),
            json!(number.sid),
        ]
    });
    Ok((
        &[
            "phone",
            "tenant",
            "status",
            "is_tenants_number",
            "adopted",
            "claim",
            "friendly_name",
            "bought_at",
            "last_seen_at",
            "account",
            "sid",
        ],
        rows.collect(),
    ))
}
