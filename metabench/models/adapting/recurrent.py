"""Recurrent layers of torch.nn as plain arithmetic, which can be vmapped and differentiated twice on every device.

torch's own are one operation for a whole sequence: it has no rule for vmap, and on CUDA no second derivative.
"""

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metabench.errors import Unsupported

State: TypeAlias = tuple[Tensor, ...]
"""What a cell hands on: (h, c) of an LSTM, (h,) of all others; each (examples, units)."""
Advance: TypeAlias = Callable[[Tensor, Tensor, State], State]
"""`(gates of the input, gates of h, state) -> next state`"""


def _lstm_step(from_x: Tensor, from_h: Tensor, state: State) -> State:
    write, forget, new, show = (from_x + from_h).chunk(4, -1)
    c = forget.sigmoid() * state[1] + write.sigmoid() * new.tanh()
    return show.sigmoid() * c.tanh(), c


def _gru_step(from_x: Tensor, from_h: Tensor, state: State) -> State:
    reset_x, keep_x, new_x = from_x.chunk(3, -1)
    reset_h, keep_h, new_h = from_h.chunk(3, -1)
    new = (new_x + (reset_x + reset_h).sigmoid() * new_h).tanh()
    keep = (keep_x + keep_h).sigmoid()
    return ((1 - keep) * new + keep * state[0],)


def _tanh_step(from_x: Tensor, from_h: Tensor, state: State) -> State:
    return ((from_x + from_h).tanh(),)


def _relu_step(from_x: Tensor, from_h: Tensor, state: State) -> State:
    return ((from_x + from_h).relu(),)


def lstm(layer: nn.LSTM, x: Tensor, start: State | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Compute what `nn.LSTM` computes: (outputs, (h, c))."""
    outputs, (h, c) = _sequence(layer, x, start, _lstm_step, 2)
    return outputs, (h, c)


def gru(layer: nn.GRU, x: Tensor, start: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Compute what `nn.GRU` computes: (outputs, h)."""
    outputs, (h,) = _sequence(layer, x, None if start is None else (start,), _gru_step, 1)
    return outputs, h


def rnn(layer: nn.RNN, x: Tensor, start: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Compute what `nn.RNN` computes: (outputs, h)."""
    step = _relu_step if layer.nonlinearity == "relu" else _tanh_step
    outputs, (h,) = _sequence(layer, x, None if start is None else (start,), step, 1)
    return outputs, h


def _sequence(layer: nn.RNNBase, x: Tensor, start: State | None, advance: Advance, states: int) -> tuple[Tensor, State]:
    """All layers and directions over a batch of sequences: outputs in the layout of `x`, and the last states."""
    if not isinstance(x, Tensor) or x.dim() != 3:
        raise Unsupported(f"{type(layer).__name__} is given no batch of sequences of one length: pad them")
    if layer.batch_first:
        x = x.transpose(0, 1)
    directions = 2 if layer.bidirectional else 1
    ends: list[State] = []
    for depth in range(layer.num_layers):
        found = []
        for direction in range(directions):
            ending = f"_l{depth}{'_reverse' if direction else ''}"
            first = _start(layer, x, start, len(ends), states)
            ordered = x.flip(0) if direction else x
            outputs, end = _direction(layer, ending, ordered, first, advance)
            ends.append(end)
            found.append(outputs.flip(0) if direction else outputs)
        x = found[0] if directions == 1 else torch.cat(found, -1)
        if layer.dropout and depth < layer.num_layers - 1:
            # with the examples first, as everywhere else
            x = F.dropout(x.transpose(0, 1), layer.dropout, layer.training).transpose(0, 1)
    last = tuple(torch.stack(each) for each in zip(*ends, strict=True))
    return (x.transpose(0, 1) if layer.batch_first else x), last


def _start(layer: nn.RNNBase, x: Tensor, start: State | None, place: int, states: int) -> State:
    if start is not None:
        return tuple(each[place] for each in start)
    widths = (layer.proj_size or layer.hidden_size, layer.hidden_size)[:states]
    return tuple(x.new_zeros(x.shape[1], width) for width in widths)


def _direction(layer: nn.RNNBase, ending: str, x: Tensor, state: State, advance: Advance) -> tuple[Tensor, State]:
    """One layer in one direction: (length, examples, inputs) -> (length, examples, units), and the last state."""
    kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
    weights: Iterator[Any] = (getattr(layer, f"{kind}{ending}", None) for kind in kinds)
    weight_x, weight_h, bias_x, bias_h, shrink = weights
    outputs = []
    for gates in F.linear(x, weight_x, bias_x):
        state = advance(gates, F.linear(state[0], weight_h, bias_h), state)
        if shrink is not None:
            state = (F.linear(state[0], shrink), *state[1:])
        outputs.append(state[0])
    return torch.stack(outputs), state


def lstm_cell(layer: nn.LSTMCell, x: Tensor, start: State | None = None) -> State:
    """Compute what `nn.LSTMCell` computes: (h, c)."""
    return _cell(layer, x, start, _lstm_step, 2)


def gru_cell(layer: nn.GRUCell, x: Tensor, start: Tensor | None = None) -> Tensor:
    """Compute what `nn.GRUCell` computes: h."""
    return _cell(layer, x, None if start is None else (start,), _gru_step, 1)[0]


def rnn_cell(layer: nn.RNNCell, x: Tensor, start: Tensor | None = None) -> Tensor:
    """Compute what `nn.RNNCell` computes: h."""
    step = _relu_step if layer.nonlinearity == "relu" else _tanh_step
    return _cell(layer, x, None if start is None else (start,), step, 1)[0]


def _cell(layer: Any, x: Tensor, start: State | None, advance: Advance, states: int) -> State:
    state = start or tuple(x.new_zeros(*x.shape[:-1], layer.hidden_size) for _ in range(states))
    from_h = F.linear(state[0], layer.weight_hh, layer.bias_hh)
    return advance(F.linear(x, layer.weight_ih, layer.bias_ih), from_h, state)
