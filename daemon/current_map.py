"""The map as it is now, asked about what was claimed before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass

from psycopg2.extensions import cursor as Cursor

from daemon.config import Config
from daemon.discrepancies.model import Discrepancy
from daemon.discrepancies.recheck import no_longer_hold
from daemon.eyes import Interest, detectors_of
from daemon.osm import OsmStore, open_store
from detectors.base import Detector


@dataclass(frozen=True, slots=True)
class CurrentMap:
    """The store, and the detectors that can read a claim off it, without imagery and networks."""

    store: OsmStore
    detectors: Sequence[Detector]

    def no_longer_hold(self, cursor: Cursor, discrepancies: Sequence[Discrepancy]) -> set[str]:
        """Keys of those that the map does not show any more. Of what no enabled detector claims, nothing is said."""
        return {
            key
            for detector in self.detectors
            for key in no_longer_hold(
                cursor,
                [d for d in discrepancies if d.detector == detector.name],
                holds=detector.holds,
                features_in=self.store.features_in,
                feature=self.store.feature,
            )
        }

    def still_holds(self, cursor: Cursor, discrepancy: Discrepancy) -> bool | None:
        """Whether the map still shows what was claimed; None where nobody can tell."""
        if all(detector.name != discrepancy.detector for detector in self.detectors):
            return None
        return discrepancy.key not in self.no_longer_hold(cursor, [discrepancy])


@contextmanager
def open_current_map(config: Config) -> Iterator[CurrentMap]:
    """For processes that do not run the pipeline.

    Raises:
        MapgapError, ModelError: the area, the source of OSM data or a detector cannot be used as configured.
    """
    detectors = detectors_of(config)
    with closing(open_store(config, Interest(detectors).selects)) as store:
        yield CurrentMap(store, detectors)
