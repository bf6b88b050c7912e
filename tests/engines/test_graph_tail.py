"""Where graphs end, whatever they are made of: the same layers stay in float in every format."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.exporters import _graph_tail


@st.composite
def graphs(draw):
    """Nodes 0 … n-1 in order, each with the earlier ones it reads, and which of them are layers."""
    count = draw(st.integers(1, 12))
    reads = [sorted(draw(st.sets(st.integers(0, node - 1), max_size=3))) if node else [] for node in range(count)]
    return reads, draw(st.sets(st.integers(0, count - 1)))


@given(graphs())
def test_the_end_is_what_no_layer_is_reached_from(graph):
    reads, layers = graph
    nodes = list(range(len(reads)))
    last, after = _graph_tail.ending(nodes, reads.__getitem__, lambda node: (node,), layers.__contains__)
    reached = {node: {later for later in nodes if node in reads[later]} for node in nodes}
    for node in reversed(nodes):
        reached[node].update(*(reached[later] for later in reached[node]))
    ends = [node for node in reversed(nodes) if not reached[node] & layers]
    assert last == [node for node in ends if node in layers]
    assert after == [node for node in ends if node not in layers]


def test_values_that_are_moved_keep_their_source():
    kinds = ("softmax", "reshape", "transpose", "layer", "reshape")
    before = {node: node - 1 for node in range(1, 4)}
    source = _graph_tail.source_of(3, before.get, lambda node: kinds[node] in {"reshape", "transpose"})
    assert source == 0
    assert _graph_tail.source_of(4, before.get, lambda _: True) is None


EXCLUDED = [
    ({}, {"expectation": "weighs a softmax", "sides": "last layer", "scores": "last layer"}),
    ({"keep_last": False}, {"expectation": "weighs a softmax"}),
    # That the expectation is named changes nothing for the layers before it.
    ({"exclude": ("expectation",)}, {"expectation": "as asked", "sides": "last layer", "scores": "last layer"}),
    ({"exclude": ("sides",)}, {"expectation": "weighs a softmax", "sides": "as asked", "scores": "last layer"}),
    (
        {"exclude": (".*s",), "keep_last": False},
        {"expectation": "weighs a softmax", "sides": "as asked", "scores": "as asked"},
    ),
]


@pytest.mark.engine
@pytest.mark.parametrize(("options", "kept"), EXCLUDED, ids=str)
def test_torch_keeps_of_a_detection_head_what_is_asked(options, kept):
    torch = pytest.importorskip("torch")
    from engines.exporters import _torch_layers, torch_int8

    class Head(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = torch.nn.Conv2d(3, 8, 3, padding=1)
            self.sides = torch.nn.Conv2d(8, 16, 1)
            self.expectation = torch.nn.Conv2d(4, 1, 1, bias=False)
            self.scores = torch.nn.Conv2d(8, 4, 1)

        def forward(self, images):
            features = self.backbone(images).relu()
            split = self.sides(features).reshape(1, 4, 4, 64).softmax(2).transpose(1, 2)
            boxes = self.expectation(split).reshape(1, 4, 64)
            return torch.cat([boxes, self.scores(features).reshape(1, 4, 64).sigmoid()], 1)

    module = torch.export.export(Head().eval(), (torch.zeros(1, 3, 8, 8),)).module(check_guards=False)
    layers = _torch_layers.layers(module.graph, {torch.ops.aten.conv2d.default})
    found = torch_int8._kept(module.graph, layers, {**torch_int8.TorchInt8.defaults, **options})
    assert {layers[node]: reason for node, reason in found.items()} == kept


@pytest.mark.engine
@pytest.mark.parametrize(("options", "kept"), EXCLUDED, ids=str)
def test_onnx_keeps_of_a_detection_head_what_is_asked(options, kept):
    onnx = pytest.importorskip("onnx")
    from engines.exporters import _onnx_layers, onnx_int8

    node, tensor = onnx.helper.make_node, onnx.numpy_helper.from_array
    nodes = [
        node("Conv", ["images", "w0"], ["features"], "backbone"),
        node("Conv", ["features", "w1"], ["logits"], "sides"),
        node("Reshape", ["logits", "shape"], ["split"], "split"),
        node("Softmax", ["split"], ["distribution"], "softmax", axis=2),
        node("Transpose", ["distribution"], ["turned"], "turn", perm=[0, 2, 1, 3]),
        node("Conv", ["turned", "bins"], ["boxes"], "expectation"),
        node("Conv", ["features", "w2", ""], ["classes"], "scores"),
        node("Concat", ["boxes", "classes"], ["output0"], "join", axis=1),
    ]
    weights = [tensor(np.zeros((1, 1, 1, 1), np.float32), name) for name in ("w0", "w1", "bins", "w2")]
    graph = onnx.helper.make_graph(nodes, "head", [], [], weights)
    assert _onnx_layers.kept(graph, {**onnx_int8.OnnxInt8.defaults, **options}) == kept
