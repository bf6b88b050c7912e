"""PyTorch, eager: a ``torch.export`` package run by torch's own kernels on a CPU or an NVIDIA GPU."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import ExitStack, nullcontext
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from harness.engine import Engine, Session, SessionConfig, Stream, check_inputs
from harness.errors import EngineUnavailable, Unsupported
from harness.vocabulary import (
    FORMAT_TORCH_EXPORT,
    DeviceFacts,
    EngineFacts,
    Execution,
    Level,
    Precision,
    Support,
    TensorSpec,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.vocabulary import Artifact, Format

_INT8 = Support(
    Level.UNSUPPORTED,
    "no exporter makes an INT8 torch-export package: dynamic quantisation covers Linear layers alone, "
    "and static PT2E quantisation lives in torchao, which is not used here",
)
# CPU features, as torch.cpu.get_capabilities() names them, that compute a precision without widening it first.
_CPU_FEATURES: Mapping[Precision, tuple[str, ...]] = {
    Precision.BF16: ("amx_bf16", "avx512_bf16", "bf16", "sve_bf16"),
    Precision.FP16: ("amx_fp16", "avx512_fp16", "fp16_arith"),
}
_WORDS = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}


class TorchEngine(Engine):
    """Runs the exported graph operator by operator, in float32 arithmetic proper (no TF32) where FP32 is asked."""

    name: ClassVar[str] = "torch"
    formats: ClassVar[tuple[Format, ...]] = (FORMAT_TORCH_EXPORT,)
    modules: ClassVar[tuple[str, ...]] = ("torch",)
    distributions: ClassVar[tuple[str, ...]] = ("torch",)
    install: ClassVar[str] = "pip install 'inference-harness[torch]'"

    def probe(self) -> EngineFacts:
        """Return the CPU and every CUDA device. Raises ``EngineUnavailable``."""
        torch = self._import()
        versions = {"cuda": torch.version.cuda} if torch.version.cuda else {}
        return EngineFacts(self.name, str(torch.__version__), tuple(_devices(torch)), versions)

    def load(self, artifact: Artifact, config: SessionConfig) -> _TorchSession:
        """Load the package and move it to the device. Raises ``EngineUnavailable`` or ``Unsupported``."""
        torch = self._import()
        devices = {device.name: device for device in _devices(torch)}
        if config.device not in devices:
            raise Unsupported(f"torch has no device {config.device!r} here", f"it has {', '.join(devices)}")
        support = devices[config.device].precisions[config.precision.value]
        if support.level is Level.UNSUPPORTED:
            raise Unsupported(f"torch cannot run {config.precision} on {config.device}", support.reason)
        if artifact.precision is not config.precision:
            message = f"the artifact holds {artifact.precision} arithmetic, {config.precision} was asked"
            raise Unsupported(message, "export it at the precision that is asked: torch casts nothing at load")
        return _TorchSession(torch, artifact, config)

    def snippet(self, artifact: Artifact, config: SessionConfig) -> str:
        """Return the program of the contract; needs torch and numpy."""
        inputs, outputs = ([spec.name for spec in specs] for specs in (artifact.inputs, artifact.outputs))
        threads = f"torch.set_num_threads({config.threads})\n" if config.threads else ""
        imported = move = ""
        if config.device != "cpu":
            imported = "from torch.export.passes import move_to_device_pass\n"
            move = (
                f"torch.backends.cudnn.allow_tf32 = False\nprogram = move_to_device_pass(program, {config.device!r})\n"
            )
        return (
            f"import numpy as np\nimport torch\n{imported}\n{threads}"
            f'program = torch.export.load("MODEL")\n{move}'
            "model = program.module()\n"
            'with np.load("inputs.npz") as archive, torch.inference_mode():\n'
            f"    inputs = [torch.from_numpy(archive[name]).to({config.device!r}) for name in {inputs}]\n"
            "    found = model(*inputs)\n"
            f"outputs = {{name: value.cpu().numpy() for name, value in zip({outputs}, found, strict=True)}}\n"
        )

    def _import(self) -> Any:
        try:
            import torch
        except (ImportError, OSError) as error:  # OSError: a shared library that the wheel needs is missing
            raise EngineUnavailable(f"torch cannot be imported: {error}", self.install) from error
        return torch


def _devices(torch: Any) -> list[DeviceFacts]:
    # Absent before torch 2.11: then nothing is known to be native.
    features: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    cpu = {Precision.FP32.value: Support(Level.NATIVE), Precision.INT8.value: _INT8}
    for precision, names in _CPU_FEATURES.items():
        native = any(features.get(name) for name in names)
        reason = (
            "" if native else f"this CPU has none of {', '.join(names)}: values are widened to FP32 and rounded back"
        )
        cpu[precision.value] = Support(Level.NATIVE if native else Level.EMULATED, reason)
    capability = f"{features.get('cpu_name', 'CPU')}, kernels for {torch.backends.cpu.get_cpu_capability()}"
    devices = [DeviceFacts("cpu", capability, cpu)]
    for index in range(torch.cuda.device_count()):
        major, minor = torch.cuda.get_device_capability(index)
        # CUDA C++ Programming Guide, arithmetic instructions: FP16 from 5.3 on, BF16 from 8.0 on.
        floors = {Precision.FP16: (5, 3), Precision.BF16: (8, 0)}
        gpu = {Precision.FP32.value: Support(Level.NATIVE), Precision.INT8.value: _INT8}
        for precision, floor in floors.items():
            native = (major, minor) >= floor
            reason = "" if native else f"compute capability {major}.{minor} has no {precision} arithmetic"
            gpu[precision.value] = Support(Level.NATIVE if native else Level.EMULATED, reason)
        devices.append(DeviceFacts(f"cuda:{index}", torch.cuda.get_device_name(index), gpu))
    return devices


class _TorchSession(Session):
    """One module, shared by its streams.

    ``threads`` is the session's whole budget: of k streams each gets threads // k for its operators, at least one.
    Torch has no mode for throughput, so one stream is recommended: its operators use every thread.
    """

    def __init__(self, torch: Any, artifact: Artifact, config: SessionConfig) -> None:
        self._torch, self._artifact, self._device = torch, artifact, config.device
        program = torch.export.load(artifact.path)
        if config.device != "cpu":
            from torch.export.passes import move_to_device_pass

            program = move_to_device_pass(program, config.device)
            torch.cuda.synchronize(config.device)  # the streams to come do not wait for the copies of the weights
        self._module = program.module()
        self._streams = config.streams or 1
        budget = config.threads or (torch.get_num_threads() if self._streams > 1 else None)
        self._threads_per_stream = max(1, budget // self._streams) if budget else None
        # These belong to the process, so they are given back at the end.
        self._undo = ExitStack()
        self._undo.callback(torch.set_num_threads, torch.get_num_threads())
        for switch in (torch.backends.cuda.matmul, torch.backends.cudnn):
            self._undo.callback(setattr, switch, "allow_tf32", switch.allow_tf32)
            switch.allow_tf32 = False

    def stream(self) -> _TorchStream:
        """Return a context with input buffers of its own, and on a GPU a CUDA stream of its own."""
        return _TorchStream(self._torch, self._module, self._artifact, self._device, self._threads_per_stream)

    def describe(self) -> Execution:
        """Run once on zeros and count the operators that reach a kernel, by the dtype and device they answer with."""
        stream = self.stream()
        stream.bind({spec.name: np.zeros(spec.shape, spec.dtype) for spec in self._artifact.inputs})
        stream.run()
        stream.sync()
        nodes, macs = _count(self._torch, self._module, stream.inputs)
        threads = self._torch.get_num_threads()
        return Execution(
            device=self._device,
            nodes_by_device=_total(nodes, 0),
            macs_by_device=_shares(_total(macs, 0)),
            nodes_by_precision=_total(nodes, 1),
            macs_by_precision=_shares(_total(macs, 1)),
            threads=threads * self._streams,
            streams=self._streams,
            inputs=self._artifact.inputs,
            outputs=tuple(TensorSpec(name, str(v.dtype), v.shape) for name, v in stream.fetch().items()),
            flags={"threads per stream": str(threads), "tf32": "off"},
        )

    def close(self) -> None:
        """Give torch's process-wide settings back."""
        self._undo.close()


class _TorchStream(Stream):
    """Fixed input tensors over a shared module, whose answer is a tuple of tensors that numpy knows."""

    def __init__(self, torch: Any, module: Any, artifact: Artifact, device: str, threads: int | None) -> None:
        self._torch, self._module, self._artifact, self._threads = torch, module, artifact, threads
        self._cuda = None if device == "cpu" else torch.cuda.Stream(device)
        self._hosts = [
            torch.zeros(spec.shape, dtype=getattr(torch, spec.dtype), pin_memory=self._cuda is not None)
            for spec in artifact.inputs
        ]
        self._buffers = {spec.name: host.numpy() for spec, host in zip(artifact.inputs, self._hosts, strict=True)}
        self.inputs = self._hosts if self._cuda is None else [host.to(device) for host in self._hosts]
        self._found: tuple[Any, ...] = ()
        self._thread: int | None = None

    def bind(self, inputs: Mapping[str, np.ndarray]) -> None:
        check_inputs(self._artifact.inputs, inputs)
        for name, buffer in self._buffers.items():
            np.copyto(buffer, inputs[name])
        if self._cuda is not None:
            with self._torch.cuda.stream(self._cuda):
                for tensor, host in zip(self.inputs, self._hosts, strict=True):
                    tensor.copy_(host, non_blocking=True)
            self._cuda.synchronize()

    def run(self) -> None:
        if self._threads is not None and self._thread != threading.get_ident():
            # OpenMP keeps the number per calling thread: set elsewhere, it does not reach oneDNN's convolutions here.
            self._torch.set_num_threads(self._threads)
            self._thread = threading.get_ident()
        with self._torch.inference_mode(), self._torch.cuda.stream(self._cuda) if self._cuda else nullcontext():
            self._found = self._module(*self.inputs)

    def sync(self) -> None:
        if self._cuda is not None:
            self._cuda.synchronize()

    def fetch(self) -> dict[str, np.ndarray]:
        names = (spec.name for spec in self._artifact.outputs)
        # Copied, since a graph may answer with its input or with a constant of the model.
        return {name: value.cpu().numpy().copy() for name, value in zip(names, self._found, strict=True)}


def _count(torch: Any, module: Any, inputs: list[Any]) -> tuple[Counter[tuple[str, str]], Counter[tuple[str, str]]]:
    """Return operators and multiply-accumulates of one run, by (device, dtype); views and allocations are left out.

    MACs are half the operations that torch's own flop counter gives for convolutions and matrix products.
    """
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils.flop_counter import flop_registry

    nodes: Counter[tuple[str, str]] = Counter()
    macs: Counter[tuple[str, str]] = Counter()

    class Counting(TorchDispatchMode):  # type: ignore[misc]  # torch is untyped here
        def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            answer = operator(*args, **(kwargs or {}))
            first = answer[0] if isinstance(answer, (list, tuple)) and answer else answer
            idle = operator.is_view or operator.overloadpacket is torch.ops.aten.empty
            if isinstance(first, torch.Tensor) and not idle:
                dtype = str(first.dtype).removeprefix("torch.")
                key = (str(first.device), _WORDS.get(dtype, dtype))
                nodes[key] += 1
                flops = flop_registry.get(operator.overloadpacket)
                if flops is not None:
                    macs[key] += flops(*args, **(kwargs or {}), out_val=answer) // 2
            return answer

    # Not inference_mode, where composite operators reach the mode whole: conv2d instead of the convolution it runs.
    with torch.no_grad(), Counting():
        module(*inputs)
    return nodes, macs


def _total(counted: Counter[tuple[str, str]], axis: int) -> dict[str, int]:
    total: Counter[str] = Counter()
    for key, count in counted.items():
        total[key[axis]] += count
    return dict(total)


def _shares(macs: Mapping[str, int]) -> dict[str, float]:
    whole = sum(macs.values())
    return {key: count / whole for key, count in macs.items()} if whole else {}
