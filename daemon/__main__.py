"""`python -m daemon`, and where the command `mapgap` enters: the commands of both modules on one group."""

from daemon import workbench
from daemon.cli import main

__all__ = ["main", "workbench"]

if __name__ == "__main__":
    main(prog_name="mapgap")
