"""Continual learning: equations against loops, buffers against their laws, streams, bad input."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from automl.core.discovery import catalogue
from automl.core.entrants import check_techniques
from automl.core.errors import AutoMLError, ConfigError, DataError
from automl.core.run import Run
from automl.core.train import Descent, Training
from automl.plugins.continual.claims import ACCURACY, averages, brute_force, online
from automl.plugins.continual.config import METHODS, ONLINE_METHODS, Config
from automl.plugins.continual.data import DigitStream, GlyphStream, RingStream
from automl.plugins.continual.distil import distillation
from automl.plugins.continual.gradients import flat, per_sample
from automl.plugins.continual.importance import Anchor, fisher, hebbian, log_likelihood
from automl.plugins.continual.learner import Plateaus, order_of
from automl.plugins.continual.memory import Memory, cross_entropy, projected, unit
from automl.plugins.continual.model import OUT, Experts, Network
from automl.plugins.continual.probe import accuracies, summary
from automl.plugins.continual.selfless import Inhibition, unit_importance
from automl.plugins.continual.technique import ImportanceRegularisation, Strength

CLASSES = [[0, 1], [2, 3]]


def network(multi: bool = False, **changes) -> tuple[Network, Config]:
    config = Config(**{"hidden": 6, "layers": 2, **changes})
    torch.manual_seed(0)
    model = Network(5, CLASSES, 4, config, multi)
    model.remember_for(2)
    return model, config


def examples(count: int = 8, classes: int = 4, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(0, classes, (count,), generator=generator)
    x = torch.rand(count, 5, generator=generator)
    return {"x": x, "target": target, "task": torch.zeros(count, dtype=torch.int64)}


# ---------------------------------------------------------------- importance


def test_the_importance_of_mas_is_a_mean_over_examples() -> None:
    assert all(brute_force(seed)["difference"] < 1e-12 for seed in range(3))


def test_fisher_information_is_the_mean_square_of_single_gradients() -> None:
    model, _ = network()
    batch = examples()
    found = fisher(model, batch, torch.Generator().manual_seed(1))
    with torch.no_grad():
        chances = model(batch["x"])["logits"].softmax(-1)
    labels = torch.multinomial(chances, 1, generator=torch.Generator().manual_seed(1))[:, 0]
    total = torch.zeros_like(model.head.weight)
    for row in range(8):
        logits = model(batch["x"][row : row + 1])["logits"][0]
        value = log_likelihood(logits, labels[row])
        total += torch.autograd.grad(value, model.head.weight)[0].square() / 8
    torch.testing.assert_close(found["head.weight"], total)


def test_hebbian_importance_is_local() -> None:
    model, _ = network()
    batch = examples()
    found = hebbian(model, batch)
    hidden = torch.relu(model.hidden[0](batch["x"]))
    wanted = torch.einsum("bi,bj->ij", hidden, batch["x"]) / 8
    torch.testing.assert_close(found["hidden.0.weight"], wanted)


def test_the_proximal_step_minimises_the_penalty_around_the_step() -> None:
    model, config = network(method="mas", lam=1e6)
    anchor = Anchor(model, config, torch.Generator())
    anchor.consolidate(examples())
    held = {name: p.clone() for name, p in anchor.held().items()}
    with torch.no_grad():
        for p in model.parameters():
            p += 1.0
        anchor.stepped({}, lr=0.1)
    for name, p in anchor.held().items():
        weight = 2 * 0.1 * config.lam * anchor.omega[name]
        torch.testing.assert_close(p, (held[name] + 1 + weight * held[name]) / (1 + weight))
        assert p.isfinite().all()  # a gradient step would have diverged


def test_heads_of_tasks_are_left_free() -> None:
    model, config = network(multi=True, method="mas")
    names = Anchor(model, config, torch.Generator()).names
    assert names
    assert not any(name.startswith("head.") for name in names)


@pytest.mark.parametrize(("how", "wanted"), [("sum", 3.0), ("mean", 1.5), ("decay", 1.5)])
def test_importance_accumulates_as_told(how: str, wanted: float, monkeypatch) -> None:
    model, config = network(method="mas", accumulate=how)
    anchor = Anchor(model, config, torch.Generator())
    for value in (1.0, 2.0):
        found = {name: torch.full_like(p, value) for name, p in anchor.held().items()}
        monkeypatch.setattr(anchor, "measured", lambda batch, found=found: found)
        anchor.consolidate({})
    assert float(anchor.omega["head.bias"][0]) == wanted


# ---------------------------------------------------------------- selfless codes, distillation


@pytest.mark.parametrize("kind", ["full", "no_discount", "no_window", "window"])
def test_the_inhibition_is_its_double_sum(kind: str) -> None:
    model, config = network(method="slnid", lam_ssl=1.0, inhibition=kind, scale=3.0)
    inhibition = Inhibition(model, config)
    inhibition.consolidate(examples())
    hidden = [h.detach() for h in model.activations(examples(seed=1)["x"])]
    radius, total = 6 / 3.0, 0.0
    for needed, h in zip(inhibition.needed, hidden, strict=True):
        for i, j in itertools.permutations(range(6), 2):
            near = math.exp(-((i - j) ** 2) / (2 * radius**2))
            near = {"no_window": 1.0, "window": float(abs(i - j) <= radius)}.get(kind, near)
            discount = 1.0 if kind == "no_discount" else math.exp(-float(needed[i] + needed[j]))
            total += near * discount * float((h[:, i] * h[:, j]).sum()) / len(h)
    assert float(inhibition.penalty(hidden)) == pytest.approx(total, rel=1e-5)


def test_unit_importance_is_a_gradient_with_respect_to_units() -> None:
    model, _ = network()
    batch = examples()
    hidden = model.activations(batch["x"])
    wanted = torch.zeros(6)
    for row in range(8):
        h = hidden[1][row : row + 1].detach().requires_grad_()
        (gradient,) = torch.autograd.grad(model.answer(h, None).square().sum(), h)
        wanted += gradient[0].abs() / 8
    torch.testing.assert_close(unit_importance(model, batch)[1], wanted)


def test_distillation_is_least_where_nothing_changed() -> None:
    before = torch.randn(5, 3)
    same = distillation(before, before, 2.0)
    assert same < distillation(before + torch.randn(5, 3), before, 2.0)


# ---------------------------------------------------------------- buffers


def memory(method: str, size: int = 10, **changes) -> Memory:
    model, config = network(method=method, memory=size, replay=4, **changes)
    return Memory(model, config, torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "method", [m for m in ONLINE_METHODS if m not in ("finetune", "task_free")]
)
def test_a_buffer_fills_and_never_overflows(method: str) -> None:
    buffer = memory(method)
    for seed in range(6):
        buffer.offer(examples(4, seed=seed))
        assert len(buffer) == min(10, 4 * (seed + 1)) == len(buffer.scores)
    replayed = buffer.replayed(examples(4), 0.1)
    assert len(replayed["x"]) == 4


@settings(max_examples=5)
@given(st.integers(0, 1000))
def test_a_reservoir_keeps_each_example_with_equal_chance(seed: int) -> None:
    kept = np.zeros(40)
    for trial in range(200):
        buffer = memory("reservoir")
        buffer.generator.manual_seed(1000 * seed + trial)
        for start in range(0, 40, 4):
            batch = examples(4)
            batch["target"] = torch.arange(start, start + 4)
            buffer.offer(batch)
        kept[buffer.examples["target"].numpy()] += 1
    share = kept / 200
    assert abs(share[:20].mean() - 0.25) < 0.05
    assert abs(share[20:].mean() - 0.25) < 0.05


def test_a_balanced_buffer_makes_room_for_rare_classes() -> None:
    buffer = memory("balanced", size=8)
    many = examples(8)
    many["target"][:] = 0
    buffer.offer(many)
    rare = examples(4, seed=1)
    rare["target"][:] = 1
    buffer.offer(rare)
    assert torch.bincount(buffer.examples["target"]).tolist() == [4, 4]


def test_gss_by_iqp_keeps_gradients_that_differ() -> None:
    buffer = memory("gss_iqp", size=4)
    same = examples(1)
    twins = {key: column.repeat(4, *[1] * (column.dim() - 1)) for key, column in same.items()}
    buffer.offer(twins)
    others = examples(3, seed=5)
    buffer.offer(others)
    gradients = unit(flat(buffer.model, buffer.examples, cross_entropy))
    copies = ((gradients @ gradients.T) > 0.9999).sum() - len(gradients)
    assert copies == 0  # one of the four twins is left


def test_gss_greedy_stores_only_what_pulls_elsewhere() -> None:
    buffer = memory("gss_greedy", size=8, threshold=-1.0)
    buffer.offer(examples(8))
    before = buffer.examples["x"].clone()
    buffer.offer(examples(4, seed=3))
    assert torch.equal(before, buffer.examples["x"])  # nothing is less similar than -1
    assert (buffer.scores >= 0).all()


def test_mir_replays_what_a_step_would_hurt_most() -> None:
    buffer = memory("mir", size=10)
    buffer.offer(examples(10))
    batch = examples(4, seed=2)
    chosen = buffer.replayed(batch, 1.0)
    before = {name: p.detach().clone() for name, p in buffer.model.named_parameters()}
    loss = functional.cross_entropy(buffer.model(batch["x"])["logits"], batch["target"])
    gradients = torch.autograd.grad(loss, list(buffer.model.parameters()))

    def losses(x, target):
        return functional.cross_entropy(buffer.model(x)["logits"], target, reduction="none")

    with torch.no_grad():
        now = losses(buffer.examples["x"], buffer.examples["target"])
        for p, gradient in zip(buffer.model.parameters(), gradients, strict=True):
            p -= gradient
        rise = losses(buffer.examples["x"], buffer.examples["target"]) - now
        buffer.model.load_state_dict(before, strict=False)
    wanted = buffer.examples["x"][rise.topk(4).indices]
    assert {tuple(row) for row in chosen["x"].tolist()} == {tuple(row) for row in wanted.tolist()}


@given(st.integers(0, 10**6))
def test_a_projected_gradient_does_not_raise_the_buffers_loss(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    gradient, reference = torch.randn(2, 7, generator=generator)
    assert float(projected(gradient, reference) @ reference) >= -1e-5


def test_gradients_of_single_examples_are_those_of_a_loop() -> None:
    model, _ = network(multi=True)
    batch = examples()
    batch["task"][4:] = 1
    batch["target"] = batch["target"] % 2 + 2 * batch["task"]
    found = per_sample(model, batch, cross_entropy)
    for row in range(8):
        logits = model(batch["x"][row : row + 1], batch["task"][row : row + 1])["logits"]
        loss = functional.cross_entropy(logits, batch["target"][row : row + 1])
        wanted = torch.autograd.grad(loss, model.hidden[0].weight)[0]
        torch.testing.assert_close(found["hidden.0.weight"][row], wanted)


# ---------------------------------------------------------------- models, measures


def test_a_head_answers_for_its_own_classes() -> None:
    model, _ = network(multi=True)
    batch = examples()
    batch["task"][4:] = 1
    logits = model(batch["x"], batch["task"])["logits"]
    assert (logits[:4, 2:] == OUT).all()
    assert (logits[4:, :2] == OUT).all()
    assert set(logits[4:].argmax(-1).tolist()) <= {2, 3}


def test_experts_ask_the_best_reconstruction() -> None:
    model = Experts(5, CLASSES, 4, Config(hidden=6, gate=4, method="expert_gate"))
    model.remember_for(2)
    model.recall_gates(2)
    x = torch.rand(9, 5)
    errors = torch.stack([model.gate(t).errors(x) for t in range(2)], 1)
    found = model(x)
    assert torch.equal(found["task_pred"], errors.argmin(1))
    for row, task in enumerate(found["task_pred"].tolist()):
        torch.testing.assert_close(found["logits"][row], model.expert(x[row : row + 1], task)[0])
    model.recall_gates(1)
    assert (model(x)["task_pred"] == 0).all()


def test_forgetting_is_what_its_definition_says() -> None:
    matrix = torch.tensor([[0.1, 0.2, 0.3], [0.9, 0.3, 0.3], [0.7, 0.8, 0.4], [0.5, 0.6, 1.0]])
    found = summary(matrix)
    assert found["average_accuracy"] == pytest.approx((0.5 + 0.6 + 1.0) / 3)
    assert found["forgetting"] == pytest.approx(((0.9 - 0.5) + (0.8 - 0.6)) / 2)
    assert found["learning_accuracy"] == pytest.approx((0.9 + 0.8 + 1.0) / 3)
    assert found["backward_transfer"] == pytest.approx(((0.5 - 0.9) + (0.6 - 0.8)) / 2)
    assert found["forward_transfer"] == pytest.approx(((0.3 - 0.2) + (0.4 - 0.3)) / 2)


def test_measuring_leaves_the_weights_alone() -> None:
    data = DigitStream(tasks=2)
    plugin = catalogue().plugin("continual")
    model = plugin.build(Config(epochs=1), data.info)
    plugin.fit(model, Config(epochs=1), Run(data, 0))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    matrix = accuracies(model, data.split("test"))
    assert matrix.shape == (3, 2)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert matrix[1, 0] > matrix[0, 0]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_learns_a_short_stream(method: str) -> None:
    known = method not in ("task_free",)
    data = DigitStream(tasks=2, size=100)
    config = Config(
        method=method, boundaries="known" if known else "hidden", hidden=32, epochs=8, lr=0.3,
        memory=40, gate=8, iterations=8 if not known else 2, plateau_mean=100.0, plateau_std=100.0,
    )  # fmt: skip
    plugin = catalogue().plugin("continual")
    torch.manual_seed(0)
    model = plugin.build(config, data.info)
    before = plugin.evaluate(model, config, data.split("valid"))
    plugin.fit(model, config, Run(data, 0))
    after = plugin.evaluate(model, config, data.split("valid"))
    assert after["accuracy"] > before["accuracy"]
    assert int(model.learnt) == 2


def test_a_plateau_is_noticed_once_until_the_loss_peaks() -> None:
    model, config = network(method="task_free", boundaries="hidden", window=2, plateau_mean=0.5)
    anchor, plateaus = Anchor(model, config, torch.Generator()), Plateaus(config)
    for loss in (2.0, 0.2, 0.2, 0.2, 0.2, 3.0, 3.0, 0.2, 0.2, 0.2):
        plateaus.watch(examples(4), torch.full((4,), loss), anchor)
    assert anchor.times == 2


# ---------------------------------------------------------------- streams


def test_split_streams_share_no_classes_and_are_ordered() -> None:
    data = DigitStream(kind="split", seed=3)
    classes = data.classes_of_tasks()
    assert sorted(itertools.chain(*classes)) == list(range(10))
    train = data.load("train")
    assert (train["task"].diff() >= 0).all()
    for task, mine in enumerate(classes):
        assert set(train["target"][train["task"] == task].tolist()) == set(mine)
    assert DigitStream(kind="split", seed=4).classes_of_tasks() != classes


def test_imbalanced_streams_have_a_big_task_and_no_equal_examples() -> None:
    train = DigitStream(kind="split", size=200, big=2).load("train")
    assert torch.bincount(train["task"]).tolist() == [200, 200, 2000, 200, 200]
    assert len({bytes(row.numpy()) for row in train["x"]}) == 2800


def test_permutations_are_the_same_in_every_split() -> None:
    data = DigitStream(seed=1)
    train, test = data.load("train"), data.load("test")
    for batch in (train, test):
        first, second = (batch["x"][batch["task"] == t] for t in (0, 1))
        torch.testing.assert_close(first.sum(1).sort().values, second.sum(1).sort().values)
    blank = train["x"][train["task"] == 1].sum(0) == 0
    assert (test["x"][test["task"] == 1].sum(0)[blank] < 5).all()


def test_other_streams_have_the_shapes_they_tell() -> None:
    for data in (
        GlyphStream(),
        RingStream(),
        DigitStream(kind="rotated"),
        DigitStream(kind="blurry"),
    ):
        batch = data.load("train")
        assert batch["x"].shape == (data.info.sizes["train"], *data.info.shapes["x"])
        assert int(batch["task"].max()) == data.tasks - 1
        assert batch["x"].dtype == torch.float32
    blurry = DigitStream(kind="blurry").load("train")
    of = {
        c: t for t, mine in enumerate(DigitStream(kind="blurry").classes_of_tasks()) for c in mine
    }
    strays = sum(
        of[int(c)] != int(t) for c, t in zip(blurry["target"], blurry["task"], strict=True)
    )
    assert 0.03 < strays / len(blurry["task"]) < 0.15


def test_a_stream_is_read_task_by_task() -> None:
    train = DigitStream(tasks=3).split("train")
    generator = torch.Generator().manual_seed(0)
    items = order_of(train, Config(epochs=2), generator)
    assert [item.task for item in items] == sorted(item.task for item in items)
    assert sum(item.ends for item in items) == 3
    online = order_of(train, Config(method="random", boundaries="hidden", replay=4), generator)
    assert torch.equal(torch.cat([item.rows for item in online]), torch.arange(len(train)))


def test_plain_descent_reads_a_stream_task_by_task_too() -> None:
    data = DigitStream(tasks=2, size=64)
    run = Run(data, 0)
    model = torch.nn.Linear(64, 10)
    seen: list[int] = []

    def loss(batch):
        seen.append(int(batch["task"][0]))
        assert len(batch["task"].unique()) == 1
        return functional.cross_entropy(model(batch["x"]), batch["target"])

    config = Training(steps=12, batch_size=32)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    descent = Descent(model, loss, run.split("train"), optimizer, config, run)
    for _ in range(12):
        descent.advance()
    assert seen == [0] * 6 + [1] * 6


# ---------------------------------------------------------------- the technique


def test_the_technique_holds_what_an_earlier_task_needs() -> None:
    def distance(lam: float) -> float:
        torch.manual_seed(0)
        model, _ = network()
        technique = ImportanceRegularisation(Strength(lam=lam, samples=8), 0)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        technique.started(model, optimizer)
        start: list[torch.Tensor] = []
        for step in range(20):
            batch = examples(8, seed=step)
            batch["task"][:] = step // 10
            loss = functional.cross_entropy(model(batch["x"])["logits"], batch["target"])
            loss = technique.loss(loss, model, batch, step)
            if step == 10:
                start = [p.detach().clone() for p in model.parameters()]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            technique.stepped(model, step)
        return sum(
            float((p - q).square().sum()) for p, q in zip(model.parameters(), start, strict=True)
        )

    assert distance(1000.0) < 0.25 * distance(0.0)


def test_the_technique_is_refused_where_nothing_is_forgotten() -> None:
    selu, digits = catalogue().plugin("selu"), catalogue().dataset("digits")
    with pytest.raises(ConfigError, match="has no tasks that come one after another"):
        check_techniques(selu, digits, ("continual",))
    check_techniques(selu, catalogue().dataset("digit-stream"), ("continual",))
    with pytest.raises(ConfigError, match="its methods are what a technique would add"):
        plugin = catalogue().plugin("continual")
        check_techniques(plugin, catalogue().dataset("digit-stream"), ("continual",))


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Config(method="mas", boundaries="hidden"), "task boundaries are hidden"),
        (lambda: Config(method="random", boundaries="hidden", heads="multi"), "no head can be"),
        (lambda: Config(method="task_free"), "does not go with boundaries='known'"),
        (lambda: Config(method="reservoir", memory=5), "memory=5 is smaller than replay=10"),
        (lambda: Config(lam=-1.0), "lam=-1.0 must be at least 0"),
        (lambda: DigitStream(kind="split", tasks=6), "tasks=6 leaves a task with one class"),
        (lambda: DigitStream(big=7, size=9), "big=7 names no task"),
        (lambda: DigitStream(big=1), "big needs size"),
    ],
)
def test_bad_input_is_one_sentence(make, message: str) -> None:
    with pytest.raises(AutoMLError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_data_without_tasks_is_refused() -> None:
    with pytest.raises(DataError, match="has no tasks that come one after another"):
        catalogue().plugin("continual").check_data(catalogue().dataset("spirals").info)


def test_averages_over_streams_are_of_the_methods_own_runs() -> None:
    from automl.core.record import RunResult

    rows = [
        RunResult(online(method, where, seed).label, "", {ACCURACY: value}, {}, 1)
        for method, value in (("random", 0.5), ("gss_greedy", 0.75))
        for where in ("first", "third")
        for seed in range(5)
    ]  # fmt: skip
    found = averages(tuple(rows))
    assert (found["random"]["early"], found["gss_greedy"]["early"]) == (0.5, 0.75)
