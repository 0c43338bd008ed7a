"""Start a search: a form that posts a job to the queue, and the command line that does the same."""

from __future__ import annotations

import hashlib
import re
import shlex
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import streamlit as st

from automl.core.cards import DatasetCard, PluginCard
from automl.core.discovery import catalogue
from automl.core.errors import AutoMLError, DataError
from automl.core.objectives import COSTS
from automl.ui.asking import ask
from automl.ui.jobs import Queue
from automl.ui.options import seconds, size_in_bytes
from automl.ui.views import places
from automl.ui.views.frame import literal, number, page, parameter, title
from automl.ui.views.helping import asked, setting_rows

Row = dict[str, Any]
LARGEST_UPLOAD_MB = 50
SUFFIXES = ("csv", "tsv", "parquet", "npz")
OWN, LISTED = "My own file", "A data set on the list"
DEFAULT_DATASET = "digits"
TRIALS = 20
SAMPLERS = "How configurations are proposed; auto looks at the space and at the budget"
PRUNERS = "When trials without hope are stopped"

# The command stays in sight beside a long form; below it on a telephone.
STYLE = """<style>
@media (min-width: 640px) {
  [data-testid="stColumn"]:has(> div .st-key-summary) {
    position: sticky; top: 4.5rem; align-self: flex-start;
  }
}
</style>"""


@dataclass
class Data:
    """What is to be learnt: a dataset's name for the engine, and the options of the command."""

    name: str
    problem: str
    arguments: tuple[str, ...]


@dataclass
class Form:
    """What the form says so far."""

    data: Data
    plugins: list[str]
    overrides: dict[str, list[str]] = field(default_factory=dict)  # plugin -> NAME=VALUE
    arguments: list[str] = field(default_factory=list)  # of everything else

    @property
    def command(self) -> tuple[str, ...]:
        """The arguments of ``automl``."""
        found = ["search"]
        for plugin in self.plugins:
            found += ["--plugin", plugin]
        found += self.data.arguments
        for plugin, texts in self.overrides.items():
            prefix = f"{plugin}." if len(self.plugins) > 1 else ""
            for text in texts:
                found += ["--set", prefix + text]
        return (*found, *self.arguments)


@page
def show() -> None:
    """The form beside its command."""
    title("Start a search")
    st.caption(
        "A search runs in a process of its own: it goes on when this page or the browser is closed."
    )
    st.html(STYLE)
    left, right = st.columns([5, 3], gap="large")
    with left:
        form = filled()
    with right, st.container(key="summary"):
        if form is None:
            st.info("Choose what to learn first.", icon=":material/info:")
        else:
            summary(form)


def filled() -> Form | None:
    """The form; ``None`` until there is something to learn."""
    with st.container(border=True):
        st.subheader("Data", anchor=False)
        data = chosen_data()
    if data is None:
        return None
    with st.container(border=True):
        st.subheader("Plugins", anchor=False)
        plugins = chosen_plugins(data)
        form = Form(data, plugins)
        about = spaces(form)
    with st.container(border=True):
        st.subheader("Search", anchor=False)
        search_options(form, about)
    with st.expander("Limits, seed and machine"):
        more_options(form)
    return form


# ---------------------------------------------------------------- data


def chosen_data() -> Data | None:
    """A dataset on the list, or a file."""
    source = st.segmented_control(
        "What to learn", (LISTED, OWN), default=LISTED, required=True, key="source"
    )
    return listed_data() if source == LISTED else own_data()


def asked_for() -> tuple[str, str]:
    """The dataset that the address asks for, or the asked-for plugin's own, and its options."""
    wanted, plugin = parameter("dataset"), parameter("plugin")
    if not wanted and plugin:
        wanted = catalogue().card(PluginCard, plugin).dataset
    name, _, options = wanted.partition(":")
    return name, options


def listed_data() -> Data | None:
    """A dataset by its name, with options."""
    name, options = asked_for()
    cards = {c.name: c for c in catalogue().cards(DatasetCard) if c.problem != "any"}
    if name and name not in cards:  # says what there is, or is a user's own, prepared before
        cards[name] = catalogue().card(DatasetCard, name)
    names = sorted(cards)
    first = name or (DEFAULT_DATASET if DEFAULT_DATASET in cards else names[0])
    chosen = st.selectbox("Data set", names, names.index(first), key="dataset")
    given = st.text_input(
        "Options of the data set",
        options if chosen == name else "",
        key=f"options-{chosen}",
        placeholder="name=value,name=value",
        help="Leave it empty for the usual size.",
    ).strip()
    spec = f"{chosen}:{given}".rstrip(":")
    about = asked("dataset", spec=spec)
    st.caption(f"{literal(cards[chosen].summary)} · {literal(about['problem'])}")
    if about["options"]:
        with st.expander("Options it takes"):
            table = [
                {"option": row["name"], "now": str(row["value"]), "meaning": row["doc"]}
                for row in about["options"]
            ]
            st.dataframe(table, hide_index=True, width="stretch")
    return Data(spec, about["problem"], ("--dataset", spec))


def own_data() -> Data | None:
    """An uploaded table or arrays, prepared as a dataset."""
    given = st.file_uploader(
        f"CSV, Parquet or NPZ, up to {LARGEST_UPLOAD_MB} MB", SUFFIXES, key="upload",
        max_upload_size=LARGEST_UPLOAD_MB,
    )  # fmt: skip
    if given is None:
        st.caption(
            "The first line of a CSV file names its columns. The file stays on this machine."
        )
        return None
    file = kept(given.name, given.getvalue())
    try:
        columns = asked("columns", path=str(file))
        if not columns:
            raise DataError(f"{given.name} holds no columns and no arrays")
        target = st.selectbox(
            "What to predict", columns, len(columns) - 1, key=f"target-{file.name}"
        )
        problems = asked("search_settings")["problems"]
        problem = st.selectbox("As which problem", problems, key=f"problem-{file.name}")
        about = asked("prepared", path=str(file), options={"target": target, "problem": problem})
    except AutoMLError as error:
        said = str(error).replace(str(file), given.name)
        st.error(literal(f"This file cannot be used: {said}"), icon=":material/error:")
        return None
    sizes = ", ".join(f"{number(size)} {split}" for split, size in about["sizes"].items())
    st.caption(literal(f"{about['problem']}: {sizes} examples"))
    for sentence in about["told"]:
        st.caption(literal(sentence))
    options = [*option("--data", str(file)), *option("--target", target)]
    if problem != "auto":
        options += option("--problem", problem)
    return Data(about["dataset"], about["problem"], tuple(options))


def kept(name: str, content: bytes) -> Path:
    """An upload as a file beside the queue, named after what it holds.

    Raises:
        DataError: if it is empty or too large.
    """
    if not content:
        raise DataError(f"{name} is empty")
    if len(content) > LARGEST_UPLOAD_MB * 1_000_000:
        raise DataError(
            f"{name} has {len(content) / 1e6:.0f} MB; the browser takes {LARGEST_UPLOAD_MB}: use "
            "`automl search --data FILE` for larger files"
        )
    queue = Queue()
    queue.made()
    folder = queue.folder / "uploads" / hashlib.sha256(content).hexdigest()[:12]
    folder.mkdir(parents=True, exist_ok=True)
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(name).name).lstrip(".-")[-80:] or "data"
    file = folder / plain
    if not file.exists():
        part = file.with_suffix(".part")
        part.write_bytes(content)
        part.replace(file)
    return file


# ---------------------------------------------------------------- plugins


def chosen_plugins(data: Data) -> list[str]:
    """Which plugins take part; none: all that can learn it."""
    able = [card.name for card in catalogue().architectures() if data.problem in card.problems]
    wanted = parameter("plugin")
    chosen = st.multiselect(
        "Plugins that compete",
        able,
        [wanted] if wanted in able else [],
        key=f"plugins-{data.problem}",
        placeholder=f"all {len(able)} that can learn it",
        help="They share one budget; the better ones get more of it.",
    )
    if not able:
        st.warning("No installed plugin learns this problem.", icon=":material/warning:")
    return list(chosen)


def spaces(form: Form) -> list[Row]:
    """What each chosen plugin searches, and which settings are to be fixed."""
    if not form.plugins:
        st.caption("Choose plugins to see what they search, and to fix settings of theirs.")
        return []
    found = [asked("space", plugin=name, dataset=form.data.name) for name in form.plugins]
    for about in found:
        name = about["plugin"]
        searched = sum(row["searched"] is not None for row in about["settings"])
        with st.expander(
            f"{literal(name)}: {searched} of {len(about['settings'])} settings are searched",
            expanded=len(found) == 1,
        ):
            form.overrides[name] = fixed(about)
            st.dataframe(
                setting_rows(about["settings"]),
                hide_index=True,
                width="stretch",
                height=260,
                key=f"space-{name}",
            )
    return found


def fixed(about: Row) -> list[str]:
    """The settings of a plugin that leave the search, as NAME=VALUE."""
    plugin = about["plugin"]
    rows = {row["name"]: row for row in about["settings"]}
    chosen = st.multiselect(
        f"Settings of {plugin} to fix", list(rows), key=f"fix-{plugin}",
        help="A fixed setting is not searched: every trial has this value.",
    )  # fmt: skip
    return [f"{name}={as_text(widget(rows[name], plugin))}" for name in chosen]


def widget(row: Row, plugin: str) -> Any:
    """An input for one setting, within what it allows."""
    label = row["name"] + (f" [{row['unit']}]" if row["unit"] else "")
    more: dict[str, Any] = {"key": f"set-{plugin}-{row['name']}", "help": row["doc"] or None}
    if row["choices"]:
        return st.selectbox(label, row["choices"], row["choices"].index(row["value"]), **more)
    if row["kind"] == "bool":
        return st.toggle(label, row["value"], **more)
    if row["kind"] == "str":
        return st.text_input(label, row["value"], **more)
    kind = int if row["kind"] == "int" else float
    low, high = (None if bound is None else kind(bound) for bound in (row["low"], row["high"]))
    shape: dict[str, Any] = {"step": 1} if kind is int else {"format": "%g", "step": None}
    return st.number_input(label, low, high, kind(row["value"]), **shape, **more)


def as_text(value: Any) -> str:
    """A value as the command line takes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


# ---------------------------------------------------------------- search


def search_options(form: Form, about: list[Row]) -> None:
    """Budget, sampler, pruner and objectives."""
    settings = asked("search_settings")
    rows = {row["name"]: row for row in settings["settings"]}
    columns = st.columns(2)
    trials = columns[0].number_input(
        "Trials", 1, 1_000_000, TRIALS, key="trials", help="Complete, pruned and failed ones count."
    )
    timeout = columns[1].text_input(
        "Time", key="timeout", placeholder="10m", help="Wall-clock such as 90s, 10m or 2h."
    )
    add(form, "--trials", trials)
    add(form, "--timeout", timeout.strip())
    columns = st.columns(2)
    for column, name, meaning in zip(
        columns, ("sampler", "pruner"), (SAMPLERS, PRUNERS), strict=True
    ):
        row = rows[name]
        choices = row["choices"]
        at = choices.index(row["value"])
        chosen = column.selectbox(name.capitalize(), choices, at, key=name, help=meaning)
        add(form, f"--{name}", chosen, row["value"])
    metrics = [metric["name"] for metric in problem_metrics(form, about)]
    objectives = st.multiselect(
        "Objectives",
        [*metrics, *COSTS],
        key=f"objectives-{form.data.problem}",
        placeholder=f"{metrics[0]} alone" if metrics else "the problem's first metric",
        help="Metrics, or costs of the model; several give a Pareto front.",
    )
    for name in objectives:
        add(form, "--objective", name)


def problem_metrics(form: Form, about: list[Row]) -> list[Row]:
    """The metrics of the problem."""
    found: list[Row] = (about or [asked("dataset", spec=form.data.name)])[0]["metrics"]
    return found


def more_options(form: Form) -> None:
    """What is rarely changed."""
    columns = st.columns(2)
    name = columns[0].text_input("Name of the study", key="name", max_chars=200)
    seed = columns[1].number_input("Seed", 0, 2**31 - 1, 0, key="seed")
    workers = columns[0].number_input(
        "Workers", 0, 4096, 0, key="workers", help="0: one per core or GPU."
    )
    device = columns[1].text_input("Device", "auto", key="device", help="auto, cpu, cuda, cuda:1")
    limit = columns[0].text_input(
        "Longest trial", key="trial-timeout", placeholder="none", help="Such as 90s; it is kept."
    )
    params = columns[1].number_input(
        "Most parameters", 0, None, 0, key="max-params", help="0: any; larger are not trained."
    )
    size = columns[0].text_input(
        "Largest exported file", key="max-bytes", placeholder="any", help="Such as 500kB or 2MB."
    )
    latency = columns[1].number_input(
        "Longest latency [ms]", 0.0, None, 0.0, step=None, format="%g", key="max-latency",
        help="Of one example in the exported model; 0: any.",
    )  # fmt: skip
    warm = columns[0].toggle(
        "Warm start", key="warm", help="Try the best configurations of similar data sets first."
    )
    full = columns[1].toggle("The paper's own size", key="full", help="Takes a GPU as a rule.")
    add(form, "--name", name.strip())
    add(form, "--seed", seed, 0)
    add(form, "--workers", workers, 0)
    add(form, "--device", device.strip(), "auto")
    add(form, "--trial-timeout", limit.strip())
    add(form, "--max-params", params, 0)
    add(form, "--max-bytes", size.strip())
    add(form, "--max-latency-ms", latency, 0.0)
    if warm:
        form.arguments += ["--warm-start", "auto"]
    if full:
        form.arguments.append("--full")


def add(form: Form, name: str, value: Any, default: Any = None) -> None:
    """An option of the command line, unless its value is none or the default."""
    if value not in (None, "", default):
        text = f"{value:g}" if isinstance(value, float) else str(value)
        form.arguments += option(name, text)


def option(name: str, text: str) -> list[str]:
    """An option with its value; in one word where the value begins with a dash."""
    return [f"{name}={text}"] if text.startswith("-") else [name, text]


# ---------------------------------------------------------------- start


def summary(form: Form) -> None:
    """The command, what is wrong with it, and the button."""
    st.subheader("Command", anchor=False)
    st.code(shlex.join(("automl", *form.command)), language="bash", wrap_lines=True)
    wrong = mistake(form)
    if wrong:
        st.warning(literal(wrong), icon=":material/warning:")
    pressed = st.button(
        "Start the search",
        type="primary",
        icon=":material/play_arrow:",
        disabled=bool(wrong),
        width="stretch",
        key="start",
    )
    queue = Queue()
    active = [job for job in queue.jobs() if job.state in ("queued", "running")]
    if active:
        before = f"{len(active)} job{'s' if len(active) > 1 else ''}"
        st.caption(f"It waits for {before} before it: one runs at a time.")
    if pressed:
        with st.spinner("Checking"):
            checked(form)
        job = queue.post(form.command)
        places.go("jobs", job=str(job.number))


def mistake(form: Form) -> str:
    """What is wrong with texts in the form, in a sentence."""
    given = dict(pairwise(form.arguments))
    try:
        for name in ("--timeout", "--trial-timeout"):
            seconds(given.get(name))
        size_in_bytes(given.get("--max-bytes", "0"))
    except AutoMLError as error:
        return str(error)
    return ""


def checked(form: Form) -> None:
    """Refuse what the engine would refuse before its first trial.

    Raises:
        AutoMLError: saying what is wrong.
    """
    for plugin, texts in form.overrides.items():
        ask("space", plugin=plugin, dataset=form.data.name, overrides=texts,
            full="--full" in form.arguments)  # fmt: skip
