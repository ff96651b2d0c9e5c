"""What has changed since a stale trial ran: versions that parts declare, pieces of code, packages.

A launch writes the pieces of code that its parts depend on into the record of its space; records of
older versions of gradsweep have none, and then only the parts are named.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Code = Mapping[str, Mapping[str, str]]
"""Version of a part -> label of a piece of code -> hash of it, or the version of a package."""

_SHOWN = 6
"""Pieces named of one part."""
_KEPT = 200
"""Versions whose pieces a record keeps."""
_PACKAGE = "package "


def code_record(code: Code, versions: Iterable[int | str], before: Any) -> dict[str, Any]:
    """The pieces of these versions, and those that earlier launches have recorded.

    Args:
      before: the space's record of its last launch; None where there is none.
    """
    known = (before or {}).get("code") or {}
    now = {str(v): dict(code[str(v)]) for v in versions if str(v) in code}
    kept = {version: pieces for version, pieces in known.items() if version not in now}
    return dict([*kept.items(), *now.items()][-_KEPT:])


def changes(
    then: Mapping[str, int | str], now: Mapping[str, int | str], known: Code, current: Code
) -> list[str]:
    """What differs between two versions of a trial's parts, a sentence for each part.

    Args:
      then, now: version of each part, by "role:name".
      known: pieces of recorded versions. current: of those of now.

    Example:
      ["model deep_net changed: DeepNet in my_study.py, helper in net.py"]
    """
    found = []
    for part, version in now.items():
        before, role_name = then.get(part), part.replace(":", " ", 1)
        if before is None or before == version:
            continue
        if not str(version).startswith("code-"):
            found.append(f"{role_name} changed: version {before} -> {version}")
        elif str(before).startswith("file-"):
            found.append(f"{role_name} was versioned by its whole file, and is by its code now")
        elif not str(before).startswith("code-"):
            found.append(f"{role_name} declared version {before}, and is versioned by its code now")
        elif str(before) not in known:
            found.append(f"{role_name} changed (the store does not say in what)")
        else:
            what = _differences(known[str(before)], current.get(str(version), {}))
            found.append(f"{role_name} changed: {what}")
    return found


def _differences(then: Mapping[str, str], now: Mapping[str, str]) -> str:
    changed = [label for label in now if label in then and then[label] != now[label]]
    code = [label for label in changed if not label.startswith(_PACKAGE)]
    code += [f"{label} (new)" for label in now if label not in then]
    code += [f"{label} (gone)" for label in then if label not in now]
    if len(code) > _SHOWN:
        code = [*code[:_SHOWN], f"{len(code) - _SHOWN} more"]
    packages = [
        f"{label.removeprefix(_PACKAGE)} {then[label]} -> {now[label]}"
        for label in changed
        if label.startswith(_PACKAGE)
    ]
    found = [", ".join(words) for words in (code, packages) if words]
    return "; ".join(found) or "names in its code stand for something else"
