"""What Lightning, sampling and logging add to the bare updates at K = 100, per InSPO row. Ratios within one run."""

import statistics
import tempfile
import time
import warnings

import lightning as L
import torch
from lightning.pytorch.loggers import CSVLogger

from data import store
from data.module import ChunkLoader, OfflineData
from data.worlds import make_world
from reproduce.config import compose
from reproduce.run import _module

REPEATS = 5


def measure(row: str) -> tuple[float, float]:
    """(seconds inside the bare updates, seconds of the whole trainer.fit) for 300 updates or 1000."""
    settings = compose(row, ["algo.n_behavior_updates=1", "algo.n_updates=300"])
    task, seeds = settings.values["task"], list(range(5))
    module = _module(settings, seeds, make_world(task["world"], 1, **task["params"]))
    data = OfflineData(store.get(settings.values["data"]["id"]).transitions, module.keys, seeds)
    module.chunk_size, module.eval_every = 100, 10**9
    with tempfile.TemporaryDirectory() as folder:
        trainer = L.Trainer(
            accelerator="cpu", max_epochs=1, logger=CSVLogger(folder), log_every_n_steps=1, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        started = time.perf_counter()
        trainer.fit(module, data)
        whole = time.perf_counter() - started
    # the bare updates: the same chunks, drawn beforehand, without trainer, logger or look at the diagnostics
    bare_module = _module(settings, seeds, make_world(task["world"], 1, **task["params"]))
    bare_module.configure_optimizers()
    bare_module.chunk_size, bare_module.eval_every = 100, 10**9
    bare = 0.0
    for chunk in ChunkLoader(data, bare_module):
        planned = next(c for c in bare_module.plan if c.start == bare_module.n_updates)
        noise, update = bare_module.draw(planned), getattr(bare_module, f"update_{planned.phase}")
        batches = [(chunk[k].clone(), {n: v[k] for n, v in noise.items()}) for k in range(planned.n_updates)]
        started = time.perf_counter()
        for batch, drawn in batches:
            update(batch, drawn)
        bare += time.perf_counter() - started
        bare_module.n_updates += planned.n_updates
    return bare, whole


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    print("300 InSPO rounds, 5 seeds, K = 100, 1 thread: the whole fit beside the bare updates (medians)")
    for row in ("inspo/m_ne/balanced", "inspo/xor/ab_ba", "inspo/bridge/mix"):
        pairs = [measure(row) for _ in range(REPEATS)]
        ratio = statistics.median(whole / bare for bare, whole in pairs)
        bare = statistics.median(bare for bare, _ in pairs)
        print(f"  {row:22} bare {bare:6.2f} s   whole/bare {ratio:.3f}")
