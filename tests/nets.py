"""Networks as their users write them, of stock layers of torch.nn, in small sizes; and what the gate draws for them."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from metabench.algorithms.base import ALGORITHMS, Learner
from metabench.correctness.gate import Correctness, gate
from metabench.engines.base import ENGINES
from metabench.tensors import Batch, Task


@dataclass(frozen=True)
class Noise:
    """Inputs of noise: what the gate needs of a task distribution, without any data."""

    input_shape: tuple[int, ...]
    outputs: int = 2
    shots: int = 3
    words: int = 0
    """How many words there are, if the inputs are words."""

    kind = "classification"
    training_classes = 2

    def sample(self, split, tasks, generator):
        examples = self.outputs * self.shots
        x = torch.rand(2, tasks, examples, *self.input_shape, generator=generator)
        support, query = (x * self.words).long() if self.words else x
        y = torch.arange(self.outputs).repeat(tasks, self.shots)
        return Task(Batch(support, y), Batch(query, y), torch.arange(self.outputs).repeat(tasks, 1))


def proved(model, algorithm, distribution, engine="vmap", inner_lr=0.1, tasks=2) -> Correctness:
    """What the gate finds: `loop` against differences, and the engine against `loop`."""
    made = ALGORITHMS.get(algorithm)(Learner(model, "classification"), inner_lr, 1)
    return gate(made, ENGINES.get(engine).build(made), distribution, torch.device("cpu"), tasks)


class Convolutional(nn.Module):
    """Two blocks, normalised or not, with dropout or without."""

    def __init__(self, input_shape, outputs, norm=nn.BatchNorm2d, dropout=0.0, width=8):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(input_shape[0], width, 3, stride=2, padding=1), norm(width)
        self.conv2, self.norm2 = nn.Conv2d(width, width, 3, stride=2, padding=1), norm(width)
        self.act, self.dropout, self.fc = nn.ReLU(inplace=True), nn.Dropout(dropout), nn.Linear(width, outputs)

    def forward(self, x):
        x = self.act(self.norm1(self.conv1(x)))
        x = self.act(self.norm2(self.conv2(x)))
        return self.fc(self.dropout(x.mean((2, 3))))


def without_norm(input_shape, outputs, dropout=0.0):
    return Convolutional(input_shape, outputs, lambda _: nn.Identity(), dropout)


def with_dropout(input_shape, outputs):
    return without_norm(input_shape, outputs, 0.5)


def with_replaced_norms(input_shape, outputs):
    return torch.func.replace_all_batch_norm_modules_(Convolutional(input_shape, outputs))


class Transformer(nn.Module):
    """A vision transformer by `nn.TransformerEncoder`."""

    def __init__(self, input_shape, outputs, patch=4, width=8, dropout=0.1):
        super().__init__()
        channels, height, breadth = input_shape
        self.patches = nn.Conv2d(channels, width, patch, patch)
        self.places = nn.Parameter(0.02 * torch.randn((height // patch) * (breadth // patch), width))
        layer = nn.TransformerEncoderLayer(width, 2, 16, dropout, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1)
        self.head = nn.Linear(width, outputs)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2) + self.places
        return self.head(self.encoder(x).mean(1))


class Recurrent(nn.Module):
    """Reads the rows of an image, or a sequence, and classifies by the last output."""

    def __init__(self, input_shape, outputs, kind=nn.LSTM, width=6, **options):
        super().__init__()
        self.rnn = kind(input_shape[-1], width, batch_first=True, **options)
        self.fc = nn.Linear(width * (2 if options.get("bidirectional") else 1), outputs)

    def forward(self, x):
        outputs, _ = self.rnn(x.flatten(1, -2))
        return self.fc(outputs[:, -1])


class Block12(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        widths = [inputs, outputs, outputs]
        self.convs = nn.ModuleList([nn.Conv2d(width, outputs, 3, padding=1, bias=False) for width in widths])
        self.norms = nn.ModuleList([nn.BatchNorm2d(outputs) for _ in widths])
        self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))
        self.drop = nn.Dropout2d(0.1)

    def forward(self, x):
        out = x
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            out = norm(conv(out))
            out = F.leaky_relu(out, 0.1, inplace=True) if i < 2 else out
        out += self.shortcut(x)
        return self.drop(F.max_pool2d(F.leaky_relu(out, 0.1), 2))


class ResNet12(nn.Module):
    """The residual network of few-shot learning (Oreshkin et al. 2018, arXiv 1805.10123), narrow."""

    def __init__(self, input_shape, outputs, widths=(4, 6, 8, 10)):
        super().__init__()
        steps = zip([input_shape[0], *widths], widths, strict=False)
        self.blocks = nn.Sequential(*(Block12(before, after) for before, after in steps))
        self.pool, self.classifier = nn.AdaptiveAvgPool2d(1), nn.Linear(widths[-1], outputs)

    def forward(self, x):
        return self.classifier(self.pool(self.blocks(x)).flatten(1))


class WideBlock(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.bn1, self.bn2 = nn.BatchNorm2d(inputs), nn.BatchNorm2d(outputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if inputs != outputs else None
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        out = self.relu(self.bn1(x))
        shortcut = x if self.shortcut is None else self.shortcut(out)
        out = self.conv2(F.dropout(self.relu(self.bn2(self.conv1(out))), p=0.3, training=self.training))
        return shortcut + out


class WideResNet(nn.Module):
    """WRN of ten layers (Zagoruyko and Komodakis 2016, arXiv 1605.07146), narrow."""

    def __init__(self, input_shape, outputs, width=4):
        super().__init__()
        self.conv = nn.Conv2d(input_shape[0], width, 3, 1, 1, bias=False)
        widths = [width, width, 2 * width, 3 * width]
        self.blocks = nn.Sequential(*(WideBlock(widths[i], widths[i + 1], 1 if i == 0 else 2) for i in range(3)))
        self.bn, self.fc = nn.BatchNorm2d(widths[-1]), nn.Linear(widths[-1], outputs)

    def forward(self, x):
        out = F.relu(self.bn(self.blocks(self.conv(x))), inplace=True)
        return self.fc(F.adaptive_avg_pool2d(out, 1).flatten(1))


class Mixer(nn.Module):
    """MLP-mixer (Tolstikhin et al. 2021, arXiv 2105.01601) of one block."""

    def __init__(self, input_shape, outputs, patch=4, width=8):
        super().__init__()
        places = (input_shape[1] // patch) * (input_shape[2] // patch)
        self.stem = nn.Conv2d(input_shape[0], width, patch, patch)
        self.norm1, self.norm2, self.norm = (nn.LayerNorm(width) for _ in range(3))
        self.tokens = nn.Sequential(nn.Linear(places, 8), nn.GELU(), nn.Dropout(0.1), nn.Linear(8, places))
        self.channels = nn.Sequential(nn.Linear(width, 16), nn.GELU(), nn.Linear(16, width))
        self.head = nn.Linear(width, outputs)

    def forward(self, x):
        x = self.stem(x).flatten(2).transpose(1, 2)
        x = x + self.tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        x = x + self.channels(self.norm2(x))
        return self.head(self.norm(x).mean(1))


class ByHand:
    """A module as its user would wrap it: nothing is done about what it is made of."""

    modulated = ()
    batch_statistics = True

    def __init__(self, module, outputs):
        self.module, self.outputs = module, outputs
        self.head_name = next(name for name in ("fc", "head") if hasattr(module, name))
        self.linear = module.get_submodule(self.head_name)
        self.head_names = frozenset(f"{self.head_name}.{name}" for name, _ in self.linear.named_parameters())
        self.shapes = {name: p.shape for name, p in module.named_parameters()}
        setattr(module, self.head_name, nn.Identity())

    def init(self, generator):
        return {name: 0.3 * torch.randn(shape, generator=generator) for name, shape in self.shapes.items()}

    def features(self, params, x):
        own = {name: p for name, p in params.items() if name not in self.head_names}
        return functional_call(self.module, own, (x,))

    def head(self, params, features):
        return F.linear(features, params[f"{self.head_name}.weight"], params[f"{self.head_name}.bias"])

    def statistics(self, params, x):
        return {}
