"""What only circuit policies can break: wiring, learners, the simulator, their agreement."""

import contextlib
import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pytest
import torch
from torch.distributions import Normal

from automl.core.api import ConfigError, DataError, MissingExtra, Run
from automl.core.discovery import catalogue
from automl.core.run import Stop
from automl.core.trial import seed_everything
from automl.export import graph
from automl.export.session import Session
from automl.export.subject import RuntimeModule
from automl.plugins.ncap import claims, ddpg, es, ppo, rollout
from automl.plugins.ncap import learner as learners
from automl.plugins.ncap.config import DEFAULTS
from automl.plugins.ncap.model import Circuit, Normaliser, Plain, Wiring, split
from automl.plugins.ncap.plugin import CircuitPriors
from automl.plugins.ncap.probe import DataEfficiency, Transfer
from automl.plugins.ncap.simulator import EPISODE_STEPS, Body, Swimmers, compiled

PLUGIN = CircuitPriors()
SWIM, NAVIGATE = "swimmer", "swimmer:task=navigate"
try:
    import mujoco
except ImportError:
    mujoco = None
simulated = pytest.mark.skipif(mujoco is None, reason="wants the mujoco extra")


def policy(dataset: str = SWIM, **settings):
    seed_everything(5)
    config = replace(DEFAULTS, **settings)
    return PLUGIN.build(config, catalogue().dataset(dataset).info), config


def by_hand(angles, step, w, *, period=60, right=0.0, left=0.0, speed=1.0, turning=1):
    """One row of the spec's equations, joint by joint, with weights by name."""
    n = len(angles)
    bent = [min(1, max(-1, q / (2 * math.pi / (n + 1)))) for q in angles]
    d, v = [max(0, b) for b in bent], [max(0, -b) for b in bent]
    beat = 1.0 if step % period < period // 2 else 0.0
    unit = lambda x: min(1.0, max(0.0, x))  # noqa: E731
    found = []
    for i in range(n):
        dorsal = w["osc"] * beat if i == 0 else w["prop"] * d[i - 1]
        ventral = w["osc"] * (1 - beat) if i == 0 else w["prop"] * v[i - 1]
        if i < turning:
            dorsal += w.get("turn", 0) * right
            ventral += w.get("turn", 0) * left
        brake = w.get("speed", 0) * (1 - speed)
        dorsal, ventral = unit(dorsal + brake), unit(ventral + brake)
        muscle_d = unit(w["ipsi"] * dorsal + w["contra"] * ventral)
        found.append(muscle_d - unit(w["ipsi"] * ventral + w["contra"] * dorsal))
    return found


# ---------------------------------------------------------------- the circuit


def test_the_circuit_is_the_hand_computation() -> None:
    model, _ = policy()
    weights = {"prop": 0.7, "osc": 0.9, "ipsi": 1.2, "contra": -0.4}
    with torch.no_grad():
        model.weight.copy_(torch.tensor(list(weights.values())))
    generator = np.random.default_rng(1)
    angles, steps = generator.uniform(-1.3, 1.3, (60, 5)), np.arange(60) * 17
    wanted = [by_hand(q, t, weights) for q, t in zip(angles, steps, strict=True)]
    found = model(torch.from_numpy(angles).float(), torch.from_numpy(steps[:, None]).float())
    np.testing.assert_allclose(found["action"].detach(), wanted, atol=1e-6)
    observation = np.concatenate([angles, np.zeros((60, 18))], 1)
    np.testing.assert_allclose(model.act(model.weights(), observation, steps), wanted, atol=1e-6)


def test_fixed_numbers_of_the_constant_circuit() -> None:
    model, _ = policy()
    limit = math.pi / 3
    angles = torch.tensor([[limit, -limit / 2, 0.0, limit / 4, 9.0]])
    for step, head in ((0, 1.0), (29, 1.0), (30, -1.0), (59, -1.0), (60, 1.0)):
        action = model(angles, torch.tensor([[float(step)]]))["action"]
        torch.testing.assert_close(action, torch.tensor([[head, 1.0, -0.5, 0.0, 0.25]]))


def test_commands_turn_the_head_and_brake_the_body() -> None:
    model, _ = policy(NAVIGATE, turn_joints=2)
    weights = {"prop": 0.8, "osc": 0.5, "ipsi": 1.0, "contra": -0.3, "turn": 0.6, "speed": -0.7}
    with torch.no_grad():
        model.weight.copy_(torch.tensor(list(weights.values())))
    angles = np.random.default_rng(2).uniform(-1, 1, (8, 5))
    for right, left, speed in ((1, 0, 1), (0, 1, 1), (0, 0, 0.25)):
        wanted = [
            by_hand(q, 7, weights, right=right, left=left, speed=speed, turning=2) for q in angles
        ]
        given = [torch.full((8, 1), float(x)) for x in (7, right, left, speed)]
        found = model(torch.from_numpy(angles).float(), *given)["action"]
        np.testing.assert_allclose(found.detach(), wanted, atol=1e-6)


def test_the_rule_steers_beyond_thresholds() -> None:
    model, _ = policy(NAVIGATE)
    target = torch.tensor([[0.5, -1.0], [-0.5, 0.05], [0.05, 0.2]])
    right, left, speed = model.command(target)
    assert right[:, 0].tolist() == [0, 1, 0]
    assert left[:, 0].tolist() == [1, 0, 0]
    assert speed[:, 0].tolist() == [1, 0, 1]


def test_the_learned_controller_is_a_layer_of_the_mirrored_target() -> None:
    model, _ = policy(NAVIGATE, controller="learned")
    target = torch.randn(9, 2)
    wanted = model.controller(torch.stack([-target[:, 0], target[:, 1].abs()], 1)).clip(0, 1)
    torch.testing.assert_close(torch.cat(model.command(target), 1), wanted)
    assert sum(p.numel() for p in model.parameters()) == 6 + 9


@pytest.mark.parametrize("dataset", [SWIM, NAVIGATE])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"weight_sharing": False, "init": "uniform"},
        {"sign_constraints": False, "init": "signs", "oscillator": False},
        {"sign_constraints": False, "init": "uniform", "proprioception": False},
        {"policy": "mlp"},
        {"policy": "mlp", "algo": "ppo", "activation": "relu", "hidden": "16x16"},
    ],
)
def test_numpy_and_torch_agree_for_one_policy_and_for_a_population(dataset, settings) -> None:
    if dataset == NAVIGATE and settings.get("policy") != "mlp":
        settings = {**settings, "controller": "learned"}
    model, _ = policy(dataset, **settings)
    generator = np.random.default_rng(3)
    observation = generator.normal(size=(7, model.body.observation_size))
    model.observe(generator.normal(2, 3, size=(50, model.body.observation_size)))
    clock = np.array([0, 29, 30, 59, 60, 999, 500])
    tensor, steps = torch.from_numpy(observation).float(), torch.from_numpy(clock[:, None]).float()
    wanted = model.action(tensor, steps).detach()
    one = model.act(model.weights(), observation, clock)
    np.testing.assert_allclose(one, wanted, atol=2e-6)
    many = model.weights() + 0.3 * generator.normal(size=(7, len(model.weights())))
    together = model.act(many, observation, clock)
    for row in range(7):
        alone = model.act(many[row], observation[row : row + 1], clock[row : row + 1])
        np.testing.assert_allclose(together[row], alone[0], atol=1e-12)


def test_numbers_of_parameters_are_the_papers() -> None:
    def count(dataset: str = SWIM, **settings) -> int:
        return sum(p.numel() for p in policy(dataset, **settings)[0].parameters())

    assert count() == 4
    assert count(NAVIGATE) == 6
    assert count(weight_sharing=False) == 30
    assert count("swimmer:n_links=9", weight_sharing=False) == 48
    assert count(policy="mlp") == 6021
    assert count(policy="mlp", hidden="256x256") == 73_221


def test_signs_are_constrained_in_the_forward_pass_and_their_gradient_dies_beyond() -> None:
    model, _ = policy()
    angles, step = torch.rand(20, 5), torch.zeros(20, 1)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([-0.5, 1.0, 0.8, 0.5]))
    action = model(angles, step)["action"]
    assert (action[:, 1:] == 0).all()  # neither feels its neighbour
    action.sum().backward()
    assert model.weight.grad is not None
    assert model.weight.grad[0] == 0
    assert model.weight.grad[3] == 0
    free = Circuit(Body(), Wiring(constrained=False))
    with torch.no_grad():
        free.weight.copy_(torch.tensor([-0.5, 1.0, 0.8, 0.5]))
    assert not torch.equal(free(angles, step)["action"], action)


@pytest.mark.parametrize(
    ("init", "constrained"),
    [("constant", True), ("constant", False), ("uniform", True), ("uniform", False),
     ("signs", False)],
)  # fmt: skip
def test_starts(init, constrained) -> None:
    weights, signs = [], torch.tensor([1.0, 1.0, 1.0, -1.0])
    for seed in range(50):
        torch.manual_seed(seed)
        weights.append(Circuit(Body(), Wiring(init=init, constrained=constrained)).weight.detach())
    drawn = torch.stack(weights)
    if init == "constant":
        assert (drawn == signs).all()
    elif init == "signs":
        assert (drawn.abs() == 1).all()
        assert 0.3 < float((drawn > 0).float().mean()) < 0.7
    elif constrained:
        assert (drawn * signs >= 0).all()
    else:
        assert float(drawn.min()) < -0.8
        assert float(drawn.max()) > 0.8
        assert (drawn[:, 0] < 0).any()


def test_running_moments_are_those_of_all_rows_seen() -> None:
    rows = np.random.default_rng(4).normal(3, 2, (300, 4))
    normaliser = Normaliser(4)
    torch.testing.assert_close(normaliser(torch.ones(1, 4)), torch.ones(1, 4))
    for part in (rows[:10], rows[10:120], rows[120:]):
        normaliser.observe(part)
    np.testing.assert_allclose(normaliser.mean, rows.mean(0))
    np.testing.assert_allclose(normaliser.scale(), rows.std(0))


# ---------------------------------------------------------------- the simulator


@simulated
def test_the_observation_is_what_the_physics_say() -> None:
    body = Body(5, "navigate")
    swimmers = Swimmers(body, 3)
    swimmers.reset([1, 2, 3])
    generator = np.random.default_rng(0)
    for _ in range(20):
        reward = swimmers.step(generator.uniform(-1, 1, (3, 4)))
    assert swimmers.clock.tolist() == [20, 20, 20]
    for i, data in enumerate(swimmers.data):
        head, turn = data.site("site0").xpos, data.site("site0").xmat.reshape(3, 3)
        nose = head + turn @ [0, -0.06, 0]
        target = turn.T @ ([*swimmers.target[i], 0.05] - nose)
        joints, place, velocities = split(body, swimmers.observation[i])
        np.testing.assert_allclose(joints, data.qpos[3:], atol=1e-12)
        np.testing.assert_allclose(place, target[:2], atol=1e-9)
        wanted = np.zeros(6)
        for link in range(5):
            site = data.site(f"site{link}").id
            kind = mujoco.mjtObj.mjOBJ_SITE
            mujoco.mj_objectVelocity(compiled(5), data, kind, site, wanted, 1)
            mine = velocities[3 * link : 3 * link + 3]
            np.testing.assert_allclose(mine, [wanted[3], wanted[4], wanted[2]], atol=1e-9)
        distance = max(0, np.linalg.norm(target[:2]) - 0.1)
        assert reward[i] == pytest.approx(1 / ((3 * distance / 0.5) ** 2 + 1))


@simulated
def test_forward_is_where_the_head_looks_and_reward_saturates() -> None:
    swimmers = Swimmers(Body(3, v_des=0.2), 3)
    swimmers.reset([0, 1, 2])
    for data, speed in zip(swimmers.data, (0.1, -0.1, 5.0), strict=True):
        data.qpos[2] = 0
        data.qvel[:] = 0
        data.qvel[1] = -speed  # towards minus y
        mujoco.mj_step1(swimmers.model, data)
    swimmers.read()
    assert swimmers.rewards() == pytest.approx([0.5, 0.0, 1.0])


@simulated
def test_episodes_start_anywhere_within_the_limits_and_the_same_by_seed() -> None:
    swimmers = Swimmers(Body(6), 200)
    swimmers.reset(range(200))
    limit = math.pi / 3
    assert np.abs(swimmers.observation[:, :5]).max() <= limit
    assert swimmers.observation[:, :5].std() == pytest.approx(limit / math.sqrt(3), rel=0.1)
    heading = swimmers.positions[:, 2]
    assert heading.min() < -2.8
    assert heading.max() > 2.8
    first = swimmers.observation.copy()
    swimmers.step(np.zeros((200, 5)))
    swimmers.reset([3], [7])
    assert swimmers.clock.sum() == 199
    np.testing.assert_array_equal(swimmers.observation[7], first[3])


@simulated
def test_a_state_continues_exactly() -> None:
    generator = np.random.default_rng(0)
    swimmers, other = Swimmers(Body(), 2), Swimmers(Body(), 2)
    swimmers.reset([0, 1])
    actions = generator.uniform(-1, 1, (40, 2, 5))
    for action in actions[:20]:
        swimmers.step(action)
    state = {name: array.copy() for name, array in swimmers.state().items()}
    wanted = [swimmers.step(action) for action in actions[20:]]
    other.load_state(state)
    np.testing.assert_array_equal([other.step(action) for action in actions[20:]], wanted)


@simulated
def test_actions_that_are_not_finite_stop_the_episode_with_the_step() -> None:
    swimmers = Swimmers(Body(), 2)
    swimmers.reset([0, 1])
    swimmers.step(np.zeros((2, 5)))
    bad = np.zeros((2, 5))
    bad[1, 3] = np.nan
    with pytest.raises(DataError, match="not finite at step 1 of the episode"):
        swimmers.step(bad)


@simulated
def test_the_untrained_circuit_swims_and_moves_to_longer_bodies() -> None:
    model, _ = policy()
    seeds = list(range(3))
    home = rollout.episodes(model, Body(6), seeds, model.weights())
    assert home.returns.mean() > 750
    assert home.energy.mean() > 0
    away = rollout.episodes(model, Body(10), seeds, model.weights())
    assert away.returns.mean() > 850
    alone = rollout.episodes(model, Body(6), [1], model.weights())
    assert alone.returns[0] == home.returns[1]
    members, observed = rollout.population(model, Body(6), np.stack([model.weights()] * 3), seeds)
    np.testing.assert_allclose(members, home.returns)
    assert observed.shape == (3 * EPISODE_STEPS, 23)


def test_the_simulator_is_an_extra_and_everything_else_works_without(monkeypatch, tmp_path) -> None:
    monkeypatch.setitem(sys.modules, "mujoco", None)
    compiled.cache_clear()
    dataset = catalogue().dataset("swimmer:n_links=7")
    model, config = policy("swimmer:n_links=7")
    exportable = PLUGIN.export(model, config, dataset.info)
    graph.write(exportable, tmp_path / "model.onnx", {})
    assert (tmp_path / "model.onnx").exists()
    for needs in (lambda: dataset.load("valid"), lambda: Swimmers(Body(), 1)):
        with pytest.raises(MissingExtra, match=r'pip install "automl-papers\[mujoco\]"'):
            needs()


# ---------------------------------------------------------------- evolution


def test_ranks_are_centred_and_ties_share() -> None:
    found = es.centred_ranks(np.array([30.0, 10.0, 20.0]))
    np.testing.assert_allclose(found, [0.5, -0.5, 0.0])
    found = es.centred_ranks(np.array([1.0, 1.0, 5.0, 0.0]))
    np.testing.assert_allclose(found, [0.0, 0.0, 0.5, -0.5])
    np.testing.assert_allclose(es.centred_ranks(np.zeros(4)), np.zeros(4))


def test_the_gradient_is_the_formula_and_points_uphill() -> None:
    half = np.random.default_rng(0).normal(size=(3000, 2))
    noise = np.concatenate([half, -half])
    hill = noise @ np.array([2.0, -1.0])
    found = es.gradient(noise, hill, sigma=10.0)
    ranks = hill.argsort().argsort() / (len(hill) - 1) - 0.5
    np.testing.assert_allclose(found, ranks @ noise / (len(noise) * 10.0), atol=1e-12)
    assert found[0] / -found[1] == pytest.approx(2, rel=0.1)
    assert es.gradient(noise, hill, sigma=1e-3).tolist() == [1, -1]  # clipped


def learner_of(kind, dataset: str = SWIM, **settings):
    model, config = policy(dataset, **settings)
    data = catalogue().dataset(dataset)
    return kind(model, config, Run(data, 0), data.body)


@simulated
def test_a_generation_is_one_step_of_adam_with_weight_decay() -> None:
    learner = learner_of(es.Evolution, population=2, sigma=0.1, lr=0.03)
    before = learner.policy.weight.detach().clone()
    learner.advance()
    moved = learner.policy.weight.detach() - before
    torch.testing.assert_close(moved.abs(), torch.full((4,), 0.03), rtol=1e-3, atol=1e-5)
    assert learner.taken == 2 * EPISODE_STEPS


# ---------------------------------------------------------------- PPO and DDPG


def test_advantages_by_hand() -> None:
    config = replace(DEFAULTS, gamma=0.5, gae_lambda=0.5)
    reward = np.array([[1.0], [2.0], [3.0]])
    value, following = np.array([[1.0], [1.0], [1.0]]), np.array([[1.0], [4.0], [1.0]])
    ended = np.array([[0.0], [1.0], [0.0]])
    found = ppo.advantages(reward, ended, value, following, config)
    surprises = (1 + 0.5 - 1, 2 + 2 - 1, 3 + 0.5 - 1)
    wanted = [surprises[0] + 0.25 * surprises[1], surprises[1], surprises[2]]
    np.testing.assert_allclose(found[:, 0], wanted)


SMALL = {"workers": 2, "segment": 64, "iterations": 5}


@simulated
@pytest.mark.parametrize("kind", ["ncap", "mlp"])
def test_ppo_updates_both_networks_and_stops_by_the_divergence(kind) -> None:
    learner = learner_of(ppo.PPO, algo="ppo", policy=kind, **SMALL)
    segment, _, observed = learner.collect()
    assert segment.observation.shape == (64, 23)
    assert observed.shape == (64, 23)
    location = learner.policy.action(segment.observation, segment.timestep)
    scale = 0.1 if kind == "ncap" else 1.0
    wanted = Normal(location, scale).log_prob(segment.action).sum(-1)
    torch.testing.assert_close(learner.log_likelihood(segment), wanted)
    assert learner.update_policy(segment) == 5
    eager = learner_of(ppo.PPO, algo="ppo", policy=kind, lr_actor=0.05, kl_stop=1e-6, **SMALL)
    assert eager.update_policy(eager.collect()[0]) < 5
    first = learner.update_critic(segment)
    for _ in range(20):
        last = learner.update_critic(segment)
    assert last < first
    assert (learner.spread.log is None) == (kind == "ncap")


@simulated
def test_walking_swimmers_start_anew_at_the_time_limit() -> None:
    learner = learner_of(ppo.PPO, algo="ppo", **SMALL)
    learner.swimmers.clock[:] = (EPISODE_STEPS - 1, 10)
    learner.returns[:] = (500, 3)
    before = learner.swimmers.observation
    rewards, after, ended = learner.walk(np.full((2, 5), 0.5))
    assert ended.tolist() == [1, 0]
    assert learner.swimmers.clock.tolist() == [0, 11]
    assert learner.finished == [500 + rewards[0]]
    assert learner.returns.tolist() == [0, 3 + rewards[1]]
    assert not np.array_equal(after[0], learner.swimmers.observation[0])  # the old episode's end
    np.testing.assert_array_equal(after[1], learner.swimmers.observation[1])
    assert not np.array_equal(before[1], after[1])


def test_the_replay_keeps_the_latest_transitions() -> None:
    replay = ddpg.Replay(1, 1, capacity=2000)
    for start in range(0, 3000, 3):
        x = np.arange(start, start + 3)[:, None]
        replay.add(x, x + 1, x + 2, x + 3, x + 4)
    assert len(replay) == 2000
    rows = torch.cat(replay.draw(5000, torch.Generator().manual_seed(0)), 1)
    assert rows[:, 0].min() >= 1000
    assert rows[:, 0].max() <= 2999
    torch.testing.assert_close(rows - rows[:, :1], torch.arange(5.0).expand(5000, 5))


def test_targets_follow_slowly() -> None:
    source, target = Plain(Body(), (2,), "tanh", True, True), None
    target = Plain(Body(), (2,), "tanh", True, True)
    source.observe(np.ones((3, 23)))
    old = [p.detach().clone() for p in target.parameters()]
    ddpg.follow(target, source, 0.25)
    for before, now, other in zip(old, target.parameters(), source.parameters(), strict=True):
        torch.testing.assert_close(now, 0.75 * before + 0.25 * other)
    torch.testing.assert_close(target.normaliser.mean, source.normaliser.mean)


@simulated
def test_ddpg_walks_at_random_then_learns_on_time() -> None:
    learner = learner_of(
        ddpg.DDPG, algo="ddpg", policy="mlp", workers=2, segment=64, start_steps=32,
        start_learning=16, update_every=10, batch_size=8,
    )  # fmt: skip
    updates = []
    plain = learner.update
    learner.update = lambda: updates.append(learner.taken) or plain()
    seen = learner.advance()
    assert learner.taken == len(learner.replay) == 64
    assert sorted(set(updates)) == [24, 34, 44, 54, 64]
    assert len(updates) == 50
    assert "critic_loss" in seen
    x, clock = np.zeros((500, 23)), np.zeros(500, dtype=int)
    noisy = learner.explore(learner.policy.weights(), x, clock)
    calm = learner.policy.act(learner.policy.weights(), x, clock)
    assert (noisy - calm).std() == pytest.approx(0.1, rel=0.1)
    learner.taken = 0
    assert learner.explore(learner.policy.weights(), x, clock).std() > 0.5


@simulated
@pytest.mark.parametrize(
    "settings",
    [
        {"algo": "ppo", "policy": "mlp"},
        {"algo": "ppo", "policy": "ncap"},
        {"algo": "ddpg", "policy": "mlp"},
        {"algo": "ddpg", "policy": "ncap", "weight_sharing": False},
        {"algo": "es", "policy": "mlp", "population": 2},
    ],
)
def test_every_learner_resumes_where_it_was_interrupted(settings, tmp_path: Path) -> None:
    data = catalogue().dataset("swimmer:n_links=3,valid_episodes=1")
    config = replace(
        DEFAULTS, **settings, steps=2, workers=2, segment=64, iterations=3, start_steps=20,
        start_learning=10, update_every=20, batch_size=8, buffer=100,
    )  # fmt: skip

    def fit(stop: int, path: Path | None = None):
        seen: list = []

        def on_report(report):
            seen.append((report.step, report.scores, report.train))
            return "interrupt" if len(seen) == stop else "continue"

        seed_everything(0)
        model = PLUGIN.build(config, data.info)
        with contextlib.suppress(Stop):
            PLUGIN.fit(model, config, Run(data, 0, on_report=on_report, checkpoint_path=path))
        return seen, model

    whole, model = fit(99)
    path = tmp_path / "checkpoint.safetensors"
    begun, _ = fit(2, path)
    rest, other = fit(99, path)
    assert begun + rest == whole
    assert [step for step, _, _ in whole] == [0, 1, 2]
    for one, two in zip(model.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(one, two)
    assert any(not torch.equal(a, b) for a, b in zip(
        model.parameters(), PLUGIN.build(config, data.info).parameters(), strict=True
    ))  # fmt: skip


# ---------------------------------------------------------------- the plugin


@simulated
def test_weights_can_be_searched_without_learning() -> None:
    base = replace(DEFAULTS, algo="search_weights")
    data = catalogue().dataset("swimmer:valid_episodes=1")
    trial = optuna.trial.FixedTrial({"prop": 0.5, "osc": 1.5, "ipsi": 2.0, "contra": -2.0})
    config = PLUGIN.space(trial, base, data.info)
    assert set(trial.distributions) == {"prop", "osc", "ipsi", "contra"}
    model = PLUGIN.build(config, data.info)
    assert model.weight.tolist() == [0.5, 1.5, 2.0, -2.0]
    run = Run(data, 0)
    PLUGIN.fit(model, config, run)
    assert [report.step for report in run.history] == [0]


def test_only_settings_that_matter_are_searched() -> None:
    info = catalogue().dataset(SWIM).info
    names = {}
    for algo in ("es", "ppo", "ddpg"):
        for kind in ("ncap", "mlp"):
            base = replace(DEFAULTS, algo=algo, policy=kind)
            trial = optuna.trial.FixedTrial(base.to_dict())
            assert PLUGIN.space(trial, base, info) == base
            names[algo, kind] = set(trial.distributions)
    assert "sigma" in names["es", "ncap"]
    assert "hidden" not in names["es", "ncap"]
    assert "lr_actor" in names["ppo", "mlp"]
    assert "oscillator_period" not in names["ddpg", "mlp"]


@simulated
def test_probes_measure_the_start_and_other_bodies() -> None:
    data = catalogue().dataset("swimmer:valid_episodes=2")
    model, config = policy()
    learned = replace(config, steps=1, population=2, sigma=0.1, lr=0.3)
    start = PLUGIN.evaluate(model, config, data.split("test"))["return"]
    PLUGIN.fit(model, learned, Run(data, 0))
    found = DataEfficiency().measure(PLUGIN, model, config, data)
    assert found["initial_return"] == pytest.approx(start)
    assert found["steps"] == 2 * EPISODE_STEPS
    assert learners.steps_to_good([[0, 10], [5, 79], [9, 80], [12, 100]]) == 9
    with pytest.raises(DataError, match="only the circuit with weight_sharing=true moves"):
        Transfer().measure(PLUGIN, policy(weight_sharing=False)[0], config, data)
    with pytest.raises(DataError, match="policies of the plugin ncap"):
        Transfer().measure(PLUGIN, torch.nn.Linear(1, 1), config, data)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"population": 7}, r"population must be even \(mirrored sampling\)"),
        ({"oscillator_period": 1}, "oscillator_period=1 must be at least 2"),
        ({"init": "signs"}, "contradicts sign_constraints=True"),
        ({"segment": 4095}, "multiple of workers=4"),
        ({"algo": "search_weights", "policy": "mlp"}, "needs policy=ncap"),
        ({"hidden": "8x8"}, "hidden"),
    ],
)
def test_bad_settings_are_refused(change, message) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(DEFAULTS, **change)


def test_bad_bodies_inputs_and_tasks_are_refused() -> None:
    with pytest.raises(ConfigError, match="n_links=2: the swimmer needs at least 3 links"):
        catalogue().dataset("swimmer:n_links=2")
    for change in ({"controller": "learned"}, {"turn_joints": 2}):
        with pytest.raises(ConfigError, match="steers to a target, but 'swimmer' has none"):
            policy(**change)
    model, _ = policy()
    for kind in (model, policy(policy="mlp")[0]):
        with pytest.raises(DataError, match="has 23 numbers .* not 22"):
            kind.action(torch.zeros(1, 22), torch.zeros(1, 1))
    with pytest.raises(DataError, match="this policy swims"):
        model(torch.zeros(1, 5), torch.zeros(1, 1), torch.zeros(1, 1))
    with pytest.raises(DataError, match="wants right, left and speed"):
        policy(NAVIGATE)[0](torch.zeros(1, 5), torch.zeros(1, 1))
    with pytest.raises(DataError, match="built for 6 links and swim, not 8 and swim"):
        policy(policy="mlp")[0].check_body(Body(8))
    with pytest.raises(DataError, match="'digits' is no swimmer"):
        PLUGIN.check_data(catalogue().dataset("digits").info)


@pytest.mark.parametrize("dataset", [SWIM, NAVIGATE, "swimmer:n_links=12"])
@pytest.mark.parametrize("settings", [{}, {"policy": "mlp"}, {"weight_sharing": False}])
def test_the_exported_graph_is_the_policy_used_in_episodes(dataset, settings, tmp_path) -> None:
    model, config = policy(dataset, **settings)
    body = model.body
    model.observe(np.random.default_rng(0).normal(1, 2, (50, body.observation_size)))
    exportable = PLUGIN.export(model, config, catalogue().dataset(dataset).info)
    path = tmp_path / "model.onnx"
    graph.write(exportable, path, {})
    observation = np.random.default_rng(1).normal(0, 0.5, (9, body.observation_size))
    clock = np.arange(9) * 111
    angles, target, velocities = split(body, observation.astype(np.float32))
    inputs = {"joint_pos": angles}
    if settings.get("policy") == "mlp":
        inputs["body_velocities"] = velocities
        inputs |= {"to_target": target} if body.targets else {}
    else:
        inputs["timestep"] = clock[:, None].astype(np.float32)
        if body.targets:
            commands = exportable.parts["controller"].module(torch.from_numpy(target))
            names = ("right", "left", "speed")
            inputs |= {n: c.detach().numpy() for n, c in zip(names, commands, strict=True)}
    tensors = {name: torch.from_numpy(np.ascontiguousarray(x)) for name, x in inputs.items()}
    found = Session(path)(tensors)["action"]
    wanted = model.act(model.weights(), observation, clock)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


@simulated
@pytest.mark.parametrize("settings", [{}, {"policy": "mlp"}])
def test_an_exported_graph_swims_in_the_policys_place(settings, tmp_path) -> None:
    data = catalogue().dataset("swimmer:valid_episodes=1")
    model, config = policy(**settings)
    path = tmp_path / "model.onnx"
    graph.write(PLUGIN.export(model, config, data.info), path, {})
    calls = []

    class Counted(RuntimeModule):
        def __call__(self, *args):
            calls.append(args)
            return super().__call__(*args)

    found = PLUGIN.evaluate(
        Counted(model, tuple(PLUGIN.example(config, data.info)), Session(path)),
        config,
        data.split("valid"),
    )
    assert len(calls) == EPISODE_STEPS
    wanted = PLUGIN.evaluate(model, config, data.split("valid"))
    assert found["return"] == pytest.approx(wanted["return"], rel=1e-3)


@simulated
def test_random_actions_and_medians_of_the_claims() -> None:
    split_ = catalogue().dataset("swimmer:valid_episodes=2").split("valid")
    assert 20 < claims.random_actions(split_)["return"] < 300
    row = claims.RunResult
    rows = [
        row(label, "swimmer", {}, {}, 5, values={"return": values})
        for label, values in (
            (claims.CONSTRAINED.label, [1.0, 500.0, 900.0]),
            (claims.UNCONSTRAINED.label, [0.0, 100.0, 999.0]),
        )
    ]
    assert claims.medians(rows)[claims.MEDIANS]["constrained_minus_free"] == 400
    assert claims.medians(rows[:1]) == {}


@simulated
@pytest.mark.slow
def test_evolution_improves_the_circuit() -> None:
    data = catalogue().dataset(SWIM)
    model, config = policy(sigma=0.1, lr=0.05, init="uniform", steps=6)
    returns: list[float] = []

    def enough(report):
        returns.append(report.scores["return"])
        return "stop" if returns[-1] > returns[0] + 50 else "continue"

    with contextlib.suppress(Stop):
        PLUGIN.fit(model, config, Run(data, 1, on_report=enough))
    assert returns[-1] > returns[0] + 50, "six generations did not make it better"
