"""Where the layers with weights stand in a torch graph: what the quantisers of torch leave in float is told by that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection


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
    last: set[Any] = set()
    after: set[Any] = set()
    leading: set[Any] = set()  # nodes on the way to a layer, since the graph is read from its end
    for node in reversed(graph.nodes):
        is_layer, leads = node in layers and not weighs_softmax(node), node in leading
        if is_layer or leads:
            leading.update(node.all_input_nodes)
        # What leads nowhere asserts something of a tensor: an operator of no model.
        if node.op == "call_function" and node.users and not leads:
            (last if is_layer else after).add(node)
    return last, after


def weighs_softmax(node: Any) -> bool:
    """Whether a layer is the expectation of a distribution, as YOLO's distances to the sides of a box are."""
    before = node.args[0]
    while any(word in str(before.target) for word in ("transpose", "permute", "view", "reshape")):
        before = before.args[0]
    return "softmax" in str(before.target)
