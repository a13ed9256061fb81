"""Classifiers of torchvision, and such as those of timm, give right directions as they are."""

import pytest
import torch
from torchvision import models
from torchvision.models.convnext import CNBlockConfig
from torchvision.models.mobilenetv3 import InvertedResidualConfig

from metabench.algorithms.base import ALGORITHMS, Learner
from metabench.correctness.gate import nudge, relative_error
from metabench.engines.base import ENGINES
from metabench.models.base import MODELS
from metabench.models.module import from_module
from metabench.tensors import cast
from nets import Convolutional, Mixer, Noise, ResNet12, WideResNet, proved


def mobilenet(input_shape, outputs):
    """The third, of two blocks: squeeze-and-excitation by a hard sigmoid, hard swish."""
    blocks = [
        InvertedResidualConfig(8, 3, 16, 8, True, "RE", 2, 1, 1.0),
        InvertedResidualConfig(8, 3, 24, 16, True, "HS", 2, 1, 1.0),
    ]
    return models.MobileNetV3(blocks, 16, num_classes=outputs)


def vision_transformer(input_shape, outputs):
    return models.VisionTransformer(input_shape[1], 8, 1, 2, 8, 16, dropout=0.1, num_classes=outputs)


CLASSIFIERS = {
    "mobilenet v3": mobilenet,
    "densenet": lambda input_shape, outputs: models.DenseNet(4, (2, 1), 8, bn_size=2, num_classes=outputs),
    "squeezenet": lambda input_shape, outputs: models.squeezenet1_1(num_classes=outputs),
    "shufflenet": lambda input_shape, outputs: models.ShuffleNetV2([1, 1, 1], [4, 8, 8, 16, 16], num_classes=outputs),
    "convnext": lambda input_shape, outputs: models.ConvNeXt(
        [CNBlockConfig(8, 8, 1), CNBlockConfig(8, None, 1)], num_classes=outputs
    ),
    "vision transformer": vision_transformer,
    "resnet12": ResNet12,
    "wide resnet": WideResNet,
    "mlp-mixer": Mixer,
    "convolutions": Convolutional,
}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_gives_right_directions_on_loop_and_vmap(name):
    images = Noise((3, 20, 20) if name in ("squeezenet", "shufflenet", "mobilenet v3") else (3, 16, 16), shots=2)
    model = from_module(CLASSIFIERS[name])(images.input_shape, images.outputs)
    for algorithm in ("maml", "fomaml", "anil"):
        found = proved(model, algorithm, images, inner_lr=0.01, tasks=1 if name == "squeezenet" else 2)
        assert found.passed, f"{algorithm}: {found.reason}"


def test_torchvisions_resnet18_gives_the_directions_of_ours():
    """Eleven million numbers: too many for differences, so that another implementation is the judge."""
    images = Noise((3, 16, 16))
    ours = MODELS.get("resnet18")(images.input_shape, 2)
    theirs = from_module(models.resnet18)(images.input_shape, 2)
    generator = torch.Generator().manual_seed(0)
    meta = nudge(theirs.init(generator), generator)
    episodes = cast(images.sample("train", 1, generator), like=next(iter(meta.values())))
    here, there = (ALGORITHMS.get("maml")(Learner(model, "classification"), 0.01, 1) for model in (ours, theirs))
    truth, _ = ENGINES.get("loop").build(here)(meta, episodes)
    direction, _ = ENGINES.get("vmap").build(there)(meta, episodes)
    assert relative_error(direction, truth) < 1e-6
