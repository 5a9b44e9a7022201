-- Hash chains of the audit trail, and what administration looks for. All times are milliseconds since the
-- Unix epoch.

-- An entry's place in the chain of the process that wrote it, and what covers the personal values that lie
-- apart. Entries from before are given places by the application, right after this migration.
ALTER TABLE audit_events ADD COLUMN chain BLOB;
ALTER TABLE audit_events ADD COLUMN position INTEGER;
ALTER TABLE audit_events ADD COLUMN hash BLOB;
ALTER TABLE audit_events ADD COLUMN commitment BLOB;
ALTER TABLE audit_details ADD COLUMN salt BLOB;

CREATE UNIQUE INDEX audit_events_place ON audit_events (chain, position);

-- Every chain, by its first entry.
CREATE INDEX audit_events_chains ON audit_events (chain) WHERE position = 1;

-- Ids are in the order of the times already.
DROP INDEX audit_events_at;
CREATE INDEX audit_events_action ON audit_events (action);

-- Those who do much, but seldom some of it. Everybody else is found by what they did.
CREATE INDEX audit_events_actor_action ON audit_events (actor, action)
    WHERE actor IN ('anonymous', 'cli', 'system');

-- The signed statements about the trail. Their number is given once, however many nodes sign.
CREATE TABLE audit_checkpoints (
    number         INTEGER PRIMARY KEY,
    entry_id       BLOB    NOT NULL,
    removed_before INTEGER
) STRICT;

-- Requests that may be repeated without being done twice, and their sealed answers.
CREATE TABLE idempotent_requests (
    id          BLOB    PRIMARY KEY,
    fingerprint BLOB    NOT NULL,
    answer      TEXT,
    until       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotent_requests_until ON idempotent_requests (until);

-- People by what an administrator knows of them.
ALTER TABLE users ADD COLUMN display_name_key TEXT;
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
