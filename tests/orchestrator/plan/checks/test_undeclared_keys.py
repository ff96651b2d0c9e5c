"""Keys that a study's functions read and nobody declares."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import RequestError
from orchestrator.plan.plan import plan
from orchestrator.plan.studies import catalogue
from trainables.declarations import Key, Trial

STUDY = """
    from ray import tune
    from gradsweep import Key, Model, Optimizer, Sizes, Space, Study, Task
    import net

    def build(config, sizes, rngs):
        fn = config.get("shape_fn", "relu")
        return net.Net(config["depth"], config["gain"], fn, config["share"])

    def loss(outputs, batch, config):
        return config["gain"] * outputs

    def arrays(config):
        return {"n": int(100 * config["share"])}

    NET = Model(name="own_net", build=build)
    TASK = Task(name="own_task", build=arrays, loss=loss, sizes=lambda config: Sizes(
        n_train=8, batch_size=4, n_val=round(8 * config["held"])))
    STUDY = Study(name="own", title="t", parts=(NET, TASK), spaces={"a": Space(
        param_space={"model": "own_net", "task": "own_task", "epochs": 1, SPACE},
        samples=SAMPLES, smoke={SMOKE}), "plain": Space(param_space={
            "model": "rnn", "task": "gaussian", "width": 3, "depth": 2, "epochs": 1})})
"""
NET = """
    class Net:
        def __init__(self, depth, gain, act, share):
            self.depth = depth
"""
SPACE = '"depth": 2, "gain": 0.5, "share": 0.5, "held": {"grid_search": [0.25, 0]}'


def written(
    folder: Path, space: str = SPACE, samples: Any = None, smoke: str = "", **of: str
) -> str:
    text = STUDY.replace("SPACE", space, 1).replace("SAMPLES", str(samples)).replace("SMOKE", smoke)
    for old, new in of.items():
        text = text.replace({"net": "parts=(NET"}.get(old, old), new)
    (folder / "net.py").write_text(textwrap.dedent(NET))
    (folder / "own.py").write_text(textwrap.dedent(text))
    return str(folder / "own.py")


def trials(path: str, space: str = "own/a", **options: Any) -> list[Trial]:
    return plan(space, study=path, **options)[0].trials


def problem(path: str, **options: Any) -> str:
    with pytest.raises(RequestError) as caught:
        plan("own/a", study=path, **options)
    return "\n".join(caught.value.problems)


def keys(path: str) -> dict[str, tuple[str, str]]:
    trial = trials(path)[0]
    return {n: (k.type, k.kind) for n, k in trial.keys.items() if not k.declared}


def test_types_come_from_the_space_and_floats_are_traced_unless_they_make_data(
    tmp_path: Path,
) -> None:
    path = written(tmp_path)
    assert keys(path) == {
        "depth": ("int", "static"),
        "gain": ("float", "traced"),
        "share": ("float", "static"),  # by the task's build, though the model reads it too
        "held": ("float", "static"),
    }
    assert [t.config["held"] for t in trials(path)] == [0.25, 0.0]
    assert trials(path)[0].keys["gain"].doc == "Read by model own_net and task own_task."


@pytest.mark.parametrize(
    ("value", "type_", "kind"),
    [
        ('{"grid_search": [1, 2]}', "int", "static"),
        ('{"grid_search": [1, 0.5]}', "float", "traced"),
        ('{"grid_search": ["a", "b"]}', "str", "static"),
        ('{"grid_search": [True, False]}', "bool", "static"),
        ('{"grid_search": [None, 0.5]}', "float", "static"),
        ("tune.grid_search([0.1, 0.2])", "float", "traced"),
        ("tune.loguniform(1e-3, 1e-1)", "float", "traced"),
        ("tune.randint(1, 4)", "int", "static"),
        ('tune.choice(["a", "b"])', "str", "static"),
        ('{"uniform": [0, 1]}', "float", "traced"),
        ('{"randint": [0, 3]}', "int", "static"),
        ("tune.sample_from(lambda spec: 0.5 / spec.config.depth)", "float", "traced"),
        ("__import__('numpy').float32(0.1)", "float", "traced"),
    ],
)
def test_a_value_s_form_says_its_type(tmp_path: Path, value: str, type_: str, kind: str) -> None:
    space = SPACE.replace('"gain": 0.5', f'"gain": {value}')
    drawn = any(word in value for word in ("uniform", "randint", "choice"))
    assert keys(written(tmp_path, space, 2 if drawn else None))["gain"] == (type_, kind)


def test_values_of_zips_conditions_and_the_smoke_variant_count(tmp_path: Path) -> None:
    space = SPACE.replace('"gain": 0.5', '"z": {"zip": {"gain": [1, 2], "shape_fn": ["a", ...]}}')
    path = written(tmp_path, space, smoke='"gain": 0.5')
    assert keys(path)["gain"] == ("float", "traced")
    found = trials(path)
    assert [t.config.get("shape_fn") for t in found] == ["a", None] * 2
    assert (
        "shape_fn" not in found[-1].config
    )  # so that `config.get("shape_fn", ...)` has its default
    assert len({t.program for t in found}) == 4
    when = '"w": {"when": {"depth": 2}, "then": {"shape_fn": "b"}, "else": {"shape_fn": "c"}}'
    assert keys(written(tmp_path, f"{SPACE}, {when}"))["shape_fn"] == ("str", "static")


def test_a_key_of_ones_own_says_otherwise(tmp_path: Path) -> None:
    path = written(
        tmp_path, **{"name=\"own_net\"": 'name="own_net", keys=(Key("gain", "float", 1.0),)'}
    )  # fmt: skip
    gain = trials(path)[0].keys["gain"]
    assert gain == Key("gain", "float", 1.0)
    assert "gain" not in keys(path)


def test_keys_of_other_parts_are_left_to_them(tmp_path: Path) -> None:
    """The learning rate is the optimizer's, also where a model looks at it."""
    path = written(tmp_path, SPACE + ', "lr": 0.1', **{'config["gain"],': 'config["lr"],'})
    trial = trials(path)[0]
    assert trial.keys["lr"].declared
    assert "lr" not in keys(path)
    assert trials(path, "own/plain")[0].keys["width"].declared


def test_a_key_that_nothing_reads_is_refused_with_the_nearest(tmp_path: Path) -> None:
    path = written(tmp_path, SPACE.replace('"gain"', '"gian"'))
    assert "unknown key 'gian' (did you mean gain?)" in problem(
        path, set={"gain": 0.1}
    ) or "unknown key 'gian'" in problem(path)


def test_what_does_not_go_is_said(tmp_path: Path) -> None:
    path = written(tmp_path)
    assert problem(path, set=["depth=2.5"]) == (
        "depth must be an integer; got 2.5. No Key declares it, so its type is that of the space's "
        'values: declare Key("depth", "float"), or write numbers such as 2.0 in the space'
    )
    mixed = written(tmp_path, SPACE.replace('"gain": 0.5', '"gain": {"grid_search": [1, "a"]}'))
    assert problem(mixed) == (
        "study own: no Key declares gain, and its values are of no one type (1, a); declare "
        "Key('gain', ...) with its type"
    )
    alias = written(
        tmp_path, SPACE + ', "hidden_size": 3', **{'config["depth"]': 'config["hidden_size"]'}
    )
    assert problem(alias) == (
        "study own: model own_net reads 'hidden_size', which is another spelling of the key width, "
        "as it is called in a config; read 'width'"
    )


def test_driver_and_worker_agree(tmp_path: Path) -> None:
    """A worker has a trial's config, and not its space."""
    path = written(tmp_path)
    there = catalogue(path).registry
    for trial in trials(path):
        assert there.resolve(trial.config).id == trial.id
        assert there.resolve(trial.config).program == trial.program


def test_a_host_trainable_has_the_keys_that_its_function_reads(tmp_path: Path) -> None:
    text = """
        from gradsweep import HostTrainable, Space, Study

        def train(config, report):
            report(loss=config["lr"] * config["units"])

        STUDY = Study(name="own", title="t", parts=(HostTrainable(name="own_host", run=train),),
            spaces={"a": Space(param_space={"stage": "own_host", "epochs": 1, "units": 3,
                                            "lr": {"grid_search": [0.1, 0.2]}})})
    """
    (tmp_path / "own.py").write_text(textwrap.dedent(text))
    path = str(tmp_path / "own.py")
    assert keys(path) == {"lr": ("float", "host"), "units": ("int", "host")}
    assert len({trial.program for trial in trials(path)}) == 1
