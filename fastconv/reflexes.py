"""What other frameworks call things, and the line to write here: the answers to names that are not there."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

LEAVE_OUT = "leave it out"
LEAVE_CALL = "leave the call out"
NO_MODE = "a pass says what it is: model(x) infers, model.forward(x) and train.step train"
UNPACK = "write value, d_outputs = losses.cross_entropy(outputs, y); backward(d_outputs), where outputs, backward = model.forward(x)"
ONE_DEVICE = f"all arrays are NumPy's, in the memory of the CPU: {LEAVE_OUT}"
NO_MOVE = f"all arrays are NumPy's, in the memory of the CPU: {LEAVE_CALL}"

ANSWERS: dict[str, dict[str, str]] = {
    "Layer": {
        "train": f"{NO_MODE}: {LEAVE_CALL}",
        "eval": f"{NO_MODE}: {LEAVE_CALL}",
        **dict.fromkeys(("to", "cuda", "cpu"), NO_MOVE),
        "device": ONE_DEVICE,
        **dict.fromkeys(("half", "float", "double"), "layers are made with their dtype: Conv2d(..., dtype=np.float64)"),
        "backward": "forward returns the way back: y, backward = model.forward(x)",
        "compile": "write train.fit(model, (x, y), optimizer=optim.Adam(model.parameters())); a quick copy for inference is fc.compile(model, shape)",
        "fit": "write train.fit(model, (x, y), epochs=10)",
        "evaluate": "write train.evaluate(model, x, y)",
        "predict": "write train.predict(model, x)",
        "save": "write fc.save(model, path)",
        "save_weights": "write fc.save(model, path)",
        "load_weights": "write model.load_state_dict(fc.load(path))",
        "trainable": "write layer.frozen = True",
        "requires_grad_": "write layer.frozen = True",
        "count_params": "write model.num_parameters",
        "get_weights": "write model.state_dict()",
        "set_weights": "write model.load_state_dict(state)",
        "register_buffer": "write self.name = layers.Buffer(array)",
        "register_parameter": "write self.name = layers.Parameter(array) in a Layer",
        "add_module": "write setattr(self, name, layer)",
        "add": "write model.append(layer)",
        "apply": "write for layer in model.modules(): ...",
    },
    "layers": {
        "Dense": "write Linear(in_features, out_features)",
        **{f"Conv{rank}D": f"write Conv{rank}d(in_channels, out_channels, kernel_size)" for rank in (1, 2, 3)},
        "Convolution2D": "write Conv2d(in_channels, out_channels, kernel_size)",
        **{f"Conv{rank}DTranspose": f"write ConvTranspose{rank}d(in_channels, out_channels, kernel_size)" for rank in (1, 2, 3)},
        "DepthwiseConv2D": "write Conv2d(channels, channels, kernel_size, groups=channels)",
        "SeparableConv2D": "write Conv2d(IC, IC, kernel_size, groups=IC), then Conv2d(IC, OC, 1)",
        **{f"MaxPooling{rank}D": f"write MaxPool{rank}d(kernel_size)" for rank in (1, 2, 3)},
        **{f"MaxPool{rank}D": f"write MaxPool{rank}d(kernel_size)" for rank in (1, 2, 3)},
        **{f"AveragePooling{rank}D": f"write AvgPool{rank}d(kernel_size)" for rank in (1, 2, 3)},
        "GlobalAveragePooling2D": "write GlobalAvgPool2d(), Flatten()",
        "GlobalMaxPooling2D": "write AdaptiveMaxPool2d(1), Flatten()",
        "BatchNormalization": "write BatchNorm2d(channels), BatchNorm1d(features) after a Linear",
        "Activation": "activations are layers: write ReLU()",
        "Input": "layers know their inputs' channels: leave it out, and write Conv2d(in_channels, ...)",
        "InputLayer": "layers know their inputs' channels: leave it out, and write Conv2d(in_channels, ...)",
        "Add": "write Residual(body, shortcut), or x + y in the forward of a Module",
        "Concatenate": "write Concat(*branches), or functional.cat([x, y]) in the forward of a Module",
        "SpatialDropout2D": "write Dropout2d(p)",
        "ModuleList": "write a list: self.blocks = [layer, layer]",
        "ParameterList": "write a list: self.scales = [layers.Parameter(array)]",
        "ParameterDict": 'write a dict: self.scales = {"name": layers.Parameter(array)}',
        "ModuleDict": 'write a dict: self.blocks = {"name": layer}',
        "functional": "write from fastconv import functional as F",
        "DataParallel": f"one process uses all cores: {LEAVE_OUT}",
        "CrossEntropyLoss": "a loss is a function: value, d_outputs = losses.cross_entropy(outputs, targets)",
        "NLLLoss": "a loss is a function of the scores: value, d_outputs = losses.cross_entropy(outputs, targets)",
        "MSELoss": "a loss is a function: value, d_outputs = losses.mse(outputs, targets)",
        "BCEWithLogitsLoss": "a loss is a function: value, d_outputs = losses.bce_with_logits(outputs, targets)",
        "BCELoss": "leave the Sigmoid out: value, d_outputs = losses.bce_with_logits(scores, targets)",
        "HuberLoss": "a loss is a function: value, d_outputs = losses.huber(outputs, targets)",
        "SmoothL1Loss": "a loss is a function: value, d_outputs = losses.huber(outputs, targets)",
    },
    "losses": {
        **dict.fromkeys(("SparseCategoricalCrossentropy", "sparse_categorical_crossentropy"), "write losses.cross_entropy, without a softmax"),
        **dict.fromkeys(
            ("CategoricalCrossentropy", "categorical_crossentropy"), "write losses.cross_entropy, with targets.argmax(axis=1) and without a softmax"
        ),
        **dict.fromkeys(("BinaryCrossentropy", "binary_crossentropy"), "write losses.bce_with_logits, without a sigmoid before it"),
        **dict.fromkeys(("MeanSquaredError", "mean_squared_error", "mse_loss"), "write losses.mse"),
        "nll_loss": "write losses.cross_entropy: it takes scores, and log-probabilities as well",
    },
    "Loss": dict.fromkeys(("backward", "item", "detach", "data", "cpu", "numpy", "tolist", "mean", "sum"), UNPACK),
    "optim": {
        "lr_scheduler": "schedules are here: optim.Step(optimizer, 10), optim.Cosine(optimizer, epochs), optim.OneCycle, optim.Plateau",
        **dict.fromkeys(("Adadelta", "Adagrad", "Adamax", "NAdam", "RAdam", "Nadam"), "write optim.Adam(model.parameters(), lr=1e-3)"),
        "LBFGS": "write optim.SGD(model.parameters(), lr=0.1, momentum=0.9)",
        "RMSProp": "write optim.RMSprop(model.parameters(), lr=1e-3)",
        "StepLR": "write optim.Step(optimizer, step_size)",
        "MultiStepLR": "write optim.MultiStep(optimizer, milestones)",
        "LinearLR": "write optim.Linear(optimizer)",
        "ExponentialLR": "write optim.Exponential(optimizer, gamma)",
        "CosineAnnealingLR": "write optim.Cosine(optimizer, total_steps)",
        "OneCycleLR": "write optim.OneCycle(optimizer, max_lr, total_steps)",
        "ReduceLROnPlateau": "write optim.Plateau(optimizer)",
    },
    "Optimizer": {
        "param_groups": "write optimizer.groups, or optimizer.lr for the rate",
        "add_param_group": "give all groups when it is made: optim.Adam([{'params': parameters}, {'params': others, 'lr': 1e-4}])",
        "state": "write optimizer.state_dict()",
        "learning_rate": "write optimizer.lr",
    },
    "Schedule": {
        **dict.fromkeys(("get_last_lr", "get_lr"), "write optimizer.lr, or [group['lr'] for group in optimizer.groups]"),
        "last_epoch": "write schedule.steps",
    },
    "fastconv": {
        **dict.fromkeys(("no_grad", "inference_mode"), f"{NO_MODE}: {LEAVE_OUT}"),
        "manual_seed": "write fc.seed(0)",
        "nn": "write from fastconv import layers as nn; a model is an fc.Module",
        "cat": "write functional.cat([x, y])",
        **dict.fromkeys(("tensor", "Tensor", "from_numpy"), "arrays are NumPy's: write np.array(values, np.float32)"),
        "device": ONE_DEVICE,
        "utils": "batches are here: data.Batches(x, y, batch_size)",
        "Parameter": "write layers.Parameter(array)",
    },
    "data": {
        "DataLoader": "write data.Batches(x, y, batch_size)",
        **dict.fromkeys(("TensorDataset", "Dataset"), "a data set is a pair of arrays: data.Batches(x, y, batch_size)"),
        "random_split": "write (x, y), held = data.stratified_split(x, y, 0.1)",
    },
    "init": {
        **{f"{name}_": f"write layers.init.{name}, without the underscore" for name in (
            "zeros", "ones", "constant", "uniform", "normal", "xavier_uniform", "xavier_normal", "kaiming_uniform", "kaiming_normal", "orthogonal",
        )},
        "trunc_normal_": "write layers.init.truncated_normal",
        "calculate_gain": "write layers.init.gain",
    },
    "functional": {
        "relu_": "write functional.relu(x)",
        "nll_loss": "write losses.cross_entropy(outputs, targets): it takes scores, and log-probabilities as well",
        "cross_entropy": "write value, d_outputs = losses.cross_entropy(outputs, targets)",
        "mse_loss": "write value, d_outputs = losses.mse(outputs, targets)",
        **dict.fromkeys(
            ("conv1d", "conv2d", "conv3d", "conv_transpose2d", "linear", "batch_norm"), "make a layer in __init__ and call it: it has the weights"
        ),
    },
    "traced": {
        **dict.fromkeys(("permute", "transpose", "unsqueeze", "squeeze", "chunk", "split", "repeat", "expand", "sum", "max", "matmul"),
                        "write a Layer, whose forward is given arrays, or x.view(-1, ...), x.flatten(1), x.mean((2, 3)), functional.cat"),
        **dict.fromkeys(("detach", "item", "numpy", "data", "tolist"), "it has no numbers until forward has returned: return it among the outputs"),
        **dict.fromkeys(("to", "cuda", "cpu", "contiguous", "clone", "float"), LEAVE_CALL),
        "device": ONE_DEVICE,
        **dict.fromkeys(("softmax", "log_softmax"), "write functional.softmax(x, dim=1), or return the scores: losses.cross_entropy takes them"),
    },
    "Parameter": {
        "numel": "write p.size",
        "data": "write p.value",
        "detach": "write p.value",
        "numpy": "write p.value",
        "item": "write p.value.item()",
        "dim": "write p.ndim",
        "copy_": "write p.value = array",
        **{name: f"write p.value.{name}()" for name in ("sum", "mean", "std", "min", "max")},
        "to": NO_MOVE,
    },
}  # fmt: skip
for _name in ("CrossEntropyLoss", "NLLLoss", "MSELoss", "BCEWithLogitsLoss", "BCELoss", "HuberLoss", "SmoothL1Loss"):
    ANSWERS["losses"][_name] = ANSWERS["layers"][_name]

KEYWORDS: dict[str, dict[str, str]] = {
    "loss": {
        **dict.fromkeys(("reduction", "size_average", "reduce"), "the value is the mean over the batch: leave it out"),
        "weight": "write class_weights=, of cross_entropy: one number for each class",
        "pos_weight": "all elements count alike: leave it out",
        "beta": "write delta=, of huber",
        "from_logits": "outputs are scores: leave it out",
        "input": "write outputs=",
        "target": "write targets=",
    },
    "Optimizer": {
        "dampening": "it is 0: leave it out",
        **dict.fromkeys(("amsgrad", "foreach", "fused", "capturable", "differentiable"), LEAVE_OUT),
        "maximize": "a step goes downhill: give backward -d_outputs",
        "learning_rate": "write lr=",
        "epsilon": "write eps=",
        **dict.fromkeys(("beta_1", "beta_2"), "write betas=(0.9, 0.999)"),
        "clipnorm": "write clip_norm=",
        "clipvalue": "write clip_value=",
    },
    "zero_grad": {"set_to_none": "gradients are marked as zero, which costs nothing: leave it out"},
    "Batches": {
        **dict.fromkeys(
            ("num_workers", "pin_memory", "persistent_workers", "prefetch_factor", "worker_init_fn", "collate_fn"),
            "batches are cut from arrays in memory: leave it out",
        ),
        "drop_last": "the last batch may be smaller: leave it out, or give arrays of whole batches, x[: len(x) // 32 * 32]",
        "generator": "write stream=streams.Stream(5)",
        "normalize": "write normalise=data.Normalise.of(x)",
    },
    "init": {"a": "write negative_slope=", "gain": "write scale="},
    "Schedule": {
        **dict.fromkeys(
            ("epochs", "steps_per_epoch"), "write total_steps=epochs * len(batches) where a step is an update, total_steps=epochs with per='epoch'"
        ),
        **dict.fromkeys(("T_max", "total_iters"), "write total_steps="),
        **dict.fromkeys(("eta_min", "end_lr"), "write min_lr="),
        "pct_start": "write rise=0.3",
        "div_factor": "write start=25",
        "final_div_factor": "write end=1e4",
        **dict.fromkeys(("cycle_momentum", "base_momentum", "max_momentum"), "the momentum stays as it is: leave it out"),
        **dict.fromkeys(("anneal_strategy", "three_phase"), "both parts are half a cosine: leave it out"),
        "last_epoch": "a schedule goes on with load_state_dict(state): leave it out",
        "verbose": LEAVE_OUT,
    },
    "fit": {
        "validation_split": "write (x, y), held = data.stratified_split(x, y, 0.1), then fit(model, (x, y), validation=held)",
        **dict.fromkeys(("val_data", "valid", "eval_set"), "write validation=(x, y)"),
        **dict.fromkeys(("lr", "learning_rate"), "write optimizer=optim.Adam(model.parameters(), lr=1e-3)"),
        **dict.fromkeys(("batchsize", "bs"), "write batch_size=32"),
        **dict.fromkeys(("epoch", "num_epochs", "n_epochs"), "write epochs=10"),
        **dict.fromkeys(("criterion", "loss_fn"), "write loss_function=losses.cross_entropy"),
        "class_weight": "write class_weights=(K,) numbers, or 'balanced'",
        "scheduler": "write schedule=",
        "augment": "write flip=0.5, shift=2, noise=0.1",
        "normalize": "write normalise=data.Normalise.of(x)",
        **dict.fromkeys(("early_stopping", "early_stop"), "write patience=5"),
        **dict.fromkeys(("seed", "random_state"), "write fc.seed(0) before the model is made"),
        "device": ONE_DEVICE,
        **dict.fromkeys(("workers", "num_workers"), LEAVE_OUT),
    },
    "image_folder": {
        **dict.fromkeys(("image_size", "img_size", "target_size"), "write size=32"),
        "color_mode": "write grayscale=True, or nothing for colors",
        **dict.fromkeys(
            ("validation_split", "split", "subset", "test_size"),
            "a fifth is there to test with; of the others write (x, y), held = data.stratified_split(*pictures.train, 0.1)",
        ),
        "batch_size": "fit makes the batches: train.fit(model, pictures.train, batch_size=32)",
        "shuffle": "fit shuffles: leave it out",
        "transform": "write train.fit(model, pictures.train, transform=function)",
        **dict.fromkeys(("label_mode", "labels", "seed"), LEAVE_OUT),
    },
    "Layer": {
        "activation": "activations are layers: write ReLU() as the next one",
        "filters": "write out_channels=",
        "strides": "write stride=",
        "dilation_rate": "write dilation=",
        "use_bias": "write bias=",
        "units": "write out_features=",
        **dict.fromkeys(("input_shape", "input_dim"), "the first argument says how many channels or features come in: leave it out"),
        "kernel_initializer": "write layers.init.kaiming_normal(layer.weight) when the layer is made",
        **dict.fromkeys(("device", "name"), LEAVE_OUT),
    },
}


def answered(table: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A function, or how a layer is made, whose TypeError for keywords of this table shows the line to write."""
    lines = KEYWORDS[table]

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def call(*args: P.args, **words: P.kwargs) -> R:
            for name in words:
                if name in lines:
                    owner = type(args[0]).__name__ if function.__name__ == "__init__" else function.__name__
                    raise TypeError(f"{owner} has no argument {name!r}: {lines[name]}")
            return function(*args, **words)

        return call

    return decorate


def answer(table: str, owner: str, name: str) -> str:
    """The words of the AttributeError for `owner.name`."""
    line = ANSWERS[table].get(name)
    return f"{owner} has no {name!r}" + (f": {line}" if line else "")


def of_module(table: str, module: str):
    """A module's `__getattr__`."""

    def __getattr__(name: str):
        raise AttributeError(answer(table, module, name))

    return __getattr__
