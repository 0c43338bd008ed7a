"""Who gets to the browser application: the gate before it, and where it may listen."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from automl.core.errors import ConfigError
from automl.ui.browser import Offer, settings
from automl.ui.gate import Gate
from tests.command import automl_process

TOKEN = "0123456789abcdef"


async def page(request) -> PlainTextResponse:
    return PlainTextResponse(f"models {request.url.query}")


async def stream(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text("models")
    await socket.close()


@pytest.fixture
def client() -> TestClient:
    paths = ("/", "/study", "/media/x.csv", "/_stcore/health")
    routes = [Route(path, page, methods=["GET", "POST"]) for path in paths]
    app = Starlette(routes=[*routes, WebSocketRoute("/_stcore/stream", stream)])
    return TestClient(Gate(app, TOKEN, 8501), follow_redirects=False)


@pytest.mark.parametrize("path", ["/", "/study?study=3", "/media/x.csv", "/anything"])
def test_without_the_token_there_is_only_a_form(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 401
    assert "models" not in answer.text.replace("look at the models", "")
    assert '<label for="token">' in answer.text
    assert "set-cookie" not in answer.headers


def test_the_socket_is_behind_the_gate_too(client: TestClient) -> None:
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/_stcore/stream"):
        pass
    client.get("/", params={"token": TOKEN})
    with client.websocket_connect("/_stcore/stream") as socket:
        assert socket.receive_text() == "models"


def test_the_token_is_exchanged_for_a_cookie_and_leaves_the_address(client: TestClient) -> None:
    answer = client.get(f"/study?study=3&token={TOKEN}&view=Trials")
    assert (answer.status_code, answer.headers["location"]) == (303, "/study?study=3&view=Trials")
    cookie = answer.headers["set-cookie"]
    assert TOKEN not in cookie
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert client.get("/study?study=3").text == "models study=3"
    # Known already: the token still leaves the address.
    assert client.get(f"/study?token={TOKEN}").headers["location"] == "/study"


def test_the_form_takes_the_token(client: TestClient) -> None:
    answer = client.post("/study?study=3", data={"token": TOKEN})
    assert (answer.status_code, answer.headers["location"]) == (303, "/study?study=3")
    assert client.get("/").status_code == 200


@pytest.mark.parametrize("given", ["", "0123456789abcdeF", TOKEN + "0", "é" * 16, "x" * 9000])
def test_another_token_is_refused(client: TestClient, given: str) -> None:
    for answer in (
        client.get("/", params={"token": given}),
        client.post("/", data={"token": given}),
    ):
        assert answer.status_code == 401
        assert "not the token" in answer.text
    assert client.get("/").status_code == 401


def test_a_cookie_that_was_made_up_is_refused(client: TestClient) -> None:
    for made_up in (TOKEN, "", "x"):
        client.cookies.set("automl_ui_8501", made_up)
        assert client.get("/").status_code == 401


def test_the_way_in_leads_to_no_other_site(client: TestClient) -> None:
    answer = client.get(f"http://testserver//elsewhere.org/?token={TOKEN}")
    assert answer.headers["location"] == "/elsewhere.org/"


def test_health_is_open_to_those_who_watch_the_server(client: TestClient) -> None:
    assert client.get("/_stcore/health").status_code == 200


def test_others_are_offered_it_for_a_token_only() -> None:
    for host in ("0.0.0.0", "::", "192.168.0.1", "example.org"):
        with pytest.raises(ConfigError, match="set --token"):
            Offer(host=host)
        assert TOKEN not in repr(Offer(host=host, token=TOKEN))
    with pytest.raises(ConfigError, match="could be guessed"):
        Offer(token="short")
    assert "evil.org" not in settings(Offer(), window=False)["server.allowedHosts"]


def test_the_command_refuses_to_expose_it_in_one_sentence() -> None:
    said = automl_process("ui", "--host", "0.0.0.0", "--no-browser", code=2, AUTOML_TOKEN="")
    assert "AUTOML_TOKEN" in said
    assert len(said.splitlines()) == 1
