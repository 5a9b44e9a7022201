-- Whoever writes to what servers keep in memory tells those that listen, in the same transaction. The
-- payload names schema and table, since several schemas share a database and its channels. Once for each
-- statement; PostgreSQL tells equal ones of a transaction once.

CREATE FUNCTION tell_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('latchkey_changes', TG_TABLE_SCHEMA || '/' || TG_TABLE_NAME);
    RETURN NULL;
END $$;

CREATE TRIGGER tell_change AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON clients
    FOR EACH STATEMENT EXECUTE FUNCTION tell_change();

CREATE TRIGGER tell_change AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON signing_keys
    FOR EACH STATEMENT EXECUTE FUNCTION tell_change();

-- What is removed has expired: nobody needs to know.
CREATE TRIGGER tell_change AFTER INSERT OR UPDATE ON revocations
    FOR EACH STATEMENT EXECUTE FUNCTION tell_change();

INSERT INTO schema_compatibility (version, oldest_binary) VALUES (8, 1);
