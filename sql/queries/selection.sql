-- name: store_selection
-- For what the store was made; NULL where that was not written down, no row where nothing was bootstrapped.
SELECT selection FROM replication_state;

-- name: note_selection
-- Write down for what the store was made.
UPDATE replication_state SET selection = %(selection)s;
