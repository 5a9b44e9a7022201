-- Clients, and what people gave them access to. All times are milliseconds since the Unix epoch.

-- What is registered is one JSON document; what statements ask for lies beside it.
CREATE TABLE clients (
    client_id              text   PRIMARY KEY COLLATE "C",
    metadata               text   NOT NULL,
    id_token_algorithm     text   NOT NULL,
    backchannel_logout_uri text,
    secret_hash            bytea,
    former_secret_hash     bytea,
    former_secret_until    bigint,
    created_at             bigint NOT NULL,
    updated_at             bigint NOT NULL
);

CREATE TABLE consents (
    user_id    uuid   NOT NULL REFERENCES users (id),
    client_id  text   NOT NULL REFERENCES clients (client_id) ON DELETE CASCADE,
    scope      text   NOT NULL,
    resource   text   NOT NULL,
    given_at   bigint NOT NULL,
    updated_at bigint NOT NULL,
    PRIMARY KEY (user_id, client_id)
);

CREATE INDEX consents_client_id ON consents (client_id);

ALTER TABLE token_families ADD COLUMN resource text NOT NULL DEFAULT '';

-- Clients that are to be told that a session ended, until they have been.
CREATE TABLE deliveries (
    id         uuid    PRIMARY KEY,
    client_id  text    NOT NULL,
    user_id    uuid    NOT NULL,
    session_id uuid    NOT NULL,
    attempts   integer NOT NULL,
    due_at     bigint  NOT NULL,
    created_at bigint  NOT NULL
);

CREATE INDEX deliveries_due_at ON deliveries (due_at);

INSERT INTO schema_compatibility (version, oldest_binary) VALUES (6, 1);
