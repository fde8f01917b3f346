"""Chooses the default precision of a training."""

import torch

from terminal.devices import best_device

# MACs of a forward pass per image. Below this, a CPU gains little or nothing: converting short sums
# to bfloat16 takes about as long as it saves.
WORTHWHILE_MACS = 10_000_000


def usual_precision(accelerator: str, macs: int) -> str:
    """bf16-mixed if the device multiplies in bfloat16 and gains from it, else 32-true.

    Args:
        accelerator: Accelerator of the Trainer.
        macs: MACs of the network's forward pass for one image.
    """
    device = "cpu" if accelerator == "cpu" else best_device().type
    if device == "cuda":
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    else:  # other accelerators: not measured
        has_bf16 = device == "cpu" and macs >= WORTHWHILE_MACS and _processor_has_bf16()
    return "bf16-mixed" if has_bf16 else "32-true"


def _processor_has_bf16() -> bool:
    """Whether the processor has bfloat16 multiplication and torch may use it."""
    capabilities = torch.cpu.get_capabilities()
    can = capabilities.get("avx512_bf16") or capabilities.get("amx_bf16")
    return bool(can) and torch.backends.cpu.get_cpu_capability().startswith("AVX512")
