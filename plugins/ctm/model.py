"""The machine: ticks, private neuron models, synchronisation; and the two rivals (Sections 2, 3).

Shapes: B examples, T ticks, D neurons, M ticks of history, n tokens, P answers of C classes each.
"""

from __future__ import annotations

import abc
import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from automl.core.api import Outputs
from automl.plugins.ctm.config import Config
from automl.plugins.ctm.features import Features

LEAST_WIDTH = 16  # of a U-Net's bottom
MOST_DECAY = 15.0


class Neurons(nn.Module):
    """One linear map per neuron: (D, B, inputs) to (D, B, outputs), divided by a temperature."""

    def __init__(self, neurons: int, inputs: int, outputs: int) -> None:
        super().__init__()
        limit = 1 / math.sqrt(inputs + outputs)
        self.weight = nn.Parameter(torch.empty(neurons, inputs, outputs).uniform_(-limit, limit))
        self.bias = nn.Parameter(torch.zeros(neurons, 1, outputs))
        self.temperature = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        """As above."""
        return torch.baddbmm(self.bias, x, self.weight) / self.temperature


def private_models(config: Config) -> nn.Sequential:
    """Each neuron's own model of its history: (D, B, M) to (D, B, 1)."""
    neurons, memory, hidden = config.d_model, config.memory_length, config.nlm_hidden
    if config.nlm == "linear":
        return nn.Sequential(Neurons(neurons, memory, 2), nn.GLU())
    return nn.Sequential(
        Neurons(neurons, memory, 2 * hidden), nn.GLU(), Neurons(neurons, hidden, 2), nn.GLU()
    )


class UNet(nn.Module):
    """Synapses of depth k: widths fall from D to 16 and rise again, with skips."""

    def __init__(self, inputs: int, width: int, depth: int, dropout: float) -> None:
        super().__init__()
        widths = [int(w) for w in torch.linspace(width, min(LEAST_WIDTH, width), depth)]

        def block(a: int, b: int) -> nn.Sequential:
            return nn.Sequential(nn.Dropout(dropout), nn.Linear(a, b), nn.LayerNorm(b), nn.SiLU())

        self.first = nn.Sequential(nn.Linear(inputs, width), nn.LayerNorm(width), nn.SiLU())
        pairs = list(itertools.pairwise(widths))
        self.down = nn.ModuleList(block(a, b) for a, b in pairs)
        self.up = nn.ModuleList(block(b, a) for a, b in reversed(pairs))
        self.norms = nn.ModuleList(nn.LayerNorm(a) for a, _ in reversed(pairs))

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs) to (B, D)."""
        x, skips = self.first(x), []
        for block in self.down:
            skips.append(x)
            x = block(x)
        for block, norm in zip(self.up, self.norms, strict=True):
            x = norm(block(x) + skips.pop())
        return x


def synapses(config: Config, inputs: int) -> nn.Module:
    """The map that neurons share: (B, inputs) to (B, D)."""
    if config.synapse_depth > 1:
        return UNet(inputs, config.d_model, config.synapse_depth, config.dropout)
    return nn.Sequential(
        nn.Dropout(config.dropout), nn.Linear(inputs, 2 * config.d_model), nn.GLU(),
        nn.LayerNorm(config.d_model),
    )  # fmt: skip


class Synchronisation(nn.Module):
    """S = alpha / sqrt(beta) of chosen pairs: how they fired together, old ticks fading.

    alpha <- r alpha + z_i z_j and beta <- r beta + 1, with r = exp(-clamp(rho, 0, 15)) learnt.
    """

    left: Tensor
    right: Tensor

    def __init__(self, config: Config, count: int, *, last: bool) -> None:
        super().__init__()
        left, right = chosen_pairs(config, count, last=last)
        self.register_buffer("left", left)
        self.register_buffer("right", right)
        self.rho = nn.Parameter(torch.zeros(len(left)))

    def pairs(self, z: Tensor) -> Tensor:
        """Products of the pairs: (B, D) to (B, pairs)."""
        return z[:, self.left] * z[:, self.right]

    def start(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Alpha and beta at first use."""
        alpha = self.pairs(z)
        return alpha, torch.ones_like(alpha)

    def advance(self, z: Tensor, alpha: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
        """Alpha and beta one tick later."""
        r = torch.exp(-self.rho.clamp(0.0, MOST_DECAY))
        return r * alpha + self.pairs(z), r * beta + 1


def chosen_pairs(config: Config, count: int, *, last: bool) -> tuple[Tensor, Tensor]:
    """Indices of the neurons of each pair, drawn once when the machine is built."""
    width = config.d_model
    if config.neuron_select == "random-pairing":
        left, right = torch.randint(0, width, (2, count))
        right[: config.n_self] = left[: config.n_self]
        return left, right
    if config.neuron_select == "first-last":
        some = torch.arange(width - count, width) if last else torch.arange(count)
        ends = (some, some)
    else:
        drawn = torch.randint(0, width, (2, count))
        ends = (drawn[0], drawn[1])
    upper = torch.triu_indices(count, count)
    return ends[0][upper[0]], ends[1][upper[1]]


class Attention(nn.Module):
    """Multi-head attention of one query; keys and values are computed once for all ticks."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.output = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def prepare(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (..., n, d) to keys (..., heads, d/h, n) and values (..., heads, n, d/h)."""
        both = self.key_value(tokens).unflatten(-1, (2, self.heads, -1))
        keys, values = both.unbind(-3)
        return keys.movedim(-3, -1), values.transpose(-3, -2)

    def forward(self, query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Query (B, d) to (B, d)."""
        q = self.query(query).unflatten(-1, (self.heads, 1, -1))
        weights = torch.softmax(q @ keys / math.sqrt(q.shape[-1]), -1)
        found = (self.dropout(weights) @ values).flatten(1)
        out: Tensor = self.output(found)
        return out


class Thinker(nn.Module, abc.ABC):
    """What machine and LSTM share: inputs, ticks, certainty, the choice of a tick."""

    tau: Tensor

    def __init__(self, config: Config, features: Features, answers: int, classes: int) -> None:
        super().__init__()
        self.config, self.features = config, features
        self.answers, self.classes = answers, classes
        self.ticks = features.ticks or config.iterations
        if features.attends:
            self.attention = Attention(config.d_input, config.heads, config.dropout)
        self.register_buffer("tau", torch.tensor(config.tau))

    @abc.abstractmethod
    def think(self, x: Tensor) -> Tensor:
        """Inputs to the answers of all ticks (B, T, P, C)."""

    def inputs(self, x: Tensor) -> list[tuple[Tensor, Tensor] | Tensor]:
        """For each tick the keys and values, or the raw input where nothing is attended to."""
        tokens = self.features(x)
        if not self.features.attends:
            return [tokens] * self.ticks
        keys, values = self.attention.prepare(tokens)
        if tokens.ndim == 3:
            return [(keys, values)] * self.ticks
        return list(zip(keys.unbind(0), values.unbind(0), strict=True))

    def forward(self, x: Tensor) -> Outputs:
        """The answers of all ticks, and which one to believe.

        Returns:
            ``logits`` (B, C) or (B, P, C) of the most certain tick (all ticks (B, T, C) where
            answers are read off the ticks), ``predictions`` (B, P C, T), ``certainty`` (B, T) and
            ``ticks_used`` (B,): the first tick as certain as tau, else T.
        """
        predictions = self.think(x)
        sure = certainty(predictions)
        enough = sure >= self.tau
        first = enough.to(torch.int64).argmax(1) + 1
        used = torch.where(enough.any(1), first, predictions.shape[1])
        if self.features.streams:
            logits = predictions[:, :, 0]
        else:
            logits = at_tick(predictions, sure.argmax(1))
            logits = logits[:, 0] if self.answers == 1 else logits
        flat = predictions.flatten(2).transpose(1, 2)
        return {"logits": logits, "predictions": flat, "certainty": sure, "ticks_used": used}

    def answer(self, readings: list[Tensor]) -> Tensor:
        """Readings (B, P C) of the ticks to (B, T, P, C), answering ticks only."""
        some = readings[self.features.silent_ticks :]
        stacked = torch.stack(some, 1)
        return stacked.reshape(*stacked.shape[:2], self.answers, self.classes)


def certainty(predictions: Tensor) -> Tensor:
    """1 - entropy / log C, mean over answers: (B, T, P, C) to (B, T)."""
    logs = predictions.log_softmax(-1)
    entropy = -(logs.exp() * logs).sum(-1) / math.log(predictions.shape[-1])
    return 1 - entropy.mean(-1)


def at_tick(predictions: Tensor, tick: Tensor) -> Tensor:
    """(B, T, P, C) at one tick (B,) of each example: (B, P, C)."""
    index = tick[:, None, None, None].expand(-1, 1, *predictions.shape[2:])
    return predictions.gather(1, index)[:, 0]


class Machine(Thinker):
    """The Continuous Thought Machine."""

    def __init__(self, config: Config, features: Features, answers: int, classes: int) -> None:
        super().__init__(config, features, answers, classes)
        width, memory = config.d_model, config.memory_length
        self.synapses = synapses(config, width + features.width)
        self.neurons = private_models(config)
        self.out = Synchronisation(config, config.n_synch_out, last=False)
        if features.attends:
            self.action = Synchronisation(config, config.n_synch_action, last=True)
            self.query = nn.Linear(len(self.action.rho), config.d_input)
        read = len(self.out.rho) if config.readout == "sync" else width
        self.reader = nn.Linear(read, answers * classes)
        limit = math.sqrt(1 / width)
        self.start_state = nn.Parameter(torch.empty(width).uniform_(-limit, limit))
        limit = math.sqrt(1 / (width + memory))
        self.start_history = nn.Parameter(torch.empty(width, memory).uniform_(-limit, limit))

    def initial(self, batch: int) -> tuple[Tensor, ...]:
        """Before the first tick: z (B, D), history (D, B, M), alpha and beta of both readings."""
        z = self.start_state.expand(batch, -1)
        history = self.start_history[:, None].expand(-1, batch, -1)
        action = self.action.start(z) if self.features.attends else ()
        return (z, history, *self.out.start(z), *action)

    def tick(
        self, given: tuple[Tensor, Tensor] | Tensor, state: tuple[Tensor, ...]
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """One tick: the next state and the reading (B, P C)."""
        z, history, alpha, beta, *action = state
        if isinstance(given, Tensor):
            seen = given
        else:
            query = self.query(action[0] / action[1].sqrt())
            seen = self.attention(query, *given)
        activation = self.synapses(torch.cat([seen, z], 1))
        history = torch.cat([history[:, :, 1:], activation.T[:, :, None]], 2)
        z = self.neurons(history)[:, :, 0].T
        alpha, beta = self.out.advance(z, alpha, beta)
        reading = self.reader(alpha / beta.sqrt() if self.config.readout == "sync" else z)
        after = self.action.advance(z, *action) if action else ()
        return (z, history, alpha, beta, *after), reading

    def think(self, x: Tensor) -> Tensor:
        """As in ``Thinker``."""
        state, readings = self.initial(x.shape[0]), []
        for given in self.inputs(x):
            state, reading = self.tick(given, state)
            readings.append(reading)
        return self.answer(readings)


class Recurrent(Thinker):
    """The rival: the same inputs and attention around one LSTM."""

    def __init__(self, config: Config, features: Features, answers: int, classes: int) -> None:
        super().__init__(config, features, answers, classes)
        width = config.d_model
        if features.attends:
            self.query = nn.Linear(width, config.d_input)
        self.cell = nn.LSTMCell(features.width, width)
        self.reader = nn.Linear(width, answers * classes)
        limit = math.sqrt(1 / width)
        self.start = nn.Parameter(torch.empty(2, width).uniform_(-limit, limit))

    def think(self, x: Tensor) -> Tensor:
        """As in ``Thinker``."""
        h, c = (part.expand(x.shape[0], -1) for part in self.start)
        readings = []
        for given in self.inputs(x):
            seen = given if isinstance(given, Tensor) else self.attention(self.query(h), *given)
            h, c = self.step(seen, h, c)
            readings.append(self.reader(h))
        return self.answer(readings)

    def step(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """The LSTM's equations written out: the cell itself does not export."""
        if self.training:
            after: tuple[Tensor, Tensor] = self.cell(x, (h, c))
            return after
        cell = self.cell
        gates = functional.linear(x, cell.weight_ih, cell.bias_ih)
        gates = gates + functional.linear(h, cell.weight_hh, cell.bias_hh)
        i, f, g, o = gates.chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c


class FeedForward(Thinker):
    """The control that does not think: the same tokens, one hidden layer, one tick."""

    def __init__(self, config: Config, features: Features, answers: int, classes: int) -> None:
        super().__init__(config, features, answers, classes)
        if features.attends:
            del self.attention
        size = features.count * features.width if features.attends else features.width
        self.body = nn.Sequential(
            nn.Flatten(), nn.Linear(size, config.d_model), nn.ReLU(), nn.Dropout(config.dropout),
            nn.Linear(config.d_model, answers * classes),
        )  # fmt: skip

    def think(self, x: Tensor) -> Tensor:
        """As in ``Thinker``, with one tick."""
        found: Tensor = self.body(self.features(x))
        return found.reshape(-1, 1, self.answers, self.classes)


KINDS: dict[str, type[Thinker]] = {"ctm": Machine, "lstm": Recurrent, "ff": FeedForward}
