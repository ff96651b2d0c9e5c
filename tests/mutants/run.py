"""One call of `make mutants`: its copies, what is measured, and the database of what is done."""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

from tests.mutants import contexts, copies, plugin, report, sampling
from tests.mutants.places import Places
from tests.mutants.report import Verdict
from tests.mutants.sampling import Mutant

HERE = Path(__file__).parent
T = TypeVar("T")
R = TypeVar("R")


class Run:
    """One call: its copies, what was measured, and the database of what is done."""

    def __init__(self, asked: argparse.Namespace, folder: Path) -> None:
        self.asked = asked
        self.root: Path = asked.root.resolve()
        self.cache: Path = asked.cache.resolve()
        self.folder = folder
        self.stop = threading.Event()
        self.copies: list[copies.Copy] = []
        self.measured: dict[str, contexts.Measured] = {}
        self.sources = {path: (self.root / path).read_text() for path in sampling.paths(self.root)}
        self._free: SimpleQueue[copies.Copy] = SimpleQueue()
        self.unreliable: set[str] = set()  # tests that fail alone without a mutant
        self._alone: set[str] = set()  # tests that pass so
        self._kills_file = self.cache / "kills.json"
        self.kills: dict[str, dict[str, str]] = (
            json.loads(self._kills_file.read_text()) if self._kills_file.is_file() else {}
        )

    def prepare(self) -> None:
        """Makes the copies. They share one compile cache, which nothing else uses: mutants fill it
        with programs that nobody else needs, and another checkout may keep a cache by other
        rules."""
        compiled = (self.asked.compiled or self.cache / "compiled").resolve()
        for n in range(self.asked.jobs):
            copy = copies.make(self.root, self.folder / str(n), compiled, self.stop)
            self.copies.append(copy)
            self._free.put(copy)

    def end(self) -> None:
        self.stop.set()
        for copy in self.copies:
            copy.end()

    # ---- which tests run what --------------------------------------------------------------------

    def test_files(self) -> list[str]:
        found = set()
        for name in self.asked.tests:
            path = self.root / name
            found |= set(path.rglob("test_*.py")) if path.is_dir() else {path}
        names = {path.relative_to(self.root).as_posix() for path in found}
        return sorted(name for name in names if not name.startswith("tests/mutants/"))

    def measure(self) -> None:
        """Runs each test file by itself, unmutated, with coverage, unless that is known."""
        settings = self._settings()
        kept = {
            path: self.cache / "coverage" / f"{path.replace('/', '+')}-"
            f"{sampling.digest(settings, contexts.file_hash(self.root / path))}.json"
            for path in self.test_files()
        }
        known = {path: contexts.load(file, self.root) for path, file in kept.items()}
        missing = [path for path, found in known.items() if found is None]
        self.measured = {path: found for path, found in known.items() if found}
        print(f"{len(known)} test files, {len(missing)} of them to be measured", flush=True)
        modules = list(self.sources)

        def one(copy: copies.Copy, path: str) -> contexts.Measured:
            return copy.measure(path, modules, limit=3600)

        for n, (path, found) in enumerate(self._side_by_side(one, missing), 1):
            contexts.save(kept[path], found)
            self.measured[path] = found
            passed, taken = len(found.tests), sum(found.seconds.values())
            print(f"[{n}/{len(missing)}] {path}: {passed} tests, {taken:.0f} s", flush=True)
        failed = [
            test
            for found in self.measured.values()
            for test, outcome in found.outcomes.items()
            if outcome == "failed"
        ]
        if failed:
            print(
                f"{len(failed)} tests fail without a mutant and are left out:", *failed, sep="\n  "
            )

    def _settings(self) -> str:
        """Hash of what every test depends on beside the modules that it loads."""
        variables = [os.environ.get(name, "") for name in ("XLA_FLAGS", "GRADSWEEP_DATA")]
        data = [
            (path.relative_to(self.root).as_posix(), contexts.file_hash(path))
            for package in ("orchestrator", "trainables", "search_spaces", "results")
            for path in sorted((self.root / package).rglob("*"))
            if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts
        ]
        lock = contexts.file_hash(self.root / "requirements.lock")
        own = [contexts.file_hash(HERE / name) for name in ("plugin.py", "server.py")]
        return sampling.digest(
            sys.version, lock, variables, data, list(self.sources), own, contexts.CONFIG
        )

    # ---- the mutants -----------------------------------------------------------------------------

    def verdict(self, copy: copies.Copy, mutant: Mutant) -> Verdict:
        """Runs a mutant's tests. A test that fails is run alone without the mutant too: where it
        fails as well (it needs another test before it, say), the mutant is run without it."""
        while True:
            verdict = self._run(copy, mutant)
            if verdict.outcome != report.KILLED or self._passes_alone(copy, verdict.killer):
                return verdict

    def _passes_alone(self, copy: copies.Copy, test: str) -> bool:
        if test in self._alone or "::" not in test:
            return True
        if copy.run({test: 10 * self.asked.patience}).status == 0:
            self._alone.add(test)
            return True
        self.unreliable.add(test)
        print(f"fails alone without a mutant; left out: {test}", flush=True)
        return False

    def _run(self, copy: copies.Copy, mutant: Mutant) -> Verdict:
        """Runs a mutant's tests, the one that killed it before first."""
        source = self.sources[mutant.path]
        statement = Places(source).statement(mutant.line)
        choice = contexts.choose(
            mutant.path,
            range(statement.first, statement.last + 1),
            statement,
            self.measured.values(),
            self.asked.budget,
        )
        tests = {t: seconds for t, seconds in choice.tests.items() if t not in self.unreliable}
        if not tests:
            return Verdict(report.SURVIVED, 0, 0, 0.0, at_import=choice.at_import)
        before = self.kills.get(mutant.key, {}).get("killer")
        if before in tests:
            tests = {before: tests[before], **tests}
        new = sampling.mutate(source, mutant.operator, mutant.occurrence)
        assert new is not None, mutant
        start = time.monotonic()
        with copy.mutated(mutant.path, new):
            ran = copy.run(
                {name: self.asked.patience + 10 * seconds for name, seconds in tests.items()}
            )
        found = ran.report
        failed = [t for t, outcome in found.get("outcomes", {}).items() if outcome == "failed"]
        about = (len(found.get("seconds", {})), choice.of, time.monotonic() - start)
        if ran.status is None or ran.status == plugin.HUNG:
            where = found.get("hung") or "the whole run"
            return Verdict(report.HUNG, *about, where, "", choice.at_import)
        if ran.status in (0, 5):
            return Verdict(report.SURVIVED, *about, at_import=choice.at_import)
        killer = failed[0] if failed else f"pytest ended with status {ran.status}"
        reason = found.get("reasons", {}).get(killer) or ran.output[-500:]
        return Verdict(report.KILLED, *about, killer, reason, choice.at_import)

    def known(self, mutant: Mutant) -> Verdict | None:
        """A kill of an earlier run by a test that, with all it loads, is as it was."""
        kill = self.kills.get(mutant.key)
        if kill is None or kill["depends"] != self._depends(kill["killer"]):
            return None
        return Verdict(report.KILLED, 1, 1, 0.0, kill["killer"], "known from an earlier run")

    def remember(self, mutant: Mutant, verdict: Verdict) -> None:
        depends = self._depends(verdict.killer)
        if verdict.outcome == report.KILLED and depends:
            self.kills[mutant.key] = {"killer": verdict.killer, "depends": depends}
            part = self._kills_file.with_suffix(".part")
            part.write_text(json.dumps(self.kills))
            part.replace(self._kills_file)

    def _depends(self, test: str) -> str:
        found = self.measured.get(test.partition("::")[0])
        return sampling.digest(sorted(found.depends.items())) if found else ""

    def database(self, mutants: Sequence[Mutant]) -> Path:
        """Its name holds all that the verdicts depend on."""
        depends = sorted((p, sorted(m.depends.items())) for p, m in self.measured.items())
        what = (self.asked.budget, [mutant.key for mutant in mutants], depends)
        text = hashlib.sha256(repr(what).encode()).hexdigest()[:12]
        return self.cache / "runs" / f"seed{self.asked.seed}-{len(mutants)}-{text}.sqlite"

    def _side_by_side(
        self, work: Callable[[copies.Copy, T], R], items: Iterable[T]
    ) -> Iterable[tuple[T, R]]:
        """`work` on each, one in each copy at a time, as they end."""

        def in_a_copy(item: T) -> R:
            copy = self._free.get()
            try:
                return work(copy, item)
            finally:
                self._free.put(copy)

        with ThreadPoolExecutor(len(self.copies)) as pool:
            futures: dict[Future[R], T] = {pool.submit(in_a_copy, item): item for item in items}
            try:
                while futures:
                    done, _ = wait(futures, timeout=1.0, return_when=FIRST_COMPLETED)
                    for future in done:
                        yield futures.pop(future), future.result()
            finally:
                for future in futures:
                    future.cancel()
                if futures:
                    self.end()

    def mutants(self, mutants: Sequence[Mutant]) -> list[tuple[Mutant, Verdict]]:
        """Verdicts of all; those that an interrupted call of the same words left are taken over."""
        items: Any = importlib.import_module("cosmic_ray.work_item")
        work_db: Any = importlib.import_module("cosmic_ray.work_db")
        path = self.database(mutants)
        path.parent.mkdir(parents=True, exist_ok=True)
        by_key = {mutant.key: mutant for mutant in mutants}
        found: dict[str, Verdict] = {}
        start = time.monotonic()
        with work_db.use_db(str(path), work_db.WorkDB.Mode.create) as database:
            if not database.num_work_items:
                database.add_work_items(_work_item(items, mutant) for mutant in mutants)
            for key, result in database.results:
                found[key] = Verdict(**json.loads(result.output))

            def keep(mutant: Mutant, verdict: Verdict) -> None:
                found[mutant.key] = verdict
                killed = verdict.outcome != report.SURVIVED
                outcome = items.TestOutcome.KILLED if killed else items.TestOutcome.SURVIVED
                ended = items.WorkerOutcome.NORMAL
                text = json.dumps(asdict(verdict))
                diff = f"- {mutant.old}\n+ {mutant.new}"
                database.set_result(mutant.key, items.WorkResult(ended, text, outcome, diff))
                self.remember(mutant, verdict)

            for mutant in mutants:
                if mutant.key not in found and (verdict := self.known(mutant)):
                    keep(mutant, verdict)
            pending = [mutant for mutant in mutants if mutant.key not in found]
            print(f"{len(mutants)} mutants, {len(pending)} of them to be run: {path}", flush=True)
            # Not module by module, so that a run that is stopped has seen some of each.
            pending.sort(key=lambda mutant: mutant.key)
            try:
                for mutant, verdict in self._side_by_side(self.verdict, pending):
                    keep(mutant, verdict)
                    print(_progress(found, len(mutants), mutant, verdict, start), flush=True)
            except (KeyboardInterrupt, copies.StoppedError):
                print("\nstopped; the same command goes on from here", flush=True)
        return [(mutant, found[key]) for key, mutant in by_key.items() if key in found]


def _work_item(items: Any, mutant: Mutant) -> Any:
    start, end = (mutant.line, 0), (mutant.line, max(1, len(mutant.old)))
    spec = items.MutationSpec(
        module_path=mutant.path,
        operator_name=mutant.operator,
        occurrence=mutant.occurrence,
        start_pos=start,
        end_pos=end,
        definition_name=mutant.definition,
    )
    return items.WorkItem.single(mutant.key, spec)


def _progress(
    found: dict[str, Verdict], total: int, mutant: Mutant, verdict: Verdict, start: float
) -> str:
    share = 100 * report.rate(found.values())
    minutes = (time.monotonic() - start) / 60
    tests = f"{verdict.tests} of {verdict.of} tests, {verdict.seconds:.0f} s"
    head = f"[{len(found)}/{total}, {share:.0f} % killed, {minutes:.0f} min]"
    return f"{head} {verdict.outcome} ({tests}) {mutant}"
