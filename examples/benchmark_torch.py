"""PyTorch's side of benchmark.py: the same networks, and their training and evaluation as its users write them."""

import time
from collections import OrderedDict

import torch
from benchmark_torch_networks import NETWORKS
from torch import nn
from torch.nn import functional as F

from minialex.models.alexnet import scaled, side_of_pool5
from minialex.study.benchmarks import Side
from minialex.weights import export_grouped


def set_up(threads=None):
    """float32 products in full on a GPU, not in TF32; convolutions by the fastest way that cuDNN finds."""
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    if threads:
        torch.set_num_threads(threads)


# ---- the networks, their layers under our names --------------------------------------------------------


def lenet():
    """LeNet-5, variant "modern"."""
    layers = OrderedDict(
        c1=nn.Conv2d(1, 6, 5, padding=2), c1_tanh=nn.Tanh(), s2=nn.MaxPool2d(2),
        c3=nn.Conv2d(6, 16, 5), c3_tanh=nn.Tanh(), s4=nn.MaxPool2d(2), flatten=nn.Flatten(),
        c5=nn.Linear(400, 120), c5_tanh=nn.Tanh(),
        f6=nn.Linear(120, 84), f6_tanh=nn.Tanh(),
        output=nn.Linear(84, 10),
    )  # fmt: skip
    return nn.Sequential(layers)


def alexnet(width=1.0, image_size=227, classes=1000, dropout=0.5):
    """AlexNet, preset "paper". Dropout is PyTorch's, which divides by 1-p in training: that costs nothing more."""

    def relu():
        return nn.ReLU(inplace=True)

    c1, c2, c3, c4, c5 = (scaled(maps, width) for maps in (96, 256, 384, 384, 256))
    units, side = scaled(4096, width), side_of_pool5(image_size, (11, 4, 0))
    layers = OrderedDict(
        conv1=nn.Conv2d(3, c1, 11, stride=4), relu1=relu(), norm1=norm(c1), pool1=nn.MaxPool2d(3, 2),
        conv2=nn.Conv2d(c1, c2, 5, padding=2, groups=2), relu2=relu(), norm2=norm(c2), pool2=nn.MaxPool2d(3, 2),
        conv3=nn.Conv2d(c2, c3, 3, padding=1), relu3=relu(),
        conv4=nn.Conv2d(c3, c4, 3, padding=1, groups=2), relu4=relu(),
        conv5=nn.Conv2d(c4, c5, 3, padding=1, groups=2), relu5=relu(), pool5=nn.MaxPool2d(3, 2),
        flatten=nn.Flatten(),
        fc6=nn.Linear(c5 * side * side, units), relu6=relu(), drop6=nn.Dropout(dropout),
        fc7=nn.Linear(units, units), relu7=relu(), drop7=nn.Dropout(dropout),
        fc8=nn.Linear(units, classes),
    )  # fmt: skip
    return nn.Sequential(layers)


def norm(maps):
    """Normalisation within each half of the maps: the halves go to the batch axis and back, without a copy."""
    return nn.Sequential(
        nn.Unflatten(1, (2, maps // 2)),
        nn.Flatten(0, 1),
        nn.LocalResponseNorm(5, alpha=5 * 1e-4, beta=0.75, k=2.0),  # alpha is divided by 5 there
        nn.Unflatten(0, (-1, 2)),
        nn.Flatten(1, 2),
    )


def network(name, width, image_size, classes, device, model=None):
    """One of them, on a device; with the weights of a model of ours, if one is given."""
    if name in NETWORKS:
        net = NETWORKS[name](width, classes)
    else:
        net = lenet() if name == "lenet" else alexnet(width, image_size, classes)
    if model is not None:
        copy_weights(net, export_grouped(model))
    return net.to(device)


def copy_weights(net, arrays):
    """Put whole arrays by name into it; an error where a name or a shape is not the same."""
    state = {name: torch.from_numpy(array) for name, array in arrays.items()}
    counts = {name: n for name, n in net.state_dict().items() if name.endswith("num_batches_tracked")}
    net.load_state_dict(state | counts)  # ours counts no batches


# ---- what is timed -------------------------------------------------------------------------------------


def device_of(net):
    return next(net.parameters()).device


def wait_for(device):
    """A function that returns when the device has done all."""
    return (lambda: torch.cuda.synchronize(device)) if device.type == "cuda" else (lambda: None)


def has_gpu():
    return torch.cuda.is_available()


def gpu_bytes(net):
    """The most that PyTorch has taken from its GPU; 0 on the CPU."""
    device = device_of(net)
    return torch.cuda.max_memory_reserved(device) if device.type == "cuda" else 0


def sgd(net, lr, momentum, weight_decay):
    """2012's decay: of weights, not of biases; but of both in a BatchNorm."""
    biases = [
        module.bias
        for module in net.modules()
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None
    ]
    weights = [p for p in net.parameters() if not any(p is bias for bias in biases)]
    groups = [{"params": weights, "weight_decay": weight_decay}, {"params": biases, "weight_decay": 0.0}]
    return torch.optim.SGD(groups, lr, momentum)


def training(net, x, labels, settings) -> Side:
    """Steps of SGD; each reads the loss. settings: lr, momentum and weight_decay."""
    device = device_of(net)
    x, labels = torch.from_numpy(x).to(device), torch.from_numpy(labels).to(device)
    optimizer = sgd(net.train(), **settings)

    def step():
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return Side("PyTorch", step, wait_for(device))


def evaluation(net, x) -> Side:
    """The logits of a batch; nothing is kept for a gradient."""
    device = device_of(net.eval())
    x = torch.from_numpy(x).to(device)

    def step():
        with torch.inference_mode():
            net(x)

    return Side("PyTorch", step, wait_for(device))


def layer_times(net, x, labels, settings):
    """A function that measures each layer by itself, on the input that it gets in the network.

    It returns seconds forward and backward by name, the loss and the optimizer's "update" among them. On a GPU the
    times are those of events.
    """
    device = device_of(net)
    on_gpu = device.type == "cuda"
    wait, optimizer = wait_for(device), sgd(net.train(), **settings)
    for module in net.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False  # it would write into the input that is kept here
    x, labels = torch.from_numpy(x).to(device), torch.from_numpy(labels).to(device)
    parts = []  # name, function, input, the gradient of its output
    with torch.no_grad():
        for name, module in net.named_children():
            y = module(x)
            parts.append((name, module, x.clone(), torch.randn_like(y) / len(y)))
            x = y
    parts.append(("loss", lambda logits: F.cross_entropy(logits, labels), x, None))
    for _, _, x, _ in parts[1:]:  # nobody needs the picture's gradient
        x.requires_grad_()

    def mark():
        if not on_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def seconds(start, end):
        return start.elapsed_time(end) / 1000 if on_gpu else end - start

    def measure():
        marks = {}
        optimizer.zero_grad()
        for name, module, x, grad_y in parts:
            x.grad = None
            start = mark()
            y = module(x)
            middle = mark()
            y.backward(grad_y)
            marks[name] = start, middle, mark()
        start = mark()
        optimizer.step()
        marks["update"] = start, start, mark()
        wait()
        return {name: (seconds(a, b), seconds(b, c)) for name, (a, b, c) in marks.items()}

    return measure
