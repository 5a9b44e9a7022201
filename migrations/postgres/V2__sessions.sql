-- Sessions and grants, spent tickets, revocations. All times are milliseconds since the Unix epoch.

-- One row a family. generation and rotated_at change at every rotation and are in no index, and a
-- fifth of each page stays free: so the new version of a row lies beside the old one and no index
-- is touched.
CREATE TABLE token_families (
    id            uuid    PRIMARY KEY,
    user_id       uuid    NOT NULL REFERENCES users (id),
    session_id    uuid    NOT NULL,
    client_id     text    NOT NULL,
    scope         text    NOT NULL,
    offline       boolean NOT NULL,
    generation    bigint  NOT NULL,
    rotated_at    bigint  NOT NULL,
    created_at    bigint  NOT NULL,
    auth_time     bigint  NOT NULL,
    provider      text    NOT NULL,
    user_agent    text    NOT NULL,
    network       text    NOT NULL,
    revoked_at    bigint,
    revoke_reason text,
    CHECK (client_id <> 'latchkey' OR session_id = id)
) WITH (fillfactor = 80);

CREATE INDEX token_families_user_id ON token_families (user_id);

-- First-party families have the id of their session and need no second entry.
CREATE INDEX token_families_session_id ON token_families (session_id) WHERE client_id <> 'latchkey';

-- Ids of sealed tickets that were used; they live until the ticket would have expired anyway.
CREATE TABLE spent (
    id      text   PRIMARY KEY,
    "until" bigint NOT NULL
);

CREATE INDEX spent_until ON spent ("until");

-- Whose access tokens are refused, until the last of them has expired.
CREATE TABLE revocations (
    kind        text   NOT NULL,
    id          text   NOT NULL,
    "until"     bigint NOT NULL,
    recorded_at bigint NOT NULL,
    PRIMARY KEY (kind, id)
);

CREATE INDEX revocations_recorded_at ON revocations (recorded_at);
CREATE INDEX revocations_until ON revocations ("until");

INSERT INTO schema_compatibility (version, oldest_binary) VALUES (2, 1);
