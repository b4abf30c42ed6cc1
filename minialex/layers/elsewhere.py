"""What other libraries' models, parameters and optimizers can do, and ours can't: where it is, or what to write."""

from minialex.words import nearest


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
