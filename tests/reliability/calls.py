"""A small valid call for every public callable of fastconv: add one line for a new one.

The hunt replaces each argument, those with defaults too, by bad values; so a row gives only what the call needs.
"""

import inspect
from collections.abc import Callable, Iterator

import numpy as np
from reliability.operands import Call, f32, labels, net, once_around, run, sgd, step_with, stepped, watched

import fastconv as fc
from fastconv import data, explain, functional, layers, losses, models, ops, optim, plot, train
from fastconv.streams import Stream

MODULES = {"fc": fc, "ops": ops, "layers": layers, "functional": functional, "losses": losses, "optim": optim, "data": data, "train": train,
           "train.metrics": train.metrics, "models": models, "layers.init": layers.init, "explain": explain, "plot": plot}  # fmt: skip
NO_CALL = {  # public names that are no one's to call
    "fc.GradientError", "data.FileFormatError", "layers.Layer", "layers.Module", "fc.Module", "layers.Backward",
    "optim.Optimizer", "optim.Schedule", "train.Callback",  # raised, or derived from
    "train.History", "train.RateTest", "train.Record", "train.Score", "train.ClassTable",
    "data.ImageFolder", "train.Evaluation", "train.Predictions", "train.Run", "explain.Factor", "explain.Terms", "losses.Loss",  # results
    "losses.class_labels", "layers.once", "layers.flatten", "plot.need_matplotlib",  # used between the floors
}  # fmt: skip
INNER = {
    "inner",
    "geometry",
    "input_extents",
    "move",
    "rate",
    "mean_and_scale",
    "check",
    "bound",
    "count_change",
    "in_shape",
    "passes",
    "open",
    *("on_train_begin", "on_train_end", "on_epoch_begin", "on_epoch_end", "on_batch_begin", "on_batch_end"),
    "recorded",
    "record",
    "path_of",
    "values",
    "keep",
}  # methods for fastconv itself


CALLS: dict[str, Callable[[], Call]] = {
    "fc.algorithm": lambda: Call(fc.algorithm, ("auto",), then=lambda chosen: chosen.__enter__() and chosen.__exit__(None, None, None)),
    "fc.get_num_threads": lambda: Call(fc.get_num_threads),
    "fc.set_num_threads": lambda: Call(fc.set_num_threads, (1,)),
    "fc.seed": lambda: Call(fc.seed, (1,)),
    "fc.compile": lambda: Call(fc.compile, (net(), (2, 1, 4, 4)), then=lambda fast: fast(f32(2, 1, 4, 4))),
    "fc.gradcheck": lambda: Call(fc.gradcheck, (layers.Linear(2, 2), f32(1, 2)), may=(fc.GradientError,), functions=("layer_or_function",)),
    "fc.saliency": lambda: Call(fc.saliency, (net(), f32(2, 1, 4, 4), labels(2))),
    "fc.save": lambda: Call(fc.save, (net(), "weights.npz"), may=(OSError,)),
    "fc.load": lambda: Call(fc.load, ("net.npz",), may=(OSError,)),
    "ops.batch_norm": lambda: Call(ops.batch_norm, (f32(2, 3, 2, 2), f32(3), abs(f32(3)), f32(3), f32(3))),
    "ops.batch_norm_grad": lambda: Call(ops.batch_norm_grad, (f32(2, 3, 2, 2), f32(2, 3, 2, 2), f32(3), abs(f32(3)), f32(3))),
    "ops.batch_statistics": lambda: Call(ops.batch_statistics, (f32(2, 3, 2, 2),)),
    "ops.bias_grad": lambda: Call(ops.bias_grad, (f32(2, 3, 2, 2),)),
    "ops.dropout": lambda: Call(ops.dropout, (f32(2, 3), 0.5, 1)),
    "ops.linear": lambda: Call(ops.linear, (f32(2, 3), f32(4, 3), f32(4))),
    "ops.linear_input_grad": lambda: Call(ops.linear_input_grad, (f32(2, 4), f32(4, 3))),
    "ops.linear_weight_grad": lambda: Call(ops.linear_weight_grad, (f32(2, 3), f32(2, 4)), {"out": f32(4, 3)}, changes=True),
    "ops.log_softmax": lambda: Call(ops.log_softmax, (f32(2, 3),)),
    "ops.softmax": lambda: Call(ops.softmax, (f32(2, 3),)),
    "ops.flat_indices": lambda: Call(ops.flat_indices, (np.zeros((2, 4, 2, 2), np.uint8), (2, 4, 4, 4), 2)),
    "ops.adaptive_flat_indices": lambda: Call(ops.adaptive_flat_indices, (np.zeros((2, 4, 2, 2), np.uint8), (2, 4, 4, 4))),
    "ops.pad": lambda: Call(ops.pad, (f32(2, 3, 4, 4), (1, 2)), {"mode": "constant", "value": 0.5}),
    "ops.pad_grad": lambda: Call(ops.pad_grad, (f32(2, 3, 4, 7), (2, 3, 4, 4), (1, 2))),
    "ops.upsample": lambda: Call(ops.upsample, (f32(2, 3, 4, 4), 6), {"mode": "bilinear"}),
    "ops.upsample_grad": lambda: Call(ops.upsample_grad, (f32(2, 3, 8, 8), (2, 3, 4, 4), None, 2.0), {"mode": "bilinear"}),
    "ops.relu": lambda: Call(ops.relu, (f32(2, 3),)),
    "ops.relu_grad": lambda: Call(ops.relu_grad, (f32(2, 3), f32(2, 3))),
    "losses.cross_entropy": lambda: Call(losses.cross_entropy, (f32(4, 3), labels(4)), {"class_weights": np.ones(3)}),
    "losses.balanced_weights": lambda: Call(losses.balanced_weights, (labels(4),)),
    "losses.mse": lambda: Call(losses.mse, (f32(4, 3), f32(4, 3))),
    "losses.huber": lambda: Call(losses.huber, (f32(4, 3), f32(4, 3))),
    "losses.bce_with_logits": lambda: Call(losses.bce_with_logits, (f32(4, 3), np.zeros((4, 3), np.float32))),
    "layers.Parameter": lambda: Call(layers.Parameter, (f32(2, 3),), then=lambda p: p.add_grad(np.ones_like(p.value))),
    "layers.Parameter.value": lambda: setting(layers.Parameter(f32(3)), "value", f32(3)),
    "layers.Parameter.frozen": lambda: setting(layers.Parameter(f32(3)), "frozen", True),
    "layers.Parameter.add_grad": lambda: Call(layers.Parameter(f32(3)).add_grad, (f32(3),)),
    "layers.Buffer": lambda: Call(layers.Buffer, (f32(2, 3),)),
    "layers.Layer.summary": lambda: Call(net().summary, ((1, 1, 4, 4),), then=str),
    "layers.Layer.load_state_dict": lambda: Call(net().load_state_dict, (net().state_dict(),)),
    "layers.Lambda": lambda: Call(
        layers.Lambda, (np.sin, lambda dy, x, y: dy * np.cos(x)), then=once_around(f32(2, 3)), functions=("function", "backward", "output_shape"),
        may=(RuntimeError,),
    ),
    "layers.init.constant": lambda: Call(layers.init.constant, (layers.Parameter(f32(3)), 0.5), changes=True),
    "layers.init.gain": lambda: Call(layers.init.gain, ("relu",)),
    "layers.init.orthogonal": lambda: Call(layers.init.orthogonal, (layers.Parameter(f32(3, 4)),), changes=True),
    "layers.init.whole_model": lambda: Call(layers.init.whole_model, (net(), layers.init.zeros), changes=True, functions=("draw",)),
    "optim.Optimizer.load_state_dict": lambda: Call(sgd().load_state_dict, (sgd().state_dict(),)),
    "optim.Optimizer.lr": lambda: setting(sgd(), "lr", 0.1),
    "optim.Schedule.load_state_dict": lambda: Call(optim.Step(sgd(), 3).load_state_dict, (optim.Step(sgd(), 3).state_dict(),)),
    "optim.Schedule.step": lambda: Call(optim.Plateau(sgd()).step, (0.5,)),
    "optim.Plateau.load_state_dict": lambda: Call(optim.Plateau(sgd()).load_state_dict, (optim.Plateau(sgd()).state_dict(),)),
    "optim.Cosine": lambda: Call(optim.Cosine, (sgd(), 10), then=stepped, changes=True),
    "optim.Exponential": lambda: Call(optim.Exponential, (sgd(), 0.9), then=stepped, changes=True),
    "optim.Linear": lambda: Call(optim.Linear, (sgd(),), then=stepped, changes=True),
    "optim.MultiStep": lambda: Call(optim.MultiStep, (sgd(), [3, 5]), then=stepped, changes=True),
    "optim.OneCycle": lambda: Call(optim.OneCycle, (sgd(), 0.1, 10), then=stepped, changes=True),
    "optim.Plateau": lambda: Call(optim.Plateau, (sgd(),), then=stepped, changes=True),
    "optim.Step": lambda: Call(optim.Step, (sgd(), 3), then=stepped, changes=True),
    "data.Batches": lambda: Call(data.Batches, (f32(4, 1, 3, 3), labels(4), 2), {"stream": Stream(0)}, then=list),
    "data.Normalise": lambda: Call(data.Normalise, ([0.0], [1.0]), then=lambda change: change(f32(2, 1, 3, 3))),
    "data.Normalise.of": lambda: Call(data.Normalise.of, (f32(4, 1, 3, 3),)),
    "data.Normalise.__call__": lambda: Call(data.Normalise([0.0], [1.0]), (f32(4, 1, 3, 3),)),
    "data.digits": lambda: Call(data.digits, ("writers",)),
    "data.cifar10": lambda: Call(data.cifar10, (".",), may=(OSError,)),
    "data.class_names": lambda: Call(data.class_names, ("classes",), may=(OSError,)),
    "data.encode_labels": lambda: Call(data.encode_labels, (labels(4),)),
    "data.image_folder": lambda: Call(data.image_folder, ("pictures",), may=(OSError,)),
    "data.images": lambda: Call(data.images, ("pictures/a/0.png",), may=(OSError,)),
    "data.idx": lambda: Call(data.idx, ("labels.idx",), may=(OSError,)),
    "data.mnist": lambda: Call(data.mnist, (".",), may=(OSError,)),
    "data.npy_folder": lambda: Call(data.npy_folder, ("classes",), may=(OSError,)),
    "data.npz": lambda: Call(data.npz, ("data.npz",), may=(OSError,)),
    "data.stratified_split": lambda: Call(data.stratified_split, (f32(6, 2), np.array([0, 0, 0, 1, 1, 1]), 0.3)),
    "fc.load_run": lambda: Call(fc.load_run, ("run",), then=str, may=(OSError,)),
    "train.Predictions.top": lambda: Call(run().predict(abs(np.sin(f32(2, 4, 4)))).top, (2,)),
    "train.Run.batch": lambda: Call(run().batch, ("predict", abs(np.sin(f32(2, 4, 4)))), anything=("op",)),
    "train.Run.evaluate": lambda: Call(run().evaluate, (abs(np.sin(f32(2, 4, 4))), ["b", "a"]), then=str),
    "train.Run.predict": lambda: Call(run().predict, (abs(np.sin(f32(2, 4, 4))),), then=str),
    "train.class_table": lambda: Call(train.class_table, (f32(4, 3), labels(4), ["a", "b", "c"]), then=str),
    "train.Checkpoint": lambda: Call(train.Checkpoint, ("checkpoint.npz",)),
    "train.EarlyStopping": lambda: Call(train.EarlyStopping, ("loss",), {"patience": 1}, then=watched),
    "train.KeepBest": lambda: Call(train.KeepBest, ("best.npz",), {"monitor": "loss"}, then=watched, may=(OSError,)),
    "train.Scheduler": lambda: Call(train.Scheduler, (optim.Step(sgd(), 3),)),
    "train.evaluate": lambda: Call(train.evaluate, (net(), f32(4, 1, 4, 4), labels(4)), functions=("loss_function",)),
    "train.fit": lambda: Call(
        train.fit, (net(), (f32(4, 1, 4, 4), labels(4))), {"epochs": 1, "validation": (f32(4, 1, 4, 4), labels(4)), "verbose": 0}, changes=True,
        may=(FloatingPointError, OSError), endless=("epochs",), functions=("loss_function", "metrics", "callbacks"),
    ),
    "train.find_lr": lambda: Call(
        train.find_lr, (net(), (f32(4, 1, 4, 4), labels(4))), {"steps": 3}, endless=("steps",), functions=("loss_function",),
    ),
    "train.predict": lambda: Call(train.predict, (net(), f32(4, 1, 4, 4))),
    "train.step": lambda: Call(
        train.step, (model := net(), f32(4, 1, 4, 4), labels(4), losses.cross_entropy, optim.SGD(model.parameters(), 0.1)), changes=True,
        may=(FloatingPointError,), functions=("loss_function",),
    ),
    "train.metrics.accuracy": lambda: Call(train.metrics.accuracy, (f32(4, 3), labels(4))),
    "train.metrics.confusion": lambda: Call(train.metrics.confusion, (f32(4, 3), labels(4))),
    "train.metrics.top_k": lambda: Call(train.metrics.top_k, (2,), then=lambda metric: metric(f32(4, 3), labels(4))),
    "explain.as_dense_matrix": lambda: Call(explain.as_dense_matrix, (layers.Conv2d(1, 2, 2), (1, 1, 3, 3))),
    "explain.derivative": lambda: Call(explain.derivative, (net(), f32(1, 1, 4, 4))),
    "explain.fold": lambda: Call(explain.fold, (f32(8, 9), explain.ties(layers.Conv2d(1, 2, 2), (1, 1, 3, 3)), (2, 1, 2, 2))),
    "explain.ties": lambda: Call(explain.ties, (layers.Conv2d(1, 2, 2), (1, 1, 3, 3))),
    "explain.input_terms": lambda: Call(explain.input_terms, (layers.Conv2d(1, 2, 2), f32(1, 1, 3, 3), f32(1, 2, 2, 2), (0, 0, 1, 1))),
    "explain.output_terms": lambda: Call(explain.output_terms, (layers.Conv2d(1, 2, 2), f32(1, 1, 3, 3), (0, 0, 1, 1)), then=str),
    "explain.weight_terms": lambda: Call(explain.weight_terms, (layers.Conv2d(1, 2, 2), f32(1, 1, 3, 3), f32(1, 2, 2, 2), (0, 0, 1, 1))),
    "plot.confusion_matrix": lambda: Call(plot.confusion_matrix, (labels(4), labels(4))),
    "plot.feature_maps": lambda: Call(plot.feature_maps, (f32(1, 2, 4, 4),)),
    "plot.filters": lambda: Call(plot.filters, (f32(2, 1, 3, 3),)),
    "plot.learning_curves": lambda: Call(plot.learning_curves, ([{"epoch": 1, "loss": 0.5, "accuracy": 0.5}],), may=(OSError,)),
    "plot.lr_curve": lambda: Call(plot.lr_curve, (train.find_lr(net(), f32(4, 1, 4, 4), labels(4), steps=3),)),
    "plot.misclassified": lambda: Call(plot.misclassified, (f32(4, 1, 4, 4), labels(4), labels(4)[::-1])),
    "plot.numbers": lambda: Call(plot.numbers, (f32(2, 2),), {"labels": [["a", "b"], ["c", "d"]]}, anything=("title",)),
    "plot.predictions": lambda: Call(
        plot.predictions, (f32(4, 1, 4, 4), labels(4), labels(4)[::-1]), {"names": ["a", "b", "c"], "probabilities": abs(np.sin(f32(4)))},
    ),
    "plot.saliency": lambda: Call(plot.saliency, (f32(2, 1, 4, 4), abs(f32(2, 4, 4))), {"labels": ["a", "b"]}, anything=("labels",)),
    "plot.save": lambda: Call(plot.save, ("picture.png", plot.numbers, f32(2, 2)), may=(OSError,), functions=("draw",)),
}  # fmt: skip


def setting(owner: object, name: str, value: object) -> Call:
    """Assignment to a property is a call of one argument."""
    parameter = inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    assign = lambda value: setattr(owner, name, value)  # noqa: E731
    assign.__signature__ = inspect.Signature([parameter])
    return Call(assign, (value,))


def _of_rank(rank: int) -> Iterator[tuple[str, Callable[[], Call]]]:
    """Convolutions and poolings: x is 4 wide, a 3-wide kernel makes 2 of it, a 2-wide window too."""
    size, taps, half = (4,) * rank, (3,) * rank, (2,) * rank
    x, w, b, dy, y, wide = f32(2, 4, *size), f32(2, 4, *taps), f32(2), f32(2, 2, *half), f32(2, 4, *half), f32(2, 4, *size)

    def argmax() -> np.ndarray:
        return getattr(ops, f"max_pool{rank}d")(x, 2)[1]

    for name, args in {
        "conv{}d": (x, w, b), "conv{}d_input_grad": (dy, w, x.shape), "conv{}d_weight_grad": (x, dy, 3),
        "conv_transpose{}d": (dy, w, f32(4)), "conv_transpose{}d_input_grad": (wide, w, dy.shape), "conv_transpose{}d_weight_grad": (dy, wide, 3),
        "max_pool{}d": (x, 2), "max_pool{}d_grad": (y, argmax, x.shape, 2), "avg_pool{}d": (x, 2), "avg_pool{}d_grad": (y, x.shape, 2),
        "adaptive_max_pool{}d": (x, 2), "adaptive_max_pool{}d_grad": (y, argmax, x.shape),
        "max_unpool{}d": (y, np.zeros(y.shape, np.int64), 2), "max_unpool{}d_grad": (x, np.zeros(y.shape, np.int64)),
        "adaptive_avg_pool{}d": (x, 2), "adaptive_avg_pool{}d_grad": (y, x.shape),
    }.items():  # fmt: skip
        name = name.format(rank)
        yield f"ops.{name}", lambda name=name, args=args: _operation(name, args)


def _operation(name: str, args: tuple) -> Call:
    words = {"out": np.zeros_like(args[0], shape=(2, 4, *(3,) * (args[0].ndim - 2)))} if "weight_grad" in name else {}
    return Call(getattr(ops, name), tuple(arg() if callable(arg) else arg for arg in args), words, changes=bool(words))


def _layers() -> Iterator[tuple[str, Callable[[], Call]]]:
    """Each layer as it is made, its three passes and its shapes."""
    names = "ReLU LeakyReLU Sigmoid Tanh Dropout Flatten GlobalAvgPool2d ELU GELU Hardswish LogSoftmax SiLU Softmax Softplus Identity"
    kinds: dict[str, tuple] = dict.fromkeys(names.split(), ())
    kinds |= {"GroupNorm": (2, 4), "LayerNorm": (4,)}
    kinds |= {"Linear": (4, 3), "Residual": (layers.ReLU(),), "Sequential": (layers.ReLU(), layers.Tanh()), "Concat": (layers.ReLU(), layers.Tanh())}
    kinds |= {"Pad": ((1, 2),), "Upsample": (6,), "Reshape": (4, 4, 4)}
    for rank in (1, 2, 3):
        kinds |= {f"Conv{rank}d": (4, 2, 3), f"ConvTranspose{rank}d": (4, 2, 3), f"BatchNorm{rank}d": (4,)}
        kinds |= {f"InstanceNorm{rank}d": (4,), f"Dropout{rank}d": ()}
        kinds |= {f"{pool}Pool{rank}d": (2,) for pool in ("Max", "Avg", "AdaptiveMax", "AdaptiveAvg")}
    for name, args in kinds.items():
        kind = getattr(layers, name)
        x = f32(2, 4) if name == "Linear" else f32(2, 4, *(4,) * int(name[-2] if name[-1] == "d" and name[-2] in "123" else 2))
        make = lambda kind=kind, args=args: kind(*args)  # noqa: E731
        yield f"layers.{name}", lambda kind=kind, args=args, x=x: Call(kind, args, then=once_around(x))
        yield f"layers.{name}.forward", lambda make=make, x=x: Call(make().forward, (x,), then=lambda pair: pair[1](np.ones_like(pair[0])))
        yield f"layers.{name}.__call__", lambda make=make, x=x: Call(make(), (x,))
        yield f"layers.{name}.output_shape", lambda make=make, x=x: Call(make().output_shape, (x.shape,))
        yield f"layers.{name}.algorithms", lambda make=make, x=x: Call(make().algorithms, (x.shape,))
        yield f"layers.{name}.backward", lambda make=make, x=x: _backward(make(), x)


def _functions() -> Iterator[tuple[str, Callable[[], Call]]]:
    """Those of `functional`, on arrays."""
    for name in ("relu", "leaky_relu", "sigmoid", "tanh", "dropout"):
        yield name, lambda name=name: Call(getattr(functional, name), (f32(2, 3),))
    for name in ("elu", "gelu", "silu", "hardswish", "softplus", "softmax", "log_softmax"):
        yield name, lambda name=name: Call(getattr(functional, name), (f32(2, 3),))
    yield "pad", lambda: Call(functional.pad, (f32(1, 2, 3, 3), (1, 0)))
    yield "interpolate", lambda: Call(functional.interpolate, (f32(1, 2, 3, 3), 4))
    yield "flatten", lambda: Call(functional.flatten, (f32(2, 3, 4), 1))
    for name in ("cat", "concat"):
        yield name, lambda name=name: Call(getattr(functional, name), ([f32(2, 3), f32(2, 1)],))
    for rank in (1, 2, 3):
        for name in ("max_pool", "avg_pool", "adaptive_avg_pool", "adaptive_max_pool"):
            name = f"{name}{rank}d"
            yield name, lambda name=name, rank=rank: Call(getattr(functional, name), (f32(2, 4, *(4,) * rank), 2))


def _backward(layer: layers.Layer, x: np.ndarray) -> Call:
    y, backward = layer.forward(x)
    return Call(backward, (np.ones_like(y),))


def _optimizer(kind: type[optim.Optimizer]) -> Call:
    parameters = [layers.Parameter(f32(3))]
    return Call(kind, (parameters, 0.1), then=step_with(parameters), changes=True)


for _rank in (1, 2, 3):
    CALLS |= dict(_of_rank(_rank))
CALLS |= dict(_layers())
CALLS |= {f"functional.{name}": make for name, make in _functions()}
CALLS |= {
    f"layers.Sequential.{name}": lambda name=name, args=args: Call(getattr(net(), name), args, may=(IndexError,))
    for name, args in (("append", (layers.ReLU(),)), ("insert", (1, layers.ReLU())), ("extend", ([layers.ReLU()],)))
}
CALLS |= {f"optim.{kind.__name__}": lambda kind=kind: _optimizer(kind) for kind in (optim.SGD, optim.Adam, optim.AdamW, optim.RMSprop)}
CALLS |= {
    f"layers.init.{name}": lambda name=name: Call(getattr(layers.init, name), (layers.Parameter(f32(3, 4)),), changes=True)
    for name in ("zeros", "ones", "uniform", "normal", "truncated_normal", "xavier_uniform", "xavier_normal", "kaiming_uniform", "kaiming_normal")
}
CALLS |= {f"models.{name}": lambda build=build: Call(build) for name, build in models.MODELS.items()}


def public() -> Iterator[str]:
    """The name of every public callable, and of every method with arguments of which no class has a row."""
    for prefix, module in MODULES.items():
        for name in getattr(module, "__all__", vars(module)):
            entry = getattr(module, name)
            if name.startswith("_") or not callable(entry) or (not hasattr(module, "__all__") and entry.__module__ != module.__name__):
                continue
            if f"{prefix}.{name}" not in NO_CALL:
                yield f"{prefix}.{name}"
            for method, function in inspect.getmembers(entry, inspect.isfunction) if inspect.isclass(entry) else ():
                arguments = len(inspect.signature(function).parameters) - 1
                if not method.startswith("_") and arguments and method not in INNER and not any(row.endswith(f".{method}") for row in CALLS):
                    yield f"{prefix}.{name}.{method}"
