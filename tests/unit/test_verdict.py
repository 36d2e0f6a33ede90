"""The statistics of a verdict against hand numbers, simulated error rates, and the gate."""

import math

import numpy as np
import pytest
from gen.tables import states
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t as student

from data.common.errors import ReproduceError
from reproduce.judge import Bound, Verdict, foresee, gate, judge, seeds_for_verdict, welch_bounds, why_never
from reproduce.judge.power import power_of
from reproduce.judge.statistics import SEED_SEARCH_LIMIT, Spread
from reproduce.report.aggregate import bootstrap_interval, interquartile_mean

OURS = [98.0, 101.0, 99.0, 102.0, 100.0]  # mean 100, sample std sqrt(2.5)
PAPER = Bound(mean=100.0, std=2.0, n=5, std_kind="sample", decimals=0, delta=10.0)
OPTIMUM = Bound(optimum=1.0, delta=0.005, minimum_score=-2.0)


def with_(bound: Bound, **changes) -> Bound:
    return Bound(**{**bound.__dict__, **changes})


def test_interval_by_hand():
    v = judge(OURS, PAPER)
    se = math.sqrt((4 * 2.5 + 4 * 4.0) / 8 * (1 / 5 + 1 / 5) + 0.5**2 / 3)
    h = 1.859548038 * se  # t_{0.95, 8}
    assert (v.difference, v.low, v.high) == pytest.approx((0.0, -h, h), abs=1e-8)
    assert v.state == "REPRODUCED"
    assert (v.n, v.theirs, v.delta, v.mean) == (5, 100.0, 10.0, 100.0)
    assert v.std == pytest.approx(math.sqrt(2.5))


@pytest.mark.parametrize(
    ("n_p", "freedom", "quantile"),  # t_{0.95} of n + n_p - 2 degrees of freedom, from a printed table
    [(3, 6, 1.943180281), (10, 13, 1.770933396)],
)
@pytest.mark.parametrize("kind", ["sample", "population", "unknown"])
def test_samples_of_unequal_size_by_hand(n_p, freedom, quantile, kind):
    """Five seeds of ours against three and ten of the paper: weights n in place of n - 1 give other numbers."""
    sample_variance = 2.0**2 if kind == "sample" else 2.0**2 * n_p / (n_p - 1)
    ours = sum((x - 100.0) ** 2 for x in OURS) / 4
    pooled = (4 * ours + (n_p - 1) * sample_variance) / freedom
    h = quantile * math.sqrt(pooled * (1 / 5 + 1 / n_p) + 0.5**2 / 3)
    v = judge([x + 1.5 for x in OURS], with_(PAPER, n=n_p, std_kind=kind))
    assert (v.difference, v.low, v.high) == pytest.approx((1.5, 1.5 - h, 1.5 + h), abs=1e-8)
    by_n = (5 * ours + n_p * sample_variance) / (5 + n_p)
    weighted_by_n = quantile * math.sqrt(by_n * (1 / 5 + 1 / n_p) + 0.5**2 / 3)
    assert abs(h - weighted_by_n) > 0.005  # the case can tell


def test_more_seeds_than_the_paper_by_hand():
    """Ten of ours against three of the paper, with a spread that differs tenfold."""
    ours = [100.0 + x for x in (-0.9, -0.7, -0.5, -0.3, -0.1, 0.1, 0.3, 0.5, 0.7, 0.9)]
    a, b = 3.3 / 9 / 10, 4.0**2 / 3  # squares sum to 3.3
    freedom = (a + b) ** 2 / (a**2 / 9 + b**2 / 2)
    h = student.ppf(0.95, freedom) * math.sqrt(a + b)  # not the pooled 2.118: ours do not vouch for theirs
    assert judge(ours, Bound(100.0, 4.0, 3, "sample", None, None, 10.0)).high == pytest.approx(h, abs=1e-8)
    same = judge(ours, Bound(100.0, 4.0, 10, "sample", None, None, 10.0))  # as many: pooled
    pooled = (9 * (3.3 / 9) + 9 * 4.0**2) / 18
    assert same.high == pytest.approx(student.ppf(0.95, 18) * math.sqrt(pooled * 0.2), abs=1e-8)


@pytest.mark.parametrize(("n", "n_p", "spread"), [(18, 5, 4.0), (75, 5, 8.0), (16, 5, 0.25), (10, 3, 3.0)])
def test_errors_stay_at_five_percent_with_more_seeds_than_the_paper(n, n_p, spread):
    rng, draws, delta = np.random.default_rng(0), 20_000, 2.0
    ours, theirs = rng.normal(size=(draws, n)) - delta, spread * rng.normal(size=(draws, n_p))
    found, below = states(ours, theirs, delta), ours.mean(1) < theirs.mean(1)
    assert ((found == -1) & below).mean() <= 0.065
    assert (found == 1).mean() <= 0.06
    for x, y, state in zip(ours[:20].tolist(), theirs[:20], found[:20], strict=True):
        bound = Bound(float(y.mean()), float(y.std(ddof=1)), n_p, "sample", None, None, delta)
        assert {"REPRODUCED": 1, "INCONCLUSIVE": 0}.get(judge(x, bound).state, -1) == state


def test_a_paper_of_one_seed_adds_no_degree_of_freedom():
    h = 2.131846786 * math.sqrt(2.5 * (1 / 5 + 1) + 0.5**2 / 3)  # t_{0.95, 4}; its spread of one run is none
    assert half_width(with_(PAPER, n=1, std_kind="population")) == pytest.approx(h, abs=1e-8)


def half_width(bound: Bound) -> float:
    v = judge(OURS, bound)
    return v.high - v.difference


def test_population_std_is_converted_and_unknown_is_read_as_the_wider_one():
    converted = with_(PAPER, std=2.0 * math.sqrt(5 / 4))
    assert half_width(with_(PAPER, std_kind="population")) == pytest.approx(half_width(converted), abs=1e-12)
    unknown = judge(OURS, with_(PAPER, std_kind="unknown"))
    assert unknown.high == pytest.approx(half_width(converted), abs=1e-12)
    assert any("population" in reason for reason in unknown.reasons)
    of_the_mean = with_(PAPER, std=2.0 / math.sqrt(5), std_kind="standard_error")
    assert half_width(of_the_mean) == pytest.approx(half_width(PAPER), abs=1e-12)
    with pytest.raises(ReproduceError, match="standard_error"):
        with_(PAPER, std_kind="error")


def test_unknown_number_of_seeds_is_three_and_flagged():
    v = judge(OURS, with_(PAPER, n=None))
    assert v.n_p_assumed
    assert v.high == pytest.approx(half_width(with_(PAPER, n=3)), abs=1e-12)
    assert not judge(OURS, PAPER).n_p_assumed


def test_a_paper_mean_without_spread_uses_ours_only():
    h = 2.131846786 * math.sqrt(2.5 / 5)  # t_{0.95, 4}
    assert half_width(with_(PAPER, std=None)) == pytest.approx(h, abs=1e-8)


@pytest.mark.parametrize(
    ("shift", "state", "code"),
    [
        (0.0, "REPRODUCED", 0),
        (-20.0, "BELOW", 1),
        (20.0, "ABOVE", 1),
        (-10.0, "INCONCLUSIVE", 2),
        (9.5, "INCONCLUSIVE", 2),
    ],
)
def test_states_and_exit_codes(shift, state, code):
    v = judge([x + shift for x in OURS], PAPER)
    assert (v.state, v.exit_code) == (state, code)


def test_not_comparable_comes_first_and_does_no_statistics():
    v = judge(OURS, PAPER, not_comparable=["algo.lr is 1"])
    assert (v.state, v.exit_code, v.low) == ("NOT COMPARABLE", 3, None)
    few = judge(OURS[:4], PAPER)
    assert few.state == "NOT COMPARABLE"
    assert "a verdict needs 5 seeds, got 4" in few.reasons


def test_known_optimum():
    assert judge([1.0] * 5, OPTIMUM).state == "OPTIMUM MET"
    assert judge([0.996] * 5, OPTIMUM).state == "OPTIMUM MET"
    assert judge([0.995] * 5, OPTIMUM).state == "OPTIMUM MET"  # on the margin, whatever the last bit of a sum
    assert judge([1.0] * 4 + [1.0 + 5e-5], OPTIMUM).state == "OPTIMUM MET"  # float32 returns round
    assert judge([90.0] * 5, Bound(100.0, 0.0, 5, "sample", None, None, 10.0)).state == "REPRODUCED"
    assert judge([0.99] * 5, OPTIMUM).state == "BELOW"
    assert judge([1.0, 1.0, 1.0, 1.0, 0.0], OPTIMUM).state == "INCONCLUSIVE"
    above = judge([1.0, 1.0, 1.0, 1.0, 1.001], OPTIMUM)
    assert above.state == "ABOVE"
    assert "leak" in above.reasons[0]


def test_unknown_numbers_never_decide():
    assert judge(OURS, Bound()).state == "INCONCLUSIVE"
    assert judge(OURS, with_(PAPER, delta=None)).state == "INCONCLUSIVE"


def test_seeds_needed_is_the_smallest_number_that_decides():
    bound = with_(PAPER, delta=2.0)
    needed = judge(OURS, bound).seeds_needed
    assert isinstance(needed, int)

    def half(n: int) -> float:
        a, b = 2.5 / n, 4.0 / 5
        freedom = (a + b) ** 2 / (a**2 / (n - 1) + b**2 / 4)
        return student.ppf(0.95, freedom) * math.sqrt(a + b + 0.5**2 / 3)

    assert half(needed) <= 2.0 < half(needed - 1)
    assert judge(OURS, with_(PAPER, delta=0.1)).seeds_needed == "impossible"


@pytest.mark.parametrize("document", [None, [], {}, "REPRODUCED"])
def test_what_is_no_verdict_is_refused(document):
    with pytest.raises(ReproduceError, match="a verdict"):
        Verdict.from_json(document)


def test_within_reported_std_is_printed_and_never_gates():
    outside = judge([x + 3.0 for x in OURS], PAPER)
    assert (outside.within_reported_std, outside.state) == (False, "REPRODUCED")
    assert judge(OURS, PAPER).within_reported_std is True


def test_vacuous_rows_are_flagged():
    assert judge([1.0] * 5, OPTIMUM, behavior_cloning=[1.0] * 5).vacuous is True
    assert judge([1.0] * 5, OPTIMUM, behavior_cloning=[0.0] * 5).vacuous is False


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_crashed_score_must_be_replaced_first(bad):
    with pytest.raises(ReproduceError, match="minimum_score"):
        judge([*OURS[:4], bad], PAPER)


def test_headline_names_regenerated_data():
    assert judge(OURS, PAPER).headline == "REPRODUCED (regenerated data)"
    assert judge(OURS, PAPER, data_kind="official").headline == "REPRODUCED"
    with pytest.raises(ReproduceError):
        judge(OURS, PAPER, data_kind="mine")


def test_json_round_trip_and_damage():
    v = judge(OURS, PAPER)
    assert Verdict.from_json(v.to_json()) == v
    with pytest.raises(ReproduceError, match="without state"):
        Verdict.from_json({k: x for k, x in v.to_json().items() if k != "state"})


def simulate(difference: float, delta: float, n: int = 5, trials: int = 1500) -> dict[str, float]:
    """Shares of verdicts on normal scores of spread 1 against a paper of 5 seeds; `difference` is the true one."""
    rng = np.random.default_rng(0)
    states: dict[str, float] = {}
    for _ in range(trials):
        paper, ours = rng.normal(0, 1, 5), rng.normal(difference, 1, n)
        bound = Bound(float(paper.mean()), float(paper.std(ddof=1)), 5, "sample", 6, None, delta)
        state = judge(ours.tolist(), bound).state
        states[state] = states.get(state, 0) + 1 / trials
    return states


@pytest.mark.slow
def test_false_alarms_are_rare_when_equal_and_bounded_at_the_margin():
    equal = simulate(0.0, delta=2.0)
    assert equal.get("BELOW", 0) + equal.get("ABOVE", 0) <= 0.003
    at_the_margin = simulate(-2.0, delta=2.0)
    assert at_the_margin.get("BELOW", 0) == pytest.approx(0.05, abs=0.02)
    assert at_the_margin.get("REPRODUCED", 0) <= 0.06
    assert simulate(-6.0, delta=2.0)["BELOW"] > 0.95


@settings(max_examples=60, deadline=None)
@given(
    scores=st.lists(st.floats(-100, 100), min_size=5, max_size=12),
    shift=st.floats(-1000, 1000),
    scale=st.floats(0.1, 50),
)
def test_verdicts_do_not_depend_on_units(scores, shift, scale):
    bound = Bound(10.0, 5.0, 5, "sample", None, None, 8.0)
    moved = Bound(10.0 * scale + shift, 5.0 * scale, 5, "sample", None, None, 8.0 * scale)
    a, b = judge(scores, bound), judge([x * scale + shift for x in scores], moved)
    assert b.low == pytest.approx(a.low * scale, rel=1e-6, abs=1e-6)
    edges = [abs(abs(x) - 8.0) for x in (a.low, a.high)]
    if min(edges) > 1e-6:
        assert a.state == b.state


def test_gate_passes_equal_and_catches_losses():
    rng = np.random.default_rng(1)
    alarms = detected = 0
    for _ in range(400):
        reference = rng.normal(0, 1, 32)
        alarms += not gate(reference.tolist(), rng.normal(0, 1, 16).tolist())[0]
        detected += not gate(reference.tolist(), rng.normal(-1.5, 1, 16).tolist())[0]
    assert alarms / 400 <= 0.02
    assert detected / 400 >= 0.93


def test_the_gates_level_is_half_a_percent():
    old = [float(x) for x in range(32)]
    found = [gate(old, [x - 0.05 * loss for x in old]) for loss in range(400)]
    assert all(fine is (p >= 0.005) for fine, p in found)
    assert any(0.005 <= p < 0.006 for _, p in found)
    assert any(0.004 < p < 0.005 for _, p in found)


def test_gate_without_spread_and_with_one_failing_seed():
    assert gate([1.0] * 32, [1.0] * 16) == (True, 1.0)
    assert gate([1.0] * 32, [0.9] * 16)[0] is False
    assert gate([1.0] * 32, [1.0 - 1e-7] * 16)[0] is True
    assert gate([1.0] * 32, [1.0] * 15 + [0.0])[0] is True
    assert gate([1.0] * 32, [1.0] * 8 + [0.0] * 8)[0] is False
    with pytest.raises(ReproduceError):
        gate([1.0], [1.0] * 16)


def test_gate_by_hand_with_unequal_sizes():
    """t = gain / sqrt(pooled (1/4 + 1/2)) with 4 degrees of freedom; P(t_4 <= x) in closed form."""
    reference, new = [1.0, 2.0, 3.0, 4.0], [0.0, 1.0]
    pooled = (5.0 + 0.5) / 4
    t = (0.5 - 2.5) / math.sqrt(pooled * (1 / 4 + 1 / 2))
    u = t / math.sqrt(t * t + 4)
    fine, p = gate(reference, new)
    assert (fine, p) == (True, pytest.approx(0.5 + 0.75 * (u - u**3 / 3), abs=1e-12))


@pytest.mark.filterwarnings("error")
def test_scores_without_spread_on_one_side_bring_no_warning():
    assert gate([1.0] * 32, [1.0] * 15 + [0.0])[0] is True
    low, high = welch_bounds([1.0, 1.0, 1.0], [0.0, 1.0])
    h = 6.313751515 * 0.5  # t_{0.95, 1}
    assert (low, high) == pytest.approx((0.5 - h, 0.5 + h), abs=1e-8)


def test_a_spread_of_a_billionth_of_the_scores_keeps_its_digits():
    """Scores at Bridge's optimum differ by rounding; a t test knows no unit, and shifts of powers of two are exact."""
    near, far = [k / 2**30 for k in (0, 3, 1, 4)], [k / 2**30 for k in (2, 4)]  # with means that shift exactly
    shifted = [1.0 + x for x in near], [1.0 + x for x in far]
    assert gate(*shifted)[1] == pytest.approx(gate(near, far)[1], abs=1e-12)
    assert welch_bounds(*shifted) == pytest.approx(welch_bounds(near, far), rel=1e-12)


def test_welch_bounds_with_unequal_sizes_and_spreads_by_hand():
    left, right = [0.0, 2.0, 4.0], [1.0, 1.5, 2.0, 2.5, 3.0]
    a, b = 4.0 / 3, 0.625 / 5  # squared standard errors
    freedom = (a + b) ** 2 / (a**2 / 2 + b**2 / 4)
    h = student.ppf(0.95, freedom) * math.sqrt(a + b)
    assert welch_bounds(left, right) == pytest.approx((-h, h), abs=1e-10)
    constant = 2.919985580 * math.sqrt(a)  # t_{0.95, 2}
    assert welch_bounds(left, [1.0]) == pytest.approx((1.0 - constant, 1.0 + constant), abs=1e-8)
    with pytest.raises(ReproduceError, match="at least 2 scores on the left"):
        welch_bounds([1.0], right)


def test_aggregates_by_hand():
    scores = {"a": [0.0, 1.0, 2.0, 3.0], "b": [4.0, 5.0, 6.0, 100.0]}
    assert interquartile_mean(scores) == pytest.approx((2 + 3 + 4 + 5) / 4)
    low, high = bootstrap_interval(scores, n_resamples=500)
    assert low < interquartile_mean(scores) < high
    assert (low, high) == bootstrap_interval(scores, n_resamples=500)
    with pytest.raises(ReproduceError, match="2 tasks"):
        bootstrap_interval({"a": [1.0, 2.0]})
    with pytest.raises(ReproduceError, match="NaN"):
        interquartile_mean({"a": [math.nan]})


@pytest.mark.parametrize(
    ("ours", "theirs", "s", "s_p", "delta"),
    [
        (5, 5, 1.0, 1.0, 1.0),
        (5, 5, 1.0, 1.0, 2.5),
        (10, 3, 1.0, 1.0, 2.0),
        (5, 10, 2.0, 0.2, 2.0),  # of other spreads: the pooled one is neither's
        (5, 10, 1.0, 3.0, 3.0),
        (5, 3, 1.0, 3.0, 6.0),
        (12, 3, 3.0, 1.0, 6.0),
    ],
)
def test_power_is_how_often_equal_means_are_found_so(ours, theirs, s, s_p, delta):
    """Against a simulation of the rule."""
    rng, n = np.random.default_rng(0), 40_000
    x, y = s * rng.normal(size=(n, ours)), s_p * rng.normal(size=(n, theirs))

    def shares(loss: float) -> tuple[float, float]:
        found = states(x - loss, y, delta)
        d = (x - loss).mean(1) - y.mean(1)
        return (found == 1).mean(), ((found == -1) & (d < 0)).mean()

    power = power_of(Spread(s, s_p, theirs, 0.0), ours, delta)
    assert power.reproduced == pytest.approx(shares(0.0)[0], abs=0.01)
    assert shares(power.told)[1] == pytest.approx(0.8, abs=0.01)


def test_power_by_an_optimum_counts_losses_alone():
    """Against a simulation of the rule: our spread alone, and a score above the optimum is no gain."""
    rng, n, delta = np.random.default_rng(0), 40_000, 1.0
    x = rng.normal(size=(n, 5))
    half = student.ppf(0.95, 4) * x.std(1, ddof=1) / math.sqrt(5)
    power = power_of(Spread(1.0, None, None, 0.0), 5, delta, by_optimum=True)
    assert power.reproduced == pytest.approx((x.mean(1) - half >= -delta).mean(), abs=0.01)
    assert ((x - power.told).mean(1) + half < -delta).mean() == pytest.approx(0.8, abs=0.01)


def test_power_against_a_paper_of_one_seed_takes_its_spread_to_be_ours():
    rng, n, delta = np.random.default_rng(0), 40_000, 4.0
    x, y = rng.normal(size=(n, 5)), rng.normal(size=n)
    half = student.ppf(0.95, 4) * x.std(1, ddof=1) * math.sqrt(1 / 5 + 1)
    power = power_of(Spread(1.0, 1.0, 1, 0.0), 5, delta)
    assert power.reproduced == pytest.approx((np.abs(x.mean(1) - y) + half <= delta).mean(), abs=0.01)


def test_what_is_foreseen_is_the_verdicts_own_power():
    """By the number of readings, and from the seeds that are recorded on."""
    scores, bound = [99.0, 103.0, 101.0, 100.0, 105.0], Bound(100.0, 2.0, 3, "sample", None, None, 5.0)
    for readings in (1, 9):
        verdict = judge(scores, bound, readings=readings)
        assert foresee(bound, 5, scores, readings).reproduced == verdict.power
        if verdict.state == "INCONCLUSIVE":
            assert seeds_for_verdict(bound, scores, readings)[0] == verdict.seeds_needed
    assert judge(scores, bound, readings=9).power < judge(scores, bound).power / 2


def test_no_number_of_seeds_is_named_that_was_passed():
    """Beyond the paper's seeds the interval may be wider than with fewer: advice looks ahead."""
    scores = [0.0, 0.9, -0.9, 0.5, -0.5, 0.25]
    bound = Bound(0.0, 1.0, 3, "sample", None, None, 1.2)
    verdict = judge(scores, bound)
    assert (verdict.state, verdict.seeds_needed) == ("INCONCLUSIVE", "impossible")
    assert seeds_for_verdict(bound, scores)[0] == "impossible"
    said = next(reason for reason in verdict.reasons if reason.startswith("no number of seeds above 6 narrows"))
    words = said.replace(",", "").split()
    reaches, stays = (float(words[k + 1].lstrip("±")) for k in (words.index("to"), words.index("at")))
    assert stays > reaches


def test_a_verdict_says_its_power_and_why_it_can_never_be_conclusive():
    one = Bound(1.0, 0.0, 5, "population", 0, None, 0.1)  # printed as `1 ± 0`
    verdict = judge([1.0] * 5, one)
    assert (verdict.state, verdict.seeds_needed, verdict.power) == ("INCONCLUSIVE", "impossible", 0.0)
    assert "printed with 0 decimals and may be 0.5 off" in " ".join(verdict.reasons)
    assert "printed with 0 decimals" in why_never(one)
    wide = Bound(859.63, 709.47, 5, "population", 2, None, 84.0)  # OMIGA's Hopper
    assert "the spread of their 5 seeds, 793.2, leaves their mean a standard error of 355" in why_never(wide)
    assert "decimals" not in why_never(wide)
    assert why_never(Bound(2055.46, 1.58, 5, "population", 2, None, 211.0)) == ""
    assert why_never(Bound(delta=1.0)) == "the paper's number is unknown"
    assert why_never(Bound(1.0, 1.0, 5)) == "the margin (delta) is unknown"
    assert why_never(Bound(optimum=1.0, delta=0.1)) == ""
    assert "takes more than 10,000 seeds to narrow to ±1e-07" in why_never(Bound(1.0, delta=1e-7), [1.0, 1.1, 0.9])
    assert "their mean is that of one seed" in why_never(Bound(1.0, 0.0, 1, delta=0.1), [1.0, 1.1, 0.9])
    ours = [0.0, 90.0, 10.0, 80.0, 45.0]  # their spread alone is named, and the width that it alone leaves
    narrow = Bound(50.0, 4.0, 3, "sample", None, None, 5.0)
    assert "standard error of 2.31" in why_never(narrow, ours)
    assert 1.645 * 2.31 <= float(why_never(narrow, ours).split("stays at ±")[1].split(" ")[0]) <= 2.92 * 2.31
    assert foresee(Bound(1.0, None, delta=0.1), 5) is None  # no spread is known before the run
    assert foresee(Bound(1.0, None, delta=0.1), 5, [1.0, 1.01, 0.99]).reproduced > 0.99


def test_an_optimum_is_met_and_nothing_is_reproduced():
    verdict = judge([1.0] * 5, OPTIMUM, behavior_cloning=[1.0] * 5)
    assert (verdict.state, verdict.theirs, verdict.optimum) == ("OPTIMUM MET", None, 1.0)
    assert verdict.exit_code == 0
    assert verdict.word == "OPTIMUM MET, vacuous (regenerated data)"
    old = {k: v for k, v in verdict.to_json().items() if k not in ("optimum", "readings", "power", "told")}
    assert Verdict.from_json(old).readings == 1


def test_the_search_for_seeds_finds_the_smallest_number_of_all():
    rng = np.random.default_rng(0)
    for _ in range(40):
        n_p = int(rng.choice([1, 2, 3, 5, 10]))
        known = bool(rng.integers(4))  # whether the paper prints a spread
        s, s_p = float(rng.uniform(0, 50)), float(rng.uniform(0, 50))
        rounding = float(rng.choice([0, 0.5]))
        spread = Spread(s, s_p, n_p, rounding) if known else Spread(s, None, None, 0.0)
        halves = spread.half_width(np.arange(5, SEED_SEARCH_LIMIT + 1))
        assert spread.narrowest() == pytest.approx(halves.min(), rel=1e-9)
        for above in (5, 99, SEED_SEARCH_LIMIT - 1):
            assert spread.narrowest(above) == pytest.approx(halves[above + 1 - 5 :].min(), rel=1e-3)
        assert spread.narrowest(SEED_SEARCH_LIMIT) == spread.half_width(SEED_SEARCH_LIMIT + 1)
        for wanted in (float(rng.uniform(0.1, 30)), float(halves.min()) * 1.0001, float(np.median(halves))):
            for n in (4, 5, 14):
                enough = (halves[n + 1 - 5 :] <= wanted).nonzero()[0]
                expected = n + 1 + int(enough[0]) if len(enough) else "impossible"
                assert spread.seeds_for(wanted, n) == expected
