-- Calls about invoices.

-- Whom to call about the invoices of a customer.
CREATE TABLE billing_contacts (
    tenant TEXT NOT NULL REFERENCES tenants (name),
    customer_id TEXT NOT NULL,
    -- By what it was decided: the customer's phones, and by which plan they were read, as JSON.
    decided_by TEXT NOT NULL,
    contact_id TEXT REFERENCES contacts (id),
    -- Why there is nobody.
    problem TEXT,
    updated_at TEXT NOT NULL,
    PRIMARY KEY (tenant, customer_id),
    CHECK ((contact_id IS NULL) <> (problem IS NULL))
) STRICT;
CREATE INDEX billing_contacts_contact ON billing_contacts (contact_id) WHERE contact_id IS NOT NULL;

-- Invoices that nobody is called about for some time.
CREATE TABLE billing_pauses (
    tenant TEXT NOT NULL REFERENCES tenants (name),
    invoice_id TEXT NOT NULL,
    -- What the customer answered, or `operator`.
    reason TEXT NOT NULL,
    -- NULL: until somebody ends it.
    until TEXT,
    -- The attempt in whose conversation it was said.
    attempt_id TEXT,
    note TEXT,
    created_at TEXT NOT NULL,
    PRIMARY KEY (tenant, invoice_id)
) STRICT;
CREATE INDEX billing_pauses_paid ON billing_pauses (tenant) WHERE reason = 'already_paid';

-- All calls about an invoice, whatever their purpose.
CREATE INDEX slots_debt ON slots (tenant, subject) WHERE subject IS NOT NULL;

-- What callees answered to what a call was about, by attempt.
CREATE TABLE billing_answers (
    attempt_id TEXT PRIMARY KEY REFERENCES attempts (id),
    tenant TEXT NOT NULL,
    answer TEXT NOT NULL,
    created_at TEXT NOT NULL
) STRICT;

-- What each attempt was about: another attempt of the same call may be about less.
CREATE TABLE attempt_subjects (
    attempt_id TEXT NOT NULL,
    tenant TEXT NOT NULL,
    subject TEXT NOT NULL,
    PRIMARY KEY (attempt_id, subject)
) STRICT;
CREATE INDEX attempt_subjects_subject ON attempt_subjects (tenant, subject);

-- Since when it is known that an invoice is there, while what it says could not be read.
ALTER TABLE billing_invoices ADD COLUMN unread_since TEXT;
