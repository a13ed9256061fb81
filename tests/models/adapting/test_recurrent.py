"""Recurrent layers as plain arithmetic give what torch's own give."""

import copy

import pytest
import torch
from torch import nn

from metabench.errors import Unsupported
from metabench.models.adapting.layers import adapt
from metabench.models.module import from_module
from nets import Noise, Recurrent, proved

OPTIONS = [
    {},
    {"batch_first": True, "num_layers": 2, "bidirectional": True},
    {"bias": False, "num_layers": 2},
    {"batch_first": True, "bidirectional": True, "bias": False},
]
KINDS = [
    *((kind, options) for kind in (nn.LSTM, nn.GRU, nn.RNN) for options in OPTIONS),
    (nn.LSTM, {"proj_size": 2, "num_layers": 2, "bidirectional": True}),
    (nn.RNN, {"nonlinearity": "relu"}),
]


def pair(layer):
    """A layer of torch's in float64, and its copy as plain arithmetic."""
    plain = copy.deepcopy(layer.double())
    adapt(plain)
    return layer, plain


@pytest.mark.parametrize(("kind", "options"), KINDS, ids=str)
@pytest.mark.parametrize("started", [False, True])
def test_a_recurrent_layer_computes_what_torchs_computes(kind, options, started):
    torch.manual_seed(0)
    theirs, ours = pair(kind(5, 4, **options))
    x = torch.randn(3, 7, 5).double()
    examples = 3 if options.get("batch_first") else 7
    depth = options.get("num_layers", 1) * (2 if options.get("bidirectional") else 1)
    h = torch.randn(depth, examples, options.get("proj_size", 4)).double()
    c = torch.randn(depth, examples, 4).double()
    start = ((h, c) if kind is nn.LSTM else h) if started else None
    torch.testing.assert_close(ours(x, start), theirs(x, start), rtol=1e-12, atol=1e-12)
    assert ours.forward is not theirs.forward


@pytest.mark.parametrize("kind", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def test_a_cell_computes_what_torchs_computes(kind):
    torch.manual_seed(0)
    theirs, ours = pair(kind(5, 4))
    x, h = torch.randn(3, 5).double(), torch.randn(3, 4).double()
    for start in (None, (h, 2 * h) if kind is nn.LSTMCell else h):
        torch.testing.assert_close(ours(x, start), theirs(x, start), rtol=1e-12, atol=1e-12)


def test_sequences_of_several_lengths_are_refused():
    _, ours = pair(nn.LSTM(5, 4))
    packed = nn.utils.rnn.pack_sequence([torch.randn(3, 5).double(), torch.randn(2, 5).double()])
    with pytest.raises(Unsupported, match="pad them"):
        ours(packed)


@pytest.mark.parametrize("options", [{"kind": nn.GRU, "num_layers": 2, "bidirectional": True, "dropout": 0.3}], ids=str)
@pytest.mark.parametrize("dropout", ["off", "seeded"])
def test_a_recurrent_network_has_right_directions_under_vmap(options, dropout):
    sequences = Noise((4, 3), shots=1)
    factory = from_module(lambda input_shape, outputs: Recurrent(input_shape, outputs, **options), dropout=dropout)
    assert proved(factory((4, 3), 2), "maml", sequences).passed
