"""Other libraries on the same work, a file each: each runs its own primitive on our weights and episodes."""

import importlib
import pkgutil

for _found in pkgutil.iter_modules(__path__, f"{__name__}."):
    importlib.import_module(_found.name)
