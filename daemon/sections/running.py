"""How the daemon runs: [schedule], [log]."""

from __future__ import annotations

from typing import Literal

from daemon.sections.section import Section, knob


class Schedule(Section):
    """When the daemon's stages run. Following has its own rhythm: replication.poll_interval."""

    look_interval: float = knob(
        10.0, "time between two looks for due tiles; a change file wakes it at once", "seconds", ge=0.1
    )
    publish_interval: float = knob(
        60.0, "time between two writings of the files; findings wake it at once", "seconds", ge=0.1
    )
    retry_most: float = knob(
        900.0, "longest rest of a stage that fails; it grows from the stage's interval", "seconds", gt=0
    )
    stuck_after: float = knob(
        3600.0,
        "a stage without progress for longer silences the watchdog, so that systemd starts anew",
        "seconds",
        gt=0,
    )
    grace: float = knob(
        6.0,
        "told to stop, a stage may finish for so long; then its block is given back as it is",
        "seconds",
        ge=0,
        le=60,
    )


class Log(Section):
    """What the daemon says."""

    level: Literal["debug", "info", "warning", "error"] = knob("info", "debug, info, warning or error")
    format: Literal["text", "json"] = knob("text", "text for people, json for machines; one line an event on stderr")
