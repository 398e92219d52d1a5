-- +goose Up
-- By which attribute the directory told the other name, and when: it holds for that attribute alone, and for a while. Of those told before, nobody
-- knows; the next sign-in tells.
ALTER TABLE person ADD COLUMN sign_in_attribute text NOT NULL DEFAULT '';
ALTER TABLE person ADD COLUMN sign_in_at bigint NOT NULL DEFAULT 0;
UPDATE person SET sign_in_name = '', sign_in_key = NULL;

-- +goose Down
ALTER TABLE person DROP COLUMN sign_in_at;
ALTER TABLE person DROP COLUMN sign_in_attribute;
