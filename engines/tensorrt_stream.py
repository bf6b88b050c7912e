"""One execution context of TensorRT with a CUDA stream, buffers, and on request a CUDA graph of its own."""

from __future__ import annotations

import threading
import weakref
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.engine import Stream, check_inputs
from harness.errors import HarnessError, Unsupported

if TYPE_CHECKING:
    from collections.abc import Mapping

    from engines.tensorrt_cuda import Cuda, Gpu
    from harness.vocabulary import Artifact, TensorSpec


class TensorRTStream(Stream):
    """Fixed device buffers, filled by ``bind`` and read by ``fetch``: ``run`` enqueues the inference alone."""

    def __init__(self, cuda: Cuda, gpu: Gpu, context: Any, artifact: Artifact, *, captures: bool) -> None:
        """``context`` is this stream's alone; ``captures``: make a CUDA graph of it. Raises ``Unsupported``."""
        self._cuda, self._index, self.context = cuda, gpu.index, context
        self._enter_thread()
        runtime = cuda.runtime
        with ExitStack() as undo:
            self._stream = cuda.call("cudaStreamCreateWithFlags", runtime.cudaStreamNonBlocking)
            undo.callback(runtime.cudaStreamDestroy, self._stream)
            self._handle = int(self._stream)
            self.inputs = artifact.inputs
            for spec in self.inputs:
                if not context.set_input_shape(spec.name, spec.shape):
                    hint = "the batch lies outside the engine's optimisation profile: build it with another `dynamic`"
                    raise Unsupported(f"the engine does not take {spec.name!r} as {spec.shape}", hint)
            self.outputs = tuple(self._output(spec) for spec in artifact.outputs)
            self._hosts = {spec.name: cuda.pinned(spec, undo) for spec in (*self.inputs, *self.outputs)}
            self._devices = {spec.name: cuda.device(spec, undo) for spec in (*self.inputs, *self.outputs)}
            for name, address in self._devices.items():
                context.set_tensor_address(name, address)
            cuda.call("cudaDeviceSynchronize")  # the zeros, which were written on another stream
            self._graph = self._capture(undo) if captures else None
            undo.callback(runtime.cudaStreamSynchronize, self._stream)
            self._free = weakref.finalize(self, undo.pop_all().close)

    def _output(self, spec: TensorSpec) -> TensorSpec:
        shape = tuple(self.context.get_tensor_shape(spec.name))
        if shape != spec.shape:
            hint = "outputs whose size depends on the data are not supported"
            raise Unsupported(f"the engine answers {spec.name!r} as {shape}, the model as {spec.shape}", hint)
        return spec

    def _capture(self, undo: ExitStack) -> Any:
        """Return an executable graph of one inference.

        After one run, since TensorRT finishes setting itself up in the first for new shapes, and a capture of that
        would hold it too. Raises ``Unsupported`` for an engine that cannot be captured.
        """
        cuda, runtime = self._cuda, self._cuda.runtime
        self.run_uncaptured()
        self.sync()
        mode = runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        hint = "loops, conditions and data-dependent shapes cannot be captured: set `cuda_graphs: false`"
        try:
            cuda.call("cudaStreamBeginCapture", self._stream, mode)
            enqueued = self.context.execute_async_v3(self._handle)
            graph = cuda.call("cudaStreamEndCapture", self._stream)
            made = cuda.call("cudaGraphInstantiate", graph, 0) if enqueued else None
        except HarnessError as error:
            raise Unsupported(f"this engine makes no CUDA graph: {error.message}", hint) from error
        if made is None:
            raise Unsupported("this engine makes no CUDA graph: it cannot be enqueued while capturing", hint)
        cuda.call("cudaGraphDestroy", graph)
        undo.callback(runtime.cudaGraphExecDestroy, made)
        return made

    def close(self) -> None:
        """Free what was allocated, once; the host arrays lie in it, so nothing can be bound or fetched any more."""
        self._hosts = {}
        self._free()

    def _enter_thread(self) -> None:
        """Make the stream's GPU the calling thread's: CUDA keeps the current device per thread."""
        self._cuda.call("cudaSetDevice", self._index)
        self._thread = threading.get_ident()

    def bind(self, inputs: Mapping[str, np.ndarray]) -> None:
        check_inputs(self.inputs, inputs)
        self._enter_thread()
        to_device = self._cuda.runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        for name, value in inputs.items():
            host = self._hosts[name]
            np.copyto(host, value)
            copy = (self._devices[name], host.ctypes.data, host.nbytes, to_device, self._stream)
            self._cuda.call("cudaMemcpyAsync", *copy)
        self.sync()

    def run(self) -> None:
        if self._thread != threading.get_ident():
            self._enter_thread()
        if self._graph is None:
            self.run_uncaptured()
        else:
            (status,) = self._cuda.runtime.cudaGraphLaunch(self._graph, self._stream)
            self._cuda.check(status, "cudaGraphLaunch")

    def run_uncaptured(self) -> None:
        """Enqueue one inference kernel by kernel."""
        if not self.context.execute_async_v3(self._handle):
            raise HarnessError("TensorRT could not enqueue the inference", "see the log of the launch")

    def sync(self) -> None:
        (status,) = self._cuda.runtime.cudaStreamSynchronize(self._stream)
        self._cuda.check(status, "cudaStreamSynchronize")

    def fetch(self) -> dict[str, np.ndarray]:
        self._enter_thread()
        to_host = self._cuda.runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        hosts = {spec.name: self._hosts[spec.name] for spec in self.outputs}
        for name, host in hosts.items():
            copy = (host.ctypes.data, self._devices[name], host.nbytes, to_host, self._stream)
            self._cuda.call("cudaMemcpyAsync", *copy)
        self.sync()
        return {name: host.copy() for name, host in hosts.items()}
