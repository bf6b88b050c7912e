"""Which operators a torch model runs, and at which precision its multiply-accumulates are."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_WORDS = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}


@dataclass(frozen=True)
class Counted:
    """Operators that reached a kernel, and multiply-accumulates, by (device, precision); operators by name."""

    nodes: Counter[tuple[str, str]] = field(default_factory=Counter)
    macs: Counter[tuple[str, str]] = field(default_factory=Counter)
    operators: Counter[str] = field(default_factory=Counter)


def count(torch: Any, run: Callable[[], object]) -> Counted:
    """Call ``run`` and count the operators it dispatches, by what they answer with; views and allocations are left out.

    MACs are half the operations that torch's own flop counter gives for convolutions and matrix products.
    """
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils.flop_counter import flop_registry

    counted = Counted()

    class Counting(TorchDispatchMode):  # type: ignore[misc]  # torch is untyped here
        def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            answer = operator(*args, **(kwargs or {}))
            first = answer[0] if isinstance(answer, (list, tuple)) and answer else answer
            idle = operator.is_view or operator.overloadpacket is torch.ops.aten.empty
            if isinstance(first, torch.Tensor) and not idle:
                dtype = str(first.dtype).removeprefix("torch.")
                key = (str(first.device), _WORDS.get(dtype, dtype))
                counted.nodes[key] += 1
                counted.operators[operator.overloadpacket.__name__] += 1
                flops = flop_registry.get(operator.overloadpacket)
                if flops is not None:
                    counted.macs[key] += flops(*args, **(kwargs or {}), out_val=answer) // 2
            return answer

    # Not inference_mode, where composite operators reach the mode whole: conv2d instead of the convolution it runs.
    with torch.no_grad(), Counting():
        run()
    return counted


def size(program: Any, macs: Mapping[tuple[str, str], int], items: int) -> dict[str, str]:
    """Return flags that tell the model's size: ``parameters``, and ``flops`` of one item, twice its MACs.

    What is not there to count, as in a frozen program, is left out.
    """
    parameters = sum(each.numel() for each in program.parameters())
    counts = {"parameters": parameters, "flops": 2 * sum(macs.values()) // items}
    return {name: str(number) for name, number in counts.items() if number}


def graph_nodes(graph: Any) -> int:
    """Return the number of operators of an FX graph: no checks, and no picking of an answer out of several."""
    return sum(
        node.op == "call_function" and not str(node.target).startswith(("aten._assert", "<built-in function getitem"))
        for node in graph.nodes
    )


def total(counted: Mapping[tuple[str, str], int], axis: int) -> dict[str, int]:
    """Return the sums along device (axis 0) or precision (axis 1)."""
    summed: Counter[str] = Counter()
    for key, number in counted.items():
        summed[key[axis]] += number
    return dict(summed)


def shares(macs: Mapping[str, int]) -> dict[str, float]:
    """Return each part of the whole; empty where there is nothing."""
    whole = sum(macs.values())
    return {key: number / whole for key, number in macs.items() if number} if whole else {}


def corrected(program: Mapping[str, int], library: Mapping[str, int]) -> dict[str, int]:
    """Return the program's multiply-accumulates at the precision that a library's log shows for its part of them.

    What the library did not run counts at the precision of the program's own tensors.
    """
    missing = {key: max(0, number - library.get(key, 0)) for key, number in program.items()}
    outside = max(0, sum(program.values()) - sum(library.values()))
    scale = outside / (sum(missing.values()) or 1)
    found = Counter(library)
    for key, number in missing.items():
        found[key] += round(number * scale)
    return dict(+found)
