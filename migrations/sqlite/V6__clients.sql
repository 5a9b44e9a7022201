-- Clients, and what people gave them access to. All times are milliseconds since the Unix epoch.

-- What is registered is one JSON document; what statements ask for lies beside it.
CREATE TABLE clients (
    client_id              TEXT    PRIMARY KEY,
    metadata               TEXT    NOT NULL,
    id_token_algorithm     TEXT    NOT NULL,
    backchannel_logout_uri TEXT,
    secret_hash            BLOB,
    former_secret_hash     BLOB,
    former_secret_until    INTEGER,
    created_at             INTEGER NOT NULL,
    updated_at             INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE consents (
    user_id    BLOB    NOT NULL REFERENCES users (id),
    client_id  TEXT    NOT NULL REFERENCES clients (client_id) ON DELETE CASCADE,
    scope      TEXT    NOT NULL,
    resource   TEXT    NOT NULL,
    given_at   INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (user_id, client_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX consents_client_id ON consents (client_id);

ALTER TABLE token_families ADD COLUMN resource TEXT NOT NULL DEFAULT '';

-- Clients that are to be told that a session ended, until they have been.
CREATE TABLE deliveries (
    id         BLOB    PRIMARY KEY,
    client_id  TEXT    NOT NULL,
    user_id    BLOB    NOT NULL,
    session_id BLOB    NOT NULL,
    attempts   INTEGER NOT NULL,
    due_at     INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX deliveries_due_at ON deliveries (due_at);

INSERT INTO schema_compatibility (version, oldest_binary) VALUES (6, 1);
