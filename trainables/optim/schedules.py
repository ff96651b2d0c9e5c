"""Learning rates that change from step to step."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp


def scheduled(hparams: Mapping[str, jax.Array], step: jax.Array) -> Mapping[str, jax.Array]:
    """`hparams` with `lr` as it is at a step, for rules that have a schedule.

    lr_end + (lr - lr_end) (1 + cos(pi step / total)) / 2: the peak at step 0 and lr_end after the
    last (study `zucchet2024`, section 3); lr itself where lr_end is null. Or lr times lr_gamma for
    each of `milestone_steps` that has come (study `ribeiro2020`, section 3).
    """
    if "milestone_steps" in hparams:
        falls = jnp.sum(step >= hparams["milestone_steps"])
        return {**hparams, "lr": hparams["lr"] * hparams["lr_gamma"] ** falls}
    if "lr_end" not in hparams:
        return hparams
    lr, end = hparams["lr"], hparams["lr_end"]
    if "lr_warmup" in hparams:
        rates = {"lr": lr, "lr_recurrent": lr * hparams["lr_factor"]}
        now = {n: warmed(hparams, rate, step) for n, rate in rates.items()}
        return {**hparams, **{n: jnp.where(jnp.isnan(end), rates[n], now[n]) for n in rates}}
    share = (1 + jnp.cos(jnp.pi * step / hparams["total_steps"])) / 2
    return {**hparams, "lr": jnp.where(jnp.isnan(end), lr, end + (lr - end) * share)}


def warmed(hparams: Mapping[str, jax.Array], lr: jax.Array, step: jax.Array) -> jax.Array:
    """A group's rate at a step: linear from lr_end to lr over the W steps of the warm-up, then half
    a cosine that is at lr_end in the last step (Orvieto et al., arXiv 2303.06349, D.2).

    Under `compat_schedule`, as published (study `bar2025`, section 0, 6): a step uses the rate that
    was written after the one before it, so the first is at lr; the warm-up is lr (s + 1) / W; the
    cosine counts s from the first step of all and ends at T - W.
    """
    end, total, warm = hparams["lr_end"], hparams["total_steps"], hparams["warmup_steps"]

    def cosine(share: jax.Array) -> jax.Array:
        return end + (lr - end) * (1 + jnp.cos(jnp.pi * jnp.clip(share, 0, 1))) / 2

    rising = end + (lr - end) * step / jnp.maximum(warm, 1)
    falling = cosine((step - warm) / jnp.maximum(total - 1 - warm, 1))
    last = step - 1.0
    published = jnp.where(
        last < warm, lr * (last + 1) / jnp.maximum(warm, 1), cosine(last / (total - warm))
    )
    published = jnp.where(step == 0, lr, published)
    intended = jnp.where(step < warm, rising, falling)
    return jnp.where(hparams["compat_schedule"], published, intended)
