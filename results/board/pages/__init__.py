"""The pages of the board, in the order of its head line."""

from __future__ import annotations

from results.board.page import Page
from results.board.pages import curves, gradients, parallel, query, sweeps, trial, trials

PAGES: dict[str, Page] = {
    module.PAGE.name: module.PAGE
    for module in (sweeps, trials, curves, parallel, gradients, trial, query)
}
