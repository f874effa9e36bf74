"""`GeoIter`: MXNet batches of random labelled tiles, straight from PostGIS.

    from detectors.training.geoiter import GeoIter

The rasters of a tile are read by SQL of the user's own (`geoiter.queries` has the rules and two examples). Importing
this package imports no MXNet; naming GeoIter, a class derived from one of MXNet's, does.
"""

from __future__ import annotations

from typing import Any

__all__ = ["GeoIter"]


def __getattr__(name: str) -> Any:
    if name == "GeoIter":
        from detectors.training.geoiter.iterator import GeoIter

        return GeoIter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
