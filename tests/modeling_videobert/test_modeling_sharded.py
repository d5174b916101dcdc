"""Sharded training (FSDP): a step over two processes, each with half of every weight, is the step of one process."""

import copy
import os

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from support.tiny_videobert import joint_example, masked, padded, tiny_model
from torch.distributed.fsdp import fully_shard

from modeling_videobert import VideoBertForPreTraining

LEARNING_RATE = 0.1


def batches():
    """One batch a process."""
    generator = torch.Generator().manual_seed(1)
    shapes = [[(4, 5), (6, 0), (0, 7)], [(3, 9), (5, 2), (2, 2)]]
    return [
        masked(padded([joint_example(*shape, generator) for shape in part]), 0.4, generator)
        | {"alignment_labels": torch.tensor([1, -100, 0])}
        for part in shapes
    ]


def step(model, own, processes=1):
    """One step over this process's batches, each token weighing the same in all; gradients are averaged at the end."""
    counted = [model.count_objectives(batch) for batch in batches()]
    counts = {name: sum(one[name] for one in counted) for name in counted[0]}
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    for batch in own:
        loss = model(**batch, objective_counts=counts).loss
        (loss * processes).backward()
    optimizer.step()


def sharded_step(rank, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    torch.set_num_threads(1)
    model = tiny_model(VideoBertForPreTraining).train()
    mesh = dist.init_device_mesh("cpu", (2,))
    for module in list(model.modules()):
        if type(module).__name__ in model._no_split_modules:
            fully_shard(module, mesh=mesh)
    fully_shard(model, mesh=mesh)
    halved = model.videobert.embeddings.word_embeddings.weight
    assert halved.to_local().shape[0] * 2 == halved.shape[0]
    step(model, batches()[rank : rank + 1], processes=2)
    weights = {name: weight.full_tensor() for name, weight in model.state_dict().items()}
    if rank == 0:
        torch.save(weights, f"{folder}/weights.pt")
    # Nothing is left to do but to tear down gloo's threads, which now and then aborts the process.
    os._exit(0)


@pytest.mark.slow
def test_a_sharded_step_is_a_whole_step(tmp_path):
    """The hints name the layers, and the sparse head reads the tied matrix while it is whole."""
    model = tiny_model(VideoBertForPreTraining).train()
    before = copy.deepcopy(model.state_dict())
    step(model, batches())
    mp.spawn(sharded_step, (str(tmp_path),), nprocs=2)
    found = torch.load(tmp_path / "weights.pt")
    moved = 0
    for name, expected in model.state_dict().items():
        torch.testing.assert_close(found[name], expected, atol=1e-5, rtol=1e-4, msg=name)
        moved += not torch.equal(expected, before[name])
    assert moved > 30
