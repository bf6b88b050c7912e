"""Where a graph ends: its last layers with weights and what comes after them, told for any graph by what it offers."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Sequence

_Node = TypeVar("_Node")


def ending(
    nodes: Sequence[_Node],
    reads: Callable[[_Node], Iterable[Hashable]],
    gives: Callable[[_Node], Iterable[Hashable]],
    is_layer: Callable[[_Node], bool],
) -> tuple[list[_Node], list[_Node]]:
    """Return the last layers, which lead to no other, and the nodes after all layers; both from the graph's end.

    ``nodes`` are in an order in which they can run; ``reads`` and ``gives`` name the values that go into one and come
    out of it. What ``is_layer`` says alone makes a layer: one that is to stay in float for another reason ends a graph
    all the same, so that what is asked of one layer changes nothing for the others.
    """
    last: list[_Node] = []
    after: list[_Node] = []
    leading: set[Hashable] = set()  # values on the way to a layer, since the graph is read from its end
    for node in reversed(nodes):
        layer, leads = is_layer(node), not leading.isdisjoint(gives(node))
        if layer or leads:
            leading.update(reads(node))
        if not leads:
            (last if layer else after).append(node)
    return last, after


def source_of(node: _Node, before: Callable[[_Node], _Node | None], moves: Callable[[_Node], bool]) -> _Node | None:
    """Return what computes the values that a node works on; ``None`` where they are given to the graph.

    ``before``: what makes the node's first input; ``moves``: whether a node only gives values another shape or order.

    By it a layer is told whose input is a softmax. That is the expectation of a distribution, as YOLO's distances to
    the sides of a box are, and no layer for ``ending``: in INT8 a step of such a distance, one 255th of 16 bins at
    stride 32, is two pixels; the work saved is nothing.
    """
    found = before(node)
    while found is not None and moves(found):
        found = before(found)
    return found
