"""The gradients of a network, summed over processes while backward still makes the others.

They lie one after the other in a flat array, those of the last layers first, since backward begins there. It is cut
into buckets of a few MB. As soon as all gradients in a bucket are final its sum is begun: large enough for few
messages, small enough that most of them travel while the first layers, whose convolutions take their time, are at work.
"""

import threading
from collections import Counter

import numpy as np

from minialex.cluster.carriers import carrier_for
from minialex.cluster.group import Group
from minialex.devices.device import device_of
from minialex.errors import DtypeMismatch
from minialex.layers.layer import Layer
from minialex.layers.parameter import Parameter
from minialex.layers.sequential import all_layers
from minialex.shapes import parts_of

BUCKET = 4 << 20  # bytes


class GradientSums:
    """The sums of all gradients of a model over the processes of a group.

    begin(news) before backward; then each layer says when its gradient is final; finish() waits for the sums, and
    leaves each `parameter.grad` as its part of them. `news` are a few numbers that travel along; finish returns their
    sums.
    bucket: about so many bytes are summed at once. A large gradient (fc6's 151 MB) is cut, small ones share a bucket.
    overlap: begin a sum as soon as it can be, and look after it after each layer's backward; else all at the end.
    Raises DtypeMismatch for a model that computes in several dtypes.
    """

    def __init__(self, group: Group, model: Layer, bucket: int = BUCKET, overlap: bool = True):
        self.group, self.overlap = group, overlap
        self.parameters = model.parameters()[::-1]
        dtypes = {p.value.dtype for p in self.parameters}
        if len(dtypes) > 1:
            raise DtypeMismatch(
                f"{model} computes in {sorted(map(str, dtypes))}: sums need one dtype for all of it"
            )
        sizes = [p.value.size for p in self.parameters]
        self._starts = [0, *np.cumsum(sizes).tolist()]
        self.carrier = carrier_for(group, {device_of(p.value) for p in self.parameters})
        self._flat = self.carrier.empty(self._starts[-1], dtypes.pop() if dtypes else np.dtype("float32"))
        count = max(1, round(self._flat.nbytes / bucket))
        self._buckets = parts_of(len(self._flat), count)
        self._place = {id(p): k for k, p in enumerate(self.parameters)}
        self._layers = [layer for layer in all_layers(model) if _own(layer)]
        owners = Counter(id(p) for layer in self._layers for p in _own(layer))
        # What no layer says of, or several do, is final when all of backward is.
        self._others = [k for k, p in enumerate(self.parameters) if owners[id(p)] != 1]
        self._lock = threading.Lock()

    def __enter__(self) -> "GradientSums":
        for layer in self._layers:
            layer.when_final = self._layer_is_final
        return self

    def __exit__(self, *error) -> None:
        for layer in self._layers:
            vars(layer).pop("when_final", None)

    def begin(self, news: list[float], adds: bool = True) -> None:
        """Backward is about to run. adds: False in a process that has no picture of this batch, whose share is 0."""
        self._adds, self._thread = adds, threading.get_ident()
        self._final, self._begun = set(), []
        self._news = np.array(news, np.float64)
        self._news_travel = self.group.begin_sum(self._news)

    def finish(self) -> list[float]:
        """Wait for the sums."""
        for k in self._others:
            if self.parameters[k].grad is not None:
                self._take(k)
        for k in set(range(len(self.parameters))) - self._final:  # of layers that backward did not come to
            self._part(k)[...] = 0
        self._begin_up_to(len(self._flat))
        for request in self._begun:
            self.carrier.finish(request)
        for k in self._final:
            p = self.parameters[k]
            p.grad = device_of(p.value).asarray(self._part(k).reshape(p.value.shape))
        self.group.finish(self._news_travel)
        return self._news.tolist()

    def _layer_is_final(self, layer):
        """What a layer calls after its backward, perhaps in another thread: towers have one each."""
        for p in _own(layer):
            k = self._place[id(p)]
            if p.grad is not None and k not in self._others:
                self._take(k)
        if self.overlap and threading.get_ident() == self._thread:  # MPI hears one thread alone
            with self._lock:
                missing = next((k for k in range(len(self.parameters)) if k not in self._final), -1)
            self._begin_up_to(self._starts[missing])
            if self._begun:
                self.carrier.poll(self._begun[-1])

    def _take(self, k):
        if self._adds:
            self.carrier.put(self._part(k), self.parameters[k].grad)
        else:
            self._part(k)[...] = 0
        with self._lock:
            self._final.add(k)

    def _part(self, k):
        return self._flat[self._starts[k] : self._starts[k + 1]]

    def _begin_up_to(self, end):
        """Begin the sums of buckets that end there: in order, which is the same in every process."""
        for part in self._buckets[len(self._begun) :]:
            if part.stop > end:
                break
            self._begun.append(self.carrier.begin_sum(self._flat[part]))


def _own(layer: Layer) -> list[Parameter]:
    """The parameters that are the layer's own, not those of a layer in it."""
    return [value for value in vars(layer).values() if isinstance(value, Parameter)]
