"""The actors of behavior policies, as TorchRL trains them and as a file of snapshots holds them."""

from torch import Tensor, nn
from torchrl.modules import MultiAgentMLP


def actor_network(obs_size: int, action_size: int, n_agents: int, cells: int, share: bool = True) -> nn.Module:
    """obs [..., N, D] -> action [..., N, A] in [-1, 1]; `share`: one set of weights for all agents."""
    mlp = MultiAgentMLP(
        obs_size, action_size, n_agents, centralized=False, share_params=share, depth=2, num_cells=cells,
        activation_class=nn.ReLU,
    )  # fmt: skip
    return nn.Sequential(mlp, nn.Tanh())


def layers(network: nn.Module) -> dict[str, Tensor]:
    """weight0, bias0, .. of the actor's linear layers, copied: what a snapshot file holds."""
    state = {key: value for key, value in network.state_dict().items() if key.endswith(("weight", "bias"))}
    kinds = {kind: [v for k, v in state.items() if k.endswith(kind)] for kind in ("weight", "bias")}
    return {f"{kind}{k}": value.detach().clone() for kind, values in kinds.items() for k, value in enumerate(values)}
