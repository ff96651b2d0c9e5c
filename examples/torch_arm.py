"""An arm of the study `vanishing` in PyTorch, as its authors wrote it, beside ours in JAX.

Both see the same digits, row by row, and one table tells where which of them stops learning."""
# pyright: reportMissingImports=false

import re

import numpy as np

from gradsweep import HostTrainable, Key, Space, Study, Task


def digits(config):  # x (n, 8, 8): the rows of an image as time steps
    from sklearn.datasets import load_digits

    pixels, labels = map(np.asarray, load_digits(return_X_y=True))
    order = np.random.default_rng(0).permutation(len(labels))
    x, y = pixels[order].reshape(-1, 8, 8).astype("f4") / 8 - 1, labels[order]
    ends = {"train": slice(0, 1400), "val": slice(1400, 1600), "test": slice(1600, None)}
    return {name: {"x": x[part], "y": y[part]} for name, part in ends.items()}


def place(name):  # of torch's "rnn.weight_hh_l3" in the table of layers: ("rnn.3", "w_hh")
    ((kind, side, layer),) = re.findall(r"rnn\.(w|b)\w+_(.h)_l(\d+)", name)
    return f"rnn.{layer}", f"{kind}_{side}"


def train(config, report):
    import torch
    from torch import nn
    from torch.nn.functional import cross_entropy

    torch.manual_seed(config["seed"])
    data = {
        name: (torch.tensor(part["x"]), torch.tensor(part["y"]))
        for name, part in digits(config).items()
    }
    rnn = nn.RNN(8, config["width"], config["depth"], batch_first=True)
    net = nn.ModuleDict({"rnn": rnn, "readout": nn.Linear(config["width"], 10)})
    rule = torch.optim.SGD(net.parameters(), lr=config["lr"])
    if report.restored is not None:
        net.load_state_dict(report.restored["net"])
        torch.set_rng_state(report.restored["drawn"])

    def scores(x, y):
        logits = net["readout"](net["rnn"](x)[0][:, -1])
        return cross_entropy(logits, y), (logits.argmax(1) == y).float().mean()

    while report.epoch < config["epochs"]:
        x, y = data["train"]
        steps = torch.randperm(len(y)).split(config["batch_size"])
        sums, losses, right = {}, [], 0.0
        for rows in steps:
            loss, accuracy = scores(x[rows], y[rows])
            rule.zero_grad()
            loss.backward()
            losses.append(loss.item())
            right += accuracy.item() * len(rows)
            for name, p in net.named_parameters():
                sums[name] = sums.get(name, 0.0) + p.grad.norm().item()
            rule.step()
        layers = {f"rnn.{i}": {} for i in range(config["depth"])} | {"readout": {}}
        for name, p in net.named_parameters():
            layer, tensor = place(name) if "rnn" in name else ("readout", name[8])
            norms = {"grad_norm": sums[name] / len(steps), "param_norm": p.detach().norm()}
            layers[layer][tensor] = norms
        with torch.no_grad():
            val, test = scores(*data["val"]), scores(*data["test"])
        report(
            loss=np.mean(losses), loss_first=losses[0], loss_last=losses[-1],
            accuracy=right / len(y), val_loss=val[0], val_accuracy=val[1],
            test_loss=test[0], test_accuracy=test[1], layers=layers, steps=len(steps),
            state={"net": net.state_dict(), "drawn": torch.get_rng_state()},
            weights=net.state_dict(),
        )  # fmt: skip


TORCH = HostTrainable(
    name="torch_rnn",
    run=train,
    keys=(
        Key("depth", "int", 20, "host", "Recurrent layers.", low=1),
        Key("width", "int", 32, "host", "Units of each.", low=1),
        Key("lr", "float", 0.05, "host", "Learning rate.", low=0),
        Key("batch_size", "int", 32, "host", "Samples of a step.", low=1),
    ),
    chance_loss=lambda config: np.log(10),
    loss_unit="nats",
)
ROWS = Task(name="digit_rows", build=digits, batch_size=32, chance_loss=lambda c: np.log(10))
ARMS = {"stage": ["torch_rnn", "train"], "model": [..., "vanilla_rnn"],
        "task": [..., "digit_rows"], "init": [..., "default"]}  # fmt: skip
GRID = {"arm": {"zip": ARMS}, "depth": {"grid_search": [2, 20]}, "width": 32, "lr": 0.05,
        "epochs": 12, "seed": {"grid_search": [0, 1]}}  # fmt: skip
SELECT = {"metric": "val_loss", "mode": "min", "report": "test_accuracy", "over": "seed"}
SPACE = Space(reproduces="", param_space=GRID, select=SELECT, smoke={"epochs": 2, "seed": 0},
              figures=("grad_heatmap", "training_loss"))  # fmt: skip
STUDY = Study(name="arms", title="torch beside JAX", parts=(TORCH, ROWS), spaces={"both": SPACE})
