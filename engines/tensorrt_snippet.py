"""The program that runs a TensorRT engine by the vendor's libraries alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.vocabulary import TensorSpec


def program(package: str, device: int, inputs: tuple[TensorSpec, ...]) -> str:
    """Return a program that reads ``MODEL`` and ``inputs.npz`` and binds ``outputs``; needs cuda-bindings and numpy."""
    shapes = {spec.name: spec.shape for spec in inputs}
    return (
        f"import numpy as np\nimport {package} as trt\nfrom cuda.bindings import runtime as cuda\n\n\n"
        "def call(function, *arguments):\n"
        "    status, *values = function(*arguments)\n"
        "    assert status == cuda.cudaError_t.cudaSuccess, status\n"
        "    return values[0] if values else None\n\n\n"
        f"call(cuda.cudaSetDevice, {device})\n"
        "logger = trt.Logger(trt.Logger.WARNING)\n"
        "runtime = trt.Runtime(logger)\n"
        'with open("MODEL", "rb") as file:\n'
        "    engine = runtime.deserialize_cuda_engine(file.read())\n"
        "context = engine.create_execution_context()\n"
        f"for name, shape in {shapes}.items():\n"
        "    context.set_input_shape(name, shape)\n"
        'archive = np.load("inputs.npz")\n'
        "names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]\n"
        "hosts, devices = {}, {}\n"
        "for name in names:\n"
        "    dtype = trt.nptype(engine.get_tensor_dtype(name))\n"
        "    given = archive[name] if name in archive else np.empty(tuple(context.get_tensor_shape(name)), dtype)\n"
        "    hosts[name] = np.ascontiguousarray(given)\n"
        "    devices[name] = call(cuda.cudaMalloc, hosts[name].nbytes)\n"
        "    context.set_tensor_address(name, int(devices[name]))\n"
        "stream = call(cuda.cudaStreamCreate)\n"
        "to_device, to_host = cuda.cudaMemcpyKind.cudaMemcpyHostToDevice, cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost\n"
        "for name in archive:\n"
        "    host = hosts[name]\n"
        "    call(cuda.cudaMemcpyAsync, devices[name], host.ctypes.data, host.nbytes, to_device, stream)\n"
        "assert context.execute_async_v3(int(stream))\n"
        "outputs = {name: hosts[name] for name in names if name not in archive}\n"
        "for name, host in outputs.items():\n"
        "    call(cuda.cudaMemcpyAsync, host.ctypes.data, devices[name], host.nbytes, to_host, stream)\n"
        "call(cuda.cudaStreamSynchronize, stream)\n"
    )
