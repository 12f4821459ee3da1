"""Ready-made feature extractor networks: the embedded default, and public ones to download.

The embedded one ships with the package. The others are public ImageNet classifiers of the ONNX
Model Zoo (Apache-2.0), pinned by size and SHA-256, fetched on first use and kept in a cache.

Their table was made from the zoo's own Git LFS pointers; the files themselves were never opened
when it was written. That the server has the same bytes is checked on each first use. What no check
can show is the preprocessing, which is the zoo's documentation for the family, and that the
embedding is what the classifier layer reads, which is cut by a rule (see
`eyespot.network.cut_classifier`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from eyespot.errors import InvalidOption
from eyespot.options import Preprocessing

if TYPE_CHECKING:
    from eyespot.backbones.download import DownloadRules

__all__ = ["Backbone", "embedded", "entry", "fetch", "names"]

#: Revisions of the embedded backbone in this package: file stem by revision.
EMBEDDED: Final[dict[int, str]] = {
    0: "eyespot-v0",
    1: "eyespot-v1",
    2: "eyespot-v2",
    3: "eyespot-v3",
}

_HERE: Final = Path(__file__).parent
_BASE_URL: Final = (
    "https://huggingface.co/onnxmodelzoo/legacy_models/resolve/"
    "253614d982615fcf2ca39b51c2fdb3fa73693e94/validated/vision/classification/"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backbone:
    """One public network: where its file is, how to know it, and how to feed it.

    Attributes
    ----------
    name : str
        What `FeatureExtractor.named` knows it by.
    url : str
        Where to download the ONNX file.
    n_bytes : int
        Its exact size.
    sha256 : str
        Its SHA-256, in lower-case hexadecimal.
    preprocessing : Preprocessing
        What the network wants to see.
    output_name : str or None
        The tensor that is the embedding; ``None`` cuts the graph where its classifier begins.
    """

    name: str
    url: str
    n_bytes: int
    sha256: str
    preprocessing: Preprocessing
    output_name: str | None = None


_IMAGENET: Final = Preprocessing(width=224, height=224)
_LITE: Final = Preprocessing(
    width=224,
    height=224,
    layout="nhwc",
    scale=1.0,
    mean=(127.0, 127.0, 127.0),
    std=(128.0, 128.0, 128.0),
)

# name: path below the base, bytes, SHA-256, preprocessing
_TABLE: Final[dict[str, tuple[str, int, str, Preprocessing]]] = {
    "densenet_121": (
        "densenet-121/model/densenet-12.onnx",
        32_726_877,
        "0294e7e88e5b3360de9b0fdc321baf9e6ef18b7f058c4536caae3b9f18ed9ed5",
        _IMAGENET,
    ),
    "efficientnet_lite4_int8": (
        "efficientnet-lite4/model/efficientnet-lite4-11-int8.onnx",
        13_585_963,
        "2b3cbb5077262b20df565dacddecb3724c0976c35029a87e512d13aa4eff04a2",
        _LITE,
    ),
    "mobilenet_v2": (
        "mobilenet/model/mobilenetv2-7.onnx",
        14_246_826,
        "c1c513582d56afceff8516c73804e484c81c6a830712ab6d682253f4a3cd042f",
        _IMAGENET,
    ),
    "mobilenet_v2_int8": (
        "mobilenet/model/mobilenetv2-12-int8.onnx",
        3_655_033,
        "cc028fe6cae7bc11a4ff53cfc9b79c920e8be65ce33a904ec3e2a8f66d77f95f",
        _IMAGENET,
    ),
    "resnet18_v2": (
        "resnet/model/resnet18-v2-7.onnx",
        46_806_737,
        "3b4d048057854022232aa20bf68262e31718ab7119a17f920b8a2dc1433f824b",
        _IMAGENET,
    ),
    "resnet50_v2": (
        "resnet/model/resnet50-v2-7.onnx",
        102_442_450,
        "1e80e8a7c8eec8e8b20c440d7dd7f2f8590779c7c2859dc4514870dc463845d3",
        _IMAGENET,
    ),
    "shufflenet_v2": (
        "shufflenet/model/shufflenet-v2-12.onnx",
        9_218_556,
        "ea69821b4dd374ae2f33f9710dd1229ac263d0ee5b5a46ca3521f6483e1ba035",
        _IMAGENET,
    ),
    "squeezenet_1.0": (
        "squeezenet/model/squeezenet1.0-8.onnx",
        4_952_222,
        "3c0bff2f7c984350d3ffa98e0167dc08c15da88f05d0c31989ebeba6fbb5e025",
        _IMAGENET,
    ),
}


def names() -> tuple[str, ...]:
    """Return the names of the public networks that can be downloaded."""
    return tuple(_TABLE)


def entry(name: str) -> Backbone:
    """Return what is known of the public network `name`.

    Raises
    ------
    InvalidOption
        If the name is unknown; the message lists the known ones.
    """
    if name not in _TABLE:
        message = f"no backbone is named {name!r}; known: {', '.join(_TABLE)}"
        raise InvalidOption(message, source="name", code="invalid_argument")
    path, n_bytes, sha256, preprocessing = _TABLE[name]
    return Backbone(
        name=name,
        url=_BASE_URL + path,
        n_bytes=n_bytes,
        sha256=sha256,
        preprocessing=preprocessing,
    )


def embedded(revision: int | None = None) -> tuple[str, Path]:
    """Return the name and the file of the embedded network.

    Raises
    ------
    InvalidOption
        If this package does not hold the revision; the message lists those that it holds.
    """
    if revision is None:
        revision = max(EMBEDDED)
    if revision not in EMBEDDED:
        known = ", ".join(map(str, sorted(EMBEDDED)))
        message = f"this eyespot has no revision {revision!r} of its backbone; known: {known}"
        raise InvalidOption(message, source="revision", code="invalid_argument")
    name = EMBEDDED[revision]
    return name, _HERE / f"{name}.onnx"


def fetch(backbone: Backbone, *, rules: DownloadRules | None = None) -> Path:
    """Return the file of a public network, from the cache or from its server.

    Parameters
    ----------
    backbone : Backbone
        Which one.
    rules : DownloadRules, optional
        How patient to be.

    Raises
    ------
    ModelError
        If the file cannot be had, or is not the one on record, or is not in the cache while
        ``EYESPOT_OFFLINE=1``. The message says where to put it by hand.
    """
    from eyespot.backbones.download import DownloadRules, fetch_file

    return fetch_file(
        backbone.url,
        f"{backbone.name}-{backbone.sha256[:12]}.onnx",
        n_bytes=backbone.n_bytes,
        sha256=backbone.sha256,
        rules=rules or DownloadRules(),
    )
