-- People and what signs them in. All times are milliseconds since the Unix epoch.

CREATE TABLE users (
    id           uuid   PRIMARY KEY,
    username     text   NOT NULL,
    username_key text   NOT NULL,
    display_name text,
    avatar       text,
    role         text   NOT NULL,
    status       text   NOT NULL,
    created_at   bigint NOT NULL,
    updated_at   bigint NOT NULL
);

-- Keys are made by the application: the two databases fold case differently. A tombstone keeps
-- nothing that another person could want.
CREATE UNIQUE INDEX users_username_key ON users (username_key) WHERE status <> 'deleted';

-- Names that were given up and are not free yet; without a person once that person is deleted.
CREATE TABLE held_usernames (
    username_key text   PRIMARY KEY,
    user_id      uuid,
    held_until   bigint NOT NULL
);

CREATE TABLE identities (
    provider     text   NOT NULL,
    subject      text   NOT NULL,
    user_id      uuid   NOT NULL REFERENCES users (id),
    created_at   bigint NOT NULL,
    last_used_at bigint NOT NULL,
    PRIMARY KEY (provider, subject)
);

CREATE INDEX identities_user_id ON identities (user_id);

CREATE TABLE emails (
    provider    text    NOT NULL,
    subject     text    NOT NULL,
    address     text    NOT NULL,
    address_key text    NOT NULL,
    verified    boolean NOT NULL,
    position    integer NOT NULL,
    PRIMARY KEY (provider, subject, address),
    FOREIGN KEY (provider, subject) REFERENCES identities (provider, subject) ON DELETE CASCADE
);

CREATE INDEX emails_verified_address_key ON emails (address_key) WHERE verified;

-- What each migration says about binaries that do not know it yet.
CREATE TABLE schema_compatibility (
    version       integer PRIMARY KEY,
    oldest_binary integer NOT NULL
);

INSERT INTO schema_compatibility (version, oldest_binary) VALUES (1, 1);
