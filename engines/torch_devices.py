"""The CPU and the GPUs that torch sees, and what each does with a precision."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.vocabulary import DeviceFacts, Level, Precision, Support

if TYPE_CHECKING:
    from collections.abc import Mapping

# CPU features, as torch.cpu.get_capabilities() names them, that compute a precision without widening it first.
_CPU_FEATURES: Mapping[Precision, tuple[str, ...]] = {
    Precision.BF16: ("amx_bf16", "avx512_bf16", "bf16", "sve_bf16"),
    Precision.FP16: ("amx_fp16", "avx512_fp16", "fp16_arith"),
}
# CUDA C++ Programming Guide, arithmetic instructions: FP16 from 5.3 on, BF16 and TF32 from 8.0 on.
_CUDA_FLOORS: Mapping[Precision, tuple[int, int]] = {Precision.FP16: (5, 3), Precision.BF16: (8, 0)}
_TF32_FLOOR = (8, 0)
_FP8 = Support(Level.UNSUPPORTED, "no exporter makes an FP8 torch-export package")
_TF32_ON_CPU = Support(Level.UNSUPPORTED, "TF32 is arithmetic of NVIDIA GPUs, of compute capability 8.0 and later")
_INT8_ON_CUDA = Support(Level.UNSUPPORTED, "a PT2E model's INT8 kernels are oneDNN's, for x86 CPUs")
_INT8_ON_X86 = Support(Level.NATIVE, "in the modes compile and aoti, by oneDNN; mode eager would compute in float32")
_INT8_ELSEWHERE = Support(Level.UNSUPPORTED, "the exporter torch-int8 quantises for oneDNN's INT8 kernels on x86 CPUs")


def devices(torch: Any) -> tuple[DeviceFacts, ...]:
    """Return the CPU and every CUDA device, with each precision's level."""
    return (_cpu(torch), *(_gpu(torch, index) for index in range(torch.cuda.device_count())))


def capabilities(torch: Any) -> Mapping[str, Any]:
    """Return the CPU's features by name; empty before torch 2.11, which does not tell."""
    found: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return found


def _cpu(torch: Any) -> DeviceFacts:
    features = capabilities(torch)
    precisions = {
        Precision.FP32.value: Support(Level.NATIVE),
        Precision.TF32.value: _TF32_ON_CPU,
        Precision.FP8.value: _FP8,
        Precision.INT8.value: _INT8_ON_X86 if _onednn_has_int8(torch) else _INT8_ELSEWHERE,
    }
    for precision, names in _CPU_FEATURES.items():
        native = any(features.get(name) for name in names)
        reason = (
            "" if native else f"this CPU has none of {', '.join(names)}: values are widened to FP32 and rounded back"
        )
        precisions[precision.value] = Support(Level.NATIVE if native else Level.EMULATED, reason)
    description = f"{features.get('cpu_name', 'CPU')}, kernels for {torch.backends.cpu.get_cpu_capability()}"
    return DeviceFacts("cpu", description, precisions)


def _onednn_has_int8(torch: Any) -> bool:
    # DEFAULT is what torch calls an x86 CPU without AVX2, and every other processor.
    return bool(torch.backends.mkldnn.is_available()) and torch.backends.cpu.get_cpu_capability().startswith("AVX")


def _gpu(torch: Any, index: int) -> DeviceFacts:
    capability = torch.cuda.get_device_capability(index)
    named = f"compute capability {capability[0]}.{capability[1]}"
    tf32 = capability >= _TF32_FLOOR
    precisions = {
        Precision.FP32.value: Support(Level.NATIVE),
        Precision.TF32.value: Support(
            Level.NATIVE if tf32 else Level.UNSUPPORTED, "" if tf32 else f"{named} has no TF32 arithmetic"
        ),
        Precision.FP8.value: _FP8,
        Precision.INT8.value: _INT8_ON_CUDA,
    }
    for precision, floor in _CUDA_FLOORS.items():
        native = capability >= floor
        reason = "" if native else f"{named} has no {precision} arithmetic"
        precisions[precision.value] = Support(Level.NATIVE if native else Level.EMULATED, reason)
    return DeviceFacts(f"cuda:{index}", torch.cuda.get_device_name(index), precisions)
