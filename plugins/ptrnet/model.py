"""The three networks of the paper, in torch alone.

Shapes: B sets, n points, T steps of the answer, H hidden units, D dimensions of a point, C
classes of a step: n + 1 for a pointer (0 is the end symbol), N_max + 1 for a fixed dictionary.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

Architecture = Literal["ptrnet", "seq2seq_attention", "seq2seq"]
# What an answer may be while decoding: anything; a tour (every city once, then the end);
# a polygon (no point twice, three points at least).
Rule = Literal["free", "tour", "polygon"]


class Memory(NamedTuple):
    """What the encoder hands to the decoder; ``blocked`` are classes that do not exist."""

    values: Tensor  # (B, n+1, H): e_0 (the end symbol), e_1 .. e_n
    keys: Tensor  # (B, n+1, H): W1 e_j
    points: Tensor  # (B, n, E): what the decoder reads when it has chosen a point
    blocked: Tensor  # bool (B, C)


class State(NamedTuple):
    """What one step of decoding hands to the next."""

    given: Tensor  # (B, E): the point chosen last
    h: Tensor  # (B, H)
    c: Tensor  # (B, H)
    context: Tensor  # (B, H): attention read; zeros where the network has none
    used: Tensor  # bool (B, C): classes chosen before
    ended: Tensor  # bool (B,)


class Scores(torch.autograd.Function):
    """Additive attention scores of many steps at once, with a backward pass that allocates once.

    tanh(a) is computed as 2 sigmoid(2 a) - 1, six times faster on a CPU than torch.tanh and
    within 1e-7 of it; autograd's own passes over (N, J, H) would take most of a training step.
    """

    @staticmethod
    def forward(ctx: Any, keys: Tensor, rows: Tensor, query: Tensor, v: Tensor) -> Tensor:
        """Keys (B, J, H), rows (N,), query (N, H), v (H,) to scores (N, J)."""
        half = keys.index_select(0, rows).add_(query[:, None]).mul_(2).sigmoid_()
        ctx.save_for_backward(rows, half, v)
        ctx.sets = keys.shape[0]
        return 2 * (half @ v) - v.sum()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of keys, query and v."""
        (gradient,) = gradients
        rows, half, v = ctx.saved_tensors
        to_v = 2 * (gradient.flatten() @ half.flatten(0, 1)) - gradient.sum()
        slope = torch.addcmul(half, half, half, value=-1)  # tanh' = 4 s (1 - s)
        slope.mul_(gradient[..., None]).mul_(4 * v)
        to_keys = slope.new_zeros(ctx.sets, *slope.shape[1:]).index_add_(0, rows, slope)
        return to_keys, None, slope.sum(1), to_v


class Attention(nn.Module):
    """Equation 3: u_j = v^T tanh(W1 e_j + W2 d)."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.key = nn.Linear(hidden, hidden, bias=False)  # W1
        self.query = nn.Linear(hidden, hidden, bias=False)  # W2
        self.v = nn.Parameter(torch.empty(hidden))

    def forward(self, keys: Tensor, states: Tensor, rows: Tensor | None = None) -> Tensor:
        """Scores of all positions: keys (B, J, H), states (N, H) to (N, J).

        ``rows`` (N,) says which set each state belongs to; without it, N is B.
        """
        query = self.query(states)
        if rows is not None:
            scores: Tensor = Scores.apply(keys, rows, query, self.v)  # type: ignore[no-untyped-call]
            return scores
        return torch.tanh(keys + query[:, None]) @ self.v


class PointerNetwork(nn.Module):
    """Encoder and decoder LSTM with one of three outputs (Section 2).

    ``ptrnet`` points at its input, ``seq2seq`` and ``seq2seq_attention`` choose from a fixed
    dictionary of ``longest + 1`` classes. ``forward`` decodes greedily under ``rule``.

    Args:
        dimensions: D, of a point.
        longest: the most points seen in training; the dictionary of the baselines.
        steps_per_point: how many steps an answer may have: a (n) + b, as (a, b).
    """

    def __init__(  # noqa: PLR0913  one argument for each choice of the paper's and its successors'
        self,
        architecture: Architecture,
        dimensions: int,
        hidden: int,
        *,
        longest: int,
        rule: Rule = "free",
        steps_per_point: tuple[int, int] = (1, 1),
        bidirectional: bool = False,
        glimpse: bool = False,
        embed_dim: int = 0,
        dropout: float = 0.0,
        logit_clip: float = 0.0,
        mask_training: bool = False,
        init_scale: float = 0.08,
    ) -> None:
        super().__init__()
        self.architecture, self.rule, self.longest = architecture, rule, longest
        self.steps_per_point, self.logit_clip = steps_per_point, logit_clip
        self.mask_training, self.dimensions = mask_training, dimensions
        width = embed_dim or dimensions
        self.embed = nn.Linear(dimensions, embed_dim) if embed_dim else nn.Identity()
        self.encoder = nn.LSTM(width, hidden, batch_first=True, bidirectional=bidirectional)
        self.join = nn.Linear(2 * hidden, hidden) if bidirectional else nn.Identity()
        feeding = hidden if architecture == "seq2seq_attention" else 0
        self.decoder = nn.LSTM(width + feeding, hidden, batch_first=True)
        self.go = nn.Parameter(torch.empty(width))
        self.end = nn.Parameter(torch.empty(hidden))  # e_0
        self.dropout = nn.Dropout(dropout)
        pointing = architecture != "seq2seq"
        self.attention = Attention(hidden) if pointing else None
        self.glimpse = Attention(hidden) if glimpse and architecture == "ptrnet" else None
        self.output: nn.Module = nn.Identity()
        if architecture != "ptrnet":
            self.output = nn.Linear(hidden + feeding, longest + 1)  # W_o
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -init_scale, init_scale)

    # ------------------------------------------------------------------ encoding

    def encode(self, points: Tensor, length: Tensor | None = None) -> tuple[Memory, State]:
        """Read the points (B, n, D); with ``length`` (B,) the rest of a row is padding."""
        batch, count = points.shape[0], points.shape[1]
        inputs = self.embed(points)
        if length is None or bool((length == count).all()):
            length = None
            values, (h, c) = self.encoder(inputs)
        else:
            packed = pack_padded_sequence(
                inputs, length.cpu(), batch_first=True, enforce_sorted=False
            )
            output, (h, c) = self.encoder(packed)
            values, _ = pad_packed_sequence(output, batch_first=True, total_length=count)
        h, c = self.join(h.transpose(0, 1).flatten(1)), self.join(c.transpose(0, 1).flatten(1))
        values = self.dropout(self.join(values))
        values = torch.cat([self.end.expand(batch, 1, -1), values], 1)
        keys = self.attention.key(values) if self.attention is not None else values
        classes = count + 1 if self.architecture == "ptrnet" else self.longest + 1
        position = torch.arange(classes, device=points.device)
        if length is None:
            blocked = (position > count).expand(batch, -1)
        else:
            blocked = position > length[:, None]
        memory = Memory(values, keys, inputs, blocked)
        zeros = torch.zeros_like(h)
        ended = torch.zeros_like(blocked[:, 0])
        return memory, State(self.go.expand(batch, -1), h, c, zeros, blocked, ended)

    def logits(
        self, memory: Memory, states: Tensor, contexts: Tensor, rows: Tensor | None = None
    ) -> Tensor:
        """Scores of the classes: states (N, H) of the sets ``rows`` (N,) to (N, C).

        A pointer to padding scores -inf. Without ``rows`` there is one state per set.
        """
        if self.architecture != "ptrnet" or self.attention is None:
            attended = self.architecture == "seq2seq_attention"
            read_out = torch.cat([states, contexts], -1) if attended else states
            logits: Tensor = self.output(read_out)
            return logits
        if self.glimpse is not None:  # one read before pointing (Bello et al., 2016)
            states = states + self.read(self.glimpse, memory, states, rows)
        scores: Tensor = self.attention(memory.keys, states, rows)
        if self.logit_clip > 0:
            scores = self.logit_clip * torch.tanh(scores)
        blocked = memory.blocked if rows is None else memory.blocked[rows]
        return scores.masked_fill(blocked, -torch.inf)

    def read(
        self, attention: Attention, memory: Memory, states: Tensor, rows: Tensor | None = None
    ) -> Tensor:
        """Attention as a read: the values weighted for each state, (N, H)."""
        keys = memory.keys if attention is self.attention else attention.key(memory.values)
        blocked = memory.blocked[:, : memory.values.shape[1]]
        values = memory.values
        if rows is not None:
            blocked, values = blocked[rows], values[rows]
        weights = attention(keys, states, rows).masked_fill(blocked, -torch.inf).softmax(-1)
        found: Tensor = (weights[:, None] @ values)[:, 0]
        return found

    # ------------------------------------------------------------------ training

    def teacher_forced(
        self, points: Tensor, length: Tensor | None, target: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Equation 1: logits (N, C) of every real step given the right steps before, and targets.

        ``target`` (B, T) holds 1-based positions, 0 at the end, -1 after it; N counts what is
        not -1, set by set.
        """
        real = target >= 0
        longest = int(real.sum(1).max())
        target, real = target[:, :longest], real[:, :longest]
        memory, state = self.encode(points, length)
        before = target[:, :-1]
        given = torch.cat([state.given[:, None], self.look_up(memory.points, before)], 1)
        rows = real.nonzero()[:, 0]
        if self.architecture == "seq2seq_attention":
            return self.input_feeding(memory, state, given)[real], target[real]
        states, _ = self.decoder(given, (state.h[None].contiguous(), state.c[None].contiguous()))
        states = self.dropout(states[real])
        logits = self.logits(memory, states, states, rows)
        if self.mask_training:
            logits = logits.masked_fill(self.passed(target, logits.shape[-1])[real], -torch.inf)
        return logits, target[real]

    def passed(self, target: Tensor, classes: int) -> Tensor:
        """Which classes (B, T, C) an answer has used before each step; the end never counts."""
        chosen = functional.one_hot(target[:, :-1].clamp(min=0), classes).cumsum(1) > 0
        chosen[..., 0] = False
        wanted = functional.one_hot(target.clamp(min=0), classes) > 0
        return functional.pad(chosen, (0, 0, 1, 0)) & ~wanted

    def input_feeding(self, memory: Memory, state: State, given: Tensor) -> Tensor:
        """The attention baseline: what was read goes into the next step, so steps are in turn."""
        outputs = []
        for step in range(given.shape[1]):
            h, c, context = self.advance(memory, state, given[:, step])
            state = state._replace(h=h, c=c, context=context)
            outputs.append(self.logits(memory, self.dropout(h), context))
        return torch.stack(outputs, 1)

    def look_up(self, points: Tensor, chosen: Tensor) -> Tensor:
        """Coordinates (B, T, E) of 1-based positions (B, T); the first point's for any other."""
        index = (chosen - 1).clamp(0, points.shape[1] - 1)
        return points.gather(1, index[..., None].expand(-1, -1, points.shape[-1]))

    # ------------------------------------------------------------------ decoding

    def advance(self, memory: Memory, state: State, given: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One step of the decoder LSTM: h, c and what attention reads, each (B, H)."""
        if self.architecture == "seq2seq_attention":
            given = torch.cat([given, state.context], -1)
        ((w_input, w_hidden, b_input, b_hidden),) = self.decoder.all_weights
        gates = functional.linear(given, w_input, b_input)
        gates = gates + functional.linear(state.h, w_hidden, b_hidden)
        i, f, g, o = gates.chunk(4, -1)
        c = torch.sigmoid(f) * state.c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        context = state.context
        if self.architecture == "seq2seq_attention" and self.attention is not None:
            context = self.read(self.attention, memory, h)
        return h, c, context

    def forbidden(self, state: State, rule: Rule) -> Tensor:
        """The classes (B, C) that ``rule`` does not allow next."""
        if rule == "free":
            return torch.zeros_like(state.used)
        points = state.used[:, 1:]
        if rule == "tour":
            too_early = ~points.all(1, keepdim=True)
        else:
            real = points.sum(1, keepdim=True) - state.used[:, :1].sum(1, keepdim=True)
            too_early = real < 3
        return torch.cat([too_early, points], 1)

    def step(self, memory: Memory, state: State, rule: Rule) -> tuple[State, Tensor]:
        """Log-probabilities (B, C) of the next class, and the state but for the choice."""
        h, c, context = self.advance(memory, state, state.given)
        logits = self.logits(memory, h, context)
        logits = logits.masked_fill(self.forbidden(state, rule), -torch.inf)
        return state._replace(h=h, c=c, context=context), logits.log_softmax(-1)

    def choose(self, memory: Memory, state: State, chosen: Tensor) -> State:
        """The state after choosing the classes (B,)."""
        given = self.look_up(memory.points, chosen[:, None])[:, 0]
        # not one_hot, which would fix the number of points in an exported graph
        classes = torch.arange(state.used.shape[1], device=chosen.device)
        used = state.used | (classes == chosen[:, None])
        return state._replace(given=given, used=used, ended=state.ended | (chosen == 0))

    def greedy_step(self, memory: Memory, state: State, rule: Rule) -> tuple[State, Tensor, Tensor]:
        """Take the likeliest class; an answer that has ended goes on with 0 and no scores."""
        state, scores = self.step(memory, state, rule)
        chosen = torch.where(state.ended, 0, scores.argmax(-1))
        scores = torch.where(state.ended[:, None], 0.0, scores)
        return self.choose(memory, state, chosen), chosen, scores

    def answer_steps(self, count: int, rule: Rule | None = None) -> int:
        """How many steps an answer to n points may have."""
        if (rule or self.rule) == "tour":
            return count
        factor, more = self.steps_per_point
        return factor * count + more

    def forward(self, points: Tensor) -> dict[str, Tensor]:
        """Decode greedily: points (B, n, D) to ``sequence`` and ``scores``.

        ``sequence`` int64 (B, T) are 1-based positions, 0 from the end on; ``scores`` float32
        (B, T, C) the log-probabilities of each step, 0 after the end. T is n for tours.
        """
        return self.greedy(points, self.rule)

    def greedy(self, points: Tensor, rule: Rule) -> dict[str, Tensor]:
        """``forward`` under any rule."""
        memory, state = self.encode(points)
        chosen, scores = [], []
        total = self.answer_steps(points.shape[1], rule)
        for _ in range(total):
            state, index, logp = self.greedy_step(memory, state, rule)
            chosen.append(index)
            scores.append(logp)
            if state.ended.all():
                break
        rest = total - len(chosen)
        sequence = functional.pad(torch.stack(chosen, 1), (0, rest))
        return {
            "sequence": sequence,
            "scores": functional.pad(torch.stack(scores, 1), (0, 0, 0, rest)),
        }

    def beam_search(self, points: Tensor, width: int, rule: Rule) -> Tensor:
        """The likeliest of ``width`` answers kept at each step: int64 (B, T), 0 from the end on."""
        batch, count = points.shape[:2]
        memory, state = self.encode(points.repeat_interleave(width, 0))
        classes = memory.blocked.shape[1]
        # only the first beam of each set counts at first: the others are its copies
        total = points.new_full((batch, width), -torch.inf)
        total[:, 0] = 0.0
        base = torch.arange(batch, device=points.device)[:, None] * width
        sequence = torch.zeros(batch * width, 0, dtype=torch.long, device=points.device)
        steps = self.answer_steps(count, rule)
        for _ in range(steps):
            state, scores = self.step(memory, state, rule)
            kept = torch.where(torch.arange(classes, device=points.device) == 0, 0.0, -torch.inf)
            scores = torch.where(state.ended[:, None], kept, scores)
            candidates = (total[..., None] + scores.view(batch, width, classes)).flatten(1)
            total, index = candidates.topk(width, -1)
            origin = (base + index // classes).flatten()
            chosen = (index % classes).flatten()
            state = State(*(part[origin] for part in state))
            state = self.choose(memory, state, chosen)
            sequence = torch.cat([sequence[origin], chosen[:, None]], 1)
            if state.ended.all():
                break
        best = sequence.view(batch, width, -1)[:, 0]
        return functional.pad(best, (0, steps - best.shape[1]))
