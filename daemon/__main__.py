"""`python -m daemon`, and where the command `mapgap` enters: the commands of all modules on one group."""

from daemon import (
    backfilling,
    dataset_commands,
    imagery_commands,
    making,
    maproulette_commands,
    osmose_commands,
    reporting,
    reviewing,
    serving,
    workbench,
)
from daemon.cli import main

__all__ = [
    "backfilling", "dataset_commands", "imagery_commands", "main", "making", "maproulette_commands", "osmose_commands",
    "reporting", "reviewing", "serving", "workbench",
]

if __name__ == "__main__":
    main(prog_name="mapgap")
