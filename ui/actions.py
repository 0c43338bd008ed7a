"""What the command line, the browser and Python programs do: engine, database and export joined."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from automl import dataset_db
from automl.core.errors import CheckpointError, ConfigError, MissingExtra
from automl.dataset_db import query
from automl.ui.warm import asked, warmed

if TYPE_CHECKING:
    from automl.core.check import Finding
    from automl.core.observer import Observer
    from automl.core.study import StudyResult
    from automl.core.trial import TrialTask
    from automl.dataset_db.store import Store

DEFAULT_TRIALS = 20
Row = dict[str, Any]


@contextmanager
def opened(db: str | None, observer: Observer | None = None) -> Iterator[Store]:
    """The model database, open for writing; the observer's display is closed with it."""
    store = dataset_db.Store(db)
    try:
        yield store
    finally:
        close = getattr(observer, "close", None)
        if close is not None:
            close()
        store.close()


# ---------------------------------------------------------------- search


def own_data(
    data: str | Path,
    *,
    notice: Callable[[str], None] = lambda text: None,
    **options: Any,
) -> str:
    """Prepare a user's own data (a table, arrays or a folder of images); return its dataset.

    ``options`` are the fields of ``automl.core.own.ingest.Ingest``: target, problem, ...

    Raises:
        DataError: for anything wrong with the data.
        ConfigError: for options that do not fit it.
    """
    from automl.core.own.ingest import Ingest, ingest

    return ingest(Path(data).expanduser(), Ingest.from_dict(options), notice)


def search(  # noqa: PLR0913  all but the first two by keyword
    plugin: str | Sequence[str] = (),
    dataset: str = "",
    *,
    data: str | Path | None = None,
    data_options: Mapping[str, Any] | None = None,
    trials: int | None = None,
    timeout: float | None = None,
    overrides: Sequence[str] = (),
    techniques: Sequence[str] = (),
    name: str = "",
    warm_start: str | int | bool | None = None,
    warm_trials: int | None = None,
    db: str | None = None,
    observer: Observer | None = None,
    **settings: Any,
) -> StudyResult:
    """Search the spaces of plugins; ``settings`` are the fields of ``SearchSettings``.

    Several plugins compete under one budget; without one, all that can learn the dataset do.
    ``data`` is a file or folder of the user's own in place of a dataset's name, read as
    ``data_options`` say (see ``own_data``). Without ``trials`` and ``timeout`` (seconds) the
    budget is 20 trials. With ``warm_start`` the best configurations on record are tried right
    after trial 0, up to ``warm_trials`` (4) of each plugin: those of similar datasets ("auto" or
    True), of a study (its number) or of a dataset (its name).

    Raises:
        AutoMLError: for anything the caller can put right; nothing is recorded then.
    """
    from automl.core.discovery import catalogue
    from automl.core.study import Budget, SearchSettings

    if not plugin and not dataset and data is None:
        raise ConfigError(
            "say what to search: a plugin (--plugin ptrnet), or data that all plugins may learn "
            "(--dataset digits, --data table.csv)"
        )
    plugins = (plugin,) if isinstance(plugin, str) else tuple(plugin)
    budget = Budget(DEFAULT_TRIALS if trials is None and timeout is None else trials, timeout)
    chosen = SearchSettings.from_dict(settings)
    for reference in plugins:
        catalogue().plugin_card(reference)  # a name that nobody has is told before torch is loaded
    if data is not None and dataset:
        raise ConfigError("give --data or --dataset, not both")
    if data is None and data_options:
        raise ConfigError(f"{', '.join(data_options)} describe own data: give --data FILE too")
    from automl.core.entrants import Job
    from automl.core.search import search as run

    warm = asked(warm_start, warm_trials)
    notice = observer.notice if observer is not None else (lambda text: None)
    if data is not None:
        dataset = own_data(data, notice=notice, **(data_options or {}))
    job = Job(plugins, budget, dataset, tuple(overrides), tuple(techniques), chosen, name)
    with opened(db, observer) as store:
        if warm is not None:
            job = warmed(job, warm, db, notice)
        return run(job, store, observer)


def resume(
    study: int,
    *,
    trials: int | None = None,
    timeout: float | None = None,
    accept_changes: bool = False,
    ray_address: str | None = None,
    db: str | None = None,
    observer: Observer | None = None,
) -> StudyResult:
    """Continue a study within its budgets, or new total ones.

    ``accept_changes`` forks a study whose plugins have changed since it began: a new one with
    their new code and what is left of the budget. ``ray_address`` moves one that runs on Ray to
    another cluster, or "local".

    Raises:
        StudyError: if it does not exist, is running elsewhere, or its plugins have changed.
    """
    from automl.core.search import resume as run

    with opened(db, observer) as store:
        return run(
            study,
            store,
            trials=trials,
            timeout=timeout,
            accept_changes=accept_changes,
            ray_address=ray_address,
            observer=observer,
        )


def reproduce(
    plugin: str,
    claims: Sequence[str] = (),
    *,
    scale: str = "small",
    fresh: bool = False,
    db: str | None = None,
    observer: Observer | None = None,
    **settings: Any,
) -> list[Row]:
    """Check a paper's claims; the verdicts as ``claims`` returns them.

    Raises:
        UnknownName: if there is no such plugin or claim.
    """
    from automl.core.reproduce import Request
    from automl.core.reproduce import reproduce as run
    from automl.core.study import SearchSettings

    request = Request(plugin, tuple(claims), scale, fresh, SearchSettings.from_dict(settings))
    with opened(db, observer) as store:
        verdicts = run(request, store, observer)
    names = {verdict.claim for verdict in verdicts}
    found = query.claims(db, plugin=verdicts[0].plugin) if verdicts else []
    return [row for row in found if row["claim"] in names and row["scale"] == scale]


def check_plugin(plugin: str) -> Iterator[Finding]:
    """Try all laws on a plugin, the ONNX one included if the export extra is installed."""
    from automl.core.check import LAWS, Case, check
    from automl.core.discovery import catalogue

    catalogue().plugin(plugin)  # a broken or unknown plugin is one sentence, not sixteen
    laws = LAWS
    try:
        from automl.export.law import export_matches_torch

        laws = (*LAWS, export_matches_torch)
    except MissingExtra:
        pass
    return check(Case(plugin), laws)


# ---------------------------------------------------------------- looking


def studies(*, db: str | None = None, **filters: Any) -> list[Row]:
    """The studies, the newest first; ``filters`` are those of ``query.studies``."""
    return query.studies(db, **filters)


def trials(study: int, *, limit: int = 20, db: str | None = None) -> list[Row]:
    """A study's trials, the best first."""
    about = query.study(study, db)
    found = query.trials(study, db, limit=limit)
    return [{**row, "metric": about["metric"]} for row in found]


def resolve(reference: str, plugin: str | None, db: str | None) -> str:
    """``best`` as the reference of a trial; anything else unchanged."""
    return query.best(db, plugin=plugin) if reference == "best" else reference


def best(
    *,
    plugin: str | None = None,
    dataset: str | None = None,
    study: int | None = None,
    db: str | None = None,
) -> Row:
    """The best model's record."""
    return query.trial(query.best(db, plugin=plugin, dataset=dataset, study=study), db)


def front(study: int, *, db: str | None = None) -> Row:
    """The values of a study's objectives, its Pareto front and the knee."""
    from automl.dataset_db.fronts import pareto_front

    return pareto_front(study, db)


def show(
    reference: str, *, plugin: str | None = None, code: bool = False, db: str | None = None
) -> Row:
    """A model's record."""
    return query.trial(resolve(reference, plugin, db), db, code=code)


def leaderboard(
    dataset: str | None = None,
    *,
    metric: str | None = None,
    limit: int = 100,
    db: str | None = None,
) -> Row:
    """The best model of each plugin on a dataset, by default that of the latest search."""
    from automl.dataset_db import ranking

    return ranking.leaderboard(dataset, db, metric=metric, limit=limit)


def claims(plugin: str | None = None, *, db: str | None = None) -> list[Row]:
    """The latest verdict on each claim."""
    return query.claims(db, plugin=plugin)


def info(*, db: str | None = None) -> Row:
    """What the database holds."""
    return query.info(db)


# ---------------------------------------------------------------- one model


def task_of(row: Row) -> TrialTask:
    """The task that rebuilds a recorded trial's model.

    Raises:
        CheckpointError: if no weights are on record, or their file is gone.
    """
    from automl.core.trial import TrialTask

    files = [a["file"] for a in row["artifacts"] if a["kind"] == "weights"]
    if not files:
        raise CheckpointError(
            f"trial {row['reference']} is {row['state']} and has no weights; "
            "only complete trials keep them"
        )
    if not Path(files[0]).exists():
        raise CheckpointError(f"the weights of trial {row['reference']} are gone: {files[0]}")
    return TrialTask(
        plugin=row["settings"]["plugins"][row["plugin"]]["reference"],
        dataset=row["dataset"],
        config=row["config"],
        number=row["number"],
        seed=row["seed"],
        folder=str(Path(files[0]).parent),
        techniques=row["techniques"],
    )


def probe(
    reference: str, probe: str, *, plugin: str | None = None, db: str | None = None
) -> dict[str, float]:
    """Measure a model with a probe and record the numbers.

    Raises:
        UnknownName: if there is no such probe or trial.
        ConfigError: if the probe does not apply to the model's problem.
    """
    from automl.core.cards import ProbeCard
    from automl.core.discovery import catalogue
    from automl.core.trial import load_model

    card = catalogue().card(ProbeCard, probe)
    row = query.trial(resolve(reference, plugin, db), db)
    if card.problems and row["problem"] not in card.problems:
        raise ConfigError(
            f"probe {probe!r} measures {', '.join(card.problems)}, not {row['problem']}"
        )
    found, model, config, dataset = load_model(task_of(row))
    numbers: dict[str, float] = card.load()().measure(found, model, config, dataset)
    with opened(db) as store:
        store.record_probe(row["id"], probe, numbers)
    return numbers


def mcp(db: str | None, *, allow_search: bool) -> None:
    """Answer a language model on standard input and output until it hangs up.

    Raises:
        MissingExtra: if the mcp extra is not installed.
    """
    import importlib.util

    if importlib.util.find_spec("mcp") is None:
        raise MissingExtra('tools for language models need mcp: pip install "automl-papers[mcp]"')
    from automl.ui.mcp_server import serve

    serve(db, allow_search=allow_search)
