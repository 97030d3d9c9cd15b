-- Who is welcomed by a call after a first payment, and what is known of payments.

-- What became of each customer that an event told of.
CREATE TABLE welcomes (
    tenant TEXT NOT NULL REFERENCES tenants (name),
    -- The service's id; of a guest, the e-mail address or else the checkout.
    customer TEXT NOT NULL,
    account TEXT NOT NULL REFERENCES accounts (name),
    state TEXT NOT NULL,
    -- Why, in words.
    reason TEXT,
    name TEXT,
    email TEXT,
    -- E.164.
    phone TEXT,
    -- When the customer was made there, last paid, and last took it back, by the service's clock.
    customer_created_at TEXT,
    paid_at TEXT,
    withdrawn_at TEXT,
    contact_id TEXT REFERENCES contacts (id),
    enrollment_id TEXT REFERENCES enrollments (id),
    -- The event of the last payment.
    event_id TEXT,
    -- When somebody who cannot be called was last looked at once more.
    looked_at TEXT,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    PRIMARY KEY (tenant, customer)
) STRICT;
CREATE INDEX welcomes_state ON welcomes (tenant, state, updated_at);
CREATE INDEX welcomes_updated ON welcomes (updated_at);
CREATE INDEX welcomes_contact ON welcomes (contact_id) WHERE contact_id IS NOT NULL;
CREATE INDEX welcomes_enrollment ON welcomes (enrollment_id) WHERE enrollment_id IS NOT NULL;

-- The first event about each thing: another one of the same type is about the same change.
CREATE TABLE event_objects (
    -- The account.
    scope TEXT NOT NULL,
    object TEXT NOT NULL,
    kind TEXT NOT NULL,
    event_id TEXT NOT NULL REFERENCES events (id),
    PRIMARY KEY (scope, object, kind)
) STRICT;

-- How far the events of an account were read, and who reads them just now.
CREATE TABLE event_syncs (
    account TEXT PRIMARY KEY REFERENCES accounts (name),
    -- Every event until then was read. NULL: they were never read to their end.
    synced_until TEXT,
    synced_at TEXT,
    -- When the last one came by webhook.
    webhook_at TEXT,
    owner TEXT,
    lease_until TEXT,
    updated_at TEXT NOT NULL
) STRICT;

-- Payments that could not be applied, which a run looks for each minute.
CREATE INDEX events_pending_payments ON events (received_at) WHERE state = 'pending' AND source = 'stripe';

-- Where a customer is in a campaign, whatever the phone.
CREATE INDEX enrollments_subject ON enrollments (campaign_id, subject) WHERE subject <> '';
