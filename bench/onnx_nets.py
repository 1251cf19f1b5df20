"""The named nets as ONNX graphs, for ONNX Runtime: the same layers with their weights, made by hand from the layers' state."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fastconv import layers

OPSET, IR = 17, 8  # old enough for every runtime of the last years


class Graph:
    """Nodes and weights so far; each method adds what one layer is and returns the name of its output."""

    def __init__(self):
        self.nodes: list = []
        self.weights: list = []

    def weight(self, value: np.ndarray) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, kind: str, *inputs: str, **attributes) -> str:
        name = f"y{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def add(self, layer: layers.Layer | None, x: str) -> str:
        """The output of a layer that `bench.net` uses; None is the identity. TypeError for others."""
        match layer:
            case None | layers.Dropout():
                return x
            case layers.Sequential():
                for inner in layer.layers:
                    x = self.add(inner, x)
                return x
            case layers.Residual():
                return self.node("Add", self.add(layer.body, x), self.add(layer.shortcut, x))
            case layers.Concat():
                return self.node("Concat", *(self.add(branch, x) for branch in layer.branches), axis=1)
            case layers.Conv1d() | layers.Conv2d():
                g = layer.geometry((1, layer.in_channels, *(64,) * layer.rank))
                before, after = (list(pads[3 - layer.rank :]) for pads in ((g.PD, g.PH, g.PW), (g.QD, g.QH, g.QW)))
                strides = [g.SD, g.SH, g.SW][3 - layer.rank :]
                weights = [self.weight(p.value) for p in (layer.weight, layer.bias) if p is not None]
                return self.node("Conv", x, *weights, pads=before + after, strides=strides, group=g.G, kernel_shape=list(layer.kernel_size))
            case layers.BatchNorm1d() | layers.BatchNorm2d():
                values = layer.weight, layer.bias, layer.running_mean, layer.running_var
                return self.node("BatchNormalization", x, *(self.weight(entry.value) for entry in values), epsilon=layer.eps)
            case layers.ReLU():
                return self.node("Relu", x)
            case layers.MaxPool1d() | layers.MaxPool2d():
                return self.node("MaxPool", x, kernel_shape=list(layer.kernel_size), strides=list(layer.stride))
            case layers.GlobalAvgPool2d():
                return self.node("GlobalAveragePool", x)
            case layers.Flatten():
                return self.node("Flatten", x)
            case layers.Linear():
                return self.node("Gemm", x, self.weight(layer.weight.value), self.weight(layer.bias.value), transB=1)
        raise TypeError(f"as_onnx: no nodes for {layer!r}")


def as_onnx(model: layers.Layer, input_shape: tuple[int, ...]) -> bytes:
    """The model in evaluation mode, for an input of this shape, as the content of an .onnx file."""
    graph = Graph()
    last = graph.add(model, "x")
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in (("x", input_shape), (last, model.output_shape(input_shape)))
    )
    opset = [helper.make_opsetid("", OPSET)]
    made = helper.make_model(helper.make_graph(graph.nodes, "net", [x], [y], graph.weights), opset_imports=opset, ir_version=IR)
    onnx.checker.check_model(made)
    return made.SerializeToString()
