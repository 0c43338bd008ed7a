"""The model database as tools for language models, over the Model Context Protocol (stdio).

Standard output carries the protocol, so nothing else may print there.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations

from automl import dataset_db
from automl.core.errors import AutoMLError, ConfigError, StudyError, UnknownName, did_you_mean
from automl.dataset_db.pages import model_page
from automl.dataset_db.types import portable
from automl.ui import actions
from automl.ui.warm import asked

ROWS = 100  # of a list, at most
TEXT = 500_000  # characters of code that a tool takes
TRIALS = 50  # of a search
SECONDS = 1800.0
GRACE = 15.0  # how long a search may take to stop
INSTRUCTIONS = (
    "Ask a database of neural networks: what was tried on which dataset, with which code, "
    "hyperparameters and scores. A model's reference is STUDY/NUMBER, e.g. 3/0. Scores on one "
    "dataset can be compared, scores of different datasets cannot."
)
Answer = dict[str, Any]


def told(function: Callable[..., Answer]) -> Callable[..., Answer]:
    """A tool whose errors reach the model as one sentence, and whose answer is plain JSON."""

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Answer:
        try:
            answer = function(*args, **kwargs)
        except AutoMLError as error:
            raise ToolError(str(error)) from error
        plain: Answer = json.loads(json.dumps(portable(answer), default=str))
        return plain

    return call


def checked(limit: int) -> int:
    """A number of rows within bounds."""
    if not 1 <= limit <= ROWS:
        raise ConfigError(f"limit={limit} must be from 1 to {ROWS}")
    return limit


class Questions:
    """The tools that only read.

    Optional texts are empty by default rather than ``None``: the protocol's package would read a
    text that looks like JSON as JSON where it may be something else than text.
    """

    def __init__(self, db: str | None) -> None:
        self.db = db

    def studies(self, plugin: str = "", dataset: str = "", limit: int = 20) -> Answer:
        """List the latest searches: state, dataset, metric, best value, trials done."""
        found = dataset_db.studies(
            self.db, plugin=plugin or None, dataset=dataset or None, limit=checked(limit)
        )
        return {"studies": found}

    def models(
        self,
        plugin: str = "",
        dataset: str = "",
        study: int | None = None,
        limit: int = 20,
        after: str = "",
    ) -> Answer:
        """List trained models, the best first, with hyperparameters and scores but without code.

        `plugin` is a network's name. Give `next` of an answer as `after` for the next page.
        """
        found = model_page(
            self.db,
            plugin=plugin or None,
            dataset=dataset or None,
            study=study,
            limit=checked(limit),
            after=after or None,
        )
        return {"models": found["rows"], "next": found["next"]}

    def model(self, reference: str, code: bool = True) -> Answer:
        """One model: configuration, scores, curve, files and, by default, its source code."""
        return actions.show(reference, code=code, db=self.db)

    def best(self, plugin: str = "", dataset: str = "", study: int | None = None) -> Answer:
        """The best model of a plugin, a dataset or a study."""
        names = {"plugin": plugin or None, "dataset": dataset or None}
        return actions.best(**names, study=study, db=self.db)

    def leaderboard(self, dataset: str = "", metric: str = "", limit: int = 20) -> Answer:
        """Rank the networks on a dataset; by default on that of the latest search."""
        return actions.leaderboard(
            dataset or None, metric=metric or None, limit=checked(limit), db=self.db
        )

    def curves(self, study: int, metric: str, split: str = "valid") -> Answer:
        """What each trial of a study reported of a metric: number -> list of step and value."""
        return {"curves": dataset_db.curves(study, self.db, metric=metric, split=split)}

    def similar_code(self, code: str, threshold: float = 0.9, limit: int = 10) -> Answer:
        """Recorded networks whose code is like a text: duplicates and near-duplicates of it."""
        if len(code) > TEXT:
            raise ConfigError(f"code has {len(code)} characters: at most {TEXT} are compared")
        band = (threshold, 1.0)
        return {"networks": dataset_db.similar(self.db, text=code, band=band, limit=checked(limit))}

    def database(self) -> Answer:
        """What the database holds."""
        return dataset_db.info(self.db)

    def plugins(self) -> Answer:
        """The plugins that can be searched, one per research paper, and the datasets they learn."""
        from automl.core.discovery import catalogue
        from automl.ui.listing import dataset_rows, plugin_rows

        found = catalogue()
        return {"plugins": plugin_rows(found), "datasets": dataset_rows(found)}


class Searches:
    """The tools that train: one search at a time, in a process of its own."""

    def __init__(self, db: str | None) -> None:
        self.db = db
        self.process: subprocess.Popen[bytes] | None = None
        self.folder = tempfile.TemporaryDirectory(prefix="automl-mcp-")
        self.out = Path(self.folder.name) / "out"
        self.log = Path(self.folder.name) / "log"

    def start_search(
        self,
        plugin: str,
        dataset: str = "",
        trials: int = 5,
        seconds: float = 300,
        warm_start: str = "",
        warm_trials: int = 0,
    ) -> Answer:
        """Start a small search of an installed plugin's architectures on a dataset.

        Returns at once; ask `search_result` how it goes. With `warm_start` the best configurations
        on record are tried first, up to `warm_trials` (4): `auto` takes those of similar datasets,
        a number those of that study, a name those of that dataset.
        """
        from automl.core.discovery import catalogue

        if self.process is not None and self.process.poll() is None:
            raise StudyError("a search is running: ask search_result, or wait")
        known = [card.name for card in catalogue().architectures()]
        if plugin not in known:  # a folder would be code of the model's choice
            raise UnknownName(
                f"there is no installed plugin {plugin!r}.{did_you_mean(plugin, known)}"
            )
        if not 1 <= trials <= TRIALS or not 1 <= seconds <= SECONDS:
            raise ConfigError(
                f"trials={trials}, seconds={seconds}: at most {TRIALS} trials and {SECONDS:g} "
                "seconds, and at least 1 of each"
            )
        command = [sys.executable, "-m", "automl.ui.cli", "search", "--json"]
        command += [f"--plugin={plugin}", f"--trials={trials}", f"--timeout={seconds:g}"]
        command += [f"--dataset={dataset}"] * bool(dataset) + [f"--db={self.db}"] * bool(self.db)
        if warm := asked(warm_start or None, warm_trials or None):
            command += [f"--warm-start={warm.source}", f"--warm-trials={warm.trials}"]
        with self.out.open("wb") as out, self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=log, env=dict(os.environ)
            )
        return {"state": "running", "plugin": plugin, "trials": trials}

    def search_result(self) -> Answer:
        """How the latest search goes: `running`, or its winner, or why it failed."""
        if self.process is None:
            raise StudyError("no search was started here")
        code = self.process.poll()
        if code is None:
            return {"state": "running"}
        try:
            answer: Answer = json.loads(self.out.read_text(encoding="utf-8"))
        except ValueError:
            lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            return {"state": "failed", "code": code, "message": "\n".join(lines[-5:])}
        return answer

    def stop(self) -> None:
        """End a search that still runs; it can be resumed."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(GRACE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.folder.cleanup()


def serve(db: str | None, *, allow_search: bool) -> None:
    """Answer on standard input and output until the client hangs up."""
    questions, searches = Questions(db), Searches(db)
    server = MCPServer("automl", instructions=INSTRUCTIONS, log_level="WARNING")
    reading: list[Callable[..., Answer]] = [
        *(questions.studies, questions.models, questions.model, questions.best),
        *(questions.leaderboard, questions.curves, questions.similar_code),
        *(questions.database, questions.plugins),
    ]
    for question in reading:
        annotations = ToolAnnotations(read_only_hint=True, open_world_hint=False)
        server.tool(annotations=annotations)(told(question))
    if allow_search:
        changing: list[Callable[..., Answer]] = [searches.start_search, searches.search_result]
        for tool in changing:
            server.tool(annotations=ToolAnnotations(read_only_hint=False))(told(tool))
    try:
        server.run("stdio")
    finally:
        searches.stop()
