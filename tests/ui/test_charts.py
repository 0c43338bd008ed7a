"""What charts draw of large or odd studies."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from automl.ui import charts, coordinates, study_charts

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def columns(values: list[float | None], **others: list[Any]) -> dict[str, list[Any]]:
    many = len(values)
    return {
        "number": list(range(many)),
        "state": ["failed" if value is None else "complete" for value in values],
        "objective": values,
        "plugin": ["one"] * many,
        "started_at": [NOW + timedelta(seconds=n) for n in range(many)],
        "finished_at": [NOW + timedelta(seconds=n + 1) for n in range(many)],
        **others,
    }


def test_a_large_study_is_thinned_and_keeps_what_improved() -> None:
    values = [float(n * 7919 % 10007) for n in range(10_000)]
    found = columns(values)
    steps = charts.best_steps(found, "max")
    assert [values[place] for place in steps] == sorted({max(values[: n + 1]) for n in steps})
    figure = charts.history(found, "accuracy", "max", "", picked={4321})
    points = figure.data[0]
    assert len(points.x) <= charts.MOST_POINTS + len(steps) + 1
    assert {4321, *steps} <= set(points.x)
    assert figure.data[-1].y[-1] == max(values)
    assert points.marker.opacity[list(points.x).index(4321)] > charts.FAINT


def test_trials_that_failed_are_no_best() -> None:
    found = columns([None, 0.5, 0.2, 0.7])
    assert charts.best_steps(found, "max") == [1, 3]
    assert charts.best_steps(found, "min") == [1, 2]


def test_text_from_the_database_is_no_markup() -> None:
    hostile = '<a href="http://y">x</a>'
    figure = charts.by_plugin(columns([0.5], plugin=[hostile]), hostile, hostile)
    assert "<a" not in figure.to_json().replace("\\u003c", "<")


@pytest.mark.parametrize("wide", [False, True])
def test_settings_are_placed_on_axes_that_fit(wide: bool) -> None:
    values = [10.0 ** (-n if wide else 0) + n / 100 * (not wide) for n in range(8)]
    places, axis = study_charts.placed(values)
    assert (places, axis["type"]) == (values, "log" if wide else "linear")
    places, axis = study_charts.placed(["relu", 16, "selu", 9, "relu"])
    assert (places, axis["ticktext"]) == ([2, 1, 3, 0, 2], ["9", "16", "relu", "selu"])


def test_trials_that_ran_at_once_are_in_rows_of_their_own() -> None:
    assert study_charts.lanes([(0, 5), (1, 2), (1, 9), (2, 3), (6, 7)]) == [0, 1, 2, 1, 0]


def test_the_front_stands_out() -> None:
    points = {"number": [0, 1, 2], "x": [1.0, 2.0, 3.0], "y": [1.0, 3.0, 2.0]}
    measure = {"name": "size", "unit": "B", "goal": "min"}
    score = {"name": "accuracy", "unit": "", "goal": "max"}
    front = np.array([True, True, False])
    figure = study_charts.trade_off(points, front, measure, score)
    assert [list(trace.x) for trace in figure.data] == [[3.0], [1.0, 2.0], [1.0, 2.0]]
    assert figure.layout.xaxis.title.text == "size [B]"


def test_a_surface_needs_numbers_that_are_not_on_one_line() -> None:
    axis = {"type": "linear"}
    line = [float(n) for n in range(8)]
    assert study_charts.between(line, line, line, axis, axis) is None
    assert study_charts.between(line, line[::-1], line, axis, {"tickvals": []}) is None
    x, y = [0.0, 1, 0, 1, 0.5, 0.2, 0.7], [0.0, 0, 1, 1, 0.5, 0.8, 0.1]
    surface = study_charts.between(x, y, x, axis, axis)
    assert surface is not None
    assert surface["z"][0][0] == pytest.approx(0.0)
    assert surface["z"][-1][-1] == pytest.approx(1.0)


def test_long_names_on_an_axis_do_not_lie_over_each_other() -> None:
    trials = [
        {"number": n, "state": "complete", "objective": n, "params": {"loss": "abcde"[n] * 16}}
        for n in range(5)
    ]
    notes = coordinates.parallel(trials, "error", "min", "", ["loss"]).layout.annotations
    assert [note.text[0] for note in notes[:4]] == ["<", "a", "c", "e"]


def test_a_trial_is_a_line_through_its_settings_to_the_objective() -> None:
    settings = [{"lr": 10.0**-n, "<b>act</b>": ("relu", None, 3)[n % 3]} for n in range(9)]
    trials = [
        {"number": n, "state": "complete", "objective": n / 8, "params": found}
        for n, found in enumerate(settings)
    ]
    trials.append({"number": 9, "state": "failed", "objective": None, "params": settings[0]})
    order = ("lr", "<b>act</b>")
    figure = coordinates.parallel(trials, "error", "min", "share", order, picked={4})
    drawn = {
        point[0]: (trace, trace.x[place : place + 3])
        for trace in figure.data
        for place, point in enumerate(trace.customdata)
        if point is not None and (place == 0 or trace.customdata[place - 1] is None)
    }
    assert sorted(drawn) == list(range(9))
    assert [line for _, line in (drawn[0], drawn[4], drawn[8])] == [
        pytest.approx((1, 1, 0)), pytest.approx((0.5, 0, 0.5)), pytest.approx((0, 0.5, 1)),
    ]  # fmt: skip
    assert [n for n, (trace, _) in drawn.items() if trace.opacity > charts.FAINT] == [4]
    texts = [note.text for note in figure.layout.annotations]
    assert texts[:4] == ["<b>lr</b>", "1e-08", "0.0001", "1"]
    assert "<b>&lt;b&gt;act&lt;/b&gt;</b>" in texts
    assert texts[-4:] == ["<b>error [share]</b>", "0", "0.5", "1"]


def test_absent_values_lie_before_the_numbers() -> None:
    axis = coordinates.axis("x", [None, *(float(n) for n in range(8))])
    assert axis.places[:2] == [0, coordinates.ABSENT]
    assert axis.places[-1] == 1
    assert [text for _, text in axis.ticks] == ["–", "0", "3.5", "7"]
