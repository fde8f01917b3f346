import pytest
import torch

from datamodules.batches import GlobalBatchSampler, ImagesInMemory, Split, stratified_split


def samplers(samples, size, processes=1, accumulate=1):
    return [
        GlobalBatchSampler(samples, size, True, 3, rank, processes, accumulate)
        for rank in range(processes)
    ]


@pytest.mark.parametrize(("samples", "size"), [(1000, 64), (1000, 999), (7, 10), (65, 64), (10, 1)])
@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize("accumulate", [1, 4])
def test_every_sample_comes_exactly_once_per_epoch(samples, size, processes, accumulate):
    of_each = samplers(samples, size, processes, accumulate)
    seen = torch.cat([torch.cat(list(sampler)) for sampler in of_each])
    assert sorted(seen.tolist()) == list(range(samples))
    for sampler in of_each:
        assert len(list(sampler)) == len(sampler)


@pytest.mark.parametrize(("processes", "accumulate"), [(2, 1), (3, 1), (1, 2), (2, 3)])
def test_a_step_has_the_same_samples_on_any_number_of_processes(processes, accumulate):
    alone = list(*samplers(1001, 60))
    shares = [list(sampler) for sampler in samplers(1001, 60, processes, accumulate)]
    for step, batch in enumerate(alone):
        # Ordered by micro-batch, then by process.
        micro_batches = range(step * accumulate, (step + 1) * accumulate)
        of_step = [shares[rank][i] for i in micro_batches for rank in range(processes)]
        assert torch.equal(torch.cat(of_step), batch)
        assert max(map(len, of_step)) - min(map(len, of_step)) <= 1


@pytest.mark.parametrize(("samples", "size"), [(1000, 64), (129, 64), (128, 64), (7, 10), (3, 1)])
def test_the_samples_of_a_step_are_known(samples, size):
    (sampler,) = samplers(samples, size)
    (divided, _) = samplers(samples, size, processes=2, accumulate=3)
    sizes = [len(batch) for batch in sampler]
    for each in (sampler, divided):
        assert [each.samples_of_step(step) for step in range(len(sizes))] == sizes


def test_a_share_can_be_empty():
    shares = [list(sampler) for sampler in samplers(2, 2, processes=2, accumulate=2)]
    assert [[len(share) for share in of_process] for of_process in shares] == [[1, 0], [1, 0]]
    data = ImagesInMemory(Split(torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.arange(2)))
    images, labels = data[shares[0][1]]
    assert (images.shape, images.dtype) == ((0, 1, 4, 4), torch.uint8)
    assert (labels.shape, labels.dtype) == ((0,), torch.int64)


def test_no_batch_is_very_small():
    sizes = [len(batch) for batch in GlobalBatchSampler(129, 64)]
    assert sizes == [64, 33, 32]


def test_the_order_is_a_function_of_seed_and_epoch():
    def order(seed, epoch):
        sampler = GlobalBatchSampler(100, 10, True, seed)
        sampler.set_epoch(epoch)
        return torch.cat(list(sampler)).tolist()

    assert order(1, 5) == order(1, 5)
    orders = [tuple(order(seed, epoch)) for seed in range(3) for epoch in range(3)]
    assert len(set(orders)) == 9  # seed 1 in epoch 2 differs from seed 2 in epoch 1


def in_memory():
    return Split(torch.arange(12).view(6, 1, 1, 2).byte(), torch.arange(6))


@pytest.mark.parametrize("kind", ["plain", "shared", "strided"])
def test_a_batch_is_cut_by_one_indexing_operation(kind):
    split = in_memory()
    if kind == "shared":
        split.images.share_memory_()
    if kind == "strided":
        split = Split(torch.cat([split.images] * 2, dim=3)[..., :2], split.labels)
    data = ImagesInMemory(split)
    assert (kind == "strided") != (data.images.data_ptr() == split.images.data_ptr())
    for images, labels in (data.__getitems__([4, 1]), data[torch.tensor([4, 1])]):
        assert images.tolist() == [[[[8, 9]]], [[[2, 3]]]]
        assert labels.tolist() == [4, 1]
        assert images.dtype == torch.uint8
    image, label = data[4]
    assert image.tolist() == [[[8, 9]]]
    assert label == 4
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
