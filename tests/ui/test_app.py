"""The browser application's logic without a browser: states of the database, hostile names."""

import json
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from automl.dataset_db.lemur.importer import import_lemur
from automl.ui import actions
from tests.dataset_db.test_lemur import NET, record, wheel
from tests.dataset_db.test_ranking import ABOUT


def drawn(page: str = "home", **address: str) -> AppTest:
    """One page by itself; the browser test walks through the whole application."""
    script = f"from automl.ui.views import places; places.run({page!r})"
    app = AppTest.from_string(script, default_timeout=60)
    for key, value in address.items():
        app.query_params[key] = value
    return app.run()


def said(app: AppTest) -> str:
    return " ".join(str(element.value) for element in (*app.info, *app.error, *app.caption))


def test_without_a_database_it_says_what_to_do() -> None:
    app = drawn()
    assert not app.exception
    assert "automl search --plugin ptrnet" in said(app)


def test_an_empty_database_says_what_to_do() -> None:
    from automl.dataset_db import Store

    Store().close()
    app = drawn()
    assert not app.exception
    assert "No studies yet" in said(app)


def test_a_damaged_database_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "models.db").write_bytes(b"no database at all, but long enough to be looked at")
    app = drawn()
    assert not app.exception
    assert "models.db" in said(app)


@pytest.fixture
def searched(make_plugin) -> None:
    plugin = make_plugin()
    settings = {"executor": "inline", "pruner": "none"}
    actions.search(plugin, trials=6, name="<b>*hostile*</b> [x](http://y)", **settings)


def test_home_lists_the_studies(searched) -> None:
    app = drawn()
    assert not app.exception
    (table,) = app.dataframe
    assert table.value["trials"].tolist() == [6]
    assert table.value["best"][0] > 0
    app.text_input[0].set_value("no such thing").run()
    assert "No study matches" in said(app)


def test_a_study_and_its_winner_are_drawn(searched) -> None:
    app = drawn("study", study="1")
    assert not app.exception
    values = {metric.label: metric.value for metric in app.metric}
    assert values["trials"] == "6 of 6"
    card = drawn("model", trial="1/0")
    assert not card.exception
    assert any("Only complete trials" in c.value for c in card.caption) is False
    assert any("def fit" in code.value for code in card.code)


def test_plugins_that_compete_are_told_apart_and_ranked(make_plugin) -> None:
    plugins = [make_plugin(name="one"), make_plugin(name="two")]
    settings = {"executor": "inline", "pruner": "none"}
    actions.search(plugins, "spirals:train_size=200", trials=6, **settings)
    app = drawn("study", study="1")
    assert not app.exception
    assert set(app.dataframe[0].value["plugin"]) == {"one", "two"}
    choice = app.selectbox(key="plugin")
    assert choice.options == ["one", "two"]
    assert not choice.set_value("two").run().exception
    board = drawn("ranking")
    assert not board.exception
    assert set(board.dataframe[0].value["plugin"]) == {"one", "two"}
    assert "nothing was searched on dataset" in said(drawn("ranking", dataset="digits"))


def test_without_searches_the_leaderboard_says_what_to_do() -> None:
    from automl.dataset_db import Store

    Store().close()
    assert "automl search --dataset digits" in said(drawn("ranking"))


@pytest.fixture
def imported(tmp_path: Path) -> None:
    """One imported network: no seed, no duration, no parameters."""
    place = "ab/nn/stat/train/img-classification_svhn_acc_cnn-1/1.json"
    files = {"ab/nn/nn/cnn-1.py": NET, place: json.dumps([record(0, 0.75, duration=None)])}
    import_lemur(wheel(tmp_path / "some.whl", ABOUT | files))


def test_imported_records_are_drawn_with_source_and_licence(imported) -> None:
    board = drawn("ranking")
    assert not board.exception
    table = board.dataframe[0].value
    assert table["source"].tolist() == ["lemur-9.9.9"]
    assert table["licence"].tolist() == ["MIT License"]
    assert table["accuracy (test)"].tolist() == [0.75]
    assert "chosen by their test score" in said(board).replace("\\", "")
    for page, address in (("study", {"study": "1"}), ("model", {"trial": "1/0"})):
        app = drawn(page, **address)
        assert not app.exception
        assert "lemur-9.9.9: MIT License" in said(app).replace("\\", "")
    card = drawn("model", trial="1/0")
    values = {metric.label: metric.value for metric in card.metric}
    assert values["accuracy, test"] == "0.75"
    assert values["training"] == "–"


@pytest.mark.parametrize(
    ("page", "address"),
    [("study", {"study": "99"}), ("study", {"study": "x"}), ("model", {"trial": "9/9"})],
)
def test_what_is_gone_is_a_sentence(searched, page, address) -> None:
    app = drawn(page, **address)
    assert not app.exception
    assert "there is no" in said(app)


def test_names_from_the_database_are_shown_as_they_are(searched) -> None:
    from automl.ui.views.frame import literal

    shown = literal("<b>*hostile*</b> [x](http://y)")
    assert "<b>" not in shown.replace("\\<", "").replace("\\>", "")
    assert "\\*hostile\\*" in shown
    assert "\\[x\\]\\(http" in shown
