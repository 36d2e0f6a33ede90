from reproduce.records import cloning_returns, recorded_cloning, same_data, store

RETURNS = {"mean": 205.1406, "std": 55.478, "min": -4.364, "max": 429.047, "p50": 207.515}
FACTS = {
    "id": "omar/simple_tag-expert",
    "kind": "regenerated",
    "sha256": "080d",
    "n_transitions": 1_000_000,
    "n_episodes": 40_000,
    "return": RETURNS,
}


def test_a_dataset_built_on_another_cpu_is_the_same_and_one_of_another_seed_is_not():
    rounded = FACTS | {"sha256": "f61d", "return": RETURNS | {"mean": 205.1471, "std": 55.485}}
    reseeded = FACTS | {"sha256": "aaaa", "return": RETURNS | {"mean": 205.42}}
    assert same_data(FACTS, FACTS)
    assert same_data(FACTS, rounded)
    assert not same_data(FACTS, reseeded)
    assert not same_data(FACTS, rounded | {"n_episodes": 39_999})
    assert not same_data(FACTS, rounded | {"id": "omar/simple_tag-medium"})


def test_the_authors_files_are_told_by_their_checksum_alone():
    official = FACTS | {"kind": "official"}
    assert not same_data(official, official | {"sha256": "f61d"})


def test_cloning_recorded_elsewhere_counts_on_data_that_differ_in_rounding(monkeypatch):
    row, run, algo = "omsd/mpe/pp_expert", {"name": "omsd", "n_updates": 9}, {"name": "gaussian_bc", "n_updates": 9}
    found = {"data": FACTS, "config": {"algo": algo}, "seeds": [0, 1], "scores": {"per_seed": [1.0, 2.0]}}
    monkeypatch.setattr(store, "read", lambda *_: [found])
    rounded = FACTS | {"sha256": "f61d", "return": RETURNS | {"mean": 205.1471}}
    assert recorded_cloning(row, run, rounded, [0, 1]) == [1.0, 2.0]
    assert recorded_cloning(row, run, rounded, [0, 1, 2]) is None
    assert recorded_cloning(row, run, rounded | {"n_episodes": 2500}, [0, 1]) is None
    assert recorded_cloning(row, algo, rounded, [0, 1]) is None


def test_what_cloning_earns_on_a_dataset_is_that_of_the_longest_run(monkeypatch):
    def run(name: str, n_updates: int, returns: list[list[float]], sha256: str = "080d") -> dict:
        evaluation, data = (
            {"greedy": returns},
            FACTS | {"sha256": sha256, "n_episodes": 40_000 if sha256 == "080d" else 9},
        )
        common = {"row": "a/b", "created": "today", "scores": {"mode": "greedy"}}
        return common | {
            "config": {"algo": {"name": name}},
            "n_updates": n_updates,
            "evaluation": evaluation,
            "data": data,
        }

    short, long = run("gaussian_bc", 10, [[1.0, 3.0], [4.0, 4.0]]), run("gaussian_bc", 20, [[5.0, 7.0], [8.0, 8.0]])
    others = run("omiga", 30, [[9.0]]), run("gaussian_bc", 30, [[9.0]], "another")
    monkeypatch.setattr(store, "read", lambda *_: [long, short, *others])
    assert cloning_returns(FACTS) == {
        "mean": 7.0, "std": 2**0.5, "n_seeds": 2, "n_updates": 20, "row": "a/b", "recorded": "today",
    }  # fmt: skip
    assert cloning_returns(FACTS | {"id": "omar/other", "sha256": "x"}) is None
