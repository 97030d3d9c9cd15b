//! Reading for people: rows of several tables side by side, filtered and cut.

use chrono::{DateTime, Utc};
use sqlx::FromRow;

use super::contacts::Contact;
use super::runs::{AuditEntry, Finding, Run};
use super::{Result, Tx, dynamic, fetch};
use crate::domain::call::{AttemptState, Evidence};
use crate::domain::outcome::Outcome;

/// Which rows to list. Every filter that is none lets all pass; a listing leaves out those that it has no column for.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of this tenant.
    pub tenant: Option<String>,
    /// Of this campaign, by id.
    pub campaign_id: Option<String>,
    /// With this phone, E.164.
    pub phone: Option<String>,
    /// In this state, in the listing's own words.
    pub status: Option<String>,
    /// Made, begun or seen at or after.
    pub since: Option<DateTime<Utc>>,
    /// At most this many.
    pub limit: i64,
}

/// Pushes `AND column operator value` for each filter that is given.
macro_rules! narrow {
    ($q:ident, $($value:expr => $condition:literal),+ $(,)?) => { $(
        if let Some(value) = &$value {
            $q.push(concat!(" AND ", $condition, " "));
            $q.push_bind(value.clone());
        }
    )+ };
}

/// A campaign with its numbers.
#[derive(Clone, Debug, FromRow)]
pub struct CampaignRow {
    /// The campaign's id.
    pub id: String,
    /// How many are enrolled.
    pub enrolled: i64,
    /// How many calls wait.
    pub scheduled: i64,
    /// How many calls are under way.
    pub live: i64,
}

/// The numbers of every campaign, or of one.
pub async fn campaign_numbers(tx: &mut Tx, campaign_id: Option<&str>) -> Result<Vec<CampaignRow>> {
    Ok(fetch!(
        tx,
        CampaignRow,
        fetch_all,
        "SELECT m.id,
                (SELECT count(*) FROM enrollments e WHERE e.campaign_id = m.id AND e.status = 'active') AS enrolled,
                (SELECT count(*) FROM calls c WHERE c.campaign_id = m.id AND c.status = 'scheduled') AS scheduled,
                (SELECT count(*) FROM calls c WHERE c.campaign_id = m.id
                   AND c.status IN ('calling', 'in_progress')) AS live
         FROM campaigns m WHERE ($1 IS NULL OR m.id = $1)",
        campaign_id
    )?)
}

/// Contacts, by tenant and phone.
pub async fn contacts(tx: &mut Tx, filter: &Filter) -> Result<Vec<Contact>> {
    Ok(dynamic!(
        tx,
        |q| {
            q.push(
                "SELECT id, tenant, phone, extension, name, email, external_id, timezone, timezone_source, \
                 preferred_time, attributes, version, import_id, created_at, updated_at FROM contacts WHERE TRUE",
            );
            narrow!(q, filter.tenant => "tenant =", filter.phone => "phone =", filter.since => "created_at >=");
            if let Some(campaign_id) = &filter.campaign_id {
                q.push(" AND id IN (SELECT contact_id FROM enrollments WHERE status = 'active' AND campaign_id = ");
                q.push_bind(campaign_id.clone());
                q.push(")");
            }
            q.push(" ORDER BY tenant, phone LIMIT ");
            q.push_bind(filter.limit);
        },
        build_query_as::<Contact>().fetch_all
    )?)
}

/// An attempt as it is listed.
#[derive(Clone, Debug, FromRow)]
pub struct AttemptRow {
    /// ULID.
    pub id: String,
    /// Its call.
    pub call_id: String,
    /// 1, 2, … within the call.
    pub number: i64,
    /// The tenant.
    pub tenant: String,
    /// The campaign's name.
    pub campaign: String,
    /// The phone, E.164.
    pub phone: String,
    /// The account that it is placed with.
    pub account: String,
    /// Where it stands.
    pub state: AttemptState,
    /// What came of it.
    pub outcome: Option<Outcome>,
    /// Who established the state.
    pub evidence: Option<Evidence>,
    /// The raw reason.
    pub reason: Option<String>,
    /// When its owner committed to dial.
    pub placing_at: Option<DateTime<Utc>>,
    /// When it was over.
    pub ended_at: Option<DateTime<Utc>>,
    /// The provider's id of the call.
    pub provider_call_id: Option<String>,
}

/// Attempts, newest first.
pub async fn attempts(tx: &mut Tx, filter: &Filter) -> Result<Vec<AttemptRow>> {
    Ok(dynamic!(
        tx,
        |q| {
            q.push(
                "SELECT a.id, a.call_id, a.number, a.tenant, m.name AS campaign, a.phone, a.account, a.state, \
                 a.outcome, a.evidence, a.reason, a.placing_at, a.ended_at, a.provider_call_id \
                 FROM attempts a JOIN campaigns m ON m.id = a.campaign_id WHERE TRUE",
            );
            narrow!(
                q,
                filter.tenant => "a.tenant =",
                filter.campaign_id => "a.campaign_id =",
                filter.phone => "a.phone =",
                filter.status => "a.state =",
                filter.since => "a.claimed_at >=",
            );
            q.push(" ORDER BY a.id DESC LIMIT ");
            q.push_bind(filter.limit);
        },
        build_query_as::<AttemptRow>().fetch_all
    )?)
}

/// Runs, newest first.
pub async fn runs(tx: &mut Tx, filter: &Filter) -> Result<Vec<Run>> {
    Ok(dynamic!(
        tx,
        |q| {
            q.push(
                "SELECT id, command, version, tzdata, host, pid, started_at, ended_at, exit_code, counts \
                 FROM runs WHERE TRUE",
            );
            narrow!(q, filter.since => "started_at >=");
            q.push(" ORDER BY started_at DESC, id DESC LIMIT ");
            q.push_bind(filter.limit);
        },
        build_query_as::<Run>().fetch_all
    )?)
}

/// Findings that stand, or those that went away when `is_resolved`; those seen last come first.
pub async fn findings(tx: &mut Tx, filter: &Filter, is_resolved: bool) -> Result<Vec<Finding>> {
    Ok(dynamic!(
        tx,
        |q| {
            q.push("SELECT kind, subject, detail, first_seen_at, last_seen_at, resolved_at FROM findings WHERE ");
            q.push(if is_resolved { "resolved_at IS NOT NULL" } else { "resolved_at IS NULL" });
            narrow!(q, filter.since => "last_seen_at >=");
            q.push(" ORDER BY last_seen_at DESC, kind, subject LIMIT ");
            q.push_bind(filter.limit);
        },
        build_query_as::<Finding>().fetch_all
    )?)
}

/// An enrollment as it is listed.
#[derive(Clone, Debug, FromRow)]
pub struct EnrollmentRow {
    /// ULID.
    pub id: String,
    /// The tenant.
    pub tenant: String,
    /// The campaign's name.
    pub campaign: String,
    /// The contact.
    pub contact_id: String,
    /// The contact's phone, E.164.
    pub phone: String,
    /// The contact's name.
    pub name: Option<String>,
    /// `active` or `withdrawn`.
    pub status: String,
    /// Why the contact was not called at the last check.
    pub last_reason: Option<String>,
    /// When it was last looked at.
    pub last_checked_at: Option<DateTime<Utc>>,
    /// When it is looked at next.
    pub next_check_at: Option<DateTime<Utc>>,
    /// Since when enrolled.
    pub created_at: DateTime<Utc>,
}

/// Enrollments by tenant, campaign and phone; `contact_id` narrows them to one person's.
pub async fn enrollments(tx: &mut Tx, filter: &Filter, contact_id: Option<&str>) -> Result<Vec<EnrollmentRow>> {
    let contact_id = contact_id.map(str::to_owned);
    Ok(dynamic!(
        tx,
        |q| {
            q.push(
                "SELECT e.id, m.tenant, m.name AS campaign, e.contact_id, k.phone, k.name, e.status, e.last_reason, \
                 e.last_checked_at, e.next_check_at, e.created_at \
                 FROM enrollments e JOIN campaigns m ON m.id = e.campaign_id JOIN contacts k ON k.id = e.contact_id \
                 WHERE TRUE",
            );
            narrow!(
                q,
                filter.tenant => "m.tenant =",
                filter.campaign_id => "e.campaign_id =",
                filter.phone => "k.phone =",
                filter.status => "e.status =",
                filter.since => "e.created_at >=",
                contact_id => "e.contact_id =",
            );
            q.push(" ORDER BY m.tenant, m.name, k.phone LIMIT ");
            q.push_bind(filter.limit);
        },
        build_query_as::<EnrollmentRow>().fetch_all
    )?)
}

/// A slot and the call that holds it.
#[derive(Clone, Debug, FromRow)]
pub struct SlotRow {
    /// The phone, E.164.
    pub phone: String,
    /// The purpose.
    pub purpose: String,
    /// The period, or the subject and offset.
    pub key: String,
    /// The subject, such as an invoice.
    pub subject: Option<String>,
}

/// The slots that a call holds.
pub async fn slots_of_call(tx: &mut Tx, call_id: &str) -> Result<Vec<SlotRow>> {
    Ok(fetch!(
        tx,
        SlotRow,
        fetch_all,
        "SELECT phone, purpose, key, subject FROM slots WHERE call_id = $1 ORDER BY purpose, key, phone",
        call_id
    )?)
}

/// The ids of a contact's latest calls, newest first.
pub async fn calls_of_contact(tx: &mut Tx, contact_id: &str, limit: i64) -> Result<Vec<String>> {
    let rows: Vec<(String,)> = fetch!(
        tx,
        (String,),
        fetch_all,
        "SELECT id FROM calls WHERE enrollment_id IN (SELECT e.id FROM enrollments e WHERE e.contact_id = $1)
         ORDER BY created_at DESC, id DESC LIMIT $2",
        contact_id,
        limit
    )?;
    Ok(rows.into_iter().map(|(id,)| id).collect())
}

/// What the audit log holds about a subject, newest first.
pub async fn latest_audit(tx: &mut Tx, subject: &str, limit: i64) -> Result<Vec<AuditEntry>> {
    Ok(fetch!(
        tx,
        AuditEntry,
        fetch_all,
        "SELECT id, at, run_id, actor, action, subject, detail FROM audit
         WHERE subject = $1 ORDER BY at DESC, id DESC LIMIT $2",
        subject,
        limit
    )?)
}
