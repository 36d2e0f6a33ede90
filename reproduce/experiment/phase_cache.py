"""Results of phases, kept by content: a run that agrees with an earlier one in all that decides a phase takes the
networks from outputs/stage1 instead of training them again. A sweep over stage 2's settings trains stage 1 once.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from data.common.errors import ReproduceError
from data.common.files import write_with
from data.common.paths import ROOT, outputs_dir
from lit_modules.common.schedule import Phase
from lit_modules.common.seed_module import SeedModule
from reproduce.config import Settings, flat
from reproduce.experiment.checkpoint import CHECKSUM, checksum

OWN_RUN = ("run", "code")  # of an identity: what another machine or version may differ in


class PhaseCache:
    """The kept results of one run's phases, in outputs/stage1 or in the folder `run.stage1`.

    From a folder that the user names every phase must come; else what is there is used and the rest is trained.
    """

    def __init__(self, settings: Settings, module: SeedModule, data_sha256: str, seeds: list[int], run: dict[str, Any]):
        """`run`: the settings under `run` that decide bits."""
        self.module, self.given = module, settings.run.stage1
        self.folder = Path(self.given) if self.given else outputs_dir() / "stage1"
        self.first_seed = seeds[0]
        self.phases: dict[int, Phase] = {}  # by the clock at their ends
        clock = 0
        for phase in module.phases():
            clock += phase.n_updates
            if phase.result and phase.n_updates:
                self.phases[clock] = phase
        self.identities = {
            phase.name: flat(
                {
                    "settings": phase.decided_by,
                    "time_limits": settings.protocol.time_limits if not phase.keys else "not read",
                    "data": data_sha256,
                    "seeds": seeds[:1] if phase.shared else seeds,
                    "sizes": {n: list(getattr(module, n).theta.shape) for n in phase.result},
                    "run": run,
                    "code": _code(type(module).__module__.replace(".", "/") + ".py"),
                }
            )
            for phase in self.phases.values()
        }

    def restore(self) -> None:
        """Load what is there into the module, whose clock will pass over it. Raises ReproduceError for a folder that
        the user named and that lacks a phase, with the settings that differ, or of which the run takes nothing."""
        if self.given and not self.phases:
            raise ReproduceError(f"run.stage1={self.given}: this run has no stage that is kept; leave run.stage1 out.")
        for phase in self.phases.values():
            path = self._source(phase)
            if path.is_file():
                self._load(phase, path)

    def keep(self, clock: int) -> None:
        """Write the phase that ends at `clock`, if one does and no seed has diverged."""
        phase = self.phases.get(clock)
        if phase is None or self.given or phase.name in self.module.reused_phases:
            return
        if self.module.crashed or self.module.broken_weights():
            return
        tensors = {f"{n}.{k}": v for n in phase.result for k, v in getattr(self.module, n).state_dict().items()}
        tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        about = {"phase": phase.name, "identity": json.dumps(self.identities[phase.name], sort_keys=True)}
        about[CHECKSUM] = checksum(dict(sorted(tensors.items())))
        write_with(self._path(phase), lambda partial: save_file(tensors, partial, metadata=about))

    def facts(self) -> dict[str, Any]:
        """For a record: of each kept phase whose seeds', whether it was trained by this run, and under which name."""
        return {
            phase.name: {
                "n_updates": phase.n_updates,
                "shared_by_seeds": phase.shared,
                "reused": phase.name in self.module.reused_phases,
                "kept_as": self._name(phase),
            }
            for phase in self.phases.values()
        }

    def _name(self, phase: Phase) -> str:
        """Of the file that the phase was taken from or went to; a folder that was named may have gone meanwhile."""
        try:
            return self._source(phase).name
        except ReproduceError:
            return "unknown"

    def _source(self, phase: Phase) -> Path:
        """The file that the phase is taken from, or goes to. Raises ReproduceError as `restore` does."""
        path = self._path(phase)
        return self._alike(phase) if self.given and not path.is_file() else path

    def _path(self, phase: Phase) -> Path:
        text = json.dumps(self.identities[phase.name], sort_keys=True)
        return self.folder / f"{phase.name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}.safetensors"

    def _alike(self, phase: Phase) -> Path:
        """The file of a folder that the user named which agrees in all but machine and version."""
        wanted, nearest = self.identities[phase.name], None
        for path in sorted(self.folder.glob(f"{phase.name}-*.safetensors")):
            found = _identity(path)
            apart = [key for key in sorted({*wanted, *found}) if wanted.get(key) != found.get(key)]
            apart = [key for key in apart if not key.startswith(OWN_RUN)]
            if not apart:
                return path
            if nearest is None or len(apart) < len(nearest[1]):
                nearest = path, [f"{k}={found.get(k)!r}, this run asks for {wanted.get(k)!r}" for k in apart]
        if nearest is None:
            raise ReproduceError(f"run.stage1={self.given}: no {phase.name} there ({phase.name}-*.safetensors).")
        raise ReproduceError(
            f"run.stage1={self.given}: {nearest[0].name} was trained with {'; '.join(nearest[1])}. "
            "Give the settings that it was trained with, or leave run.stage1 out to train anew."
        )

    def _load(self, phase: Phase, path: Path) -> None:
        try:
            tensors = load_file(path)
            with safe_open(path, "pt") as file:
                stated = (file.metadata() or {}).get(CHECKSUM)
            if stated not in (None, checksum(dict(sorted(tensors.items())))):
                raise ValueError("its content is not as it was written")
            if not all(value.isfinite().all() for value in tensors.values()):
                raise ValueError("it holds NaN or infinity")
            for name in phase.result:
                own = {k.removeprefix(f"{name}."): v for k, v in tensors.items() if k.startswith(f"{name}.")}
                getattr(self.module, name).load_state_dict(own)
        except Exception as error:  # truncated files, other layouts
            raise ReproduceError(f"{path} cannot be used ({error}): delete it to train anew.") from error
        self.module.reused_phases.append(phase.name)


def _identity(path: Path) -> dict[str, Any]:
    try:
        with safe_open(path, "pt") as file:
            return json.loads(file.metadata()["identity"])
    except Exception as error:
        raise ReproduceError(f"{path} is not a kept phase ({error}).") from error


def _code(algorithm: str) -> str:
    """A checksum of torch's version and of the files by which training changes, those that read data included."""
    digest = hashlib.sha256(torch.__version__.encode())
    shared = (*ROOT.glob("lit_modules/common/*.py"), *ROOT.glob("data/**/*.py"))
    for path in [ROOT / algorithm, *sorted(shared)]:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
