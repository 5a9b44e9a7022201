-- Hash chains of the audit trail, and what administration looks for. All times are milliseconds since the
-- Unix epoch.

-- An entry's place in the chain of the process that wrote it, and what covers the personal values that lie
-- apart. Entries from before are given places by the application, right after this migration.
ALTER TABLE audit_events
    ADD COLUMN chain      uuid,
    ADD COLUMN position   bigint,
    ADD COLUMN hash       bytea,
    ADD COLUMN commitment bytea;
ALTER TABLE audit_details ADD COLUMN salt bytea;

CREATE UNIQUE INDEX audit_events_place ON audit_events (chain, position);

-- Every chain, by its first entry.
CREATE INDEX audit_events_chains ON audit_events (chain) WHERE position = 1;

-- None, unless somebody else wrote them.
CREATE INDEX audit_events_unchained ON audit_events (id) WHERE chain IS NULL;

-- Ids are in the order of the times already. Each filter is followed in this order, too.
DROP INDEX audit_events_at;
DROP INDEX audit_events_actor;
DROP INDEX audit_events_target;
CREATE INDEX audit_events_actor ON audit_events (actor, id);
CREATE INDEX audit_events_action ON audit_events (action, id);
CREATE INDEX audit_events_target ON audit_events (target, id);

-- Those who do much, but seldom some of it: of two columns the planner would not know that. Everybody else is
-- found by what they did.
CREATE INDEX audit_events_actor_action ON audit_events ((actor || ' ' || action), id)
    WHERE actor IN ('anonymous', 'cli', 'system');

-- The signed statements about the trail. Their number is given once, however many nodes sign.
CREATE TABLE audit_checkpoints (
    number         bigint PRIMARY KEY,
    entry_id       uuid   NOT NULL,
    removed_before bigint
);

-- Requests that may be repeated without being done twice, and their sealed answers.
CREATE TABLE idempotent_requests (
    id          bytea  PRIMARY KEY,
    fingerprint bytea  NOT NULL,
    answer      text,
    "until"     bigint NOT NULL
);

CREATE INDEX idempotent_requests_until ON idempotent_requests ("until");

-- People by what an administrator knows of them. Keys are compared byte by byte, so that a prefix is a range.
ALTER TABLE users ALTER COLUMN username_key TYPE text COLLATE "C";
ALTER TABLE emails ALTER COLUMN address_key TYPE text COLLATE "C";
ALTER TABLE users ADD COLUMN display_name_key text COLLATE "C";
UPDATE users SET display_name_key = lower(display_name) WHERE display_name IS NOT NULL;
CREATE INDEX users_display_name_key ON users (display_name_key, id) WHERE display_name_key IS NOT NULL;
CREATE INDEX users_admins ON users (id) WHERE role = 'admin';
CREATE INDEX users_locked ON users (id) WHERE status = 'locked';
CREATE INDEX users_locked_username_key ON users (username_key) WHERE status = 'locked';
CREATE INDEX users_locked_display_name_key ON users (display_name_key, id)
    WHERE status = 'locked' AND display_name_key IS NOT NULL;
CREATE INDEX users_deleted ON users (id) WHERE status = 'deleted';

-- An older binary would write entries without a place.
INSERT INTO schema_compatibility (version, oldest_binary) VALUES (7, 7);
