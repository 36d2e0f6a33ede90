import os

# TorchRL and MuJoCo load a drawing library as they are imported, by this variable, and fail where it is missing.
os.environ["MUJOCO_GL"] = "off"  # nothing here draws
os.environ.pop("PYOPENGL_PLATFORM", None)

# PyTorch reads this as it first makes a tensor: large ones lie in pages of 2 MB, mapped far sooner than 512 small ones.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

from data.common.memory import keep_freed_memory

keep_freed_memory()
