-- People and what signs them in. All times are milliseconds since the Unix epoch.

CREATE TABLE users (
    id           BLOB    PRIMARY KEY,
    username     TEXT    NOT NULL,
    username_key TEXT    NOT NULL,
    display_name TEXT,
    avatar       TEXT,
    role         TEXT    NOT NULL,
    status       TEXT    NOT NULL,
    created_at   INTEGER NOT NULL,
    updated_at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Keys are made by the application: the two databases fold case differently. A tombstone keeps
-- nothing that another person could want.
CREATE UNIQUE INDEX users_username_key ON users (username_key) WHERE status <> 'deleted';

-- Names that were given up and are not free yet; without a person once that person is deleted.
CREATE TABLE held_usernames (
    username_key TEXT    PRIMARY KEY,
    user_id      BLOB,
    held_until   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE identities (
    provider     TEXT    NOT NULL,
    subject      TEXT    NOT NULL,
    user_id      BLOB    NOT NULL REFERENCES users (id),
    created_at   INTEGER NOT NULL,
    last_used_at INTEGER NOT NULL,
    PRIMARY KEY (provider, subject)
) STRICT, WITHOUT ROWID;

CREATE INDEX identities_user_id ON identities (user_id);

CREATE TABLE emails (
    provider    TEXT    NOT NULL,
    subject     TEXT    NOT NULL,
    address     TEXT    NOT NULL,
    address_key TEXT    NOT NULL,
    verified    INTEGER NOT NULL,
    position    INTEGER NOT NULL,
    PRIMARY KEY (provider, subject, address),
    FOREIGN KEY (provider, subject) REFERENCES identities (provider, subject) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE INDEX emails_verified_address_key ON emails (address_key) WHERE verified;

-- What each migration says about binaries that do not know it yet.
CREATE TABLE schema_compatibility (
    version       INTEGER PRIMARY KEY,
    oldest_binary INTEGER NOT NULL
) STRICT;

INSERT INTO schema_compatibility (version, oldest_binary) VALUES (1, 1);
