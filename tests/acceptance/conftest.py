"""What a store holds that has seen every change file of the made-up town, undisturbed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from installation import RESTING, Installation

from daemon.db import Database


@pytest.fixture(scope="session")
def undisturbed(server, made_up_town: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Its state, with tiles that rest in the queue."""
    directory = tmp_path_factory.mktemp("undisturbed") / "installation"
    shutil.copytree(made_up_town, directory)
    db = Database(server.create())
    installation = Installation(directory, db)
    installation.configure(**RESTING)
    with installation.pipeline() as pipeline:
        pipeline.store.bootstrap(db, installation.base)
        pipeline.follow()
    state = installation.state()
    db.close()
    server.drop(db.dsn)
    return state


@pytest.fixture
def following(installation: Installation) -> Installation:
    """Bootstrapped and at sequence 2 of 4, with tiles waiting in the queue; the server has the rest."""
    installation.configure(**RESTING)
    whole_again = installation.withhold_after(2)
    with installation.pipeline() as pipeline:
        pipeline.store.bootstrap(installation.database, installation.base)
        pipeline.follow()
    whole_again()
    state = installation.state()
    assert state["position"] == 2 and state["queue"]
    return installation
