"""What the columns of a run's frames are, and in which units."""

from collections.abc import Mapping

from metabench.record.cell import AXES
from metabench.record.timing import PHASES

SCORE = "a share of 1 where quality_metric is accuracy, else squared units of the output"
PHASE = "Time of the phase '{}' in a meta-iteration."
DISTURBED = "How it is known that other programs disturbed these times; missing where none did."


def _timed(name: str, what: str) -> dict[str, tuple[str, str]]:
    """The columns of a time of one process."""
    return {
        f"{name}_s": ("s", f"Median time of {what}."),
        f"{name}_low_s": ("s", "Lower end of its 95 % interval."),
        f"{name}_high_s": ("s", "Upper end of it."),
    }


OBSERVED: Mapping[str, tuple[str, str]] = {
    "id": ("", "Id of the configuration: 16 hexadecimal digits."),
    "round": ("", "Number of the repetition, from 0."),
    "run": ("", "Run that the row comes from, and its revision."),
    "repetitions": ("", "How many repetitions there are."),
    "ok_repetitions": ("", "How many of them are ok."),
    "status": ("", "`ok`, or what happened; of several repetitions, the worst."),
    "reason": ("", "Why the status is not `ok`."),
    "ended_in": ("", "Phase in which it ended, where the status is not `ok`."),
    "measure": ("", "What was asked for, with `+` between."),
    "data_name": ("", "Data that tasks were drawn from."),
    "data_hash": ("", "Hash of its content."),
    "parameters": ("", "Numbers that the meta-parameters hold."),
    "gate_engine_error": ("", "Relative error of the engine's direction against `loop`, in float64."),
    "gate_definition_error": ("", "Relative error of `loop` against finite differences, in float64."),
    "step_median_s": ("s", "Median time of a meta-iteration in one process."),
    "step_s": ("s", "Time of a meta-iteration: geometric mean of the medians of its processes."),
    "step_low_s": ("s", "Lower end of the 95 % interval of that time."),
    "step_high_s": ("s", "Upper end of it."),
    "step_iqr_s": ("s", "Interquartile range of the samples."),
    "samples": ("", "Samples of the clock."),
    "block": ("", "Meta-iterations in each sample."),
    "noisy": ("", "Whether the interval is wide."),
    "drift": ("", "Factor by which the time moved while it was measured."),
    "communication_s": ("s", "Time of a meta-iteration in which processes exchange directions."),
    "sampling_median_s": ("s", "Median time that drawing the tasks of a meta-iteration takes."),
    "sampling_share": ("share of step_median_s", "That time as a share of the step's."),
    "library": ("", "What did the work, if not torch."),
    "compile_s": ("s", "Time of compiling."),
    "compile_cache": ("", "Whether the compiler's cache was cold or warm."),
    "first_step_s": ("s", "Time of the first meta-iteration."),
    "time_note": ("", "What else is to be known of the time."),
    "processor_share": ("share of the time", "Processor time that the process got, by its threads."),
    "others_cores": ("cores", "Cores that other programs took meanwhile."),
    "disturbed": ("", "How it is known that other programs disturbed the time; missing where none did."),
    "disturbed_factor": ("", "Factor by which they slowed it down, where it is known."),
    "tracked_bytes": ("bytes", "Peak of the tensors' live bytes, above those before the step."),
    "tracked_method": ("", "How it was found, or why not."),
    "resident_bytes": ("bytes", "Peak of the process's resident memory, above that before the step."),
    "resident_method": ("", "How it was found, or why not."),
    "cuda_allocated_bytes": ("bytes", "Peak of what arrays on the GPU held."),
    "cuda_reserved_bytes": ("bytes", "Peak of what the allocator had taken from the driver."),
    "nvml_bytes": ("bytes", "What the process held on the GPU, the CUDA context included."),
    "nvml_method": ("", "How it was found, or why not."),
    "phases_step_s": ("s", "Median time of a meta-iteration while its phases were marked."),
    **{f"phase_{phase.replace(' ', '_').replace('-', '_')}_s": ("s", PHASE.format(phase)) for phase in PHASES},
    **_timed("adaptation", "one held-out task, from its support set to the predictions on its queries"),
    **_timed("adaptation_support", "its inner loop alone"),
    **_timed("adaptation_query", "its predictions alone"),
    **_timed("double_backward_once", "the gradient of a loss of the network, on all examples of a meta-batch"),
    **_timed("double_backward_twice", "that gradient, and the one of a penalty on the loss's gradient in the inputs"),
    "adaptation_steps": ("", "Inner steps on that task."),
    "adaptation_disturbed": ("", DISTURBED),
    "double_backward_examples": ("", "Examples of that meta-batch."),
    "double_backward_disturbed": ("", DISTURBED),
    "work_flops": ("FLOP", "Floating-point operations of a meta-iteration."),
    "work_bytes": ("bytes", "Bytes that its operators read and write."),
    "work_calls": ("", "Operators that are called."),
    "peak_matmul": ("FLOP/s", "Highest rate of matrix products on the machine."),
    "peak_convolution": ("FLOP/s", "Highest rate of convolutions."),
    "peak_bandwidth": ("bytes/s", "Highest rate between processor and main memory."),
    "energy_joules": ("J", "Energy of a meta-iteration."),
    "energy_watts": ("W", "Mean power while it was measured."),
    "energy_method": ("", "How it was found, or why not."),
    "instructions": ("", "Instructions of a meta-iteration, outside of the kernel."),
    "cycles": ("", "Cycles of the processor's clock that they took."),
    "instructions_method": ("", "How they were counted, or why not."),
    "gpu_launches": ("", "How often a meta-iteration puts work on the GPU."),
    "gpu_kernels": ("", "Kernels, copies and fills that the GPU carries out for it."),
    "gpu_busy_s": ("s", "Time in which the GPU carries out at least one of them."),
    "gpu_busy_share": ("share of the time", "That time as a share of the meta-iteration's."),
    "gpu_note": ("", "Why something could not be found out."),
    "gpu_after_sm_mhz": ("MHz", "Clock of the GPU's processors right after the timing."),
    "gpu_after_memory_mhz": ("MHz", "Clock of its memory."),
    "gpu_after_celsius": ("°C", "Temperature of the GPU."),
    "gpu_after_watts": ("W", "Power that the GPU drew."),
    "gpu_after_reasons": ("", "Why it ran slower than it can."),
    "quality_metric": ("", "`accuracy`, or the error that is meant."),
    "quality_value": (SCORE, "Mean score on held-out tasks."),
    "quality_low": (SCORE, "Lower end of its 95 % interval over tasks."),
    "quality_high": (SCORE, "Upper end of it."),
    "quality_tasks": ("", "Held-out tasks that it was judged on."),
    "quality_steps": ("", "Inner steps on each of them."),
    "quality_batch_norm": ("", "What their queries were normalised by."),
    "quality_iterations": ("", "Meta-iterations that it was trained for."),
    "quality_train_s": ("s", "Time of that training."),
    "quality_eval_s": ("s", "Time of all evaluations, on the way and at the end; no part of the training's."),
    "quality_test_s": ("s", "The part of it that the test tasks took."),
    "started": ("UTC, ISO 8601", "When the process was started."),
    "seconds": ("s", "Time of the whole process."),
    "warnings": ("", "What made the timing doubtful."),
}
"""Unit and meaning of each column beside the axes."""
UNITS: Mapping[str, str] = {name: unit for name, (unit, _) in OBSERVED.items() if unit}
MEANINGS: Mapping[str, str] = {name: axis.help for name, axis in AXES.items()} | {
    name: says for name, (_, says) in OBSERVED.items()
}
