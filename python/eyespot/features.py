"""Feature extractors: a network that turns an image into an embedding."""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, cast

import numpy as np

from eyespot import backbones, network
from eyespot.budget import Budget, budget_of
from eyespot.errors import AssumptionWarning, InvalidOption, ModelError
from eyespot.extraction import contents_of, identity_of, rows_by_way_of
from eyespot.image_rows import run_images
from eyespot.images import image_list
from eyespot.inference import NetworkRunner
from eyespot.light_model import LightModel, take_apart
from eyespot.options import CropPolicy, Preprocessing
from eyespot.progress import Phase
from eyespot.store import FeatureStore

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping

    import onnx
    from numpy.typing import NDArray

    from eyespot._core import CancelToken
    from eyespot.errors import ImageError
    from eyespot.hashing import ContentHashes
    from eyespot.images import ImageInput
    from eyespot.network import InputContract
    from eyespot.progress import ProgressCallback
    from eyespot.variants import Variants

__all__ = ["FeatureExtractor", "Features"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """The embeddings of a list of images.

    Attributes
    ----------
    embeddings : float32 ndarray of shape (n_good, n_features)
        One row for each image that could be read, in the order of the list.
    indices : int64 ndarray of shape (n_good,)
        Position in the list of each row's image, ascending.
    errors : tuple of ImageError
        The images that could not be used, by ascending position.
    variants : int64 ndarray of shape (n_good,), optional
        With variants, which one each row is; -1 is the original, the first row of its image.
    n_reused : int
        Rows that came out of a store.
    """

    embeddings: NDArray[np.float32]
    indices: NDArray[np.int64]
    errors: tuple[ImageError, ...]
    variants: NDArray[np.int64] | None = None
    n_reused: int = 0


class FeatureExtractor:
    """A network that turns an image into an embedding, and what it wants to see.

    Make one with `default`, `named` or `custom`. It does not change, may be shared between
    threads, and equals another one that gives the same embeddings.

    Examples
    --------
    >>> extractor = FeatureExtractor.default()
    >>> extractor.n_features
    1920
    >>> extractor.preprocessing.width
    192
    """

    __slots__ = (
        "_assumptions",
        "_file_sha256",
        "_fingerprint",
        "_model",
        "_n_features",
        "_name",
        "_output_name",
        "_preprocessing",
        "_runner",
    )

    def __init__(
        self,
        *,
        name: str,
        model: LightModel,
        runner: NetworkRunner,
        n_features: int,
        preprocessing: Preprocessing,
        output_name: str,
        file_sha256: str,
        assumptions: tuple[str, ...],
    ) -> None:
        self._name = name
        self._model = model
        self._runner = runner
        self._n_features = n_features
        self._preprocessing = preprocessing
        self._output_name = output_name
        self._file_sha256 = file_sha256
        self._fingerprint = _fingerprint(file_sha256, output_name, preprocessing)
        self._assumptions = assumptions

    @classmethod
    def default(cls, revision: int | None = None) -> Self:
        """Return the embedded feature extractor, which needs no download.

        Parameters
        ----------
        revision : int, optional
            Which of its revisions; ``None`` is the newest that this version of eyespot has.
            The embeddings of a revision never change.

        Raises
        ------
        InvalidOption
            If this version of eyespot does not have the revision.
        """
        name, path = backbones.embedded(revision)
        return cls._open(path, name=name)

    @classmethod
    def named(cls, name: str) -> Self:
        """Return a well-known public network by name; it is downloaded at the first use.

        Parameters
        ----------
        name : str
            One of `eyespot.backbones.names()`.

        Raises
        ------
        InvalidOption
            If the name is unknown.
        ModelError
            If the file cannot be had, or is not the one whose size and SHA-256 are on record.
        """
        entry = backbones.entry(name)
        path = backbones.fetch(entry)
        return cls._open(
            path,
            name=name,
            output_name=entry.output_name,
            preprocessing=entry.preprocessing,
            before_classifier=entry.output_name is None,
        )

    @classmethod
    def custom(
        cls,
        path: str | os.PathLike[str],
        *,
        output_name: str | None = None,
        preprocessing: Preprocessing | None = None,
    ) -> Self:
        """Return a feature extractor from any ONNX image network.

        The input may be NCHW or NHWC, of float32, float16 or uint8, with a fixed or an open batch
        and size. A feature map is averaged over its positions, tokens over their number, and other
        outputs are flattened.

        Parameters
        ----------
        path : path
            The ONNX file.
        output_name : str, optional
            The tensor to take: an output, or any tensor inside the graph. Needed if the network
            has several outputs.
        preprocessing : Preprocessing, optional
            What the network wants to see. Needed if it leaves its input size open; otherwise it is
            read from the model's metadata entry ``eyespot.preprocessing``, and where there is none,
            what is assumed is said in `assumptions` and in an `AssumptionWarning`.

        Raises
        ------
        InvalidOption
            If an argument does not fit the network.
        ModelError
            If the file is missing, damaged, or not an image network.
        """
        file = Path(path)
        made = cls._open(file, name=file.stem, output_name=output_name, preprocessing=preprocessing)
        if made.assumptions:
            text = f"{file}: " + "; ".join(made.assumptions)
            warnings.warn(text, AssumptionWarning, stacklevel=2)
        return made

    @classmethod
    def _open(
        cls,
        path: Path,
        *,
        name: str,
        output_name: str | None = None,
        preprocessing: Preprocessing | None = None,
        before_classifier: bool = False,
    ) -> Self:
        file = network.read_network(path)
        source = str(path)
        contract = network.input_contract(file.model, source)
        if before_classifier:
            output_name = network.cut_classifier(file.model, source)
        output = network.pick_output(file.model, output_name, source)
        metadata = network.metadata(file.model)
        used, assumptions = _preprocessing(contract, metadata, preprocessing, source)
        part = LightModel(network.cut(file.model, contract, output), file.weights)
        prepared = _prepare(part, contract, used, source)
        return cls(
            name=name,
            model=prepared.model,
            runner=prepared.runner,
            n_features=prepared.n_features,
            preprocessing=used,
            output_name=output,
            file_sha256=file.sha256,
            assumptions=(*assumptions, *prepared.notes),
        )

    @property
    def name(self) -> str:
        """What to call it: the name in the registry, or the file's name without its suffix."""
        return self._name

    @property
    def n_features(self) -> int:
        """Length of the embedding of one image."""
        return self._n_features

    @property
    def preprocessing(self) -> Preprocessing:
        """What the network wants to see."""
        return self._preprocessing

    @property
    def output_name(self) -> str:
        """The tensor of the network that the embedding is made of."""
        return self._output_name

    @property
    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal, over the file's bytes, the output's name and the preprocessing.

        Two extractors with the same fingerprint give the same embeddings.
        """
        return self._fingerprint

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What neither the model nor the caller said and had to be guessed, in words."""
        return self._assumptions

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FeatureExtractor):
            return NotImplemented
        return self._fingerprint == other._fingerprint

    def __hash__(self) -> int:
        return hash(self._fingerprint)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).from_parts, self.to_parts()

    def to_parts(self) -> tuple[dict[str, Any], bytes]:
        """Return plain JSON values and the network, which `from_parts` makes an equal one of."""
        values = {
            "name": self._name,
            "source": self._runner.source,
            "n_features": self._n_features,
            "preprocessing": self._preprocessing.to_json(),
            "output_name": self._output_name,
            "file_sha256": self._file_sha256,
            "assumptions": list(self._assumptions),
        }
        return values, self._model.to_bytes()

    @classmethod
    def from_parts(cls, values: Mapping[str, Any], model: bytes) -> Self:
        """Return what `to_parts` was called on.

        Raises
        ------
        InvalidOption
            If the preprocessing cannot be read.
        KeyError
            If a value is missing.
        ModelError
            If ONNX Runtime refuses the network.
        """
        runner = NetworkRunner(model, source=values["source"])  # refuses what is no network
        return cls(
            name=values["name"],
            model=take_apart(model),
            runner=runner,
            n_features=values["n_features"],
            preprocessing=Preprocessing.from_json(values["preprocessing"]),
            output_name=values["output_name"],
            file_sha256=values["file_sha256"],
            assumptions=tuple(values["assumptions"]),
        )

    def __repr__(self) -> str:
        size = f"{self._preprocessing.width}x{self._preprocessing.height}"
        return f"<FeatureExtractor {self._name}: {size} pixels to {self._n_features} features>"

    def with_crop(self, crop: CropPolicy | str) -> FeatureExtractor:
        """Return the same network with another crop policy.

        Raises
        ------
        InvalidOption
            If the policy is unknown.
        """
        changed = self._preprocessing.replace(crop=crop)
        return FeatureExtractor(
            name=self._name,
            model=self._model,
            runner=self._runner,
            n_features=self._n_features,
            preprocessing=changed,
            output_name=self._output_name,
            file_sha256=self._file_sha256,
            assumptions=self._assumptions,
        )

    def extract(
        self,
        inputs: Iterable[ImageInput],
        *,
        n_threads: int = 0,
        on_error: Literal["skip", "raise"] = "skip",
        progress: ProgressCallback | None = None,
        cancel: CancelToken | None = None,
        variants: Variants | None = None,
        store: FeatureStore | None = None,
        contents: ContentHashes | None = None,
    ) -> Features:
        """Return the embeddings of a list of images.

        Parameters
        ----------
        inputs : iterable of paths, bytes, arrays or PIL images
            The images.
        n_threads : int
            Threads to work with; 0 means as many as the process may use.
        on_error : {"skip", "raise"}
            What an image does that cannot be read, or whose embedding has NaN or infinity: it is
            left out and listed in `Features.errors`, or its error is raised.
        progress : callable, optional
            Told how many images are done, from this thread.
        cancel : CancelToken, optional
            Stops the work within 100 ms of its ``cancel()``.
        variants : Variants, optional
            Of each image, the original and its augmented copies, a row for each; see
            `eyespot.variants`.
        store : FeatureStore, optional
            Embeddings that it has are taken from it, and the others are added as they come. Images
            that are no files go past it.
        contents : ContentHashes, optional
            The digests of `inputs`, where they are known; otherwise a store makes all files be
            read once more.

        Raises
        ------
        DecodeError
            With ``on_error="raise"``, for a bad image.
        Cancelled
            If `cancel` was set.
        InvalidOption
            If an argument is outside what is listed here.
        ModelError
            If the network fails.
        StoreError
            If the store cannot be read or written.

        Notes
        -----
        The embedding of an image has the same bits for any number of threads and any order of
        the list, from a store or not. Decoding and inference overlap. Beside the result, memory
        does not grow with the number of images.
        """
        images = image_list(inputs)
        if store is not None:
            if not isinstance(cast("object", store), FeatureStore):
                message = f"store is a {type(store).__name__}; allowed: a FeatureStore, or None"
                raise _invalid(message, "store")
            if contents is None:
                contents = contents_of(images, n_threads, progress, cancel)
            identity = identity_of(self._fingerprint, self._name)
            with store.shelf(identity, self._n_features) as shelf:
                rows, n_reused = rows_by_way_of(
                    shelf,
                    self._runner,
                    images,
                    self._preprocessing,
                    self._n_features,
                    contents,
                    n_threads=n_threads,
                    on_error=on_error,
                    progress=progress,
                    cancel=cancel,
                    variants=variants,
                )
        else:
            n_reused = 0
            rows = run_images(
                self._runner,
                images,
                self._preprocessing,
                self._n_features,
                phase=Phase.EXTRACTING_FEATURES,
                n_threads=n_threads,
                on_error=on_error,
                progress=progress,
                cancel=cancel,
                variants=variants,
            )
        return Features(
            embeddings=rows.values,
            indices=rows.indices,
            errors=rows.errors,
            variants=rows.variants,
            n_reused=n_reused,
        )

    def budget(self, variants: Variants, *, n_threads: int = 0) -> Budget:
        """Return how many images `variants` makes, and about how long to embed them takes.

        Parameters
        ----------
        variants : Variants
            What is to be made.
        n_threads : int
            Threads to work with; 0 means as many as the process may use.
        """
        return budget_of(variants, self._runner, self._preprocessing, n_threads)

    def onnx_model(self) -> onnx.ModelProto:
        """Return the network as it is run: one input, one output, nothing that is not needed.

        Returns
        -------
        onnx.ModelProto
            A copy, whose only output is float32 of shape (N, n_features). The input is as in
            `preprocessing`. The opset is the file's.
        """
        import onnx

        return onnx.load_model_from_string(self._model.to_bytes())

    def light_model(self) -> LightModel:
        """Return `onnx_model` with its large weights apart; it is shared, and not to be changed."""
        return self._model


def _invalid(message: str, source: str) -> InvalidOption:
    return InvalidOption(message, source=source, code="invalid_argument")


def _fingerprint(file_sha256: str, output_name: str, preprocessing: Preprocessing) -> str:
    text = f"{file_sha256}\n{output_name}\n{preprocessing.to_json()}"
    return hashlib.sha256(text.encode()).hexdigest()


def _preprocessing(
    contract: InputContract, metadata: dict[str, str], given: Preprocessing | None, source: str
) -> tuple[Preprocessing, list[str]]:
    """Return what the network wants to see, and what of it is a guess."""
    text = metadata.get(network.METADATA_KEY)
    if given is not None:
        _check_fit(given, contract, f"{source}: preprocessing")
        return given, []
    if text is not None:
        try:
            stored = Preprocessing.from_json(text)
            _check_fit(stored, contract, f"{source}: its metadata entry {network.METADATA_KEY}")
        except InvalidOption as error:
            message = f"{error}; pass preprocessing= to override it"
            raise ModelError(message, source=source, code="unsupported_model") from error
        return stored, []
    if contract.height is None or contract.width is None:
        message = (
            f"{source}: the model takes images of any size and does not say which it was made for; "
            "pass preprocessing=Preprocessing(width=..., height=...)"
        )
        raise _invalid(message, "preprocessing")
    assumed = Preprocessing(
        width=contract.width,
        height=contract.height,
        layout=contract.layout,
        dtype=contract.dtype,
    )
    pixels = "uint8 levels" if contract.dtype == "uint8" else "ImageNet's mean and std on [0, 1]"
    note = f"the model does not say how to prepare its input: assumed RGB, {pixels}, "
    notes = [note + "bilinear, center_crop"]
    if contract.layout_assumed:
        notes.append("the input's shape leaves the layout open: assumed NCHW")
    return assumed, notes


def _check_fit(preprocessing: Preprocessing, contract: InputContract, what: str) -> None:
    wanted: dict[str, object] = {
        "dtype": contract.dtype,
        "height": contract.height,
        "width": contract.width,
    }
    if not contract.layout_assumed:
        wanted["layout"] = contract.layout
    for name, value in wanted.items():
        found = getattr(preprocessing, name)
        if value is not None and found != value:
            raise _invalid(f"{what} has {name} {found!r}, but the model takes {value!r}", name)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prepared:
    model: LightModel
    runner: NetworkRunner
    n_features: int
    notes: list[str]


def _prepare(
    light: LightModel, contract: InputContract, preprocessing: Preprocessing, source: str
) -> _Prepared:
    """Give the cut network a fixed input size and one output of rows, and find out their length.

    The network is run once on grey pixels: its own answer says more than the shapes in the file.
    """
    notes = []
    part = light.proto
    batch = contract.batch
    _set_input_shape(part, batch, preprocessing)
    runner = NetworkRunner(light.to_bytes(), source=source)
    name = part.graph.output[0].name
    found = _probe(runner, preprocessing, batch or 2)
    if isinstance(found, str) and batch is None:
        _set_input_shape(part, 1, preprocessing)
        runner = NetworkRunner(light.to_bytes(), source=source)
        single = _probe(runner, preprocessing, 1)
        if not isinstance(single, str):
            found, batch = single, 1
            notes.append("the model leaves the batch open but works with single images only")
    if isinstance(found, str):
        message = (
            f"{source}: {name!r} {found}; needed: one row, feature map or list of tokens "
            "for each image of the batch"
        )
        raise ModelError(message, source=source, code="unsupported_model")
    output = found
    layout = network.spatial_layout(part, name)
    if layout is None and output.ndim == 4 and min(output.shape[1:]) > 1:
        layout = preprocessing.layout
        notes.append(f"the feature map's layout is assumed to be the input's, {layout.upper()}")
    changed, note = network.append_pooling(part, output.shape, output.dtype.name, layout or "nchw")
    notes += [note] if note else []
    if changed:
        runner = NetworkRunner(light.to_bytes(), source=source)
        rows = _probe(runner, preprocessing, batch or 2)
        assert not isinstance(rows, str), rows
        output = rows
    n_features = int(output.shape[1])
    network.set_output_shape(part, batch, n_features)
    return _Prepared(model=light, runner=runner, n_features=n_features, notes=notes)


def _set_input_shape(
    model: onnx.ModelProto, batch: int | None, preprocessing: Preprocessing
) -> None:
    size = [preprocessing.height, preprocessing.width]
    image = [3, *size] if preprocessing.layout == "nchw" else [*size, 3]
    network.set_input_shape(model, batch, image)


def _probe(runner: NetworkRunner, preprocessing: Preprocessing, batch: int) -> NDArray[Any] | str:
    """Run the network on `batch` grey images; return its output, or what is wrong, in words."""
    size = (preprocessing.height, preprocessing.width)
    image = (3, *size) if preprocessing.layout == "nchw" else (*size, 3)
    level = 127 if preprocessing.dtype == "uint8" else 0
    try:
        output = runner.run(np.full((batch, *image), level, preprocessing.dtype))
    except ModelError as error:
        return f"cannot be computed for a batch of {batch} ({error.__cause__})"
    fits = output.ndim >= 2 and len(output) == batch and output.size > 0
    if output.dtype.kind not in "fiu" or not fits:
        return f"is {output.dtype} of shape {output.shape} for a batch of {batch}"
    return output
