"""States of host trainables as bytes and back."""

from __future__ import annotations

import random
from collections import OrderedDict, namedtuple
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from orchestrator.worker.host.state import StateError, from_bytes, to_bytes

ARRAYS = hnp.arrays(
    st.sampled_from([np.float32, np.float64, np.int64, np.bool_, np.complex64, np.uint8]),
    hnp.array_shapes(min_dims=0, min_side=0, max_side=4),
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | ARRAYS
TREES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text() | st.integers(), inner, max_size=3)
    ),
    max_leaves=8,
)


def same(a: Any, b: Any) -> bool:
    """Equal in types, values and bits; NaN is equal to itself."""
    if isinstance(a, (np.ndarray, np.generic)):
        return type(a) is type(b) and (a.dtype, a.shape, a.tobytes()) == (
            b.dtype,
            b.shape,
            b.tobytes(),
        )
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and (a == b or (a != a and b != b))


@settings(max_examples=50)
@given(TREES)
def test_a_state_comes_back_as_it_was(state: Any) -> None:
    assert same(state, from_bytes(to_bytes(state)))


def test_numbers_of_other_libraries_come_back() -> None:
    state = {
        "jax": jnp.arange(3, dtype=jnp.bfloat16),
        "scalar": np.float32(0.1),
        "ordered": OrderedDict(a=1),
        "generator": np.random.default_rng(3).bit_generator.state,
        "python": random.Random(3).getstate(),
        "order": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    }
    found = from_bytes(to_bytes(state))
    assert found["jax"].dtype == ml_dtypes.bfloat16
    assert found["jax"].tolist() == [0, 1, 2]
    assert same(found["scalar"], np.float32(0.1))
    assert found["ordered"] == {"a": 1}
    assert np.array_equal(found["order"], state["order"])
    assert found["python"] == state["python"]
    generator = np.random.default_rng()
    generator.bit_generator.state = found["generator"]
    assert generator.random() == np.random.default_rng(3).random()


def test_a_state_of_torch_comes_back_as_tensors() -> None:
    torch = pytest.importorskip("torch", reason="the extra torch is not installed")
    net = torch.nn.Linear(3, 2)
    rule = torch.optim.AdamW(net.parameters())
    net(torch.ones(1, 3)).sum().backward()
    rule.step()
    state = {
        "net": net.state_dict(),
        "rule": rule.state_dict(),
        "drawn": torch.get_rng_state(),
        "half": torch.tensor([1.5, 2.0], dtype=torch.bfloat16).reshape(2, 1),
        "empty": torch.zeros(0, 2),
    }
    found = from_bytes(to_bytes(state))
    again = torch.nn.Linear(3, 2)
    again.load_state_dict(found["net"])
    other = torch.optim.AdamW(again.parameters())
    other.load_state_dict(found["rule"])
    assert all(map(torch.equal, net.parameters(), again.parameters()))
    moments = [r.state[p]["exp_avg"] for r, m in ((rule, net), (other, again)) for p in [m.weight]]
    assert torch.equal(*moments)
    for name in ("drawn", "half", "empty"):
        assert found[name].dtype == state[name].dtype
        assert torch.equal(found[name], state[name])


def test_a_folder_comes_back_as_a_folder(tmp_path: Path) -> None:
    (tmp_path / "model" / "inner").mkdir(parents=True)
    (tmp_path / "model" / "inner" / "w.bin").write_bytes(b"\0\1")
    (tmp_path / "model" / "empty").write_bytes(b"")
    content = to_bytes(tmp_path / "model")
    found = from_bytes(content)
    files = {str(f.relative_to(found)): f.read_bytes() for f in found.rglob("*") if f.is_file()}
    assert files == {"inner/w.bin": b"\0\1", "empty": b""}
    with pytest.raises(StateError, match=r"is no folder; give a folder that exists"):
        to_bytes(tmp_path / "none")


def test_a_state_of_somebody_else_writes_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "aa").mkdir()
    (tmp_path / "aa" / "evil").write_bytes(b"x")
    content = to_bytes(tmp_path / "aa").replace(b'"evil"', b'"../x"')
    with pytest.raises(StateError, match="outside its folder"):
        from_bytes(content)


@pytest.mark.parametrize("content", [b"", b"\1", b"\xff" * 20, to_bytes([1])[:-1]])
def test_bytes_that_are_no_state_are_refused(content: bytes) -> None:
    with pytest.raises(StateError, match="cannot be read"):
        from_bytes(content)


@pytest.mark.parametrize(
    ("state", "where"),
    [
        ({"a": [1, object()]}, r"state\['a'\]\[1\] is of type object; a state is made of"),
        (namedtuple("Sgd", "count")(1), "state is of type Sgd; a state is made of"),
        ({(1, 2): 3}, "state has a key that is neither a string nor an integer"),
        (np.array([object()]), "state is an array of Python objects"),
    ],
)
def test_other_objects_are_refused_by_their_place(state: Any, where: str) -> None:
    with pytest.raises(StateError, match=where):
        to_bytes(state)
