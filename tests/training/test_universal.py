"""What DeepSpeed's universal checkpoint makes common to all parameters, made each one's own again."""

from __future__ import annotations

import torch

from promethios.training.universal import separate_groups


def test_each_parameter_counts_its_own_steps_and_each_group_decays_as_it_was_made() -> None:
    decayed, other = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    groups = [{"params": [decayed], "weight_decay": 0.1}, {"params": [other], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=0.1)
    for parameter in (decayed, other):
        parameter.grad = torch.ones(2)
    optimizer.step()
    common = optimizer.state[decayed]["step"]
    for parameter in (decayed, other):  # as ZeRO 3 loads them
        optimizer.state[parameter]["step"] = common
    optimizer.param_groups[1]["weight_decay"] = 0.1

    separate_groups(optimizer, [0.1, 0.0])

    optimizer.step()
    assert [optimizer.state[parameter]["step"].item() for parameter in (decayed, other)] == [2, 2]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.0]
