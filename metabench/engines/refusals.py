"""What torch says of work that an engine cannot carry, in our words: the operation, and what to do about it.

An engine finds out in the middle of its work that torch has no rule for an operation of a network, and torch's advice
is for whoever wrote the call of torch. Here its messages are told apart, once for all engines. What is not known here
is an error like any other.
"""

import re
import traceback
from typing import NamedTuple

LOOP = "use loop"
OUT_OF_PLACE = f"write it without in-place operations, or {LOOP}"
DEPENDS = f"use torch.where, or {LOOP}"
WRAP = "wrap the nn.Module by metabench.from_module"
RECURRENT = re.compile(r"(?:^|[._:])(?:lstm|gru|rnn)", re.IGNORECASE)
STEPWISE = f"{LOOP}, or {WRAP}, which computes it step by step"
"""What helps where an operation stands for a whole sequence."""


class Refusal(NamedTuple):
    """A message of torch, and what it means."""

    pattern: str
    """Regular expression; its group `op` is the operation, if the message names one."""
    says: str
    """What cannot be done, with `{engine}` and `{op}`."""
    remedy: str


REFUSALS = (
    Refusal(
        r"vmap: called random operation",
        "{engine} draws no random numbers inside the network",
        f"leave out dropout and noise (a direction must be the same in every call), or {WRAP}, where dropout is off",
    ),
    Refusal(
        r"(?:[Bb]atching rule not implemented for|vmap: we do not yet support) (?P<op>aten::\w+(?:\.\w+)?)",
        "{engine} has no batching rule for {op}",
        LOOP,
    ),
    Refusal(
        r"dynamic shape.*(?:vmap over|batch over) (?P<op>aten::\w+|indexing with a boolean mask)",
        "{engine} cannot batch {op}, whose shape depends on numbers",
        DEPENDS,
    ),
    Refusal(
        r"calling \.item\(\) on a Tensor|data-dependent control flow|data-dependent expression|"
        r"_local_scalar_dense|DataDependentOutput|GuardOnDataDependent",
        "{engine} cannot follow what depends on a tensor's numbers (.item(), if)",
        DEPENDS,
    ),
    Refusal(
        r"DynamicOutputShapeException: (?P<op>aten\.\w+)",
        "{engine} cannot trace {op}, whose shape depends on numbers",
        DEPENDS,
    ),
    Refusal(
        r"vmap: (?P<op>inplace arithmetic|aten::\w+_?)\(self.*is not possible because there exists a Tensor",
        "{engine} cannot write the numbers of each task to a tensor that all tasks share ({op})",
        OUT_OF_PLACE,
    ),
    Refusal(
        r"output with shape .* doesn't match the broadcast shape.*\bvmap\b",
        "{engine} cannot write the numbers of each task to a tensor that all tasks share ({op})",
        OUT_OF_PLACE,
    ),
    Refusal(
        r"in-place operation \((?P<op>aten::[\w.]+)\) that would mutate a captured Tensor|"
        r"running_mean or running_var, which will be updated in place, were not batched",
        "{engine} cannot update a tensor that the network keeps, such as running statistics",
        f"normalise by the batch alone (track_running_stats=False), {WRAP}, which does so, or {LOOP}",
    ),
    Refusal(
        r"derivative for '?(?P<op>(?:aten::)?[\w.]*(?:scaled_dot_product|attention)\w*)'? is not implemented",
        "torch has no second derivative of {op}",
        f"compute it under sdpa_kernel(SDPBackend.MATH), {WRAP}, which does so, or use an algorithm of first order",
    ),
    Refusal(
        r"derivative for '?(?P<op>(?:aten::)?[\w.]+)'? is not implemented",
        "torch has no derivative of {op}, which this algorithm needs",
        "write the network without it, or use an algorithm of first order",
    ),
    Refusal(
        r"mixed dtype|expected scalar type|(?:have|share) the same d(?:ata)?type|"
        r"type \(\w+\) and \w+ type \(\w+\) should",
        "a tensor of the network stays in one precision, and its parameters come in others (the gate takes float64)",
        f"give buffers and constants the dtype of the input, or {WRAP}, which does so",
    ),
    Refusal(
        r"[Cc]annot access data pointer of Tensor|[.]numpy\(\) is not supported|Can't call numpy\(\)",
        "{engine} cannot hand a tensor of the network to another library (.numpy(), .data_ptr())",
        LOOP,
    ),
    Refusal(
        r"may have escaped from inside a function being vmapped|saved tensor hooks",
        "{engine} cannot recompute part of the network (torch.utils.checkpoint)",
        f"set the axis checkpoint instead, or {LOOP}",
    ),
    Refusal(
        r"generate_vmap_rule|vmap staticmethod|setup_context",
        "{engine} has no rule for an autograd.Function of the network",
        f"write it with setup_context and generate_vmap_rule, or {LOOP}",
    ),
    Refusal(
        r"forward AD with (?P<op>aten::\w+) that does not support it|ZeroTensors are immutable",
        "{engine} cannot differentiate a gradient of the network along a tangent: torch has no rule for it",
        "set second_order = reverse",
    ),
    Refusal(
        r"appears to not have been used in the graph",
        "{engine} takes inner gradients in all parameters, and one of them has no part in the inner loss",
        f"leave it out, or {LOOP}",
    ),
)
"""Known messages; the first that fits counts."""


def refusal(error: BaseException, engine: str) -> str | None:
    """Why an engine cannot carry the work that raised this, in one sentence; None for an error that is not known.

    torch's own messages alone are looked at: what a network or a plug-in says of itself is not interpreted.
    """
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        if found := _refusal(cause, engine):
            return found
        seen.add(id(cause))
        cause = cause.__cause__ or cause.__context__
    return None


def _refusal(error: BaseException, engine: str) -> str | None:
    if not _of_torch(error):
        return None
    message = " ".join(f"{type(error).__name__}: {error}{_vmapped(error)}".split())
    for pattern, says, remedy in REFUSALS:
        if found := re.search(pattern, message):
            operation = found.groupdict().get("op") or _called(error)
            remedy = STEPWISE if RECURRENT.search(operation) else remedy
            return f"{says.format(engine=engine, op=operation)}: {remedy}"
    return None


def _of_torch(error: BaseException) -> bool:
    """Whether it is an exception of torch: of its own classes, or one that its C++ raises."""
    return isinstance(error, RuntimeError | NotImplementedError) or type(error).__module__.startswith("torch")


def _called(error: BaseException) -> str:
    """What was called where it was raised, as the source has it: `_VF.lstm`."""
    frames = traceback.extract_tb(error.__traceback__)
    found = re.search(r"([\w.]+)\(", frames[-1].line or "") if frames else None
    return found[1] if found else "an operation in place"


def _vmapped(error: BaseException) -> str:
    """The word `vmap` for what was raised inside of it: some messages do not say so."""
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_globals.get("__name__") == "torch._functorch.vmap":
            return " (in vmap)"
        trace = trace.tb_next
    return ""
