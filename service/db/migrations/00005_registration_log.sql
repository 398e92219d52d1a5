-- +goose Up
-- One Merkle tree a tenant, of every registration, renewal, revocation and policy change (service/reglog).
CREATE TABLE registration_log (
    tenant_id text PRIMARY KEY REFERENCES tenant (id) ON DELETE CASCADE,
    -- How many entries there are, and how many the last checkpoint signed.
    size bigint NOT NULL,
    signed bigint NOT NULL,
    -- The hash that ties the last entry to all before it.
    chain bytea NOT NULL,
    -- Sealed at rest: the checkpoint key, and what it signed last.
    sealed bytea NOT NULL,
    created_at bigint NOT NULL
);

CREATE TABLE registration_entry (
    tenant_id text NOT NULL REFERENCES tenant (id) ON DELETE CASCADE,
    position bigint NOT NULL,
    entry text NOT NULL,
    chain bytea NOT NULL,
    PRIMARY KEY (tenant_id, position)
);

-- The tree's hashes, in the order of golang.org/x/mod/sumdb/tlog.
CREATE TABLE registration_hash (
    tenant_id text NOT NULL REFERENCES tenant (id) ON DELETE CASCADE,
    position bigint NOT NULL,
    hash bytea NOT NULL,
    PRIMARY KEY (tenant_id, position)
);

CREATE TABLE registration_checkpoint (
    tenant_id text NOT NULL REFERENCES tenant (id) ON DELETE CASCADE,
    size bigint NOT NULL,
    note text NOT NULL,
    signed_at bigint NOT NULL,
    PRIMARY KEY (tenant_id, size)
);

-- How far a tenant's log has been brought to a receiver, and which process does that at present.
CREATE TABLE registration_export (
    tenant_id text NOT NULL REFERENCES tenant (id) ON DELETE CASCADE,
    receiver text NOT NULL,
    position bigint NOT NULL,
    -- The size of the last checkpoint that was sent; -1 for none.
    signed bigint NOT NULL,
    holder text NOT NULL,
    held_until bigint NOT NULL,
    PRIMARY KEY (tenant_id, receiver)
);

-- +goose Down
DROP TABLE registration_export; DROP TABLE registration_checkpoint; DROP TABLE registration_hash; DROP TABLE registration_entry;
DROP TABLE registration_log;
