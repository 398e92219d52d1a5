-- +goose Up
-- A tenant's issuing key below the root in agent_ca. certificate is signed by the root and has path length 0; sealed_private is
-- sealed at rest for this row's id.
CREATE TABLE agent_issuer (
    id text PRIMARY KEY,
    tenant_id text NOT NULL REFERENCES tenant (id) ON DELETE CASCADE,
    root_id text NOT NULL REFERENCES agent_ca (id),
    certificate bytea NOT NULL,
    sealed_private bytea NOT NULL,
    created_at bigint NOT NULL
);
CREATE INDEX agent_issuer_tenant ON agent_issuer (tenant_id, created_at);

-- Every agent certificate, for revocation lists and for agents that come back. It outlives the agent. issuer_id '': signed by the
-- root itself, as before this table. reason is of RFC 5280 §5.3.1.
CREATE TABLE agent_certificate (
    serial text PRIMARY KEY,
    tenant_id text NOT NULL REFERENCES tenant (id) ON DELETE CASCADE,
    agent_id text NOT NULL,
    issuer_id text NOT NULL,
    issued_at bigint NOT NULL,
    not_after bigint NOT NULL,
    revoked_at bigint NOT NULL,
    reason bigint NOT NULL
);
CREATE INDEX agent_certificate_issuer ON agent_certificate (issuer_id, revoked_at);
CREATE INDEX agent_certificate_agent ON agent_certificate (tenant_id, agent_id);
INSERT INTO agent_certificate (serial, tenant_id, agent_id, issuer_id, issued_at, not_after, revoked_at, reason)
    SELECT certificate_serial, tenant_id, id, '', created_at, certificate_not_after, revoked_at, 9 FROM agent;

-- What became of an agent, and when. It outlives the agent too.
CREATE TABLE agent_history (
    id text PRIMARY KEY,
    tenant_id text NOT NULL REFERENCES tenant (id) ON DELETE CASCADE,
    agent_id text NOT NULL,
    at bigint NOT NULL,
    event text NOT NULL,
    detail text NOT NULL
);
CREATE INDEX agent_history_agent ON agent_history (tenant_id, agent_id, id);

ALTER TABLE agent ADD COLUMN state_reason text NOT NULL DEFAULT '';
ALTER TABLE agent ADD COLUMN key_store text NOT NULL DEFAULT 'file';
ALTER TABLE agent ADD COLUMN renewed_at bigint NOT NULL DEFAULT 0;
-- A renewal that the agent has not confirmed by connecting with it; next_serial '': none.
ALTER TABLE agent ADD COLUMN next_serial text NOT NULL DEFAULT '';
ALTER TABLE agent ADD COLUMN next_not_after bigint NOT NULL DEFAULT 0;
ALTER TABLE agent ADD COLUMN next_suite bigint NOT NULL DEFAULT 0;
ALTER TABLE agent ADD COLUMN next_key bytea;
ALTER TABLE agent ADD COLUMN next_key_store text NOT NULL DEFAULT '';
-- The certificate before the current one, whose streams may go on until former_until.
ALTER TABLE agent ADD COLUMN former_serial text NOT NULL DEFAULT '';
ALTER TABLE agent ADD COLUMN former_until bigint NOT NULL DEFAULT 0;
-- The highest number that the agent has connected with, the stream that it did so on, and when somebody else asked about it.
ALTER TABLE agent ADD COLUMN counter bigint NOT NULL DEFAULT 0;
ALTER TABLE agent ADD COLUMN holder text NOT NULL DEFAULT '';
ALTER TABLE agent ADD COLUMN suspect_at bigint NOT NULL DEFAULT 0;
-- From when on the agent is told to renew; 0: not ordered.
ALTER TABLE agent ADD COLUMN renew_after bigint NOT NULL DEFAULT 0;
ALTER TABLE agent ADD COLUMN skew_ms bigint NOT NULL DEFAULT 0;

-- '': a new agent. Else the one agent that may take its identity up again with it.
ALTER TABLE enrol_token ADD COLUMN agent_id text NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE enrol_token DROP COLUMN agent_id;
ALTER TABLE agent DROP COLUMN skew_ms; ALTER TABLE agent DROP COLUMN renew_after; ALTER TABLE agent DROP COLUMN suspect_at;
ALTER TABLE agent DROP COLUMN holder; ALTER TABLE agent DROP COLUMN counter; ALTER TABLE agent DROP COLUMN former_until;
ALTER TABLE agent DROP COLUMN former_serial; ALTER TABLE agent DROP COLUMN next_key_store; ALTER TABLE agent DROP COLUMN next_key;
ALTER TABLE agent DROP COLUMN next_suite; ALTER TABLE agent DROP COLUMN next_not_after; ALTER TABLE agent DROP COLUMN next_serial;
ALTER TABLE agent DROP COLUMN renewed_at; ALTER TABLE agent DROP COLUMN key_store; ALTER TABLE agent DROP COLUMN state_reason;
DROP TABLE agent_history; DROP TABLE agent_certificate; DROP TABLE agent_issuer;
