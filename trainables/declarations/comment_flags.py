"""The comment flags of arXiv 2308.12075 as a table: what each sets, and which are refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from trainables.declarations.core.keys import Scalar


@dataclass(frozen=True)
class Flag:
    """One flag: the key it sets, if any, and to what.

    Attributes:
      gives: the key's value; `...` for the flag's own.
      value: type of the flag's own value; empty for a flag without one.
      means: what its values stand for, where not for themselves.
      shift: what is added to the flag's own value.
      needs: the flag it says nothing without.
      lsc_only: its key is one of the stage lsc; without findLSC it is accepted and sets nothing.
    """

    name: str
    key: str = ""
    gives: Any = None
    note: str = ""
    value: Literal["", "int", "float"] = ""
    means: Mapping[float, Scalar] = field(default_factory=dict)
    shift: int = 0
    needs: str = ""
    lsc_only: bool = False

    @property
    def spelled(self) -> str:
        return f"{self.name}:{'n' if self.value == 'int' else 'x'}" if self.value else self.name


def _lsc(name: str, key: str, gives: Any, note: str, **more: Any) -> Flag:
    return Flag(name, key, gives, note, needs="findLSC", **more)


_NORMS = {
    "radius": "The spectral radius is held to the target, as in every published grid.",
    "logradius": "The logarithm of the spectral radius, plus 1.",
    "entrywise": "An entrywise norm.",
    "supnpsd": "Logarithms of all eigenvalues, and a penalty on indefiniteness.",
    "supsubnpsd": "Real parts of all eigenvalues, and a penalty on imaginary ones.",
}

FLAGS: tuple[Flag, ...] = (
    Flag("allns", "lsc_kinds", "all", "Radii of all kinds: recurrent, input, depth, decoder.",
         lsc_only=True),
    Flag("findLSC", "pretrain", "lsc", "Training starts from the weights of the stage lsc."),
    *(_lsc(name, "lsc_norm", name, note) for name, note in _NORMS.items()),
    _lsc("normpow", "lsc_norm", ..., "An induced norm: 1, 2, or -1 for infinity.", value="int",
         means={1: "induced_1", 2: "induced_2", -1: "induced_inf"}),
    _lsc("targetnorm", "lsc_target", ..., "Target of the radius; 1 without it.", value="float"),
    _lsc("unbalanced", "lsc_balance", "unbalanced",
         "Targets T/(L+T) through time and L/(L+T) through depth; with targetnorm:.5 only."),
    _lsc("lsclr", "lsc_lr", ..., "Learning rate of the stage lsc.", value="float"),
    _lsc("onlypretrain", "stage", "lsc", "The trial is the pretraining itself."),
    Flag("heinit", "init", "he_normal", "Feed-forward: He normal in place of Glorot normal."),
    Flag("adabelief", "optimizer", "adabelief",
         "Feed-forward: rectified AdaBelief and Lookahead in training and in the stage lsc, where "
         "Adam and AdamW are used without it. Recurrent nets always have it."),
    Flag("embproj", "readout", "tied",
         "Language: logits from the transposed embedding. Elsewhere a dense readout either way."),
    Flag("dropout", "dropout", ..., "Dropout on each recurrent layer's input.", value="float"),
    Flag("timerepeat", "time_repeat", ..., "Each input step is repeated n times.", value="int"),
    Flag("maxlen", "seq_len", ..., "Tokens of a segment of text.", value="int"),
    Flag("mlminputs", note="Input tokens are replaced by random ones, 5 % of them.",
         needs="mlmeps"),
    Flag("mlmeps", "mlm_epochs", ...,
         "They are while the generator's count, 1 first, is below n: in n - 1 epochs.",
         value="int", needs="mlminputs", shift=-1),
    Flag("clipping", "clip_norm", 1.0, "Gradients clipped to norm 1. Published: no effect."),
    Flag("wmultiplier", "lsc_multiplier", True,
         "Weights are multiplied towards the target: always, as published.", lsc_only=True),
    Flag("wshuff", "lsc_shuffle", True, "Entries of weights are permuted: always, as published.",
         lsc_only=True),
    Flag("nogradreset", note="No gradient through a spike's reset: always, as published."),
    Flag("reoldspike", note="A state's spike is computed anew from it: always, as published."),
    Flag("pretrained", note="Weights are kept and found by the store; nothing to ask for."),
    Flag("onlyloadpretrained",
         note="A pretraining that the store holds is not run again; nothing to ask for."),
)  # fmt: skip
"""Every flag that means something here, in the order of a canonical string."""

INSTEAD = {
    "batchsize": "batch_size", "nbs": "lsc_batch", "optimizer": "optimizer",
    "tauv": "neuron_tau_v", "taub": "neuron_tau_a", "thr": "neuron_threshold",
    "dampf": "surrogate_height", "sharpn": "surrogate_sharpness", "loss": "loss_function",
    "lrs": "lr_schedule",
}  # fmt: skip
"""Flags refused because a key says the same."""

UNSUPPORTED = frozenset((
    "test", "tenb", "savelscweights", "ffnlsc", "nosgd", "waddnoise", "randlsc", "randlambda1",
    "randlambda2", "gausslsc", "berlsc", "shufflelsc", "randchlsc", "truersplit", "onlyprem",
    "deflect", "uniform", "deslice", "meanaxis", "normri", "noimagloss", "stateful",
    "sharedexpert", "readout_voltage", "dontdecdec", "noalif", "gaussbeta", "learnv0", "v0m",
    "withrecdiag", "multreset1", "multreset2", "snudecay", "lsnndecay", "newreset", "noreset",
    "conditionI", "conditionII", "conditionIII", "conditionIV", "maxpoolshd", "ptb1",
    "repetitionsschedule", "simplereadout", "tsteps", "normsamples", "lscrec", "lscdepth",
    "lscout", "lscin", "naswot", "maxdim", "fanin", "flsc", "tailvalue", "refp", "wrecm", "adjff",
    "nin", "embdim", "taskmean", "taskvar", "noiserho", "stacki", "folder",
))  # fmt: skip
"""Flags of the source that no published grid uses, beside those of `INSTEAD`."""
