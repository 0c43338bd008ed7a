"""``automl jobs …``: the queue of searches that the browser application posts to."""

from __future__ import annotations

from typing import Annotated

import typer

from automl.ui.options import Database, Json

jobs_commands = typer.Typer(help="Queue searches: one runs at a time, in the background.")
Number = Annotated[int, typer.Argument(help="The job's number (`automl jobs`).")]


@jobs_commands.callback(invoke_without_command=True)
def jobs(context: typer.Context, db: Database = None, json: Json = False) -> None:
    """Queue searches that run in the background, one at a time, or look at the queue.

    A job goes on when the terminal or the browser is closed. The queue is in a folder beside the
    model database, whose jobs it holds.

    [bold]Examples[/]

    automl jobs

    automl jobs add search --plugin selu --dataset digits

    automl jobs stop 3
    """
    if context.invoked_subcommand is not None:
        return
    from automl.ui import render
    from automl.ui.jobs import Queue

    found = Queue(db).jobs()
    if json:
        render.dump([job.to_dict() for job in found])
    elif found:
        render.jobs(found)
    else:
        typer.echo("No jobs. Queue one: automl jobs add search --plugin ptrnet")


@jobs_commands.command(
    "add", context_settings={"allow_extra_args": True, "ignore_unknown_options": True}
)
def add(context: typer.Context) -> None:
    """Queue a command, search or resume with its options, and run it when its turn comes.

    [bold]Examples[/]

    automl jobs add search --plugin ptrnet --trials 30

    automl jobs --db models.db add resume 3
    """
    from automl.ui.jobs import Queue

    db = context.parent.params["db"] if context.parent is not None else None
    job = Queue(db).post(context.args)
    typer.echo(f"Job {job.number} is queued: {job.command}")


@jobs_commands.command("stop")
def stop(number: Number, db: Database = None) -> None:
    """Stop a job: once to checkpoint its trials, again to stop at once; a third time kills it."""
    from automl.ui.jobs import Queue

    job = Queue(db).stop(number)
    said = "is out of the queue" if job.state == "stopped" else "was asked to stop"
    typer.echo(f"Job {number} {said}.")


@jobs_commands.command("log")
def log(
    number: Number,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="How many of the last.")] = 20,
    db: Database = None,
) -> None:
    """Print the last lines that a job said."""
    from automl.ui.jobs import Queue

    typer.echo(Queue(db).log(number, lines))


@jobs_commands.command("clear")
def clear(db: Database = None) -> None:
    """Forget the jobs that have ended; their studies stay."""
    from automl.ui.jobs import Queue

    typer.echo(f"{Queue(db).clear()} jobs are forgotten.")


@jobs_commands.command("run")
def run(db: Database = None) -> None:
    """Carry out what is queued, here and now; `jobs add` starts this in the background."""
    from automl.ui.jobs import Queue

    Queue(db).run()
