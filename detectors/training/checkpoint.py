"""Where a training stood: one file beside the model, replaced as a whole, from which it goes on as if never stopped.

    checkpoint.npz      weights, optimiser state and averages as arrays, `state` as JSON in an array of bytes

What comes from chance is drawn from the seed and the step's number, so no generator is stored. The file holds arrays
of numbers only; nothing in it is executed.
"""

from __future__ import annotations

import io
import json
import logging
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from detectors.errors import DatasetInvalid

log = logging.getLogger(__name__)

CHECKPOINT = "checkpoint.npz"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A moment between two steps.

    Attributes:
        step: steps done.
        recipe: JSON-able: what the training is; another recipe cannot go on from here.
        state: JSON-able: what the loop remembers besides.
        arrays: by name.
    """

    step: int
    recipe: Mapping[str, Any]
    state: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]

    def save(self, directory: Path) -> bool:
        """Write it, whole or not at all; False where that failed (disk full), and the one before is still there."""
        draft = directory / f"{CHECKPOINT}.part"
        words = json.dumps({"format": FORMAT, "step": self.step, "recipe": self.recipe, "state": self.state})
        try:
            with draft.open("wb") as file:
                # Not straight into the file: a ZIP that cannot be finished complains once more when it is forgotten.
                whole = io.BytesIO()
                np.savez(whole, state=np.frombuffer(words.encode(), dtype=np.uint8), **self.arrays)
                file.write(whole.getbuffer())
                file.flush()
                os.fsync(file.fileno())
            draft.replace(directory / CHECKPOINT)
        except OSError as error:
            log.error("checkpoint of step %d not written to %s: %s; training goes on, an older checkpoint is kept",
                      self.step, directory, error)
            draft.unlink(missing_ok=True)
            return False
        return True

    @classmethod
    def load(cls, directory: Path) -> Checkpoint | None:
        """The checkpoint in a directory, None if there is none.

        Raises:
            DatasetInvalid: it is unreadable, or of a newer format.
        """
        path = directory / CHECKPOINT
        if not path.exists():
            return None
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
            words = json.loads(arrays.pop("state").tobytes())
            if words["format"] > FORMAT:
                raise DatasetInvalid(f"{path}: format {words['format']}, this mapgap reads up to {FORMAT}; upgrade, or "
                                     "--restart")
            return cls(int(words["step"]), words["recipe"], words["state"], arrays)
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise DatasetInvalid(f"{path}: not a readable checkpoint ({error}); --restart begins anew") from error

    def check(self, recipe: Mapping[str, Any], directory: Path) -> None:
        """Raises:
            DatasetInvalid: the checkpoint belongs to another recipe; names the keys that differ.
        """
        mine = json.loads(json.dumps(recipe))
        if changes := list(_differences(self.recipe, mine)):
            raise DatasetInvalid(
                f"{directory / CHECKPOINT} is of another training: {'; '.join(changes[:5])}"
                f"{' ...' if len(changes) > 5 else ''}. Train into another directory, or begin anew with --restart"
            )

    @staticmethod
    def remove(directory: Path) -> None:
        (directory / CHECKPOINT).unlink(missing_ok=True)


def _differences(there: Any, here: Any, path: str = ""):
    """ "key.of.value was 1, is 2" for every value that differs."""
    if isinstance(there, Mapping) and isinstance(here, Mapping):
        for key in sorted({*there, *here}):
            yield from _differences(there.get(key), here.get(key), f"{path}.{key}" if path else key)
    elif there != here:
        yield f"{path} was {json.dumps(there)}, is {json.dumps(here)}"
