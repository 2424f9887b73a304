"""Imports what a rank imports. The process that ranks are forked from imports this, and nobody else does."""

import importlib

from promethios.training.process import prepare_process

prepare_process()  # before torch and DeepSpeed read the environment
for _name in (
    "deepspeed",
    "torch.utils.tensorboard",
    "promethios.model.build",
    "promethios.training.arguments",
    "promethios.training.trainer",
):
    importlib.import_module(_name)
