-- Sessions and grants, spent tickets, revocations. All times are milliseconds since the Unix epoch.

-- One row a family. generation and rotated_at change at every rotation and are in no index.
CREATE TABLE token_families (
    id            BLOB    PRIMARY KEY,
    user_id       BLOB    NOT NULL REFERENCES users (id),
    session_id    BLOB    NOT NULL,
    client_id     TEXT    NOT NULL,
    scope         TEXT    NOT NULL,
    offline       INTEGER NOT NULL,
    generation    INTEGER NOT NULL,
    rotated_at    INTEGER NOT NULL,
    created_at    INTEGER NOT NULL,
    auth_time     INTEGER NOT NULL,
    provider      TEXT    NOT NULL,
    user_agent    TEXT    NOT NULL,
    network       TEXT    NOT NULL,
    revoked_at    INTEGER,
    revoke_reason TEXT,
    CHECK (client_id <> 'latchkey' OR session_id = id)
) STRICT, WITHOUT ROWID;

CREATE INDEX token_families_user_id ON token_families (user_id);

-- First-party families have the id of their session and need no second entry: a sixth of the file.
CREATE INDEX token_families_session_id ON token_families (session_id) WHERE client_id <> 'latchkey';

-- Ids of sealed tickets that were used; they live until the ticket would have expired anyway.
CREATE TABLE spent (
    id    TEXT    PRIMARY KEY,
    until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX spent_until ON spent (until);

-- Whose access tokens are refused, until the last of them has expired.
CREATE TABLE revocations (
    kind        TEXT    NOT NULL,
    id          TEXT    NOT NULL,
    until       INTEGER NOT NULL,
    recorded_at INTEGER NOT NULL,
    PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX revocations_recorded_at ON revocations (recorded_at);
CREATE INDEX revocations_until ON revocations (until);

INSERT INTO schema_compatibility (version, oldest_binary) VALUES (2, 1);
