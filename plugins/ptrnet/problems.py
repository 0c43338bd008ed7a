"""The problem types: what a batch holds and how answers are measured (Section 4)."""

from automl.core.api import Metric, Problem

SEQUENCES = {
    "points": "float32 (batch, n, dimensions), coordinates in the unit square",
    "length": "int64 (batch,), how many of the points are real",
    "target": "int64 (batch, steps), 1-based positions, 0 ends, -1 pads",
}
TOKENS = (
    Metric("token_accuracy", "max", "share", "steps predicted right, given the right past"),
    Metric("nll", "min", "nats", "negative log-likelihood of a step of the target"),
)
CONVEX_HULL = Problem(
    "convex-hull",
    (
        Metric("polygon_accuracy", "max", "share", "answers that are the hull, whatever the start"),
        Metric("area_coverage", "max", "share", "area over true area, mean of simple polygons"),
        Metric("invalid_rate", "min", "share", "answers that are no simple polygon"),
        *TOKENS,
    ),
    SEQUENCES,
)
DELAUNAY = Problem(
    "delaunay",
    (
        Metric("triangulation_accuracy", "max", "share", "answers with exactly the triangles"),
        Metric("triangle_coverage", "max", "share", "true triangles that are found"),
        *TOKENS,
    ),
    SEQUENCES,
)
TSP = Problem(
    "tsp",
    (
        Metric("tour_length", "min", "unit lengths", "mean length, valid tours enforced"),
        Metric("optimality_gap", "min", "share", "length over the best length known, minus one"),
        Metric("valid_rate_unconstrained", "max", "share", "valid tours without enforcement"),
        *TOKENS,
    ),
    {**SEQUENCES, "reference": "float32 (batch,), best tour length known"},
)
SORT = Problem(
    "sort",
    (Metric("sequence_accuracy", "max", "share", "answers that are all right"), *TOKENS),
    SEQUENCES,
)
