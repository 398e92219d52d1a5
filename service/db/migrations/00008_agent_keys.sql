-- +goose Up
-- Where a tenant's agents have to keep their private keys. No row: in files or anywhere better.
CREATE TABLE agent_keys (
    tenant_id text PRIMARY KEY REFERENCES tenant (id) ON DELETE CASCADE,
    -- file or hardware
    required text NOT NULL,
    changed_at bigint NOT NULL
);

-- +goose Down
DROP TABLE agent_keys;
