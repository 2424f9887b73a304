"""Errors that tell a user what to change.

    PromethiosError            base: the command line prints the message and exits with `exit_code`
      ConfigError              a configuration or ontology file
      TelemetryError           governance telemetry, as tags, mapping, file or HTTP body
      DatasetError             a dataset folder or one of its lines
      TrainingError            a run that cannot go on
      CheckpointError          a checkpoint that cannot be written, read or resumed
        StoreUnavailableError  the object store of checkpoints does not answer; trying again may help
      ModelFolderError         a model folder that is incomplete or does not belong together
      ServingError             the server cannot be started or reached
      ClusterError             a Kubernetes cluster, or a job in it, is not as it must be

A message names the place (file, line or key), the value found, what is allowed and what to do.
Anything else that is raised is a defect of ours and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class PromethiosError(Exception):
    """A mistake that the user can mend; `exit_code` is what a command ends with."""

    exit_code = 2


class ConfigError(PromethiosError):
    """A configuration or ontology file has an unknown key, a wrong type or an impossible value."""


class TelemetryError(PromethiosError):
    """Governance telemetry is malformed; nothing of it was accepted."""


class DatasetError(PromethiosError):
    """A dataset folder or one of its lines is missing or corrupt."""


class TrainingError(PromethiosError):
    """A training run cannot go on: its loss is no number any more."""


class CheckpointError(PromethiosError):
    """A checkpoint could not be written, read or resumed."""


class StoreUnavailableError(CheckpointError):
    """The object store does not answer, or keeps failing: not the user's mistake, so a job tries again."""

    exit_code = 138


class ModelFolderError(PromethiosError):
    """A model folder is incomplete, or its parts do not belong together."""


class ServingError(PromethiosError):
    """The server cannot be started or reached."""


class ClusterError(PromethiosError):
    """A cluster cannot be reached, refuses a request, or cannot run a job; or there is no such job."""


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the closest allowed name, or the list of allowed names."""
    options = list(allowed)
    close = difflib.get_close_matches(name, options, n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else f"; allowed: {', '.join(options)}"
