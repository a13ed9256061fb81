"""Time, memory and phases of training steps that anyone wrote: functions without arguments."""

from metabench.timing.phases import phase as phase
