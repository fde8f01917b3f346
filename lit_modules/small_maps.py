"""Convolutions to small maps as matrix products, on a CPU in bfloat16."""

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

# Of the output. From there on the product is faster for nearly all layers of the recipes.
CHANNELS_PER_POSITION = 15
IN_16_OR_32_BITS = (torch.float32, torch.float16, torch.bfloat16)


class SmallMaps(TorchFunctionMode):
    """Computes convolutions to few positions by one matrix product (im2col).

    The blocks of oneDNN's convolutions on Intel's AMX are rows of an image. Where a row has only
    two or four pixels, as in the last stages of a network on small images, most of each block is
    padding, and one product for all positions of a batch is faster (docs/performance.md). It is as
    exact as bfloat16 allows, but not equal bit for bit. Whatever is not in bfloat16 on a CPU with
    AMX, and convolutions to larger maps, stay torch's.
    """

    def __torch_function__(
        self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        is_convolution = function is F.conv2d and not kwargs and len(args) == 7
        if is_convolution and not torch.compiler.is_compiling() and has_amx() and _is_small(*args):
            image, weight, bias, stride, padding, *_ = args
            image, weight = image.bfloat16(), weight.bfloat16()
            columns = _Product.apply(image, weight, stride, padding)
            if bias is not None:
                columns = columns + bias.bfloat16()
            height, width = _size(image, weight, stride, padding)
            return columns.view(len(image), height, width, len(weight)).permute(0, 3, 1, 2)
        return function(*args, **(kwargs or {}))


@cache
def has_amx() -> bool:
    """Whether the processor multiplies blocks of bfloat16 (AMX)."""
    return bool(torch.cpu.get_capabilities().get("amx_bf16"))


def _is_small(
    image: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
) -> bool:
    """Whether the product computes this convolution, and faster; the rest is left to torch."""
    is_pair = all(isinstance(one, tuple) and len(one) == 2 for one in (stride, padding))
    if not is_pair or dilation != (1, 1) or groups != 1:
        return False
    if not _in_bfloat16([one for one in (image, weight, bias) if one is not None]):
        return False
    if image.ndim != 4 or not len(image) or image.shape[1] != weight.shape[1]:
        return False
    if bias is not None and bias.shape != weight.shape[:1]:
        return False
    height, width = _size(image, weight, stride, padding)
    return min(height, width) > 0 and CHANNELS_PER_POSITION * height * width <= len(weight)


def _in_bfloat16(tensors: list[Tensor]) -> bool:
    if any(one.device.type != "cpu" for one in tensors):
        return False
    if not torch.is_autocast_enabled("cpu"):
        return all(one.dtype == torch.bfloat16 for one in tensors)
    is_mixed = torch.get_autocast_dtype("cpu") == torch.bfloat16
    return is_mixed and all(one.dtype in IN_16_OR_32_BITS for one in tensors)


def _size(image: Tensor, weight: Tensor, stride: Any, padding: Any) -> tuple[int, int]:
    """Height and width of the output."""
    height, width = (
        (image.shape[i] + 2 * padding[i] - weight.shape[i]) // stride[i] + 1 for i in (-2, -1)
    )
    return height, width


class _Product(torch.autograd.Function):
    """The convolution of images (N, C, H, W) with kernels (O, C, h, w), as (N*positions, O)."""

    generate_vmap_rule = True

    @staticmethod
    def forward(image: Tensor, weight: Tensor, stride: Any, padding: Any) -> Tensor:
        return _columns(image, weight, stride, padding) @ _matrix(weight).t()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        image, weight, ctx.stride, ctx.padding = inputs
        ctx.save_for_backward(image, weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        image, weight = ctx.saved_tensors
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
    # Sums in 16 bits would round once for each window.
    dtype = torch.promote_types(columns.dtype, torch.float32)
    total = columns.new_zeros(n, height + 2 * top, width + 2 * left, c, dtype=dtype)
    for i in range(h):
        for j in range(w):
            down, right = i + stride[0] * (rows - 1) + 1, j + stride[1] * (cols - 1) + 1
            total[:, i : down : stride[0], j : right : stride[1]] += windows[:, :, :, i, j]
    inner = total[:, top : top + height, left : left + width].to(columns.dtype)
    return inner.permute(0, 3, 1, 2)
