"""What only Pointer Networks can break: equations, decoding rules, metrics, variable lengths."""

import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from automl.core.api import Split
from automl.core.discovery import catalogue
from automl.core.errors import ConfigError, DataError
from automl.core.trial import seed_everything
from automl.plugins.ptrnet import metrics
from automl.plugins.ptrnet.config import DEFAULTS
from automl.plugins.ptrnet.model import PointerNetwork
from automl.plugins.ptrnet.plugin import PointerNetworks

ARCHITECTURES = ("ptrnet", "seq2seq_attention", "seq2seq")
PLUGIN = PointerNetworks()


def network(spec: str = "convex-hull:n=5-8", **settings) -> PointerNetwork:
    """An untrained network with weights large enough to have opinions."""
    dataset = catalogue().dataset(spec)
    config = replace(DEFAULTS, hidden=16, init_scale=0.8, **settings)
    seed_everything(3)
    return PLUGIN.build(config, dataset.info).eval()


def examples(spec: str, count: int = 40) -> Split:
    return catalogue().dataset(spec).split("valid").first(count)


def test_pointer_scores_are_equation_3() -> None:
    model = network()
    points = torch.rand(2, 5, 2)
    with torch.no_grad():
        memory, state = model.encode(points)
        h, c, _ = model.advance(memory, state, state.given)
        found = model.logits(memory, h, h).numpy()
    attention = model.attention
    w1, w2, v = (
        p.detach().numpy() for p in (attention.key.weight, attention.query.weight, attention.v)
    )
    encoded, (last_h, last_c) = model.encoder(points)
    e = torch.cat([model.end.expand(2, 1, -1), encoded], 1).detach().numpy()
    wanted = np.tanh(e @ w1.T + (h.numpy() @ w2.T)[:, None]) @ v
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    _, (h_lstm, c_lstm) = model.decoder(model.go.expand(2, 1, -1), (last_h, last_c))
    torch.testing.assert_close(h, h_lstm[0])
    torch.testing.assert_close(c, c_lstm[0])


def test_the_fast_scores_have_the_gradients_of_the_plain_formula() -> None:
    model = network()
    keys = torch.randn(3, 6, 16, requires_grad=True)
    states = torch.randn(7, 16, requires_grad=True)
    rows = torch.tensor([0, 0, 1, 1, 1, 2, 2])
    weight = torch.randn(7, 6)
    leaves = [keys, states, model.attention.v, model.attention.query.weight]
    fast = torch.autograd.grad((model.attention(keys, states, rows) * weight).sum(), leaves)
    plain = torch.autograd.grad((model.attention(keys[rows], states) * weight).sum(), leaves)
    for one, two in zip(fast, plain, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("extra", [{}, {"encoder": "bi", "embed_dim": 8}])
def test_teacher_forcing_and_step_by_step_decoding_agree(architecture, extra) -> None:
    if architecture == "ptrnet":
        extra = {**extra, "glimpse": True, "logit_clip": 10.0}
    model = network("convex-hull:n=8", arch=architecture, **extra)
    points = torch.rand(6, 8, 2)
    with torch.no_grad():
        found = model(points)
        sequence = found["sequence"]
        steps = metrics.answer_length(sequence)
        target = torch.where(torch.arange(9) <= steps[:, None], sequence, -1)
        logits, wanted = model.teacher_forced(points, None, target)
    assert (logits.argmax(-1) == wanted).all()
    scores = found["scores"][target >= 0]
    torch.testing.assert_close(logits.log_softmax(-1), scores, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("encoder", ["uni", "bi"])
def test_sets_of_different_lengths_in_one_batch_equal_each_alone(architecture, encoder) -> None:
    model = network(arch=architecture, encoder=encoder)
    batch = examples("convex-hull:n=5-8").examples
    with torch.no_grad():
        together, _ = model.teacher_forced(batch["points"], batch["length"], batch["target"])
        alone = []
        for points, length, target in zip(
            batch["points"], batch["length"], batch["target"], strict=True
        ):
            logits, _ = model.teacher_forced(points[None, :length], None, target[None])
            width = together.shape[1] - logits.shape[1]
            alone.append(torch.nn.functional.pad(logits, (0, width), value=-torch.inf))
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("width", [1, 3, 10])
def test_enforced_tours_are_always_valid(architecture, width) -> None:
    model = network("tsp:n=5-8", arch=architecture)
    for count in (2, 5, 8):
        points = torch.rand(20, count, 2)
        with torch.no_grad():
            greedy = model(points)["sequence"]
            beam = model.beam_search(points, width, "tour")
        assert greedy.shape == beam.shape == (20, count)
        assert metrics.is_tour(greedy, count).all()
        assert metrics.is_tour(beam, count).all()


def log_likelihood(
    model: PointerNetwork, points: torch.Tensor, answer: torch.Tensor
) -> torch.Tensor:
    steps = metrics.answer_length(answer)
    ended = torch.arange(answer.shape[1]) <= steps[:, None]
    target = torch.where(ended, answer, -1)
    logits, wanted = model.teacher_forced(points, None, target)
    each = -torch.nn.functional.cross_entropy(logits, wanted, reduction="none")
    rows = (target >= 0).nonzero()[:, 0]
    return torch.zeros(len(points)).index_add(0, rows, each)


def test_a_beam_of_one_is_greedy_and_a_full_beam_finds_the_likeliest_answer() -> None:
    model = network("convex-hull:n=3")
    points = torch.rand(30, 3, 2)
    with torch.no_grad():
        greedy = model(points)["sequence"]
        one = model.beam_search(points, 1, "free")
        wide = model.beam_search(points, 200, "free")
    assert (greedy == one).all()
    every = torch.cartesian_prod(*[torch.arange(4)] * 4)
    first_end = metrics.answer_length(every)[:, None]
    every = torch.where(torch.arange(4) < first_end, every, 0).unique(dim=0)
    with torch.no_grad():
        for row in range(5):
            repeated = points[row].expand(len(every), -1, -1)
            best = every[log_likelihood(model, repeated, every).argmax()]
            assert (wide[row] == best).all()


def test_constrained_hulls_are_polygons_without_repeats() -> None:
    model = network("convex-hull:n=5-8", constrain=True)
    with torch.no_grad():
        sequence = model(torch.rand(50, 7, 2))["sequence"]
    for row in sequence.tolist():
        answer = [i for i in row if i]
        assert len(answer) >= 3
        assert len(set(answer)) == len(answer)


def test_masking_in_training_forbids_what_was_used_but_never_the_target() -> None:
    model = network("sort:n=5", mask_training=True)
    batch = examples("sort:n=5").examples
    logits, target = model.teacher_forced(batch["points"], batch["length"], batch["target"])
    assert logits.gather(1, target[:, None]).isfinite().all()
    first = logits.view(40, 6, 6)
    assert (first[:, 5, 1:] == -torch.inf).all()
    with pytest.raises(ConfigError, match="mask_training=True makes no sense for delaunay"):
        network("delaunay:n=5", mask_training=True)


# ---------------------------------------------------------------- metrics

SQUARE = torch.tensor([[[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.5, 0.5]]])


@pytest.mark.parametrize(
    ("answer", "right", "simple", "share"),
    [
        ([1, 2, 3, 4, 0, 0], True, True, 1.0),
        ([3, 4, 1, 2, 0, 0], True, True, 1.0),
        ([4, 3, 2, 1, 0, 0], False, True, 1.0),  # clockwise is wrong
        ([1, 2, 3, 0, 0, 0], False, True, 0.5),
        ([1, 2, 4, 3, 0, 0], False, False, None),  # crosses itself
        ([1, 2, 3, 2, 0, 0], False, False, None),  # a vertex twice
        ([1, 2, 0, 0, 0, 0], False, False, None),
        ([0, 1, 2, 3, 4, 0], False, False, None),
        ([1, 2, 3, 4, 1, 0], True, True, 1.0),  # closed, as in the paper's files
        ([1, 2, 5, 3, 4, 0], False, True, 0.75),
    ],
)
def test_polygons_are_judged_as_in_the_paper(answer, right, simple, share) -> None:
    target = torch.tensor([[1, 2, 3, 4, 0, -1]])
    found = metrics.polygons(SQUARE, torch.tensor([answer]), target)
    assert bool(found["right"]) is right
    assert bool(found["simple"]) is simple
    if share is not None:
        assert float(found["share"]) == pytest.approx(share)


def test_triangulations_are_sets_of_triples_in_any_order() -> None:
    target = torch.tensor([[1, 2, 5, 2, 3, 5, 0]])
    for answer, right, coverage in (
        ([5, 2, 1, 5, 3, 2, 0], True, 1.0),
        ([1, 2, 5, 0, 0, 0, 0], False, 0.5),
        ([1, 2, 5, 1, 2, 3, 0], False, 0.5),
        ([1, 2, 5, 2, 3, 0, 0], False, 0.5),
        ([0, 0, 0, 0, 0, 0, 0], False, 0.0),
    ):
        found = metrics.triangulations(torch.tensor([answer]), target, 5)
        assert bool(found["right"]) is right
        assert float(found["coverage"]) == coverage


def test_tours_are_measured_closed() -> None:
    points = SQUARE[:, :4]
    assert float(metrics.tour_length(points, torch.tensor([[1, 2, 3, 4]]))) == pytest.approx(4)
    crossed = metrics.tour_length(points, torch.tensor([[1, 3, 2, 4]]))
    assert float(crossed) == pytest.approx(2 + 2 * math.sqrt(2))


@pytest.mark.parametrize("spec", ["convex-hull:n=5-8", "delaunay:n=5", "tsp:n=5-8", "sort:n=5"])
def test_the_true_answers_score_perfectly(spec: str) -> None:
    split = examples(spec)
    for row in range(10):
        count = int(split.examples["length"][row])
        points = split.examples["points"][row : row + 1, :count]
        target = split.examples["target"][row : row + 1]
        answer = target.clamp(min=0)
        if spec.startswith("convex"):
            assert bool(metrics.polygons(points, answer, target)["right"])
        elif spec.startswith("delaunay"):
            assert bool(metrics.triangulations(answer, target, count)["right"])
        elif spec.startswith("tsp"):
            length = metrics.tour_length(points, answer[:, :count])
            reference = float(split.examples["reference"][row])
            assert float(length) == pytest.approx(reference, rel=1e-5)


# ---------------------------------------------------------------- the plugin


def test_evaluation_beyond_the_trained_lengths() -> None:
    model = network("convex-hull:n=5-8")
    scores = PLUGIN.evaluate(model, DEFAULTS, examples("convex-hull:n=20", 20))
    assert all(math.isfinite(value) for value in scores.values())
    baseline = network("convex-hull:n=5-8", arch="seq2seq")
    with pytest.raises(DataError, match="fixed output dictionary of size 8; use arch=ptrnet"):
        PLUGIN.evaluate(baseline, DEFAULTS, examples("convex-hull:n=20", 20))


def test_the_probe_measures_longer_sets() -> None:
    from automl.plugins.ptrnet.probe import LengthGeneralisation

    dataset = catalogue().dataset("sort:n=4,train_size=50")
    model = network("sort:n=4")
    found = LengthGeneralisation().measure(PLUGIN, model, DEFAULTS, dataset)
    assert {"n=6.sequence_accuracy", "n=20.nll"} <= found.keys()


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (torch.rand(4, 2), r"must be \(batch, n, 2\), not \(4, 2\)"),
        (torch.rand(1, 4, 3), r"must be \(batch, n, 2\), not \(1, 4, 3\)"),
        (torch.rand(1, 2, 2), r"2 points in a set of shape \(1, 2, 2\): 3 at least"),
        (torch.full((1, 4, 2), math.nan), "contain NaN or infinity"),
        (torch.zeros(1, 4, 2), r"degenerate \(collinear or duplicated\)"),
    ],
)
def test_bad_points_are_refused(points, message) -> None:
    with pytest.raises(DataError, match=message):
        PLUGIN.solve(network(), DEFAULTS, points)


def test_unusual_points_are_warned_of() -> None:
    model = network("convex-hull:n=5-8")
    with pytest.warns(UserWarning, match="outside the trained lengths"):
        PLUGIN.solve(model, DEFAULTS, torch.rand(1, 17, 2))
    with pytest.warns(UserWarning, match="use rescale=True"):
        PLUGIN.solve(model, DEFAULTS, 5 * torch.rand(1, 6, 2))
    points = torch.rand(1, 6, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        moved = PLUGIN.solve(model, DEFAULTS, 5 * points + 1, rescale=True)
    low = points.amin(1, keepdim=True)
    unit = (points - low) / (points - low).amax()
    assert (moved == PLUGIN.solve(model, DEFAULTS, unit)).all()


@pytest.mark.parametrize("change", [{"beam": 0}, {"beam": 11}, {"lr": 0}, {"arch": "rnn"}])
def test_bad_settings_are_refused_by_name(change) -> None:
    with pytest.raises(ConfigError, match=next(iter(change))):
        replace(DEFAULTS, **change)


def test_conditional_settings_are_asked_for_only_where_they_matter() -> None:
    import optuna

    info = catalogue().dataset("convex-hull").info
    names = set()
    for optimizer, arch in (("sgd", "seq2seq"), ("adam", "ptrnet")):
        base = replace(DEFAULTS, optimizer=optimizer, arch=arch)
        trial = optuna.trial.FixedTrial(base.to_dict())
        assert PLUGIN.space(trial, base, info) == base
        names.add(frozenset(trial.distributions))
    (sgd, adam) = sorted(names, key=len)
    assert "lr_sgd" in sgd
    assert "glimpse" not in sgd
    assert {"lr", "glimpse", "logit_clip"} <= adam
