"""Pretraining a convolutional network to the Local Stability Condition."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from trainables.declarations import Trial
from trainables.lsc.conv_jacobians import ConvJacobians
from trainables.lsc.feedforward import LscFeedForward
from trainables.models.cnn import conv_row
from trainables.tasks.base import TaskRuntime


class LscConvolutional(LscFeedForward):
    """The stage's epoch for model `cnn`: as for model `ffn`, with the blocks of `conv_jacobians`.

    Convolutions from `width` to as many channels are judged: their Jacobians are nearly square.
    """

    def __init__(self, trial: Trial, task: TaskRuntime, traced: Mapping[str, np.ndarray]):
        super().__init__(trial, task, traced)
        row = conv_row(self.constants, self.sizes)
        self.blocks = ConvJacobians(row)
        self.blocks.require(self.norm)
        self.hidden, self.square = row.layers - 1, slice(1, row.depth)
