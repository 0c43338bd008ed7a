"""A database with a bit of everything, served by uvicorn over a real socket."""

from __future__ import annotations

import copy
import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest

from automl.core.record import Failure, TrialEnd, TrialStart
from automl.dataset_db.lemur.importer import import_lemur
from automl.dataset_db.store import Store
from automl.ui.http.address import listen
from automl.ui.http.app import create_app
from automl.ui.http.server import uvicorn_of
from automl.ui.http.settings import Limits, Served
from tests.dataset_db.conftest import SPEC
from tests.dataset_db.test_lemur import published, wheel

TOKEN = "a-token-of-some-length"
WEIGHTS = b"weights" * 1000


@dataclass(frozen=True)
class Site:
    """A server and what it serves."""

    client: httpx.Client
    db: str
    artifacts: Path
    search: int
    claim: int

    def get(self, path: str, **query: object) -> object:
        """The JSON of a request that is answered."""
        answer = self.client.get(path, params=query)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/json"
        return answer.json()


def fill(db: str, artifacts: Path, folder: Path) -> tuple[int, int]:
    """Record a search, the runs of a claim and an import; return the first two."""
    with Store(db, artifacts=artifacts) as store:
        search = store.create_study(copy.deepcopy(SPEC))
        for number in range(6):
            config = {"x": number / 10, "n": 3, "wild": float("inf")}
            store.start_trial(search, TrialStart(number, "tested", number, {}, config))
            scores = {"accuracy": number / 10, "nll": 1 - number / 10}
            for step in (1, 2):
                store.report(search, number, step, "valid", scores)
            end = TrialEnd(number, "complete", number / 10, scores, 2, 0.5, 10 * (6 - number))
            if number == 0:
                failure = Failure("NaN", "loss is not a number", "", "")
                end = TrialEnd(number, "failed", failure=failure)
            if number == 5:
                weights = store.folder(search) / "trial-00005.safetensors"
                weights.parent.mkdir(parents=True, exist_ok=True)
                weights.write_bytes(WEIGHTS)
                sha256 = hashlib.sha256(WEIGHTS).hexdigest()
                about = {"weights": weights, "weights_bytes": len(WEIGHTS)}
                end = replace(end, **about, weights_sha256=sha256)
            store.finish_trial(search, end)
        store.close_study(search, "complete", 5, 3.0)
        claim = store.create_study(replace(copy.deepcopy(SPEC), kind="claim", name="claimed"))
        store.start_trial(claim, TrialStart(0, "tested", 0, {}, {}, label="ours"))
        store.finish_trial(claim, TrialEnd(0, "complete", 0.9, {"accuracy": 0.9}, 1, 0.1))
    import_lemur(wheel(folder / "some.whl", published()), db)
    return search, claim


@contextmanager
def running(served: Served) -> Iterator[str]:
    """A server in a thread; its address."""
    listener = listen("127.0.0.1", 0)
    server = uvicorn_of(create_app(served))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=20)
        listener.close()


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def filled(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path, int, int]:
    """The database, the artifact folder, the search and the claim's study."""
    folder = tmp_path_factory.mktemp("served")
    db = str(folder / "models.db")
    if request.param == "postgresql":
        db = request.getfixturevalue("postgres_server").create()
    return db, folder / "artifacts", *fill(db, folder / "artifacts", folder)


@pytest.fixture(scope="module")
def site(filled: tuple[str, Path, int, int]) -> Iterator[Site]:
    """All of it served, with a token."""
    db, artifacts, search, claim = filled
    limits = Limits(rate=1e5, burst=10**5)
    with (
        running(Served(db=db, artifacts=artifacts, token=TOKEN, limits=limits)) as url,
        httpx.Client(base_url=url) as client,
    ):
        yield Site(client, db, artifacts, search, claim)


@pytest.fixture
def small_db(tmp_path: Path) -> str:
    """A SQLite database with one trial."""
    with Store(tmp_path / "small.db", artifacts=tmp_path / "artifacts") as store:
        study = store.create_study(copy.deepcopy(SPEC))
        store.start_trial(study, TrialStart(0, "tested", 0, {}, {}))
        store.finish_trial(study, TrialEnd(0, "complete", 0.9, {"accuracy": 0.9}, 1, 0.1))
    return str(tmp_path / "small.db")


@pytest.fixture
def serve(small_db: str) -> Iterator[Callable[..., httpx.Client]]:
    """Serves that one with limits of its own; returns a client."""
    opened: list[tuple[object, httpx.Client]] = []

    def start(**changes: object) -> httpx.Client:
        limits = Limits(**changes.pop("limits", {}))
        context = running(Served(db=small_db, limits=limits, **changes))
        client = httpx.Client(base_url=context.__enter__())
        opened.append((context, client))
        return client

    yield start
    for context, client in opened:
        client.close()
        context.__exit__(None, None, None)


def error_of(answer: httpx.Response, status: int, kind: str) -> str:
    """The message of a refusal, which has the one form that all have."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    body = json.loads(answer.content)
    assert body.keys() == {"error"}
    assert body["error"].keys() <= {"kind", "message", "hint"}
    assert body["error"]["kind"] == kind
    assert "Traceback" not in answer.text
    return str(body["error"]["message"])
