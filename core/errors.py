"""Every error a user can cause. Each message says what was given, what is wrong and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from automl.core.sandbox.host import Ending


class AutoMLError(Exception):
    """Base class. The command line prints the message without a traceback and exits with 2."""


class UnknownName(AutoMLError):
    """Nothing of that kind has that name."""


class BrokenPlugin(AutoMLError):
    """An installed distribution could not be imported, or registers something invalid."""


class ConfigError(AutoMLError, ValueError):
    """A setting has a value that its declaration does not allow, or does not exist."""


class DataError(AutoMLError, ValueError):
    """A dataset or an input tensor is not what the problem asks for."""


class BudgetError(AutoMLError, ValueError):
    """A budget is not a positive number."""


class CheckpointError(AutoMLError):
    """A checkpoint or a weights file cannot be read."""


class TrialError(AutoMLError):
    """A fit broke the contract: scores that are not finite, no report, wrong metrics."""


class StudyError(AutoMLError):
    """A study cannot be continued: it is running elsewhere, or its plugin is gone."""


class DatabaseError(AutoMLError):
    """The model database cannot be opened, read or written."""


class DatabaseAway(DatabaseError):
    """The server of the model database does not answer any more; it may come back."""


class QueryTimeout(DatabaseError):
    """A question to the model database took longer than allowed."""


class ExportError(AutoMLError):
    """A model cannot be exported, or its exported file disagrees with PyTorch."""


class PolicyError(AutoMLError, ValueError):
    """Untrusted code says something that is not allowed; the message names file and line."""


class SandboxError(AutoMLError):
    """Untrusted code broke a limit or failed; ``ending`` says at which stage and how."""

    def __init__(self, ending: Ending) -> None:
        super().__init__(str(ending))
        self.ending = ending


class MissingExtra(AutoMLError):
    """An optional dependency is not installed; the message names the extra that brings it."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the closest known name, or an empty string."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else ""
