"""The command line as tests ask it: in this process, which has paid for its imports already."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from unittest.mock import patch

from automl.core.discovery import catalogue
from automl.ui.cli import main


def automl(*arguments: str, code: int = 0, given: str = "") -> str:
    """Run a command that must end with ``code``; what it prints, if it refuses what it says."""
    out, err = io.StringIO(), io.StringIO()
    status: int | str | None = 0
    catalogue.cache_clear()  # as a new process finds it
    with (
        patch.object(sys, "argv", ["automl", *arguments]),
        patch.object(sys, "stdin", io.StringIO(given)),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as ended:
            status = ended.code
    return said(int(status or 0), code, out.getvalue(), err.getvalue())


def automl_process(*arguments: str, code: int = 0, **environment: str) -> str:
    """The same in a process of its own, where what it imports or its surroundings matter."""
    done = subprocess.run(
        [sys.executable, "-m", "automl.ui.cli", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )
    return said(done.returncode, code, done.stdout, done.stderr)


def said(status: int, code: int, out: str, err: str) -> str:
    """What it printed; if it refused or printed nothing, what it told the user."""
    assert status == code, out + err
    return err if code == 2 or not out.strip() else out
