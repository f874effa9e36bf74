"""Fixtures about imagery; see ground.py."""

from __future__ import annotations

from ground import configure, picture, settings, tiles

__all__ = ["configure", "picture", "settings", "tiles"]
