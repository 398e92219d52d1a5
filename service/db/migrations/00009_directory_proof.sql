-- +goose Up
-- Agents on one host, of which there is one unless they were given names.
ALTER TABLE agent ADD COLUMN instance text NOT NULL DEFAULT '';
CREATE INDEX agent_host ON agent (tenant_id, directory_id, lower(host));

-- The domain that a directory was proven to be when an agent first showed it. No row: not yet.
CREATE TABLE directory_proof (
    tenant_id text NOT NULL REFERENCES tenant (id) ON DELETE CASCADE,
    directory_id text PRIMARY KEY REFERENCES directory (id) ON DELETE CASCADE,
    -- GUID and SID as Windows prints them; empty where domain controllers do not tell.
    domain_guid text NOT NULL,
    domain_sid text NOT NULL,
    naming_context text NOT NULL,
    forest text NOT NULL,
    -- Which domain controller said so, to which agent.
    dc text NOT NULL,
    agent_id text NOT NULL,
    pinned_at bigint NOT NULL
);

-- +goose Down
DROP TABLE directory_proof;
DROP INDEX agent_host;
ALTER TABLE agent DROP COLUMN instance;
