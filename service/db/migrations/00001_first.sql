-- +goose Up
-- Types are those of PostgreSQL; package db rewrites bigint, bytea and boolean for SQLite and makes the tables STRICT.
-- Times are unix milliseconds. Every table below "tenant" carries tenant_id, and every query names it.

CREATE TABLE tenant (
    id text PRIMARY KEY,
    name text NOT NULL UNIQUE,
    display_name text NOT NULL,
    color text NOT NULL,
    created_at bigint NOT NULL,
    changed_at bigint NOT NULL
);

CREATE TABLE directory (
    id text PRIMARY KEY,
    tenant_id text NOT NULL REFERENCES tenant (id) ON DELETE CASCADE,
    name text NOT NULL,
    evaluation boolean NOT NULL,
    created_at bigint NOT NULL,
    changed_at bigint NOT NULL,
    UNIQUE (tenant_id, name)
);

CREATE TABLE domain (
    tenant_id text NOT NULL REFERENCES tenant (id) ON DELETE CASCADE,
    name text NOT NULL,
    kind text NOT NULL,
    directory_id text REFERENCES directory (id),
    admit_users boolean NOT NULL,
    created_at bigint NOT NULL,
    changed_at bigint NOT NULL,
    PRIMARY KEY (tenant_id, name)
);

CREATE TABLE person (
    id text PRIMARY KEY,
    tenant_id text NOT NULL REFERENCES tenant (id) ON DELETE CASCADE,
    upn text NOT NULL,
    upn_key text NOT NULL,
    source text NOT NULL,
    directory_id text REFERENCES directory (id),
    anchor text,
    display_name text NOT NULL,
    given_name text NOT NULL,
    family_name text NOT NULL,
    email text NOT NULL,
    group_names text NOT NULL,
    role text NOT NULL,
    disabled boolean NOT NULL,
    password_hash text,
    attributes_at bigint NOT NULL,
    valid_from bigint NOT NULL,
    created_at bigint NOT NULL,
    changed_at bigint NOT NULL,
    UNIQUE (tenant_id, upn_key),
    UNIQUE (tenant_id, directory_id, anchor)
);

CREATE TABLE app (
    id text PRIMARY KEY,
    tenant_id text NOT NULL REFERENCES tenant (id) ON DELETE CASCADE,
    name text NOT NULL,
    redirect_uris text NOT NULL,
    post_logout_uris text NOT NULL,
    public boolean NOT NULL,
    secret_hash bytea,
    algorithm text NOT NULL,
    group_claims boolean NOT NULL,
    disabled boolean NOT NULL,
    created_at bigint NOT NULL,
    changed_at bigint NOT NULL,
    UNIQUE (tenant_id, name)
);

CREATE TABLE agent (
    id text PRIMARY KEY,
    tenant_id text NOT NULL REFERENCES tenant (id) ON DELETE CASCADE,
    directory_id text NOT NULL REFERENCES directory (id),
    name text NOT NULL,
    host text NOT NULL,
    os text NOT NULL,
    version text NOT NULL,
    state text NOT NULL,
    envelope_suite bigint NOT NULL,
    envelope_key bytea NOT NULL,
    envelope_key_id text NOT NULL,
    certificate_serial text NOT NULL,
    certificate_not_after bigint NOT NULL,
    address text NOT NULL,
    last_seen bigint NOT NULL,
    revoked_at bigint NOT NULL,
    revoked_reason text NOT NULL,
    created_at bigint NOT NULL,
    changed_at bigint NOT NULL,
    UNIQUE (tenant_id, name)
);

CREATE TABLE enrol_token (
    id text PRIMARY KEY,
    tenant_id text NOT NULL REFERENCES tenant (id) ON DELETE CASCADE,
    directory_id text NOT NULL REFERENCES directory (id) ON DELETE CASCADE,
    secret_hash bytea NOT NULL UNIQUE,
    note text NOT NULL,
    uses_left bigint NOT NULL,
    expires_at bigint NOT NULL,
    created_at bigint NOT NULL
);

CREATE TABLE signing_key (
    id text PRIMARY KEY,
    tenant_id text NOT NULL REFERENCES tenant (id) ON DELETE CASCADE,
    algorithm text NOT NULL,
    sealed_private bytea NOT NULL,
    public_jwk text NOT NULL,
    created_at bigint NOT NULL,
    active_at bigint NOT NULL,
    retire_at bigint NOT NULL,
    remove_at bigint NOT NULL
);
CREATE INDEX signing_key_tenant ON signing_key (tenant_id, algorithm);

-- The agent CA belongs to the installation, not to a tenant: its one row is not scoped.
CREATE TABLE agent_ca (
    id text PRIMARY KEY,
    certificate bytea NOT NULL,
    sealed_private bytea NOT NULL,
    created_at bigint NOT NULL
);

CREATE TABLE journey (
    id text PRIMARY KEY,
    tenant_id text NOT NULL REFERENCES tenant (id) ON DELETE CASCADE,
    browser_hash bytea NOT NULL,
    app_id text NOT NULL,
    app_name text NOT NULL,
    return_to text NOT NULL,
    state text NOT NULL,
    typed_name text NOT NULL,
    trace text NOT NULL,
    last_code bigint NOT NULL,
    session_id text NOT NULL,
    attempts bigint NOT NULL,
    settled_at bigint NOT NULL,
    created_at bigint NOT NULL,
    expires_at bigint NOT NULL
);
CREATE INDEX journey_expiry ON journey (expires_at);

CREATE TABLE browser_session (
    id text PRIMARY KEY,
    tenant_id text NOT NULL REFERENCES tenant (id) ON DELETE CASCADE,
    secret_hash bytea NOT NULL UNIQUE,
    person_id text NOT NULL REFERENCES person (id) ON DELETE CASCADE,
    authenticated_at bigint NOT NULL,
    methods text NOT NULL,
    last_used_at bigint NOT NULL,
    expires_at bigint NOT NULL,
    created_at bigint NOT NULL
);
CREATE INDEX browser_session_person ON browser_session (tenant_id, person_id);
CREATE INDEX browser_session_expiry ON browser_session (expires_at);

-- The application's request, while its journey lasts.
CREATE TABLE oidc_request (
    id text PRIMARY KEY,
    tenant_id text NOT NULL REFERENCES tenant (id) ON DELETE CASCADE,
    app_id text NOT NULL REFERENCES app (id) ON DELETE CASCADE,
    redirect_uri text NOT NULL,
    scope text NOT NULL,
    state text NOT NULL,
    nonce text NOT NULL,
    code_challenge text NOT NULL,
    claims text NOT NULL,
    -- The user who must be the one that signed in, '' for anybody.
    subject text NOT NULL,
    -- How old the sign-in may be in milliseconds: 0 wants one after created_at, -1 takes any.
    max_age bigint NOT NULL,
    created_at bigint NOT NULL,
    expires_at bigint NOT NULL
);
CREATE INDEX oidc_request_expiry ON oidc_request (expires_at);
CREATE INDEX oidc_request_app ON oidc_request (app_id);

-- One row a grant: everything issued from one authorization belongs to one family and falls with it.
CREATE TABLE oidc_grant (
    id text PRIMARY KEY,
    tenant_id text NOT NULL REFERENCES tenant (id) ON DELETE CASCADE,
    app_id text NOT NULL REFERENCES app (id) ON DELETE CASCADE,
    person_id text NOT NULL REFERENCES person (id) ON DELETE CASCADE,
    session_id text NOT NULL,
    scope text NOT NULL,
    nonce text NOT NULL,
    claims text NOT NULL,
    -- With offline_access: outlives the browser's session.
    offline boolean NOT NULL,
    authenticated_at bigint NOT NULL,
    methods text NOT NULL,
    revoked_at bigint NOT NULL,
    created_at bigint NOT NULL,
    expires_at bigint NOT NULL
);
CREATE INDEX oidc_grant_session ON oidc_grant (tenant_id, session_id);
CREATE INDEX oidc_grant_expiry ON oidc_grant (expires_at);
CREATE INDEX oidc_grant_person ON oidc_grant (person_id);
CREATE INDEX oidc_grant_app ON oidc_grant (app_id);

CREATE TABLE oidc_code (
    hash bytea PRIMARY KEY,
    tenant_id text NOT NULL REFERENCES tenant (id) ON DELETE CASCADE,
    grant_id text NOT NULL REFERENCES oidc_grant (id) ON DELETE CASCADE,
    redirect_uri text NOT NULL,
    code_challenge text NOT NULL,
    used_at bigint NOT NULL,
    expires_at bigint NOT NULL
);
CREATE INDEX oidc_code_grant ON oidc_code (grant_id);

CREATE TABLE oidc_refresh (
    hash bytea PRIMARY KEY,
    tenant_id text NOT NULL REFERENCES tenant (id) ON DELETE CASCADE,
    grant_id text NOT NULL REFERENCES oidc_grant (id) ON DELETE CASCADE,
    used_at bigint NOT NULL,
    -- Half of what the successor is computed from, while it may be asked for again. The other half is the token itself.
    successor_salt bytea,
    issued_at bigint NOT NULL,
    expires_at bigint NOT NULL
);
CREATE INDEX oidc_refresh_grant ON oidc_refresh (grant_id);
CREATE INDEX oidc_refresh_expiry ON oidc_refresh (expires_at);
CREATE INDEX oidc_refresh_salt ON oidc_refresh (used_at) WHERE successor_salt IS NOT NULL;

CREATE TABLE oidc_access (
    hash bytea PRIMARY KEY,
    tenant_id text NOT NULL REFERENCES tenant (id) ON DELETE CASCADE,
    grant_id text NOT NULL REFERENCES oidc_grant (id) ON DELETE CASCADE,
    scope text NOT NULL,
    expires_at bigint NOT NULL
);
CREATE INDEX oidc_access_grant ON oidc_access (grant_id);
CREATE INDEX oidc_access_expiry ON oidc_access (expires_at);

CREATE TABLE lockout (
    tenant_id text NOT NULL REFERENCES tenant (id) ON DELETE CASCADE,
    account text NOT NULL,
    failures bigint NOT NULL,
    lockouts bigint NOT NULL,
    last_failure bigint NOT NULL,
    locked_until bigint NOT NULL,
    PRIMARY KEY (tenant_id, account)
);
CREATE INDEX lockout_age ON lockout (last_failure);

CREATE TABLE sign_in (
    id text PRIMARY KEY,
    tenant_id text NOT NULL REFERENCES tenant (id) ON DELETE CASCADE,
    at bigint NOT NULL,
    trace text NOT NULL,
    journey_id text NOT NULL,
    person_id text NOT NULL,
    typed_name text NOT NULL,
    name_form text NOT NULL,
    app_id text NOT NULL,
    address text NOT NULL,
    outcome text NOT NULL,
    code bigint NOT NULL,
    reason text NOT NULL,
    diagnostic text NOT NULL,
    directory_id text NOT NULL,
    agent_id text NOT NULL,
    gateway text NOT NULL,
    dc text NOT NULL,
    stops text NOT NULL
);
CREATE INDEX sign_in_time ON sign_in (tenant_id, at);
CREATE INDEX sign_in_trace ON sign_in (tenant_id, trace);

CREATE TABLE admin_token (
    id text PRIMARY KEY,
    tenant_id text NOT NULL,
    secret_hash bytea NOT NULL UNIQUE,
    note text NOT NULL,
    created_at bigint NOT NULL,
    expires_at bigint NOT NULL
);

-- +goose Down
DROP TABLE admin_token; DROP TABLE sign_in; DROP TABLE lockout; DROP TABLE oidc_access; DROP TABLE oidc_refresh;
DROP TABLE oidc_code; DROP TABLE oidc_grant; DROP TABLE oidc_request; DROP TABLE browser_session; DROP TABLE journey;
DROP TABLE agent_ca; DROP TABLE signing_key; DROP TABLE enrol_token; DROP TABLE agent; DROP TABLE app; DROP TABLE person;
DROP TABLE domain; DROP TABLE directory; DROP TABLE tenant;
