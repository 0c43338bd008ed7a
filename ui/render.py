"""Records as tables and sentences on a terminal, or as JSON for machines."""

from __future__ import annotations

import json as jsonlib
import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.panel import Panel
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from automl.core.check import Finding
    from automl.core.study import Standing, StudyResult
    from automl.ui.jobs import Job
    from automl.ui.progress import LiveProgress

Row = dict[str, Any]
SPLITS = {"valid": "validation", "test": "test"}
VERDICT_STYLES = {"reproduced": "green", "not reproduced": "red", "inconclusive": "yellow"}


def observer() -> LiveProgress:
    """The progress display; on standard error, so that standard output is the result alone."""
    from automl.ui.progress import LiveProgress

    return LiveProgress(Console(stderr=True))


def dump(value: Any) -> None:
    """Print JSON; times in ISO 8601."""
    print(jsonlib.dumps(value, indent=2, default=str))


def number(value: Any) -> str:
    """A number to four digits; a dash for none."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    if isinstance(value, float):
        return f"{value:,.0f}" if value.is_integer() and abs(value) >= 1000 else f"{value:.4g}"
    return str(value)


def seconds(value: float | None) -> str:
    """Seconds to a tenth; a dash where none were recorded."""
    return "–" if value is None else f"{value:.1f} s"


def size(value: float | None) -> str:
    """Bytes in kB, MB or GB."""
    if value is None:
        return "–"
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.4g} {unit}"
        value /= 1000
    return f"{value:.4g} GB"


def ago(moment: datetime | None) -> str:
    """How long ago, in words."""
    if moment is None:
        return ""
    seconds = (datetime.now(UTC) - moment).total_seconds()
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        count = int(seconds // length)
        if count:
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"


def table(*columns: str) -> Table:
    """An unframed table."""
    made = Table(box=None, pad_edge=False, header_style="bold dim")
    for column in columns:
        made.add_column(column, overflow="fold")
    return made


def result(
    found: StudyResult, db: str | None, json: bool, ensemble: StudyResult | None = None
) -> None:
    """How a search ended: the winner, where it is stored, what to try next; then its ensemble."""
    if json:
        more = {} if ensemble is None else {"ensemble": ensemble.to_dict()}
        dump({**found.to_dict(), **more})
        return
    console = Console()
    counts = f"{found.complete} complete, {found.pruned} pruned, {found.failed} failed"
    head = f"Study {found.study} is {found.state}: {counts}."
    parts: list[Any] = [Text(f"{head} {found.message}".strip())]
    at = f" --db {db}" if db else ""
    if found.best is not None:
        best = found.best
        reference = f"{found.study}/{best.trial}"
        parts.append(
            Text.assemble(
                ("Knee of the front: " if found.front else "Winner: ", "bold"),
                (f"trial {reference}", "bold green"),
                f" of {best.plugin} with {best.metric} {number(best.value)} on validation data",
            )
        )
        if best.test:
            scores = ", ".join(f"{name} {number(value)}" for name, value in best.test.items())
            parts.append(Text(f"Test split, touched once: {scores}"))
        if found.front:
            parts.append(front([vars(point) for point in found.front], found.study, best.trial))
        if len(found.standings) > 1:
            parts.append(standings(found.standings, found.study, best.metric))
        if found.baselines:
            parts.append(comparison(best.test, found.baselines, best.metric))
        parts.append(Text(where(found.study, best.trial, db), "dim"))
        next_ = [f"automl show {reference}{at}", f"automl export {reference} --target cpu{at}"]
        next_.append(f"automl ui{at}")
    else:
        parts.append(Text("No trial is complete, so there is no winner.", "yellow"))
        next_ = [f"automl trials {found.study}{at}"]
    if found.state in ("interrupted", "exhausted", "failed"):
        next_.insert(0, f"automl resume {found.study}{at}")
    elif found.best is None or found.best.plugin != "ensemble":
        done = found.complete + found.pruned + found.failed
        next_.append(f"automl resume {found.study} --trials {2 * done}{at}")
    parts += [Text("Next:", "bold"), *(Text(f"  {command}", "cyan") for command in next_)]
    console.print(Panel(Group(*parts), border_style="green" if found.best else "yellow"))
    if ensemble is not None:
        result(ensemble, db, json)


def front(found: Iterable[Mapping[str, Any]], study: int, knee: int | None) -> Table:
    """The models of a Pareto front, by the first objective, with the knee marked."""
    points = list(found)
    shown = table("Pareto front", "Plugin", *points[0]["values"], "")
    for point in points:
        mine = point["trial"] == knee
        shown.add_row(
            f"{study}/{point['trial']}",
            point["plugin"],
            *(number(value) for value in point["values"].values()),
            "knee" if mine else "",
            style="bold" if mine else "",
        )
    return shown


def pareto(found: Row, json: bool) -> None:
    """A study's front, and how many models it was chosen from."""
    if json:
        dump(found)
        return
    points = [{**row, "trial": row["number"]} for row in found["trials"] if row["front"]]
    if not points:
        Console().print("This study has no complete trial.")
        return
    name, goal = found["objectives"][0]["name"], found["objectives"][0]["goal"]
    points.sort(key=lambda point: point["values"][name], reverse=goal == "max")
    Console().print(front(points, found["study"], found["knee"]))
    aims = ", ".join(f"{aim['name']} ({aim['goal']})" for aim in found["objectives"])
    Console().print(Text(f"{len(points)} of {len(found['trials'])} models; {aims}", "dim"))


def standings(found: Iterable[Standing], study: int, objective: str) -> Table:
    """The plugins that competed, the best first."""
    shown = table("Plugin", f"{objective} (validation)", "Best trial", "Trials")
    for standing in found:
        trial = "–" if standing.trial is None else f"{study}/{standing.trial}"
        shown.add_row(standing.plugin, number(standing.value), trial, str(standing.trials))
    return shown


def comparison(
    ours: Mapping[str, float], baselines: Mapping[str, Mapping[str, float]], objective: str
) -> Table:
    """The winner beside plain models, on the same test split."""
    names = [name for name in ours if all(name in scores for scores in baselines.values())]
    shown = table("On the same test split", *names)
    rows = {"the winner": ours, **baselines}
    for name, scores in rows.items():
        cells = [Text(number(scores[key]), "bold" if key == objective else "") for key in names]
        shown.add_row(name, *cells)
    return shown


def where(study: int, trial: int, db: str | None) -> str:
    """Where a model is stored, in a sentence."""
    from automl.core.places import artifact_root
    from automl.dataset_db.engine import database_url, shown

    weights = artifact_root() / f"study-{study:05d}" / f"trial-{trial:05d}.safetensors"
    return f"Stored in {shown(database_url(db))}; weights in {weights}"


def studies(found: list[Row], json: bool) -> None:
    """The list of studies."""
    if json:
        dump(found)
        return
    shown = table("Study", "Name", "State", "Trials", "Best", "Active")
    for row in found:
        done = row["n_complete"] + row["n_pruned"] + row["n_failed"]
        budget = f"/{row['budget_trials']}" if row["budget_trials"] else ""
        value = f"{row['metric']} {number(row['best_value'])}"
        best = value if row["best_value"] is not None else "–"
        shown.add_row(
            str(row["id"]), row["name"], row["state"], f"{done}{budget}", best,
            ago(row["active_at"]),
        )  # fmt: skip
    Console().print(shown if found else "No studies yet: automl search --plugin ptrnet")


def jobs(found: list[Job]) -> None:
    """The queue."""
    shown = table("Job", "State", "Study", "Command", "")
    for job in found:
        study = "–" if job.study is None else str(job.study)
        shown.add_row(str(job.number), job.state, study, Text(job.command), Text(job.message))
    Console().print(shown)


def trials(found: list[Row], json: bool) -> None:
    """A study's trials."""
    if json:
        dump(found)
        return
    metric = found[0]["metric"] if found else "objective"
    shown = table("Trial", "State", metric, "Steps", "Time", "Size", "Settings")
    for row in found:
        told = row["params"] or row["config"]  # imported trials were not searched here
        params = " ".join(f"{key}={number(value)}" for key, value in told.items())
        if row["failure"]:
            params = f"{row['failure']['kind']}: {row['failure']['message']}"
        shown.add_row(
            f"{row['study']}/{row['number']}", row["state"], number(row["objective"]),
            number(row["step"]), seconds(row["seconds"]), size(row["bytes"]),
            Text(params or row["label"]),
        )  # fmt: skip
    Console().print(shown if found else "This study has no trials.")


def trial(row: Row, json: bool) -> None:
    """One model's record."""
    if json:
        dump(row)
        return
    console = Console()
    grid = Table.grid(padding=(0, 2))
    paper = row["paper"]
    facts = {
        "plugin": f"{row['plugin']} v{row['plugin_version']}: {paper['title']} ({paper['year']})",
        "dataset": row["dataset"],
        "state": row["state"] + (f" ({row['stopped']})" if row["stopped"] else ""),
        row["metric"]: f"{number(row['objective'])} on the {SPLITS[row['split']]} split",
        "steps, time": f"{number(row['step'])}, {seconds(row['seconds'])}",
        "parameters": f"{number(row['parameters'])}, {size(row['bytes'])}",
        "multiply-adds": number(row["macs"]),
        "seed": number(row["seed"]),
        "config": ", ".join(f"{key}={number(value)}" for key, value in row["config"].items()),
    }
    if row["source"]:
        facts["source"] = f"{row['source']}, {row['licence']}, {row['origin']}"
    for evaluation in row["evaluations"]:
        name = f"{evaluation['split']}, {evaluation['dataset']}"
        said = evaluation["reason"] or f"{evaluation['metric']} {number(evaluation['value'])}"
        facts[name] = f"{facts[name]}, {said}" if name in facts else said
    for artifact in row["artifacts"]:
        facts[artifact["kind"]] = f"{artifact['file']} ({size(artifact['bytes'])})"
    for made in row["exports"]:
        facts[f"export {made['target']}"] = f"{made['status']} in {made['folder'] or '–'}"
    for probed in row["probes"]:
        facts[f"{probed['probe']}: {probed['name']}"] = number(probed["value"])
    for name, value in facts.items():
        grid.add_row(Text(name, "bold"), Text(str(value)))
    console.print(Panel(grid, title=f"Trial {row['reference']}", title_align="left"))
    if row["failure"]:
        console.print(Text(row["failure"]["traceback"] or row["failure"]["message"], "red"))
    for name, text in row.get("code", {}).items():
        console.print(Panel(Syntax(text, "python"), title=name, title_align="left"))


def models(found: Row, json: bool) -> None:
    """A page of models with the columns asked for."""
    if json:
        dump(found)
        return
    console, rows = Console(), found["rows"]
    if not rows:
        console.print("No model matches.")
        return
    shown = table(*rows[0])
    for row in rows:
        shown.add_row(*(Text(cell(value)) for value in row.values()))
    console.print(shown)
    if found["next"]:
        console.print(Text(f"More: --after '{found['next']}'", "dim"))


def cell(value: Any) -> str:
    """A value of any kind, on one line."""
    return jsonlib.dumps(value) if isinstance(value, dict | list) else number(value)


def leaderboard(found: Row, json: bool) -> None:
    """The plugins on a dataset, the best first."""
    if json:
        dump(found)
        return
    console, metric = Console(), found["metric"]
    console.print(Text(f"{found['dataset']}: the best model of each plugin", "bold"))
    imported = any(row["source"] for row in found["rows"])
    shown = table(
        "", "Plugin", f"{metric} (validation)", f"{metric} (test)", "Trial", "Of", "Parameters",
        "Paper", *(("Source", "Licence") if imported else ()),
    )  # fmt: skip
    for row in found["rows"]:
        shown.add_row(
            str(row["rank"]), row["plugin"], number(row["valid"]), number(row["test"]),
            row["reference"], str(row["trials"]), number(row["parameters"]),
            f"{row['paper']} ({row['year']})",
            *((row["source"] or "–", row["licence"] or "–") if imported else ()),
        )  # fmt: skip
    for name, scores in found["baselines"].items():
        shown.add_row("–", name, "–", number(scores.get(metric)), "–", "–", "–", "plain baseline")
    console.print(shown)
    for note in notes(found):
        console.print(Text(note, "dim"))
    others = [name for name in found["metrics"] if name != metric]
    if others:
        console.print(Text(f"Other metrics: --metric {' | '.join(others)}", "dim"))


def notes(found: Row) -> list[str]:
    """What to know when reading a leaderboard, in sentences."""
    said: list[str] = []
    if len(found["rows"]) < found["total"]:
        said.append(f"The best {len(found['rows'])} of {found['total']}.")
    splits = {row["split"] for row in found["rows"]}
    if "valid" in splits:
        said.append("Only the winner of a search is scored on the test split, once.")
    if "test" in splits:
        said.append("Imported records were chosen by their test score, which flatters them.")
    for source in dict.fromkeys(row["source"] for row in found["rows"] if row["source"]):
        row = next(row for row in found["rows"] if row["source"] == source)
        said.append(f"{source}: {row['licence'] or 'no licence stated'}, {row['origin']}")
    return said


def numbers(found: Mapping[str, Any], json: bool) -> None:
    """Names and values."""
    if json:
        dump(dict(found))
        return
    grid = Table.grid(padding=(0, 2))
    for name, value in found.items():
        shown = size(value) if name.endswith("bytes") else number(value)
        grid.add_row(Text(name, "bold"), shown)
    Console().print(grid)


def findings(found: Iterable[Finding], json: bool) -> bool:
    """The laws as they are tried; whether none is broken."""
    console, kept, listed = Console(), True, []
    styles = {"kept": "green", "broken": "bold red", "waived": "yellow"}
    for finding in found:
        kept &= finding.state != "broken"
        listed.append(vars(finding))
        if not json:
            mark = Text(f"{finding.state:<8}", styles[finding.state])
            console.print(mark + Text(finding.law, "") + Text(f"  {finding.reason}", "dim"))
    if json:
        dump(listed)
    return kept


def claim_bars(found: list[Row]) -> list[Row]:
    """One object per bar: the stable machine output of ``claims`` and ``reproduce``."""
    return [
        {
            "plugin": row["plugin"],
            "claim": row["claim"],
            "verdict": row["verdict"],
            "run": bar["run"],
            "metric": bar["metric"],
            "on": bar["on"],
            "ours": bar["ours"],
            "spread": bar["spread"],
            "rival": bar["rival"],
            "bar": bar["bar"],
            "met": bar["met"],
            "paper_value": bar["paper"],
            "command": row["command"],
        }
        for row in found
        for bar in row["bars"]
    ]


def claims(found: list[Row], json: bool) -> None:
    """Verdicts with their bars."""
    if json:
        dump(claim_bars(found))
        return
    console = Console()
    if not found:
        console.print("No claim was checked yet: automl reproduce ptrnet")
    for row in found:
        style = VERDICT_STYLES[row["verdict"]]
        title = Text.assemble(
            (f"{row['plugin']} {row['claim']}", "bold"), ": ", (row["verdict"], f"bold {style}")
        )
        console.print(title)
        console.print(Text(f"{row['statement']} ({row['source']})", "dim"))
        shown = table("", "Run", "On", "Bar", "Ours", "Paper")
        for bar in row["bars"]:
            mark = {True: "✓", False: "✗", None: "?"}[bar["met"]]
            spread = f" ± {number(bar['spread'])}" if bar["spread"] else ""
            shown.add_row(
                mark, bar["run"], bar["on"], bar["bar"], number(bar["ours"]) + spread, bar["paper"]
            )
        console.print(shown)
        console.print(Text(f"{row['command']}\n", "cyan"))


# ---------------------------------------------------------------- documents


def claims_page(found: list[Row]) -> str:
    """The claims as a Markdown document, from the database alone."""
    parts = [
        "# Claims",
        "",
        "Written by `automl claims --markdown docs/claims.md` from the model database, which "
        "`make reproduce` fills. A claim is reproduced if the mean over seeds meets every bar.",
        "",
    ]
    for row in found:
        parts += claim_section(row)
    return "\n".join(parts) + "\n"


def write_claims(path: Path, found: list[Row]) -> None:
    """Write the claims as a page, and as JSON beside it for the tables of the documentation.

    What is there already of claims that ``found`` lacks is kept: papers may be checked on several
    machines, each with a database of its own.
    """
    record = path.with_suffix(".json")
    judged = {claim_key(row) for row in found}
    known = jsonlib.loads(record.read_text()) if record.exists() else []
    kept = [row for row in known if claim_key(row) not in judged]
    for row in kept:
        row["created_at"] = datetime.fromisoformat(row["created_at"])
    every = sorted([*kept, *found], key=lambda row: (row["plugin"], row["scale"] != "small"))
    path.write_text(claims_page(every))
    lines = ",\n".join(jsonlib.dumps(row, default=str) for row in every)
    record.write_text(f"[\n{lines}\n]\n")


def claim_key(row: Row) -> tuple[str, str, str]:
    """What makes two verdicts be about the same claim."""
    return row["plugin"], row["claim"], row["scale"]


def claim_section(row: Row) -> list[str]:
    """One claim: verdict, bars, everything measured beside them."""
    parts = [
        f"## {row['plugin']}: {row['claim']} — {row['verdict']}",
        "",
        f"{row['statement']} ({row['source']}; {row['scale']} scale; `{row['command']}`; plugin "
        f"version {row['plugin_version']}, code {row['code_hash'][:12]}, "
        f"{row['created_at']:%Y-%m-%d})",
        "",
        "| met | run | test split of | bar | ours (mean ± sd) | paper |",
        "|---|---|---|---|---|---|",
    ]
    for bar in row["bars"]:
        met = {True: "yes", False: "no", None: "no result"}[bar["met"]]
        spread = f" ± {number(bar['spread'])}" if bar["spread"] else ""
        parts.append(
            f"| {met} | {bar['run']} | {bar['on']} | {bar['bar']} | {number(bar['ours'])}{spread} "
            f"| {bar['paper'] or '–'} |"
        )
    parts += ["", "| run | test split of | seeds | tuned | scores |", "|---|---|---|---|---|"]
    for run in row["runs"]:
        tuned = ", ".join(f"{key}={number(value)}" for key, value in run["tuned"].items())
        scores = ", ".join(f"{key} {number(value)}" for key, value in run["scores"].items())
        said = f"n/a: {run['reason']}" if run["reason"] else scores
        seeds = run["seeds"] or "–"
        parts.append(f"| {run['run']} | {run['on']} | {seeds} | {tuned or '–'} | {said} |")
    return [*parts, ""]
