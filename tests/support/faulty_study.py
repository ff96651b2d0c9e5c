"""A study whose model fails in the ways that a fault test asks for."""

import contextlib
import ctypes
import os
import resource
import signal
import sys
import threading
from pathlib import Path

import optax
from flax import nnx

from search_spaces import Space, Study
from trainables.declarations import Key, Model, Optimizer
from trainables.optim.schedules import Constant

FAULTS = ("none", "raise", "exit", "kill")
BUGS = ("none", "build", "call", "exit", "hang", "crash")
HANG = threading.Event()
"""What a bug that hangs waits for."""


def _limit_memory(spare: int) -> None:
    """Lets this process, if it is a Ray worker, have so many bytes more than it has now."""
    if "default_worker" in sys.argv[0]:
        now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + spare, resource.RLIM_INFINITY))


class Net(nnx.Module):
    """One layer, and `ballast` numbers that take part in nothing but memory."""

    def __init__(self, ballast, sizes, rngs):
        self.readout = nnx.Linear(sizes.seq_len * sizes.features, sizes.classes, rngs=rngs)
        if ballast:
            self.ballast = nnx.Linear(ballast, ballast, use_bias=False, rngs=rngs)

    def __call__(self, x):
        return self.readout(x.reshape(len(x), -1))


class BrokenNet(Net):
    """A slip that shows when the model is called."""

    def __call__(self, x):
        return self.raedout(x)  # type: ignore[reportAttributeAccessIssue]


def build(config, sizes, rngs):
    if config["bug"] == "build":
        config["ballsat"]
    if "exit" in (config["bug"], config["fault"]):
        sys.exit("a guard left in the model")
    if config["bug"] == "hang":
        HANG.wait()
        raise RuntimeError("nobody should have woken it")
    if config["bug"] == "crash":
        ctypes.string_at(0)
    if config["fault"] == "raise":
        raise ZeroDivisionError("the user divided by zero")
    if config["fault"] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if config["spare"]:
        with contextlib.suppress(ValueError):
            _limit_memory(config["spare"] * 2**20)
    return (BrokenNet if config["bug"] == "call" else Net)(config["ballast"], sizes, rngs)


class Schedule(Constant):
    """Constant, for learning rates of at most 0.3."""

    def derived(self, config, values, epochs, steps):
        if config["lr"] > 0.3:
            raise ValueError("this learning rate is too high")
        return super().derived(config, values, epochs, steps)


NET = Model(
    name="faulty_net",
    keys=(
        Key("fault", "str", "none", "init", "Of a trial.", choices=FAULTS),
        Key("bug", "str", "none", "static", "Of all.", choices=BUGS),
        Key("ballast", "int", 0, "static", "Side of a square of idle weights.", low=0),
        Key("spare", "int", 0, "static", "MiB a worker may have more than at first.", low=0),
    ),
    build=build,
)

SGD = Optimizer(
    name="faulty_sgd",
    keys=(Key("lr", "float", 0.1, "traced"),),
    build=lambda config, hparams: optax.sgd(hparams["lr"]),
    schedule=Schedule,
)

SMALL = {
    "model": "faulty_net", "task": "gaussian", "seq_len": 6, "batch_size": 4,
    "steps_per_epoch": 3, "epochs": 3,
}  # fmt: skip
SEEDS = list(range(8))


def one_fault(kind):
    """Eight trials of one program, of which that of seed 5 fails."""
    faults = [kind if seed == 5 else "none" for seed in SEEDS]
    return Space(
        reproduces="tests of faults",
        param_space={**SMALL, "trial": {"zip": {"seed": SEEDS, "fault": faults}}},
    )


STUDY = Study(
    name="faulty",
    title="Faults",
    parts=(NET, SGD),
    spaces={
        "raise": one_fault("raise"),
        "exit": one_fault("exit"),
        "refuse": Space(
            reproduces="tests of a fault that only one trial's values have",
            param_space={
                **SMALL,
                "optimizer": "faulty_sgd",
                "trial": {"zip": {"seed": SEEDS, "lr": [0.5 if s == 5 else 0.1 for s in SEEDS]}},
            },
        ),
        "kill": one_fault("kill"),
        "bug": Space(
            reproduces="tests of programs that cannot be made",
            param_space={
                **SMALL,
                "bug": {"grid_search": ["none", "build"]},
                "seed": {"grid_search": list(range(16))},
            },
        ),
        "hang": Space(
            reproduces="tests of a program that hangs while it is made",
            param_space={**SMALL, "bug": {"grid_search": ["none", "hang"]}},
        ),
        "crash": Space(
            reproduces="tests of a program that ends its worker in C",
            param_space={**SMALL, "bug": "crash"},
        ),
        "memory": Space(
            reproduces="tests of memory",
            param_space={**SMALL, "ballast": 2048, "spare": 500, "seed": {"grid_search": SEEDS}},
        ),
    },
)
