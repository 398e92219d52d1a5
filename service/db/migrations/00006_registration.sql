-- +goose Up
-- Whether an administrator has to let a registered agent in. No row: a token is enough.
CREATE TABLE registration (
    tenant_id text PRIMARY KEY REFERENCES tenant (id) ON DELETE CASCADE,
    approval text NOT NULL,
    changed_at bigint NOT NULL
);

-- Where a token may be used: a pattern of host names and networks, separated by spaces; '': anywhere. made_by is who made it, as JSON.
ALTER TABLE enrol_token ADD COLUMN host_pattern text NOT NULL DEFAULT '';
ALTER TABLE enrol_token ADD COLUMN networks text NOT NULL DEFAULT '';
ALTER TABLE enrol_token ADD COLUMN made_by text NOT NULL DEFAULT '';

-- Who vouched for the agent's last registration, as JSON, the policy that it was under, and the fingerprint of the keys it came with.
ALTER TABLE agent ADD COLUMN vouched_by text NOT NULL DEFAULT '';
ALTER TABLE agent ADD COLUMN approval text NOT NULL DEFAULT '';
ALTER TABLE agent ADD COLUMN fingerprint text NOT NULL DEFAULT '';

-- The ids of the tokens that a token descends from, the oldest first, separated by spaces.
ALTER TABLE admin_token ADD COLUMN ancestors text NOT NULL DEFAULT '';

-- Registrations that wait for an administrator who knows the code. facts is JSON, for people; csr is DER; chain is PEM, once approved.
CREATE TABLE device_code (
    id text PRIMARY KEY,
    tenant_id text NOT NULL REFERENCES tenant (id) ON DELETE CASCADE,
    secret_hash bytea NOT NULL UNIQUE,
    user_code text NOT NULL,
    state text NOT NULL,
    facts text NOT NULL,
    csr bytea NOT NULL,
    envelope_suite bigint NOT NULL,
    envelope_key bytea NOT NULL,
    agent_id text NOT NULL,
    chain text NOT NULL,
    interval_ms bigint NOT NULL,
    polled_at bigint NOT NULL,
    created_at bigint NOT NULL,
    expires_at bigint NOT NULL,
    UNIQUE (tenant_id, user_code)
);
CREATE INDEX device_code_age ON device_code (expires_at);

-- What administrators are to be told: package notify. event is JSON; done names the channels that have taken it.
CREATE TABLE notification (
    id text PRIMARY KEY,
    tenant_id text NOT NULL REFERENCES tenant (id) ON DELETE CASCADE,
    event text NOT NULL,
    done text NOT NULL,
    tries bigint NOT NULL,
    next_at bigint NOT NULL,
    created_at bigint NOT NULL
);
CREATE INDEX notification_due ON notification (next_at);
CREATE INDEX notification_tenant ON notification (tenant_id, id);

-- +goose Down
DROP TABLE notification;
DROP TABLE device_code;
ALTER TABLE admin_token DROP COLUMN ancestors;
ALTER TABLE agent DROP COLUMN fingerprint; ALTER TABLE agent DROP COLUMN approval; ALTER TABLE agent DROP COLUMN vouched_by;
ALTER TABLE enrol_token DROP COLUMN made_by; ALTER TABLE enrol_token DROP COLUMN networks; ALTER TABLE enrol_token DROP COLUMN host_pattern;
DROP TABLE registration;
