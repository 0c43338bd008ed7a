"""Run a model: the input that its problem calls for, and its answer beside the truth.

The model runs in onnxruntime if it was exported, else in PyTorch; both in the helper process.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st

from automl.core.errors import AutoMLError
from automl.ui import judging, pictures
from automl.ui.actions import task_of
from automl.ui.asking import ask
from automl.ui.exporting import GOOD
from automl.ui.views.frame import literal, number
from automl.ui.views.helping import asked
from automl.ui.views.pads import pixel_pad, point_pad

Row = dict[str, Any]
SAMPLES = 8
MOST_POINTS = 60
MOST_FIELDS = 40  # inputs of a form
RUNTIME = "cpu"
FIRST_POINTS = 8


@dataclass(frozen=True)
class Model:
    """What is run: the trial's record, its task, its export (or none) and its data's facts."""

    row: Row
    task: Row
    file: str
    about: Row

    @property
    def key(self) -> str:
        """Of its widgets."""
        return str(self.row["reference"])

    def answer(self, **inputs: Any) -> Row:
        """The outputs by name.

        Raises:
            AutoMLError: if it does not take such inputs.
        """
        found: Row = ask("run", task=self.task, file=self.file, inputs=inputs)["outputs"]
        return found


def draw(row: Row) -> None:
    """The panel of a trial, or why there is none."""
    try:
        task = vars(task_of(row))
        model = Model(row, task, exported(row), asked("dataset", spec=row["dataset"]))
        panel(model)
    except AutoMLError as error:
        st.info(literal(error), icon=":material/info:")
        return
    where = "onnxruntime, the file exported to cpu" if model.file else "PyTorch (not exported yet)"
    st.caption(f"Runs in {where}, in a process of its own.")


def exported(row: Row) -> str:
    """The latest verified file for onnxruntime that is still there; empty if there is none."""
    for made in reversed(row["exports"]):
        file = Path(made["folder"]) / "model.onnx"
        if made["target"] == RUNTIME and made["status"] in GOOD and file.exists():
            return str(file)
    return ""


def panel(model: Model) -> None:
    """By the problem and the shape of its inputs."""
    problem, shapes = model.about["problem"], model.about["shapes"]
    x = shapes.get("x", ())
    if "columns" in model.about["facts"]:
        table(model)
    elif problem in pictures.POINT_PROBLEMS:
        plane(model)
    elif problem == "sort":
        sort(model)
    elif problem == "operator-learning":
        fields(model)
    elif len(x) == 3 and x[0] == 1 and model.about["classes"]:
        drawing(model)
    elif len(x) == 1 and x[0] and x[0] <= MOST_FIELDS:
        numbers(model)
    else:
        example(model)


# ---------------------------------------------------------------- points


def plane(model: Model) -> None:
    """Points in a square; hull, triangulation or tour."""
    key, facts = f"points-{model.key}", model.about["facts"]
    fewest = 2 if model.about["problem"] == "tsp" else 3
    if key not in st.session_state:
        st.session_state[key] = drawn_points(FIRST_POINTS, facts, seed=0)
    left, right = st.columns(2, gap="large")
    with right:
        controls(key, facts)
    points = st.session_state[key]
    answer, lines = [], []
    if fewest <= len(points) <= MOST_POINTS:
        order = presented(model, points)
        said = model.answer(points=[[points[i] for i in order]])["sequence"][0]
        answer = [order[int(i) - 1] + 1 if 0 < i <= len(points) else 0 for i in said]
        lines = [
            {"points": line, "dashed": False}
            for line in pictures.lines(answer, model.about["problem"], len(points))
        ]
    verdict, truth = judged(model.about["problem"], points, answer)
    with left:
        point_pad(
            points, [*truth, *lines], key=f"pad-{model.key}",
            changed=lambda: moved(key, f"pad-{model.key}"),
        )  # fmt: skip
    with right:
        if len(points) < fewest:
            st.caption(f"Click {fewest} points or more into the square.")
        elif len(points) > MOST_POINTS:
            st.caption(f"{MOST_POINTS} points are the most that this panel takes.")
        else:
            st.markdown(verdict)
        low, high = facts.get("n_min"), facts.get("n_max")
        st.caption(f"It learnt from sets of {low if low == high else f'{low} to {high}'} points.")


def drawn_points(count: int, facts: Row, seed: int | None = None) -> list[list[float]]:
    """Random points, as many as the model has learnt from."""
    drawn = random.Random(seed)
    count = min(max(count, facts.get("n_min", count)), facts.get("n_max", count))
    return [[round(drawn.random(), 3), round(drawn.random(), 3)] for _ in range(count)]


def controls(key: str, facts: Row) -> None:
    """Random points, none, or points as text."""
    with st.container(horizontal=True):
        if st.button("Random points", icon=":material/casino:", key=f"random-{key}"):
            count = len(st.session_state[key]) or FIRST_POINTS
            st.session_state[key] = drawn_points(count, facts)
        if st.button("Clear", icon=":material/clear:", key=f"clear-{key}"):
            st.session_state[key] = []
    st.session_state[f"text-{key}"] = "\n".join(f"{x:g} {y:g}" for x, y in st.session_state[key])
    st.text_area(
        "Points: x and y from 0 to 1, one point a line", key=f"text-{key}", height=170,
        on_change=lambda: typed(key),
    )  # fmt: skip
    if problem := st.session_state.pop(f"wrong-{key}", ""):
        st.error(literal(problem))


def moved(key: str, pad: str) -> None:
    """Take over what was pointed at."""
    found = st.session_state[pad].points or []
    st.session_state[key] = [[float(x), float(y)] for x, y in found]


def typed(key: str) -> None:
    """Take over what was typed, unless a line cannot be read."""
    found = []
    for number_, line in enumerate(st.session_state[f"text-{key}"].splitlines(), 1):
        words = line.replace(",", " ").split()
        if not words:
            continue
        try:
            x, y = (float(word) for word in words)
        except ValueError:
            st.session_state[f"wrong-{key}"] = f"line {number_}: {line!r} is not two numbers"
            return
        if not (0 <= x <= 1 and 0 <= y <= 1):
            st.session_state[f"wrong-{key}"] = f"line {number_}: {line!r} is outside 0 to 1"
            return
        found.append([x, y])
    st.session_state[key] = found


def presented(model: Model, points: list[list[float]]) -> list[int]:
    """The order in which the model sees the points: some data sets sort theirs."""
    options = {row["name"]: row["value"] for row in model.about["options"]}
    order = list(range(len(points)))
    return sorted(order, key=lambda i: points[i][0]) if options.get("sort_points") else order


def judged(problem: str, points: list[list[float]], answer: list[int]) -> tuple[str, list[Row]]:
    """How good an answer is, in words, and the truth as dashed lines."""
    named = [i - 1 for i in answer[: answer.index(0)]] if 0 in answer else [i - 1 for i in answer]
    if problem == "delaunay":
        true = judging.triangles(points)
        found = {frozenset(line[:3]) for line in pictures.lines(answer, problem, len(points))}
        said = f"**{len(found & true)} of {len(true)}** triangles are right"
        if len(found) > len(found & true):
            said += f", and {len(found - true)} are not Delaunay's"
        dashed = [[*sorted(line), min(line)] for line in true]
    elif problem == "convex-hull":
        corners = judging.hull(points)
        named = named[:-1] if len(named) > 1 and named[0] == named[-1] else named
        right = judging.same_cycle(named, corners)
        said = "The answer **is the hull**." if right else "The answer is **not** the hull."
        said += f" It names {len(named)} of the points; the hull has {len(corners)} corners."
        dashed = [[*corners, corners[0]]] if corners else []
    else:
        best = judging.shortest(points)
        if sorted(named) != list(range(len(points))):
            return "The answer is **not a tour** of all cities.", []
        length = judging.tour_length(points, named)
        said = f"Tour of length **{length:.3f}**"
        if best:
            least = judging.tour_length(points, best)
            more = length / least - 1
            said += (
                f", {more:.1%} longer than the shortest" if more > 1e-6 else ": **the shortest**"
            )
        dashed = [[*best, best[0]]] if best else []
    return said, [{"points": line, "dashed": True} for line in dashed]


def sort(model: Model) -> None:
    """Numbers in a line of text."""
    given = st.text_input(
        "Numbers from 0 to 1", "0.7 0.2 0.9 0.4 0.1", key=f"numbers-{model.key}"
    ).replace(",", " ")
    try:
        values = [float(word) for word in given.split()]
    except ValueError:
        st.error("Write numbers with spaces between them, such as 0.7 0.2 0.9")
        return
    if not (2 <= len(values) <= MOST_POINTS and all(0 <= value <= 1 for value in values)):
        st.error(f"Write 2 to {MOST_POINTS} numbers from 0 to 1.")
        return
    said = model.answer(points=[[[value] for value in values]])["sequence"][0]
    named = [int(i) - 1 for i in said if 0 < i <= len(values)]
    st.markdown("Its order: " + literal("  ".join(f"{values[i]:g}" for i in named)))
    right = [values[i] for i in named] == sorted(values)
    st.caption("That is right." if right else "That is not the ascending order.")


# ---------------------------------------------------------------- images


def drawing(model: Model) -> None:
    """A pad to draw on, and the shares of the classes."""
    _, rows, columns = model.about["shapes"]["x"]
    found = asked("samples", spec=model.row["dataset"], count=SAMPLES)
    values = np.asarray([each["x"] for each in found["examples"]], dtype=float)
    low, high = float(values.min()), float(values.max())
    key = f"pixels-{model.key}"
    if key not in st.session_state:
        st.session_state[key] = shares_of_black(values[0], low, high)
    left, right = st.columns(2, gap="large")
    with left:
        with st.container(horizontal=True, vertical_alignment="bottom"):
            at = st.number_input(
                "Test example", 0, found["total"] - 1, 0, key=f"at-{key}", width=160,
                on_change=lambda: taken(model, key, low, high),
            )  # fmt: skip
            if st.button("Take it", key=f"take-{key}"):
                taken(model, key, low, high)
            if st.button("Clear", key=f"clear-{key}", icon=":material/clear:"):
                st.session_state[key] = [0.0] * (rows * columns)
        pixel_pad(
            rows, columns, st.session_state[key], key=f"pad-{model.key}",
            changed=lambda: painted(key, f"pad-{model.key}", rows * columns),
        )  # fmt: skip
        st.caption("Draw with mouse or finger; Shift wipes. Arrow keys and Space do as well.")
    pixels = low + np.asarray(st.session_state[key]) * (high - low)
    outputs = model.answer(x=[pixels.reshape(1, rows, columns).tolist()])
    with right:
        classes(model, outputs)
        if st.session_state.get(f"taken-{key}", 0) == at:
            (one,) = asked("samples", spec=model.row["dataset"], start=at, count=1)["examples"]
            st.caption(literal(f"The data say {truth_text(model, one['target'])}."))


def shares_of_black(values: Any, low: float, high: float) -> list[float]:
    """An image's values between 0 and 1."""
    span = (high - low) or 1.0
    scaled = np.clip((np.asarray(values, dtype=float) - low) / span, 0, 1)
    return [round(float(share), 3) for share in scaled.ravel()]


def taken(model: Model, key: str, low: float, high: float) -> None:
    """Put a test example on the pad."""
    at = st.session_state[f"at-{key}"]
    (one,) = asked("samples", spec=model.row["dataset"], start=at, count=1)["examples"]
    st.session_state[key] = shares_of_black(one["x"], low, high)
    st.session_state[f"taken-{key}"] = at


def painted(key: str, pad: str, size: int) -> None:
    """Take over what was drawn."""
    found = st.session_state[pad].pixels or []
    if len(found) == size:
        st.session_state[key] = [float(share) for share in found]
        st.session_state[f"taken-{key}"] = None


def class_names(model: Model) -> list[str]:
    """Of the classes, by number."""
    facts = model.about["facts"]
    return [str(n) for n in facts.get("class_names", range(model.about["classes"] or 0))]


def classes(model: Model, outputs: Row) -> None:
    """The likeliest class, and the share of each."""
    values = outputs.get("probability", outputs.get("proba"))
    if values is None and "logits" in outputs:
        logits = np.asarray(outputs["logits"][0], dtype=float)
        raised = np.exp(logits - logits.max())
        values = [(raised / raised.sum()).tolist()]
    names = class_names(model)
    if values is None or np.asarray(values[0]).shape != (len(names),):
        st.json(outputs, expanded=1)
        return
    shares = [float(value or 0) for value in values[0]]
    best = max(range(len(shares)), key=lambda i: shares[i])
    st.metric("answer", names[best], f"{shares[best]:.1%}", delta_color="off", delta_arrow="off")
    st.plotly_chart(
        pictures.shares(names, shares), key=f"shares-{model.key}",
        alt=f"The share of each class; the largest is {names[best]}",
    )  # fmt: skip


# ---------------------------------------------------------------- fields


def fields(model: Model) -> None:
    """A test example's input, the model's output, the truth and the difference."""
    one = chosen_example(model)
    outputs = model.answer(x=[one["x"]])
    answer = np.asarray(next(iter(outputs.values()))[0], dtype=float)[0]
    truth = np.asarray(one["target"], dtype=float)[0]
    wrong = answer - truth
    bound = float(np.abs(wrong).max()) or 1.0
    limits = float(truth.min()), float(truth.max())
    shown = (
        ("input", pictures.field(one["x"][0], "input")),
        ("truth", pictures.field(truth, "truth", limits)),
        ("model", pictures.field(answer, "model", limits)),
        ("difference", pictures.field(wrong, "model − truth", (-bound, bound), "RdBu")),
    )
    columns = st.columns(2)
    for i, (name, figure) in enumerate(shown):
        columns[i % 2].plotly_chart(
            figure, key=f"field-{name}-{model.key}", alt=f"The field: {name}"
        )
    scale = float(np.linalg.norm(truth)) or math.inf
    st.metric("relative L2 error", number(float(np.linalg.norm(wrong)) / scale))


def chosen_example(model: Model) -> Row:
    """One example of the test split."""
    total = model.about["sizes"].get("test") or 1
    at = st.number_input(
        "Test example", 0, max(0, total - 1), 0, key=f"example-{model.key}", width=160
    )
    found = asked("samples", spec=model.row["dataset"], start=at, count=1)
    (one,) = found["examples"]
    return dict(one)


def example(model: Model) -> None:
    """Any other problem: a test example in, the outputs as numbers."""
    one = chosen_example(model)
    wanted = asked("inputs", task=model.task)["inputs"]
    outputs = model.answer(**{name: [one[name]] for name in wanted if name in one})
    left, right = st.columns(2, gap="large")
    with left:
        x = np.asarray(one.get("x", []), dtype=float)
        if x.ndim == 3:
            st.plotly_chart(
                pictures.image(x, height=260), key=f"image-{model.key}", alt="The test example"
            )
        elif x.ndim == 2:
            st.plotly_chart(
                pictures.series(x, height=260), key=f"series-{model.key}", alt="The test example"
            )
        else:
            st.json(one, expanded=1)
    with right:
        if model.about["classes"]:
            classes(model, outputs)
        else:
            st.json(outputs, expanded=1)
        if "target" in one:
            st.caption(literal(f"The data say {truth_text(model, one['target'])}."))


# ---------------------------------------------------------------- tables


def numbers(model: Model) -> None:
    """A form with a number for each input, starting at a test example."""
    one = chosen_example(model)
    columns = st.columns(3)
    values = [
        columns[i % 3].number_input(
            f"x{i + 1}", value=float(value or 0), step=None, format="%g",
            key=f"x{i}-{st.session_state[f'example-{model.key}']}-{model.key}",
        )
        for i, value in enumerate(one["x"])
    ]  # fmt: skip
    outputs = model.answer(x=[values])
    told(model, outputs)
    st.caption(literal(f"The data say {truth_text(model, one['target'])}."))


def truth_text(model: Model, target: Any) -> str:
    """What the data say of an example: a class by its name, numbers to four digits."""
    if isinstance(target, int) and model.about["classes"]:
        return class_names(model)[target]
    found = np.asarray(target, dtype=float).ravel()
    return ", ".join(number(float(value)) for value in found[:SAMPLES])


def table(model: Model) -> None:
    """A form with the columns of the user's own table, starting at one of its rows."""
    about = asked("inputs", task=model.task)
    raw = about["raw"]
    values: list[float] = []
    grid = st.columns(3)
    for i, column in enumerate(model.about["facts"]["columns"]):
        at = len(values)
        with grid[i % 3]:
            values += cell(column, raw[at:], f"cell-{i}-{model.key}")
    told(model, model.answer(x=[values]))


def cell(column: Row, raw: list[Any], key: str) -> list[float]:
    """An input for one column; its raw numbers, as ``core.own.tables.Column`` says."""
    name, kind = column["name"], column["kind"]
    if kind == "category":
        names = [*column["categories"], "(another)"]
        first = int(raw[0]) if raw[0] is not None else len(names) - 1
        chosen = st.selectbox(name, range(len(names)), first, names.__getitem__, key=key)
        return [float(chosen)]
    if kind == "date":
        day = st.date_input(name, "today", key=key)
        assert isinstance(day, date)
        parts = [(day - date(1970, 1, 1)).days, day.month, day.weekday()]
        return [float(part) for part in (*parts, *((12,) if column.get("hours") else ()))]
    value = None if raw[0] is None else float(raw[0])
    given = st.number_input(name, value=value, step=None, format="%g", key=key)
    return [math.nan if given is None else given]


def told(model: Model, outputs: Row) -> None:
    """The answer to a table's row."""
    if model.about["classes"]:
        classes(model, outputs)
        return
    name = "prediction" if "prediction" in outputs else next(iter(outputs))
    found = np.asarray(outputs[name][0], dtype=float).ravel()
    st.metric(literal(model.about["facts"].get("target", "answer")), number(float(found[0])))
