"""Wheels made by hand, for tests that install without a network."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from importlib import metadata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def wheel(folder: Path, name: str, version: str, files: Mapping[str, str], tag: str = "py3-none-any") -> Path:
    """Write a wheel of these files, by their path in it."""
    dist_info = f"{name}-{version}.dist-info"
    said = {
        f"{dist_info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{dist_info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    return _packed(folder / f"{name}-{version}-{tag}.whl", {**_encoded(files), **_encoded(said)}, dist_info)


def repacked(folder: Path, name: str) -> Path:
    """Write a wheel of a distribution that is installed here."""
    held = metadata.distribution(name)
    files = {
        str(file): file.locate().read_bytes()
        for file in held.files or ()
        if ".." not in file.parts and file.suffix != ".pyc" and file.name not in {"RECORD", "INSTALLER", "REQUESTED"}
    }
    dist_info = next(each.partition("/")[0] for each in files if each.partition("/")[0].endswith(".dist-info"))
    said = files[f"{dist_info}/WHEEL"].decode()
    tag = next(line.partition(": ")[2] for line in said.splitlines() if line.startswith("Tag: "))
    return _packed(folder / f"{dist_info.removesuffix('.dist-info')}-{tag}.whl", files, dist_info)


def _encoded(files: Mapping[str, str]) -> dict[str, bytes]:
    return {name: text.encode() for name, text in files.items()}


def _packed(path: Path, files: Mapping[str, bytes], dist_info: str) -> Path:
    lines = [f"{name},{_hash(data)},{len(data)}" for name, data in files.items()]
    record = "\n".join((*lines, f"{dist_info}/RECORD,,", ""))
    with zipfile.ZipFile(path, "w") as archive:  # not compressed: it is read once
        for name, data in {**files, f"{dist_info}/RECORD": record.encode()}.items():
            archive.writestr(name, data)
    return path


def _hash(data: bytes) -> str:
    return f"sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()}"
