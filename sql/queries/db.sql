-- name: create_migration_table
-- The table of applied migrations.
CREATE TABLE IF NOT EXISTS schema_migration (
    number   integer PRIMARY KEY,
    name     text NOT NULL,
    checksum text NOT NULL,
    applied  timestamptz NOT NULL DEFAULT now()
);

-- name: lock_migrations
-- Let one process migrate at a time; the others wait for it to commit.
SELECT pg_advisory_xact_lock(1298229104, 1);

-- name: lift_statement_timeout
-- A migration of a large store may take longer than any query may.
SET LOCAL statement_timeout = 0;

-- name: migration_table_exists
-- Whether this database was ever migrated.
SELECT to_regclass('schema_migration') IS NOT NULL;

-- name: applied_migrations
-- What was applied so far, oldest first.
SELECT number, name, checksum FROM schema_migration ORDER BY number;

-- name: record_migration
-- Remember that a migration was applied.
INSERT INTO schema_migration (number, name, checksum) VALUES (%(number)s, %(name)s, %(checksum)s);

-- name: take_daemon_lock
-- True when this session is now the one daemon of the database.
SELECT pg_try_advisory_lock(1298229104, 2);

-- name: release_daemon_lock
-- Let the next daemon in at once, not when the server has noticed that the connection is closed.
SELECT pg_advisory_unlock(1298229104, 2);

-- name: daemon_lock_holder
-- Who has the daemon's lock: process of the server, where from, since when.
SELECT a.pid, coalesce(a.client_addr::text, 'this machine'), a.backend_start
FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE l.locktype = 'advisory' AND l.classid = 1298229104 AND l.objid = 2 AND l.granted
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database());

-- name: answer
-- Ask the server for a sign of life.
SELECT 1;

-- name: server_mark
-- The time stamp (seconds) of a file in the server's data directory: proves which directory it serves.
SELECT extract(epoch FROM (pg_stat_file('PG_VERSION')).modification)::bigint;
