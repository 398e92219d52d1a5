-- +goose Up
-- How each agent is: its newest report, what that makes of it, and its probes. At most one row an agent, written about once a minute.
CREATE TABLE agent_health (
    agent_id text PRIMARY KEY REFERENCES agent (id) ON DELETE CASCADE,
    tenant_id text NOT NULL REFERENCES tenant (id) ON DELETE CASCADE,
    -- 0: it never attached. gone_at is when its stream ended, 0 while it has one.
    reported_at bigint NOT NULL DEFAULT 0,
    gone_at bigint NOT NULL DEFAULT 0,
    -- JSON of fleet.Report.
    report text NOT NULL DEFAULT '',
    condition text NOT NULL DEFAULT '',
    condition_reason text NOT NULL DEFAULT '',
    condition_since bigint NOT NULL DEFAULT 0,
    -- Whoever moves probe_due on has the right to probe; the result is of the newest probe.
    probe_due bigint NOT NULL DEFAULT 0,
    probed_at bigint NOT NULL DEFAULT 0,
    probe_us bigint NOT NULL DEFAULT 0,
    probe_code bigint NOT NULL DEFAULT 0,
    probe_detail text NOT NULL DEFAULT '',
    probe_failures bigint NOT NULL DEFAULT 0
);
CREATE INDEX agent_health_tenant ON agent_health (tenant_id);

-- The account that agents of a directory are probed with. password is sealed; NULL: none, and each probe's is random.
CREATE TABLE directory_canary (
    directory_id text PRIMARY KEY REFERENCES directory (id) ON DELETE CASCADE,
    tenant_id text NOT NULL REFERENCES tenant (id) ON DELETE CASCADE,
    name text NOT NULL,
    password bytea,
    changed_at bigint NOT NULL
);

-- +goose Down
DROP TABLE directory_canary; DROP TABLE agent_health;
