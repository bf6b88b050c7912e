"""A loaded artifact as a callable: one loader for each mode of the engine."""

from __future__ import annotations

import importlib
import json
import logging
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engines import torch_inductor, torch_proof
from harness.errors import DataError, Unsupported
from harness.vocabulary import Precision, Unknowable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from harness.vocabulary import Artifact

COUNTS_KEY = "inference-harness"
"""Key of an AOTInductor package's metadata: JSON with ``graph_nodes`` and ``macs`` by precision of the program."""

_SCRIPT_IDLE = frozenset({"prim::Constant", "prim::GetAttr", "prim::TupleConstruct", "prim::ListConstruct"})


@dataclass(frozen=True)
class Model:
    """``call`` takes the tensors of the inputs in order and returns those of the outputs; any thread may call it."""

    call: Callable[..., Sequence[Any]]
    graph_nodes: int | Unknowable
    program: Callable[..., object] | None = None
    """The same function, dispatched operator by operator; ``None`` where the artifact holds none."""
    program_macs: Mapping[str, int] | Unknowable | None = None
    """By precision; where ``program`` is ``None``."""
    kernels: Callable[[], Mapping[str, int]] | None = None
    """Calls of the code that inductor generated; ``None`` where the operators are dispatched one by one."""


def eager(torch: Any, artifact: Artifact, device: str, *, channels_last: bool, autocast: bool) -> Model:
    """Load a ``torch.export`` package and move it to the device. Raises ``DataError``."""
    program = read_program(torch, artifact)
    if device != "cpu":
        from torch.export.passes import move_to_device_pass

        program = move_to_device_pass(program, device)
        torch.cuda.synchronize(device)  # the streams to come do not wait for the copies of the weights
    module = program.module()
    if autocast:
        _forget_types(torch, module)
    if channels_last:
        module = module.to(memory_format=torch.channels_last)
    return Model(module, torch_proof.graph_nodes(program.graph), program=module)


def _forget_types(torch: Any, module: Any) -> None:
    """Erase the assertions of a traced graph that its tensors have the types of the trace, which autocast changes."""
    for node in module.graph.find_nodes(op="call_function", target=torch.ops.aten._assert_tensor_metadata.default):  # noqa: SLF001 - the operator's name
        module.graph.erase_node(node)
    module.recompile()


def read_program(torch: Any, artifact: Artifact) -> Any:
    """Return the exported program of a package. Raises ``DataError``."""
    if artifact.precision is Precision.INT8:
        # Registers quantize_per_tensor and its like, which a PT2E program calls.
        importlib.import_module("torch.ao.quantization.fx._decomposed")
    with _reading(artifact, "torch.export package"), _quiet("torch.export"):
        return torch.export.load(artifact.path)


def compiled(torch: Any, base: Model, patches: Mapping[str, Any], first: Callable[[Callable[..., Any]], None]) -> Model:
    """Compile a module with inductor; ``first`` calls what it is given once. Raises ``Unsupported`` where it cannot."""
    call = torch.compile(base.program, fullgraph=True, dynamic=False)
    with torch._inductor.config.patch(patches):  # noqa: SLF001 - torch's own name
        try:
            first(call)
        except Exception as error:  # dynamo, inductor and the C++ compiler raise whatever they like
            hint = "mode eager needs no compiler; TORCH_LOGS=+inductor tells more"
            raise Unsupported(f"inductor cannot compile the model: {_first_line(error)}", hint) from error
        files = torch_inductor.generated_files()
    return Model(call, base.graph_nodes, base.program, kernels=lambda: torch_inductor.python_calls(files))


def package(torch: Any, artifact: Artifact, device: str, streams: int) -> Model:
    """Load an AOTInductor package, with one runner a stream. Raises ``DataError``."""
    from torch._inductor.package import load_package

    with _reading(artifact, "AOTInductor package for this machine"), _quiet("torch._inductor.package.package"):
        # A runner serves one call at a time. The package is unpacked into a temporary folder, gone with the loader.
        index = torch.device(device).index
        loaded = load_package(str(artifact.path), num_runners=streams, device_index=-1 if index is None else index)
    # The Python wrapper of the loader parses the signature anew at every call.
    run = loaded.loader.run
    counts = json.loads(loaded.get_metadata().get(COUNTS_KEY, "{}"))
    foreign = Unknowable("the package carries no count of its program: the exporter torch-aoti did not make it")
    return Model(
        lambda *inputs: run(list(inputs)),
        counts.get("graph_nodes", foreign),
        program_macs=counts.get("macs", foreign),
        kernels=lambda: torch_inductor.package_calls(artifact.path),
    )


def script(torch: Any, artifact: Artifact, device: str, *, channels_last: bool, freezing: bool) -> Model:
    """Load a TorchScript file. Raises ``DataError``."""
    with _reading(artifact, "TorchScript file"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*torch.jit", DeprecationWarning)
        module = torch.jit.load(artifact.path, map_location=device).eval()
        nodes = sum(node.kind() not in _SCRIPT_IDLE for node in module.inlined_graph.nodes())
        if channels_last:
            module = module.to(memory_format=torch.channels_last)
        if freezing:
            module = torch.jit.optimize_for_inference(torch.jit.freeze(module))
    return Model(module, nodes, program=module)


@contextmanager
def _reading(artifact: Artifact, kind: str) -> Iterator[None]:
    """Turn what a loader raises over a file that is not what it should be into ``DataError``."""
    try:
        yield
    except Exception as error:  # unpickling, unzipping and torch's schemas raise many classes
        message = f"{artifact.path.name} cannot be read as a {kind}: {_first_line(error)}"
        raise DataError(message, "it is truncated, or of another version of torch: export it anew") from error


@contextmanager
def _quiet(logger: str) -> Iterator[None]:
    """Keep torch from logging the traceback of an error that it raises too."""
    found = logging.getLogger(logger)
    before = found.disabled
    found.disabled = True
    try:
        yield
    finally:
        found.disabled = before


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
