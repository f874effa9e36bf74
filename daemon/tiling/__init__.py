"""Tile mathematics, expiry of changed areas, the queue of dirty tiles, blocks and back-fill."""
