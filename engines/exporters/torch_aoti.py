"""A ``torch.export`` package to an AOTInductor package: machine code for one kind of processor."""

from __future__ import annotations

import json
import platform
import shutil
from typing import TYPE_CHECKING, Any, ClassVar

from engines import torch_devices, torch_inductor, torch_model, torch_proof
from engines.exporters import _torch
from engines.exporters._calibration import options
from harness.engine import Exported, Exporter
from harness.errors import ExportFailed, HarnessError, Unsupported
from harness.vocabulary import FORMAT_TORCH_AOTI, FORMAT_TORCH_EXPORT, Precision

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from harness.engine import ExportSpec
    from harness.vocabulary import Artifact, Format

_DEFAULTS: Mapping[str, Any] = {
    "threads": None,  # that weights are packed for: oneDNN packs them anew at every run of another number
    "max_autotune": False,  # time the kernels of matrix products and take the fastest
    "freezing": None,  # weights as constants, folded and packed; by default for INT8 alone
    "fusion": True,
    "memory": "reuse",  # none | reuse | pool
    "inductor": {},  # further keys of torch._inductor.config
}


class TorchAoti(Exporter):
    """Compiles with TorchInductor ahead of time; the package runs where ``binding`` says the same."""

    name: ClassVar[str] = "torch-aoti"
    source: ClassVar[Format] = FORMAT_TORCH_EXPORT
    target: ClassVar[Format] = FORMAT_TORCH_AOTI
    precisions: ClassVar[frozenset[Precision]] = frozenset({Precision.FP32})
    keeps: ClassVar[frozenset[Precision]] = frozenset({Precision.FP16, Precision.BF16, Precision.INT8})
    bound: ClassVar[bool] = True
    distributions: ClassVar[tuple[str, ...]] = ("torch",)
    install: ClassVar[str] = _torch.INSTALL
    defaults: ClassVar[Mapping[str, Any]] = _DEFAULTS

    def export(self, source: Artifact, spec: ExportSpec, destination: Path) -> Exported:
        """Write ``model.pt2``. Raises ``EngineUnavailable``, ``DataError``, ``Unsupported`` or ``ExportFailed``."""
        torch = _torch.require("torch")
        chosen = options(self.name, spec.options, self.defaults)
        if chosen["threads"] is not None:
            torch.set_num_threads(chosen["threads"])  # an exporter has its process to itself
        settings = torch_inductor.Inductor(
            "max-autotune-no-cudagraphs" if chosen["max_autotune"] else "default",
            chosen["freezing"],
            chosen["fusion"],
            chosen["memory"],
            chosen["inductor"],
        )
        if spec.device != "cpu" and spec.precision is Precision.INT8:
            raise Unsupported("a PT2E model's INT8 kernels are oneDNN's, for x86 CPUs", "export it for device cpu")
        program = torch_model.read_program(torch, source)
        metadata = {torch_model.COUNTS_KEY: json.dumps(_counts(torch, program))}
        if spec.device != "cpu":
            program = _torch.require("torch.export.passes").move_to_device_pass(program, spec.device)
        caches = destination / "caches"
        try:
            with torch_inductor.caches_in(caches), torch.no_grad():
                if spec.device == "cpu":
                    torch_inductor.require_compiler()
                patches = torch_inductor.patches(torch, settings, int8=spec.precision is Precision.INT8)
                # The session's number of threads, and not this process's, is what the kernels are to obey.
                patches |= {"cpp.dynamic_threads": True, "aot_inductor.metadata": metadata}
                _torch.require("torch._inductor").aoti_compile_and_package(
                    program, package_path=str(destination / _torch.ENTRY), inductor_configs=patches
                )
        except HarnessError:
            raise
        except Exception as error:  # inductor and the C++ compiler raise whatever they like
            message = f"AOTInductor cannot compile the model: {type(error).__name__}: {error}"
            raise ExportFailed(message, "TORCH_LOGS=+inductor tells more; mode eager needs no compiler") from error
        finally:
            shutil.rmtree(caches, ignore_errors=True)
        notes = (f"compiled for {'; '.join(f'{key} {value}' for key, value in self.binding(spec.device).items())}",)
        return Exported(_torch.ENTRY, source.inputs, source.outputs, (*source.notes, *notes))

    def binding(self, device: str) -> Mapping[str, str]:
        """Return torch's version, and the instruction sets of this CPU or the name and capability of the GPU."""
        torch = _torch.require("torch")
        found = {"torch": str(torch.__version__)}
        if device == "cpu":
            features = torch_devices.capabilities(torch)
            # -march=native: each instruction set that this compiler finds may be in the code.
            sets = " ".join(sorted(name for name, has in features.items() if has is True))
            kernels = torch.backends.cpu.get_cpu_capability()
            return found | {"machine": platform.machine(), "kernels": kernels, "features": sets}
        index = torch.device(device).index or 0
        if index >= torch.cuda.device_count():
            raise Unsupported(
                f"torch has no device {device!r} here", f"it sees {torch.cuda.device_count()} NVIDIA GPUs"
            )
        major, minor = torch.cuda.get_device_capability(index)
        name = torch.cuda.get_device_name(index)
        return found | {"cuda": str(torch.version.cuda), "gpu": name, "capability": f"{major}.{minor}"}


def _counts(torch: Any, program: Any) -> dict[str, Any]:
    """Return what the engine cannot read from machine code: the size of the graph, and its multiply-accumulates."""
    module = program.module()
    given = [torch.zeros(value.shape, dtype=value.dtype) for value in program.example_inputs[0]]
    counted = torch_proof.count(torch, lambda: module(*given))
    return {"graph_nodes": torch_proof.graph_nodes(program.graph), "macs": torch_proof.total(counted.macs, 1)}
