"""What the exporters of LiteRT models share: the FlatBuffer as objects, and as a file again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

ENTRY = "model.tflite"
INSTALL = "pip install 'inference-harness[litert]'"
SIGNATURE = "serving_default"


def read(path: Path) -> Any:
    """Return the model of a valid file as the schema's ``ModelT``."""
    from ai_edge_litert import schema_py_generated as schema

    return schema.ModelT.InitFromPackedBuf(path.read_bytes())


def write(model: Any, path: Path) -> None:
    """Write a ``ModelT`` as a file."""
    import flatbuffers

    builder = flatbuffers.Builder(sum(len(buffer.data) for buffer in model.buffers if buffer.data is not None))
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(builder.Output())
