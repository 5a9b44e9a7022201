-- The audit trail. Personal values lie apart, so that deleting them leaves the trail whole. JSON is
-- kept as text: what is read is, byte for byte, what was written. All times are milliseconds since
-- the Unix epoch.

CREATE TABLE audit_events (
    id         BLOB    PRIMARY KEY,
    at         INTEGER NOT NULL,
    actor      TEXT    NOT NULL,
    action     TEXT    NOT NULL,
    target     TEXT    NOT NULL,
    request_id TEXT,
    details    TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX audit_events_at ON audit_events (at);

CREATE TABLE audit_details (
    id       BLOB PRIMARY KEY REFERENCES audit_events (id) ON DELETE CASCADE,
    personal TEXT NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO schema_compatibility (version, oldest_binary) VALUES (4, 1);
