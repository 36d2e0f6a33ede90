"""Opening .npy files of unknown origin."""

from pathlib import Path

import numpy as np

from data.common.errors import ReproduceError


def opened(path: Path, wanted: str, published: str) -> np.ndarray:
    """The array, mapped, so that a header that lies about the size allocates nothing. Never unpickles.

    Raises ReproduceError for a file that is missing, damaged, pickled or an archive; it ends in what was `wanted`
    and where that is `published`.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise ReproduceError(f"{path} is missing, {wanted}. Published in {published}.") from None
    except (OSError, ValueError, EOFError) as error:
        text = str(error)
        why = "holds pickled Python objects" if "ickle" in text or "ython object" in text else "is truncated or damaged"
        size = path.stat().st_size if path.is_file() else "no"
        raise ReproduceError(f"{path} {why} ({size} bytes), {wanted}. Fetch it again from {published}.") from error
    if not isinstance(array, np.ndarray):
        raise ReproduceError(f"{path} is an archive, {wanted}.")
    return array
