from reproduce import records
from reproduce.config import compose
from reproduce.scores import recorded_cloning, same_data

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
    settings = compose("omsd/mpe/pp_expert")
    n_updates = settings.values["algo"]["n_updates"]
    algo = {"name": "gaussian_bc", "n_updates": n_updates}
    found = {"data": FACTS, "config": {"algo": algo}, "seeds": [0, 1], "scores": {"per_seed": [1.0, 2.0]}}
    monkeypatch.setattr(records, "read", lambda *_: [found])
    rounded = FACTS | {"sha256": "f61d", "return": RETURNS | {"mean": 205.1471}}
    assert recorded_cloning(settings, rounded, [0, 1]) == [1.0, 2.0]
    assert recorded_cloning(settings, rounded, [0, 1, 2]) is None
    assert recorded_cloning(settings, rounded | {"n_episodes": 2500}, [0, 1]) is None
    assert recorded_cloning(compose("omsd/mpe/pp_expert", ["algo=gaussian_bc"]), rounded, [0, 1]) is None
