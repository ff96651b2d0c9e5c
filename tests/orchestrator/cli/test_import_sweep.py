"""`gradsweep import-sweep`: a published sweep file gives the trials of our own space."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.cli.import_sweep import _column, import_sweep
from orchestrator.errors import RequestError
from orchestrator.plan.studies import catalogue
from orchestrator.plan.trials import trials_of

# The keys and values of the paper's figure 10 for the dense RNN (docs/specs/zucchet2024.md, 4), in
# the published program's spelling.
PUBLISHED = """
method: grid
name: concentrated phases
metric: {name: Training loss, goal: minimize}
parameters:
  dataset: {value: linear-system-identification}
  lsi_T: {value: 300}
  lsi_d_hidden: {value: 10}
  force_lsi_min_nu_model: {value: true}
  model: {value: RNN}
  d_hidden: {value: 64}
  rnn_n_heads: {value: 1}
  rnn_force_complex: {value: false}
  s4_shared_Delta: {value: true}
  lru_param: {value: exp}
  min_nu: {value: 0.99}
  max_phase: {values: [3.14, 0.993, 0.314, 0.0993, 0.0314]}
  optimizer: {value: adam}
  lr_base: {values: [0.001, 3.2e-4, 1e-4, 3.2e-5]}
  lr_min: {value: 1e-7}
  epochs: {value: 100}
  n_batches_per_epoch: {value: 100}
  compute_hessian: {value: -1}
  use_wandb: {value: true}
  jax_seed: {values: [2023, 2024, 2025, 2026, 2027, 2028, 2029, 2030, 2031, 2032]}
"""


def test_a_published_file_is_the_space_we_wrote(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, made = tmp_path / "shrink.yaml", tmp_path / "shrink.py"
    file.write_text(PUBLISHED)
    import_sweep(file, output=made, set=["diverge_above=1e9"])
    said = capsys.readouterr().out
    assert "200 trials, 1 programs" in said
    assert "left out: use_wandb" in said
    assert "left out: lru_param, which the parts of this sweep do not read" in said
    ours = catalogue()
    theirs = catalogue(str(made))
    name, _, space = theirs.find("shrink")[0]
    assert name == "shrink/shrink"
    assert space.select == {"metric": "loss", "mode": "min", "over": "seed"}
    written = trials_of(ours, ours.find("zucchet2024/shrink_p3")[0][2])
    assert {t.id for t in trials_of(theirs, space)} == {t.id for t in written}


def test_a_sampled_file_with_a_domain_of_ray_s(tmp_path: Path) -> None:
    file, made = tmp_path / "random search.yaml", tmp_path / "drawn.py"
    file.write_text(
        "method: random\nrun_cap: 6\nparameters:\n"
        "  optimizer: {parameters: {name: {values: [adam, sgd]}, lr: {min: 1.0e-4, max: 1.0e-1,"
        " distribution: log_uniform_values}}}\n"
        "  width: {distribution: q_uniform, min: 8, max: 32, q: 8}\n"
    )
    import_sweep(file, output=made, set=["model=ffn", "task=digits"])
    found = catalogue(str(made))
    trials = trials_of(found, found.find("drawn")[0][2])
    assert len(trials) == 6
    assert {t.config["width"] for t in trials} <= {8, 16, 24, 32}
    assert {t.config["optimizer"] for t in trials} == {"adam", "sgd"}
    assert all(1e-4 <= float(str(t.config["lr"])) <= 1e-1 for t in trials)
    with pytest.raises(RequestError, match=r"drawn\.py exists already"):
        import_sweep(file, output=made, set=["model=ffn", "task=digits"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("parameters: [", "is no YAML"),
        ("- a", "a sweep file is a mapping with parameters"),
        ("parameters: {model: {value: ffn}, task: {value: digits}, widht: {value: 3}}",
         "no key of ours is called widht"),
        ("parameters: {model: {value: ffn}, task: {value: digits}, heads: {values: [1, 2]}}",
         "unknown key 'heads'"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_read(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(text)
    with pytest.raises(RequestError, match=said):
        import_sweep(file, output=tmp_path / "made.py")
    assert not (tmp_path / "made.py").exists()
    with pytest.raises(RequestError, match="cannot be read"):
        import_sweep(tmp_path / "absent.yaml", output=tmp_path / "made.py")


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("Training loss", "loss"), ("train/accuracy", "accuracy"),
        ("eval/accuracy", "val_accuracy"), ("Validation loss", "val_loss"),
        ("val_loss", "val_loss"), ("fid", None),
    ],
)  # fmt: skip
def test_a_metric_keeps_its_split(name: str, column: str | None) -> None:
    assert _column(name) == column
