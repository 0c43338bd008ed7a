"""A plugin whose trial lasts some 50 ms and leaves a line in a file when its fit ends."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

HERE = str(Path(__file__).parent)
FIT = """
start = (run.restore() or {{"step": 0}})["step"]
for step in range(min(start + 1, 5), 6):
    time.sleep(0.01)
    run.checkpoint({{"step": step}})
    scores = {{"accuracy": config.x * step / 5, "nll": 1.0}}
    run.report(step, scores, state=lambda: {{"step": step}})
with open({fits!r}, "a") as file:
    file.write(f"{{run.seed}} {{os.getpid()}} {{start}}\\n")
"""


@pytest.fixture
def fits(tmp_path: Path) -> Path:
    """Where fits that came to their end leave their seed, process and first step."""
    path = tmp_path / "fits"
    path.touch()
    return path


@pytest.fixture
def short_trials(make_plugin: Callable[..., str], fits: Path) -> str:
    """The folder of the plugin."""
    return make_plugin(fit=FIT.format(fits=str(fits)))


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forked drivers import ``fault_driving`` by its name."""
    monkeypatch.syspath_prepend(HERE)
    yield
    sys.modules.pop("fault_driving", None)
