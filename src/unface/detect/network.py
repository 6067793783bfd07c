"""Run a convolutional ONNX network on images of any size, on a number of CPU threads or another device."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unface.errors import InputError, one_line

Array = NDArray[np.float32]

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_DEVICES = {
    "cuda": (CUDA, "onnxruntime-gpu"),
    "openvino": ("OpenVINOExecutionProvider", "onnxruntime-openvino"),
}
# Images differ in size: a search for the best algorithm would be repeated for each.
_CUDA_OPTIONS = {"cudnn_conv_algo_search": "HEURISTIC"}


class Network:
    """An ONNX file as a function from one batch of images to its outputs.

    It is loaded when it is first asked, so that a process that only hands work out does not wait for it.
    """

    def __init__(self, path: Path, input_name: str, threads: int = 1, device: str = "auto") -> None:
        """Name the file; where a device is asked for, load it to see that it is there.

        Args:
            path: Of the ONNX file.
            input_name: Its input.
            threads: CPU threads it may use.
            device: See `providers`.

        Raises:
            InputError: The device is not there.
        """
        self._path, self._input_name, self._threads, self._device = path, input_name, threads, device
        if device != "auto":
            self._session  # noqa: B018

    @cached_property
    def _session(self) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        # A package for GPUs on a machine without is no news.
        options.log_severity_level = 4 if self._device == "auto" else 3
        asked = providers(self._device, onnxruntime.get_available_providers())
        model = with_any_size(self._path.read_bytes(), self._input_name)
        session = onnxruntime.InferenceSession(model, options, providers=asked)
        if self._device != "auto" and session.get_providers()[0] != asked[0][0]:
            raise InputError(f"device {one_line(self._device)!r}: expected one that works, got none; see: nvidia-smi")
        return session

    @cached_property
    def provider(self) -> str:
        """Who computes: an execution provider of onnxruntime."""
        return str(self._session.get_providers()[0])

    @cached_property
    def _output_names(self) -> list[str]:
        return [output.name for output in self._session.get_outputs()]

    def __call__(self, batch: Array) -> dict[str, Array]:
        """Outputs by name for a batch, float32, shape (N, 3, H, W)."""
        if self.provider == CPU:
            arrays = self._session.run(self._output_names, {self._input_name: batch})
        else:
            # Bound, the batch goes to the device at once and only the outputs come back, both without a copy between.
            binding = self._session.io_binding()
            binding.bind_cpu_input(self._input_name, batch)
            for name in self._output_names:
                binding.bind_output(name)
            self._session.run_with_iobinding(binding)
            arrays = binding.copy_outputs_to_cpu()
        return dict(zip(self._output_names, arrays, strict=True))


def providers(device: str, available: Sequence[str]) -> list[tuple[str, dict[str, str]]]:
    """What onnxruntime is asked to compute on, the best first.

    Args:
        device: "auto" (a CUDA device if there is one, else the CPU), "cpu", "cuda", "cuda:N" or "openvino".
        available: The execution providers of the installed onnxruntime.

    Raises:
        InputError: Another device, or one that the installed onnxruntime does not know.
    """
    cpu: list[tuple[str, dict[str, str]]] = [(CPU, {})]
    kind, _, number = device.partition(":")
    if device == "auto":
        return [(CUDA, _CUDA_OPTIONS), *cpu] if CUDA in available else cpu
    if device == "cpu":
        return cpu
    if kind not in _DEVICES or (number and not (kind == "cuda" and number.isdecimal())):
        raise InputError(f"device: expected auto, cpu, cuda, cuda:N or openvino, got {one_line(device)!r}")
    provider, package = _DEVICES[kind]
    if provider not in available:
        raise InputError(f"device {device!r}: expected an onnxruntime that knows it; install the package {package}")
    options = _CUDA_OPTIONS | {"device_id": number or "0"} if kind == "cuda" else {}
    return [(provider, options), *cpu]


def with_any_size(model: bytes, input_name: str) -> bytes:
    """The same ONNX model without its declared sizes: the input becomes (N, 3, H, W), the rest is inferred.

    Also removes the inputs other than `input_name`: exporters of old listed every weight as an input, which
    forbids the runtime to fold them. Field numbers: `ModelProto.graph` = 7; `GraphProto.input` = 11,
    `.output` = 12, `.value_info` = 13 (onnx.proto).
    """
    return b"".join(
        _field(7, _without_sizes(value, input_name)) if number == 7 else raw for number, value, raw in _fields(model)
    )


def _without_sizes(graph: bytes, input_name: str) -> bytes:
    parts = [_field(11, _float_tensor(input_name, ["N", 3, "H", "W"]))]
    for number, value, raw in _fields(graph):
        if number == 12:
            name = next(text for field, text, _ in _fields(value) if field == 1).decode()
            parts.append(_field(12, _float_tensor(name, None)))
        elif number not in (11, 13):
            parts.append(raw)
    return b"".join(parts)


def _float_tensor(name: str, shape: list[str | int] | None) -> bytes:
    """A `ValueInfoProto`: name = 1, type = 2 {tensor_type = 1 {elem_type = 1, shape = 2 {dim = 1 …}}}."""
    tensor = b"\x08\x01"  # elem_type: float32
    if shape is not None:
        dims = (b"\x08" + bytes([d]) if isinstance(d, int) else _field(2, d.encode()) for d in shape)
        tensor += _field(2, b"".join(_field(1, dim) for dim in dims))
    return _field(1, name.encode()) + _field(2, _field(1, tensor))


def _field(number: int, value: bytes) -> bytes:
    """A length-delimited protobuf field."""
    return bytes([number << 3 | 2]) + _varint(len(value)) + value


def _varint(number: int) -> bytes:
    groups = []
    while number > 127:
        groups.append(number & 127 | 128)
        number >>= 7
    return bytes([*groups, number])


def _fields(message: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Number, content (empty unless length-delimited) and raw bytes of each protobuf field."""
    at = 0
    while at < len(message):
        start = at
        key, at = _read_varint(message, at)
        value = b""
        match key & 7:
            case 0:
                _, at = _read_varint(message, at)
            case 1:
                at += 8
            case 2:
                length, at = _read_varint(message, at)
                value = message[at : at + length]
                at += length
            case 5:
                at += 4
            case kind:
                raise ValueError(f"ONNX file: expected wire type 0, 1, 2 or 5, got {kind}")
        yield key >> 3, value, message[start:at]


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    number, shift = 0, 0
    while message[at] > 127:
        number |= (message[at] & 127) << shift
        shift, at = shift + 7, at + 1
    return number | message[at] << shift, at + 1
