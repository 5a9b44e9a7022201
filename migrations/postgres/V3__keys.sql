-- Signing keys. Their state follows from the times and the clock; private halves are sealed with the
-- server secret. All times are milliseconds since the Unix epoch.

CREATE TABLE signing_keys (
    kid            text    PRIMARY KEY,
    algorithm      text    NOT NULL,
    public_jwk     text    NOT NULL,
    sealed_private text,
    created_at     bigint  NOT NULL,
    signs_from     bigint  NOT NULL,
    retired_at     bigint,
    compromised    boolean NOT NULL
);

INSERT INTO schema_compatibility (version, oldest_binary) VALUES (3, 1);
