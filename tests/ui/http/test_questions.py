"""Every question, asked over a socket on SQLite and PostgreSQL."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import httpx
from sqlalchemy import insert

from automl.dataset_db import engine, query
from automl.dataset_db.schema import ARTIFACT
from tests.ui.http.conftest import TOKEN, WEIGHTS, Site, error_of


def test_what_can_be_asked_is_listed_and_described(site: Site) -> None:
    listed = site.get("/")
    document = site.get("/openapi.json")
    asked = {
        f"{method.upper()} {path}"
        for path, methods in document["paths"].items()
        for method in methods
    }
    assert listed.keys() == asked
    assert "GET /v1/models" in asked
    for path, methods in document["paths"].items():
        for method, about in methods.items():
            assert about["tags"], (method, path)
            assert about["description"], (method, path)
    names = {tag["name"] for tag in document["tags"]}
    assert names == {about["tags"][0] for m in document["paths"].values() for about in m.values()}
    assert site.get("/health")["status"] == "ok"
    assert site.get("/v1/info")["study rows"] == query.info(site.db)["study rows"]


def test_studies_and_trials(site: Site) -> None:
    listed = site.get("/v1/studies", kind="search")
    assert [study["id"] for study in listed] == [site.search]
    assert listed[0]["best_value"] == 0.5
    everything = site.get("/v1/studies", limit=1000)
    pages, last = [], {}
    while page := site.get("/v1/studies", limit=2, **last):
        pages += page
        last = {"before": page[-1]["id"]}
    assert pages == everything
    study = site.get(f"/v1/studies/{site.search}")
    assert study["plugins"][0]["paper"]["title"] == "A paper"
    assert study["environment"]["python"] == "3.11"
    trials = site.get(f"/v1/studies/{site.search}/trials", state="complete")
    assert [trial["number"] for trial in trials] == [5, 4, 3, 2, 1]
    assert len(site.get(f"/v1/studies/{site.search}/trials", state=["complete", "failed"])) == 6
    curves = site.get(f"/v1/studies/{site.search}/curves", metric="accuracy")
    assert curves["5"] == [[1, 0.5], [2, 0.5]]
    front = site.get(f"/v1/studies/{site.search}/front")
    assert [aim["name"] for aim in front["objectives"]] == ["accuracy"]
    assert [row["number"] for row in front["trials"] if row["front"]] == [5] == [front["knee"]]


def test_one_trial_with_everything(site: Site) -> None:
    trial = site.get(f"/v1/studies/{site.search}/trials/5", code="true")
    assert trial == site.get(f"/v1/trials/{trial['id']}", code="true")
    assert trial["objective"] == 0.5
    assert trial["curves"]["valid"]["accuracy"] == [[1, 0.5], [2, 0.5]]
    assert trial["code"]["__init__.py"] == "x = 1\n"
    assert trial["config"]["wild"] is None  # JSON has no infinity
    assert trial["started_at"].endswith("Z")
    assert trial == site.get("/v1/best", study=site.search, code="true")
    assert site.get(f"/v1/trials/{trial['id']}/exports") == []
    failed = site.get(f"/v1/studies/{site.search}/trials/0")
    assert failed["failure"]["message"] == "loss is not a number"


def test_models_by_filter_order_and_page(site: Site) -> None:
    where = json.dumps({"objective": {">=": 0.2}, "config.x": {"<": 0.5}})
    found = site.get("/v1/models", dataset="spirals", where=where, column=["number", "objective"])
    rows = [{"number": number, "objective": number / 10} for number in (4, 3, 2)]
    assert found == {"rows": rows, "next": None}
    query_ = {"study": site.search, "order_by": "parameters", "column": "number", "limit": 2}
    numbers, after = [], {}
    while True:
        page = site.get("/v1/models", **query_, **after)
        numbers += [row["number"] for row in page["rows"]]
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    assert numbers == [5, 4, 3, 2, 1]
    page = site.get("/v1/models", dataset="spirals", code="true", curves="true")
    (files,) = page["code"].values()
    assert files["__init__.py"] == "x = 1\n"
    best = site.get("/v1/models", dataset="spirals", unique="plugin")
    assert [row["objective"] for row in best["rows"]] == [0.9]
    assert site.get("/v1/models", study=site.search, state="failed")["rows"][0]["number"] == 0


def test_models_as_a_stream(site: Site, monkeypatch) -> None:
    monkeypatch.setattr("automl.ui.http.routes.models.MODELS_AT_ONCE", 2)
    answer = site.client.get("/v1/models.ndjson", params={"study": site.search, "code": "true"})
    assert answer.headers["content-type"] == "application/x-ndjson"
    rows = [json.loads(line) for line in answer.text.splitlines()]
    assert [row["number"] for row in rows] == [5, 4, 3, 2, 1]
    assert ["code" in row for row in rows] == [True, False, False, False, False]
    monkeypatch.setattr("automl.ui.http.routes.models.RECORDS_AT_ONCE", 3)
    lines = site.client.get("/v1/records.ndjson", params={"study": site.search}).text.splitlines()
    paged = site.get("/v1/records", study=site.search)["rows"]
    assert [json.loads(line) for line in lines] == paged
    assert len(paged) == 10
    some = site.client.get("/v1/models.ndjson", params={"study": site.search, "limit": 3})
    assert len(some.text.splitlines()) == 3
    wrong = site.client.get("/v1/models.ndjson", params={"order_by": "beauty"})
    assert "no order 'beauty'" in error_of(wrong, 422, "invalid")


def test_imported_records_with_licence_and_origin(site: Site) -> None:
    (source,) = site.get("/v1/sources")
    rows = site.get("/v1/models", source=source["name"])["rows"]
    assert rows
    assert all(row["licence"] == source["licence"] for row in rows)
    assert all(row["origin"] == source["origin"] for row in rows)
    assert site.get("/v1/flags", source=source["name"])
    assert isinstance(site.get("/v1/device-runs"), list)
    page = site.get("/v1/records", source=source["name"], limit=2)
    more = site.get("/v1/records", source=source["name"], limit=2, after=page["next"])
    assert page["rows"][0]["value"] is not None
    assert page["rows"] != more["rows"]
    only = site.get("/v1/records", source=source["name"], texts="true", column="kind", limit=1)
    assert only["rows"][0].keys() >= {"kind", "transform_code", "metric_code"}
    assert "source" not in only["rows"][0]
    networks = site.get("/v1/networks", code="true")
    assert {"tested"} < {network["plugin"] for network in networks}
    assert all(network["code"] for network in networks if network["plugin"] == "tested")


def test_comparisons(site: Site) -> None:
    board = site.get("/v1/leaderboard", dataset="spirals")
    assert (board["rows"][0]["plugin"], board["rows"][0]["value"]) == ("tested", 0.5)
    front = site.get("/v1/pareto", dataset="spirals", study=site.search)
    assert [row["number"] for row in front] == [5]  # the best has the fewest parameters
    groups = site.get("/v1/summary", by=["dataset", "state"], quantile=[0, 1], study=site.search)
    assert groups[0]["count"] == 5
    assert (groups[0]["q0"], groups[0]["q1"]) == (0.1, 0.5)
    assert isinstance(site.get("/v1/joined"), list)
    assert site.get("/v1/claims") == []
    networks = [n for n in site.get("/v1/networks", code="true", family="ga") if n["code"]]
    anchor = networks[0]["plugin"]
    assert isinstance(site.get("/v1/networks/similar", anchor=anchor), list)
    text = next(iter(networks[0]["code"].values()))
    answer = site.client.post("/v1/networks/similar", json={"text": text, "low": 0.9})
    assert anchor in {row["plugin"] for row in answer.json()}


def test_a_file_is_served_by_its_number(site: Site) -> None:
    (artifact,) = site.get("/v1/best", study=site.search)["artifacts"]
    assert artifact.keys().isdisjoint({"path", "file"})
    answer = site.client.get(artifact["url"])
    assert answer.content == WEIGHTS
    assert answer.headers["etag"] == f'"{hashlib.sha256(WEIGHTS).hexdigest()}"'
    assert answer.headers["content-disposition"].startswith("attachment")
    part = site.client.get(artifact["url"], headers={"range": "bytes=7-13"})
    assert (part.status_code, part.content) == (206, b"weights")


def test_a_file_outside_the_folder_is_never_served(site: Site, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    site.artifacts.mkdir(exist_ok=True)
    link = site.artifacts / "link"
    link.unlink(missing_ok=True)
    link.symlink_to(secret)
    trial = site.get(f"/v1/studies/{site.search}/trials/1")["id"]
    opened = engine.connect(site.db, write=True)
    try:
        for kind, path in (("a", str(secret)), ("b", "../" * 20 + str(secret)), ("c", "link")):
            row = {"trial_id": trial, "kind": kind + str(tmp_path), "path": path}
            with engine.transaction(opened) as connection:
                made = insert(ARTIFACT).values(**row, sha256="", bytes=6)
                (number,) = connection.execute(made).inserted_primary_key
            answer = site.client.get(f"/v1/artifacts/{number}")
            assert "is refused" in error_of(answer, 404, "not_found")
    finally:
        opened.dispose()
    for path in ("..%2f..%2fetc%2fpasswd", "../../etc/passwd", "1/../../x", "99999"):
        assert site.client.get(f"/v1/artifacts/{path}").status_code in (404, 422)


def test_an_answer_is_not_sent_twice(site: Site) -> None:
    path = f"/v1/studies/{site.search}"
    first = site.client.get(path)
    again = site.client.get(path, headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    other = site.client.get(f"/v1/studies/{site.claim}", headers={"if-none-match": "W/other"})
    assert other.status_code == 200


def test_long_answers_are_compressed(site: Site) -> None:
    url = "/v1/networks?code=true&limit=1000"
    with site.client.stream("GET", url, headers={"accept-encoding": "gzip"}) as answer:
        packed = answer.headers.get("content-encoding"), sum(map(len, answer.iter_raw()))
    with site.client.stream("GET", url, headers={"accept-encoding": "identity"}) as answer:
        plain = answer.headers.get("content-encoding"), sum(map(len, answer.iter_raw()))
    assert plain[0] is None
    if plain[1] >= 8192:
        assert packed[0] == "gzip"
        assert packed[1] < plain[1]


def test_what_does_not_exist_is_said_alike(site: Site) -> None:
    get = site.client.get
    assert "/nothing" in error_of(get("/nothing"), 404, "not_found")
    assert "no study 999" in error_of(get("/v1/studies/999"), 404, "not_found")
    assert "no trial" in error_of(get("/v1/trials/999999"), 404, "not_found")
    error_of(get("/v1/leaderboard", params={"dataset": "nope"}), 404, "not_found")
    answer = site.client.delete("/v1/studies")
    error_of(answer, 405, "method_not_allowed")
    assert "GET" in answer.headers["allow"]


def test_what_makes_no_sense_is_said_alike(site: Site) -> None:
    def said(path: str, **query: object) -> str:
        return error_of(site.client.get(path, params=query), 422, "invalid")

    assert "there is no parameter 'datset'" in said("/v1/models", datset="x")
    assert "limit" in said("/v1/models", limit=1001)
    assert "limit is given 2 times" in said("/v1/models", limit=[1, 2])
    assert "dataset is given 2 times" in said("/v1/models", dataset=["a", "b"], state="failed")
    assert "study" in said("/v1/studies/x")
    assert "study" in said(f"/v1/studies/{2**63}")
    assert "no order 'price'" in said("/v1/models", order_by="price")
    assert "Did you mean 'dataset'" in said("/v1/models", where='{"datasett": "x"}')
    assert "not JSON" in said("/v1/models", where="{")
    assert "must be a JSON object" in said("/v1/models", where="[1]")
    assert "study: 1e+30 is larger" in said("/v1/models", where='{"study": 1e30}')
    assert site.get("/v1/models", where='{"study": 1e11}')["rows"] == []
    assert "marks no page" in said("/v1/models", after="x")
    assert "no objective" in said("/v1/pareto", dataset="spirals", objective="beauty")


def test_writes_take_the_token(site: Site) -> None:
    path, change = f"/v1/studies/{site.search}", {"name": "a better name"}
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": f"Basic {TOKEN}"}):
        answer = site.client.patch(path, json=change, headers=headers)
        error_of(answer, 401, "unauthorized")
        assert answer.headers["www-authenticate"] == "Bearer"
    assert site.get(path)["name"] != "a better name"
    right = {"authorization": f"Bearer {TOKEN}"}

    def write(path: str, **change: object) -> httpx.Response:
        return site.client.patch(path, json=change, headers=right)

    assert write(path, name="a better name").json()["name"] == "a better name"
    assert site.get(path)["name"] == "a better name"
    trial = site.get(f"{path}/trials/1")["id"]
    assert write(f"/v1/trials/{trial}", label="shipped").json()["label"] == "shipped"
    where = '{"label": "shipped"}'
    assert [m["trial_id"] for m in site.get("/v1/models", where=where)["rows"]] == [trial]
    assert write(f"/v1/trials/{trial}", label="").json()["label"] == ""
    evidence = site.get(f"/v1/studies/{site.claim}/trials/0")["id"]
    assert "relies on its labels" in error_of(
        write(f"/v1/trials/{evidence}", label="mine"), 409, "conflict"
    )
    error_of(write("/v1/studies/999", name="x"), 404, "not_found")
    error_of(write("/v1/trials/999999", label="x"), 404, "not_found")
    error_of(write(path, name=""), 422, "invalid")
    error_of(write(path, name="two\nlines"), 422, "invalid")
    error_of(write(path, name="x", goal="max"), 422, "invalid")
