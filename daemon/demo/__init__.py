"""A made-up place to try mapgap on: a rendered town, its map with planted errors, an hour of edits, the truth."""
