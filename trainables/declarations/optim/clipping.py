"""Keys of gradient clipping."""

from __future__ import annotations

from trainables.declarations.core.keys import Key

CLIPPING = (
    Key("clip_norm", "float", None, "traced", "Scale the gradient down to at most this norm.",
        low=0, open_low=True, nullable=True, aliases=("gradient_clip", "max_norm")),
    Key("min_norm", "float", 0.0, "traced",
        "Scale the gradient up to at least this norm, tested before clipping; 0: off.", low=0,
        aliases=("gradient_clip_min",)),
    Key("min_norm_rule", "str", "exact", "static",
        "exact: g m / max(|g|, tiny); published: g m / (|g| + 1e-8), which leaves norms far below "
        "1e-8 short of m. A gradient of exactly 0 stays 0 in both.",
        choices=("exact", "published")),
)  # fmt: skip
