"""The repository itself: the name shim, what a wheel holds, the example distribution."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]


def test_the_folders_are_imported_through_five_links() -> None:
    links = {
        path.name: os.readlink(path) for path in (ROOT / "automl").iterdir() if path.is_symlink()
    }
    folders = ("core", "dataset_db", "export", "plugins", "ui")
    assert links == {name: f"../{name}" for name in folders}


@pytest.mark.slow
def test_a_wheel_holds_code_migrations_templates_and_model_cards(tmp_path: Path) -> None:
    command = [*PIP, "wheel", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert names >= {
        "automl/py.typed",
        "automl/core/driver.py",
        "automl/dataset_db/migrations/env.py",
        "automl/dataset_db/migrations/script.py.mako",
        "automl/dataset_db/migrations/versions/0001_first_schema.py",
        "automl/plugins/ptrnet/README.md",
        "automl/ui/app.py",
        "automl/ui/template/plugin.py.tmpl",
        "automl/ui/views/home.py",
    }


@pytest.mark.slow
def test_the_example_distribution_is_installed_and_searched(tmp_path: Path) -> None:
    site = tmp_path / "site"
    example = tmp_path / "example"
    subprocess.run(["cp", "-r", str(ROOT / "examples/automl-rbfnet"), str(example)], check=True)
    install = [*PIP, "install", "--no-deps", "--no-build-isolation", "--target", str(site)]
    subprocess.run([*install, str(example)], check=True, capture_output=True)
    environment = {**os.environ, "PYTHONPATH": str(site)}

    def automl(*arguments: str) -> str:
        command = [sys.executable, "-m", "automl.ui.cli", *arguments]
        done = subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    rows = {row["name"]: row for row in json.loads(automl("plugins", "--json"))}
    assert rows["rbfnet"]["distribution"] == "automl-rbfnet 0.1.0"
    assert {row["name"] for row in json.loads(automl("datasets", "--json"))} >= {"rings", "spirals"}
    search = ["search", "-p", "rbfnet", "-n", "3", "--executor", "inline", "--json"]
    found = json.loads(automl(*search, "--technique", "averaging"))
    assert found["trials"]["complete"] == 3
    assert found["best"]["value"] > 0.8
    shown = json.loads(automl("show", "best", "--json"))
    assert 0 <= shown["techniques"]["averaging"]["decay"] < 1
    assert json.loads(automl("export", "best", "--json"))["targets"][0]["status"] == "ok"
