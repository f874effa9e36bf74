"""The channels that are configured: ways by which discrepancies reach people, each a stage of the pipeline."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from typing import Protocol

from daemon.config import Config
from daemon.current_map import CurrentMap
from daemon.db import Database
from daemon.publish.maproulette.channel import MapRouletteChannel
from daemon.publish.osmose.channel import open_osmose


class Channel(Protocol):
    """One way.

    Attributes:
        name: of the channel in the outbox, and of its stage.
        interval: seconds between two rounds.
    """

    name: str
    interval: float

    def cycle(self) -> bool:
        """Tell what is due and listen, one portion; True where there is more to do at once."""
        ...


def open_channels(
    config: Config, db: Database, current_map: CurrentMap, stop: threading.Event, resources: ExitStack
) -> list[Channel]:
    """The channels that the configuration asks for; what they hold is closed with `resources`.

    Raises:
        ConfigError: one is not configured as it must be.
    """
    channels: list[Channel] = []
    if config.maproulette.enabled:
        channels.append(MapRouletteChannel.open(config, db, current_map, stop, resources))
    if config.osmose.enabled:
        channels.append(resources.enter_context(open_osmose(config, db, stop)))
    return channels
