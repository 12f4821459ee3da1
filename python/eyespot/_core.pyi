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
        mean: tuple[float, float, float] = ...,
        std: tuple[float, float, float] = ...,
        scale: float = ...,
        bgr: bool = False,
    ) -> None: ...

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
