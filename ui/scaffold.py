"""Write a new plugin: an installable distribution that already passes the laws."""

from __future__ import annotations

import keyword
import re
from importlib.resources import files
from pathlib import Path
from string import Template

from automl.core.errors import ConfigError

FILES = {
    "pyproject.toml.tmpl": "pyproject.toml",
    "init.py.tmpl": "{package}/__init__.py",
    "model.py.tmpl": "{package}/model.py",
    "plugin.py.tmpl": "{package}/plugin.py",
    "README.md.tmpl": "{package}/README.md",
    "test.py.tmpl": "tests/test_{name}.py",
}


def new_plugin(name: str, into: Path) -> Path:
    """Write the plugin ``name`` below the folder ``into`` and return the package's folder.

    Raises:
        ConfigError: if the name is no Python name in lower case, or the folder exists.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise ConfigError(
            f"plugin name {name!r} must be a Python name in lower case, e.g. 'mynet' or 'my_net'"
        )
    target = into / name
    if target.exists():
        raise ConfigError(f"{str(target)!r} exists already; choose another name or folder")
    package = f"automl_{name}"
    values = {
        "name": name,
        "package": package,
        "class_name": "".join(part.capitalize() for part in name.split("_")),
    }
    templates = files("automl.ui") / "template"
    for source, destination in FILES.items():
        path = target / destination.format(**values)
        path.parent.mkdir(parents=True, exist_ok=True)
        text = Template((templates / source).read_text()).substitute(values)
        path.write_text(text)
    return target / package
