"""Who watches a study."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from automl.core.record import PastTrial, StudySpec, TrialEnd, TrialStart

if TYPE_CHECKING:  # who watches needs no torch
    from automl.core.run import Report
    from automl.core.study import StudyResult


class Observer(Protocol):
    """Somebody who watches a study: a progress display, a log. Must not raise."""

    def study_started(self, study: int, spec: StudySpec, past: list[PastTrial]) -> None:
        """The driver begins or continues."""

    def trial_started(self, trial: TrialStart) -> None:
        """A trial was handed out."""

    def trial_reported(self, number: int, report: Report) -> None:
        """A running trial reported."""

    def trial_ended(self, trial: TrialEnd, best: int | None) -> None:
        """A trial ended; ``best`` is the best complete trial so far."""

    def notice(self, text: str) -> None:
        """Something the user should know, in one sentence."""

    def study_ended(self, result: StudyResult) -> None:
        """The driver is done."""


class Silent:
    """An observer that shows nothing."""

    def study_started(self, study: int, spec: StudySpec, past: list[PastTrial]) -> None:
        """Nothing."""

    def trial_started(self, trial: TrialStart) -> None:
        """Nothing."""

    def trial_reported(self, number: int, report: Report) -> None:
        """Nothing."""

    def trial_ended(self, trial: TrialEnd, best: int | None) -> None:
        """Nothing."""

    def notice(self, text: str) -> None:
        """Nothing."""

    def study_ended(self, result: StudyResult) -> None:
        """Nothing."""
