"""Settings outside their range end in one clear error when a row is composed, for every algorithm and group."""

import math
import shutil
import sys

import pytest

from data.common.errors import ReproduceError
from data.common.paths import CONFIGS
from data.common.spec import Box
from data.common.validation import checked
from data.worlds import fingerprint, make_world
from lit_modules import algo_config, algorithm, algorithms
from reproduce.cli import main
from reproduce.config import compose, row_ids, today
from reproduce.config.schema import GROUPS
from reproduce.config.today import stated_today
from reproduce.jobs import launcher_from

ROW, MPE, BRIDGE = "inspo/xor/ab", "omsd/mpe/cn_expert", "inspo/bridge/mix"
HUGE = 10**18
COUNTS = ("n_updates", "n_behavior_updates", "n_critic_updates", "n_score_updates")
NEVER = {  # by type of the value as the row states it
    int: (-1, 0.5, math.nan, math.inf, HUGE, -HUGE, 10**10, "x", "", [], [1], {}, True),
    float: (-1, math.nan, math.inf, -math.inf, "x", "", [], {}, True),
    bool: (7, 0.5, "yes", [], {}, None),
    str: (7, 0.5, [], {}, None, True),
    list: (7, 0.5, "x", None, True, {}, [-1], [0.5], [math.nan], ["x"], [HUGE], [10**9], [None], [True], [[1]]),
}


def stated() -> list[tuple[str, dict]]:
    """A row of each algorithm; one that no row has stands in another's place."""
    rows = row_ids()
    found = {v["algo"]["name"]: v for v in stated_today([(row, []) for row in rows])}
    for name in set(algorithms()) - set(found):
        row = MPE if algorithm(name)[0].actions is Box else BRIDGE  # whose file states no widths
        found[name] = compose(row, [f"algo={name}"]).values
    return list(found.items())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- a\n- b\n", "must hold KEY: VALUE lines"),
        ("a word\n", "must hold KEY: VALUE lines"),
        ("defaults: 5\n", "a list under `defaults`"),
        ("defaults: [5]\n", "a list under `defaults`"),
        ("defaults: [/base, /algo: ]\n", "a list under `defaults`"),
        ("algo:\n  lr: ${no.such}\n", r"row x/y: \$\{no.such\} points at nothing"),
    ],
)
def test_a_row_file_that_is_none_is_an_error_of_the_user(text, said, tmp_path, monkeypatch):
    (tmp_path / "rows" / "x").mkdir(parents=True)
    (tmp_path / "rows" / "x" / "y.yaml").write_text(text)
    monkeypatch.setattr(today, "CONFIGS", tmp_path)
    with pytest.raises(ReproduceError, match=said):
        today._composed("x/y", ())


def test_every_key_of_every_algorithm_and_group_refuses_what_no_run_can_use():
    names = set()
    for name, values in stated():
        names.add(name)
        for group, model in [("algo", algo_config(name)), *GROUPS.items()]:
            for key, value in values[group].items():
                if key in ("params",) or value is None:
                    continue
                for bad in NEVER[type(value)]:
                    try:
                        checked(model, {**values[group], key: bad}, "row", f"{group}.")
                    except ReproduceError as error:
                        assert f"{group}.{key}" in str(error), (name, key, bad)  # noqa: PT017
                    else:
                        pytest.fail(f"{name}: {group}.{key}={bad!r} was accepted")
    assert names == set(algorithms())


@pytest.mark.parametrize(
    "override",
    [
        *(f"algo.{key}={value}" for key in ("lr", "policy_lr") for value in (-1, 0, ".nan", ".inf", "-.inf", "null")),
        *(
            f"algo.{key}={v}"
            for key in ("batch_size", "n_candidates", "steps_per_turn", "n_updates")
            for v in (0, -1, 10**18)
        ),
        *(f"algo.{key}={value}" for key in ("gamma", "tau", "lr_end", "anneal_fraction") for value in (-1, 2, ".nan")),
        "algo.hidden=[0]",
        "algo.hidden=[-1]",
        "algo.hidden=[1000000000]",
        "algo.hidden=0",
        "algo.max_grad_norm=-1",
        "algo.max_grad_norm=0",
        "algo.entropy=7",
        "algo.alpha=-1",
        "algo.beta_start=-1",
        "algo.name=[]",
        "algo.name={a: 1}",
        "algo.name=null",
        *(f"{key}={value}" for key in ("threads", "run.threads") for value in (-1, 1025, 100000, "null", 0.5)),
        *(f"protocol.n_seeds={value}" for value in (0, -1, 10**4 + 1, 10**9)),
        *(f"protocol.eval_episodes={value}" for value in (0, -1, 10**6 + 1, 10**9)),
        *(f"protocol.eval_every={value}" for value in (0, -1, 10**18)),
        *(f"protocol.first_seed={value}" for value in (-1, 2**31, 10**18)),
        *(f"run.chunk_size={value}" for value in (0, -1, 10**7)),
        "run.checkpoint_every_s=-1",
        "run.checkpoint_every_s=.inf",
        "data.seed=-1",
        "data.seed=0.5",
        "data.root=/somewhere",  # of regenerated data, which nothing reads
    ],
)
def test_the_listed_settings(override, capsys):
    assert main(["diff", ROW, override]) == 4
    said = capsys.readouterr().err
    assert said.startswith("reproduce: ")
    assert "Traceback" not in said


def test_settings_that_are_too_much_together():
    with pytest.raises(ReproduceError, match="episodes at once"):
        compose(ROW, ["protocol.n_seeds=10000", "protocol.eval_episodes=1000000"])
    with pytest.raises(ReproduceError, match=r"raise run\.chunk_size"):
        compose(ROW, ["algo.n_updates=100000000", "run.chunk_size=1"])


@pytest.mark.parametrize("knob", ["n_jobs=0", "n_jobs=100000", "cpus=0", "cpus=100000", "retries=-1", "timeout_min=0"])
def test_launchers_knobs(knob):
    with pytest.raises(ReproduceError, match="is not allowed"):
        launcher_from(["launcher=joblib", f"launcher.{knob}"])


@pytest.mark.parametrize(
    ("world", "params"),
    [
        ("matrix", {"payoff": 5}),
        ("matrix", {"payoff": []}),
        ("matrix", {"payoff": None}),
        ("matrix", {"payoff": {"a": 1}}),
        ("matrix", {"payoff": [[0, 1], [1, 0]], "episode_limit": 10**18}),
        ("bridge", {"episode_limit": -1}),
        ("bridge", {"episode_limit": "x"}),
        ("mpe", {"scenario": []}),
        ("mpe", {"scenario": 5}),
        ("mpe", {"scenario": "simple_spread", "episode_limit": 10**18}),
        ("mpe", {"scenario": "simple_tag", "prey": 5}),
        ("bandit", {"n_agents": 10**18}),
        ("mamujoco", {"scenario": None, "agent_conf": "3x1"}),
        ("mamujoco", {"scenario": "Hopper-v2", "agent_conf": None}),
        ("mamujoco", {"scenario": "Hopper-v2", "agent_conf": "3x1", "episode_limit": 0}),
    ],
)
def test_parameters_of_worlds(world, params):
    for made in (lambda: make_world(world, 1, **params), lambda: fingerprint(world, **params)):
        with pytest.raises(ReproduceError):
            made()


@pytest.mark.parametrize(
    "override",
    ["data.root=${oc.env:HOME}", "algo.lr=${oc.decode:1}", "run.stage1=${now:%Y}", "algo.lr=${algo.policy_lr}"],
)
def test_values_of_this_machine_cannot_be_asked_for(override):
    with pytest.raises(ReproduceError, match="write the value itself"):
        compose(ROW, [override])


@pytest.mark.parametrize(
    "path",
    [
        "/home/josé/x",
        "/日本",
        "/it's",
        "/x#y",
        "/a=b/c",
        "/a(1)/b",
        "/a;b",
        "/a,b",
        '/x"y',
        "/x y",
        "/a\\b",
        "/x\\",
        "{x",
    ],
)
def test_a_path_may_have_any_letters(path):
    assert compose(ROW, ["data.kind=official", f"data.root={path}"]).data.root == path


def test_a_path_may_be_quoted_left_out_or_begin_at_home(monkeypatch):
    monkeypatch.setenv("HOME", "/home/jane")
    values = {"~/official": "/home/jane/official", '"/x, y"': "/x, y", "'/x'": "/x", "null": None}
    found = {given: compose(ROW, ["data.kind=official", f"data.root={given}"]).data.root for given in values}
    assert found == values


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("row=inspo/bridge/mix", "unknown setting 'row'"),
        ("algo.name=bc", "write algo=bc"),
        ("lr=0.1", "Nearest: algo.lr"),
        ("ALGO.LR=0.1", "Nearest: algo.lr"),
        ("n_seeds=3", "Nearest: protocol.n_seeds"),
    ],
)
def test_what_is_no_setting_is_answered_with_what_is(override, words):
    with pytest.raises(ReproduceError, match=words):
        compose(ROW, [override])


def test_a_row_that_asks_for_a_value_of_this_machine(tmp_path, monkeypatch):
    shutil.copytree(CONFIGS, tmp_path / "configs")
    file = tmp_path / "configs" / "rows" / f"{ROW}.yaml"
    file.write_text(file.read_text().replace("data: {id: xor/ab}", "data: {id: xor/ab, root: '${oc.env:HOME}'}"))
    monkeypatch.setattr(sys.modules["reproduce.config.compose"], "CONFIGS", tmp_path / "configs")
    with pytest.raises(ReproduceError, match="asks for a value of this machine"):
        compose(ROW)
    file.write_text(file.read_text() + "\ndata: {id: xor/all}\n")
    with pytest.raises(ReproduceError, match="duplicate key data"):
        compose(ROW)
