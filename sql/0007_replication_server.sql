-- Whose sequence it is. Catching up by coarser files, and a change of replication.url, lead from one server to another:
-- a number means nothing there, so the way goes on by `timestamp`.
ALTER TABLE replication_state ADD COLUMN server text;  -- NULL: that of replication.url
