"""The queue: what runs, how far it is, what it says; stop, resume, go on."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import streamlit as st

from automl.core.errors import DatabaseError, UnknownName
from automl.dataset_db import query
from automl.ui.jobs import CALM_STOPS, Job, Queue
from automl.ui.views import places
from automl.ui.views.frame import literal, number, page, parameter, title

REFRESH_SECONDS = 2
SHOWN = 20
LOG_LINES = 14
COLOURS = {
    "queued": "gray", "running": "blue", "done": "green", "failed": "red", "stopped": "violet",
}  # fmt: skip
MARKS = {"queued": "○", "running": "▶", "done": "●", "failed": "▲", "stopped": "◆"}
ACTIVE = ("queued", "running")
STOPS = ("Stop", "Stop now", "Kill")
STOP_HELP = (
    "Running trials are checkpointed at their next report; the study can be resumed.",
    "Without waiting for a checkpoint; the study can be resumed.",
    "The process is killed; the study can be resumed.",
)
Row = dict[str, Any]


@page
def show() -> None:
    """The jobs; while some are active, always anew."""
    title("Jobs")
    st.caption("One search runs at a time. It goes on when this page or `automl ui` is closed.")
    active = any(job.state in ACTIVE for job in Queue().jobs())
    st.fragment(listing, run_every=REFRESH_SECONDS if active else None)()


@page
def listing() -> None:
    """The queue, the newest first."""
    queue = Queue()
    jobs = queue.jobs()
    if queue.waiting():
        restart(queue)
    if not jobs:
        st.info(
            "No jobs yet. Start a search on the page Start, or queue one: "
            "`automl jobs add search --plugin ptrnet`",
            icon=":material/info:",
        )
        places.link("Start a search", "start", icon=":material/add_circle:")
    chosen = parameter("job")
    for job in jobs[:SHOWN]:
        card(queue, job, chosen == str(job.number) or job.state == "running")
    if len(jobs) > SHOWN:
        st.caption(f"and {len(jobs) - SHOWN} older ones: `automl jobs` lists them")
    ended = [job for job in jobs if job.state not in ACTIVE]
    if ended and st.button("Forget the jobs that have ended", key="clear", type="tertiary"):
        queue.clear()
        st.rerun()
    unfinished(queue, jobs)


def restart(queue: Queue) -> None:
    """Offer to go on where nobody takes the jobs: after a crash of the machine."""
    st.warning(
        "Jobs are queued, and nothing takes them: the machine was restarted, or the runner killed.",
        icon=":material/warning:",
    )
    if st.button("Run the queue", type="primary", key="run"):
        queue.start()
        st.rerun()


# ---------------------------------------------------------------- one job


def card(queue: Queue, job: Job, opened: bool) -> None:
    """A job: state, progress, buttons, command and log."""
    study = known_study(job)
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            title = study.row["name"] if study else what(job)
            st.markdown(f"**Job {job.number}** · {literal(title)}", width="content")
            colour: Any = COLOURS[job.state]
            st.badge(f"{MARKS[job.state]} {job.state}", color=colour)
        if study:
            progress(job, study.row)
        if job.message:
            tell = st.error if job.state == "failed" else st.caption
            tell(literal(job.message))
        if job.state == "running" and job.stops:
            st.caption("It was asked to stop and checkpoints its trials.")
        buttons(queue, job, study)
        with st.expander("Command and log", expanded=opened and job.state != "done"):
            st.code(job.command, language="bash", wrap_lines=True)
            st.code(
                queue.log(job.number, LOG_LINES) or "nothing yet", language=None, wrap_lines=True
            )


@dataclass(frozen=True)
class Study:
    """A study's row, if it is still there."""

    row: Row


def known_study(job: Job) -> Study | None:
    """The study of a job."""
    if job.study is None:
        return None
    try:
        return Study(query.study(job.study))
    except (UnknownName, DatabaseError):  # deleted since
        return None


def what(job: Job) -> str:
    """A job in short, before its study exists."""
    words = job.arguments
    given = dict(pairwise(words))
    if words[0] == "resume":
        return f"resume study {words[1]}" if len(words) > 1 else "resume"
    plugins = [after for word, after in pairwise(words) if word == "--plugin"]
    on = given.get("--dataset", given.get("--data", ""))
    return f"{', '.join(plugins) or 'all plugins'}{' on ' + on if on else ''}"


def progress(job: Job, row: Row) -> None:
    """How far the study is within its budget, and the best so far."""
    done = row["n_complete"] + row["n_pruned"] + row["n_failed"]
    budget = row["budget_trials"]
    if budget:
        st.progress(min(1.0, done / budget), f"{done} of {budget} trials")
    elif row["budget_seconds"]:
        share = min(1.0, (row["seconds"] or 0) / row["budget_seconds"])
        st.progress(
            share, f"{done} trials, {row['seconds'] or 0:.0f} of {row['budget_seconds']:.0f} s"
        )
    best = "nothing complete yet"
    if row["best_value"] is not None:
        best = f"best {row['metric']} {number(row['best_value'])} in trial {row['best_number']}"
    said = [best, f"{row['n_complete']} complete", f"{row['n_pruned']} pruned",
            f"{row['n_failed']} failed"]  # fmt: skip
    st.caption(literal(" · ".join(said)))


def buttons(queue: Queue, job: Job, study: Study | None) -> None:
    """What can be done with a job."""
    with st.container(horizontal=True, vertical_alignment="center"):
        if job.state == "running":
            at = min(job.stops, CALM_STOPS)
            if st.button(
                f"{STOPS[at]} job {job.number}", key=f"stop-{job.number}-{at}",
                icon=":material/stop:", help=STOP_HELP[at],
            ):  # fmt: skip
                queue.stop(job.number)
                st.rerun()
        elif job.state == "queued" and st.button(
            f"Take job {job.number} out", key=f"out-{job.number}", icon=":material/close:"
        ):
            queue.stop(job.number)
            st.rerun()
        if study is None:
            return
        interrupted = study.row["state"] == "interrupted"
        if job.state not in ACTIVE and interrupted and study.row["id"] not in resuming(queue):
            resume_button(queue, study.row["id"], f"job-{job.number}")
        places.link(
            f"Study {study.row['id']}", "study", icon=":material/show_chart:",
            study=str(study.row["id"]),
        )  # fmt: skip
        if study.row["best_number"] is not None:
            reference = f"{study.row['id']}/{study.row['best_number']}"
            places.link("Best model", "model", icon=":material/deployed_code:", trial=reference)


def resuming(queue: Queue) -> set[int]:
    """The studies that queued or running jobs resume."""
    return {
        int(job.arguments[1])
        for job in queue.jobs()
        if job.state in ACTIVE
        and job.arguments[0] == "resume"
        and job.arguments[1:2]
        and job.arguments[1].isdecimal()
    }


def resume_button(queue: Queue, study: int, key: str) -> None:
    """Queue the rest of a study."""
    if st.button(f"Resume study {study}", key=f"resume-{key}", icon=":material/play_arrow:"):
        job = queue.post(("resume", str(study)))
        st.query_params["job"] = str(job.number)
        st.rerun()


def unfinished(queue: Queue, jobs: list[Job]) -> None:
    """Interrupted studies that no job here is about."""
    about = {job.study for job in jobs} | resuming(queue)
    try:
        rows = query.studies(kind="search")
    except DatabaseError:  # no database yet
        return
    left = [row for row in rows if row["state"] == "interrupted" and row["id"] not in about]
    if not left:
        return
    st.subheader("Interrupted searches", anchor=False)
    for row in left[:SHOWN]:
        with st.container(horizontal=True, vertical_alignment="center"):
            done = row["n_complete"] + row["n_pruned"] + row["n_failed"]
            of = f" of {row['budget_trials']}" if row["budget_trials"] else ""
            st.markdown(
                f"**Study {row['id']}** · {literal(row['name'])} · {done}{of} trials",
                width="content",
            )
            resume_button(queue, row["id"], f"study-{row['id']}")
