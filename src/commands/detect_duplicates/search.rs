//! Looking for each kind of duplicate.

use std::collections::{HashMap, HashSet};

use anyhow::Result;
use chrono::{DateTime, TimeDelta, Utc};
use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::app::App;
use crate::domain::duplicates::{self, Bursts, Finding, Kind, NAMED, Owned, Ring, SameBy, object};
use crate::domain::duration::HumanDuration;
use crate::error::message;
use crate::store::duplicates::{
    Scope, contacts, contacts_in, equal_records, inventory_seen_at, numbers, rings, shared_conversations,
};
use crate::store::{Tx, runs, setup};

/// The most new findings that one run tells of. What is beyond is new to the next one.
const MAX_FRESH: usize = 5000;
/// The most groups of contacts whose members are looked up: more are shown with two.
const MAX_LOOKED_UP: usize = 500;
/// An inventory that is older is said to be.
const STALE_AFTER: TimeDelta = TimeDelta::days(1);
/// The finding that stands while a business has several numbers.
const STANDING: &str = runs::DUPLICATE_NUMBERS;

/// What to look for.
pub(super) struct Search<'a> {
    pub(super) tenant: Option<&'a str>,
    pub(super) since: Option<DateTime<Utc>>,
    pub(super) within: HumanDuration,
    /// The most findings of a kind that are shown.
    pub(super) limit: usize,
    /// Whether numbers are looked at only since everything is.
    pub(super) is_all: bool,
    pub(super) now: DateTime<Utc>,
}

/// What was found, as far as it is kept.
#[derive(Default)]
pub(super) struct Found {
    /// Findings to show, in their order.
    pub(super) shown: Vec<Finding>,
    /// Findings that no alert told of.
    pub(super) fresh: Vec<Finding>,
}

/// Takes the findings of one kind as they come, counts them all and keeps the first.
struct Sink<'a> {
    limit: usize,
    kept: Vec<Finding>,
    /// How many were kept when the present statement began.
    before: usize,
    count: u64,
    fresh: &'a mut Vec<Finding>,
}

impl Sink<'_> {
    fn take(&mut self, finding: Finding, is_known: bool) {
        self.count += 1;
        if !is_known && self.fresh.len() < MAX_FRESH {
            self.fresh.push(finding.clone());
        }
        if self.kept.len() - self.before < self.limit {
            self.kept.push(finding);
        }
    }

    /// Begins with another statement, whose findings are in an order of their own.
    fn next(&mut self) {
        self.before = self.kept.len();
    }
}

impl Search<'_> {
    fn scope(&self) -> Scope<'_> {
        Scope { tenant: self.tenant, since: self.since }
    }

    /// Adds what is found of a kind; yields how many there are.
    pub(super) async fn look(&self, app: &App, kind: Kind, found: &mut Found) -> Result<u64> {
        let mut sink = Sink { limit: self.limit, kept: Vec::new(), before: 0, count: 0, fresh: &mut found.fresh };
        let mut tx = app.db().await?.read().await?;
        match kind {
            Kind::Numbers => {
                let standing = self.numbers(app, &mut tx, &mut sink).await?;
                drop(tx);
                self.raise(app, &standing).await?;
            }
            Kind::Contacts => self.contacts(&mut tx, &mut sink).await?,
            Kind::Calls => self.calls(&mut tx, &mut sink).await?,
            Kind::Conversations => self.conversations(&mut tx, &mut sink).await?,
        }
        let Sink { mut kept, count, .. } = sink;
        kept.sort_by(|a, b| (&a.tenant, &a.subject).cmp(&(&b.tenant, &b.subject)));
        kept.truncate(self.limit);
        found.shown.extend(kept);
        Ok(count)
    }

    /// Yields what stands of every business that has several numbers.
    async fn numbers(&self, app: &App, tx: &mut Tx, sink: &mut Sink<'_>) -> Result<Vec<(String, String)>> {
        let mut costs: HashMap<String, Decimal> = HashMap::new();
        let mut is_in_use = !self.is_all;
        for tenant in setup::tenants(tx).await? {
            match tenant.settings() {
                Ok(settings) => {
                    let Some(numbers) = settings.numbers else { continue };
                    is_in_use = true;
                    costs.extend(numbers.monthly_cost.map(|cost| (tenant.name, cost)));
                }
                // Its numbers are found all the same.
                Err(error) => app.printer.warn(message(&error.into())),
            }
        }
        let mut standing = Vec::new();
        let mut whose: Option<String> = None;
        let mut owned: Vec<Owned> = Vec::new();
        let mut is_known = true;
        let mut end = |tenant: Option<&str>, numbers: &[Owned], is_known: bool| {
            let Some(tenant) = tenant else { return };
            let Some(finding) = duplicates::numbers(tenant, numbers, costs.get(tenant).copied(), self.now) else {
                return;
            };
            standing.push((finding.subject.clone(), sentence(&finding)));
            if self.since.is_none_or(|since| finding.last_at.is_some_and(|last| last >= since)) {
                sink.take(finding, is_known);
            }
        };
        numbers(tx, self.tenant, |row| {
            if whose.as_ref() != Some(&row.owner) {
                end(whose.as_deref(), &owned, is_known);
                whose = Some(row.owner);
                owned.clear();
                is_known = true;
            }
            is_known &= row.is_known;
            owned.push(Owned {
                sid: row.sid,
                phone: row.phone,
                bought_at: row.bought_at,
                first_seen_at: row.first_seen_at,
            });
        })
        .await?;
        end(whose.as_deref(), &owned, is_known);
        if is_in_use {
            match inventory_seen_at(tx).await? {
                None => {
                    app.printer.warn("the inventory of numbers was never read: `callops reconcile-twilio` reads it");
                }
                Some(seen_at) if self.now - seen_at > STALE_AFTER => app.printer.warn(format!(
                    "the inventory of numbers is {} hours old: `callops reconcile-twilio` reads it",
                    (self.now - seen_at).num_hours()
                )),
                Some(_) => {}
            }
        }
        Ok(standing)
    }

    /// Raises what stands, and ends what stood of those that were looked at and does not any more.
    async fn raise(&self, app: &App, standing: &[(String, String)]) -> Result<()> {
        let stands: HashSet<&str> = standing.iter().map(|(subject, _)| subject.as_str()).collect();
        let db = app.db().await?;
        let mut tx = db.read().await?;
        let stood = runs::standing_findings(&mut tx).await?;
        drop(tx);
        let looked_at = |subject: &str| self.tenant.is_none_or(|tenant| subject == format!("tenant:{tenant}"));
        let over: Vec<String> = stood
            .into_iter()
            .filter(|f| f.kind == STANDING && looked_at(&f.subject) && !stands.contains(f.subject.as_str()))
            .map(|finding| finding.subject)
            .collect();
        if standing.is_empty() && over.is_empty() {
            return Ok(());
        }
        let now = self.now;
        db.write(async |tx| {
            for (subject, detail) in standing {
                runs::raise(tx, STANDING, subject, detail, now).await?;
            }
            for subject in &over {
                runs::resolve_finding(tx, STANDING, subject, now).await?;
            }
            Ok(())
        })
        .await?;
        Ok(())
    }

    async fn contacts(&self, tx: &mut Tx, sink: &mut Sink<'_>) -> Result<()> {
        for by in SameBy::ALL {
            sink.next();
            contacts(tx, *by, self.scope(), |group| {
                let subject = format!("{by}:{}", group.value);
                let ids = [group.first_id, group.last_id];
                let finding = Finding {
                    kind: Kind::Contacts,
                    count: group.count,
                    first_at: Some(group.first_at),
                    last_at: Some(group.last_at),
                    detail: object([
                        ("same_by", json!(by.as_str())),
                        ("value", json!(group.value)),
                        ("contact_ids", json!(ids)),
                    ]),
                    identities: vec![format!("{} {subject}", group.tenant)],
                    tenant: group.tenant,
                    subject,
                };
                sink.take(finding, group.is_known);
            })
            .await?;
            let of_this = sink.before;
            name_all(tx, *by, &mut sink.kept[of_this..]).await?;
        }
        Ok(())
    }

    async fn calls(&self, tx: &mut Tx, sink: &mut Sink<'_>) -> Result<()> {
        let mut bursts = Bursts::new(self.within.to_delta());
        let mut of: Option<(String, String)> = None;
        let mut take = |of: &Option<(String, String)>, burst: Option<duplicates::Burst>| {
            let (Some((tenant, phone)), Some(burst)) = (of, burst) else { return };
            if self.since.is_none_or(|since| burst.last_at >= since) {
                let is_known = burst.is_known;
                sink.take(burst.finding(tenant, phone), is_known);
            }
        };
        rings(tx, i64::from(self.within.seconds()), self.scope(), |row| {
            if of.as_ref().is_none_or(|(tenant, phone)| *tenant != row.tenant || *phone != row.phone) {
                take(&of, bursts.end());
                of = Some((row.tenant, row.phone));
            }
            let ring = Ring { call_id: row.call_id, purpose: row.purpose, at: row.placing_at, is_known: row.is_known };
            take(&of, bursts.push(ring));
        })
        .await?;
        take(&of, bursts.end());
        Ok(())
    }

    async fn conversations(&self, tx: &mut Tx, sink: &mut Sink<'_>) -> Result<()> {
        shared_conversations(tx, self.scope(), |shared| {
            let finding = Finding {
                kind: Kind::Conversations,
                subject: format!("conversation:{}", shared.provider_id),
                count: 2,
                first_at: Some(shared.claimed_at.min(shared.started_at)),
                last_at: Some(shared.claimed_at.max(shared.started_at)),
                identities: vec![format!("{} {} {}", shared.tenant, shared.account, shared.provider_id)],
                detail: object([
                    ("same_by", json!("provider_id")),
                    ("account", json!(shared.account)),
                    ("record_ids", json!([shared.attempt_id, shared.session_id])),
                ]),
                tenant: shared.tenant,
            };
            sink.take(finding, shared.is_known);
        })
        .await?;
        sink.next();
        equal_records(tx, self.scope(), |equal| {
            let mut ids: Vec<&str> = equal.ids.split(' ').collect();
            ids.sort_unstable();
            ids.truncate(NAMED);
            let subject = format!("record:{}", ids.first().copied().unwrap_or_default());
            let finding = Finding {
                kind: Kind::Conversations,
                count: equal.count,
                first_at: Some(equal.first_at),
                last_at: Some(equal.last_at),
                identities: vec![format!("{} {subject}", equal.tenant)],
                detail: object([
                    ("same_by", json!("transcript")),
                    ("started_at", json!(equal.started_at)),
                    ("duration_seconds", json!(equal.duration_seconds)),
                    ("record_ids", json!(ids)),
                ]),
                tenant: equal.tenant,
                subject,
            };
            sink.take(finding, equal.is_known);
        })
        .await?;
        Ok(())
    }
}

/// What `doctor` says of a business with several numbers.
fn sentence(finding: &Finding) -> String {
    let phones: Vec<&str> =
        finding.detail["phones"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let cost = match finding.detail["wasted_per_month"].as_str() {
        Some(cost) => format!("; {cost} a month more than one would cost"),
        None => String::new(),
    };
    format!("{} active numbers: {}{cost}", finding.count, phones.join(", "))
}

/// Names the members of groups of more than two contacts, of which the statement that found them named the first and last.
async fn name_all(tx: &mut Tx, by: SameBy, findings: &mut [Finding]) -> Result<()> {
    let large: Vec<usize> = (0..findings.len()).filter(|i| findings[*i].count > 2).take(MAX_LOOKED_UP).collect();
    let mut named: HashMap<(String, String), (usize, Vec<String>)> = large
        .iter()
        .map(|i| {
            let value = findings[*i].detail["value"].as_str().unwrap_or_default().to_owned();
            ((findings[*i].tenant.clone(), value), (*i, Vec::new()))
        })
        .collect();
    let groups: Vec<(String, String)> = named.keys().cloned().collect();
    let groups: Vec<(&str, &str)> = groups.iter().map(|(tenant, value)| (tenant.as_str(), value.as_str())).collect();
    contacts_in(tx, by, &groups, |(tenant, value, id)| {
        if let Some((_, ids)) = named.get_mut(&(tenant, value))
            && ids.len() < NAMED
        {
            ids.push(id);
        }
    })
    .await?;
    for (i, ids) in named.into_values() {
        findings[i].detail.insert("contact_ids".to_owned(), json!(ids));
    }
    Ok(())
}
