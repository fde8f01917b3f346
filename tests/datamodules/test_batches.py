import pytest
import torch

from datamodules.batches import GlobalBatchSampler, ImagesInMemory, Split, stratified_split


@pytest.mark.parametrize(("samples", "size"), [(1000, 64), (1000, 999), (7, 10), (65, 64), (10, 1)])
@pytest.mark.parametrize("processes", [1, 2, 3])
def test_every_sample_comes_exactly_once_an_epoch(samples, size, processes):
    samplers = [GlobalBatchSampler(samples, size, True, 3, r, processes) for r in range(processes)]
    seen = torch.cat([torch.cat(list(sampler)) for sampler in samplers])
    assert sorted(seen.tolist()) == list(range(samples))
    for sampler in samplers:
        assert len(list(sampler)) == len(sampler)


@pytest.mark.parametrize("processes", [2, 3])
def test_a_step_sees_the_same_samples_on_any_number_of_processes(processes):
    alone = list(GlobalBatchSampler(1001, 60, True, 3))
    shares = zip(
        *(GlobalBatchSampler(1001, 60, True, 3, r, processes) for r in range(processes)),
        strict=True,
    )
    for batch, share in zip(alone, shares, strict=True):
        assert torch.equal(torch.cat(share), batch)


def test_no_batch_is_a_handful():
    sizes = [len(batch) for batch in GlobalBatchSampler(129, 64)]
    assert sizes == [64, 33, 32]


def test_the_order_is_a_function_of_seed_and_epoch():
    def order(seed, epoch):
        sampler = GlobalBatchSampler(100, 10, True, seed)
        sampler.set_epoch(epoch)
        return torch.cat(list(sampler)).tolist()

    assert order(1, 5) == order(1, 5)
    orders = [tuple(order(seed, epoch)) for seed in range(3) for epoch in range(3)]
    assert len(set(orders)) == 9  # seed 1 in epoch 2 is not seed 2 in epoch 1


def test_a_batch_is_cut_by_one_indexing_operation():
    data = ImagesInMemory(Split(torch.arange(12).view(6, 1, 1, 2).byte(), torch.arange(6)))
    images, labels = data.__getitems__([4, 1])
    assert images.tolist() == [[[[8, 9]]], [[[2, 3]]]]
    assert labels.tolist() == [4, 1]
    assert data[4][1] == 4
    assert len(data) == 6


def test_stratified_split_is_disjoint_complete_and_proportional():
    labels = torch.tensor([0] * 50 + [1] * 30 + [2] * 20)[torch.randperm(100)]
    everything = Split(torch.arange(100).view(100, 1, 1, 1).byte(), labels)
    rest, held_out = stratified_split(everything, held_out=15, seed=0)
    ids = torch.cat([rest.images, held_out.images]).flatten().tolist()
    assert sorted(ids) == list(range(100))
    assert len(held_out.labels) == 15
    for size, count in zip(held_out.labels.bincount().tolist(), (7.5, 4.5, 3.0), strict=True):
        assert abs(size - count) < 1
    again, _ = stratified_split(everything, held_out=15, seed=0)
    assert torch.equal(again.images, rest.images)
