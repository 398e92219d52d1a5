-- +goose Up
-- What names of a domain are besides user principal names: values of another attribute of the directory, and NetBIOS\name. Empty: neither.
ALTER TABLE domain ADD COLUMN sign_in_attribute text NOT NULL DEFAULT '';
ALTER TABLE domain ADD COLUMN netbios_name text;
CREATE UNIQUE INDEX domain_netbios_name ON domain (tenant_id, netbios_name);

-- The other name by which somebody was found in the directory at the last sign-in that told it.
ALTER TABLE person ADD COLUMN sign_in_name text NOT NULL DEFAULT '';
ALTER TABLE person ADD COLUMN sign_in_key text;
CREATE INDEX person_sign_in_key ON person (tenant_id, sign_in_key);

-- +goose Down
DROP INDEX person_sign_in_key;
ALTER TABLE person DROP COLUMN sign_in_key;
ALTER TABLE person DROP COLUMN sign_in_name;
DROP INDEX domain_netbios_name;
ALTER TABLE domain DROP COLUMN netbios_name;
ALTER TABLE domain DROP COLUMN sign_in_attribute;
