"""OMAR's particle worlds against transitions recorded from the authors' released code, 25 steps, in float64."""

import pytest
import torch
from released import golden_of

from data.worlds.mpe import SCENARIOS, Physics


@pytest.fixture(scope="module")
def golden() -> dict[str, torch.Tensor]:
    return golden_of("mpe_transitions")


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_positions_velocities_views_and_rewards_are_the_released_ones(scenario, golden):
    g = {key.split("/")[1]: value for key, value in golden.items() if key.startswith(scenario)}
    physics, pos, landmarks = Physics(scenario), g["agent_pos"], g["landmark_pos"]
    vel = torch.zeros_like(pos)
    contacts = 0
    for t in range(26):
        for i, view in enumerate(physics.views(pos, vel, landmarks)):
            torch.testing.assert_close(view, g[f"obs_{i}"][:, t], rtol=0, atol=1e-9)
        if t == 25:
            break
        pos, vel = physics.move(pos, vel, landmarks, g["action"][:, t])
        rewards = physics.rewards(pos, landmarks)
        torch.testing.assert_close(pos, g["pos"][:, t], rtol=0, atol=1e-9)
        torch.testing.assert_close(vel, g["vel"][:, t], rtol=0, atol=1e-9)
        torch.testing.assert_close(rewards, g["reward"][:, t, : physics.n_learners], rtol=0, atol=1e-9)
        apart = (pos.unsqueeze(2) - pos.unsqueeze(1)).norm(dim=-1) < physics.reach[:, : physics.n_bodies]
        contacts += int(apart.sum()) - apart.shape[0] * apart.shape[1]
    assert contacts > 0  # agents bumped into each other, so contact forces were compared too
