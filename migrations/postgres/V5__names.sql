-- Names that people had, and what finds everything of one person. All times are milliseconds since the
-- Unix epoch.

-- Numbered for each person from 1 on. The name that a person has now is in users.
CREATE TABLE former_usernames (
    user_id      uuid    NOT NULL REFERENCES users (id),
    number       integer NOT NULL,
    username     text    NOT NULL,
    username_key text    NOT NULL,
    since        bigint  NOT NULL,
    given_up_at  bigint  NOT NULL,
    PRIMARY KEY (user_id, number)
);

CREATE INDEX held_usernames_user_id ON held_usernames (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX held_usernames_held_until ON held_usernames (held_until);

-- Deletion empties the personal part of whatever a person did or was done to them; an export shows it.
CREATE INDEX audit_events_actor ON audit_events (actor);
CREATE INDEX audit_events_target ON audit_events (target);

-- Whether an admin is the last one must not cost a look at everybody.
CREATE INDEX users_active_admins ON users (id) WHERE role = 'admin' AND status = 'active';

INSERT INTO schema_compatibility (version, oldest_binary) VALUES (5, 1);
