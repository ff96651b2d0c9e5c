"""Keeping an object store's credentials where they are."""

from __future__ import annotations


def keep_from_ray() -> None:
    """Stops Tune from copying the driver's AWS credentials into its actors' runtime environment,
    which Ray writes to its logs and to its head's tables in the clear. Workers have credentials of
    their own, from their node's role or environment; those of a local Ray inherit the driver's."""
    from ray.tune.execution import class_cache

    names = class_cache.ENV_VARS_TO_PROPAGATE
    names -= {name for name in names if name.startswith("AWS_")}
