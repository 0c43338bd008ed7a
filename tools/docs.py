"""Write the generated parts of the documentation, or check (``--check``) that they are fresh."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
# What others installed beside us is not ours to document.
OURS = sorted(path.parent.name for path in ROOT.glob("plugins/*/plugin.py"))
os.environ.update(
    COLUMNS="96", NO_COLOR="1", TERM="dumb", AUTOML_PLUGINS=",".join(["core", "export", *OURS])
)


def block(text: str, name: str, content: str) -> str:
    """``text`` with what stands between the markers of ``name`` replaced."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    before, found, rest = text.partition(begin)
    assert found, f"no {begin}"
    return f"{before}{begin}\n{content.strip()}\n{end}{rest.partition(end)[2]}"


def papers() -> str:
    """The table of plugins, with how many of their claims are reproduced."""
    from automl.core.discovery import catalogue

    rows = ["| plugin | paper | learns | claims reproduced |", "|---|---|---|---|"]
    verdicts = claims()
    for card in catalogue().architectures():
        mine = [c for c in verdicts if c["plugin"] == card.name]
        good = sum(c["verdict"] == "reproduced" for c in mine)
        told = f"{good} of {len(mine)}" if mine else "not checked"
        title = f"[{card.paper.title}]({card.paper.url}) ({card.paper.year})"
        name = f"[{card.name}](plugins/{card.name}/README.md)"
        rows.append(f"| {name} | {title} | {', '.join(card.problems)} | {told} |")
    return "\n".join(rows)


def claims() -> list[dict[str, Any]]:
    """The verdicts beside docs/claims.md."""
    path = ROOT / "docs" / "claims.json"
    return json.loads(path.read_text()) if path.exists() else []


def results(plugin: str) -> str:
    """The verdicts of one plugin as a table for its model card."""
    mine = [claim for claim in claims() if claim["plugin"] == plugin]
    if not mine:
        return "No claim was checked yet."
    rows = [
        "| claim | verdict | met | run | test split of | bar | ours | paper |",
        "|---" * 8 + "|",
    ]
    for claim in mine:
        for bar in claim["bars"]:
            met = {True: "yes", False: "no", None: "no result"}[bar["met"]]
            ours = "–" if bar["ours"] is None else f"{bar['ours']:.4g} ± {bar['spread'] or 0:.2g}"
            rows.append(
                f"| {claim['claim']} | {claim['verdict']} | {met} | {bar['run']} | {bar['on']} "
                f"| {bar['bar']} | {ours} | {bar['paper'] or '–'} |"
            )
    return "\n".join([*rows, "", "All figures: [docs/claims.md](../../docs/claims.md)."])


def laws() -> str:
    """The laws with their sentences."""
    from automl.core.check import LAWS
    from automl.export.law import export_matches_torch

    every = (*LAWS, export_matches_torch)
    return "\n".join(
        f"- `{law.__name__}`: {(law.__doc__ or '').split(chr(10))[0]}" for law in every
    )


def commands() -> str:
    """The help of every command."""
    from click.testing import CliRunner
    from typer.main import get_command

    from automl.ui.cli import app

    command: Any = get_command(app)
    parts = ["# Commands", "", "Written by `make docs` from `--help`.", ""]
    names = [[name] for name in sorted(command.commands) if name != "db"] + [["db", "info"]]
    for name in names:
        shown = CliRunner().invoke(command, [*name, "--help"], prog_name="automl").output
        lines = [line.rstrip() for line in shown.strip().splitlines()]
        parts += [f"## automl {' '.join(name)}", "", "```", *lines, "```", ""]
    return "\n".join(parts)


def documents() -> dict[Path, str]:
    """Every generated document with its fresh text."""
    readme, plugins = ROOT / "README.md", ROOT / "docs" / "plugins.md"
    found = {
        readme: block(readme.read_text(), "papers", papers()),
        plugins: block(plugins.read_text(), "laws", laws()),
        ROOT / "docs" / "cli.md": commands(),
    }
    for card in sorted((ROOT / "plugins").glob("*/README.md")):
        found[card] = block(card.read_text(), "claims", results(card.parent.name))
    return found


def main() -> int:
    """Write, or complain about what is stale."""
    stale = [
        path for path, text in documents().items() if not path.exists() or path.read_text() != text
    ]
    if "--check" not in sys.argv:
        for path, text in documents().items():
            path.write_text(text)
        return 0
    for path in stale:
        print(f"{path.relative_to(ROOT)} is stale: run `make docs`")
    return bool(stale)


if __name__ == "__main__":
    sys.exit(main())
