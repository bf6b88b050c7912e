"""Where the layers with weights stand in a torch graph: what the quantisers of torch leave in float is told by that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engines.exporters import _graph_tail

if TYPE_CHECKING:
    from collections.abc import Collection

_MOVING = ("transpose", "permute", "view", "reshape")


def layers(graph: Any, kinds: Collection[Any]) -> dict[Any, str]:
    """Return the nodes of these operators whose weight is a parameter, in order, with the names of their layers."""
    return {
        node: str(node.args[1].target).removeprefix("model.").removesuffix(".weight")
        for node in graph.nodes
        if node.target in kinds and node.args[1].op == "get_attr"
    }


def ending(graph: Any, layers: Collection[Any]) -> tuple[set[Any], set[Any]]:
    """Return the last of the layers, which lead to no other, and the operators that come after all of them.

    A layer that weighs a softmax counts as none.
    """
    last, after = _graph_tail.ending(
        list(graph.nodes),
        reads=lambda node: node.all_input_nodes,
        gives=lambda node: (node,),
        is_layer=lambda node: node in layers and not weighs_softmax(node),
    )
    return {node for node in last if _operates(node)}, {node for node in after if _operates(node)}


def weighs_softmax(node: Any) -> bool:
    """Whether a layer is the expectation of a distribution."""
    source = _graph_tail.source_of(node, lambda each: next(iter(each.all_input_nodes), None), _moves)
    return source is not None and "softmax" in str(source.target)


def _moves(node: Any) -> bool:
    return any(word in str(node.target) for word in _MOVING)


def _operates(node: Any) -> bool:
    """Whether a node is an operator of the model: what leads nowhere asserts something of a tensor."""
    return bool(node.op == "call_function" and node.users)
