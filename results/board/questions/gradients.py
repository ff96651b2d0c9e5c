"""Gradient norms by layer and epoch, and verdicts over the grid of a space."""

from __future__ import annotations

from collections.abc import Sequence

from results.board.questions.words import column_list, literal, of_space, tidy

EPOCHS = 400
"""Columns of a heat map at most; of more epochs every second, third, ... is drawn."""


def heat_map(trial: str) -> str:
    """The whole layer's mean gradient norm by layer and epoch, of at most `EPOCHS` epochs."""
    return tidy(
        f"""
        SELECT layer, layer_name, epoch, grad_norm, zero_steps, nonfinite_steps
        FROM layers
        WHERE trial_id = {literal(trial)} AND tensor = '*' AND epoch % (
            SELECT greatest(1, ceil((max(epoch) + 1) / {EPOCHS}))::INTEGER
            FROM epochs WHERE trial_id = {literal(trial)}
        ) = 0
        ORDER BY layer, epoch
        """
    )


def profile(trial: str, epoch: int) -> str:
    """The gradient norm of each layer in one epoch: its mean, least and greatest over steps."""
    return tidy(
        f"""
        SELECT layer, layer_name, grad_norm, grad_norm_min, grad_norm_max, update_norm, param_norm
        FROM layers
        WHERE trial_id = {literal(trial)} AND tensor = '*' AND epoch = {int(epoch)}
        ORDER BY layer
        """
    )


def verdict_map(space: str, keys: Sequence[str]) -> str:
    """How many trials have each verdict at each point of the grid of some keys, and one of them."""
    return tidy(
        f"""
        SELECT {column_list(keys, "t.")}d.verdict, count(*) AS trials, min(t.trial_id) AS trial_id
        FROM trials t JOIN diagnosis d USING (trial_id)
        WHERE t.{of_space(space)}
        GROUP BY ALL ORDER BY ALL
        """
    )


def last_epoch(trial: str) -> str:
    """The last epoch of a trial."""
    return f"SELECT max(epoch) AS last FROM epochs WHERE trial_id = {literal(trial)}"
