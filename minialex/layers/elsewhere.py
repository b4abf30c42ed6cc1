"""What other libraries' models, parameters and optimizers can do, or take, and ours can't: what to write here."""

import functools
import inspect

from minialex.words import did_you_mean, nearest


class Elsewhere:
    """What other libraries' models can do, and layers can't, raises AttributeError as ever; it says where that is."""

    def __init__(self, name, hint):
        self.name, self.hint = name, hint

    def __get__(self, layer, kind=None):
        raise AttributeError(f"{kind.__name__!r} object has no attribute {self.name!r}: {self.hint}")


class Never(Elsewhere):
    """Nor can it be set: nobody would read it."""

    def __set__(self, owner, value):
        self.__get__(owner, type(owner))


LEFT_ALONE = (
    "where a parameter's lr_scale is 0, SGD leaves it as it is: for p in layer.parameters(): p.lr_scale = 0"
)
NOT_LEFT_ALONE = ("trainable", "requires_grad")  # as others say it
NOTHING_TO_ZERO = "nothing adds up here, each backward makes every gradient anew"
OF_LAYERS = {
    **{name: f"use mx.train.{name}(model, x, ...)" for name in ("fit", "evaluate", "predict")},
    "summary": "use mx.summary(model)",
    "state_dict": "use mx.save(model, path), or named_parameters()",
    "load_state_dict": "use mx.load(model, path)",
    "cuda": 'use to("cuda:0")',
    "cpu": 'use to("cpu")',
    "load": "use mx.load(model, path)",
    "modules": "use children(), or for layer in model",
    "freeze": LEFT_ALONE,
    "requires_grad_": LEFT_ALONE,
    "compile": "use mx.train.fit(model, x, y, loss=mx.SoftmaxCrossEntropy(), lr=0.02, epochs=3)",
    "zero_grad": NOTHING_TO_ZERO,
}


OTHER_WORDS = {  # what others call an argument
    "filters": "out_channels",
    "num_features": "channels",
    "units": "out_features",
    "pool_size": "kernel_size",
    "strides": "stride",
    "rate": "p",
    "epsilon": "eps",
    "use_bias": "bias",
    "kernel_initializer": "init",
    "learning_rate": "lr",
}
NOT_HERE = {  # what others give a layer, or an optimizer; with a class's name: to that one alone
    "BatchNorm2D.affine": "weight and bias are always there; where their lr_scale is 0 they stay 1 and 0",
    "Linear.bias": "it is always there; it begins at 0, and stays there with layer.bias.lr_scale = 0",
    "SGD.nesterov": "its momentum is that of 2012, see its equation",
    "activation": "it is a layer of its own behind this one, ReLU(), Sigmoid() or Tanh()",
    "device": 'use layer.to("cuda:0")',
    "dilation": "windows have no gaps here",
    "dtype": 'use layer.astype("float64")',
    "inplace": "no layer writes into its input",
    "padding_mode": "around a picture there are zeros",
    "reduction": "a loss is the mean over the batch",
    "requires_grad": LEFT_ALONE,
    "trainable": LEFT_ALONE,
}


def told_arguments(init):
    """`__init__`, which says of an argument that it does not take how it is called here."""

    @functools.wraps(init)
    def made(self, *args, **kwargs):
        try:
            init(self, *args, **kwargs)
        except TypeError as error:
            if error.__traceback__.tb_next is not None:  # it was called, and raised inside
                raise
            owner = next(
                (kind for kind in type(self).__mro__ if vars(kind).get("__init__") is made), type(self)
            )
            inherited = type(self).__init__ is made  # MaxPool2D is made by Pool2D's, and is called what it is
            name = (type(self) if inherited else owner).__name__
            if (why := _why_not(name, init, args, kwargs)) is None:
                raise
            raise TypeError(why) from None

    return made


def without_settings(self, *args, **kwargs):
    """`__init__` of what has none of its own: it takes nothing, or what the next class in line takes."""
    kinds = [kind for kind in type(self).__mro__ if "__init__" in vars(kind)]
    following = kinds[
        next(at for at, kind in enumerate(kinds) if vars(kind)["__init__"] is without_settings) + 1
    ]
    if following is not object:
        following.__init__(self, *args, **kwargs)
    elif type(self).__new__ is object.__new__ and (args or kwargs):
        raise TypeError(_why_not(type(self).__name__, lambda layer: None, args, kwargs))


def _why_not(name, init, args, kwargs):
    """Why a class cannot be made with these arguments; None where it is not for them."""
    signature = inspect.signature(init)
    known = list(signature.parameters)[1:]
    any_name = any(one.kind is one.VAR_KEYWORD for one in signature.parameters.values())
    for key in kwargs:
        if key not in known and not any_name:
            other = OTHER_WORDS.get(key)
            meant = f" (did you mean {other}?)" if other in known else did_you_mean(key, known)
            hint = NOT_HERE.get(f"{name}.{key}") or NOT_HERE.get(key)
            hint = f": {hint}" if hint else f"{meant}: it takes {', '.join(known) or 'nothing'}"
            return f"{name} takes no {key}{hint}"
    try:
        signature.bind(None, *args, **kwargs)
    except TypeError as error:
        named = [one.name for one in signature.parameters.values() if one.kind is one.KEYWORD_ONLY]
        known = [one for one in known if one not in named]
        by_name = f"{', and ' if known else ''}by name {', '.join(named)}" if named else ""
        return f"{name}: {error}; it takes {', '.join(known) + by_name or 'nothing'}"
    return None


def check_spelling(layer, name: str) -> None:
    """Raise where a layer of ours gets an attribute that is nearly one that it has: nobody would read it.

    A note that has more in its name, old_weight, may lie there; and in a layer of somebody's own all may.
    """
    kind = type(layer)
    if name.startswith("_") or hasattr(kind, name) or not kind.__module__.startswith("minialex."):
        return
    known = [one for one in {*layer.takes, *layer.fixed, *vars(layer)} if one[0] != "_"]
    near = [one for one in nearest(name, known, cutoff=0.75) if one not in name or name == f"{one}s"]
    if near and name not in known:
        raise AttributeError(f"{layer} has no {name} (did you mean {near[0]}?)")
