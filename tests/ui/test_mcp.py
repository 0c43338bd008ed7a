"""The tools for language models, asked by the protocol's own client over stdio."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mcp")

from mcp import Client
from mcp.client.stdio import StdioServerParameters

from automl.core.record import PluginRecord, StudySpec, TrialEnd, TrialStart
from automl.dataset_db.store import Store

CODE = "def net(x):\n" + "\n".join(f"    x = layer(x, {n})" for n in range(30)) + "\n    return x\n"
READING = {
    *("studies", "models", "model", "best", "leaderboard", "curves", "similar_code"),
    *("database", "plugins"),
}


@pytest.fixture
def db(tmp_path: Path) -> str:
    """A database with a study of three trials."""
    paper = {"title": "A paper", "year": 2020, "arxiv": "", "authors": ""}
    spec = StudySpec(
        name="tested",
        kind="search",
        plugins=(PluginRecord("tested", 1, paper, {"net.py": CODE}),),
        dataset="spirals",
        info={"name": "spirals", "problem": "tabular-classification"},
        metrics=(("accuracy", "max", ""),),
        space={},
        settings={},
        environment={},
        trials=3,
        timeout=None,
        seed=0,
    )
    path = str(tmp_path / "models.db")
    with Store(path, artifacts=tmp_path / "artifacts") as store:
        study = store.create_study(spec)
        for number in range(3):
            store.start_trial(study, TrialStart(number, "tested", number, {"x": 0.5}, {"x": 0.5}))
            store.report(study, number, 1, "valid", {"accuracy": 0.3})
            scores = {"accuracy": 0.3 * (number + 1)}
            value = scores["accuracy"]
            store.finish_trial(study, TrialEnd(number, "complete", value, scores, 1, 0.25))
        store.close_study(study, "complete", 2, 1.0)
    return path


@pytest.fixture
def ask(db: str, tmp_path: Path) -> Callable[..., Any]:
    """Runs a conversation with the server."""

    def run(talk: Callable[[Client], Any], *options: str) -> Any:
        arguments = ["-m", "automl.ui.cli", "mcp", "--db", db, *options]
        environment = {"AUTOML_ARTIFACTS": str(tmp_path / "artifacts")}
        place = StdioServerParameters(command=sys.executable, args=arguments, env=environment)

        async def conversation() -> Any:
            async with Client(place, read_timeout_seconds=120) as client:
                return await talk(client)

        return asyncio.run(conversation())

    return run


async def answer(client: Client, tool: str, **arguments: Any) -> Any:
    """The answer of a tool."""
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    return result.structured_content


def test_a_conversation(ask) -> None:
    async def talk(client: Client) -> None:
        tools = (await client.list_tools()).tools
        assert {tool.name for tool in tools} == READING
        assert all(tool.annotations.read_only_hint and tool.description for tool in tools)
        (study,) = (await answer(client, "studies"))["studies"]
        assert (study["dataset"], study["n_complete"]) == ("spirals", 3)
        page = await answer(client, "models", dataset="spirals", limit=2)
        assert [row["number"] for row in page["models"]] == [2, 1]
        rest = await answer(client, "models", dataset="spirals", limit=2, after=page["next"])
        assert [row["number"] for row in rest["models"]] == [0]
        model = await answer(client, "model", reference="1/2")
        assert model["code"] == {"net.py": CODE}
        assert "code" not in await answer(client, "model", reference="1/2", code=False)
        assert (await answer(client, "best", dataset="spirals"))["reference"] == "1/2"
        board = await answer(client, "leaderboard", dataset="spirals")
        assert [row["plugin"] for row in board["rows"]] == ["tested"]
        curves = await answer(client, "curves", study=1, metric="accuracy")
        assert curves["curves"]["0"] == [[1, 0.3]]
        found = await answer(client, "similar_code", code="# copied\n" + CODE)
        assert [(n["plugin"], n["exact"]) for n in found["networks"]] == [("tested", True)]
        assert (await answer(client, "database"))["trial rows"] == 3
        assert "selu" in str(await answer(client, "plugins"))

    ask(talk)


@pytest.mark.parametrize(
    ("tool", "arguments", "said"),
    [
        ("model", {"reference": "9/9"}, "9/9"),
        ("models", {"limit": 1000}, "limit=1000 must be from 1 to 100"),
        ("similar_code", {"code": "x", "threshold": 1.1}, "the lower one first"),
        ("similar_code", {"code": "x" * 500_001}, "at most 500000 are compared"),
        ("start_search", {"plugin": "selu"}, "start_search"),
    ],
)
def test_what_is_wrong_is_told_in_a_sentence(ask, tool: str, arguments, said: str) -> None:
    async def talk(client: Client) -> Any:
        return await client.call_tool(tool, arguments)

    result = ask(talk)
    assert result.is_error
    assert said in result.content[0].text
    assert "Traceback" not in result.content[0].text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"plugin": "./mine"}, "there is no installed plugin './mine'"),
        ({"plugin": "selu", "trials": 1000}, "at most 50 trials"),
        ({"plugin": "selu", "seconds": float(10**9)}, "at most 50 trials and 1800"),
        ({"plugin": "selu", "warm_trials": 2}, "warm_trials=2 needs a warm start"),
    ],
)
def test_searches_are_small_and_of_installed_plugins(ask, arguments, said: str) -> None:
    async def talk(client: Client) -> Any:
        return await client.call_tool("start_search", arguments)

    result = ask(talk, "--allow-search")
    assert result.is_error and said in result.content[0].text


async def ended(client: Client) -> Any:
    """The result of the search that runs."""
    deadline = time.monotonic() + 200
    while (found := await answer(client, "search_result"))["state"] == "running":
        assert time.monotonic() < deadline
        await asyncio.sleep(1)
    return found


@pytest.mark.slow
def test_a_search_is_started_and_recorded(ask) -> None:
    async def talk(client: Client) -> Any:
        await answer(client, "start_search", plugin="selu", warm_start="99")
        failed = await ended(client)
        assert failed["state"] == "failed" and "there is no search or import 99" in str(failed)
        job = {"plugin": "ntk_svm", "dataset": "spirals:train_size=200", "warm_start": "auto"}
        await answer(client, "start_search", trials=1, seconds=120, **job)
        second = await client.call_tool("start_search", {"plugin": "selu"})
        assert second.is_error and "a search is running" in second.content[0].text
        found = await ended(client)
        studies = (await answer(client, "studies"))["studies"]
        assert studies[0]["id"] == found["study"]
        return found

    assert ask(talk, "--allow-search")["trials"]["complete"] == 1


def test_the_extra_is_named_when_it_is_missing(monkeypatch) -> None:
    from automl.core.errors import MissingExtra
    from automl.ui import actions

    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"automl-papers\[mcp\]"):
        actions.mcp(None, allow_search=False)
