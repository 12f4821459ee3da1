from collections.abc import Sequence
from typing import Any, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Buffer

__version__: str

# pixels: what a model sees
class PixelSpec:
    def __init__(
        self,
        *,
        width: int,
        height: int,
        crop: str = "center_crop",
        resample: str = "bilinear",
        dtype: str = "float32",
        layout: str = "nchw",
        mean: Sequence[float] = ...,
        std: Sequence[float] = ...,
        scale: float = ...,
        bgr: bool = False,
        background: Sequence[int] = (255, 255, 255),
        planes: bool = False,
        max_pixels: int | None = None,
        max_bytes: int | None = None,
    ) -> None: ...
    @property
    def shape(self) -> tuple[int, int, int]: ...
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def crop(self) -> str: ...
    @property
    def resample(self) -> str: ...
    @property
    def dtype(self) -> str: ...
    @property
    def layout(self) -> str: ...
    @property
    def background(self) -> tuple[int, int, int]: ...
    @property
    def planes(self) -> bool: ...
    @property
    def max_pixels(self) -> int: ...
    @property
    def max_bytes(self) -> int: ...

def load_pixels(
    data: Buffer, /, spec: PixelSpec, source: str = ""
) -> NDArray[np.float32] | NDArray[np.uint8]: ...
def preprocess(
    array: NDArray[np.uint8], /, spec: PixelSpec
) -> NDArray[np.float32] | NDArray[np.uint8]: ...
def resize(
    array: NDArray[np.uint8],
    /,
    *,
    width: int,
    height: int,
    resample: str = "bilinear",
    box: Sequence[float] | None = None,
) -> NDArray[np.uint8]: ...

# variants of images
class AugmentPlan:
    def __init__(
        self,
        *,
        crop: tuple[tuple[float, float], tuple[float, float], float, int] | None = None,
        rotation: tuple[tuple[float, float], float, int] | None = None,
        blur: tuple[tuple[float, float], float, int] | None = None,
        exposure: tuple[tuple[float, float], float, int] | None = None,
        noise: tuple[tuple[float, float], float, int] | None = None,
        flip: tuple[bool, bool, bool, float, int] | None = None,
        order: Sequence[str] = ...,
        copies: int | None = None,
        max_copies: int = 100,
        edges: str = "mirror",
        fill: Sequence[int] = (255, 255, 255),
    ) -> None: ...
    @property
    def n_variants(self) -> int: ...
    def sample(self, seed: int, content: int, index: int) -> Variant: ...

class Variant:
    def __init__(
        self,
        *,
        crop: Sequence[float] | None = None,
        rotation_deg: float = 0.0,
        blur_sigma_px: float = 0.0,
        exposure_stops: float = 0.0,
        noise_sigma: float = 0.0,
        noise_seed: int = 0,
        flip_horizontal: bool = False,
        flip_vertical: bool = False,
        order: Sequence[str] = ...,
        edges: str = "mirror",
        fill: Sequence[int] = (255, 255, 255),
    ) -> None: ...
    @property
    def crop(self) -> tuple[float, float, float, float] | None: ...
    @property
    def rotation_deg(self) -> float: ...
    @property
    def blur_sigma_px(self) -> float: ...
    @property
    def exposure_stops(self) -> float: ...
    @property
    def noise_sigma(self) -> float: ...
    @property
    def noise_seed(self) -> int: ...
    @property
    def flip_horizontal(self) -> bool: ...
    @property
    def flip_vertical(self) -> bool: ...

def content_key(data: Buffer, /) -> int: ...
def augment(
    array: NDArray[np.uint8],
    /,
    plan: AugmentPlan,
    *,
    seed: int,
    indices: Sequence[int],
    width: int,
    height: int,
    policy: str = "center_crop",
    resample: str = "bilinear",
    background: Sequence[int] = (255, 255, 255),
    keys: Sequence[int] | None = None,
    pool: ThreadPool | None = None,
) -> NDArray[np.uint8]: ...
@overload
def apply_variant(array: NDArray[np.uint8], variant: Variant, /) -> NDArray[np.uint8]: ...
@overload
def apply_variant(
    array: NDArray[np.uint8],
    /,
    variant: Variant,
    *,
    width: int,
    height: int,
    policy: str = "center_crop",
    resample: str = "bilinear",
    background: Sequence[int] = (255, 255, 255),
) -> NDArray[np.uint8]: ...
def load_variants(
    data: Buffer,
    /,
    spec: PixelSpec,
    plan: AugmentPlan,
    *,
    seed: int,
    indices: Sequence[int],
    source: str = "",
) -> NDArray[np.float32] | NDArray[np.uint8]: ...
def preprocess_variants(
    array: NDArray[np.uint8],
    /,
    spec: PixelSpec,
    plan: AugmentPlan,
    *,
    seed: int,
    content: int,
    indices: Sequence[int],
) -> NDArray[np.float32] | NDArray[np.uint8]: ...

# runtime
def available_threads() -> int: ...
def simd_target() -> str: ...

class ThreadPool:
    def __init__(self, n_threads: int = 0) -> None: ...
    @property
    def n_threads(self) -> int: ...

class CancelToken:
    def __init__(self) -> None: ...
    def cancel(self) -> None: ...
    @property
    def cancelled(self) -> bool: ...

# codec
MAX_PIXELS: int
MAX_BYTES: int

class ImageInfo:
    @property
    def format(self) -> str: ...
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def stored_width(self) -> int: ...
    @property
    def stored_height(self) -> int: ...
    @property
    def orientation(self) -> int: ...
    @property
    def channels(self) -> int: ...
    @property
    def bit_depth(self) -> int: ...
    @property
    def has_alpha(self) -> bool: ...
    @property
    def animated(self) -> bool: ...

def sniff(data: Buffer, /) -> str: ...
def probe(data: Buffer, /, source: str = "") -> ImageInfo: ...
def decode(
    data: Buffer,
    /,
    *,
    max_pixels: int = ...,
    max_bytes: int = ...,
    background: tuple[int, int, int] = (255, 255, 255),
    apply_orientation: bool = True,
    source: str = "",
) -> NDArray[np.uint8]: ...

# solver
class LinearSolver:
    def start(
        self,
        weights: NDArray[np.float32] | None = None,
        bias: NDArray[np.float64] | None = None,
        pairs: dict[str, Any] | None = None,
    ) -> None: ...
    def step(self) -> str: ...
    def test(self) -> bool: ...
    def solution(self) -> tuple[NDArray[np.float32], NDArray[np.float64]]: ...
    def evaluate(
        self, weights: NDArray[np.float32], bias: NDArray[np.float64]
    ) -> tuple[float, NDArray[np.float64]]: ...
    def get_state(self) -> dict[str, Any]: ...
    def set_state(self, state: dict[str, Any]) -> None: ...
    @property
    def iteration(self) -> int: ...
    @property
    def n_evaluations(self) -> int: ...
    @property
    def loss(self) -> float: ...
    @property
    def gradient_norm(self) -> float: ...
    @property
    def excess(self) -> float: ...
    @property
    def n_correct(self) -> int: ...

class SoftmaxSolver(LinearSolver):
    def __init__(
        self,
        embeddings: NDArray[np.float32],
        targets: NDArray[np.int32],
        *,
        n_classes: int,
        l2: float,
        tolerance: float,
        weights: NDArray[np.float32] | None = None,
        memory: int = 0,
        pool: ThreadPool | None = None,
        cancel: CancelToken | None = None,
    ) -> None: ...

def softmax_path(
    embeddings: NDArray[np.float32],
    targets: NDArray[np.int32],
    *,
    n_classes: int,
    fold: NDArray[np.int32],
    n_folds: int,
    path: NDArray[np.float64],
    relative: bool = True,
    predict: bool = False,
    tolerance: float,
    weights: NDArray[np.float32] | None = None,
    pool: ThreadPool | None = None,
    cancel: CancelToken | None = None,
) -> tuple[
    float,
    list[tuple[float, float, float, int]],
    tuple[NDArray[np.float32], NDArray[np.float64], dict[str, Any]] | None,
    NDArray[np.float32] | None,
]: ...
def softmax_probabilities(
    embeddings: NDArray[np.float32],
    weights: NDArray[np.float32],
    bias: NDArray[np.float64],
    pool: ThreadPool | None = None,
) -> NDArray[np.float32]: ...

_Layers: TypeAlias = Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]]

class PerceptronSolver:
    def __init__(
        self,
        embeddings: NDArray[np.float32],
        targets: NDArray[np.int32],
        *,
        n_classes: int,
        layer_sizes: Sequence[int],
        l2: float,
        tolerance: float,
        weights: NDArray[np.float32] | None = None,
        memory: int = 10,
        pool: ThreadPool | None = None,
        cancel: CancelToken | None = None,
    ) -> None: ...
    def start(self, seed: int) -> None: ...
    def start_at(self, layers: _Layers) -> None: ...
    def step(self) -> str: ...
    def test(self) -> bool: ...
    def solution(self) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]: ...
    def evaluate(self, variables: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]: ...
    def get_state(self) -> dict[str, Any]: ...
    def set_state(self, state: dict[str, Any]) -> None: ...
    @property
    def iteration(self) -> int: ...
    @property
    def n_evaluations(self) -> int: ...
    @property
    def loss(self) -> float: ...
    @property
    def gradient_norm(self) -> float: ...
    @property
    def excess(self) -> float: ...
    @property
    def n_correct(self) -> int: ...

def dense_layers(
    embeddings: NDArray[np.float32],
    layers: _Layers,
    *,
    softmax: bool,
    pool: ThreadPool | None = None,
) -> NDArray[np.float32]: ...

class SigmoidSolver(LinearSolver):
    def __init__(
        self,
        embeddings: NDArray[np.float32],
        labels: NDArray[np.uint8],
        *,
        l2: float,
        tolerance: float,
        weights: NDArray[np.float32] | None = None,
        positive: NDArray[np.float32] | None = None,
        negative: NDArray[np.float32] | None = None,
        memory: int = 0,
        pool: ThreadPool | None = None,
        cancel: CancelToken | None = None,
    ) -> None: ...

def sigmoid_path(
    embeddings: NDArray[np.float32],
    labels: NDArray[np.uint8],
    *,
    fold: NDArray[np.int32],
    n_folds: int,
    relative_path: NDArray[np.float64],
    tolerance: float,
    weights: NDArray[np.float32] | None = None,
    positive: NDArray[np.float32] | None = None,
    negative: NDArray[np.float32] | None = None,
    pool: ThreadPool | None = None,
    cancel: CancelToken | None = None,
) -> tuple[
    float,
    list[tuple[float, float, float, int]],
    tuple[NDArray[np.float32], NDArray[np.float64], dict[str, Any]] | None,
]: ...

# loader
class Loader:
    def __init__(
        self,
        sources: Sequence[str | Buffer | NDArray[np.uint8] | None],
        spec: PixelSpec,
        *,
        batch_size: int,
        pool: ThreadPool | None = None,
        callers: int = 0,
        prefetch: int = 0,
        max_file_bytes: int = ...,
        cancel: CancelToken | None = None,
        variants: tuple[int, Sequence[AugmentPlan], Sequence[tuple[int, Sequence[int]]]]
        | None = None,
    ) -> None: ...
    def __iter__(self) -> Loader: ...
    def __next__(
        self,
    ) -> tuple[NDArray[Any], int, list[int], list[tuple[int, str, str, str]]]: ...
    def close(self) -> None: ...
    @property
    def buffers_allocated(self) -> int: ...
