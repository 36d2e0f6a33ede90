# BC: behavior cloning, the baseline that every offline method has to beat.
# Maximum likelihood of the data's actions; no source beyond that is needed.
"""Behavior cloning: one policy per agent, or one over joint actions."""

from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor

from data.common.spec import WorldSpec
from lit_modules.common.distributions import masked_log_softmax, sample_categorical
from lit_modules.common.mlp import StackedMLP
from lit_modules.common.optim import Adam
from lit_modules.common.registry import register
from lit_modules.common.schedule import Phase
from lit_modules.common.seed_module import SeedModule
from lit_modules.common.settings import AlgoConfig, Batch, Positive, Size, Width


class BCConfig(AlgoConfig):
    """Per agent: maximize sum_i log pi^i(a^i|o^i). Joint: maximize log pi(a|o), a one of the A^N joint actions."""

    n_updates: Size
    batch_size: Batch
    hidden: list[Width]
    lr: Positive  # Adam
    max_grad_norm: Positive  # per network
    joint: bool  # one policy over joint actions; needs all agents' observations together at execution


@register("bc")
class BC(SeedModule):
    keys = ("obs", "legal_actions", "action")
    MAX_JOINT_ACTIONS = 4096

    def __init__(self, config: BCConfig, seeds: list[int], spec: WorldSpec, **clock: Any):
        super().__init__(seeds, spec, **clock)
        self.config = config
        n, a = spec.n_agents, spec.n_actions
        if config.joint and a**n > self.MAX_JOINT_ACTIONS:
            raise ValueError(
                f"algo.joint=true: {a}^{n} joint actions, at most {self.MAX_JOINT_ACTIONS}; clone per agent"
            )
        lead, obs, out = (1, n * spec.obs_size, a**n) if config.joint else (n, spec.obs_size, a)
        self.policy = StackedMLP((obs, *config.hidden, out), (len(seeds), lead), self.weight_rngs)

    def update_clone(self, batch: TensorDict, noise: dict[str, Tensor]) -> dict[str, Tensor]:
        """One step of maximum likelihood. batch [S, B]."""
        loss = self.policy_loss(
            self.normalize_obs(batch["obs"]), batch["legal_actions"].transpose(1, 2), batch["action"]
        )
        self.descend("policy", loss, self.config.max_grad_norm)
        return {"loss/policy": loss.detach()}

    def policy_loss(self, obs: Tensor, legal: Tensor, action: Tensor) -> Tensor:
        """-E_D log pi(a|o), summed over agents. obs [S, N, B, O], legal [S, N, B, A], action [S, B, N] -> [S]."""
        log_pi = self.log_probs(obs, legal)  # (S, N, B, A) or (S, 1, B, A^N)
        index = self.joint_index(action).unsqueeze(1) if self.config.joint else action.transpose(1, 2)
        return -log_pi.gather(-1, index.unsqueeze(-1)).squeeze(-1).mean(-1).sum(1)

    # ---- plumbing

    def phases(self) -> list[Phase]:
        return [Phase("clone", self.config.n_updates, self.config.batch_size)]

    def named_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {"policy": Adam(self.policy.parameters(), lr=self.config.lr)}

    def log_probs(self, obs: Tensor, legal: Tensor | None) -> Tensor:
        """[S, N, B, A], or of joint actions [S, 1, B, A^N]; a joint action is legal when each part is."""
        if not self.config.joint:
            return masked_log_softmax(self.policy(obs), legal)
        obs = obs.transpose(1, 2).flatten(2).unsqueeze(1)  # (S, 1, B, N * O)
        if legal is not None:
            joint = legal[:, 0]  # (S, B, A)
            for i in range(1, self.spec.n_agents):
                joint = (joint.unsqueeze(-1) & legal[:, i].unsqueeze(-2)).flatten(-2)
            legal = joint.unsqueeze(1)
        return masked_log_softmax(self.policy(obs), legal)

    def joint_index(self, action: Tensor) -> Tensor:
        """action [..., N] -> index of the joint action in base A, agent 0 first."""
        place = self.spec.n_actions ** torch.arange(self.spec.n_agents - 1, -1, -1, device=action.device)
        return (action * place).sum(-1)

    def policy_log_probs(self, obs: Tensor, legal: Tensor | None) -> Tensor:
        return self.log_probs(obs, legal)

    def act(self, obs: Tensor, legal: Tensor | None, uniform: Tensor | None, carry: Any = None) -> tuple[Tensor, Any]:
        if not self.config.joint:
            return super().act(obs, legal, uniform, carry)
        log_probs = self.log_probs(self.normalize_obs(obs), None if legal is None else legal.transpose(1, 2))[:, 0]
        index = log_probs.argmax(-1) if uniform is None else sample_categorical(log_probs, uniform[..., 0])  # (S, E)
        place = self.spec.n_actions ** torch.arange(self.spec.n_agents - 1, -1, -1, device=index.device)
        return index.unsqueeze(-1) // place % self.spec.n_actions, carry
