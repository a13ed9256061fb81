"""What the command line does as it ends."""

import gc
import sys
from types import ModuleType

import pytest

from metabench.cli.main import _leave_torch_alone


@pytest.mark.parametrize(("loaded", "spared"), [(False, [1]), (True, [])])
def test_objects_are_spared_unless_triton_would_call_them_leaks(monkeypatch, loaded, spared):
    found = []
    monkeypatch.setattr(gc, "freeze", lambda: found.append(1))
    monkeypatch.delitem(sys.modules, "triton", raising=False)
    if loaded:
        monkeypatch.setitem(sys.modules, "triton", ModuleType("triton"))
    _leave_torch_alone()
    assert found == spared
