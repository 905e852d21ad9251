"""An agent of one's own: REINFORCE with a linear policy over states and lexical overlap.

python runners/train_policy.py --env SQuAD2 --agent examples.linear_agent:LinearAgent --agent-options rate=0.01
"""

from dataclasses import dataclass

import torch
from torch.nn.functional import layer_norm, logsigmoid


@dataclass(frozen=True)
class LinearOptions:
    rate: float = 0.01


class LinearAgent:
    """Keeps a token with probability sigmoid(w . [state, overlap] + b); one w and b a reduction."""

    options_class = LinearOptions

    def __init__(self, spec, options):
        self.generator = torch.Generator().manual_seed(spec.seed)
        self.weights = torch.zeros(spec.num_reductions, spec.hidden_size + 4, device=spec.device, requires_grad=True)
        self.bias = torch.full((spec.num_reductions,), 2.0, device=spec.device, requires_grad=True)
        self.optimizer = torch.optim.Adam([self.weights, self.bias], lr=options.rate)

    def logits(self, observation, infos):
        states, reduction = observation["hidden_states"], int(observation["reduction"][0])
        states = layer_norm(states, states.shape[-1:])
        return torch.cat([states, infos["overlap"]], -1) @ self.weights[reduction] + self.bias[reduction]

    def act(self, observation, infos, *, deterministic=False):
        logits = self.logits(observation, infos).detach()
        noise = torch.rand(logits.shape, generator=self.generator).to(logits.device)
        keep = logits > 0 if deterministic else noise < logits.sigmoid()
        return (keep | infos["forced_tokens"]) & observation["token_mask"].bool()

    def learn(self, rollout):
        returns = rollout.returns.view(-1, rollout.samples_per_text)
        log_probability = 0.0
        for observation, infos, keep in zip(rollout.observations, rollout.infos, rollout.actions, strict=True):
            logits = self.logits(observation, infos)
            chosen = observation["token_mask"].bool() & ~infos["forced_tokens"]
            log_probability = log_probability + (logsigmoid(torch.where(keep, logits, -logits)) * chosen).sum(1)
        loss = -((returns - returns.mean(1, keepdim=True)).flatten() * log_probability).mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return {"losses/policy_loss": loss.item()}

    def state_dict(self):
        tensors = {"weights": self.weights.detach(), "bias": self.bias.detach()}
        return {**tensors, "optimizer": self.optimizer.state_dict(), "generator": self.generator.get_state()}

    def load_state_dict(self, state):
        self.weights.data.copy_(state["weights"])
        self.bias.data.copy_(state["bias"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])
