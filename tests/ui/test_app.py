"""The browser application's logic without a browser: states of the database, hostile names."""

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from hypothesis import given, strategies
from streamlit.testing.v1 import AppTest

from automl.core.errors import AutoMLError
from automl.dataset_db import Store, query
from automl.dataset_db.lemur.importer import import_lemur
from automl.ui import actions, exporting
from automl.ui.views import compare, picking, study_trials
from automl.ui.views.frame import literal
from tests.conftest import PluginMaker
from tests.dataset_db.test_lemur import NET, record, wheel
from tests.dataset_db.test_ranking import ABOUT

PAGES = ("home", "study", "model", "ranking", "papers")
FAST = {"executor": "inline", "pruner": "none"}


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    """What one test's application has kept is of another database."""
    st.cache_data.clear()
    yield
    st.cache_data.clear()


def drawn(page: str = "home", **address: str) -> AppTest:
    """The application at one of its pages; the browser test walks through the whole."""
    script = f"from automl.ui.views import places; places.run({page!r})"
    app = AppTest.from_string(script, default_timeout=200)
    for key, value in address.items():
        app.query_params[key] = value
    return app.run()


def said(app: AppTest) -> str:
    """All sentences of a page, as they are read."""
    assert not app.exception, app.exception
    words = (*app.info, *app.error, *app.warning, *app.caption)
    return " ".join(str(element.value) for element in words).replace("\\", "")


def figures(app: AppTest) -> dict[str, str]:
    return {metric.label: str(metric.value) for metric in app.metric}


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize("page", PAGES)
def test_without_a_database_it_says_what_to_do(page: str) -> None:
    assert "automl search --plugin ptrnet" in said(drawn(page))


@pytest.mark.parametrize(
    ("page", "what"),
    [
        ("home", "automl search --plugin ptrnet"),
        ("study", "automl search --plugin ptrnet"),
        ("model", "automl studies"),
        ("ranking", "automl search --dataset digits"),
        ("papers", "Its claims were not checked here yet"),
    ],
)
def test_an_empty_database_says_what_to_do(page: str, what: str) -> None:
    Store().close()
    assert what in said(drawn(page))


@pytest.mark.parametrize("page", PAGES)
def test_a_newer_database_says_what_to_do(page: str, tmp_path: Path) -> None:
    Store().close()
    with closing(sqlite3.connect(tmp_path / "models.db")) as connection:
        connection.execute("UPDATE automl_version SET version_num = '9999'")
        connection.commit()
    assert "upgrade automl" in said(drawn(page))


def test_a_damaged_database_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "models.db").write_bytes(b"no database at all, but long enough to be looked at")
    assert "models.db" in said(drawn())


@pytest.fixture
def searched(make_plugin: PluginMaker) -> None:
    """A finished search of six trials, with a name that would do harm."""
    actions.search(make_plugin(), trials=6, name="<b>*hostile*</b> [x](http://y)", **FAST)


def forget(tmp_path: Path, number: int) -> None:
    """Delete a trial of the first study, as `automl db prune` does."""
    with closing(sqlite3.connect(tmp_path / "models.db")) as connection:
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("DELETE FROM trial WHERE study_id = 1 AND number = ?", (number,))
        connection.commit()


@pytest.mark.parametrize("view", ["Overview", "Settings", "Trade-offs", "Timeline", "Trials"])
def test_a_trial_that_is_deleted_while_a_page_is_open(searched, tmp_path: Path, view: str) -> None:
    app = drawn("study", study="1", view=view)
    said(app)
    forget(tmp_path, 3)
    said(app.run())
    assert "there is no trial 1/3" in said(drawn("model", trial="1/3"))
    assert "there is no trial 1/3" in said(drawn("compare", trials="1/0,1/3,1/1"))


def test_a_study_that_is_deleted_while_its_page_is_open(searched, tmp_path: Path) -> None:
    app = drawn("study", study="1")
    with closing(sqlite3.connect(tmp_path / "models.db")) as connection:
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("DELETE FROM study")
        connection.commit()
    assert "there is no study 1" in said(app.run())


def test_artifacts_that_are_gone_from_the_disk(searched, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "artifacts")
    for page, address in (("study", {"study": "1"}), ("model", {"trial": "1/0"})):
        said(drawn(page, **address))
    with pytest.raises(AutoMLError, match="weights"):
        exporting.export("1/0", target="cpu")


@pytest.mark.parametrize(
    ("page", "address"),
    [
        ("study", {"study": "99"}),
        ("study", {"study": "x"}),
        ("study", {"study": "²"}),
        ("model", {"trial": "9/9"}),
        ("compare", {"trials": "9/9,zwei"}),
        ("ranking", {"dataset": "nowhere"}),
    ],
)
def test_what_is_gone_is_a_sentence(searched, page: str, address: dict[str, str]) -> None:
    found = said(drawn(page, **address))
    assert "there is no" in found or "nothing was searched" in found


# ---------------------------------------------------------------- pages


def test_home_lists_the_studies(searched) -> None:
    app = drawn()
    assert figures(app)["models"] == "6"
    (table,) = app.dataframe
    assert table.value["trials"].tolist() == ["6 of 6"]
    assert table.value["state"].tolist() == ["● complete"]
    assert len(table.value["best so far"][0]) == 6
    app.text_input(key="filter").set_value("no such thing").run()
    assert "No study matches" in said(app)


@pytest.mark.parametrize("page", ["1", "7", "-1", "x", "9" * 30])
def test_a_page_beyond_the_last_is_the_first(searched, page: str) -> None:
    app = drawn(page=page)
    assert "1 to 1 of 1" in said(app)


def test_other_kinds_of_studies_say_what_to_do(searched) -> None:
    assert "automl db import lemur" in said(drawn(kind="Imported"))
    assert "automl reproduce ptrnet" in said(drawn(kind="Claims"))


def test_a_study_and_its_winner_are_drawn(searched) -> None:
    app = drawn("study", study="1")
    said(app)
    assert figures(app)["trials"] == "6 of 6"
    assert app.title[0].value.count("\\*") == 2
    card = drawn("model", trial="1/0")
    assert "Only complete trials" not in said(card)
    assert any("def fit" in code.value for code in card.code)


def test_trials_that_are_selected_are_those_of_the_table(searched) -> None:
    app = drawn("study", study="1", view="Trials")
    assert len(app.dataframe[0].value) == 6
    app.session_state["picks-1"] = (frozenset({2, 4}), "history", "")
    app.run()
    assert app.dataframe[0].value["trial"].tolist() == ["4", "2"]
    assert any("2 trials selected" in text.value for text in app.markdown)
    app.button(key="clear-picks").click().run()
    assert len(app.dataframe[0].value) == 6
    # Those selected in the table itself leave it as it is: others can be added.
    app.session_state["picks-1"] = (frozenset({2, 4}), "trials", "")
    assert len(app.run().dataframe[0].value) == 6


def test_a_selection_is_in_the_address(searched) -> None:
    app = drawn("study", study="1", view="Trials", picked="1-3,5,99")
    assert app.dataframe[0].value["trial"].tolist() == ["5", "3", "2", "1"]
    assert app.query_params["picked"] == "1-3,5"  # there is no trial 99
    app.query_params["picked"] = "4"  # as the browser's way back does
    assert app.run().dataframe[0].value["trial"].tolist() == ["4"]
    app.button(key="clear-picks").click().run()
    assert "picked" not in app.query_params
    assert len(app.dataframe[0].value) == 6
    for text in ("x", "1-", "1,,2", "7" * 500):
        assert "names no trials: it takes numbers" in said(drawn("study", study="1", picked=text))


@given(strategies.sets(strategies.integers(0, 500), max_size=60))
def test_a_selection_is_what_its_text_says(numbers: set[int]) -> None:
    runs = picking.runs_in(picking.text_of(numbers))
    assert {number for run in runs for number in run} == numbers


def test_the_table_is_ordered_filtered_and_saved(searched) -> None:
    app = drawn("study", study="1", view="Trials")
    app.selectbox(key="sort").set_value("the best first").run()
    values = app.dataframe[0].value["objective"].tolist()
    assert values == sorted(values, reverse=True)
    saved = study_trials.frame_of(query.trials(1))
    assert {"trial", "objective", "seconds", "x"} <= set(saved.columns)
    assert len(saved) == 6


def test_any_two_measures_make_a_trade_off(searched) -> None:
    app = drawn("study", study="1", view="Trade-offs")
    assert "on the front" in said(app)
    app.selectbox(key="across").set_value("nll").run()
    assert "1 of 6 trials are on the front" in said(app)  # accuracy is 1 - nll here
    app.selectbox(key="up").set_value("macs").run()
    said(app)


def test_plugins_that_compete_are_told_apart_and_ranked(make_plugin: PluginMaker) -> None:
    plugins = [make_plugin(name="one"), make_plugin(name="two")]
    actions.search(plugins, "spirals:train_size=200", trials=6, **FAST)
    app = drawn("study", study="1", view="Trials")
    assert set(app.dataframe[0].value["plugin"]) == {"one", "two"}
    app = drawn("study", study="1", view="Settings")
    choice = app.selectbox(key="plugin")
    assert choice.options == ["one", "two"]
    said(choice.set_value("two").run())
    board = drawn("ranking")
    said(board)
    assert set(board.dataframe[0].value["paper or network"]) == {"one", "two"}


def test_a_papers_own_figure_stands_beside_ours(searched, tmp_path: Path) -> None:
    place = query.study(1)["dataset"]
    bar = {"run": "theirs", "on": place, "metric": "accuracy", "paper": "82.6 %"}
    values: dict[str, Any] = {
        **dict.fromkeys(("code_hash", "claim", "statement", "source", "command"), ""),
        **dict.fromkeys(("runs", "studies"), "[]"),
        **{"plugin": "tested", "plugin_version": 1, "scale": "small", "verdict": "reproduced"},
        **{"bars": json.dumps([bar]), "created_at": "2026-01-01 00:00:00"},
    }
    with closing(sqlite3.connect(tmp_path / "models.db")) as connection:
        columns, marks = ", ".join(values), ", ".join("?" * len(values))
        insert = f"INSERT INTO claim_result ({columns}) VALUES ({marks})"
        connection.execute(insert, list(values.values()))
        connection.commit()
    board = drawn("ranking")
    assert "The paper of tested says 82.6 % (theirs)" in said(board)
    assert board.dataframe[0].value["paper's own"].tolist() == ["82.6 %"]


def test_trials_are_compared(searched) -> None:
    app = drawn("compare", trials="1/0, 1/1,1/1")
    assert "Both trials ran the same code." in said(app)
    results, settings = (table.value for table in app.dataframe)
    assert list(results.columns) == ["1/0", "1/1"]
    assert {"accuracy", "nll", "training", "seed"} <= set(results.index)
    assert settings.index.tolist() == ["x"]
    assert "Enter trials" in said(drawn("compare"))
    assert "It takes two trials" in said(drawn("compare", trials="1/0"))


def test_differences_of_code_are_by_file() -> None:
    rows = [{"reference": name, "code": code} for name, code in (
        ("1/0", {"a.py": "x = 1\ny = 2\n", "b.py": "same\n"}),
        ("2/0", {"a.py": "x = 1\ny = 3\n", "b.py": "same\n", "c.py": "new\n"}),
    )]  # fmt: skip
    lines = compare.changes(*rows)
    assert [line for line in lines if line[0] in "+-"] == [
        "--- 1/0 a.py", "+++ 2/0 a.py", "-y = 2", "+y = 3", "--- 1/0 c.py", "+++ 2/0 c.py", "+new",
    ]  # fmt: skip


@pytest.fixture
def imported(tmp_path: Path) -> None:
    """One imported network: no seed, no duration, no parameters."""
    place = "ab/nn/stat/train/img-classification_svhn_acc_cnn-1/1.json"
    files = {"ab/nn/nn/cnn-1.py": NET, place: json.dumps([record(0, 0.75, duration=None)])}
    import_lemur(wheel(tmp_path / "some.whl", ABOUT | files))


def test_imported_records_are_drawn_with_source_and_licence(imported) -> None:
    board = drawn("ranking")
    assert "chosen by their test score" in said(board)
    table = board.dataframe[0].value
    assert table["source"].tolist() == ["lemur-9.9.9"]
    assert table["licence"].tolist() == ["MIT License"]
    assert table["accuracy (test)"].tolist() == [0.75]
    assert drawn(kind="Imported").dataframe[0].value["licence"].tolist() == ["MIT License"]
    for page, address in (("study", {"study": "1"}), ("model", {"trial": "1/0"})):
        assert "lemur-9.9.9: MIT License" in said(drawn(page, **address))
    assert "not on record" in said(drawn("study", study="1", view="Timeline"))
    assert "No complete trial has both" in said(drawn("study", study="1", view="Trade-offs"))
    values = figures(drawn("model", trial="1/0"))
    assert values["accuracy, test"] == "0.75"
    assert values["training"] == "–"


def test_names_from_the_database_are_shown_as_they_are() -> None:
    shown = literal("<b>*hostile*</b> [x](http://y) :material/delete: :red[x] $x$")
    assert "<b>" not in shown.replace("\\<", "").replace("\\>", "")
    assert "\\*hostile\\*" in shown
    assert "\\[x\\]\\(http" in shown
    assert ":material" not in shown
    assert "\\$x\\$" in shown
