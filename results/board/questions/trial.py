"""Everything about one trial."""

from __future__ import annotations

from collections.abc import Sequence

from results.board.questions.words import column_list, literal, tidy


def summary(trial: str) -> str:
    """How the trial ended."""
    return tidy(
        f"""
        SELECT trial_id, status, reason, stage, parent_id, epochs_done, epochs_planned, parameters,
            bad_epoch, bad_step, seconds, device, host, launch_id, git_commit, data_checksum, space
        FROM all_trials WHERE trial_id = {literal(trial)}
        """
    )


def config(trial: str, keys: Sequence[str]) -> str:
    """The value of every key."""
    return f"SELECT {column_list(keys)}versions\nFROM all_trials WHERE trial_id = {literal(trial)}"


def attempts(trial: str) -> str:
    """Every attempt at the trial, with what it said at its end."""
    return tidy(
        f"""
        SELECT attempt, status, first_epoch, epochs_done, started, ended, seconds, compile_seconds,
            host, device, pack, lane, launch_id, shown, reason, error
        FROM attempts WHERE trial_id = {literal(trial)} ORDER BY attempt, launch_id
        """
    )


def epochs(trial: str, metrics: Sequence[str]) -> str:
    """The epochs that show."""
    return tidy(
        f"""
        SELECT epoch, {column_list(metrics)}steps, finite_steps, seconds
        FROM all_epochs WHERE trial_id = {literal(trial)} ORDER BY epoch
        """
    )


def verdict(trial: str) -> str:
    """What the diagnosis says, and the numbers it rests on."""
    return f"SELECT * FROM diagnosis WHERE trial_id = {literal(trial)}"
