"""Benchmarks: medians of alternatives in turn, lines, their record and the report's section on speed."""

from dataclasses import replace

import pytest
import torch
from test_records import record
from timing import Line, medians
from updates import Flops, timed
from worlds import episode, random_prey

from data.common.errors import ReproduceError
from lit_modules import algorithms
from lit_modules.common.mlp import StackedMLP
from reproduce import records
from reproduce.report import write_report

LINES = [
    Line("update", "omiga", "plain, one seed", 10.0, "ms"),
    Line("update", "omiga", "S=1", 9.0, "ms", 0.9, "plain, per seed"),
    Line("update", "omiga", "S=5", 25.0, "ms", 0.5, "plain, per seed"),
    Line("update", "omiga", "S=5 compiled", 10.0, "ms", 0.2, "plain, per seed", "0.20"),
    Line("agents", "omiga", "2 agents", 1.0, "ms", 1.0, "2 agents"),
    Line("agents", "omiga", "4 agents", 2.0, "ms", 2.0, "2 agents"),
]


def bench(row: str = "bench/all") -> dict:
    machine = {"cpu": "a <fast> one", "cores": 2, "device": "cpu"}
    origin = {"commit": "abc", "dirty": False, "lock_sha256": "0", "packages": {}, "machine": machine}
    lines = [line.to_json() for line in LINES]
    return {"kind": "bench", "row": row, "provenance": origin, "repeats": 3, "lines": lines, "time": {"wall_s": 1.0}}


def test_alternatives_run_in_turn_after_a_warm_up():
    order: list[str] = []
    found = medians({name: lambda n=name: order.append(n) for name in "ab"}, repeats=2, at_least=0.0)
    assert order == ["a", "a", "b", "b", "a", "b", "a", "b"]  # warm up and calibrate, then two rounds
    assert set(found) == {"a", "b"}
    assert min(found.values()) > 0


def test_unmeasured_fields_are_left_out():
    assert LINES[0].to_json() == {
        "section": "update", "case": "omiga", "what": "plain, one seed", "value": 10.0, "unit": "ms"
    }  # fmt: skip


TIMED = timed()


@pytest.mark.parametrize("case", TIMED, ids=lambda case: case.name)
def test_every_case_runs_stacked_and_plain(case):
    if case.name == "inspo xor":
        case = replace(case, config=case.config.replace(steps_per_turn=2))  # of 30
    if case.spec.layout == "trajectories":
        case = replace(case, n_timed=1)  # each is many steps
    module, run = case.stacked(2)
    before = [parameter.clone() for parameter in module.parameters()]
    assert run().isfinite().all()
    assert any((a != b).any() for a, b in zip(before, module.parameters(), strict=True))
    assert all(values for values in case.plain()())


def test_every_algorithm_is_timed():
    assert {case.config.name for case in TIMED} == set(algorithms())
    assert len({case.name for case in TIMED}) == len(TIMED)


@pytest.mark.parametrize("scenario", ["simple_spread", "simple_tag"])
def test_a_timed_episode_moves_every_world_to_its_end(scenario, tmp_path):
    params = {"prey": str(random_prey(scenario, tmp_path))} if scenario == "simple_tag" else {}
    run = episode(3, scenario, **params)
    last = run()
    assert last["truncated"].all()
    assert len(last["features"].unique(dim=0)) == 3
    assert run()["features"].equal(last["features"])  # each call starts anew


def test_the_report_shows_the_newest_whole_benchmark(tmp_path):
    records.write(record())
    page = write_report(tmp_path / "before")[0].read_text()
    assert ">Speed</h2>" not in page
    records.write(bench())
    records.write(bench("bench/part") | {"repeats": 99})
    page = write_report(tmp_path / "after")[0].read_text()
    speed = page[page.index(">Speed</h2>") :]
    assert speed.count("<svg") == 2
    assert "a &lt;fast&gt; one" in speed
    assert "Medians of 3" in speed
    assert "cost per seed / plain" in speed
    assert "<td>S=5 compiled</td><td>10 ms</td><td>0.200</td><td>plain, per seed</td><td>0.20</td>" in speed


@pytest.mark.parametrize(("kind", "row"), [("bench", "inspo/xor/ab"), ("row", "bench/all"), ("bench", "claims/a")])
def test_benchmarks_and_rows_have_their_own_places(kind, row):
    made = bench(row) if kind == "bench" else record(row=row)
    with pytest.raises(ReproduceError, match=f"a {kind} cannot be filed under"):
        records.write(made)


def test_operations_of_our_own_products_are_counted_as_torch_counts_the_plain_ones():
    generator = torch.Generator().manual_seed(0)
    net = StackedMLP((5, 8, 8, 1), (2,), [generator] * 2)
    x, y = torch.rand(2, 6, 3), torch.rand(2, 6, 4, 2)

    def counted(many) -> int:
        with Flops() as counter:
            out = many()
            torch.autograd.grad(out.sum(), net.theta)
        return counter.total

    plain = counted(lambda: net._of_many(x, y, 3, net._parts(net.theta)))
    assert counted(lambda: net.of_many(x, y, 3)) == plain > 0
