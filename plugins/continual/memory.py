"""A small buffer of the past: who gets in, who is replayed (reservoir, GSS, MIR, ...)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from automl.core.api import Batch
from automl.plugins.continual.config import Config
from automl.plugins.continual.gradients import flat

FIRST_SCORE = 0.1  # GSS: of the first batch, which has nothing to be compared with
CANDIDATES = 50  # MIR: buffer samples of which the most interfered are replayed


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """The loss of one example."""
    return functional.cross_entropy(logits[None], target[None])


def unit(vectors: Tensor) -> Tensor:
    """Rows of length 1."""
    return functional.normalize(vectors, dim=1)


class Memory:
    """At most ``config.memory`` examples, kept as the method says."""

    def __init__(self, model: nn.Module, config: Config, generator: torch.Generator) -> None:
        self.model, self.config, self.generator = model, config, generator
        self.examples: Batch = {}
        self.scores = torch.empty(0)  # GSS-Greedy: max cosine + 1, in [0, 2]
        self.seen = 0

    def __len__(self) -> int:
        return len(self.examples["x"]) if self.examples else 0

    # ---------------------------------------------------------------- out

    def drawn(self, count: int) -> Batch:
        """Examples drawn without replacement."""
        order = torch.randperm(len(self), generator=self.generator)[:count]
        return self.at(order)

    def at(self, index: Tensor) -> Batch:
        """The examples at these places."""
        return {key: column[index.to(column.device)] for key, column in self.examples.items()}

    def replayed(self, batch: Batch, lr: float) -> Batch:
        """What is learnt again beside ``batch``."""
        if self.config.method != "mir":
            return self.drawn(self.config.replay)
        return self.most_interfered(batch, lr)

    def most_interfered(self, batch: Batch, lr: float) -> Batch:
        """MIR: those of some candidates whose loss a step on ``batch`` would raise most."""
        some = self.drawn(CANDIDATES)
        logits = self.model(batch["x"], batch["task"])["logits"]
        loss = functional.cross_entropy(logits, batch["target"])
        names = [name for name, p in self.model.named_parameters() if p.requires_grad]
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        gradients = torch.autograd.grad(loss, parameters)
        after = {
            name: p.detach() - lr * g
            for name, p, g in zip(names, parameters, gradients, strict=True)
        }
        with torch.no_grad():
            inputs = {"x": some["x"], "task": some["task"]}
            virtual = functional_call(self.model, after, (), inputs)["logits"]
            now = self.model(**inputs)["logits"]
            rise = functional.cross_entropy(virtual, some["target"], reduction="none")
            rise -= functional.cross_entropy(now, some["target"], reduction="none")
        worst = rise.topk(min(self.config.replay, len(rise))).indices
        return {key: column[worst] for key, column in some.items()}

    # ---------------------------------------------------------------- in

    def offer(self, batch: Batch) -> None:
        """A batch was learnt: the method decides what stays of it."""
        offers = {
            "random": self.offer_randomly,
            "reservoir": self.offer_fairly,
            "balanced": self.offer_by_class,
            "gss_greedy": self.offer_greedily,
            "gss_iqp": self.offer_for_diversity,
            "gss_clust": self.offer_for_diversity,
        }
        with torch.no_grad():
            offers.get(self.config.method, self.offer_fairly)(batch)
        self.seen += len(batch["x"])

    def room(self) -> int:
        """How many more examples fit."""
        return self.config.memory - len(self)

    def append(self, batch: Batch, scores: Tensor | None = None) -> None:
        """Add examples; there must be room."""
        scores = torch.zeros(len(batch["x"])) if scores is None else scores.cpu()
        if not self.examples:
            self.examples = {key: column.clone() for key, column in batch.items()}
        else:
            self.examples = {
                key: torch.cat([column, batch[key]]) for key, column in self.examples.items()
            }
        self.scores = torch.cat([self.scores, scores])

    def put(self, place: int, batch: Batch, row: int) -> None:
        """Replace one example."""
        for key, column in self.examples.items():
            column[place] = batch[key][row]

    def fill(self, batch: Batch) -> Batch:
        """Take what fits; return the rest."""
        room = self.room()
        if room > 0:
            self.append({key: column[:room] for key, column in batch.items()})
        return {key: column[max(0, room) :] for key, column in batch.items()}

    def number(self, below: int) -> int:
        """A random whole number from 0."""
        return int(torch.randint(0, below, (1,), generator=self.generator))

    def offer_randomly(self, batch: Batch) -> None:
        """Every new example takes a random place (the weak baseline of GSS)."""
        rest = self.fill(batch)
        for row in range(len(rest["x"])):
            self.put(self.number(len(self)), rest, row)

    def offer_fairly(self, batch: Batch) -> None:
        """Reservoir sampling: each example of the stream is kept with equal chance."""
        rest = self.fill(batch)
        kept = len(batch["x"]) - len(rest["x"])
        for row in range(len(rest["x"])):
            place = self.number(self.seen + kept + row + 1)
            if place < self.config.memory:
                self.put(place, rest, row)

    def offer_by_class(self, batch: Batch) -> None:
        """A new example takes the place of one of the largest class."""
        rest = self.fill(batch)
        for row in range(len(rest["x"])):
            counts = torch.bincount(self.examples["target"])
            largest = int(counts.argmax())
            if counts[largest] > 1 or int(rest["target"][row]) == largest:
                places = torch.nonzero(self.examples["target"] == largest)[:, 0]
                self.put(int(places[self.number(len(places))]), rest, row)

    # ---------------------------------------------------------------- GSS

    def compared_with(self) -> Tensor:
        """Unit gradients of random batches of the buffer: (vectors, parameters)."""
        subsets = [self.drawn(self.config.replay) for _ in range(self.config.vectors)]
        with torch.enable_grad():
            return unit(torch.stack([gradient_vector(self.model, some) for some in subsets]))

    def offer_greedily(self, batch: Batch) -> None:
        """GSS-Greedy: stored is what pulls the weights elsewhere than the buffer does."""
        room = self.room()
        if not len(self):
            first = {key: column[:room] for key, column in batch.items()}
            self.append(first, torch.full((len(first["x"]),), FIRST_SCORE))
            return
        known, gradients = self.compared_with(), flat(self.model, batch, cross_entropy)
        similarity = (unit(gradients) @ known.T).max(1).values + 1
        if room > 0:
            self.append({key: c[:room] for key, c in batch.items()}, similarity[:room])
            return
        whole = unit(gradients.mean(0, keepdim=True)) @ known.T
        if float(whole.max()) >= self.config.threshold:
            return
        chances = self.scores.clamp(min=1e-8)
        count = min(len(batch["x"]), len(self))
        similarity = similarity.cpu()
        places = torch.multinomial(chances, count, generator=self.generator)
        for row, place in enumerate(places.tolist()):
            old, new = float(self.scores[place]), float(similarity[row])
            chance = old / (old + new) if old + new > 0 else 0.5
            if float(torch.rand((), generator=self.generator)) < chance:
                self.put(place, batch, row)
                self.scores[place] = new

    def offer_for_diversity(self, batch: Batch) -> None:
        """GSS-IQP and GSS-Clust over the buffer and the batch: drop until the buffer fits.

        IQP minimises the sum of pairwise cosines of the gradients; here greedily, by dropping the
        example with the largest sum to the others. Clust merges the two nearest gradients and
        keeps the older example of the two.
        """
        self.append(batch)
        excess = -self.room()
        if excess <= 0:
            return
        gradients = unit(flat(self.model, self.examples, cross_entropy))
        cosines = gradients @ gradients.T
        alive = torch.ones(len(cosines), dtype=torch.bool, device=cosines.device)
        cosines.fill_diagonal_(0 if self.config.method == "gss_iqp" else -2)
        sums = cosines.sum(1)
        for _ in range(excess):
            if self.config.method == "gss_iqp":
                gone = int(sums.masked_fill(~alive, -torch.inf).argmax())
                sums -= cosines[:, gone]
            else:
                pair = int(cosines.argmax())
                gone = max(divmod(pair, len(cosines)))
                cosines[gone] = cosines[:, gone] = -2
            alive[gone] = False
        self.examples = {key: column[alive] for key, column in self.examples.items()}
        self.scores = self.scores[alive.cpu()]

    # ---------------------------------------------------------------- checkpoints

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"examples": self.examples, "scores": self.scores, "seen": self.seen}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take back what ``state`` returned."""
        self.examples, self.scores, self.seen = state["examples"], state["scores"], state["seen"]


class HardBuffer:
    """Task-free: the recent examples with the highest loss, on which importance is taken."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.examples: Batch = {}
        self.losses = torch.empty(0)

    def offer(self, batch: Batch, losses: Tensor) -> None:
        """Keep the hardest of what is there and what comes."""
        if self.examples:
            both = {key: torch.cat([c, batch[key]]) for key, c in self.examples.items()}
            losses = torch.cat([self.losses, losses])
        else:
            both = batch
        keep = losses.topk(min(self.size, len(losses))).indices
        self.examples = {key: column[keep] for key, column in both.items()}
        self.losses = losses[keep]

    def clear(self) -> None:
        """Forget everything."""
        self.examples, self.losses = {}, torch.empty(0)

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"examples": self.examples, "losses": self.losses}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take back what ``state`` returned."""
        self.examples, self.losses = state["examples"], state["losses"]


def projected(gradient: Tensor, reference: Tensor) -> Tensor:
    """A-GEM: a gradient that does not raise the buffer's loss: both (parameters,)."""
    product = gradient @ reference
    if product >= 0:
        return gradient
    return gradient - product / reference.square().sum().clamp(min=1e-12) * reference


def gradient_vector(model: nn.Module, batch: Batch) -> Tensor:
    """The gradient of the mean loss on a batch: (parameters,)."""
    logits = model(batch["x"], batch["task"])["logits"]
    loss = functional.cross_entropy(logits, batch["target"])
    parameters = [p for p in model.parameters() if p.requires_grad]
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)])
