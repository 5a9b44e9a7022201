-- The audit trail. Personal values lie apart, so that deleting them leaves the trail whole. JSON is
-- kept as text: what is read is, byte for byte, what was written. All times are milliseconds since
-- the Unix epoch.

CREATE TABLE audit_events (
    id         uuid   PRIMARY KEY,
    at         bigint NOT NULL,
    actor      text   NOT NULL,
    action     text   NOT NULL,
    target     text   NOT NULL,
    request_id text,
    details    text   NOT NULL
);

CREATE INDEX audit_events_at ON audit_events (at);

CREATE TABLE audit_details (
    id       uuid PRIMARY KEY REFERENCES audit_events (id) ON DELETE CASCADE,
    personal text NOT NULL
);

INSERT INTO schema_compatibility (version, oldest_binary) VALUES (4, 1);
