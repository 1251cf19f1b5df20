"""Who answers for one image: a compiled model, the model itself, PyTorch in both of its layouts, ONNX Runtime. A peer gives one call, "infer"."""

from collections.abc import Callable

import numpy as np

from bench.net import NETS, Net, settled
from bench.peers import Ours, Torch, TorchChannelsLast
from fastconv.layers import Layer


class _Infers:
    """A peer whose work is the answer of a net to a batch of one image."""

    @staticmethod
    def parse(name: str) -> Net:
        return NETS[name].with_images(1)

    def caller(self, model: Layer, x: np.ndarray) -> Callable:
        """A call that answers for x; all that is done once is done."""
        raise NotImplementedError  # each peer has its own

    def calls(self, net: Net) -> dict[str, Callable]:
        return {"infer": self.caller(settled(net.model()), net.images()[0])}

    def arrays(self, result) -> tuple[np.ndarray, ...]:
        return (np.asarray(result),)

    def flops(self, net: Net) -> float:
        return net.flops / 3


class Compiled(_Infers, Ours):
    label = "fc.compile"

    def caller(self, model, x):
        fast = self.fc.compile(model, x.shape)
        return lambda: fast(x)


class Model(_Infers, Ours):
    label = "model(x)"

    def caller(self, model, x):
        return lambda: model(x)


class TorchModel(_Infers, Torch):
    def caller(self, model, x):
        from bench.torch_nets import as_torch

        torch, layout = self.torch, self.layout(None)
        theirs = as_torch(model)
        theirs.load_state_dict({name: torch.from_numpy(value) for name, value in model.state_dict().items()})
        theirs.eval().to(**layout)
        x = torch.from_numpy(x).clone()
        x = x.to(**layout) if layout else x

        def call():
            with torch.inference_mode():
                return theirs(x)

        return call


class TorchModelChannelsLast(TorchModel):
    label = TorchChannelsLast.label

    def layout(self, layer):
        return {"memory_format": self.torch.channels_last}


class Onnx(_Infers):
    label = "ONNX Runtime"

    def __init__(self, threads: int):
        import onnxruntime

        self.runtime, self.version = onnxruntime, f"ONNX Runtime {onnxruntime.__version__}"
        self.options = onnxruntime.SessionOptions()
        self.options.intra_op_num_threads, self.options.inter_op_num_threads = threads, 1

    def caller(self, model, x):
        from bench.onnx_nets import as_onnx

        session = self.runtime.InferenceSession(as_onnx(model, x.shape), self.options, providers=["CPUExecutionProvider"])
        return lambda: session.run(None, {"x": x})[0]

    def forget(self) -> None:
        pass


INFERENCE_PEERS = {
    "compiled-infer": Compiled,
    "model-infer": Model,
    "nchw-infer": TorchModel,
    "channels_last-infer": TorchModelChannelsLast,
    "onnx-infer": Onnx,
}
