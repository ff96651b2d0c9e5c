"""ListOps: nested expressions over digits and their values, drawn by the published law, vectorised.

docs/specs/bar2025.md, 2.1 (Nangia and Bowman 2018; Long Range Arena). A node is an operator with
probability 1/4, unless it lies at the deepest level; it then has 2 to `max_args` operands, each a
node. All trees of a batch grow together, level by level: one array a level, children in the order
of their parents.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

PAD, UNKNOWN, END = 0, 1, 2
OPERATORS = ("[MIN", "[MAX", "[MED", "[SM")
WORDS = (*OPERATORS, "]", *map(str, range(10)))
"""Token i + 3 is word i; 0 pads, 1 is unknown, 2 ends a sample."""
_FIRST = 3
_CLOSE, _DIGIT = _FIRST + 4, _FIRST + 5
_BATCH = 20_000
"""Trees grown together."""


def operate(operators: np.ndarray, operands: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Values of operators on their operands.

    Args:
      operators: (n,) indices into `OPERATORS`.
      operands: (n, k) digits; of row i the first counts[i] count.
      counts: (n,) at least 1.

    Returns:
      (n,) digits: smallest, largest, median (of two middle ones the mean, cut), sum modulo 10.
    """
    used = np.arange(operands.shape[1]) < counts[:, None]
    ordered = np.sort(np.where(used, operands, 99), axis=1)
    rows = np.arange(len(operators))
    middle = (ordered[rows, (counts - 1) // 2] + ordered[rows, counts // 2]) // 2
    total = np.where(used, operands, 0).sum(1) % 10
    choices = [ordered[:, 0], ordered[rows, counts - 1], middle, total]
    return np.choose(operators, choices)


@dataclass
class _Level:
    """Nodes of one depth: their tree and parent, the operator (-1: none) or digit, and how many
    operands."""

    tree: np.ndarray
    parent: np.ndarray
    operator: np.ndarray
    digit: np.ndarray
    count: np.ndarray

    def kept(self, trees: np.ndarray, above: np.ndarray) -> tuple[_Level, np.ndarray]:
        """The nodes of trees that are True, and the new index of each old node; `above` is that of
        the parents' level."""
        mask = trees[self.tree]
        parts = (self.tree, above[self.parent], self.operator, self.digit, self.count)
        return _Level(*(part[mask] for part in parts)), np.cumsum(mask) - 1


def _grown(
    rng: np.random.Generator, trees: int, max_depth: int, max_args: int, max_length: int
) -> tuple[list[_Level], np.ndarray]:
    """Levels of so many trees, and whether each is still below max_length; others stop growing."""
    tree, parent = np.arange(trees), np.arange(trees)
    tokens, levels = np.zeros(trees, np.int64), []
    for depth in range(1, max_depth + 1):
        n = len(tree)
        inner = rng.random(n) <= 0.25 if depth < max_depth else np.zeros(n, bool)
        operator = np.where(inner, rng.integers(0, 4, n), -1).astype(np.int8)
        count = np.where(inner, rng.integers(2, max_args + 1, n), 0).astype(np.int16)
        levels.append(_Level(tree, parent, operator, rng.integers(0, 10, n).astype(np.int8), count))
        tokens += np.bincount(tree, 1 + inner, trees).astype(np.int64)
        growing = np.where(tokens[tree] < max_length, count, 0)
        parent = np.repeat(np.arange(n), growing)
        tree = tree[parent]
        if not len(tree):
            break
    return levels, tokens < max_length


def _lengths(levels: list[_Level]) -> list[np.ndarray]:
    """Tokens of each node's expression, by level: 1, or 2 and those of its operands."""
    found: list[np.ndarray] = []
    for level in reversed(levels):
        own = 1 + (level.operator >= 0).astype(np.int64)
        if found:
            below = levels[len(levels) - len(found)]
            own += np.bincount(below.parent, found[-1], len(own)).astype(np.int64)
        found.append(own)
    return found[::-1]


def _before(level: _Level, values: np.ndarray) -> np.ndarray:
    """Sum of `values` over the earlier siblings of each node."""
    before = np.cumsum(values) - values
    first = np.concatenate([[True], level.parent[1:] != level.parent[:-1]])
    return before - before[np.flatnonzero(first)][np.cumsum(first) - 1]


def _values(levels: list[_Level]) -> np.ndarray:
    """Values of the roots."""
    found = np.zeros(0, np.int64)
    for depth in reversed(range(len(levels))):
        level = levels[depth]
        own = level.digit.astype(np.int64)
        at = np.flatnonzero(level.operator >= 0)
        if len(at):
            below = levels[depth + 1]
            operands = np.full((len(level.tree), int(level.count.max())), 99, np.int64)
            operands[below.parent, _before(below, np.ones(len(below.tree), np.int64))] = found
            counts = level.count[at].astype(np.int64)
            own[at] = operate(level.operator[at].astype(np.int64), operands[at], counts)
        found = own
    return found


def _written(levels: list[_Level], lengths: list[np.ndarray], columns: int) -> np.ndarray:
    """Tokens of each tree in prefix order, an end mark, padding: uint8 (trees, columns)."""
    out = np.full((len(levels[0].tree), columns), PAD, np.uint8)
    position = np.zeros(len(levels[0].tree), np.int64)
    for depth, (level, length) in enumerate(zip(levels, lengths, strict=True)):
        if depth:
            position = position[level.parent] + 1 + _before(level, length)
        inner = level.operator >= 0
        token = np.where(inner, _FIRST + level.operator, _DIGIT + level.digit)
        out[level.tree, position] = token.astype(np.uint8)
        out[level.tree[inner], (position + length - 1)[inner]] = _CLOSE
    out[np.arange(len(out)), lengths[0]] = END
    return out


def _batches(
    seed: int, max_depth: int, max_args: int, bounds: tuple[int, int], columns: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Tokens and values of the accepted trees of one batch after the other."""
    number = 0
    while True:
        rng = np.random.default_rng([seed, number])
        number += 1
        levels, small = _grown(rng, _BATCH, max_depth, max_args, bounds[1])
        whole = _lengths(levels)[0]
        accepted = small & (whole > bounds[0]) & (whole < bounds[1])
        renumbered = np.cumsum(accepted) - 1
        kept, above = [], np.arange(_BATCH)
        for level in levels:
            level, above = level.kept(accepted, above)
            level.tree = renumbered[level.tree]
            kept.append(level)
        kept = [level for level in kept if len(level.tree)]
        if kept:
            yield _written(kept, _lengths(kept), columns), _values(kept)


@lru_cache(maxsize=4)
def expressions(
    count: int,
    seed: int,
    max_depth: int = 10,
    max_args: int = 10,
    bounds: tuple[int, int] = (500, 2000),
    columns: int = 2048,
) -> tuple[np.ndarray, np.ndarray]:
    """`count` distinct expressions and their values, read-only; quick when asked for before.

    Args:
      bounds: lengths lie strictly between these; parentheses of the binary form are no tokens.
      columns: at least bounds[1]: a sample's tokens, an end mark, padding.

    Returns:
      tokens uint8 (count, columns), values int32 (count,).

    Raises:
      ValueError: there seem to be fewer distinct expressions.
    """
    seen: set[bytes] = set()
    tokens, values, idle = [], [], 0
    for batch, labels in _batches(seed, max_depth, max_args, bounds, columns):
        new = []
        for row in batch:
            digest = hashlib.blake2b(row, digest_size=16).digest()
            new.append(digest not in seen)
            seen.add(digest)
        tokens.append(batch[new])
        values.append(labels[new])
        idle = 0 if any(new) else idle + 1
        if len(seen) >= count:
            break
        if idle == 20:
            raise ValueError(f"only {len(seen):,} distinct expressions found, {count:,} wanted")
    found = np.concatenate(tokens)[:count], np.concatenate(values)[:count].astype(np.int32)
    for array in found:
        array.flags.writeable = False
    return found
