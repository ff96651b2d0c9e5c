"""A study of host trainables: gradient descent on a parabola by hand, and all that may go wrong."""

import ctypes
import os
import signal
import sys
from pathlib import Path

import numpy as np

from gradsweep import HostTrainable, Key, Metric, Space, Study


def descend(config, report):
    """Loss w^2 / 2 from w = 1: after epoch e it is (1 - rate)^(2e) / 2, and its gradient w."""
    w = np.float64(1.0) if report.restored is None else report.restored["w"]
    for epoch in range(report.epoch, config["epochs"] or 3):
        loss, gradient = w**2 / 2, w
        w = w - config["rate"] * gradient
        if epoch == config["fails_at"]:
            if config["how"] == "return":
                return
            misbehave(config, report)
        report(
            loss=loss,
            val_loss=w**2 / 2,
            distance=abs(w),
            layers={"w.0": {"value": {"grad_norm": abs(gradient), "param_norm": abs(w)}}},
            state={"w": w} if config["keeps"] else None,
            weights=lambda w=w: {"w.0.value": np.array([w])},
        )


def misbehave(config, report):
    how, flag = config["how"], Path(config["flag"])
    if how == "once":
        try:
            flag.touch(exist_ok=False)
        except FileExistsError:
            return
        os.kill(os.getppid() if config["of"] == "worker" else os.getpid(), signal.SIGKILL)
    elif how == "raise":
        raise RuntimeError("as it was asked to")
    elif how == "exit":
        sys.exit(3)
    elif how == "hard exit":
        ctypes.CDLL(None)._exit(4)
    elif how == "kill":
        os.kill(os.getpid(), getattr(signal, config["of"]))
    elif how == "hang":
        _ = flag.open("w").close(), signal.pause()  # on one line, where the test looks for it
    elif how == "import":
        import no_such_module_of_theirs  # pyright: ignore[reportMissingImports]

        print(no_such_module_of_theirs)
    elif how == "memory":
        raise MemoryError("no room for 3 GB")
    elif how == "nan":
        report(loss=float("nan"), val_loss=1.0)
    elif how == "say":
        print("said by the function", os.environ["OMP_NUM_THREADS"], "jax" in sys.modules)
    elif how == "swallow":
        try:
            report(loss=float("nan"), val_loss=1.0)
        except BaseException:
            flag.write_text(str(report.stopped))
            raise


def silent(config, report):
    """Reports nothing."""


_FAULTS = (
    Key("rate", "float", 0.5, "host", "Step size."),
    Key("keeps", "bool", True, "host", "Whether it reports its state."),
    Key("fails_at", "int", -1, "host", "Epoch of the fault."),
    Key("how", "str", "", "host", "Kind of fault."),
    Key("of", "str", "", "host", "More of it."),
    Key("flag", "str", "", "host", "File that a fault leaves."),
)
DESCEND = HostTrainable(
    name="descend",
    run=descend,
    version=1,
    keys=_FAULTS,
    metric_columns=(Metric("distance", unit="m"),),
    loss_unit="J",
    chance_loss=lambda config: 0.5,
)
SILENT = HostTrainable(name="silent", run=silent, version=1)

SELECT = {"choose": "rate", "metric": "val_loss", "mode": "min", "report": "val_loss",
          "over": "seed"}  # fmt: skip
GRID = {"stage": "descend", "epochs": 4, "rate": {"grid_search": [0.5, 0.25]}, "seed": 0}
STUDY = Study(
    name="host",
    title="Host trainables",
    parts=(DESCEND, SILENT),
    spaces={
        "grid": Space(reproduces="tests", param_space=GRID, select=SELECT, smoke={"epochs": 2}),
        "silent": Space(reproduces="tests", param_space={"stage": "silent"}),
    },
)
