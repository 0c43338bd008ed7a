"""What a server is told when it starts, and how much it does for one client."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from automl.ui.http.address import check_token


@dataclass(frozen=True)
class Limits:
    """What one client, one request and one answer may cost.

    Attributes:
        rate: Requests per second of one client (address), on average.
        burst: Requests that a client that was idle may send at once.
        clients: Clients remembered; of more, the longest idle are forgotten.
        requests: Requests in work at once, of all clients.
        url_bytes: Of the path and the query.
        body_bytes: Of a request's body.
        answer_bytes: Of an answer before compression; streams are not limited.
        seconds: That a question to the database may take.
        threads: Long questions answered at the same time.
    """

    rate: float = 1000.0
    burst: int = 2000
    clients: int = 10_000
    requests: int = 200
    url_bytes: int = 16_384
    body_bytes: int = 65_536
    answer_bytes: int = 64 * 2**20
    seconds: float = 20.0
    threads: int = 4


@dataclass(frozen=True)
class Served:
    """What is served, and to whom.

    Attributes:
        db: A file or URL; by default AUTOML_DB, else ``./automl.db``.
        artifacts: The artifact folder; by default AUTOML_ARTIFACTS, else ``./automl_artifacts``.
        token: What a write must bring; without one the server is read-only.
        names: Host names that clients may call it by, beside ``localhost`` and addresses.
        limits: See ``Limits``.
    """

    db: str | None = None
    artifacts: Path | None = None
    token: str | None = None
    names: tuple[str, ...] = ()
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        check_token(self.token)
