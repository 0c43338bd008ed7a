"""The label generators against brute force, Qhull's own answers and laws of geometry."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import ConvexHull, Delaunay

from automl.core.discovery import catalogue
from automl.core.errors import ConfigError, DataError
from automl.plugins.ptrnet import labels

SETS = st.tuples(st.integers(0, 2**31), st.integers(3, 8))


def random_points(seed: int, count: int, sets: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).random((sets, count, 2), dtype=np.float32)


def signed_area(points: np.ndarray) -> float:
    x, y = points[:, 0], points[:, 1]
    return 0.5 * float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)))


@given(SETS)
@settings(max_examples=60)
def test_a_hull_is_counter_clockwise_from_its_lowest_index_and_holds_every_point(case) -> None:
    (points,) = random_points(*case)
    sequence = labels.convex_hull(points)
    assert sequence[-1] == 0
    hull = np.asarray(sequence[:-1]) - 1
    assert hull[0] == hull.min()
    assert len(set(hull)) == len(hull)
    assert signed_area(points[hull]) == pytest.approx(ConvexHull(points).volume, rel=1e-4)
    for a, b in zip(points[hull], np.roll(points[hull], -1, 0), strict=True):
        side = (b[0] - a[0]) * (points[:, 1] - a[1]) - (b[1] - a[1]) * (points[:, 0] - a[0])
        assert (side > -1e-6).all()


def test_a_closed_hull_repeats_its_first_vertex() -> None:
    (points,) = random_points(0, 6)
    open_, closed = labels.convex_hull(points), labels.convex_hull(points, close_polygon=True)
    assert closed == [*open_[:-1], open_[0], 0]


@pytest.mark.parametrize("label", [labels.convex_hull, labels.delaunay])
@pytest.mark.parametrize(
    "points", [np.zeros((4, 2)), np.stack([np.linspace(0, 1, 5)] * 2, 1)], ids=["same", "line"]
)
def test_degenerate_points_are_refused(label, points) -> None:
    with pytest.raises(DataError, match=r"degenerate \(collinear or duplicated\)"):
        label(points)


@given(SETS)
@settings(max_examples=60)
def test_triangles_are_qhulls_in_order_of_their_incentres(case) -> None:
    (points,) = random_points(*case)
    sequence = labels.delaunay(points)
    assert sequence[-1] == 0
    triples = np.asarray(sequence[:-1]).reshape(-1, 3)
    assert (np.diff(triples, axis=1) > 0).all()
    wanted = {tuple(sorted(t + 1)) for t in Delaunay(points).simplices}
    assert {tuple(t) for t in triples} == wanted
    assert len(sequence) <= 3 * (2 * len(points) - 5) + 1
    centres = [incentre(points[t - 1].astype(float)) for t in triples]
    assert centres == sorted(centres)


def incentre(corner: np.ndarray) -> tuple[float, float]:
    a, b, c = corner
    sides = np.linalg.norm(b - c), np.linalg.norm(c - a), np.linalg.norm(a - b)
    centre = (sides[0] * a + sides[1] * b + sides[2] * c) / sum(sides)
    return float(centre[0]), float(centre[1])


@pytest.mark.parametrize("count", [2, 3, 4, 5, 6, 7])
def test_held_karp_equals_brute_force(count: int) -> None:
    points = random_points(count, count, sets=5)
    tours = labels.held_karp(points)
    best = labels.tour_length(points, tours)
    assert (tours[:, 0] == 0).all()
    for one, length in zip(points, best, strict=True):
        orders = [(0, *rest) for rest in itertools.permutations(range(1, count))]
        all_lengths = labels.tour_length(np.repeat(one[None], len(orders), 0), np.asarray(orders))
        assert length == pytest.approx(all_lengths.min(), rel=1e-9)


def test_held_karp_agrees_with_an_independent_solver() -> None:
    elkai = pytest.importorskip("elkai")
    points = random_points(1, 11, sets=5)
    ours = labels.tour_length(points, labels.held_karp(points))
    for between, length in zip(labels.distances(points), ours, strict=True):
        tour = elkai.DistanceMatrix((between * 1e6).round().tolist()).solve_tsp()
        theirs = sum(between[a, b] for a, b in itertools.pairwise(tour))
        assert length == pytest.approx(theirs, rel=1e-4)


@given(st.integers(0, 2**31), st.integers(4, 9))
@settings(max_examples=30)
def test_every_teacher_makes_tours_and_none_beats_the_optimum(seed: int, count: int) -> None:
    points = random_points(seed, count, sets=3)
    best = labels.tour_length(points, labels.held_karp(points))
    for name, teacher in labels.TEACHERS.items():
        tours = teacher(points)
        assert (np.sort(tours, 1) == np.arange(count)).all(), name
        assert (tours[:, 0] == 0).all(), name
        lengths = labels.tour_length(points, tours)
        assert (lengths >= best - 1e-9).all(), name
        if name == "a3":
            assert (lengths <= 1.5 * best + 1e-9).all()
        if name == "a2":
            neighbour = labels.tour_length(points, labels.nearest_neighbour(points))
            assert (lengths <= neighbour + 1e-9).all()


@given(st.integers(0, 2**31), st.integers(3, 9))
@settings(max_examples=30)
def test_a_direction_rule_keeps_the_length_and_fixes_the_direction(seed: int, count: int) -> None:
    points = random_points(seed, count, sets=4)
    tours = labels.nearest_neighbour(points)
    for rule in ("ccw", "index"):
        turned = labels.direct(points, tours, rule)
        again = np.concatenate([turned[:, :1], turned[:, :0:-1]], 1)
        np.testing.assert_allclose(
            labels.tour_length(points, turned), labels.tour_length(points, tours)
        )
        assert (labels.direct(points, again, rule) == turned).all()
    for one, tour in zip(points, labels.direct(points, tours, "ccw"), strict=True):
        assert signed_area(one[tour].astype(float)) >= 0
    assert (labels.direct(points, tours, "none") == tours).all()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("convex-hull:n=2", "n='2' must be at least 3"),
        ("convex-hull:n=9-5", "the wrong way round: use n=5-9"),
        ("convex-hull:n=many", "must be a number or a range such as 5-10"),
        ("tsp:n=14", "teacher='optimal' with n='14' would take too long"),
        ("tsp:teacher=a9", "must be one of optimal, a1, a2, a3"),
        ("sort:n=1", "must be at least 2"),
    ],
)
def test_bad_options_are_refused(spec: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        catalogue().dataset(spec)
    assert message in str(error.value)


def test_too_many_cities_name_the_way_out() -> None:
    with pytest.raises(DataError, match="elkai"):
        labels.held_karp(random_points(0, 14))


@pytest.mark.parametrize("name", ["convex-hull", "delaunay", "tsp", "sort"])
def test_a_dataset_generates_what_it_says(name: str) -> None:
    dataset = catalogue().dataset(f"{name}:n=4-6,train_size=50")
    batch = dataset.split("train").examples
    count = dataset.dimensions
    assert batch["points"].shape == (50, 6, count)
    assert set(batch["length"].tolist()) <= {4, 5, 6}
    for points, length, target in zip(
        batch["points"], batch["length"], batch["target"], strict=True
    ):
        assert (points[length:] == 0).all()
        assert points.min() >= 0
        assert points.max() < 1
        real = target[target >= 0]
        assert real[-1] == 0
        assert (real[:-1] >= 1).all()
        assert (real[:-1] <= length).all()
    other = catalogue().dataset(f"{name}:n=4-6,train_size=50,seed=1").split("train").examples
    assert not batch["points"].equal(other["points"])


def test_files_in_the_papers_format_are_read(tmp_path) -> None:
    line = "0.1 0.1 0.9 0.1 0.5 0.8 0.5 0.3 output 1 2 3 1\n"
    for split in ("train", "valid", "test"):
        (tmp_path / f"{split}.txt").write_text(line * 3)
    examples = catalogue().dataset(f"convex-hull:n=4,path={tmp_path}").split("train").examples
    assert examples["points"].shape == (3, 4, 2)
    assert examples["target"][0].tolist() == [1, 2, 3, 1, 0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no file"),
        ("0.1 0.1 0.2 output 1\n", "line 1 cannot be read"),
        ("0.1 0.1 0.2 0.2 output 3\n", "positions from 1 to 2"),
        ("0.1 0.1 0.2 0.2 1 2\n", "line 1"),
    ],
)
def test_bad_files_are_named_with_their_line(tmp_path, content, message) -> None:
    if content is not None:
        (tmp_path / "train.txt").write_text(content)
    with pytest.raises(DataError) as error:
        catalogue().dataset(f"convex-hull:path={tmp_path}").load("train")
    assert message in str(error.value)
