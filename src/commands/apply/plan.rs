//! What would change, field by field.

use chrono::DateTime;
use serde_json::{Map, Value, json};

use super::Stored;
use super::read::{Wanted, WantedAccount, WantedCampaign, WantedTenant};
use crate::commands::calling::provider::places_calls;
use crate::domain::agent::AgentKeys;
use crate::domain::billing::BillingSettings;
use crate::domain::campaign::{AccountSettings, Rules, TenantSettings};
use crate::domain::duration::HumanDuration;
use crate::domain::numbers::NumberSettings;
use crate::domain::phone::CallAlso;
use crate::domain::reminder::Reminders;
use crate::domain::welcome::{self, WelcomeSettings};
use crate::output::Rows;
use crate::store::setup::{Account, Campaign, Tenant};

/// A value of the wanted kind, ready to be stored, and how it differs from what is.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) kind: &'static str,
    pub(super) name: String,
    pub(super) is_new: bool,
    /// Field, before, after.
    pub(super) fields: Vec<(String, Value, Value)>,
    pub(super) put: Put,
}

/// What is to be stored.
#[derive(Debug)]
pub(super) enum Put {
    Account(Account),
    Tenant(Tenant),
    Campaign(Campaign),
}

impl Change {
    pub(super) fn is_needed(&self) -> bool {
        self.is_new || !self.fields.is_empty()
    }

    pub(super) fn word(&self) -> &'static str {
        match (self.is_new, self.fields.is_empty()) {
            (true, _) => "created",
            (false, false) => "updated",
            (false, true) => "unchanged",
        }
    }

    /// The fields as an object, for the audit log.
    pub(super) fn detail(&self) -> Value {
        let fields = |of: fn(&(String, Value, Value)) -> (&String, &Value)| {
            self.fields.iter().map(of).map(|(k, v)| (k.clone(), v.clone())).collect::<Map<String, Value>>()
        };
        let after = fields(|(k, _, after)| (k, after));
        if self.is_new {
            return json!({"change": self.word(), "after": after});
        }
        json!({"change": self.word(), "before": fields(|(k, before, _)| (k, before)), "after": after})
    }
}

/// Every change, accounts first and campaigns last, as they refer to one another. `new_id` makes the id of a campaign.
pub(super) fn plan(wanted: &Wanted<'_>, stored: &Stored, new_id: impl Fn() -> String) -> Vec<Change> {
    let accounts = wanted.accounts.iter().map(|wanted| {
        let before = stored.accounts.iter().find(|account| account.name == wanted.at.value);
        let after = account(wanted);
        let fields = differences(before.map(account_fields), &account_fields(&after));
        change("account", after.name.clone(), before.is_none(), fields, Put::Account(after))
    });
    let tenants = wanted.tenants.iter().map(|wanted| {
        let before = stored.tenants.iter().find(|tenant| tenant.name == wanted.at.value);
        let after = tenant(wanted);
        let fields = differences(before.map(tenant_fields), &tenant_fields(&after));
        change("tenant", after.name.clone(), before.is_none(), fields, Put::Tenant(after))
    });
    let campaigns = wanted.campaigns.iter().map(|wanted| {
        let before = stored
            .campaigns
            .iter()
            .find(|campaign| campaign.tenant == wanted.tenant.value && campaign.name == wanted.at.value);
        let after = campaign(wanted, before.map_or_else(&new_id, |campaign| campaign.id.clone()));
        let fields = differences(before.map(campaign_fields), &campaign_fields(&after));
        change("campaign", after.full_name(), before.is_none(), fields, Put::Campaign(after))
    });
    accounts.chain(tenants).chain(campaigns).collect()
}

fn change(kind: &'static str, name: String, is_new: bool, fields: Vec<(String, Value, Value)>, put: Put) -> Change {
    Change { kind, name, is_new, fields, put }
}

/// The changes as rows: one for each field of what changes, one for what does not.
pub(super) fn rows(changes: &[Change]) -> Rows {
    let mut rows = Rows::new(&["kind", "name", "change", "field", "before", "after"]);
    for change in changes {
        let mut push = |field: Value, before: &Value, after: &Value| {
            rows.push(vec![
                change.kind.into(),
                change.name.clone().into(),
                change.word().into(),
                field,
                before.clone(),
                after.clone(),
            ]);
        };
        if change.fields.is_empty() {
            push(Value::Null, &Value::Null, &Value::Null);
        }
        for (field, before, after) in &change.fields {
            push(field.clone().into(), before, after);
        }
    }
    rows
}

fn account(wanted: &WantedAccount<'_>) -> Account {
    Account {
        name: wanted.at.value.clone(),
        provider: wanted.provider.clone(),
        settings: to_text(&wanted.settings),
        max_concurrency: wanted.max_concurrency,
        calls_per_minute: wanted.calls_per_minute,
        org_id: None,
        held_until: None,
        held_reason: None,
        refusals: 0,
    }
}

fn tenant(wanted: &WantedTenant<'_>) -> Tenant {
    Tenant {
        name: wanted.at.value.clone(),
        display_name: wanted.display_name.clone(),
        region: wanted.region.clone(),
        timezone: wanted.timezone.map(|zone| zone.name().to_owned()),
        settings: to_text(&wanted.settings),
    }
}

fn campaign(wanted: &WantedCampaign<'_>, id: String) -> Campaign {
    Campaign {
        id,
        tenant: wanted.tenant.value.clone(),
        name: wanted.at.value.clone(),
        purpose: wanted.purpose.clone(),
        account: wanted.account.value.clone(),
        active: false,
        priority: wanted.priority,
        rules: to_text(&wanted.rules),
        rules_version: 1,
        next_open_at: None,
        last_served_at: DateTime::UNIX_EPOCH,
        held_until: None,
        held_reason: None,
        refusals: 0,
    }
}

fn to_text(settings: &impl serde::Serialize) -> String {
    serde_json::to_string(settings).expect("maps have text keys and numbers are finite")
}

type Fields = Vec<(&'static str, Value)>;

fn account_fields(account: &Account) -> Fields {
    let settings = account.settings().ok();
    let AccountSettings {
        api_key,
        account_sid,
        client_id,
        data_center,
        api_secret,
        webhook_secret,
        previous_webhook_secret,
        livemode,
        webhook_signature,
        base_url,
    } = settings.clone().unwrap_or_default();
    let is_stripes = account.provider == welcome::PROVIDER;
    let calls = places_calls(&account.provider);
    vec![
        ("provider", json!(account.provider)),
        // References only; what they lead to is never read here.
        ("api_key", settings.map_or(Value::Null, |_| json!(api_key))),
        ("account_sid", json!(account_sid)),
        ("client_id", json!(client_id)),
        ("data_center", json!(data_center)),
        ("api_secret", json!(api_secret)),
        ("webhook_secret", json!(webhook_secret)),
        ("previous_webhook_secret", json!(previous_webhook_secret)),
        ("livemode", if is_stripes { json!(livemode.unwrap_or(true)) } else { Value::Null }),
        ("webhook_signature", json!(webhook_signature)),
        ("base_url", json!(base_url)),
        ("max_concurrency", if calls { json!(account.max_concurrency) } else { Value::Null }),
        ("calls_per_minute", json!(account.calls_per_minute)),
    ]
}

fn tenant_fields(tenant: &Tenant) -> Fields {
    let mut fields = vec![
        ("name", json!(tenant.display_name)),
        ("region", json!(tenant.region)),
        ("timezone", json!(tenant.timezone)),
    ];
    match tenant.settings() {
        Ok(TenantSettings {
            min_gap_seconds,
            max_calls_per_day,
            max_calls_per_week,
            answer_timeout_seconds,
            call_timeout_seconds,
            allow_only,
            call_also,
            webhook_secret,
            api_token,
            voice_account,
            session_timeout_seconds,
            records,
            numbers,
            billing,
            welcome,
        }) => fields.extend(
            [
                ("min_gap", duration(min_gap_seconds)),
                ("max_calls_per_day", json!(max_calls_per_day)),
                ("max_calls_per_week", json!(max_calls_per_week)),
                ("answer_timeout", duration(answer_timeout_seconds)),
                ("call_timeout", duration(call_timeout_seconds)),
                ("allow_only", json!(allow_only)),
                // A reference only; what it leads to is never read here.
                ("webhook_secret", json!(webhook_secret)),
                ("api_token", json!(api_token)),
                ("voice_account", json!(voice_account)),
                ("session_timeout", duration(session_timeout_seconds)),
                ("records", json!(records)),
                ("call_also", if call_also == CallAlso::default() { Value::Null } else { json!(call_also) }),
            ]
            .into_iter()
            .chain(number_fields(numbers.as_deref()))
            .chain(billing_fields(billing.as_deref()))
            .chain(welcome_fields(welcome.as_deref())),
        ),
        Err(error) => fields.push(("settings", json!(error.to_string()))),
    }
    fields
}

fn number_fields(numbers: Option<&NumberSettings>) -> Fields {
    let Some(numbers) = numbers else { return Vec::new() };
    let NumberSettings {
        account,
        subaccount,
        friendly_name,
        voice_url_pattern,
        voice_url,
        sms_url,
        status_callback,
        monthly_cost,
    } = numbers;
    vec![
        ("numbers.account", json!(account)),
        ("numbers.subaccount", json!(subaccount)),
        ("numbers.friendly_name", json!(friendly_name)),
        ("numbers.voice_url_pattern", json!(voice_url_pattern)),
        ("numbers.voice_url", json!(voice_url)),
        ("numbers.sms_url", json!(sms_url)),
        ("numbers.status_callback", json!(status_callback)),
        ("numbers.monthly_cost", json!(monthly_cost)),
    ]
}

fn billing_fields(billing: Option<&BillingSettings>) -> Fields {
    let Some(billing) = billing else { return Vec::new() };
    let BillingSettings {
        account,
        organization_id,
        full_sync_after_seconds,
        plan,
        requests_per_minute,
        requests_per_day,
        requests_at_once,
    } = billing;
    vec![
        ("billing.account", json!(account)),
        ("billing.organization_id", json!(organization_id)),
        ("billing.full_sync_after", duration(*full_sync_after_seconds)),
        ("billing.plan", json!(plan)),
        ("billing.requests_per_minute", json!(requests_per_minute)),
        ("billing.requests_per_day", json!(requests_per_day)),
        ("billing.requests_at_once", json!(requests_at_once)),
    ]
}

fn welcome_fields(welcome: Option<&WelcomeSettings>) -> Fields {
    let Some(welcome) = welcome else { return Vec::new() };
    let WelcomeSettings { account, campaign, welcome_since, trialing, timezone_key, preferred_time_key } = welcome;
    vec![
        ("welcome.account", json!(account)),
        ("welcome.campaign", json!(campaign)),
        ("welcome.welcome_since", json!(welcome_since)),
        ("welcome.trialing", json!(trialing)),
        ("welcome.timezone_key", json!(timezone_key)),
        ("welcome.preferred_time_key", json!(preferred_time_key)),
    ]
}

/// What a campaign itself sets, under the keys by which `apply` takes it.
pub(in crate::commands) fn campaign_fields(campaign: &Campaign) -> Fields {
    let mut fields = vec![
        ("account", json!(campaign.account)),
        ("purpose", json!(campaign.purpose)),
        ("priority", json!(campaign.priority)),
    ];
    match campaign.rules() {
        Ok(rules) => fields.extend(rules_fields(&rules)),
        Err(error) => fields.push(("rules", json!(error.to_string()))),
    }
    fields
}

fn rules_fields(rules: &Rules) -> Fields {
    // Field by field, so that none is forgotten: what is not shown here is no change, and is not written.
    let Rules {
        frequency,
        schedule,
        zone_policy,
        timezone,
        agent,
        retry,
        look_back_seconds,
        answer_timeout_seconds,
        call_timeout_seconds,
        calls_per_minute,
        min_gap_seconds,
        max_calls_per_day,
        max_calls_per_week,
        reminders,
    } = rules;
    let dates: Vec<String> = schedule.exclude_dates.iter().map(ToString::to_string).collect();
    let on: Vec<&str> = retry.on.iter().map(|outcome| outcome.as_str()).collect();
    let frequency = if reminders.is_some() { Value::Null } else { json!(frequency) };
    let mut fields = vec![
        (AgentKeys::of_agent(agent).map_or("agent", |keys| keys.provider), agent.clone()),
        ("frequency", frequency),
        ("days", json!(schedule.days.to_string())),
        ("window", json!(schedule.window)),
        ("zone_policy", json!(zone_policy)),
        ("timezone", json!(timezone.map(crate::domain::zone::Zone::name))),
        ("starts", json!(schedule.starts.map(|date| date.to_string()))),
        ("ends", json!(schedule.ends.map(|date| date.to_string()))),
        ("exclude_dates", if dates.is_empty() { Value::Null } else { json!(dates) }),
        ("look_back", duration(Some(*look_back_seconds))),
        ("answer_timeout", duration(*answer_timeout_seconds)),
        ("call_timeout", duration(*call_timeout_seconds)),
        ("calls_per_minute", json!(calls_per_minute)),
        ("min_gap", duration(*min_gap_seconds)),
        ("max_calls_per_day", json!(max_calls_per_day)),
        ("max_calls_per_week", json!(max_calls_per_week)),
        ("retry.on", json!(on)),
        ("retry.after", duration(Some(retry.after_seconds))),
        ("retry.max_attempts", json!(retry.max_attempts)),
    ];
    fields.extend(reminder_fields(reminders.as_deref()));
    fields
}

fn reminder_fields(reminders: Option<&Reminders>) -> Fields {
    let Some(reminders) = reminders else { return Vec::new() };
    let Reminders {
        offsets,
        statuses,
        min_balance,
        exclude_customers,
        exclude_invoices,
        max_days_overdue,
        max_age_seconds,
        max_attempts_per_week,
        rest_days,
        pause_days,
        answer_field,
    } = reminders;
    let names = |list: &[String]| if list.is_empty() { Value::Null } else { json!(list) };
    vec![
        ("reminders.offsets", json!(offsets)),
        ("reminders.statuses", json!(statuses)),
        ("reminders.min_balance", json!(min_balance)),
        ("reminders.exclude_customers", names(exclude_customers)),
        ("reminders.exclude_invoices", names(exclude_invoices)),
        ("reminders.max_days_overdue", json!(max_days_overdue)),
        ("reminders.max_age", duration(Some(*max_age_seconds))),
        ("reminders.max_attempts_per_week", json!(max_attempts_per_week)),
        ("reminders.rest_days", json!(rest_days)),
        ("reminders.pause_days", json!(pause_days)),
        ("reminders.answer_field", json!(answer_field)),
    ]
}

/// A length of time as people write it.
pub(in crate::commands) fn duration(seconds: Option<i64>) -> Value {
    seconds.map_or(Value::Null, |seconds| match u32::try_from(seconds) {
        Ok(seconds) => json!(HumanDuration::from_seconds(seconds).to_string()),
        Err(_) => json!(seconds),
    })
}

fn differences(before: Option<Fields>, after: &Fields) -> Vec<(String, Value, Value)> {
    let before = before.unwrap_or_default();
    let mut fields: Vec<(String, Value, Value)> = Vec::new();
    for (field, value) in after {
        let old = before.iter().find(|(name, _)| name == field).map_or(Value::Null, |(_, value)| value.clone());
        if old != *value {
            fields.push(((*field).to_owned(), old, value.clone()));
        }
    }
    for (field, old) in before {
        if !after.iter().any(|(name, _)| *name == field) {
            fields.push((field.to_owned(), old, Value::Null));
        }
    }
    fields
}
