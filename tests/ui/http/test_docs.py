"""What docs/api.md shows can be asked."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent

from tests.ui.http.conftest import Site

TEXT = (Path(__file__).parents[3] / "docs" / "api.md").read_text()


def test_every_request_in_the_documentation_is_answered(site: Site) -> None:
    asked = [
        request
        for row in re.findall(r"^\|.*\|$", TEXT, flags=re.MULTILINE)
        for request in re.findall(r"`(/[^`]+)`", row)
    ]
    assert len(asked) > 25
    for request in asked:
        answer = site.client.get(request)
        assert answer.status_code == 200, (request, answer.text)
    told = {re.sub(r"/\d+", "/{}", request.partition("?")[0]) for request in asked}
    paths = {
        re.sub(r"{\w+}", "{}", path)
        for path, methods in site.get("/openapi.json")["paths"].items()
        if "get" in methods
    }
    assert paths - told == {"/", "/v1/trials/{}/exports"}


def test_the_python_in_the_documentation_runs(site: Site, monkeypatch) -> None:
    monkeypatch.setenv("AUTOML_DB", site.db)
    block = re.search(r"## Python\n((?:    .*\n|\n)+)", TEXT)
    assert block
    names: dict[str, object] = {}
    exec(dedent(block.group(1)), names)
    assert len(names["curve"]) == 5  # type: ignore[arg-type]
    assert names["record"]["code"]  # type: ignore[index]
