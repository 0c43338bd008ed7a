"""What a server refuses, and what it does not give away."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, text
from typer.testing import CliRunner

from automl.core.errors import AutoMLError, ConfigError, DatabaseError
from automl.dataset_db.engine import reading
from automl.ui.cli import app
from automl.ui.http.address import is_loopback
from automl.ui.http.guard import Buckets
from automl.ui.http.settings import Served
from tests.dataset_db.test_reader import COUNTING
from tests.ui.http.conftest import TOKEN, error_of

Serve = Callable[..., httpx.Client]


def test_a_page_of_a_stranger_cannot_rebind_its_name(serve: Serve) -> None:
    client = serve(names=("models.example.org",))
    port = client.base_url.port
    for host in (
        "evil.example",
        f"evil.example:{port}",
        "localhost.evil.example",
        "",
        "127.0.0.1.x",
    ):
        answer = client.get("/health", headers={"host": host})
        assert "Host header" in error_of(answer, 400, "bad_request")
    good = ("localhost", "LOCALHOST:1", "127.0.0.1", "10.1.2.3:80", "[::1]:8000", "[::1]")
    for host in (*good, "models.example.org", "Models.Example.Org:443"):
        assert client.get("/health", headers={"host": host}).status_code == 200, host


def test_nothing_is_offered_to_other_origins(serve: Serve) -> None:
    answer = serve().get("/health", headers={"origin": "https://evil.example"})
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "server" not in answer.headers


def test_a_server_without_a_token_is_read_only(serve: Serve) -> None:
    client = serve()
    assert client.get("/health").json()["read_only"] is True
    answer = client.patch(
        "/v1/studies/1", json={"name": "x"}, headers={"authorization": "Bearer x"}
    )
    assert "read-only" in error_of(answer, 403, "forbidden")


def test_a_client_that_asks_too_often_waits(serve: Serve) -> None:
    client = serve(limits={"rate": 0.5, "burst": 3})
    codes = [client.get("/health").status_code for _ in range(3)]
    assert codes == [200] * 3
    answer = client.get("/health")
    assert "0.5 requests a second" in error_of(answer, 429, "too_many_requests")
    assert 1 <= int(answer.headers["retry-after"]) <= 3
    spoofed = client.get("/health", headers={"x-forwarded-for": "1.2.3.4"})
    assert spoofed.status_code == 429


@given(st.lists(st.floats(0, 5), max_size=50), st.floats(0.1, 10), st.integers(1, 5))
def test_no_client_exceeds_its_rate(gaps: list[float], rate: float, burst: int) -> None:
    buckets, now, passed = Buckets(rate, burst, clients=2), 0.0, 0
    for gap in gaps:
        now += gap
        wait = buckets.wait("me", now)
        passed += wait == 0
        assert wait <= 1 / rate + 1e-9
        assert passed <= burst + rate * now + 1e-6


def test_only_so_many_clients_are_remembered() -> None:
    buckets = Buckets(1.0, 1, clients=2)
    for name in "abcab":
        buckets.wait(name, 0.0)
    assert len(buckets.levels) == 2


def test_sizes_are_limited(serve: Serve) -> None:
    client = serve(token=TOKEN, limits={"body_bytes": 1000, "url_bytes": 500, "answer_bytes": 500})
    right = {"authorization": f"Bearer {TOKEN}"}
    long = b'{"name": "' + b"x" * 2000 + b'"}'
    answer = client.patch("/v1/studies/1", content=long, headers=right)
    assert "1000 bytes" in error_of(answer, 413, "too_large")
    pieces = client.patch("/v1/studies/1", content=iter([long[:800], long[800:]]), headers=right)
    error_of(pieces, 413, "too_large")
    error_of(client.get("/v1/models", params={"where": "x" * 600}), 414, "url_too_long")
    assert "limit of 500" in error_of(client.get("/v1/studies/1"), 413, "too_large")


def raw(client: httpx.Client, *pieces: bytes) -> bytes:
    """What the server says to bytes."""
    with socket.create_connection((client.base_url.host, client.base_url.port), 10) as connection:
        for piece in pieces:
            try:
                connection.sendall(piece)
            except OSError:  # it has closed the connection already
                break
        answer = b""
        try:
            while received := connection.recv(65536):
                answer += received
        except ConnectionResetError:
            pass
    return answer


def test_what_is_not_http_is_refused_alike(serve: Serve) -> None:
    client = serve()
    head, _, body = raw(client, b"this is not HTTP\r\n\r\n").partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400")
    assert json.loads(body)["error"]["kind"] == "bad_request"
    head, _, body = raw(client, b"GET /health HTTP/1.1\r\n\r\n").partition(b"\r\n\r\n")
    assert b"Host header" in body
    begun = b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Endless: "
    assert raw(client, begun, *[b"x" * 65536] * 30).partition(b" ")[2][:3] in (b"400", b"")
    twice = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n" * 2
    closing = twice.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 2)
    assert (
        raw(client, twice[: len(twice) // 2] + closing[len(closing) // 2 :]).count(b"200 OK") == 2
    )


def test_a_question_that_takes_too_long_is_stopped(serve: Serve, monkeypatch) -> None:
    def endless(reader: Engine) -> None:
        with reading(reader) as connection:
            connection.execute(text(COUNTING)).all()

    monkeypatch.setattr("automl.dataset_db.query.info", endless)
    client = serve(limits={"seconds": 0.2})
    started = time.monotonic()
    message = error_of(client.get("/v1/info", timeout=30), 503, "timeout")
    assert "the question takes too long" in message
    assert time.monotonic() - started < 10
    assert client.get("/v1/trials/1").status_code == 200  # its connection is good again


def test_what_fails_inside_is_not_shown(serve: Serve, monkeypatch) -> None:
    def broken(*arguments: object, **options: object) -> None:
        raise RuntimeError("a secret of the inside")

    monkeypatch.setattr("automl.dataset_db.query.info", broken)
    answer = serve().get("/v1/info")
    assert error_of(answer, 500, "internal") == "the server failed; its log says why"


def test_errors_do_not_tell_where_the_database_lies(
    serve: Serve, small_db: str, monkeypatch
) -> None:
    def broken(*arguments: object, **options: object) -> None:
        raise DatabaseError(f"database {small_db}: disk I/O error; check the disk")

    monkeypatch.setattr("automl.dataset_db.query.info", broken)
    client = serve()
    message = error_of(client.get("/v1/info"), 503, "unavailable")
    assert message == "the model database: disk I/O error; check the disk"


@pytest.mark.parametrize("token", ["short", "ünprintable in a header", "with\nnewline-and-more"])
def test_a_token_that_cannot_protect_is_refused(token: str) -> None:
    with pytest.raises(ConfigError, match="token"):
        Served(token=token)


def test_addresses_of_this_machine() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.1.2.3", "::1", "[::1]", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.0.1", "example.org", "")))


def refused(*arguments: str) -> str:
    """The message of ``automl serve``."""
    done = CliRunner().invoke(app, ["serve", *arguments])
    assert isinstance(done.exception, AutoMLError), done.output
    return str(done.exception)


def test_other_machines_are_let_in_only_if_told(small_db: str) -> None:
    assert "--allow-remote" in refused("--db", small_db, "--host", "0.0.0.0")
    assert "there is no database" in refused("--db", f"{small_db}-not")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert "another --port" in refused("--db", small_db, "--port", port)


def test_the_command_serves_until_it_is_stopped(small_db: str) -> None:
    command = [sys.executable, "-m", "automl.ui.cli", "serve", "--db", small_db, "--port", "0"]
    environment = {**os.environ, "AUTOML_TOKEN": TOKEN}
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert found, line
        assert TOKEN not in line
        with httpx.Client(base_url=found.group()) as client:
            assert client.get("/health", timeout=30).json()["read_only"] is False
            assert client.get("/v1/trials/1").json()["objective"] == 0.9
    finally:
        server.send_signal(signal.SIGINT)
        assert server.wait(timeout=30) == 0
