-- Signing keys. Their state follows from the times and the clock; private halves are sealed with the
-- server secret. All times are milliseconds since the Unix epoch.

CREATE TABLE signing_keys (
    kid            TEXT    PRIMARY KEY,
    algorithm      TEXT    NOT NULL,
    public_jwk     TEXT    NOT NULL,
    sealed_private TEXT,
    created_at     INTEGER NOT NULL,
    signs_from     INTEGER NOT NULL,
    retired_at     INTEGER,
    compromised    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO schema_compatibility (version, oldest_binary) VALUES (3, 1);
