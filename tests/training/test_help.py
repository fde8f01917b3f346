"""The help of train.py: one screen of keys that exist, and every config with what it is."""

import re
import shlex
import subprocess
import sys

import pytest
import yaml

from tests.conftest import CONFIGS, QUICKSTART, ROOT, assert_one_line
from training.help import SCREEN, list_configs

EXAMPLES = [
    shlex.split(words) for words in re.findall(r"^  (--[\w.+]+[ =]\S+)", SCREEN, re.MULTILINE)
]
KEYS, HELP = (
    [words for words in EXAMPLES if any(at in words[0] for at in ("help", "--config")) is is_help]
    for is_help in (False, True)
)


@pytest.mark.parametrize("asked", ["--help", "-h"])
def test_the_help_is_one_screen(train, asked):
    ended = train("--config", QUICKSTART, asked)
    assert (ended.status, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert len(lines) <= 22  # of 24, with the command and the next prompt
    where = str(ROOT / "configs")
    assert where in ended.out
    assert all(len(line) <= 80 for line in lines if where not in line)
    assert "python train.py --config configs/lenet.yaml" in ended.out


def test_the_help_imports_no_torch():
    code = (
        "import sys, train; sys.argv[1:] = ['--help']; train.main(); "
        "assert not {'torch', 'lightning', 'numpy', 'rich'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def value_of(config, key):
    """The value of a key as it is given on the command line, without `init_args`."""
    for part in key.split("."):
        config = config.get("init_args", config)[part]
    return config


def test_the_help_shows_ten_keys():
    assert len(KEYS) == 10


@pytest.mark.parametrize("words", KEYS, ids=" ".join)
def test_a_key_of_the_help_is_one_of_the_parser(train, words):
    ended = train("--config", QUICKSTART, *words, "--print_config")
    assert (ended.status, ended.err) == (0, "")
    key, value = words if len(words) == 2 else words[0].split("+=")
    found = value_of(yaml.safe_load(ended.out), key.removeprefix("--"))
    if key == "--trainer.callbacks":
        (found,) = (of["class_path"] for of in found)
        assert found.endswith(value.rpartition(".")[2])
    else:
        assert str(found) in (value, str(yaml.safe_load(value)))


SHOWN = {
    "--help configs": "configs/quickstart.yaml",
    "--help all": "--trainer.accumulate_grad_batches",
    "--config FILE": "growth_rate: 32",
    "--model.net.help models.densenet.DenseNet": "--model.net.growth_rate",
}


def test_each_way_to_more_help_is_tested():
    assert {" ".join(words) for words in HELP} == SHOWN.keys()


@pytest.mark.parametrize("words", HELP, ids=" ".join)
def test_a_way_to_more_help_works(train, words):
    shown = SHOWN[" ".join(words)]
    if "--config" in words:
        words = ("--config", ROOT / "configs" / "densenet.yaml", "--print_config")
    ended = train(*words)
    assert (ended.status, ended.err) == (0, "")
    assert shown in ended.out


@pytest.mark.parametrize(
    "words",
    [("--model.optimizer.help", "torch.optim.SGD"), ("--data.help", "datamodules.Digits")],
    ids=" ".join,
)
def test_the_keys_of_optimizers_and_data_have_their_prefix(train, words):
    ended = train(*words)
    assert (ended.status, ended.err) == (0, "")
    option, _ = words
    key = {"--model.optimizer.help": "momentum", "--data.help": "image_size"}[option]
    assert f"\n  {option.removesuffix('help')}{key} " in ended.out


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("models.vgg.vgg13", ["batch_norm", "dropout", "in_channels", "num_classes"]),
        ("torchvision.models.squeezenet1_1", ["weights", "progress", "num_classes", "dropout"]),
    ],
)
@pytest.mark.parametrize("joint", [" ", "="])
def test_a_function_that_makes_a_network_has_help(train, name, keys, joint):
    ended = train("--config", QUICKSTART, *f"--model.net.help{joint}{name}".split())
    assert (ended.status, ended.err) == (0, "")
    shown = re.findall(r"^ *--(\S+)", ended.out, re.MULTILINE)
    assert shown == [f"model.net.{key}" for key in keys]


NETWORK = """\
from torch import nn
def made(width, num_classes: int = 10) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(width), nn.Linear(width, num_classes))
"""


def test_a_function_without_types_has_help(train, tmp_path, monkeypatch):
    (tmp_path / "untyped.py").write_text(NETWORK)
    monkeypatch.syspath_prepend(tmp_path)
    ended = train("--config", QUICKSTART, "--model.net.help", "untyped.made")
    assert (ended.status, ended.err) == (0, "")
    shown = re.findall(r"^ *--(\S+)", ended.out, re.MULTILINE)
    assert shown == ["model.net.width", "model.net.num_classes"]


@pytest.mark.parametrize("key", ["--model.net.help", "--model.optimizer.help", "--data.help"])
@pytest.mark.parametrize(
    "name", ["models.vgg.vgg12", "nowhere.vgg13", "math.pi", "torch.nn.functional.relu"]
)
def test_the_help_of_what_makes_no_network_is_one_line(train, key, name):
    assert_one_line(train("--config", QUICKSTART, key, name), [name.split(".")[0]])


@pytest.mark.parametrize("key", ["--nonsense.help", "--model.optimizer.help", "--data.help"])
def test_a_network_is_no_value_of_other_keys(train, key):
    assert_one_line(train("--config", QUICKSTART, key, "models.vgg.vgg11"), ["help"])


def test_the_help_says_which_options_of_the_trainer_are_refused(train):
    out = " ".join(train("--help", "all").out.split())
    for option in ("max_steps MAX_STEPS", "max_time MAX_TIME", "barebones {true,false}"):
        assert f"--trainer.{option} Refused, as it would" in out


def test_the_help_of_the_lightning_module_lists_no_hundreds_of_classes(train):
    ended = train("--model.help", "lit_modules.LitClassifier")
    assert (ended.status, ended.err) == (0, "")
    assert "--model.label_smoothing" in ended.out
    assert len(ended.out.splitlines()) < 150
    assert "torch.optim.AdamW" in ended.out  # of a dozen classes, all are listed


def test_every_config_is_listed_with_what_it_is(train, tmp_path):
    """From another folder, by paths that work there."""
    ended = train("--help", "configs")
    assert (ended.status, ended.err) == (0, "")
    lines = dict(line.split(maxsplit=1) for line in ended.out.splitlines())
    expected = {
        str(path): path.read_text().splitlines()[0].removeprefix("# ").removesuffix(".")
        for path in CONFIGS
    }
    assert lines == expected


def test_from_their_folder_configs_have_short_names(train, monkeypatch):
    train()  # which changes the folder
    monkeypatch.chdir(ROOT)
    names = [line.split()[0] for line in list_configs()]
    assert {ROOT / name for name in names} == set(CONFIGS)
    assert "configs/laptop/nin.yaml" in names


def test_a_config_without_a_comment_and_spaces_of_sweeps(tmp_path):
    folder = tmp_path / "spaces" / "configs"  # the folder above is not ours to judge
    (folder / "spaces").mkdir(parents=True)
    (folder / "spaces" / "lenet.yaml").write_text("# A space.\n")
    (folder / "mine.yaml").write_text("model: null\n")
    assert list(list_configs(folder)) == [str(folder / "mine.yaml")]
