"""Packs on a bare machine with one GPU: `python -m benchmarks.gpu --help`.

Needs JAX, Flax, Optax, NumPy and the packages `benchmarks` and `trainables`; no data, no network.
For the 30 x 128 network of herranz2023/figure2 and the 20 x 64 one of vanishing/quickstart, as vmap
and in sequence, at each number of lanes:

- microseconds of a lane's step (an epoch with its evaluation and the transfer of its results, over
  lanes and steps; median), of the bare step, and the floor max(operations / peak, bytes /
  bandwidth), by the rates of a large float32 matrix product and a large copy measured here;
- seconds to trace and compile; bytes by Pack.memory_bytes() and the device's own peak;
- whether every bit of a lane is the same permuted, padded, run again and, at one width, compiled
  again in a process of its own; how far apart single runs are.

Exit status 1, with what failed by name, if a bit differs or a case breaks; the others go on.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import chain
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import jax

from benchmarks.gpu import pack_cases, roofline
from trainables.core import gpu_flags
from trainables.core.lanes import Strategy

STRATEGIES: tuple[Strategy, ...] = ("vmap", "sequential")
OUT = Path(__file__).parents[1] / "results" / "gpu.json"


def _mb(value: int | None) -> str:
    return "-" if value is None else f"{value / 1e6:.0f}"


def _apart(case: dict[str, Any]) -> str:
    """The largest difference that is judged, marked where it is over the tolerance."""
    largest = max(case["apart"][kind] for kind in pack_cases.JUDGED)
    return f"{largest:.1e}{'' if case['agrees'] else '!'}"


_COLUMNS: tuple[tuple[str, str, Callable[[dict[str, Any]], str]], ...] = (
    ("network", "<8", lambda r: r["network"]),
    ("strategy", "<10", lambda r: r["strategy"]),
    ("lanes", ">5", lambda r: str(r["lanes"])),
    ("us/lane-step", ">12", lambda r: f"{r['lane_step_s'] * 1e6:.1f}"),
    ("bare", ">10", lambda r: f"{r['bare_s'] * 1e6:.1f}"),
    ("floor", ">8", lambda r: f"{r['floor_s'] * 1e6:.2f}"),
    ("bare/floor", ">10", lambda r: f"{r['bare_over_floor']:.1f}"),
    ("% of peak", ">9", lambda r: f"{100 * r['of_peak']:.3f}"),
    ("compile s", ">9", lambda r: f"{r['compile_s']:.1f}"),
    ("model MB", ">8", lambda r: _mb(r["model_bytes"])),
    ("peak MB", ">8", lambda r: _mb(r["peak_bytes"])),
    ("bits", ">5", lambda r: "differ" if r["unequal"] else "equal"),
    ("apart", ">8", _apart),
)


# ---- work of the child processes, one at a time ------------------------------------------------
# A device's peak of memory is one number for the life of a process, so every network and strategy
# has a process of its own, where packs come in ascending width and each sets a new peak.


def _device(small: bool) -> Iterator[dict[str, Any]]:
    device = jax.devices()[0]
    stats = device.memory_stats() or {}
    yield {
        "platform": device.platform,
        "device": device.device_kind,
        "device_bytes": stats.get("bytes_limit"),
        **roofline.measured(small),
    }


def _cases(
    network: str,
    strategy: Strategy,
    lanes: list[int],
    small: bool,
    rates: dict[str, float],
    repeats: int,
    limit: float,
    again: int,
) -> Iterator[dict[str, Any]]:
    cases = pack_cases.Cases(network, strategy, small, max(lanes))
    for width in lanes:
        yield cases.measure(width, rates, repeats, limit)
        if width == again:
            yield {"fingerprint": cases.fingerprint(width)}


def _fingerprint(
    network: str, strategy: Strategy, width: int, small: bool
) -> Iterator[dict[str, Any]]:
    cases = pack_cases.Cases(network, strategy, small, width)
    yield {"fingerprint": cases.fingerprint(width)}


def _child(pipe: Connection, work: Callable[..., Iterator[dict[str, Any]]], args: tuple) -> None:
    try:
        for found in work(*args):
            pipe.send(found)
    except Exception as error:  # the other cases go on
        text = str(error).strip().splitlines() or [""]
        pipe.send({"error": f"{type(error).__name__}: {text[0][:300]}"})


def _in_child(
    work: Callable[..., Iterator[dict[str, Any]]], *args: Any
) -> Iterator[dict[str, Any]]:
    """What `work` yields in a new process; a process that dies yields an error."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(sender, work, args))
    process.start()
    sender.close()
    try:
        while True:
            yield receiver.recv()
    except EOFError:
        process.join()
        if process.exitcode:
            yield {"error": f"the process ended with status {process.exitcode}"}


# ---- the run -----------------------------------------------------------------------------------


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measures all cases, printing each and writing the record after each.

    Returns:
      The record: of the machine, `cases` as `pack_cases.Cases.measure` gives them, `restarts` (of
      one width: bits equal in a process that compiled anew) and `failures` in words.
    """
    [rates] = _in_child(_device, options.small)
    record: dict[str, Any] = {"benchmark": "gpu", **surroundings(), **rates}
    record |= {"small": options.small, "cases": [], "restarts": [], "failures": []}
    if "error" in rates:
        record["failures"].append(f"device: {rates['error']}")
        return record
    print(
        f"{rates['device']}: {rates['flops_per_s'] / 1e12:.3g} TFLOP/s float32 (rounding "
        f"{rates['rounding']:.1e}), {rates['bytes_per_s'] / 1e9:.4g} GB/s"
    )
    print("  ".join(f"{name:{form}}" for name, form, _ in _COLUMNS), flush=True)
    lanes = sorted(set(options.lanes))
    again = lanes[len(lanes) // 2]
    for network in options.networks:
        for strategy in options.strategies:
            name, prints = f"{network} {strategy}", []
            rest = options.repeats, options.seconds, again
            for found in chain(
                _in_child(_cases, network, strategy, lanes, options.small, rates, *rest),
                _in_child(_fingerprint, network, strategy, again, options.small),
            ):
                _add(record, name, found, prints)
                _write(options.out, record)
            if len(prints) == 2:
                same = prints[0] == prints[1]
                record["restarts"].append({"case": name, "lanes": again, "equal": same})
                if not same:
                    record["failures"].append(
                        f"{name}, {again} lanes: another process, which compiled anew, found "
                        "other bits"
                    )
            _write(options.out, record)
    return record


def _add(record: dict[str, Any], name: str, found: dict[str, Any], prints: list[str]) -> None:
    if "error" in found:
        record["failures"].append(f"{name}: {found['error']}")
    elif "fingerprint" in found:
        prints.append(found["fingerprint"])
    else:
        record["cases"].append(found)
        record["failures"] += [f"{name}, {found['lanes']} lanes, {u}" for u in found["unequal"]]
        print("  ".join(f"{get(found):{form}}" for _, form, get in _COLUMNS), flush=True)


def surroundings() -> dict[str, Any]:
    """Of a record: versions, machine, driver, flags, commit and day."""
    return {
        "versions": {name: version(name) for name in ("jax", "jaxlib", "flax", "optax", "numpy")},
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores",
        "driver": _said_by("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"),
        "xla_flags": os.environ.get("XLA_FLAGS"),
        "precision": os.environ.get(gpu_flags.PRECISION),
        "commit": _said_by("git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"),
        "day": datetime.now(UTC).date().isoformat(),
    }


def _said_by(*command: str) -> str | None:
    """The first line a program prints, or None where there is no such program or it fails."""
    if shutil.which(command[0]) is None:
        return None
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    return lines[0] if lines and not done.returncode else None


def _write(out: Path | None, record: dict[str, Any]) -> None:
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(record, indent=1) + "\n")


def main(arguments: list[str]) -> int:
    """The command line; its exit status."""
    text, _, rest = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        "python -m benchmarks.gpu", description=text, epilog=rest,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--lanes", type=int, nargs="+", metavar="N", help="default: 1 4 8 28 84, small: 1 3")
    names = list(pack_cases.NETWORKS)
    add("--networks", nargs="+", choices=names, default=names, help="default: both")
    add("--strategies", nargs="+", choices=STRATEGIES, default=STRATEGIES, help="default: both")
    add("--repeats", type=int, default=5, help="epochs to time, at least 2 of each pack; default 5")
    add("--seconds", type=float, default=10, help="stop timing a pack after these; default 10")
    add(
        "--small",
        action="store_true",
        help="tiny networks, JAX's compile cache as it is: to see that it works",
    )
    add("--out", type=Path, help="JSON; default: benchmarks/results/gpu.json, small: none")
    options = parser.parse_args(arguments)
    options.lanes = options.lanes or ([1, 3] if options.small else [1, 4, 8, 28, 84])
    if min(options.lanes) < 1:
        parser.error("--lanes: at least 1")
    if not options.small:
        # Compile times are those of cold compiles, and "compiled again" means it.
        os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"
    # As the command line sets them on a GPU; children start with these.
    os.environ["XLA_FLAGS"] = gpu_flags.with_flags(
        os.environ.get("XLA_FLAGS", ""), gpu_flags.XLA_FLAGS
    )
    os.environ.setdefault(gpu_flags.PRECISION, gpu_flags.MATMUL_PRECISION)
    options.out = options.out or (None if options.small else OUT)
    record = run(options)
    _write(options.out, record)
    for failure in record["failures"]:
        print(f"FAILED {failure}", file=sys.stderr)
    return 1 if record["failures"] else 0
