"""What runs on a GPU, as far as a CPU can tell: the checks, the overrides of queues, noise, and what captures need."""

import sys
from pathlib import Path

import gpu
import on_gpu
import pytest
import torch
from timing import Line

from data import synthetic
from lit_modules.common.schedule import Chunk
from reproduce import jobs, records
from reproduce.core import console
from reproduce.jobs.queue_file import read_queue
from reproduce.regression.cases import make_module, train


@pytest.fixture(autouse=True)
def _loud():
    console.set_quiet(False)  # whatever a test before left behind


def program(monkeypatch, lines: list[Line], *arguments: str) -> tuple[int, list]:
    """(exit code, the calls of run_queue) of benchmarks/gpu.py on a machine whose GPU measures `lines`."""
    calls: list = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(gpu, "provenance", lambda _: {"commit": "abc"})
    monkeypatch.setattr(gpu, "on_cuda", lambda *_: iter(lines))
    monkeypatch.setattr(jobs, "run_queue", lambda *given: calls.append(given) or 0)
    monkeypatch.setattr(sys, "argv", ["gpu.py", *arguments])
    return gpu.main(), calls


def line(value: float) -> Line:
    return Line("cuda", "a/b/c", "S=5 graph, float64, 100 updates", value, "to the CPU")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so_and_runs_nothing(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gpu.py", "queue.yaml"])
    assert gpu.main() == 4
    assert capsys.readouterr().err == "torch sees no CUDA device here: there is nothing to check, and no row runs.\n"


def test_rows_run_when_the_checks_pass(monkeypatch):
    code, calls = program(monkeypatch, [line(1e-9)], "some.yaml", "--jobs", "2", "--accelerate", "compile+graph")
    assert code == 0
    ((path, n_jobs, niceness, further),) = calls
    assert (path, n_jobs, niceness) == (Path("some.yaml"), 2, 0)
    assert further[:2] == ["run.device=cuda", "run.accelerate=compile+graph"]
    assert further[2].startswith("run.threads=")
    (record,) = records.read_sound("bench/cuda", "bench")
    assert record["lines"] == [line(1e-9).to_json()]


@pytest.mark.parametrize("value", [1.0, float("inf")])
def test_no_row_runs_on_a_gpu_that_computes_something_else(monkeypatch, capsys, value):
    monkeypatch.setattr(gpu.records, "write", lambda record: "a record")
    code, calls = program(monkeypatch, [line(value), line(0.0)], "some.yaml")
    assert (code, calls) == (1, [])
    assert f"a/b/c, S=5 graph, float64, 100 updates: {value:.2g} from the CPU's parameters" in capsys.readouterr().err


@pytest.mark.parametrize(("mode", "code"), [("graph", 1), ("compile+graph", 0)])
def test_no_row_runs_in_a_mode_that_fell_back(monkeypatch, capsys, mode, code):
    """It computes the same, many times slower."""
    monkeypatch.setattr(gpu.records, "write", lambda record: "a record")
    fallen = Line("cuda", "a/b/c", "S=5 graph FELL BACK (why), float64, 100 updates", 1e-12, "to the CPU")
    found, calls = program(monkeypatch, [fallen], "some.yaml", "--accelerate", mode)
    assert (found, len(calls)) == (code, 1 - code)
    assert ("rows would run as written" in capsys.readouterr().err) is bool(code)


def test_a_difference_is_relative_and_found_in_any_parameter(monkeypatch):
    monkeypatch.setattr(on_gpu, "N_UPDATES", 2)
    monkeypatch.setattr(on_gpu, "K", 1)
    case = on_gpu.of_row("omsd/bandit/two_mode")
    one, same, other = (on_gpu.trained(case, "none", "cpu", n_seeds=2) for _ in range(3))
    assert on_gpu.difference(one, same) == 0
    last = list(other.parameters())[-1]
    last.data *= 1 + 1e-5
    assert on_gpu.difference(other, one) == pytest.approx(1e-5)
    last.data[0] = float("nan")
    assert on_gpu.difference(other, one) == float("inf")


def test_overrides_of_all_rows_stand_in_place_of_the_commands_own(tmp_path):
    path = tmp_path / "some.yaml"
    path.write_text("commands: [inspo/xor/ab accelerate=compile algo.tau=0.5, inspo/xor/ab_ba]\n")
    first, second = read_queue(path, ["run.device=cuda", "run.accelerate=graph"])
    assert first.command == "inspo/xor/ab algo.tau=0.5 run.device=cuda run.accelerate=graph"
    assert second.command == "inspo/xor/ab_ba run.device=cuda run.accelerate=graph"
    for job in (first, second):
        run = job.settings.run
        assert (run.device, run.accelerate, run.threads) == ("cuda", "graph", 1)


def test_noise_is_each_seeds_own_whatever_the_number_of_threads():
    def drawn(n_threads: int) -> dict[str, torch.Tensor]:
        torch.set_num_threads(n_threads)
        module = make_module("omar", [3, 4])
        (phase,) = module.phases()
        return module.draw(Chunk(phase.name, 0, 3, phase.batch_size))

    alone, beside = drawn(1), drawn(2)
    torch.set_num_threads(1)
    assert alone.keys() == beside.keys()
    assert all(torch.equal(alone[name], beside[name]) for name in alone)
    module = make_module("omar", [3, 4])
    expected = [torch.randn(3, 100, generator=g) for g in make_module("omar", [3, 4]).noise_rngs]
    assert torch.equal(module.normal(3, 100), torch.stack(expected, 1))


def test_updates_hand_out_no_graph(monkeypatch):
    """What is kept of a graph ties parameters to the stream that made it, and no other can be captured."""
    module, seen = make_module("omiga", [0, 1], chunk_size=2), []
    updates = module.updates
    monkeypatch.setattr(module, "updates", lambda *given: seen.append(updates(*given)) or seen[-1])
    module.config = module.config.replace(n_updates=4)
    train(module, synthetic.transitions(60, module.spec))
    assert seen
    assert not any(values.requires_grad for values in seen)
