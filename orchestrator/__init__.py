"""Where and when trials run. In a notebook: `orchestrator.plan`, `.launch` and `.debug`.

They take the names and defaults of the command line and load what they need when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.debugging import debug
    from orchestrator.launching import launch
    from orchestrator.planning import plan

_LAZY = {"plan": "planning", "launch": "launching", "debug": "debugging"}

__all__ = ["debug", "launch", "plan"]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'orchestrator' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"orchestrator.{_LAZY[name]}"), name)
