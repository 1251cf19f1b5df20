"""Who trains nets: this package, and PyTorch in both of its layouts. A step is forward, cross-entropy, backward, SGD with momentum.

Each gives two calls: "step", one step of training, and "losses", those of the first five steps from the initial weights, without dropout.
"""

from collections.abc import Callable

import numpy as np

from bench.net import NETS, Net
from bench.peers import Ours, Torch, TorchChannelsLast

STEPS = 5
# At a rate of 0.01 rounding grows so fast that PyTorch's own losses of vgg_small in float32 and float64 are 1e-3 apart after five steps.
SGD = {"lr": 0.001, "momentum": 0.9}


class _Trains:
    """A peer whose work is a step of a net."""

    parse = staticmethod(NETS.__getitem__)

    def stepper(self, net: Net, dropout: bool) -> Callable[[], float]:
        """A call that trains for one step and returns its loss."""
        raise NotImplementedError  # each peer has its own

    def calls(self, net: Net) -> dict[str, Callable]:
        return {"step": self.stepper(net, dropout=True), "losses": lambda: self.losses(net)}

    def losses(self, net: Net) -> np.ndarray:
        step = self.stepper(net, dropout=False)
        return np.array([step() for _ in range(STEPS)])

    def arrays(self, result) -> tuple[np.ndarray, ...]:
        return (np.atleast_1d(result),)

    def flops(self, net: Net) -> float:
        return net.flops


class OursNet(_Trains, Ours):
    def stepper(self, net, dropout):
        fc, model, (x, y) = self.fc, net.model(dropout), net.images()
        optimizer = fc.optim.SGD(model.parameters(), **SGD)
        return lambda: fc.train.step(model, x, y, getattr(fc.losses, net.loss), optimizer)


class TorchNet(_Trains, Torch):
    def __init__(self, threads: int):
        super().__init__(threads)
        self.torch.set_grad_enabled(True)

    def stepper(self, net, dropout):
        from bench.torch_nets import as_torch

        torch, ours = self.torch, net.model(dropout)
        layout = self.layout(net)
        model = as_torch(ours)
        model.load_state_dict({name: torch.from_numpy(value) for name, value in ours.state_dict().items()})
        model.train().to(**layout)
        x, y = (torch.from_numpy(a).clone() for a in net.images())
        x = x.to(**layout) if layout else x
        optimizer = torch.optim.SGD(model.parameters(), **SGD)
        loss_of = {"cross_entropy": torch.nn.functional.cross_entropy, "mse": torch.nn.functional.mse_loss}[net.loss]

        def step() -> float:
            optimizer.zero_grad()
            loss = loss_of(model(x), y)
            loss.backward()
            optimizer.step()
            return loss.item()

        return step


class TorchNetChannelsLast(TorchNet):
    label = TorchChannelsLast.label

    def layout(self, net):
        return {"memory_format": self.torch.channels_last} if len(net.shape) == 3 else {}  # PyTorch has no such layout for one axis


NET_PEERS = {"ours-net": OursNet, "nchw-net": TorchNet, "channels_last-net": TorchNetChannelsLast}
