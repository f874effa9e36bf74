-- Filled in by its room.
SELECT 1;
