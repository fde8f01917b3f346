"""Convolutions to small maps as matrix products, for training on a CPU in bfloat16."""

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

CHANNELS_PER_POSITION = 15  # of the output: from there on the product is faster, as measured


class SmallMaps(TorchFunctionMode):
    """Computes convolutions to few positions by one matrix product (im2col).

    The blocks of oneDNN's convolutions on Intel's AMX are rows of an image. Where a row has only
    two or four pixels, as in the last stages of a network on small images, most of each block is
    padding, and one product for all positions of a batch is up to ten times as fast
    (docs/performance.md). It differs in the order of the sums alone. Whatever is not in bfloat16
    on a CPU with AMX, and convolutions to larger maps, stay torch's.
    """

    def __torch_function__(
        self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        if function is F.conv2d and not kwargs and len(args) == 7 and has_amx():
            image, weight, bias, stride, padding, dilation, groups = args
            is_plain = dilation == (1, 1) and groups == 1 and not isinstance(padding, str)
            if is_plain and _in_bfloat16(image) and _is_small(image, weight, stride, padding):
                output = _Product.apply(image.bfloat16(), weight.bfloat16(), stride, padding)
                return output if bias is None else output + bias.bfloat16()[:, None, None]
        return function(*args, **(kwargs or {}))


@cache
def has_amx() -> bool:
    """Whether the processor multiplies blocks of bfloat16 (AMX)."""
    return bool(torch.cpu.get_capabilities().get("amx_bf16"))


def _in_bfloat16(image: Tensor) -> bool:
    if image.device.type != "cpu":
        return False
    is_mixed = torch.is_autocast_enabled("cpu")
    return (torch.get_autocast_dtype("cpu") if is_mixed else image.dtype) == torch.bfloat16


def _is_small(image: Tensor, weight: Tensor, stride: Any, padding: Any) -> bool:
    if image.ndim != 4 or image.shape[1] != weight.shape[1]:
        return False
    height, width = _size(image, weight, stride, padding)
    return min(height, width) > 0 and CHANNELS_PER_POSITION * height * width <= len(weight)


def _size(image: Tensor, weight: Tensor, stride: Any, padding: Any) -> tuple[int, int]:
    """Height and width of the output."""
    height, width = (
        (image.shape[i] + 2 * padding[i] - weight.shape[i]) // stride[i] + 1 for i in (-2, -1)
    )
    return height, width


class _Product(torch.autograd.Function):
    """The convolution of images (N, C, H, W) with kernels (O, C, h, w), without a bias."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, weight: Tensor, stride: Any, padding: Any) -> Tensor:
        ctx.save_for_backward(image, weight)
        ctx.stride, ctx.padding = stride, padding
        height, width = _size(image, weight, stride, padding)
        output = _columns(image, weight, stride, padding) @ _matrix(weight).t()
        return output.view(len(image), height, width, -1).permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        image, weight = ctx.saved_tensors
        gradient = gradient.permute(0, 2, 3, 1).flatten(0, 2)
        of_image = of_weight = None
        if ctx.needs_input_grad[0]:
            columns = gradient @ _matrix(weight)
            of_image = _add_up(columns, image, weight, ctx.stride, ctx.padding)
        if ctx.needs_input_grad[1]:
            columns = _columns(image, weight, ctx.stride, ctx.padding)
            o, c, h, w = weight.shape
            of_weight = (gradient.t() @ columns).view(o, h, w, c).permute(0, 3, 1, 2)
        return of_image, of_weight, None, None


def _matrix(weight: Tensor) -> Tensor:
    """Kernels (O, C, h, w) as rows (O, h*w*C)."""
    return weight.permute(0, 2, 3, 1).flatten(1)


def _columns(image: Tensor, weight: Tensor, stride: Any, padding: Any) -> Tensor:
    """The pixels under the kernel at each position of the output, (N*positions, h*w*C)."""
    (h, w), (top, left) = weight.shape[2:], padding
    padded = F.pad(image.permute(0, 2, 3, 1), (0, 0, left, left, top, top))
    windows = padded.unfold(1, h, stride[0]).unfold(2, w, stride[1])
    return windows.permute(0, 1, 2, 4, 5, 3).flatten(3).flatten(0, 2)


def _add_up(columns: Tensor, image: Tensor, weight: Tensor, stride: Any, padding: Any) -> Tensor:
    """The sum over all windows of what `columns` has for each pixel, (N, C, H, W)."""
    (n, c, height, width), (h, w), (top, left) = image.shape, weight.shape[2:], padding
    rows, cols = _size(image, weight, stride, padding)
    windows = columns.view(n, rows, cols, h, w, c)
    total = columns.new_zeros(n, height + 2 * top, width + 2 * left, c)
    for i in range(h):
        for j in range(w):
            down, right = i + stride[0] * (rows - 1) + 1, j + stride[1] * (cols - 1) + 1
            total[:, i : down : stride[0], j : right : stride[1]] += windows[:, :, :, i, j]
    return total[:, top : top + height, left : left + width].permute(0, 3, 1, 2)
