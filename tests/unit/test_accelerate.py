"""What is compiled or captured computes what is written; what cannot be is undone and done as written."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from data import synthetic
from data.common.errors import ReproduceError
from lit_modules.common.accelerate import Accelerator
from reproduce.config import compose
from reproduce.experiment.comparability import why_not_comparable
from reproduce.regression.cases import cases, make_module, train

SHORT = {"n_updates": 4}
LENGTHS = {"inspo": {"n_behavior_updates": 2}, "omsd": {"n_critic_updates": 2, "n_score_updates": 2}}


def trained(name: str, accelerate: str, n: int = 60, device: str = "cpu", **changes):
    """(the module after its updates, what it logged), float64, chunks of two."""
    if name == "inspo":  # of two agents, which compile faster than three
        case = cases()["inspo"]
        case = replace(case, spec=replace(case.spec, n_agents=2))
        module = case.module([0, 1], chunk_size=2, accelerate=accelerate)
    else:
        module = make_module(name, [0, 1], chunk_size=2, accelerate=accelerate)
    module = module.to(device)
    module.config = module.config.replace(**SHORT, **LENGTHS.get(name, {}), **changes)
    return module, train(module, synthetic.transitions(n, module.spec))


def assert_same(one, other, tolerance: float) -> None:
    (a, logged_a), (b, logged_b) = one, other
    for x, y in zip(a.tensors(), b.tensors(), strict=True):
        torch.testing.assert_close(x, y.to(x.device), rtol=0, atol=tolerance)
    assert len(logged_a) == len(logged_b) > 1
    for x, y in zip(logged_a, logged_b, strict=True):
        keys = [key for key in x if not key.startswith("time/")]
        assert {k: x[k] for k in keys} == pytest.approx({k: y[k] for k in keys}, abs=tolerance)


# Code is generated and compiled for these; the others' updates are traced and differentiated, then run as torch's own
# operations, which is where an algorithm can be unfit for a compiler and takes a quarter of the time. Code for OMSD
# takes a minute to compile: `make gpu` compares it with the written update.
GENERATED = ("bc", "gaussian_bc", "omiga", "cql_ma", "omar")


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in cases() if name != "inspo"])
def test_compiled_updates_equal_the_written_ones(name, monkeypatch):
    if name not in GENERATED:
        monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    compiled = trained(name, "compile")
    assert (compiled[0].accelerator.used, compiled[0].accelerator.fallback) == ("compile", None)
    assert_same(compiled, trained(name, "none"), 1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("steps", [1, 2])
def test_a_compiled_round_equals_the_written_one_whole_and_in_parts(steps):
    compiled = trained("inspo", "compile", steps_per_turn=steps)
    assert compiled[0].accelerator.fallback is None
    assert ("update_round" in compiled[0].__dict__) == (steps == 1)
    assert_same(compiled, trained("inspo", "none", steps_per_turn=steps), 1e-12)


@pytest.mark.parametrize("at", [1, 2, 3, 4])  # updates: the first chunk, and the second, in which graphs are captured
def test_a_failure_in_the_middle_is_undone(monkeypatch, at):
    """The region runs, changes parameters and optimizer state, and only then fails."""
    calls = []

    def half_compiled(function, **_):
        def run(*args):
            out = function(*args)
            calls.append(1)
            if len(calls) == at:
                raise RuntimeError("\nno compiler today\nand more")
            return out

        return run

    monkeypatch.setattr(torch, "compile", half_compiled)
    module, logged = trained("omiga", "compile")
    assert module.accelerator.used == "none"
    assert module.accelerator.fallback == "RuntimeError: no compiler today"
    assert_same((module, logged), trained("omiga", "none"), 0.0)


def test_without_a_compiler_the_run_goes_on_as_written(monkeypatch, tmp_path):
    from torch._inductor import config

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))  # nothing compiled earlier is found
    monkeypatch.setattr(config.cpp, "cxx", (None, "/nonexistent/g++"))
    torch.compiler.reset()
    with torch._inductor.utils.fresh_cache():
        module, logged = trained("gaussian_bc", "compile")
    assert module.accelerator.used == "none"
    assert module.accelerator.fallback.startswith("InvalidCxxCompiler: No working C++ compiler found")
    assert_same((module, logged), trained("gaussian_bc", "none"), 0.0)


def test_graphs_need_cuda():
    module, logged = trained("gaussian_bc", "graph")
    assert module.accelerator.used == "none"
    assert "run.device=cuda" in module.accelerator.fallback
    assert_same((module, logged), trained("gaussian_bc", "none"), 0.0)


def test_an_unknown_mode_is_refused():
    with pytest.raises(ValueError, match="accelerate='jit': choose one of none, compile, graph"):
        Accelerator("jit")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs: no CUDA device here")
@pytest.mark.parametrize("mode", ["graph", "compile+graph"])
@pytest.mark.parametrize("name", ["gaussian_bc", "omiga", "inspo"])
def test_captured_chunks_equal_the_written_ones(name, mode):
    captured = trained(name, mode, device="cuda", n_updates=8)
    assert captured[0].accelerator.used == mode, captured[0].accelerator.fallback
    assert_same(captured, trained(name, "none", device="cuda", n_updates=8), 1e-9)


def test_settings_of_the_run_have_a_short_form_and_leave_the_row_what_it_is():
    settings, plain = compose("inspo/xor/ab", ["accelerate=compile", "threads=1"]), compose("inspo/xor/ab")
    assert settings.values["run"] | {"accelerate": "none", "threads": 0} == plain.values["run"]
    assert settings.values["run"]["accelerate"] == "compile"
    assert (settings.differs, settings.fingerprint) == ([], plain.fingerprint)
    with pytest.raises(ReproduceError, match=r"run.accelerate='jit' .*choose one of none, compile"):
        compose("inspo/xor/ab", ["accelerate=jit"])


def test_inexact_products_are_not_comparable():
    settings = compose("inspo/xor/ab", ["matmul_precision=high"])
    measured = settings.values["task"]["fingerprint"]
    assert why_not_comparable(settings, measured, {}) == [
        "run.matmul_precision is high: products are less exact than float32's"
    ]
    assert why_not_comparable(compose("inspo/xor/ab"), measured, {}) == []
