"""What holds for every algorithm: these tests find the files of tests/cases by themselves."""

import copy
import sys

import pytest
import torch

from data import synthetic
from data.buffer import ChunkLoader, OfflineDataModule
from data.common.errors import ReproduceError
from data.layout import Transitions
from lit_modules import algorithms
from lit_modules.common.schedule import Chunk
from reproduce.regression import cases as registry
from reproduce.regression.cases import cases, make_module, minibatches, train, variants

VARIANTS = list(variants())


def experience(module, n: int = 200):
    return synthetic.transitions(n, module.spec, module.dtype)


def test_every_algorithm_has_a_case():
    assert list(cases()) == list(algorithms())


@pytest.mark.parametrize("variant", VARIANTS)
def test_parameter_groups_are_disjoint_and_cover_what_trains(variant):
    module = make_module(variant, [0])
    groups = [p for o in module.named_optimizers().values() for group in o.param_groups for p in group["params"]]
    assert len({id(p) for p in groups}) == len(groups)
    assert {id(p) for p in groups} == {id(p) for p in module.parameters() if p.requires_grad}


def gradients(variant: str, doubled: str | None = None) -> dict[str, list[torch.Tensor]]:
    """By optimizer: what its steps are given in one update of each phase, in which nobody steps. One of the module's
    losses may be doubled."""
    module = make_module(variant, [0, 1])
    module.configure_optimizers()
    if doubled:
        loss = getattr(module, doubled)
        setattr(module, doubled, lambda *args: 2 * loss(*args))
    seen: dict[str, list[torch.Tensor]] = {name: [] for name in module.optimizer}
    for name, optimizer in module.optimizer.items():
        optimizer.step_with = lambda grads, *_, to=seen[name]: to.extend(g.clone() for g in grads)
        optimizer.step_index = lambda rows, grad, *_, to=seen[name]: to.append(grad.clone())
    start = 0
    for phase in module.phases():
        n_seeds = 1 if phase.shared else 2
        chunk = Chunk(phase.name, start, 1, phase.batch_size, phase.shared)
        noise = {name: value[0] for name, value in module.draw(chunk).items()}
        batch = torch.stack([minibatches(module, phase, 1, 1)[0, 0]] * n_seeds)
        getattr(module, f"update_{phase.name}")(batch, noise)
        start += phase.n_updates
    return seen


@pytest.mark.parametrize("variant", VARIANTS)
def test_each_loss_moves_its_own_group_and_no_other(variant):
    """Doubling a loss changes the gradients that its own optimizer is given, and those of no other."""
    plain, losses = gradients(variant), variants()[variant][0].losses
    for group in plain:
        assert plain[group], f"optimizer {group} never steps"
        changed = gradients(variant, losses.get(group, f"{group}_loss"))
        apart = {name for name in plain if any((a != b).any() for a, b in zip(plain[name], changed[name], strict=True))}
        assert apart == {group}


@pytest.mark.parametrize("variant", [v for v in VARIANTS if not any(p.shared for p in make_module(v, [0]).phases())])
def test_seed_k_of_a_stack_equals_seed_k_alone(variant):
    stacked, alone = make_module(variant, [0, 1, 2], chunk_size=10), make_module(variant, [1], chunk_size=10)
    data = experience(alone)
    train(stacked, data)
    train(alone, data)
    for key, value in alone.state_dict().items():
        other = stacked.state_dict()[key]
        other = other if other.shape == value.shape else other[1:2]
        torch.testing.assert_close(other, value, rtol=0, atol=1e-9, msg=lambda m, k=key: f"{k}: {m}")


@pytest.mark.parametrize("variant", [v for v in VARIANTS if "sampled" in make_module(v, [0]).modes])
def test_drawn_actions_are_legal_and_the_greedy_one_is_the_likeliest(variant):
    """One observation in many episodes, so that frequencies are probabilities; the last action is never legal."""
    module, n = make_module(variant, [0, 1]), 2000
    spec, g = module.spec, torch.Generator().manual_seed(0)
    obs = torch.rand(2, 1, spec.n_agents, spec.obs_size, generator=g, dtype=torch.float64).expand(-1, n, -1, -1)
    legal = torch.ones(2, n, spec.n_agents, spec.n_actions, dtype=torch.bool)
    legal[..., -1] = False
    with torch.no_grad():
        drawn, _ = module.act(obs, legal, torch.rand(2, n, spec.n_agents, generator=g, dtype=torch.float64))
        greedy, _ = module.act(obs, legal, None)
    assert (drawn != spec.n_actions - 1).all()
    assert (greedy != spec.n_actions - 1).all()
    digits = spec.n_actions ** torch.arange(spec.n_agents)  # a joint action as one number
    for of_seed, likeliest in zip((drawn * digits).sum(-1), (greedy * digits).sum(-1)[:, 0], strict=True):
        shares = of_seed.bincount(minlength=spec.n_actions**spec.n_agents) / n
        assert shares.max() < 0.9  # drawn, and not the greedy action each time
        assert shares[likeliest] > shares.max() - 0.05


@pytest.mark.parametrize("variant", VARIANTS)
def test_updates_asked_for_are_updates_done(variant):
    module = make_module(variant, [0], chunk_size=7)
    train(module, experience(module))
    assert module.n_updates == sum(phase.n_updates for phase in module.phases()) > 0


@pytest.mark.parametrize("name", list(cases()))
def test_names_in_the_state_are_those_that_checkpoints_hold(name):
    shared = {"obs_middle", "obs_half_range"}
    assert set(make_module(name, [0]).state_dict()) == {*cases()[name].state, *shared}


@pytest.mark.parametrize("variant", VARIANTS)
def test_two_runs_are_equal_to_the_bit(variant):
    states = []
    for _ in range(2):
        module = make_module(variant, [0, 1], chunk_size=10).float()
        train(module, experience(module))
        states.append(module.state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_run_resumed_at_any_chunk_is_equal_to_the_bit(variant):
    """What a checkpoint holds, taken after each chunk, and the rest of the run from it."""

    def begin():
        module = make_module(variant, [0, 1], chunk_size=10).float()
        module.configure_optimizers()
        module.log_dict = lambda values, **_: None
        source = OfflineDataModule(experience(module), Transitions(module.spec), module.keys, module.seeds)
        return module, source, ChunkLoader(source, module)

    module, source, loader = begin()
    saved = []
    for chunk in loader:
        module.training_step(source.to_schema(chunk), 0)
        checkpoint: dict = {}
        module.on_save_checkpoint(checkpoint)
        optimizers = {name: optimizer.state_dict() for name, optimizer in module.optimizer.items()}
        saved.append(copy.deepcopy((module.state_dict(), checkpoint, optimizers, loader.state_dict())))
    for state, checkpoint, optimizers, sampler in saved[:-1]:
        again, source, loader = begin()
        again.load_state_dict(state)
        again.on_load_checkpoint(checkpoint)
        for name, optimizer in again.optimizer.items():
            optimizer.load_state_dict(optimizers[name])
        loader.load_state_dict(sampler)
        for chunk in loader:
            again.training_step(source.to_schema(chunk), 0)
        assert again.n_updates == module.n_updates
        assert all(torch.equal(value, again.state_dict()[key]) for key, value in module.state_dict().items())


def test_a_case_that_is_missing_or_wrong_is_named(monkeypatch, tmp_path):
    cases.cache_clear()
    monkeypatch.setattr(registry, "FOLDER", tmp_path)
    with pytest.raises(ReproduceError, match="need a checkout of the project"):
        cases()
    (tmp_path / "__init__.py").write_text("")
    with pytest.raises(ReproduceError, match=r"a package 'cases' of .* hides"):
        cases()
    monkeypatch.setattr(registry, "PACKAGE", "made_up_cases")
    (tmp_path / "bc.py").write_text("CASE = 1")
    with pytest.raises(ReproduceError, match=r"bc.py: must define CASE, a Case whose settings are those of bc"):
        cases()
    for module in ("made_up_cases.bc", "made_up_cases"):
        del sys.modules[module]
