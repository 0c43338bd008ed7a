"""The ``automl`` command line: thin commands that import what they need when they run."""

from __future__ import annotations

import sys
from copy import copy
from pathlib import Path
from typing import Annotated, Optional

import typer
from typer.models import CommandInfo

from automl.core.errors import AutoMLError
from automl.ui.database import db_commands
from automl.ui.ensembling import ensemble_command
from automl.ui.importing import import_commands
from automl.ui.models import models
from automl.ui.options import Database, Json, largest, seconds, size_in_bytes
from automl.ui.queueing import jobs_commands
from automl.ui.replaying import replay_command
from automl.ui.serving import serve, ui
from automl.ui.shipping import benchmark, export

app = typer.Typer(
    name="automl",
    help="Search the architectures of research papers, keep every model, ship the winner.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start with: [bold]automl search --plugin ptrnet[/bold]",
)
app.add_typer(db_commands, name="db")
app.add_typer(jobs_commands, name="jobs", rich_help_panel="Search")
app.command(rich_help_panel="Models")(models)
db_commands.add_typer(import_commands, name="import")

PluginOption = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--plugin", "-p", help="Name (`automl plugins` lists them) or folder (./mine)."),
]


@app.command(rich_help_panel="Search")
def search(
    plugin: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            "--plugin",
            "-p",
            help="Name or folder (./mine); repeat it for several. Default: all that can learn it.",
        ),
    ] = None,
    dataset: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--dataset", "-d", help="What to learn, e.g. [bold]tsp:n=5-10[/]. Default: the paper's."
        ),
    ] = None,
    data: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Your own data instead: table.csv, .parquet, arrays.npz, a folder."),
    ] = None,
    target: Annotated[
        str,
        typer.Option(help="With --data the column (or array) to predict; else as --runtime."),
    ] = "",
    problem: Annotated[
        str, typer.Option(help="What your data is to learn, if the target does not tell.")
    ] = "",
    categorical: Annotated[
        str, typer.Option(help="Columns of names that look like numbers, with commas.")
    ] = "",
    image_size: Annotated[int, typer.Option(help="Resize images to so many pixels.")] = 0,
    trials: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(
            "--trials", "-n", help="Budget: complete, pruned and failed trials. Default: 20."
        ),
    ] = None,
    timeout: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--timeout", "-t", help="Budget: wall-clock, e.g. 90, 10m, 2h."),
    ] = None,
    assignments: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--set", "-s", metavar="NAME=VALUE", help="Fix a setting; repeatable."),
    ] = None,
    technique: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--technique", help="Change how models are trained; repeatable."),
    ] = None,
    warm_start: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            metavar="auto|STUDY|DATASET",
            help="Try the best configurations on record first: of similar datasets (auto), a "
            "study or a dataset.",
        ),
    ] = None,
    warm_trials: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(help="How many of them a plugin gets at most. Default: 4."),
    ] = None,
    sampler: Annotated[
        str, typer.Option(help="auto, tpe, gp, cmaes, nsga2, nsga3, qmc or random.")
    ] = ("tpe"),
    pruner: Annotated[
        str, typer.Option(help="median, asha, hyperband, patience, extrapolation, none.")
    ] = "median",
    objective: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            help="What to improve, repeatable: a metric of the problem, params, bytes, latency_ms. "
            "Default: the problem's first metric."
        ),
    ] = None,
    runtime: Annotated[
        str,
        typer.Option(metavar="TARGET", help="Where bytes and latency_ms are measured: cpu, web."),
    ] = "",
    seed: Annotated[int, typer.Option(help="Same seed and one worker: same search.")] = 0,
    executor: Annotated[str, typer.Option(help="processes, ray, or inline for debugging.")] = (
        "processes"
    ),
    ray_address: Annotated[
        str,
        typer.Option(metavar="HOST:PORT", help="A Ray cluster to run on; local: one of our own."),
    ] = "local",
    workers: Annotated[int, typer.Option(help="Worker processes; 0: one per core or GPU.")] = 0,
    threads: Annotated[
        int, typer.Option(help="Threads of a worker; 0: its share of the cores.")
    ] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    amp: Annotated[str, typer.Option(help="Mixed precision: off, bf16 or fp16.")] = "off",
    compile_: Annotated[bool, typer.Option("--compile", help="Use torch.compile.")] = False,
    trial_timeout: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Wall-clock of one trial; its model so far is kept."),
    ] = None,
    stall_timeout: Annotated[
        str, typer.Option(help="A trial that reports nothing for so long has hung.")
    ] = "600",
    memory_mb: Annotated[
        int, typer.Option(help="Memory of a worker in MB; 0: its share of the machine.")
    ] = 0,
    max_params: Annotated[
        int, typer.Option(help="Numbers a model may hold; a larger one is not trained.")
    ] = 0,
    max_bytes: Annotated[
        str, typer.Option(metavar="SIZE", help="Of the exported model, e.g. 500000, 500kB, 2MB.")
    ] = "0",
    max_latency_ms: Annotated[
        float, typer.Option(help="Of one example in the exported model; a slower one is pruned.")
    ] = 0.0,
    max_flash_kb: Annotated[
        float, typer.Option(help="Flash that the model may take as C in single precision.")
    ] = 0.0,
    full: Annotated[bool, typer.Option("--full", help="Start from the paper's own size.")] = False,
    ensemble: Annotated[
        int,
        typer.Option(metavar="SIZE", help="Then average the best models, in SIZE additions."),
    ] = 0,
    name: Annotated[str, typer.Option(help="Name of the study.")] = "",
    db: Database = None,
    json: Json = False,
) -> None:
    """Search the architectures of one plugin or of several, and keep every model.

    Without --plugin all that can learn the data compete under one budget.

    [bold]Examples[/]

    automl search --plugin ptrnet

    automl search --plugin ptrnet --dataset tsp:n=5-10 --trials 30

    automl search --plugin ptrnet --set arch=seq2seq --timeout 10m --json

    automl search --data table.csv --target price

    automl search --dataset digits --trials 30 --set selu.depth=4

    automl search --plugin selu --dataset digits --warm-start auto

    automl search --plugin selu --dataset digits --objective accuracy --objective latency_ms

    automl search --plugin selu --dataset digits --max-latency-ms 0.5 --target cpu
    """
    from automl.ui import actions, ensembling, render

    result = actions.search(
        plugin or (),
        dataset or "",
        data=data,
        data_options={
            name: value
            for name, value in {
                "target": target if data else "",
                "problem": problem,
                "categorical": categorical,
                "image_size": image_size,
            }.items()
            if value
        },
        trials=trials,
        timeout=seconds(timeout),
        overrides=assignments or [],
        techniques=technique or [],
        name=name,
        warm_start=warm_start,
        warm_trials=warm_trials,
        db=db,
        observer=render.observer(),
        sampler=sampler,
        pruner=pruner,
        seed=seed,
        executor=executor,
        ray_address=ray_address,
        workers=workers,
        threads=threads,
        device=device,
        amp=amp,
        compile=compile_,
        trial_timeout=seconds(trial_timeout) or 0.0,
        stall_timeout=seconds(stall_timeout) or 0.0,
        memory_mb=memory_mb,
        objectives=",".join(objective or ()),
        runtime=runtime or (target if not data else "") or "cpu",
        max_parameters=largest(max_params, max_flash_kb),
        max_bytes=size_in_bytes(max_bytes),
        max_latency_ms=max_latency_ms,
        full=full,
    )
    joined = ensembling.after(result, ensemble, db=db, observer=render.observer())
    render.result(result, db, json, joined)
    finish(result.state)


@app.command(rich_help_panel="Search")
def resume(
    study: Annotated[int, typer.Argument(help="The study's number (`automl studies`).")],
    trials: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option("--trials", "-n", help="New total budget in trials."),
    ] = None,
    timeout: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--timeout", "-t", help="New total wall-clock budget."),
    ] = None,
    accept_changes: Annotated[
        bool,
        typer.Option("--accept-changes", help="Fork a study whose plugins have changed since."),
    ] = False,
    ray_address: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            metavar="HOST:PORT", help="Another Ray cluster than before; local: one of our own."
        ),
    ] = None,
    db: Database = None,
    json: Json = False,
) -> None:
    """Continue a study after Ctrl-C, a crash or with a larger budget.

    Budgets are totals of the study: finished trials count and are never run again, unfinished
    ones go on from their checkpoints. If the code of a plugin has changed, the study is refused,
    or forked: a new one with the new code, the same settings and what is left of the budget.

    [bold]Examples[/]

    automl resume 3

    automl resume 3 --trials 50

    automl resume 3 --accept-changes
    """
    from automl.ui import actions, render

    result = actions.resume(
        study,
        trials=trials,
        timeout=seconds(timeout),
        accept_changes=accept_changes,
        ray_address=ray_address,
        db=db,
        observer=render.observer(),
    )
    render.result(result, db, json)
    finish(result.state)


app.command("ensemble", rich_help_panel="Search")(ensemble_command)
app.command("replay", rich_help_panel="Search")(replay_command)


def finish(state: str) -> None:
    """Exit with 1 when a study failed or was interrupted, so that scripts notice."""
    if state in ("failed", "interrupted"):
        raise typer.Exit(1)


@app.command(rich_help_panel="Plugins")
def plugins(
    check: Annotated[
        bool, typer.Option("--check", help="Exit with 1 if any plugin is broken.")
    ] = False,
    json: Json = False,
) -> None:
    """List the installed plugins with paper, problems and version; broken ones with the reason."""
    from automl.ui import listing

    broken = listing.plugins(json)
    if check and broken:
        raise typer.Exit(1)


@app.command(rich_help_panel="Plugins")
def datasets(json: Json = False) -> None:
    """List the datasets with their problem and the plugins that learn it."""
    from automl.ui import listing

    listing.datasets(json)


@app.command(rich_help_panel="Check")
def check(
    file: Annotated[Path, typer.Argument(help="A Python file that defines a model, class Net.")],
    task: Annotated[str, typer.Option(help="The type of problem.")] = "image-classification",
    dataset: Annotated[str, typer.Option("--dataset", "-d", help="What to try it on.")] = "digits",
    epochs: Annotated[int, typer.Option(help="Of the short training.")] = 1,
    assignments: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--set", "-s", metavar="NAME=VALUE", help="lr, batch, transform, ..."),
    ] = None,
    limit: Annotated[str, typer.Option("--timeout", "-t", help="Of one stage or epoch.")] = "120",
    cpu_timeout: Annotated[str, typer.Option(help="CPU time in all.")] = "10m",
    memory_mb: Annotated[int, typer.Option(help="Memory of the model's process in MB.")] = 4096,
    seed: Annotated[int, typer.Option(help="Same seed: same verdict.")] = 0,
    novel: Annotated[
        bool, typer.Option("--novel", help="Fail code that the model database has already.")
    ] = False,
    db: Database = None,
    json: Json = False,
) -> None:
    """Check untrusted code in stages: policy, format, import, shapes, training, score.

    None of it runs in this process: a sandbox bounds its CPU time, memory, files and network, and
    where that cannot be had nothing runs. Exits with 1 if a stage fails.

    [bold]Example[/]

    automl check model.py --dataset digits --epochs 3 --json
    """
    from automl.ui import candidate, render

    chosen = candidate.Candidate(
        file, task, dataset, epochs, tuple(assignments or ()), seed, novel, db,
        seconds(limit) or 0.0, seconds(cpu_timeout) or 0.0, memory_mb,
    )  # fmt: skip
    report = candidate.check(chosen)
    if json:
        render.dump(report)
    else:
        candidate.show(report)
    if report["verdict"] != "passed":
        raise typer.Exit(1)


@app.command("check-plugin", rich_help_panel="Plugins")
def check_plugin(
    plugin: Annotated[str, typer.Argument(help="Name or folder.")], json: Json = False
) -> None:
    """Run the laws that every plugin obeys, the ONNX one included."""
    from automl.ui import actions, render

    findings = actions.check_plugin(plugin)
    if not render.findings(findings, json):
        raise typer.Exit(1)


@app.command("new-plugin", rich_help_panel="Plugins")
def new_plugin(
    name: Annotated[str, typer.Argument(help="A Python name, e.g. mynet.")],
    into: Annotated[Path, typer.Option(help="Folder to write it in.")] = Path("."),
) -> None:
    """Write a new plugin that already passes the laws, with its test."""
    from rich import print as show

    from automl.ui.scaffold import new_plugin as write

    package = write(name, into)
    shown = package if package.is_absolute() else f"./{package}"
    show(f"Wrote [bold]{package.parent}[/]. Next:")
    show(f"  automl check-plugin {shown}")
    show(f"  automl search --plugin {shown} --trials 5")
    show(f"  pip install -e {package.parent}   [dim]# then --plugin {name}[/]")


@app.command(rich_help_panel="Claims")
def reproduce(
    plugin: Annotated[str, typer.Argument(help="The plugin whose paper to check.")],
    claim: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--claim", help="Only this claim; repeatable."),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="The paper's own scale (GPU).")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Train again what is on record.")] = False,
    workers: Annotated[int, typer.Option(help="Worker processes; 0: one per core or GPU.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    db: Database = None,
    json: Json = False,
) -> None:
    """Check a paper's claims: train both sides, compare, keep the evidence.

    An interrupted check goes on where it stopped, and repeating one with the same code and claims
    trains nothing. Exits with 1 unless every claim is reproduced.

    [bold]Examples[/]

    automl reproduce ptrnet

    automl reproduce ptrnet --claim variable_dictionary --json
    """
    from automl.ui import actions, render

    verdicts = actions.reproduce(
        plugin,
        claim or [],
        scale="full" if full else "small",
        fresh=fresh,
        db=db,
        observer=render.observer(),
        workers=workers,
        device=device,
    )
    render.claims(verdicts, json)
    if any(verdict["verdict"] != "reproduced" for verdict in verdicts):
        raise typer.Exit(1)


@app.command(rich_help_panel="Claims")
def claims(
    plugin: PluginOption = None,
    markdown: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--markdown", help="Write the verdicts to this file, and as JSON beside it."),
    ] = None,
    db: Database = None,
    json: Json = False,
) -> None:
    """Show the latest verdict on each claim, with its figures and the command behind it."""
    from automl.ui import actions, render

    rows = actions.claims(plugin, db=db)
    if markdown is not None:
        render.write_claims(markdown, rows)
        return
    render.claims(rows, json)


@app.command(rich_help_panel="Models")
def studies(
    plugin: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--plugin", "-p", help="Only those in which it takes part."),
    ] = None,
    dataset: Annotated[Optional[str], typer.Option("--dataset", "-d")] = None,  # noqa: UP045
    kind: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="search, claim or import. Default: all but imported ones."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many of the latest.")] = 100,
    db: Database = None,
    json: Json = False,
) -> None:
    """List the studies: state, trials done of the budget, best value."""
    from automl.ui import actions, render

    found = actions.studies(plugin=plugin, dataset=dataset, kind=kind, limit=limit, db=db)
    render.studies(found, json)


@app.command(rich_help_panel="Models")
def trials(
    study: Annotated[int, typer.Argument(help="The study's number.")],
    limit: Annotated[int, typer.Option(help="How many at most, the best first.")] = 20,
    db: Database = None,
    json: Json = False,
) -> None:
    """List a study's trials, the best first."""
    from automl.ui import actions, render

    render.trials(actions.trials(study, limit=limit, db=db), json)


@app.command(rich_help_panel="Models")
def best(
    plugin: PluginOption = None,
    dataset: Annotated[Optional[str], typer.Option("--dataset", "-d")] = None,  # noqa: UP045
    study: Annotated[Optional[int], typer.Option("--study")] = None,  # noqa: UP045
    db: Database = None,
    json: Json = False,
) -> None:
    """Show the best model of a plugin, a dataset or a study."""
    from automl.ui import actions, render

    render.trial(actions.best(plugin=plugin, dataset=dataset, study=study, db=db), json)


@app.command(rich_help_panel="Models")
def front(
    study: Annotated[int, typer.Argument(help="The study's number.")],
    db: Database = None,
    json: Json = False,
) -> None:
    """Show a study's Pareto front: the models that no other one beats in every objective.

    [bold]Example[/]

    automl front 3 --json
    """
    from automl.ui import actions, render

    render.pareto(actions.front(study, db=db), json)


@app.command(rich_help_panel="Models")
def leaderboard(
    dataset: Annotated[
        Optional[str],  # noqa: UP045
        typer.Argument(help="A dataset's name; by default that of the latest search."),
    ] = None,
    metric: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Rank by this objective. Default: that of the latest search."),
    ] = None,
    limit: Annotated[int, typer.Option(help="How many at most, the best first.")] = 100,
    db: Database = None,
    json: Json = False,
) -> None:
    """Rank the papers on a dataset: the best model of each plugin, imported networks included."""
    from automl.ui import actions, render

    render.leaderboard(actions.leaderboard(dataset, metric=metric, limit=limit, db=db), json)


@app.command(rich_help_panel="Models")
def show(
    trial: Annotated[str, typer.Argument(help="STUDY/NUMBER such as 3/0, or best.")],
    plugin: PluginOption = None,
    code: Annotated[bool, typer.Option("--code", help="Print the plugin's code too.")] = False,
    db: Database = None,
    json: Json = False,
) -> None:
    """Show one model: configuration, scores, curve, files, exports.

    [bold]Examples[/]

    automl show 3/0

    automl show best --plugin ptrnet --json
    """
    from automl.ui import actions, render

    render.trial(actions.show(trial, plugin=plugin, code=code, db=db), json)


@app.command(rich_help_panel="Models")
def probe(
    trial: Annotated[str, typer.Argument(help="STUDY/NUMBER such as 3/0, or best.")],
    probe: Annotated[str, typer.Option("--probe", help="Which measurement.")],
    plugin: PluginOption = None,
    db: Database = None,
    json: Json = False,
) -> None:
    """Measure a fitted model beyond its metric, e.g. on longer inputs than it was trained on.

    [bold]Example[/]

    automl probe best --plugin ptrnet --probe length_generalisation
    """
    from automl.ui import actions, render

    render.numbers(actions.probe(trial, probe, plugin=plugin, db=db), json)


for command in (export, benchmark):
    app.command(rich_help_panel="Ship")(command)


app.command(rich_help_panel="Look")(ui)
app.command(rich_help_panel="Look")(serve)


@app.command(rich_help_panel="Look")
def mcp(
    allow_search: Annotated[
        bool, typer.Option("--allow-search", help="Also let it start small searches.")
    ] = False,
    db: Database = None,
) -> None:
    """Let a language model ask the database: Model Context Protocol on standard input and output.

    Read-only unless searches are allowed. A client's settings name the command
    [bold]automl mcp --db models.db[/].
    """
    from automl.ui import actions

    actions.mcp(db, allow_search=allow_search)


@app.command(rich_help_panel="Look")
def doctor(db: Database = None, json: Json = False) -> None:
    """Say what is installed, which devices there are and whether the database opens."""
    from automl.ui import listing

    listing.doctor(db, json)


@app.callback()
def automl() -> None:
    """Without this, an application of one command would take no command's name."""


def main() -> None:
    """Run the command line: one sentence and exit code 2 for anything the user can put right."""
    try:
        asked_for(sys.argv[1:])()
    except AutoMLError as error:
        typer.secho(f"Error: {error}", fg="red", err=True)
        raise SystemExit(2) from None


def asked_for(arguments: list[str]) -> typer.Typer:
    """The application with the command that is asked for only, with all where it is not ours.

    Making every command from its annotations takes longer than listing the plugins does. A word
    that is none of our commands may be one that a plugin brings.
    """
    word = next(iter(arguments), "-")
    commands = [command for command in app.registered_commands if called(command) == word]
    groups = [group for group in app.registered_groups if group.name == word]
    if not (commands or groups):
        if not word.startswith("-"):
            from automl.core.discovery import catalogue

            catalogue().manager.hook.register_commands(cli=app)
        return app
    only = copy(app)
    only.registered_commands, only.registered_groups = commands, groups
    return only


def called(command: CommandInfo) -> str:
    """The name of a command."""
    return str(command.name or getattr(command.callback, "__name__", ""))


if __name__ == "__main__":
    main()
