# OMIGA for discrete actions, as its StarCraft branch runs it (NeurIPS 2023), arXiv 2307.11620
# Losses and order: lit_modules/omiga.py. Behavior: the released code (ZhengYinan-AIR/OMIGA b0c3d13, branch SMAC), which
# configs/algo/omiga_discrete.yaml follows. D1 to D5 are the switches of the continuous form.
#
# D1  targets=all: Q, V and the mixer have slow copies, and the TD target and z use them. The poster slows only Q.
# D2  z_limit=10: z is clamped to +-10, which stops the exponential's gradient beyond and leaves the linear term.
#     The poster does not clamp (null).
# D3  rescale=true: the V loss is multiplied by exp(-m), m the minibatch's largest z, at least -1; per seed here.
#     The poster does not rescale.
# D4  simultaneous=true: all three losses are taken before any step. The poster steps V, then Q and mixer, then policy.
# D5  shared=true: one network for all agents, told apart by a one-hot. The poster writes one per agent.
# D6  reward=return_to_go: the released reader overwrites each reward by the undiscounted sum from it to the episode's
#     end, so that the TD target is that sum plus the discounted value. step: the reward of the step, as the poster has
#     it. Which of them made the published numbers is unknown.
# D7  done=state: the team is done where no entry of any agent's state changes. The released loader lets an episode's
#     last step be its own next, so that wins and time limits alike end the bootstrap; here the two ends say so.
#     terminated: the world's own word, and a time limit bootstraps.
# D8  log pi is over all actions: nothing masks illegal ones in training. Evaluation masks them and takes the largest.
# D9  Minibatches are drawn with replacement from all data. The released code goes 55 times over the data in shuffled
#     chunks of 50 episodes.
# D10 Where a world has one state for the team, the mixer reads it once. The released worlds have one per agent.
"""OMIGA for discrete actions."""

from typing import Literal

from lit_modules.common.local_discrete import LocalDiscrete
from lit_modules.common.registry import register
from lit_modules.common.settings import AlgoConfig, Batch, Fraction, Positive, Size, Width
from lit_modules.omiga import OMIGA


class OMIGADiscreteConfig(AlgoConfig):
    """Objective: max E[r] - alpha D(pi_tot, mu_tot), split over agents by Q_tot = sum_i w_i(s) Q_i + b(s), w >= 0.

    z_i = w_i (Q_i(o, a) - V_i(o)) / alpha: V_i normalizes exp(z_i), pi_i = softmax of logits clones with it.
    """

    n_updates: Size
    batch_size: Batch
    hidden: list[Width]  # of V, Q and policy
    mixer_hidden: list[Width]
    lr: Positive  # Adam, three optimizers
    max_grad_norm: Positive  # of the policy, of Q and mixer together, of V; per seed
    gamma: Fraction
    tau: Fraction
    alpha: Positive  # higher = closer to the data
    targets: Literal["all", "q"]  # all | q
    z_limit: Positive | None
    rescale: bool
    simultaneous: bool
    shared: bool
    reward: Literal["return_to_go", "step"]  # return_to_go | step
    done: Literal["state", "terminated"]  # state | terminated


@register("omiga_discrete")
class OMIGADiscrete(LocalDiscrete, OMIGA):
    """Update and losses: OMIGA. Networks, rewards and ends: LocalDiscrete."""
