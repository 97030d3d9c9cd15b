-- The books of tenants as they were read last, and how far reading them got.

-- Whom invoices are written to.
CREATE TABLE billing_customers (
    tenant TEXT NOT NULL REFERENCES tenants (name),
    id TEXT NOT NULL,
    -- In the order of bytes, so that both databases sort alike.
    name TEXT COLLATE "C" NOT NULL,
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
    last_modified_at TIMESTAMPTZ,
    -- A JSON list; NULL: never asked for. It is of the customer as it was modified then.
    contact_persons TEXT,
    persons_of TIMESTAMPTZ,
    -- The record as it came.
    raw TEXT NOT NULL,
    -- When it was last seen there, and when it was found gone.
    seen_at TIMESTAMPTZ NOT NULL,
    deleted_at TIMESTAMPTZ,
    PRIMARY KEY (tenant, id)
);
CREATE INDEX billing_customers_name ON billing_customers (tenant, name, id);
CREATE INDEX billing_customers_seen ON billing_customers (tenant, seen_at) WHERE deleted_at IS NULL;

-- What is to be paid.
CREATE TABLE billing_invoices (
    tenant TEXT NOT NULL REFERENCES tenants (name),
    id TEXT NOT NULL,
    -- The customer may not have been read yet.
    customer_id TEXT NOT NULL,
    customer_name TEXT COLLATE "C",
    status TEXT COLLATE "C" NOT NULL,
    number TEXT COLLATE "C",
    -- YYYY-MM-DD.
    date TEXT COLLATE "C",
    due_date TEXT COLLATE "C",
    -- Exact decimals.
    total TEXT,
    balance TEXT,
    currency TEXT,
    last_modified_at TIMESTAMPTZ,
    raw TEXT NOT NULL,
    seen_at TIMESTAMPTZ NOT NULL,
    deleted_at TIMESTAMPTZ,
    PRIMARY KEY (tenant, id)
);
CREATE INDEX billing_invoices_status ON billing_invoices (tenant, status, due_date, id);
CREATE INDEX billing_invoices_due ON billing_invoices (tenant, due_date, id);
CREATE INDEX billing_invoices_customer ON billing_invoices (tenant, customer_id, due_date);
CREATE INDEX billing_invoices_seen ON billing_invoices (tenant, seen_at) WHERE deleted_at IS NULL;

-- Of which organisation a tenant's books are, and who reads them just now.
CREATE TABLE billing_syncs (
    tenant TEXT PRIMARY KEY REFERENCES tenants (name),
    organization_id TEXT NOT NULL,
    owner TEXT,
    lease_until TIMESTAMPTZ,
    updated_at TIMESTAMPTZ NOT NULL
);

-- How far each kind of record was read.
CREATE TABLE billing_passes (
    tenant TEXT NOT NULL REFERENCES billing_syncs (tenant),
    kind TEXT NOT NULL,
    -- Every change until then was read. NULL: nothing was ever read to its end.
    changed_until TIMESTAMPTZ,
    -- A pass over everything that is under way: when it began, until when it shows changes, and its next page.
    full_began_at TIMESTAMPTZ,
    full_until TIMESTAMPTZ,
    full_page BIGINT,
    -- When the last such pass that reached its end began, and when changes were last read to their end.
    full_at TIMESTAMPTZ,
    synced_at TIMESTAMPTZ,
    PRIMARY KEY (tenant, kind)
);

-- How often an organisation was asked on the day that ends then, whoever asked.
CREATE TABLE billing_budgets (
    organization_id TEXT PRIMARY KEY,
    day_ends_at TIMESTAMPTZ NOT NULL,
    used BIGINT NOT NULL,
    -- The organisation said that it wants no request before.
    held_until TIMESTAMPTZ
);

-- Requests of the last minutes.
CREATE TABLE billing_requests (
    id TEXT PRIMARY KEY,
    organization_id TEXT NOT NULL,
    -- When it was over; while it is under way, when it will be at the latest.
    over_at TIMESTAMPTZ NOT NULL,
    is_over BOOLEAN NOT NULL
);
CREATE INDEX billing_requests_organization ON billing_requests (organization_id, over_at);
