-- Phone numbers at Twilio: what it lists, whose they are, and what was done about them.

-- Every IncomingPhoneNumber that was ever seen, as it was seen last.
CREATE TABLE numbers (
    sid TEXT PRIMARY KEY,
    account TEXT NOT NULL,
    -- The Twilio account that holds it: that of the credentials, or one of its subaccounts.
    account_sid TEXT NOT NULL,
    phone TEXT NOT NULL,
    friendly_name TEXT,
    voice_url TEXT,
    sms_url TEXT,
    status_callback TEXT,
    sms_application_sid TEXT,
    trunk_sid TEXT,
    voice_application_sid TEXT,
    bought_at TEXT,
    -- Whose it is by what the tenants say of their numbers, and by which of it; that several say so is a claim as well.
    claimed_by TEXT,
    claim TEXT,
    -- Whose it is since it was bought or adopted for that tenant.
    tenant TEXT,
    status TEXT NOT NULL,
    first_seen_at TEXT NOT NULL,
    last_seen_at TEXT NOT NULL,
    gone_at TEXT,
    updated_at TEXT NOT NULL
) STRICT;
CREATE INDEX numbers_account ON numbers (account, account_sid) WHERE status = 'active';
CREATE INDEX numbers_owner ON numbers (coalesce(tenant, claimed_by)) WHERE status = 'active';
CREATE INDEX numbers_phone ON numbers (phone);

-- The one number that a tenant is called at and calls from.
CREATE TABLE tenant_numbers (
    tenant TEXT PRIMARY KEY REFERENCES tenants (name),
    sid TEXT NOT NULL UNIQUE,
    phone TEXT NOT NULL,
    updated_at TEXT NOT NULL
) STRICT;

-- The intent to buy a number: committed before anything is bought, and at most one open for each tenant.
CREATE TABLE purchases (
    id TEXT PRIMARY KEY,
    tenant TEXT NOT NULL REFERENCES tenants (name),
    account TEXT NOT NULL REFERENCES accounts (name),
    account_sid TEXT NOT NULL,
    -- Unique at Twilio: by it a number is found whose purchase was not heard of.
    friendly_name TEXT NOT NULL UNIQUE,
    idempotency_key TEXT,
    -- Country, area code and capabilities.
    wanted TEXT NOT NULL,
    state TEXT NOT NULL,
    -- Who acts on it, and until when nobody else does.
    owner TEXT NOT NULL,
    lease_until TEXT NOT NULL,
    -- The number that was asked for, when, and when the request was over at the latest. NULL: nothing is under way.
    asked_phone TEXT,
    asked_at TEXT,
    request_ended_at TEXT,
    -- How often Twilio was looked through without finding it since, and when last.
    absences INTEGER NOT NULL DEFAULT 0,
    absence_seen_at TEXT,
    sid TEXT,
    phone TEXT,
    reason TEXT,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    ended_at TEXT
) STRICT;
CREATE UNIQUE INDEX purchases_open ON purchases (tenant) WHERE state = 'open';
CREATE UNIQUE INDEX purchases_key ON purchases (tenant, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX purchases_latest ON purchases (tenant, created_at);

-- The intent to release a number: committed before Twilio is told, and at most one open for each number.
CREATE TABLE releases (
    id TEXT PRIMARY KEY,
    sid TEXT NOT NULL,
    tenant TEXT NOT NULL REFERENCES tenants (name),
    account TEXT NOT NULL REFERENCES accounts (name),
    account_sid TEXT NOT NULL,
    phone TEXT NOT NULL,
    -- The number that the tenant keeps.
    keeper_sid TEXT NOT NULL CHECK (keeper_sid <> sid),
    evidence TEXT NOT NULL,
    state TEXT NOT NULL,
    owner TEXT NOT NULL,
    lease_until TEXT NOT NULL,
    reason TEXT,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    ended_at TEXT
) STRICT;
CREATE UNIQUE INDEX releases_open ON releases (sid) WHERE state = 'open';
CREATE INDEX releases_tenant ON releases (tenant, created_at);

-- Alerts that wait to be sent, and those that were.
CREATE TABLE alerts (
    id TEXT PRIMARY KEY,
    body TEXT NOT NULL,
    state TEXT NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0,
    last_error TEXT,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
) STRICT;
CREATE INDEX alerts_unsent ON alerts (created_at) WHERE state IN ('waiting', 'sending');
-- What was found, each in one alert only.
CREATE TABLE alerted (
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    alert_id TEXT NOT NULL REFERENCES alerts (id),
    PRIMARY KEY (kind, subject)
) STRICT;

-- Who was rung twice within minutes is found by reading this index alone.
DROP INDEX attempts_phone;
CREATE INDEX attempts_phone ON attempts (tenant, phone, claimed_at);

-- One conversation that was recorded twice is found by reading this index, and no transcript but of those that it shows.
CREATE INDEX conversations_moment ON conversations (tenant, started_at, duration_seconds)
    WHERE started_at IS NOT NULL AND duration_seconds IS NOT NULL;
