-- Nothing is needed here: the file itself tells a connection that another one wrote (PRAGMA data_version).

INSERT INTO schema_compatibility (version, oldest_binary) VALUES (8, 1);
