"""Images to ordered batches of model inputs, decoded by native threads."""

from __future__ import annotations

import dataclasses
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self, cast

import numpy as np

from eyespot import _core
from eyespot.errors import DecodeError, ImageError, InvalidOption
from eyespot.images import (
    core_sources,
    decode_with_pillow,
    image_list,
    pixels_of,
    read_file,
    source_name,
)
from eyespot.options import Preprocessing, integer
from eyespot.variants import Item, Variants, epoch_items, stream_plan

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from numpy.typing import NDArray
    from typing_extensions import Buffer

    from eyespot.augmentation import Augmentation
    from eyespot.images import ImageInput

__all__ = ["Batch", "Loader", "check_cancel"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """A run of neighbouring images of the list, as one array of model inputs.

    Attributes
    ----------
    pixels : float32 or uint8 ndarray of shape (n_good, ...)
        The images that could be read, in the order of the list; each is shaped by the
        `Preprocessing`: ``(3, height, width)`` or ``(height, width, 3)``. The array owns its
        memory, which is the buffer that the native threads wrote into.
    indices : int64 ndarray of shape (n_good,)
        Position in the list of each row of `pixels`, ascending.
    errors : tuple of ImageError
        The images of this run that could not be read, by ascending position.

    Notes
    -----
    A batch speaks DLPack, so ``torch.from_dlpack(batch)`` and its like in JAX and CuPy take it
    without a copy. `pixels` speaks the buffer protocol; from Python 3.12 on, the batch itself too.
    """

    pixels: NDArray[Any]
    indices: NDArray[np.int64]
    errors: tuple[ImageError, ...]

    def __len__(self) -> int:
        return len(self.pixels)

    def __dlpack__(
        self,
        *,
        stream: object = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        # NumPy before 2.1 knows the first argument only, so the others go along when given.
        given = {"stream": stream, "max_version": max_version, "dl_device": dl_device, "copy": copy}
        known = {name: value for name, value in given.items() if value is not None}
        return self.pixels.__dlpack__(**known)  # type: ignore[arg-type]

    def __dlpack_device__(self) -> tuple[int, int]:
        kind, number = self.pixels.__dlpack_device__()
        return int(kind), int(number)

    def __buffer__(self, flags: int, /) -> memoryview:
        return self.pixels.data

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy:
            return np.array(self.pixels, dtype=dtype)
        return np.asarray(self.pixels, dtype=dtype)


class Loader:
    """Iterate over batches of decoded images, in the order of the list.

    Files are read, decoded, turned upright, cropped, resized and packed by the threads of a pool,
    a few batches ahead of the caller. Memory does not grow with the number of images, and the
    pixels do not depend on the number of threads.

    Parameters
    ----------
    inputs : iterable of path, bytes, ndarray or PIL.Image.Image
        See `ImageInput`. Buffers must not change while they are being loaded.
    preprocessing : Preprocessing
        Size, crop, layout, type and normalisation. For the dtype ``"float16"`` the batches are
        float32, for the caller to round. A ``PixelSpec`` of the core is taken as well.
    batch_size : int
        Images a batch, 1 or more.
    n_threads : int
        Threads of a pool for this loader alone, 0 (as many as the process may use) to 1024.
        Not together with `pool`.
    pool : ThreadPool, optional
        Threads to share.
    callers : int, optional
        Decode in the threads that iterate, up to so many at a time, instead of in native ones:
        each batch is decoded by, and goes to, the thread that asks for it. Not together with
        `n_threads`, `pool` or `prefetch`.
    on_error : {"skip", "raise"}
        What an unreadable image does: it is left out and listed in `Batch.errors`, or it ends the
        iteration with a `DecodeError`.
    prefetch : int
        Batches to have in work or ready beside the one that the caller holds; 0 chooses (two,
        or more when batches are small and threads are many).
    cancel : CancelToken, optional
        Ends the iteration with `Cancelled` within 100 ms of its ``cancel()``, from any thread.
    augmentation : Augmentation or Variants, optional
        An `Augmentation` makes one variant of each image instead of the image, drawn from the
        whole ranges of the plan, another one for each `epoch`: what a training loop needs. A
        `Variants` makes the original and all copies of each image: `Batch.indices` then counts
        these rows, and `ImageError.index` still the images.
    seed, epoch : int
        Which random stream, 0 to 2**64 - 1, and which pass over the data, 0 to 2**32 - 1. The same
        image, plan, seed and epoch give the same bytes. For an `Augmentation` only.

    Raises
    ------
    InvalidOption
        If a parameter is outside what is listed here, or an input is no image at all.
    DecodeError
        From the iteration, if an image cannot be read and `on_error` is ``"raise"``.

    Notes
    -----
    Formats that the core does not decode (TIFF, GIF, BMP ...) and Pillow images are decoded by the
    calling thread, or one of them, one at a time. Ctrl-C ends the iteration within 100 ms (with
    `callers`, that of the main thread after the image at hand). Leave the iteration early as you
    like: dropping or closing a loader stops its work.

    Examples
    --------
    >>> import numpy as np
    >>> from eyespot.loader import Loader
    >>> from eyespot.options import Preprocessing, integer
    >>> grey = np.full((40, 60, 3), 128, np.uint8)
    >>> with Loader([grey] * 5, Preprocessing(width=32, height=32), batch_size=2) as loader:
    ...     [batch.pixels.shape for batch in loader]
    [(2, 3, 32, 32), (2, 3, 32, 32), (1, 3, 32, 32)]
    """

    def __init__(
        self,
        inputs: Iterable[ImageInput],
        preprocessing: Preprocessing | _core.PixelSpec,
        *,
        batch_size: int = 32,
        n_threads: int = 0,
        pool: _core.ThreadPool | None = None,
        callers: int = 0,
        on_error: Literal["skip", "raise"] = "skip",
        prefetch: int = 0,
        cancel: _core.CancelToken | None = None,
        augmentation: Augmentation | Variants | None = None,
        seed: int = 0,
        epoch: int = 0,
    ) -> None:
        if on_error not in ("skip", "raise"):
            raise _invalid("on_error", f"{on_error!r}; allowed: 'skip', 'raise'")
        batch_size = integer(batch_size, "batch_size", low=1)
        prefetch = integer(prefetch, "prefetch", low=0)
        if pool is not None and n_threads != 0:
            raise _invalid("n_threads", "given together with pool; give one of them")
        callers = integer(callers, "callers", low=0)
        if callers and (pool is not None or n_threads or prefetch):
            raise _invalid("callers", "given together with threads or prefetch; give one of them")
        if pool is None and not callers:
            pool = _core.ThreadPool(n_threads)
        if isinstance(preprocessing, Preprocessing):
            preprocessing = preprocessing.core_spec()
        elif not isinstance(cast("object", preprocessing), _core.PixelSpec):
            kind = type(preprocessing).__name__
            raise _invalid("preprocessing", f"a {kind}; allowed: a Preprocessing")
        check_cancel(cancel)
        self._inputs = image_list(inputs)  # the caller may change theirs
        sources = core_sources(self._inputs)
        self._spec = preprocessing
        self._batch_size = batch_size
        self._on_error = on_error
        self._items: list[Item] | None = None
        self._plans: list[_core.AugmentPlan] = []
        self._seed = integer(seed, "seed", low=0, high=2**64 - 1)
        if isinstance(augmentation, Variants):
            self._items, self._plans = augmentation.items(), augmentation.plans
            self._seed = augmentation.seed
        elif augmentation is not None:
            self._items = epoch_items(len(self._inputs), epoch)
            self._plans = [stream_plan(augmentation).core_plan()]
        elif (seed, epoch) != (0, 0):
            raise _invalid("epoch" if epoch else "seed", "given without augmentation")
        self._filling = threading.Lock()
        items = self._items
        self._core = _core.Loader(
            sources if items is None else [sources[item.image] for item in items],
            self._spec,
            batch_size=batch_size,
            pool=pool,
            callers=callers,
            prefetch=prefetch,
            cancel=cancel,
            variants=None
            if items is None
            else (self._seed, self._plans, [(item.plan, item.indices) for item in items]),
        )

    def __len__(self) -> int:
        """Return the number of batches."""
        n_items = len(self._inputs if self._items is None else self._items)
        return (n_items + self._batch_size - 1) // self._batch_size

    def __iter__(self) -> Self:
        """Return the loader itself: it can be iterated once."""
        return self

    def __next__(self) -> Batch:
        """Return the next batch.

        Raises
        ------
        DecodeError
            If an image cannot be read and `on_error` is ``"raise"``.
        Cancelled
            If the cancel token was set.
        """
        pixels, first, pending, failures = next(self._core)
        errors: list[ImageError] = []
        for index in pending:
            self._fill(pixels, first, index, errors)
        for index, code, name, message in failures:
            # An unnamed source is named by its position, which the core counts by item.
            image = self._image(index)
            source = name if image == index else source_name(self._inputs[image], image)
            error = ImageError(index=index, source=source, code=code, message=message)
            if code == "unsupported_format":
                self._fill(pixels, first, index, errors, refusal=error)
            else:
                errors.append(error)
        errors.sort(key=lambda error: error.index)
        if errors and self._on_error == "raise":
            self.close()
            raise errors[0].to_exception()
        if self._items is None:
            return _compact(pixels, first, errors)
        return self._rows(pixels, self._items[first : first + len(pixels)], first, errors)

    def close(self) -> None:
        """Stop the work; the iteration then ends. Batches that were handed out stay good."""
        self._core.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _image(self, index: int) -> int:
        """Return the position of the image that an item is made of."""
        return index if self._items is None else self._items[index].image

    def _rows(
        self, pixels: NDArray[Any], items: list[Item], first: int, errors: list[ImageError]
    ) -> Batch:
        """Put the variants of the good items one after the other."""
        bad = {error.index - first for error in errors}
        good = [(slot, item) for slot, item in enumerate(items) if slot not in bad]
        if pixels.shape[1] == 1:
            every = pixels[:, 0]
            rows = every if not bad else every[[slot for slot, _ in good]]
        elif len(items) == 1:
            rows = pixels[0, : len(items[0].indices) if good else 0]
        else:
            parts = [pixels[slot, : len(item.indices)] for slot, item in good]
            rows = np.concatenate(parts) if parts else pixels[0, :0]
        places = [np.arange(item.row, item.row + len(item.indices)) for _, item in good]
        return Batch(
            pixels=rows,
            indices=np.concatenate(places) if places else np.empty(0, np.int64),
            errors=tuple(
                dataclasses.replace(error, index=self._image(error.index)) for error in errors
            ),
        )

    def _fill(
        self,
        pixels: NDArray[Any],
        first: int,
        index: int,
        errors: list[ImageError],
        refusal: ImageError | None = None,
    ) -> None:
        """Decode in Python what the core left to us, into its place in the batch."""
        image = self._image(index)
        source = source_name(self._inputs[image], image)
        try:
            with self._filling:  # Pillow's images are not for several threads at a time
                decoded = self._decode(image, refusal)
            if self._items is None:
                pixels[index - first] = _core.preprocess(decoded, self._spec)
            else:
                item = self._items[index]
                pixels[index - first, : len(item.indices)] = self._variants(decoded, item)
        except DecodeError as error:
            message = str(error).removeprefix(f"{error.source}: ")
            errors.append(ImageError(index=index, source=source, code=error.code, message=message))
        except MemoryError:
            message = "not enough memory to decode"
            errors.append(
                ImageError(index=index, source=source, code="out_of_memory", message=message)
            )

    def _variants(self, decoded: NDArray[np.uint8], item: Item) -> NDArray[Any]:
        if item.plan < 0:
            return _core.preprocess(decoded, self._spec)[np.newaxis]
        source = core_sources([self._inputs[item.image]])[0]
        # Of a file its bytes tell it apart, of an image in memory the pixels.
        content = (
            decoded if source is None else read_file(source) if isinstance(source, str) else source
        )
        return _core.preprocess_variants(
            decoded,
            self._spec,
            self._plans[item.plan],
            seed=self._seed,
            content=_core.content_key(cast("Buffer", content)),
            indices=item.indices,
        )

    def _decode(self, index: int, refusal: ImageError | None) -> NDArray[np.uint8]:
        image = self._inputs[index]
        background = self._spec.background
        if refusal is None:
            return pixels_of(image, source=source_name(image, index), background=background)
        source = core_sources([image])[0]
        assert source is not None
        data = read_file(source) if isinstance(source, str) else source
        assert not isinstance(data, np.ndarray)
        return decode_with_pillow(data, refusal.to_exception(), background=background)


def check_cancel(cancel: object) -> None:
    """Refuse what is neither None nor a `CancelToken`.

    Raises
    ------
    InvalidOption
    """
    if cancel is not None and not isinstance(cancel, _core.CancelToken):
        raise _invalid("cancel", f"a {type(cancel).__name__}; allowed: a CancelToken or None")


def _compact(pixels: NDArray[Any], first: int, errors: list[ImageError]) -> Batch:
    """Close the gaps that bad images left; with none, the array is handed on as it is."""
    count = len(pixels)
    if errors:
        bad = {error.index - first for error in errors}
        good = [slot for slot in range(count) if slot not in bad]
        for target, slot in enumerate(good):
            if target != slot:
                pixels[target] = pixels[slot]
        pixels = pixels[: len(good)]
        indices = np.asarray(good, dtype=np.int64) + first
    else:
        indices = np.arange(first, first + count, dtype=np.int64)
    return Batch(pixels=pixels, indices=indices, errors=tuple(errors))


def _invalid(name: str, message: str) -> InvalidOption:
    return InvalidOption(f"{name} is {message}", source=name, code="invalid_argument")
