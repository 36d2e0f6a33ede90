import os

# TorchRL and MuJoCo load a drawing library as they are imported, by this variable, and fail where it is missing.
os.environ["MUJOCO_GL"] = "off"  # nothing here draws
os.environ.pop("PYOPENGL_PLATFORM", None)
