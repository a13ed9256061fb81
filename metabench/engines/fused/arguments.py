"""What a launch is given: the `Arguments` of kernel.cu."""

import ctypes


class Arguments(ctypes.Structure):
    """Places of tensors and numbers of one meta-iteration."""

    _fields_ = (
        ("theta", ctypes.c_void_p),
        ("mean", ctypes.c_void_p),
        ("square", ctypes.c_void_p),
        ("loss", ctypes.c_void_p),
        ("work", ctypes.c_void_p),
        ("ticket", ctypes.c_void_p),
        ("episodes", ctypes.c_void_p * 5),
        ("rate", ctypes.c_double),
        ("clip", ctypes.c_double),
        ("size", ctypes.c_double),
        ("root", ctypes.c_double),
        ("epsilon", ctypes.c_double),
        ("tasks", ctypes.c_int),
    )
