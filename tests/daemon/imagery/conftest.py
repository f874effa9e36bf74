"""Fixtures about imagery; see ground.py and map_server.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ground import configure, picture, settings, tiles
from map_server import serving

from daemon.config import Config
from daemon.imagery import Imagery

__all__ = ["configure", "picture", "settings", "tiles"]


@pytest.fixture(scope="session")
def map_server(tiles: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a MapProxy that serves the picture as WMS, WMTS and TMS."""
    with serving(tiles, tmp_path_factory.mktemp("mapproxy")) as address:
        yield address


@pytest.fixture
def opened(configure: Callable[..., Config]) -> Iterator[Callable[..., Imagery]]:
    """Opens sources (settings, or just their url) as a daemon does; closes them in the end."""
    made = []

    def make(*sources: object, **others: object) -> Imagery:
        made.append(Imagery.open(configure(*sources, **others)))
        return made[-1]

    yield make
    for imagery in made:
        imagery.close()
