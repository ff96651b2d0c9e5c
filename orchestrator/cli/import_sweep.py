"""The command that makes a study file of a sweep file of Weights & Biases."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.app import SetOption, StudyOption, app, out
from orchestrator.errors import RequestError

if TYPE_CHECKING:
    from orchestrator.plan.studies import Catalogue
    from search_spaces.wandb_sweep import Imported
    from trainables.declarations import Registry

_SPLITS = (
    (re.compile("^(eval|evaluation|valid|validation|dev)_"), "val_"),
    (re.compile("^(train|training)_"), ""),
)
"""How names of metrics usually begin -> how our columns do."""


@app.command("import-sweep")
def import_sweep(
    sweep: Annotated[Path, typer.Argument(metavar="SWEEP.yaml", help="A W&B sweep file.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="FILE.py", help="Where to; SWEEP.py here if left out."),
    ] = None,
    rename: Annotated[
        list[str] | None,
        typer.Option("--rename", metavar="NAME=KEY", help="Our key of a parameter. Repeatable."),
    ] = None,
    drop: Annotated[
        list[str] | None,
        typer.Option("--drop", metavar="NAME", help="A parameter to leave out. Repeatable."),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option("--samples", min=1, help="Trials of a random sweep; its run_cap if left out."),
    ] = None,
    set: SetOption = None,
    study: StudyOption = None,
) -> None:
    """A study file of a W&B sweep file: grids, distributions and nested parameters by our keys."""
    from orchestrator.plan.studies import catalogue
    from orchestrator.plan.trials import trials_of

    found = catalogue(study)
    imported = _imported(sweep, found, _pairs(rename or []), drop or [], samples)
    _with_keys(imported, set or [], found.registry)
    _without_unread(imported, found)
    tune = importlib.import_module("ray.tune") if imported.needs_tune else None
    trials = trials_of(found, imported.space(tune))
    target = output or Path(f"{_word(sweep.stem)}.py")
    if target.exists():
        raise RequestError(f"{target} exists already; give another --output")
    name = _word(target.stem)
    target.write_text(study_text(imported, sweep.name, name, own=study is None))
    for note in imported.notes:
        out(note)
    programs = len({trial.program for trial in trials})
    out(f"{target}: {len(trials)} trials, {programs} programs")
    if study is None:
        out(f"next: gradsweep plan {name} --study {target}")
    else:
        out(f"next: put SPACE of {target} into the spaces of {study}")


def _imported(
    path: Path, found: Catalogue, renames: Mapping[str, str], drop: list[str], samples: int | None
) -> Imported:
    import yaml

    from search_spaces.wandb_sweep import SweepError, read_sweep

    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise RequestError(f"{path} cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RequestError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    registry = found.registry
    words = {*registry.known_names()}
    keys = registry.all_keys() | registry.prefixed_keys()

    def key_of(name: str) -> str | None:
        return registry.canonical_name(name) if name in words else None

    def value_of(key: str, value: Any) -> Any:
        own = keys.get(key)
        return own.parse(value) if own is not None and isinstance(value, str) else value

    try:
        return read_sweep(content, key_of, value_of, _column, renames, drop, samples)
    except SweepError as error:
        raise RequestError([f"{path.name}: {problem}" for problem in error.problems]) from error


def _column(metric: str) -> str | None:
    """Our column of a metric's name, None where there is none."""
    from results.schema import EPOCHS

    word = re.sub(r"\W+", "_", metric.strip().lower())
    for begin, ours in _SPLITS:
        word = begin.sub(ours, word)
    return word if word in {column.name for column in EPOCHS} else None


def _pairs(texts: list[str]) -> dict[str, str]:
    found = {}
    for text in texts:
        name, sign, key = text.partition("=")
        if not (name and sign and key):
            raise RequestError(f"--rename {text!r} is not NAME=KEY")
        found[name] = key
    return found


def _with_keys(imported: Imported, given: list[str], registry: Registry) -> None:
    """Adds `--set`, which takes the place of what the file says."""
    from orchestrator.plan.overrides import read_overrides

    values, problems = read_overrides(given, registry)
    if problems:
        raise RequestError(problems)
    for name, own in values.items():
        imported.param_space.pop(name, None)
        if own != [...]:
            imported.param_space[name] = own[0] if len(own) == 1 else {"grid_search": own}


def _without_unread(imported: Imported, found: Catalogue) -> None:
    """Leaves out constants that no part of any trial reads, as published programs give flags to all
    models; a parameter that varies must be read."""
    from search_spaces import expand
    from search_spaces.wandb_sweep import TuneCall
    from trainables.declarations import SELECTORS

    resolver = found.registry.resolver()
    chosen = {n: v for n, v in imported.param_space.items() if n in SELECTORS or n == "pretrain"}
    configs = expand(chosen, samples=imported.samples, rename=resolver.canonical_name)
    reads = [resolver.reads(config) for config in configs]
    if None in reads:
        return
    readable = frozenset().union(*(found for found in reads if found is not None))
    for name, value in list(imported.param_space.items()):
        known = name in readable or name in SELECTORS or name in found.registry.presets
        if not known and not isinstance(value, (dict, TuneCall)):
            del imported.param_space[name]
            imported.notes.append(f"left out: {name}, which the parts of this sweep do not read")


def _word(text: str) -> str:
    return re.sub(r"\W+", "_", text).strip("_").lower() or "sweep"


def study_text(imported: Imported, source: str, name: str, own: bool) -> str:
    """The Python file: a `Space`, and a `Study` of it where `own`."""
    import pprint

    body = pprint.pformat(imported.param_space, sort_dicts=False, width=92, indent=1)
    lines = [f'"""Made by `gradsweep import-sweep {source}`."""', ""]
    lines += ["from ray import tune", ""] if imported.needs_tune else []
    lines += [f"from gradsweep import Space{', Study' if own else ''}", ""]
    lines += [f"PARAM_SPACE = {body}", "", "SPACE = Space(", "    param_space=PARAM_SPACE,"]
    fields = {
        "reproduces": imported.title, "samples": imported.samples, "select": imported.select,
        "prune": imported.prune,
    }  # fmt: skip
    lines += [f"    {field}={value!r}," for field, value in fields.items() if value]
    lines += [")"]
    if own:
        title = imported.title or name
        lines += [f"STUDY = Study(name={name!r}, title={title!r}, spaces={{{name!r}: SPACE}})"]
    return "\n".join(lines) + "\n"
