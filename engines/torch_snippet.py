"""The program that runs an artifact by torch alone, with the settings of a session."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engines import torch_inductor
from harness.vocabulary import Precision

if TYPE_CHECKING:
    from harness.engine import SessionConfig
    from harness.vocabulary import Artifact


def program(artifact: Artifact, config: SessionConfig) -> str:
    """Return the text of the program; see ``harness.engine.Engine.snippet``."""
    inputs, outputs = ([spec.name for spec in specs] for specs in (artifact.inputs, artifact.outputs))
    device, options = config.device, config.options
    given = f"torch.from_numpy(archive[name]).to({device!r})"
    if options.channels_last:
        given += ".to(memory_format=torch.channels_last)"
    imports, lines = _loading(config)
    head = ["import numpy as np", "import torch", *imports, ""]
    if config.threads:
        head.append(f"torch.set_num_threads({config.threads})")
    if device != "cpu":
        allowed = config.precision is Precision.TF32
        head += [f"torch.backends.{name}.allow_tf32 = {allowed}" for name in ("cuda.matmul", "cudnn")]
    contexts = ["torch.inference_mode()"]
    if options.mode == "compile":
        contexts.append("torch._inductor.config.patch(settings)")  # the model is compiled at its first run
    if options.autocast:
        dtype = "float16" if config.precision is Precision.FP16 else "bfloat16"
        contexts.append(f"torch.autocast({device.partition(':')[0]!r}, torch.{dtype})")
    return "\n".join(
        [
            *head,
            *lines,
            f'with np.load("inputs.npz") as archive, {", ".join(contexts)}:',
            f"    inputs = [{given} for name in {inputs}]",
            "    found = model(*inputs)",
            f"outputs = {{name: value.cpu().numpy() for name, value in zip({outputs}, found, strict=True)}}",
            "",
        ]
    )


def _loading(config: SessionConfig) -> tuple[list[str], list[str]]:
    """Return the imports, and the lines that bind ``model``."""
    options, device = config.options, config.device
    int8 = config.precision is Precision.INT8
    if options.mode == "aoti":
        where = "" if device == "cpu" else f", device_index={device.partition(':')[2] or 0}"
        return ["import torch._inductor"], [f'model = torch._inductor.aoti_load_package("MODEL"{where})']
    if options.mode == "torchscript":
        lines = [f'model = torch.jit.load("MODEL", map_location={device!r})']
        if options.channels_last:
            lines.append("model = model.to(memory_format=torch.channels_last)")
        if options.freezing:
            lines.append("model = torch.jit.optimize_for_inference(torch.jit.freeze(model))")
        return [], lines
    imports = ["import torch.ao.quantization.fx._decomposed  # the operators of a PT2E model"] if int8 else []
    lines = ['program = torch.export.load("MODEL")']
    if device != "cpu":
        imports.append("from torch.export.passes import move_to_device_pass")
        lines.append(f"program = move_to_device_pass(program, {device!r})")
    lines.append("model = program.module()")
    if options.autocast:
        asserted = "torch.ops.aten._assert_tensor_metadata.default"
        lines += [
            f'for node in model.graph.find_nodes(op="call_function", target={asserted}):',
            "    model.graph.erase_node(node)  # it asserts a type that autocast changes",
            "model.recompile()",
        ]
    if options.channels_last:
        lines.append("model = model.to(memory_format=torch.channels_last)")
    if options.mode == "compile":
        imports.append("import torch._inductor.config")
        settings = torch_inductor.keys(options.inductor_settings, int8=int8)
        mode = options.compile_mode
        ready = f"**torch._inductor.list_mode_options({mode!r}), " if mode != "default" else ""
        lines += [
            f"settings = {{{ready}**{settings!r}}}",
            "model = torch.compile(model, fullgraph=True, dynamic=False)",
        ]
    return imports, lines
