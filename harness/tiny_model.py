"""A network small enough to be written down: what ``harness.conformance`` runs through every engine.

Conv 3→8 (3x3, padding 1), ReLU, global average pool, Gemm 8→5, for an input of (1, 3, 16, 16).
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from harness.engine import Calibration
from harness.vocabulary import FORMAT_ONNX, Artifact, Precision, TensorSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.vocabulary import Format

TINY_ONNX = Path(__file__).with_name("tiny_model.onnx")
TINY_INPUTS = (TensorSpec("images", "float32", (1, 3, 16, 16)),)
TINY_OUTPUTS = (TensorSpec("logits", "float32", (1, 5)),)


def tiny_weights() -> dict[str, np.ndarray]:
    """Return ``conv.weight`` (8, 3, 3, 3), ``conv.bias`` (8,), ``fc.weight`` (5, 8), ``fc.bias`` (5,): float32."""
    # Raw words of PCG64, since numpy keeps the streams of its bit generators stable but not those of its distributions.
    bits = np.random.PCG64(20_26)
    shapes = {"conv.weight": (8, 3, 3, 3), "conv.bias": (8,), "fc.weight": (5, 8), "fc.bias": (5,)}
    return {name: _uniform(bits, shape) for name, shape in shapes.items()}


def tiny_inputs(seed: int = 0) -> dict[str, np.ndarray]:
    """Return ``images``, float32 (1, 3, 16, 16), uniform on [-1, 1) and different for every seed."""
    return {spec.name: _uniform(np.random.PCG64(seed), spec.shape) for spec in TINY_INPUTS}


def tiny_reference(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return ``logits``, float32 (N, 5), computed by numpy in float64."""
    weights = {name: value.astype(np.float64) for name, value in tiny_weights().items()}
    padded = np.pad(inputs["images"].astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    convolved = np.einsum("nchwij,ocij->nohw", windows, weights["conv.weight"])
    features = np.maximum(convolved + weights["conv.bias"][:, None, None], 0).mean(axis=(2, 3))
    return {"logits": (features @ weights["fc.weight"].T + weights["fc.bias"]).astype(np.float32)}


def tiny_artifact(path: Path, format: Format, precision: Precision) -> Artifact:  # noqa: A002 - the field's name
    """Return the artifact of the tiny model at ``path``, a file or a folder."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    content = b"".join(file.read_bytes() for file in files if file.is_file())
    return Artifact(
        format, precision, path, hashlib.sha256(content).hexdigest(), len(content), TINY_INPUTS, TINY_OUTPUTS
    )


def tiny_onnx(folder: Path) -> Artifact:
    """Return the FP32 ONNX artifact of the tiny model, copied into ``folder``."""
    return tiny_artifact(Path(shutil.copy(TINY_ONNX, folder / "model.onnx")), FORMAT_ONNX, Precision.FP32)


def tiny_calibration(folder: Path, images: int = 32) -> Calibration:
    """Return calibration images for the tiny model, written into ``folder``."""
    path = folder / "calibration.npy"
    np.save(path, np.concatenate([tiny_inputs(1000 + seed)["images"] for seed in range(images)]))
    return Calibration(path, hashlib.sha256(path.read_bytes()).hexdigest(), images)


def _uniform(bits: np.random.PCG64, shape: tuple[int, ...]) -> np.ndarray:
    words = np.asarray(bits.random_raw(int(np.prod(shape))), np.uint64)
    return ((words >> np.uint64(40)).astype(np.float32) / np.float32(2**23) - 1).reshape(shape)
