-- +goose Up
-- When a second agent has to confirm a right password. No row: never.
CREATE TABLE verification (
    tenant_id text PRIMARY KEY REFERENCES tenant (id) ON DELETE CASCADE,
    administrators boolean NOT NULL,
    -- Names of groups, as a JSON list.
    group_names text NOT NULL,
    percent bigint NOT NULL,
    let_in_alone boolean NOT NULL,
    changed_at bigint NOT NULL
);

-- +goose Down
DROP TABLE verification;
