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
