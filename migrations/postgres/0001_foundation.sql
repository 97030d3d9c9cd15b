-- Instants are UTC. JSON is kept as text: it is read and written whole, and text behaves alike on both databases.

CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
);
-- The row that `pause` and `resume` lock against everybody who is about to dial.
INSERT INTO meta (key, value) VALUES ('control', '');

CREATE TABLE accounts (
    name TEXT PRIMARY KEY,
    provider TEXT NOT NULL,
    settings TEXT NOT NULL,
    max_concurrency BIGINT NOT NULL,
    calls_per_minute BIGINT,
    -- No more attempts than this are live. Counted anew when it leaves too little room.
    live_at_most BIGINT NOT NULL DEFAULT 0,
    org_id TEXT,
    held_until TIMESTAMPTZ,
    held_reason TEXT,
    refusals BIGINT NOT NULL DEFAULT 0,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL
);

CREATE TABLE tenants (
    name TEXT PRIMARY KEY,
    display_name TEXT NOT NULL,
    region TEXT,
    timezone TEXT,
    settings TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL
);

CREATE TABLE campaigns (
    id TEXT PRIMARY KEY,
    tenant TEXT NOT NULL REFERENCES tenants (name),
    name TEXT NOT NULL,
    purpose TEXT NOT NULL,
    account TEXT NOT NULL REFERENCES accounts (name),
    active BOOLEAN NOT NULL,
    priority BIGINT NOT NULL,
    rules TEXT NOT NULL,
    rules_version BIGINT NOT NULL,
    next_open_at TIMESTAMPTZ,
    last_served_at TIMESTAMPTZ NOT NULL,
    held_until TIMESTAMPTZ,
    held_reason TEXT,
    refusals BIGINT NOT NULL DEFAULT 0,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL,
    UNIQUE (tenant, name)
);
CREATE INDEX campaigns_active ON campaigns (next_open_at NULLS FIRST) WHERE active;

CREATE TABLE imports (
    id TEXT PRIMARY KEY,
    tenant TEXT NOT NULL REFERENCES tenants (name),
    campaign_id TEXT REFERENCES campaigns (id),
    file_name TEXT NOT NULL,
    file_sha256 TEXT NOT NULL,
    -- How the file was read: encoding, delimiter, columns, policy.
    reading TEXT NOT NULL,
    counts TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    undone_at TIMESTAMPTZ
);

CREATE TABLE contacts (
    id TEXT PRIMARY KEY,
    -- Tenants and imports are never removed. To check that for each of a million contacts costs more than to write
    -- them, so these two are no foreign keys.
    tenant TEXT NOT NULL,
    phone TEXT NOT NULL,
    extension TEXT,
    name TEXT,
    email TEXT,
    external_id TEXT,
    timezone TEXT,
    timezone_source TEXT,
    preferred_time TEXT,
    attributes TEXT NOT NULL,
    -- Moves whenever phone, extension, zone or preferred time change: a claim made before the change must not ring.
    version BIGINT NOT NULL DEFAULT 1,
    import_id TEXT,
    -- The conversation that it was made of.
    conversation_id TEXT,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL,
    UNIQUE (tenant, phone),
    -- Nobody is made of nothing: a phone has digits, and who was met in a conversation has a name.
    CHECK (length(phone) > 4),
    CHECK (conversation_id IS NULL OR (name IS NOT NULL AND length(trim(name)) > 0))
);
CREATE INDEX contacts_external_id ON contacts (tenant, external_id) WHERE external_id IS NOT NULL;

-- What an import changed about contacts that were there: for each field what it held before, and what was written. An
-- import can be undone with it.
CREATE TABLE import_changes (
    import_id TEXT NOT NULL REFERENCES imports (id),
    contact_id TEXT NOT NULL,
    changes TEXT NOT NULL,
    PRIMARY KEY (import_id, contact_id)
);

CREATE TABLE enrollments (
    id TEXT PRIMARY KEY,
    campaign_id TEXT NOT NULL REFERENCES campaigns (id),
    contact_id TEXT NOT NULL REFERENCES contacts (id),
    subject TEXT NOT NULL DEFAULT '',
    status TEXT NOT NULL,
    -- A lower bound of the next moment at which a call can be due; the gates decide. NULL: not until something changes.
    next_check_at TIMESTAMPTZ,
    last_reason TEXT,
    last_checked_at TIMESTAMPTZ,
    last_called_at TIMESTAMPTZ NOT NULL,
    rules_version BIGINT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL,
    UNIQUE (campaign_id, contact_id, subject)
);
CREATE INDEX enrollments_due ON enrollments (campaign_id, next_check_at, last_called_at)
    WHERE status = 'active' AND next_check_at IS NOT NULL;
CREATE INDEX enrollments_stale ON enrollments (campaign_id, rules_version) WHERE status = 'active';
CREATE INDEX enrollments_contact ON enrollments (contact_id);
CREATE INDEX enrollments_missed ON enrollments (campaign_id)
    WHERE status = 'active' AND last_reason = 'missed_preferred_time';

-- Room in each page for the versions of a row while its call is under way.
CREATE TABLE calls (
    id TEXT PRIMARY KEY,
    -- Tenant, campaign and contact are copies of what the enrollment refers to, kept here for the indexes.
    tenant TEXT NOT NULL,
    campaign_id TEXT NOT NULL,
    enrollment_id TEXT NOT NULL REFERENCES enrollments (id),
    contact_id TEXT NOT NULL,
    purpose TEXT NOT NULL,
    phone TEXT NOT NULL,
    slot_key TEXT NOT NULL,
    status TEXT NOT NULL,
    reason TEXT,
    outcome TEXT,
    attempt_count BIGINT NOT NULL,
    next_attempt_at TIMESTAMPTZ,
    decision TEXT,
    decided_at TIMESTAMPTZ,
    requested_by TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL,
    ended_at TIMESTAMPTZ
) WITH (fillfactor = 50);
CREATE INDEX calls_waiting ON calls (campaign_id, next_attempt_at) WHERE next_attempt_at IS NOT NULL;
CREATE INDEX calls_phone ON calls (tenant, phone, created_at);
CREATE INDEX calls_campaign ON calls (campaign_id, created_at);
CREATE INDEX calls_enrollment ON calls (enrollment_id);
CREATE INDEX calls_ended ON calls (campaign_id, ended_at) WHERE ended_at IS NOT NULL;

CREATE TABLE slots (
    tenant TEXT NOT NULL,
    phone TEXT NOT NULL,
    purpose TEXT NOT NULL,
    key TEXT NOT NULL,
    subject TEXT,
    call_id TEXT NOT NULL REFERENCES calls (id),
    created_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (tenant, phone, purpose, key)
);
CREATE UNIQUE INDEX slots_subject ON slots (tenant, purpose, subject, key) WHERE subject IS NOT NULL;
CREATE INDEX slots_call ON slots (call_id);

-- Room in each page, as for calls.
CREATE TABLE attempts (
    id TEXT PRIMARY KEY,
    -- What else refers to other tables is a copy of what the call, or its campaign, refers to.
    call_id TEXT NOT NULL REFERENCES calls (id),
    number BIGINT NOT NULL,
    tenant TEXT NOT NULL,
    phone TEXT NOT NULL,
    purpose TEXT NOT NULL,
    contact_id TEXT NOT NULL,
    contact_version BIGINT NOT NULL,
    campaign_id TEXT NOT NULL,
    rules_version BIGINT NOT NULL,
    account TEXT NOT NULL,
    state TEXT NOT NULL,
    live BOOLEAN NOT NULL GENERATED ALWAYS AS (state IN ('claimed', 'placing', 'placed', 'answered', 'unknown')) STORED,
    owner TEXT NOT NULL,
    lease_until TIMESTAMPTZ NOT NULL,
    window_closes_at TIMESTAMPTZ NOT NULL,
    dial_before TIMESTAMPTZ NOT NULL,
    answer_timeout_seconds BIGINT NOT NULL,
    call_timeout_seconds BIGINT NOT NULL,
    may_have_rung BOOLEAN NOT NULL DEFAULT FALSE,
    queued BOOLEAN NOT NULL DEFAULT FALSE,
    cancel_requested_at TIMESTAMPTZ,
    claimed_at TIMESTAMPTZ NOT NULL,
    placing_at TIMESTAMPTZ,
    request_ended_at TIMESTAMPTZ,
    placed_at TIMESTAMPTZ,
    answered_at TIMESTAMPTZ,
    ended_at TIMESTAMPTZ,
    provider_call_id TEXT,
    org_id TEXT,
    line TEXT,
    agent TEXT,
    outcome TEXT,
    evidence TEXT,
    reason TEXT,
    -- When the provider should be asked next, and when the clock alone may say something.
    next_poll_at TIMESTAMPTZ,
    deadline_at TIMESTAMPTZ,
    polls BIGINT NOT NULL DEFAULT 0,
    absences BIGINT NOT NULL DEFAULT 0,
    absence_seen_at TIMESTAMPTZ,
    -- What the agent itself reported of the conversation, and when anything was last reported.
    report TEXT,
    heard_at TIMESTAMPTZ,
    updated_at TIMESTAMPTZ NOT NULL,
    UNIQUE (call_id, number)
) WITH (fillfactor = 50);
-- At most one attempt to one phone of a tenant is live at a time, whoever asked for it.
CREATE UNIQUE INDEX attempts_live_phone ON attempts (tenant, phone) WHERE live;
-- No index but that of the provider's id holds what moves while an attempt is under way: its updates stay cheap.
CREATE INDEX attempts_live_account ON attempts (account) WHERE live;
CREATE UNIQUE INDEX attempts_provider_call ON attempts (provider_call_id, account)
    WHERE provider_call_id IS NOT NULL;
CREATE INDEX attempts_phone ON attempts (tenant, phone);
CREATE INDEX attempts_contact ON attempts (contact_id);
CREATE INDEX attempts_pace ON attempts (account, claimed_at);

-- What the provider recorded of the conversation of an attempt that is over, or of a session, and how far the record is.
CREATE TABLE conversations (
    -- The attempt, or the session.
    id TEXT PRIMARY KEY,
    tenant TEXT NOT NULL,
    account TEXT NOT NULL,
    status TEXT NOT NULL,
    tries BIGINT NOT NULL,
    next_try_at TIMESTAMPTZ,
    last_error TEXT,
    started_at TIMESTAMPTZ,
    ended_at TIMESTAMPTZ,
    duration_seconds BIGINT,
    cost_usd DOUBLE PRECISION,
    summary TEXT,
    transcript TEXT,
    analysis TEXT,
    raw TEXT,
    -- When a contact, a booking and a ticket were made of it, as far as it holds any.
    processed_at TIMESTAMPTZ,
    -- Whom it was with: who was called, or the contact that was found or made.
    contact_id TEXT,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX conversations_unprocessed ON conversations (tenant, created_at)
    WHERE status = 'completed' AND processed_at IS NULL;
CREATE INDEX conversations_due ON conversations (account, next_try_at) WHERE next_try_at IS NOT NULL;
CREATE INDEX conversations_created ON conversations (created_at);

-- A conversation in a browser, or one that somebody else called for, as the application behind it tells.
CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    tenant TEXT NOT NULL REFERENCES tenants (name),
    account TEXT NOT NULL REFERENCES accounts (name),
    -- The application's own id of it.
    external_id TEXT,
    status TEXT NOT NULL,
    -- The provider's id of the conversation.
    conversation_id TEXT,
    metadata TEXT NOT NULL,
    started_at TIMESTAMPTZ NOT NULL,
    ended_at TIMESTAMPTZ,
    -- When the provider is asked whether one that nobody ended is over.
    next_check_at TIMESTAMPTZ,
    updated_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX sessions_due ON sessions (account, next_check_at) WHERE next_check_at IS NOT NULL;
CREATE INDEX sessions_started ON sessions (started_at);
CREATE UNIQUE INDEX sessions_conversation ON sessions (conversation_id, account) WHERE conversation_id IS NOT NULL;

-- What somebody wanted in a conversation: at most one of each kind for each conversation.
CREATE TABLE bookings (
    conversation_id TEXT PRIMARY KEY REFERENCES conversations (id),
    tenant TEXT NOT NULL,
    contact_id TEXT REFERENCES contacts (id),
    fields TEXT NOT NULL CHECK (fields <> '' AND fields <> '{}'),
    created_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX bookings_created ON bookings (created_at);
CREATE INDEX bookings_contact ON bookings (contact_id) WHERE contact_id IS NOT NULL;
CREATE TABLE tickets (
    conversation_id TEXT PRIMARY KEY REFERENCES conversations (id),
    tenant TEXT NOT NULL,
    contact_id TEXT REFERENCES contacts (id),
    fields TEXT NOT NULL CHECK (fields <> '' AND fields <> '{}'),
    created_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX tickets_created ON tickets (created_at);
CREATE INDEX tickets_contact ON tickets (contact_id) WHERE contact_id IS NOT NULL;

CREATE TABLE suppressions (
    id TEXT PRIMARY KEY,
    -- Empty: for every tenant.
    tenant TEXT NOT NULL,
    pattern TEXT NOT NULL,
    is_prefix BOOLEAN NOT NULL,
    reason TEXT NOT NULL,
    source TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    expires_at TIMESTAMPTZ,
    UNIQUE (tenant, pattern, is_prefix)
);
CREATE INDEX suppressions_prefix ON suppressions (tenant) WHERE is_prefix;

CREATE TABLE pauses (
    -- `all`, or `tenant:NAME`.
    scope TEXT PRIMARY KEY,
    reason TEXT,
    created_at TIMESTAMPTZ NOT NULL
);

CREATE TABLE runs (
    id TEXT PRIMARY KEY,
    command TEXT NOT NULL,
    version TEXT NOT NULL,
    tzdata TEXT NOT NULL,
    host TEXT NOT NULL,
    pid BIGINT NOT NULL,
    started_at TIMESTAMPTZ NOT NULL,
    ended_at TIMESTAMPTZ,
    exit_code BIGINT,
    counts TEXT
);
CREATE INDEX runs_started ON runs (started_at);

CREATE TABLE heartbeats (
    command TEXT PRIMARY KEY,
    ticks BIGINT NOT NULL,
    last_started_at TIMESTAMPTZ NOT NULL,
    last_ended_at TIMESTAMPTZ,
    last_exit_code BIGINT,
    last_counts TEXT
);

CREATE TABLE audit (
    id TEXT PRIMARY KEY,
    at TIMESTAMPTZ NOT NULL,
    run_id TEXT,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail TEXT NOT NULL
);
CREATE INDEX audit_subject ON audit (subject, at);

CREATE TABLE findings (
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail TEXT NOT NULL,
    first_seen_at TIMESTAMPTZ NOT NULL,
    last_seen_at TIMESTAMPTZ NOT NULL,
    resolved_at TIMESTAMPTZ,
    PRIMARY KEY (kind, subject)
);

-- The inbox: every webhook that was verified, as it came, before anything is done about it.
CREATE TABLE events (
    id TEXT PRIMARY KEY,
    source TEXT NOT NULL,
    -- Whose events the sender may send: `*`, or names of tenants or accounts with a blank between them.
    scope TEXT NOT NULL,
    kind TEXT NOT NULL,
    -- What makes it the same as one that came before, as a hash.
    dedupe_key TEXT NOT NULL UNIQUE,
    -- The attempt or call that it names, and the provider's id of the call.
    named TEXT,
    provider_call_id TEXT,
    -- The attempt that it is about, once that is known.
    attempt_id TEXT,
    state TEXT NOT NULL,
    -- Why it is not applied.
    reason TEXT,
    tries BIGINT NOT NULL DEFAULT 0,
    deliveries BIGINT NOT NULL DEFAULT 1,
    received_at TIMESTAMPTZ NOT NULL,
    settled_at TIMESTAMPTZ,
    fields TEXT NOT NULL,
    payload TEXT NOT NULL
);
CREATE INDEX events_received ON events (received_at);
CREATE INDEX events_named ON events (named, kind) WHERE named IS NOT NULL;
CREATE INDEX events_attempt ON events (attempt_id) WHERE attempt_id IS NOT NULL;
CREATE INDEX events_waiting ON events (received_at) WHERE state IN ('pending', 'unmatched');
CREATE INDEX events_unmatched_call ON events (provider_call_id)
    WHERE state = 'unmatched' AND provider_call_id IS NOT NULL;
