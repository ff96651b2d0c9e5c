"""The nonlinearities of any model, found in its traced program, with the values that they give.

A program is run equation by equation. A value belongs to the layer whose parameter was the last to
act on it. Inside `lax.scan` the values of all its steps are kept; a scan over the stacked tensors
of layers gives each layer its share.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Literal

_PRIMITIVES = {"tanh": "tanh", "logistic": "sigmoid", "sin": "sin", "cos": "cos"}
_FUNCTIONS = ("relu", "spike", "relu6", "silu", "elu", "selu", "celu", "softplus",
              "leaky_relu", "hard_tanh", "hard_sigmoid", "hard_silu")  # fmt: skip
"""Functions whose values are looked at as a whole, not those of what they are made of. So is gelu,
which JAX writes out in place: x (1 + tanh(...)) / 2, or x erfc(...) / 2."""
_CALLS = ("jit", "pjit", "remat2", "checkpoint", "closed_call", "core_call", "custom_jvp_call",
          "custom_vjp_call", "custom_vjp_call_jaxpr")  # fmt: skip
_CLOSE = 0.01
"""How near a bound of tanh or the logistic function counts as saturated."""


class Source(NamedTuple):
    """Where a value comes from.

    Attributes:
      layers: of the parameter that acted last; several where one leaf stacks the tensors of layers,
        one for each entry of its first axis.
      data: it depends on the inputs, not on parameters alone.
      order: number of the equation at which that parameter acted.
      carry: of a value handed from step to step of the loop at hand, which one it is.
      constant: the number that it is, of a literal.
      of_gelu: how far gelu has been computed: 1 tanh, 2 with 1 added, 3 halved; or 5 erfc.
    """

    layers: tuple[str, ...] = ()
    data: bool = False
    order: int = -1
    carry: int | None = None
    constant: float | None = None
    of_gelu: int = 0

    @property
    def name(self) -> str:
        return " to ".join(dict.fromkeys((self.layers or ("input",))[:: len(self.layers) - 1 or 1]))


class Seen(NamedTuple):
    """Values that one nonlinearity gave; "none": the model's answer. Units are the last axis."""

    source: Source
    function: str
    values: jax.Array


def nonlinearities(
    forward: Callable[..., Any], params: Any, layers: Sequence[tuple[str, ...]], *others: Any
) -> list[Seen]:
    """All that `forward(params, *others)` applies, in the order of its program, and its answer.

    Args:
      layers: of each leaf of params the layer it belongs to; several for a leaf that stacks them.

    Returns:
      Values of floating point only. What is computed inside `lax.cond` or `lax.while_loop` is not
      among them.
    """
    closed = jax.make_jaxpr(forward)(params, *others)
    own = [Source(names) for names in layers]
    given = [Source(data=True) for _ in jax.tree.leaves(others)]
    values = jax.tree.leaves((params, *others))
    program = _Program()
    answer, sources = program.run(closed.jaxpr, closed.consts, values, [*own, *given])
    last = [Seen(s, "none", v) for s, v in zip(sources, answer, strict=True) if _is_real(v)]
    return [*program.seen, *last]


def is_flat(function: str, values: jax.Array) -> jax.Array | None:
    """Where a nonlinearity lets next to no gradient through, by its values: within .01 of a bound
    of tanh or the logistic function, or at the 0 of relu and of a spiking neuron. None for others.
    """
    if function == "tanh":
        return jnp.abs(values) >= 1 - _CLOSE
    if function == "sigmoid":
        return jnp.abs(values - 0.5) >= 0.5 - _CLOSE
    return values == 0 if function in ("relu", "spike") else None


def _is_real(value: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(value), jnp.floating)


def _of_gelu(kind: str, sources: Sequence[Source]) -> int:
    """How far an equation brings gelu, as `Source.of_gelu`; 4, or 6 from erfc: to its end."""
    if kind in ("tanh", "erfc"):
        return 1 if kind == "tanh" else 5
    constants = [one.constant for one in sources]
    before = max((one.of_gelu for one in sources), default=0)
    if kind == "add" and 1 in constants and before == 1:
        return 2
    if kind == "mul" and 0.5 in constants and before == 2:
        return 3
    others = [one for one in sources if one.of_gelu not in (3, 5)]
    whole = kind == "mul" and before in (3, 5) and len(others) == 1 and others[0].data
    return before + 1 if whole and others[0].order == max(s.order for s in sources) else 0


class _Program:
    """Runs a traced program and notes what nonlinearities give in `seen`."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self._equation = 0

    def run(
        self, jaxpr: Any, consts: Sequence[Any], given: Sequence[Any], sources: Sequence[Source]
    ) -> tuple[list[Any], list[Source]]:
        """Results of a program, and where each comes from."""
        known: dict[Any, tuple[Any, Source]] = {}

        def read(at: Any) -> tuple[Any, Source]:
            if isinstance(at, Literal):
                return at.val, Source(constant=None if jnp.ndim(at.val) else at.val)
            return known[at]

        constants = [Source()] * len(consts)
        for variables, values, come in (
            (jaxpr.constvars, consts, constants), (jaxpr.invars, given, sources),
        ):  # fmt: skip
            known |= dict(zip(variables, zip(values, come, strict=True), strict=True))
        for equation in jaxpr.eqns:
            pairs = [read(at) for at in equation.invars]
            results, come = self._one(equation, [p[0] for p in pairs], [p[1] for p in pairs])
            known |= dict(zip(equation.outvars, zip(results, come, strict=True), strict=True))
        found = [read(at) for at in jaxpr.outvars]
        return [value for value, _ in found], [source for _, source in found]

    def _one(
        self, equation: Any, given: list[Any], sources: list[Source]
    ) -> tuple[list[Any], list[Source]]:
        self._equation += 1
        kind, params = equation.primitive.name, equation.params
        if kind == "scan" and params["length"]:
            return self._scan(params, given, sources)
        inner = params.get("call_jaxpr", params.get("jaxpr"))
        if kind in _CALLS and inner is not None:
            return self._called(inner, params, given, sources)
        bound = equation.primitive.get_bind_params(params)
        results = equation.primitive.bind(*given, **bound)
        results = list(results) if equation.primitive.multiple_results else [results]
        source, done = self._source(kind, params, sources), _of_gelu(kind, sources)
        function = _PRIMITIVES.get(kind)
        if kind == "max" and any(one.constant == 0 for one in sources):
            function = "relu"
        if done == 4 and self.seen and self.seen[-1].function == "tanh":
            self.seen.pop()
            function = "gelu"
        if done == 6:
            function = "gelu"
        if function:
            self._note(source, function, results[0])
        return results, [source._replace(of_gelu=done)] * len(results)

    def _note(self, source: Source, function: str, values: Any) -> None:
        if source.data and _is_real(values) and jnp.ndim(values):
            self.seen.append(Seen(source, function, values))

    def _source(self, kind: str, params: Any, sources: Sequence[Source]) -> Source:
        own = [s for s in sources if s.layers and not s.data]
        data = [s for s in sources if s.data]
        if data and own:
            return Source(own[0].layers, True, self._equation)
        if data:
            return max(data, key=lambda s: s.order)
        if own:
            layers = own[0].layers
            if kind in ("stack", "concatenate"):  # tensors of layers that a program stacks itself
                several = tuple(name for s in own for name in s.layers)
                layers = several if len(set(several)) == len(several) else layers
            if kind == "slice" and len(layers) > 1:
                part = slice(params["start_indices"][0], params["limit_indices"][0])
                layers = layers[part] or layers
            return Source(layers)
        kept = kind in ("broadcast_in_dim", "convert_element_type")
        return Source(constant=sources[0].constant if kept else None)

    def _called(
        self, inner: Any, params: Any, given: list[Any], sources: list[Source]
    ) -> tuple[list[Any], list[Source]]:
        """A function called within the program: looked into, or noted as a whole."""
        jaxpr, consts = getattr(inner, "jaxpr", inner), getattr(inner, "consts", ())
        name = params.get("name") or getattr(jaxpr.debug_info, "func_name", "")
        before = len(self.seen)
        results, come = self.run(jaxpr, consts, given, sources)
        if name in _FUNCTIONS and len(results) == 1:
            del self.seen[before:]
            self._note(come[0], name, results[0])
        return results, come

    def _scan(
        self, params: Any, given: list[Any], sources: list[Source]
    ) -> tuple[list[Any], list[Source]]:
        body, length = params["jaxpr"], params["length"]
        first, carried = params["num_consts"], params["num_carry"]
        start, each = given[first : first + carried], given[first + carried :]
        starts, slices = sources[first : first + carried], sources[first + carried :]
        stacked = any(not s.data and len(s.layers) == length for s in slices)
        inside = [*sources[:first], *(Source((), True, -1, i) for i in range(carried)), *slices]
        outer, notes, ends = self.seen, [], []

        def step(carry: Any, here: Any) -> Any:
            self.seen = []
            values = [*given[:first], *carry, *here]
            results, come = self.run(body.jaxpr, body.consts, values, inside)
            notes[:], ends[:] = self.seen, come
            return results[:carried], (results[carried:], [one.values for one in self.seen])

        last, (results, kept) = lax.scan(step, start, each, length, reverse=params["reverse"])
        self.seen = outer

        def first_of(source: Source) -> Source:
            return source if source.carry is None else starts[source.carry]

        def later(source: Source) -> Source:
            """What it is from the second step on."""
            end = source if source.carry is None else ends[source.carry]
            return first_of(end) if end.carry is not None or not end.layers else end

        def names_of(source: Source) -> list[str]:
            """Of the layers that the steps are."""
            names = [first_of(source).name, *later(source).layers[:-1]]
            names = list(source.layers) if source.carry is None else names
            return names if len(names) == length else [source.name] * length

        if stacked:
            names = [names_of(note.source) for note in notes]
            for i in range(length):
                for note, own, values in zip(notes, names, kept, strict=True):
                    self.seen.append(Seen(Source((own[i],), True), note.function, values[i]))
        else:
            for note, values in zip(notes, kept, strict=True):
                self.seen.append(note._replace(source=later(note.source), values=values))
        after = [later(end)._replace(order=self._equation) for end in ends]
        if stacked:
            after[:carried] = [s._replace(layers=s.layers[-1:]) for s in after[:carried]]
        return [*last, *results], after
