"""Generated stories with a question (tasks 1 to 3 of bAbI's kind), and binary multiplication."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from automl.core.api import (
    TABULAR_CLASSIFICATION,
    Batch,
    ConfigError,
    DataInfo,
    Dataset,
    ExampleScores,
    Metric,
    Outputs,
    Problem,
    SplitName,
    setting,
)

Ints = np.ndarray[Any, np.dtype[np.int64]]
Flags = np.ndarray[Any, np.dtype[np.bool_]]

STORY_ANSWERING = Problem(
    "story-answering",
    TABULAR_CLASSIFICATION.metrics,
    {
        "story": "int64 (batch, sentences, words), 0 pads; the last sentence is the latest",
        "question": "int64 (batch, words), 0 pads",
        "target": "int64 (batch,), the answer's word",
    },
    TABULAR_CLASSIFICATION.loss,
    TABULAR_CLASSIFICATION.score,
)

# ---------------------------------------------------------------- stories

ACTORS = ("mary", "john", "daniel", "sandra")
PLACES = ("bathroom", "bedroom", "garden", "hallway", "kitchen", "office")
OBJECTS = ("apple", "football", "milk")
OTHERS = ("went", "grabbed", "dropped", "to", "the", "where", "is", "was", "before")
WORDS = ("", *ACTORS, *PLACES, *OBJECTS, *OTHERS)
ID = {word: number for number, word in enumerate(WORDS)}
LONGEST = 7  # words of a sentence or question
LENGTHS = {1: (2, 10), 2: (4, 12), 3: (8, 20)}  # sentences by task
MOVE, GRAB, DROP = 0, 1, 2


def phrase(text: str, *slots: Ints) -> Ints:
    """Rows (S, 7) of word numbers; each ``_`` of the text is filled by the next slot (S,)."""
    found = np.zeros((len(slots[0]), LONGEST), np.int64)
    filled = iter(slots)
    for position, word in enumerate(text.split()):
        found[:, position] = next(filled) if word == "_" else ID[word]
    return found


class World:
    """Actors that walk, grab and drop in S stories at once; -1 is a place not known yet."""

    def __init__(self, count: int, random: np.random.Generator) -> None:
        self.random, self.rows = random, np.arange(count)
        self.place = np.full((count, len(ACTORS)), -1)
        self.holder = np.full((count, len(OBJECTS)), -1)
        self.object_place = np.full((count, len(OBJECTS)), -1)
        self.before = np.full((count, len(OBJECTS)), -1)  # the object's place before that

    def step(self, moves_only: bool) -> Ints:
        """One sentence (S, 7) in every story; what an actor cannot do becomes a move."""
        count, rows = len(self.rows), self.rows
        actor = self.random.integers(0, len(ACTORS), count)
        thing = self.random.integers(0, len(OBJECTS), count)
        wish = self.random.choice([MOVE, GRAB, DROP], count, p=[0.5, 0.35, 0.15])
        here, there = self.place[rows, actor], self.object_place[rows, thing]
        free = (self.holder[rows, thing] < 0) & (here >= 0) & ((there < 0) | (there == here))
        held = self.holder[rows, thing] == actor
        grabs, drops = (wish == GRAB) & free, (wish == DROP) & held
        if moves_only:
            grabs, drops = grabs & False, drops & False
        moves = ~grabs & ~drops
        step = self.random.integers(1, len(PLACES), count)  # never where the actor is
        target = np.where(here < 0, step, (here + step) % len(PLACES))
        self.holder[rows[grabs], thing[grabs]] = actor[grabs]
        self.object_place[rows[grabs], thing[grabs]] = here[grabs]
        self.holder[rows[drops], thing[drops]] = -1
        self.place[rows[moves], actor[moves]] = target[moves]
        carried = moves[:, None] & (self.holder == actor[:, None])
        self.before = np.where(carried, self.object_place, self.before)
        self.object_place = np.where(carried, target[:, None], self.object_place)
        who, what, where = ID["mary"] + actor, ID["apple"] + thing, ID["bathroom"] + target
        found = np.where(grabs[:, None], phrase("_ grabbed the _", who, what),
                         phrase("_ dropped the _", who, what))  # fmt: skip
        return np.where(moves[:, None], phrase("_ went to the _", who, where), found)


def choose(known: Flags, random: np.random.Generator) -> Ints:
    """One of the columns (S,) that are true in ``known`` (S, K), -1 where none is."""
    weight = np.where(known, random.random(known.shape), -1.0)
    return np.where(known.any(1), weight.argmax(1), -1)


def tell(task: int, count: int, random: np.random.Generator) -> tuple[Ints, Ints, Ints]:
    """Stories (S, T, 7), questions (S, 7) and answers (S,); fewer than ``count`` may come.

    Stories are shifted to the end: sentences before their beginning are 0.
    """
    low, high = LENGTHS[task]
    length = random.integers(low, high + 1, count)
    world = World(count, random)
    story = np.zeros((count, high, LONGEST), np.int64)
    for sentence in range(high):
        # shorter stories start later, so all end now
        started = sentence >= high - length
        kept = [part.copy() for part in (world.place, world.holder, world.object_place,
                                         world.before)]  # fmt: skip
        story[:, sentence] = np.where(started[:, None], world.step(task == 1), 0)
        late = ~started
        for part, old in zip((world.place, world.holder, world.object_place, world.before),
                             kept, strict=True):  # fmt: skip
            part[late] = old[late]
    if task == 1:
        asked = choose(world.place >= 0, random)
        answer = world.place[world.rows, asked]
        question = phrase("where is _", ID["mary"] + asked)
    elif task == 2:
        asked = choose(world.object_place >= 0, random)
        answer = world.object_place[world.rows, asked]
        question = phrase("where is the _", ID["apple"] + asked)
    else:
        asked = choose(world.before >= 0, random)
        answer = world.before[world.rows, asked]
        now = world.object_place[world.rows, asked]
        question = phrase("where was the _ before the _", ID["apple"] + asked, ID["bathroom"] + now)
    told = asked >= 0
    return story[told], question[told], (ID["bathroom"] + answer)[told]


@cache
def stories(task: int, seed: int, count: int) -> tuple[Ints, Ints, Ints]:
    """``count`` different stories with questions and answers."""
    random = np.random.default_rng([seed, task])
    parts = tell(task, count, random)
    while True:
        flat = np.concatenate([parts[0].reshape(len(parts[0]), -1), parts[1]], 1)
        _, first = np.unique(flat, axis=0, return_index=True)
        first = np.sort(first)
        if len(first) >= count:
            story, question, answer = (part[first[:count]] for part in parts)
            return story, question, answer
        more = tell(task, count, random)
        parts = tuple(np.concatenate(pair) for pair in zip(parts, more, strict=True))  # type: ignore[assignment]


@dataclass(frozen=True)
class Stories(Dataset):
    """Where is Mary? Task 1 needs one fact of the story, task 2 two, task 3 three.

    No story is told twice, in whichever split. ``facts["words"]`` are the words by number.
    """

    problem: ClassVar[Problem] = STORY_ANSWERING
    task: int = setting(1, low=1, high=3, doc="how many facts an answer takes")
    train_size: int = setting(900, low=2, high=1_000_000, unit="stories", doc="to learn from")
    valid_size: int = setting(100, low=1, high=1_000_000, unit="stories", doc="to validate on")
    test_size: int = setting(1000, low=1, high=1_000_000, unit="stories", doc="to judge by")
    seed: int = setting(0, low=0, high=999_999, doc="seed of the generator")

    @property
    def info(self) -> DataInfo:
        """Classes are words: an answer is one of six places."""
        sizes = {"train": self.train_size, "valid": self.valid_size, "test": self.test_size}
        shapes: dict[str, tuple[int | None, ...]] = {
            "story": (LENGTHS[self.task][1], LONGEST), "question": (LONGEST,), "target": (),
        }  # fmt: skip
        return DataInfo(
            self.name, self.problem, shapes, sizes, classes=len(WORDS), licence="generated",
            facts={"words": list(WORDS)},
        )  # fmt: skip

    def load(self, split: SplitName) -> Batch:
        """Take the split's stories."""
        sizes = self.info.sizes
        starts = {"train": 0, "valid": sizes["train"], "test": sizes["train"] + sizes["valid"]}
        story, question, answer = stories(self.task, self.seed, sum(sizes.values()))
        span = slice(starts[split], starts[split] + sizes[split])
        arrays = {"story": story[span], "question": question[span], "target": answer[span]}
        return {key: torch.from_numpy(array.copy()) for key, array in arrays.items()}


# ---------------------------------------------------------------- multiplication

PAD, ZERO, ONE, TIMES = range(4)
SPLIT_OF: dict[SplitName, tuple[int, ...]] = {
    "train": tuple(range(7)),
    "valid": (7,),
    "test": (8, 9),
}


def symbol_loss(outputs: Outputs, batch: Batch) -> Tensor:
    """Mean cross-entropy of ``logits`` (batch, n, symbols) where ``target`` (batch, n) is no -1."""
    return functional.cross_entropy(
        outputs["logits"].flatten(0, 1), batch["target"].flatten(), ignore_index=-1
    )


def symbol_scores(outputs: Outputs, batch: Batch) -> ExampleScores:
    """Per example: all symbols right, the share that is, and their mean log-likelihood."""
    logits, target = outputs["logits"], batch["target"]
    counts = target >= 0
    right = (logits.argmax(-1) == target) | ~counts
    total = counts.sum(1)
    nll = functional.cross_entropy(
        logits.transpose(1, 2), target, ignore_index=-1, reduction="none"
    )
    return {
        "sequence_accuracy": right.all(1).float(),
        "symbol_accuracy": (right & counts).sum(1) / total,
        "nll": nll.sum(1) / total,
    }


MULTIPLICATION = Problem(
    "binary-multiplication",
    (
        Metric("sequence_accuracy", "max", "share", "products that are right in every bit"),
        Metric("symbol_accuracy", "max", "share", "bits that are right, mean over products"),
        Metric("nll", "min", "nats", "negative log-likelihood of a bit"),
    ),
    {
        "tokens": "int64 (batch, n): 0 pads, 1 and 2 are the bits, 3 is the sign of multiplication",
        "target": "int64 (batch, n): bits of the product as 1 and 2, the lowest first, -1 pads",
    },
    symbol_loss,
    symbol_scores,
)


def bits(numbers: Ints, width: int) -> Ints:
    """The lowest ``width`` bits (S, width) of numbers (S,), the lowest first."""
    found: Ints = (numbers[:, None] >> np.arange(width)) & 1
    return found


def fold(a: Ints, b: Ints, k: Ints) -> Ints:
    """A number from 0 to 9 for each problem, by which it belongs to one split."""
    mixed = (a * 2_654_435_761 + b * 40_503 + k * 97) & 0xFFFF_FFFF
    found: Ints = ((mixed ^ (mixed >> 15)) * 2_246_822_519 & 0xFFFF_FFFF) % 10
    return found


@dataclass(frozen=True)
class Products(Dataset):
    """Two numbers of k bits each, k uniform in ``kmin`` to ``kmax``, and their product's 2k bits.

    A problem belongs to one split, by a hash of its numbers; it may occur there more than once.
    """

    problem: ClassVar[Problem] = MULTIPLICATION
    kmin: int = setting(1, low=1, high=30, unit="bits", doc="least length of a factor")
    kmax: int = setting(4, low=2, high=30, unit="bits", doc="greatest length of a factor")
    train_size: int = setting(10_000, low=2, high=10_000_000, unit="products", doc="to learn from")
    test_size: int = setting(1000, low=1, high=1_000_000, unit="products", doc="to judge by")
    seed: int = setting(0, low=0, high=999_999, doc="seed of the generator")

    def check(self) -> None:
        """Refuse an empty range."""
        if self.kmin > self.kmax:
            raise ConfigError(f"kmin={self.kmin} is above kmax={self.kmax}")

    @property
    def info(self) -> DataInfo:
        """All examples are padded to 2 kmax + 1 symbols."""
        sizes = {"train": self.train_size, "valid": self.test_size, "test": self.test_size}
        length = 2 * self.kmax + 1
        shapes: dict[str, tuple[int | None, ...]] = {"tokens": (length,), "target": (length,)}
        return DataInfo(self.name, self.problem, shapes, sizes, classes=4, licence="generated")

    def load(self, split: SplitName) -> Batch:
        """Draw the split's problems."""
        position = list(SPLIT_OF).index(split)
        random = np.random.default_rng([self.seed, position, self.kmax])
        wanted = self.info.sizes[split]
        parts: list[Ints] = []
        while sum(len(part) for part in parts) < wanted:
            k = random.integers(self.kmin, self.kmax + 1, 2 * wanted + 100)
            a, b = (random.integers(0, 1 << k) for _ in range(2))
            keep = np.isin(fold(a, b, k), SPLIT_OF[split])
            parts.append(np.stack([a, b, k], 1)[keep])
        a, b, k = np.concatenate(parts)[:wanted].T
        return written(a, b, k, 2 * self.kmax + 1)


def written(a: Ints, b: Ints, k: Ints, length: int) -> Batch:
    """Problems as ``tokens`` (S, length), a x b with k bits each, and ``target`` (S, length)."""
    position = np.arange(length)
    width = k[:, None]
    first, product = bits(a, length), bits(a * b, length)
    second = (b[:, None] >> np.clip(position - width - 1, 0, 62)) & 1
    tokens = np.where(position < width, ZERO + first, PAD)
    tokens = np.where(position == width, TIMES, tokens)
    tokens = np.where((position > width) & (position <= 2 * width), ZERO + second, tokens)
    target = np.where(position < 2 * width, ZERO + product, -1)
    return {"tokens": torch.from_numpy(tokens), "target": torch.from_numpy(target)}
