"""Failures of models and training data.

ModelError                 root; exit code 7 on the command line
├── BundleInvalid          files missing, checksum wrong, card unreadable, newer format
├── BundleMismatch         bands, classes or resolution do not fit the use
├── EngineUnavailable      the asked-for engine cannot run on this machine
├── DatasetInvalid         training data unusable: empty, mask of another size, no labels
├── PluginInvalid          a detector's plug-in or its catalogue is not as it must be
├── TrainingStopped        a worker of a training has died or fallen silent
└── DatabaseLost           the database that training data is read from cannot be reached
"""

from __future__ import annotations


class ModelError(Exception):
    """Root of every failure of the detectors; the message says what to do."""

    exit_code = 7
    transient = False


class BundleInvalid(ModelError):
    pass


class BundleMismatch(ModelError):
    pass


class EngineUnavailable(ModelError):
    pass


class DatasetInvalid(ModelError):
    pass


class PluginInvalid(ModelError):
    pass


class TrainingStopped(ModelError):
    pass


class DatabaseLost(ModelError):
    pass
