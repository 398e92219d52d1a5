-- +goose Up
-- What the admin API answered to a request with an Idempotency-Key, for a day. status 0: not answered yet. answer is sealed
-- at rest, since it may hold a secret that is told once; NULL: too large to be kept.
CREATE TABLE idempotency (
    token_id text NOT NULL REFERENCES admin_token (id) ON DELETE CASCADE,
    key text NOT NULL,
    request bytea NOT NULL,
    status bigint NOT NULL,
    answer bytea,
    taken_at bigint NOT NULL,
    PRIMARY KEY (token_id, key)
);
CREATE INDEX idempotency_age ON idempotency (taken_at);

-- +goose Down
DROP TABLE idempotency;
