-- The books of tenants as they were read last, and how far reading them got.

-- Whom invoices are written to.
CREATE TABLE billing_customers (
    tenant TEXT NOT NULL REFERENCES tenants (name),
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    company_name TEXT,
    status TEXT,
    -- Of the person who is asked first.
    first_name TEXT,
    last_name TEXT,
    email TEXT,
    phone TEXT,
    mobile TEXT,
    currency TEXT,
    -- An exact decimal.
    outstanding TEXT,
    last_modified_at TEXT,
    -- A JSON list; NULL: never asked for. It is of the customer as it was modified then.
    contact_persons TEXT,
    persons_of TEXT,
    -- The record as it came.
    raw TEXT NOT NULL,
    -- When it was last seen there, and when it was found gone.
    seen_at TEXT NOT NULL,
    deleted_at TEXT,
    PRIMARY KEY (tenant, id)
) STRICT;
CREATE INDEX billing_customers_name ON billing_customers (tenant, name, id);
CREATE INDEX billing_customers_seen ON billing_customers (tenant, seen_at) WHERE deleted_at IS NULL;

-- What is to be paid.
CREATE TABLE billing_invoices (
    tenant TEXT NOT NULL REFERENCES tenants (name),
    id TEXT NOT NULL,
    -- The customer may not have been read yet.
    customer_id TEXT NOT NULL,
    customer_name TEXT,
    status TEXT NOT NULL,
    number TEXT,
    -- YYYY-MM-DD.
    date TEXT,
    due_date TEXT,
    -- Exact decimals.
    total TEXT,
    balance TEXT,
    currency TEXT,
    last_modified_at TEXT,
    raw TEXT NOT NULL,
    seen_at TEXT NOT NULL,
    deleted_at TEXT,
    PRIMARY KEY (tenant, id)
) STRICT;
CREATE INDEX billing_invoices_status ON billing_invoices (tenant, status, due_date, id);
CREATE INDEX billing_invoices_due ON billing_invoices (tenant, due_date, id);
CREATE INDEX billing_invoices_customer ON billing_invoices (tenant, customer_id, due_date);
CREATE INDEX billing_invoices_seen ON billing_invoices (tenant, seen_at) WHERE deleted_at IS NULL;

-- Of which organisation a tenant's books are, and who reads them just now.
CREATE TABLE billing_syncs (
    tenant TEXT PRIMARY KEY REFERENCES tenants (name),
    organization_id TEXT NOT NULL,
    owner TEXT,
    lease_until TEXT,
    updated_at TEXT NOT NULL
) STRICT;

-- How far each kind of record was read.
CREATE TABLE billing_passes (
    tenant TEXT NOT NULL REFERENCES billing_syncs (tenant),
    kind TEXT NOT NULL,
    -- Every change until then was read. NULL: nothing was ever read to its end.
    changed_until TEXT,
    -- A pass over everything that is under way: when it began, until when it shows changes, and its next page.
    full_began_at TEXT,
    full_until TEXT,
    full_page INTEGER,
    -- When the last such pass that reached its end began, and when changes were last read to their end.
    full_at TEXT,
    synced_at TEXT,
    PRIMARY KEY (tenant, kind)
) STRICT;

-- How often an organisation was asked on the day that ends then, whoever asked.
CREATE TABLE billing_budgets (
    organization_id TEXT PRIMARY KEY,
    day_ends_at TEXT NOT NULL,
    used INTEGER NOT NULL,
    -- The organisation said that it wants no request before.
    held_until TEXT
) STRICT;

-- Requests of the last minutes.
CREATE TABLE billing_requests (
    id TEXT PRIMARY KEY,
    organization_id TEXT NOT NULL,
    -- When it was over; while it is under way, when it will be at the latest.
    over_at TEXT NOT NULL,
    is_over INTEGER NOT NULL
) STRICT;
CREATE INDEX billing_requests_organization ON billing_requests (organization_id, over_at);
