"""What came out: the Parquet store, SQL over it, figures and reports. Needs neither JAX nor Ray."""

from __future__ import annotations

from typing import Any

from results.errors import StoreError
from results.result import Result
from results.store.open import create_store, open_store
from results.store.store import Store

_LAZY = {
    "aggregate": "ask.aggregate",
    "best": "ask.best",
    "compare": "ask.compare",
    "Page": "figures.page",
    "plot": "plotting",
    "figure": "plotting",
    "register_figure": "plotting",
    "FIGURES": "plotting",
    "report": "html_report",
    "describe": "ask.explanation",
    "named_queries": "ask.named_queries",
    "run_named": "ask.named_queries",
}

__all__ = ["Result", "Store", "StoreError", "create_store", "open_store"]


def __getattr__(name: str) -> Any:
    """Loads pandas, Plotly and what needs them only when asked for."""
    if name not in _LAZY:
        raise AttributeError(f"module 'results' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"results.{_LAZY[name]}"), name)
