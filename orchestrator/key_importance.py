"""How much each key of a sweep matters, by optuna's fANOVA."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def key_importance(
    configs: Sequence[Mapping[str, Any]], values: Sequence[float]
) -> dict[str, float]:
    """The share of the variance of a number that each key explains alone, of all keys' shares.

    fANOVA over a random forest (Hutter, Hoos and Leyton-Brown 2014). The same trials give the same
    shares.

    Args:
      configs: the same keys in each; values may be numbers, texts, booleans or None. A key all of
        whose values are numbers counts as a number, any other as a choice.
      values: a finite number of each config.
    """
    import optuna
    from optuna.distributions import CategoricalDistribution, FloatDistribution
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    distributions: dict[str, Any] = {}
    for key in configs[0]:
        known = list(dict.fromkeys(config[key] for config in configs))
        if all(type(value) in (int, float) for value in known):
            distributions[key] = FloatDistribution(float(min(known)), float(max(known)))
        else:
            distributions[key] = CategoricalDistribution(known)
    study = optuna.create_study()
    for config, value in zip(configs, values, strict=True):
        params = {
            key: float(config[key]) if isinstance(distributions[key], FloatDistribution) else own
            for key, own in config.items()
        }
        study.add_trial(
            optuna.trial.create_trial(params=params, distributions=distributions, value=value)
        )
    return get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))
