"""Which data sets there are: their files, canonical checksums and addresses. Data, no code."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class File:
    """One file. `checksum` is canonical, as "sha256:..." or "md5:..."; None: see `SHA256SUMS`."""

    path: str
    checksum: str | None = None


@dataclass(frozen=True)
class Form:
    """One way in which a data set may lie on disk.

    Attributes:
      files: below the data root; none for data that a library bundles.
      reader: the function of `orchestrator.dataset_files` that makes arrays of the files' bytes.
      mirrors: addresses of the folder that holds these files, tried in order by `fetch`.
    """

    files: tuple[File, ...]
    reader: str
    mirrors: tuple[str, ...] = ()


@dataclass(frozen=True)
class Dataset:
    """A data set and its forms, the preferred one first."""

    name: str
    doc: str
    licence: str
    forms: tuple[Form, ...]


_MNIST_DIGESTS = {
    "train-images-idx3-ubyte.gz": (
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"
    ),
    "train-labels-idx1-ubyte.gz": (
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"
    ),
    "t10k-images-idx3-ubyte.gz": (
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"
    ),
    "t10k-labels-idx1-ubyte.gz": (
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"
    ),
}
_MNIST = Form(
    tuple(File(f"mnist/{name}", f"sha256:{digest}") for name, digest in _MNIST_DIGESTS.items()),
    "mnist_idx",
    (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
)
_CIFAR10_ARCHIVE = (File("cifar10/cifar-10-binary.tar.gz", "md5:c32a1d4ab5d03f1284b67883e8d87530"),)
_CIFAR10_HOME = ("https://www.cs.toronto.edu/~kriz/",)
_CIFAR10_BATCHES = (*(f"data_batch_{n}.bin" for n in range(1, 6)), "test_batch.bin")
_CIFAR10_LICENCE = "none stated; cite Krizhevsky 2009"

DATASETS: dict[str, Dataset] = {
    dataset.name: dataset
    for dataset in (
        Dataset(
            "digits",
            "1,797 handwritten digits of 8x8 pixels, bundled with scikit-learn.",
            "BSD-3-Clause, with scikit-learn",
            (Form((), "bundled_digits"),),
        ),
        Dataset("mnist", "60,000 and 10,000 digits of 28x28.", "CC BY-SA 3.0", (_MNIST,)),
        Dataset(
            "cifar10",
            "50,000 and 10,000 colour images of 32x32 in ten classes.",
            _CIFAR10_LICENCE,
            (
                Form(_CIFAR10_ARCHIVE, "cifar10_archive", _CIFAR10_HOME),
                *(
                    Form(tuple(File(folder + name) for name in _CIFAR10_BATCHES), "cifar10_batches")
                    for folder in ("cifar10/cifar-10-batches-bin/", "cifar10/")
                ),
            ),
        ),
        Dataset(
            "cifar10_4k",
            "The first 4,000 training images of CIFAR-10 and 100 of its test images a class.",
            _CIFAR10_LICENCE,
            (
                Form(
                    (
                        File("cifar10/data_batch_1.first4000.bin.xz"),
                        File("cifar10/test_subset_1000.bin.xz"),
                    ),
                    "cifar10_4k_repacked",
                ),
                Form(_CIFAR10_ARCHIVE, "cifar10_4k_of_archive", _CIFAR10_HOME),
            ),
        ),
    )
}
