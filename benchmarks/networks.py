"""Speed and memory of every network in training and inference, ours and torchvision's.

    python -m benchmarks.networks [--networks resnet18 vgg16] [--image_size 224]
        [--batch_size 128] [--modes float32 channels_last bf16 compile] [--rounds 5] [--json FILE]

Steps on tensors that are already on the device, with one channel and ten classes. `float32` is
eager, contiguous and without TF32; each further mode is added to the one before. torchvision's
network of the same name runs in turns with ours. `limit` is the training speed if all work were
matrix products: 6 operations for each multiply-accumulate, at the rate of a large matrix product
in the same precision. On a GPU, `memory` is the peak of the memory allocated in training.
"""

import statistics
import time
from collections.abc import Callable

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.report import benchmark_parser, number, report, write_json
from inference.inspection import count_macs
from models import alexnet, densenet, googlenet, lenet, nin, resnet, vgg
from terminal.devices import best_device, peak_memory_bytes, synchronize

OURS: dict[str, Callable[[], nn.Module]] = {
    "lenet": lenet.LeNet5,
    "alexnet": alexnet.AlexNet,
    "vgg11": vgg.vgg11,
    "vgg16": vgg.vgg16,
    "nin": nin.NiN,
    "googlenet": googlenet.GoogLeNet,
    "resnet18": resnet.resnet18,
    "resnet34": resnet.resnet34,
    "resnet50": resnet.resnet50,
    "resnet101": resnet.resnet101,
    "densenet": densenet.DenseNet,
    "densenet121": densenet.densenet121,
}
# Networks that are identical in torchvision, except for the first layer's channels.
FIRST = {
    **{name: ("features", 0) for name in ("vgg11", "vgg16")},
    **{name: ("conv1",) for name in ("resnet18", "resnet34", "resnet50", "resnet101")},
    "densenet121": ("features", "conv0"),
}
MODES = ("float32", "channels_last", "bf16", "compile")


def torchvisions(name: str) -> nn.Module:
    """Torchvision's network with one channel and ten classes."""
    net = getattr(torchvision.models, name)(num_classes=10)
    *path, last = FIRST[name]
    parent = net.get_submodule(".".join(path))
    first = parent[last] if isinstance(last, int) else getattr(parent, last)
    options = {"stride": first.stride, "padding": first.padding, "bias": first.bias is not None}
    replacement = nn.Conv2d(1, first.out_channels, first.kernel_size, **options)
    if isinstance(last, int):
        parent[last] = replacement
    else:
        setattr(parent, last, replacement)
    return net


class Speed:
    """A network in one mode on the device, ready to be timed.

    Args:
        net: The network.
        mode: One of `MODES`; includes all modes before it.
        shape: Shape of the images.
    """

    def __init__(self, net: nn.Module, mode: str, shape: tuple[int, int, int, int]) -> None:
        level = MODES.index(mode)
        self.device = best_device()
        layout = torch.channels_last if level >= 1 else torch.contiguous_format
        self.net = net.to(self.device, memory_format=layout)
        if level >= 3:
            self.net.compile()
        self.autocast = level >= 2
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = level >= 2
        self.images = torch.rand(shape, device=self.device).to(memory_format=layout)
        self.labels = torch.randint(10, shape[:1], device=self.device)
        self.optimizer = torch.optim.SGD(net.parameters(), lr=1e-4, momentum=0.9)

    def train_step(self) -> None:
        self.net.train()
        self.optimizer.zero_grad()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
            output = self.net(self.images)
            logits = output if isinstance(output, Tensor) else output[0]
            loss = F.cross_entropy(logits, self.labels)
        loss.backward()
        self.optimizer.step()

    @torch.no_grad()
    def infer(self) -> None:
        self.net.eval()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
            self.net(self.images)

    def images_per_second(self, step: Callable[[], None], steps: int) -> float:
        self.wait()
        start = time.perf_counter()
        for _ in range(steps):
            step()
        self.wait()
        return steps * len(self.labels) / (time.perf_counter() - start)

    def wait(self) -> None:
        synchronize(self.device)


def matrix_rate(speed: Speed) -> float:
    """Operations per second of a large matrix product, in the precision of the network."""
    size = 2048 if speed.device.type == "cpu" else 8192
    dtype = torch.bfloat16 if speed.autocast else torch.float32
    left, right = torch.rand(2, size, size, device=speed.device).to(dtype)
    rates = []
    for _ in range(5):
        speed.wait()
        start = time.perf_counter()
        torch.mm(left, right)
        speed.wait()
        rates.append(2 * size**3 / (time.perf_counter() - start))
    return max(rates)


def main() -> None:
    parser = benchmark_parser(__doc__)
    parser.add_argument("--networks", nargs="*", choices=OURS, default=list(OURS))
    parser.add_argument("--modes", nargs="*", choices=MODES, default=list(MODES))
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=10, help="steps of one timing")
    args = parser.parse_args()
    content = []
    for name in args.networks:
        size = 28 if name == "lenet" else args.image_size
        shape = (args.batch_size, 1, size, size)
        for mode in args.modes:
            speeds = {"ours": Speed(OURS[name](), mode, shape)}
            if name in FIRST:
                speeds["torchvision"] = Speed(torchvisions(name), mode, shape)
            for kind in ("train_step", "infer"):
                for speed in speeds.values():  # warm up, and compile
                    speed.images_per_second(getattr(speed, kind), 3)
                rates: dict[str, list[float]] = {who: [] for who in speeds}
                for round_number in range(args.rounds):
                    for who in sorted(speeds, reverse=bool(round_number % 2)):  # alternating
                        speed = speeds[who]
                        rate = speed.images_per_second(getattr(speed, kind), args.steps)
                        rates[who].append(rate)
                content.append(report(f"{name}, {mode}, {kind}", "images/s", rates))
                if kind == "train_step":
                    limit = matrix_rate(speeds["ours"]) / (6 * count_macs(OURS[name](), 1, size))
                    content[-1]["limit"] = limit
                    reached = statistics.median(rates["ours"]) / limit
                    print(f"  limit {number(limit)} images/s, {reached:.0%} of it reached")
            if speeds["ours"].device.type != "cpu":
                del speeds
                memory = peak_memory(name, mode, shape)
                content[-1]["memory_bytes"] = memory
                print(f"  memory {number(memory / 2**20)} MiB")
    write_json(args.json, content)


def peak_memory(name: str, mode: str, shape: tuple[int, int, int, int]) -> int:
    """Peak GPU memory allocated by training our network alone."""
    module = torch.get_device_module(best_device())
    module.empty_cache()
    if hasattr(module, "reset_peak_memory_stats"):  # MPS counts no peak
        module.reset_peak_memory_stats()
    speed = Speed(OURS[name](), mode, shape)
    speed.images_per_second(speed.train_step, 3)
    return peak_memory_bytes(speed.device)


if __name__ == "__main__":
    main()
