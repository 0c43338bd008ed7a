"""The three networks: a deep plain one, an end-to-end memory network and a neural GPU.

Shapes: B examples, F features, H units, V words or symbols, S sentences, J words of a sentence,
d units of a memory, n symbols of a sequence, w columns and m maps of a neural GPU's state.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from automl.core.api import Outputs
from automl.plugins.gradnoise.config import Config


def initialise(weight: Tensor, kind: str) -> None:
    """Fill the weights (H, F) of a layer in place (Table 1's rows).

    zero; simple: N(0, 0.1^2); he: N(0, 2 / F); sussillo_abbott: N(0, g^2 / F) with
    g = sqrt(2) exp(1.2 / (max(H, 6) - 2.4)), which keeps gradients through ReLUs of width H;
    orthogonal, scaled by sqrt(2).
    """
    width, inputs = weight.shape
    if kind == "zero":
        nn.init.zeros_(weight)
    elif kind == "simple":
        nn.init.normal_(weight, 0, 0.1)
    elif kind == "he":
        nn.init.normal_(weight, 0, math.sqrt(2 / inputs))
    elif kind == "sussillo_abbott":
        gain = math.sqrt(2) * math.exp(1.2 / (max(width, 6) - 2.4))
        nn.init.normal_(weight, 0, gain / math.sqrt(inputs))
    else:
        nn.init.orthogonal_(weight, gain=math.sqrt(2))


class DeepNetwork(nn.Module):
    """``depth`` layers of ReLUs and a linear one; inputs and numeric targets may be scaled."""

    mean: Tensor
    scale: Tensor
    offset: Tensor
    spread: Tensor

    def __init__(self, config: Config, features: int, outputs: int, numeric: bool) -> None:
        super().__init__()
        self.numeric, self.features = numeric, features
        layers: list[nn.Module] = []
        for i in range(config.depth):
            layers += [nn.Linear(config.width if i else features, config.width), nn.ReLU()]
            if config.dropout:
                layers.append(nn.Dropout(config.dropout))
        self.layers = nn.Sequential(*layers, nn.Linear(config.width, outputs))
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                initialise(layer.weight, config.init)
                nn.init.zeros_(layer.bias)
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))
        self.register_buffer("offset", torch.zeros(outputs))
        self.register_buffer("spread", torch.ones(outputs))

    def forward(self, x: Tensor) -> Outputs:
        """``logits`` (B, classes), or ``value`` (B, numbers), of x (B, *)."""
        found = self.layers((x.flatten(1) - self.mean) / self.scale)
        if self.numeric:
            return {"value": found * self.spread + self.offset}
        return {"logits": found}


def position_encoding(words: int, d: int) -> Tensor:
    """Weights (J, d) by which a sentence's words add up, so that their order counts."""
    j = torch.arange(1, words + 1)[:, None] / words
    k = torch.arange(1, d + 1)[None] / d
    return (1 - j) - k * (1 - 2 * j)


class MemoryNetwork(nn.Module):
    """End-to-end memory network with adjacent weight tying, position and temporal encoding.

    Embedding k is the output embedding of hop k and the input embedding of hop k + 1; the first
    embeds the question, the last gives the answer. ``linear``: attention without its softmax.
    """

    weights: Tensor
    linear: Tensor
    best: Tensor

    def __init__(self, words: int, sentences: int, longest: int, config: Config) -> None:
        super().__init__()
        count, d = config.hops + 1, config.d_mem
        self.embeddings = nn.ParameterList([0.1 * torch.randn(words, d) for _ in range(count)])
        self.times = nn.ParameterList([0.1 * torch.randn(sentences, d) for _ in range(count)])
        self.dropout = nn.Dropout(config.dropout)
        self.register_buffer("weights", position_encoding(longest, d))
        self.register_buffer("linear", torch.tensor(config.linear_start))
        self.register_buffer("best", torch.tensor(torch.inf))  # validation loss, while linear

    def sentence(self, words: Tensor, embedding: Tensor) -> Tensor:
        """Sentences (..., J) of word numbers as vectors (..., d); 0 is no word."""
        there = (words > 0).unsqueeze(-1)
        length = words.shape[-1]
        found = functional.embedding(words, embedding) * there * self.weights[:length]
        return found.sum(-2)

    def forward(self, story: Tensor, question: Tensor) -> Outputs:
        """``logits`` (B, V) for story (B, S, J) and question (B, J) of word numbers."""
        u = self.sentence(question, self.embeddings[0])
        told = (story > 0).any(-1)
        memories = [
            self.sentence(story, embedding) + time
            for embedding, time in zip(self.embeddings, self.times, strict=True)
        ]
        for memory, output in pairwise(memories):
            match = (memory @ u.unsqueeze(-1)).squeeze(-1)
            soft = match.masked_fill(~told, -1e9).softmax(-1)
            p = torch.where(self.linear, match * told, soft)
            u = self.dropout(u + (p.unsqueeze(1) @ output).squeeze(1))
        return {"logits": u @ self.embeddings[-1].T}

    def stalled(self, loss: float) -> None:
        """End the linear start when the validation loss no longer falls."""
        if not bool(self.linear):
            return
        if loss >= float(self.best):
            self.linear.fill_(False)
        self.best.fill_(min(loss, float(self.best)))


class GatedUnit(nn.Module):
    """CGRU(s) = u s + (1 - u) tanh(U * (r s) + B): a gated recurrent unit of 3 x 3 convolutions."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.gates = nn.Conv2d(maps, 2 * maps, 3, padding=1)
        self.candidate = nn.Conv2d(maps, maps, 3, padding=1)

    def forward(self, state: Tensor) -> Tensor:
        """States (B, m, n, w) to states."""
        u, r = torch.sigmoid(self.gates(state)).chunk(2, dim=1)
        return u * state + (1 - u) * torch.tanh(self.candidate(r * state))


class NeuralGpu(nn.Module):
    """Two gated convolutional units applied as often as the input is long.

    Step t uses copy t mod r of their parameters; training pulls the copies together. ``progress``
    is the share of the training that is done.
    """

    progress: Tensor

    def __init__(self, symbols: int, config: Config) -> None:
        super().__init__()
        maps, self.columns = config.gpu_maps, config.gpu_width
        self.embedding = nn.Embedding(symbols, maps)
        self.copies = nn.ModuleList(
            [
                nn.Sequential(GatedUnit(maps), nn.Dropout(config.dropout), GatedUnit(maps))
                for _ in range(config.copies)
            ]
        )
        self.output = nn.Linear(maps, symbols)
        self.register_buffer("progress", torch.zeros(()))

    def forward(self, tokens: Tensor) -> Outputs:
        """``logits`` (B, n, V) for tokens (B, n)."""
        first = self.embedding(tokens).transpose(1, 2).unsqueeze(-1)  # (B, m, n, 1)
        state = functional.pad(torch.tanh(first), (0, self.columns - 1))
        for step in range(tokens.shape[1]):
            state = self.copies[step % len(self.copies)](state)
        return {"logits": self.output(state[..., 0].transpose(1, 2))}

    def distance(self) -> Tensor:
        """The squared distance of the copies' parameters from their means."""
        groups = zip(*(copy.parameters() for copy in self.copies), strict=True)
        parts = [torch.stack(group) for group in groups]
        return torch.stack([(part - part.mean(0)).square().sum() for part in parts]).sum()
