import os

# TorchRL and MuJoCo load a drawing library as they are imported, by this variable, and fail where it is missing.
os.environ["MUJOCO_GL"] = "off"  # nothing here draws
os.environ.pop("PYOPENGL_PLATFORM", None)

# PyTorch reads this as it first makes a tensor. Pages of 2 MB are mapped far sooner than 512 small ones, which large
# intermediate results need anew in every update.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
