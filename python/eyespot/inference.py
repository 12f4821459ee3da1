"""One ONNX network, run on the CPU.

The thread rule, from measurement (``python -m bench inference``): one session whose operators use
one thread each, called by as many threads as the budget has. Measured on two cores that other
work kept busy, against one caller with ONNX Runtime's own threads: spinning, as they do by default,
they took 1.4 to 2 times as long and 1.6 to 1.9 times the processor time; put to sleep instead they
took about the same processor time, the clock being too noisy for a verdict. One image a call makes
an embedding a function of its image alone, however ONNX Runtime's kernels choose their path by
batch size; where several give the same bits, `eyespot.batching` finds out whether they pay.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from eyespot.errors import ModelError
from eyespot.light_model import operators

if TYPE_CHECKING:
    import onnxruntime
    from numpy.typing import NDArray

__all__ = ["NetworkRunner", "open_session"]

_COUPLING_OPERATORS: Final = b"DynamicQuantize"  # how their names begin, as the file holds them
#: Bytes of a network from which on several images a call may pay: its weights are then no longer in
#: the cache when the next image wants them.
_HEAVY: Final = 16 << 20
# Operators that, as networks use them, make of each image of a batch what they make of it alone.
# Such that move numbers between dimensions or decide on one are not among them: an image could then
# have a say in what becomes of another, and seldom enough for a trial not to show it.
# fmt: off
_BY_IMAGE: Final = frozenset({
    "Add", "AveragePool", "BatchNormalization", "Cast", "Clip", "Concat", "Constant", "Conv",
    "DequantizeLinear", "Div", "Dropout", "Elu", "Exp", "Flatten", "Gelu", "Gemm",
    "GlobalAveragePool", "GlobalMaxPool", "HardSigmoid", "HardSwish", "Identity", "LRN",
    "LeakyRelu", "MatMul", "MaxPool", "Mish", "Mul", "Neg", "PRelu", "QLinearConv",
    "QuantizeLinear", "Relu", "Selu", "Sigmoid", "Softplus", "Sqrt", "Sub", "Sum", "Tanh",
})
# fmt: on


class NetworkRunner:
    """An ONNX network with one image input and one float32 output of shape (N, n_columns).

    Parameters
    ----------
    model : bytes
        The serialised network.
    source : str
        What to call it in messages.

    Attributes
    ----------
    batch : int or None
        The batch size that the network is fixed to, if it is.
    alone : bool
        Whether an image's row may depend on the others of its batch (the scale of a dynamically
        quantised tensor does), so that each image must fill a batch of its own.
    groupable : bool
        Whether `eyespot.batching` should try several images a call: the batch is open, the network
        heavy, and of no operator that could let an image depend on the others unseen.

    Raises
    ------
    ModelError
        If ONNX Runtime refuses the network, or it has not one input and one output.

    Notes
    -----
    Safe from many threads. Runs on the CPU.
    """

    def __init__(self, model: bytes, *, source: str) -> None:
        self.source = source
        self.alone = _COUPLING_OPERATORS in model
        self._session = open_session(model, source=source)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or len(outputs) != 1:
            message = (
                f"{source}: a network of {len(inputs)} inputs and {len(outputs)} outputs; "
                "expected one of each"
            )
            raise ModelError(message, source=source, code="unsupported_shape")
        (self._input,), (self._output,) = inputs, outputs
        first = self._input.shape[0] if self._input.shape else None
        self.batch: int | None = first if isinstance(first, int) else None
        heavy = self.batch is None and len(model) >= _HEAVY
        self.groupable = heavy and _treats_images_apart(model)

    @property
    def metadata(self) -> dict[str, str]:
        """The model's metadata entries."""
        try:
            return dict(self._session.get_modelmeta().custom_metadata_map)
        except UnicodeDecodeError as error:
            message = f"{self.source}: the metadata are no UTF-8: {error}"
            raise ModelError(message, source=self.source, code="corrupt_model") from error

    @property
    def input_shape(self) -> list[int | str | None]:
        """The input's dimensions; a name or None where any size is accepted."""
        return list(self._input.shape)

    @property
    def output_shape(self) -> list[int | str | None]:
        """The output's dimensions; a name or None where they vary."""
        return list(self._output.shape)

    def run(
        self, pixels: NDArray[Any], options: onnxruntime.RunOptions | None = None
    ) -> NDArray[Any]:
        """Return the output for a batch of inputs, shaped and typed as the network takes them.

        Raises
        ------
        ModelError
            If the network fails.
        """
        feed = {self._input.name: pixels}
        try:
            (output,) = self._session.run([self._output.name], feed, run_options=options)
        except Exception as error:
            message = f"{self.source}: the network failed: {_first_line(error)}"
            raise ModelError(message, source=self.source, code="run_time") from error
        return np.asarray(output)

    def rows(
        self, pixels: NDArray[Any], options: onnxruntime.RunOptions | None = None
    ) -> NDArray[np.float32]:
        """Return one row for each image of `pixels`, the bits of which depend on that image only.

        Parameters
        ----------
        pixels : ndarray of shape (n_images, ...)
            Inputs of the network, in its layout and type.
        options : onnxruntime.RunOptions, optional
            For instance one that another thread can set to terminate.
        """
        count = len(pixels)
        if self.batch is None or self.batch == 1:
            results = [self.run(pixels[i : i + 1], options) for i in range(count)]
        elif self.alone:
            results = [
                self.run(np.repeat(pixels[i : i + 1], self.batch, axis=0), options)[:1]
                for i in range(count)
            ]
        else:
            results = []
            for start in range(0, count, self.batch):
                part = pixels[start : start + self.batch]
                padding = [(0, self.batch - len(part))] + [(0, 0)] * (part.ndim - 1)
                results.append(self.run(np.pad(part, padding), options)[: len(part)])
        return np.concatenate(results) if results else np.empty((0, 0), np.float32)


def _treats_images_apart(model: bytes) -> bool:
    try:
        return operators(model) <= _BY_IMAGE
    except ValueError:  # ONNX Runtime takes files of a form of its own, too
        return False


def open_session(model: bytes, *, source: str) -> onnxruntime.InferenceSession:
    """Open a session as the thread rule above wants it.

    Raises
    ------
    ModelError
        If ONNX Runtime refuses the network.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.log_severity_level = 4  # errors come as exceptions, not as text on stderr
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's classes have no public base
        message = f"{source}: ONNX Runtime refuses the network: {_first_line(error)}"
        raise ModelError(message, source=source, code="unsupported_model") from error


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
