"""What the OpenAPI document promises is what the server does, whatever it is sent."""

from __future__ import annotations

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.config import SchemathesisConfig

from automl.ui.http.routes import ROUTERS
from tests.ui.http.conftest import TOKEN, Site

# A filter, a mark or a name can be well-formed and mean nothing: 422 is an answer to that too.
ACCEPTED = ["2xx", "401", "403", "404", "409", "422"]
REFUSED = ["400", "401", "403", "404", "405", "409", "413", "414", "422"]
CONFIG = {
    "checks": {
        "positive_data_acceptance": {"expected-statuses": ACCEPTED},
        "negative_data_rejection": {"expected-statuses": REFUSED},
    },
    # A list of names takes any text, and everything in a URL is text: nothing is to be refused.
    "operations": [
        {
            "include-path": "/v1/networks",
            "checks": {"negative_data_rejection": {"expected-statuses": [*REFUSED, "200"]}},
        }
    ],
}
OPERATIONS = [
    f"{method} {route.path}"
    for router in ROUTERS
    for route in router.routes
    for method in sorted(route.methods)
]
RIGHT = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def described(site: Site) -> schemathesis.BaseSchema:
    """The document of the running server."""
    return schemathesis.openapi.from_url(
        f"{site.client.base_url}/openapi.json", config=SchemathesisConfig.from_dict(CONFIG)
    )


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_is_as_described(
    described: schemathesis.BaseSchema, operation: str
) -> None:
    method, path = operation.split()
    found = described[path][method]
    valid, invalid = (found.as_strategy(generation_mode=mode) for mode in GenerationMode)

    @settings(max_examples=15, suppress_health_check=list(HealthCheck))
    @given(case=valid | invalid)
    def ask(case: schemathesis.Case) -> None:
        case.call_and_validate(headers=RIGHT)

    ask()


def test_the_examples_of_the_document_work(site: Site) -> None:
    document = httpx.get(f"{site.client.base_url}/openapi.json").json()
    asked = 0
    for path, methods in document["paths"].items():
        about = methods.get("get", {})
        given = {
            parameter["name"]: parameter["schema"]["examples"][0]
            for parameter in about.get("parameters", ())
            if parameter["in"] == "query" and "examples" in parameter["schema"]
        }
        if "{" not in path and given:
            asked += 1
            assert site.client.get(path, params=given).status_code in (200, 404), (path, given)
    assert asked >= 8
