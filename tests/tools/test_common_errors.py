"""The table of errors, compared with scikit-learn and a plain loop."""

import torch
from PIL import Image
from sklearn.metrics import confusion_matrix

from inference.loading import load
from tests.conftest import QUICKLY
from tools.common_errors import main, wrong_by_all


def test_errors_are_counted_and_drawn(trained, run_script, tmp_path):
    paths = [
        trained(*QUICKLY, *options) / "checkpoints" / "best.ckpt"
        for options in ((), ("--model.net.activation", "sigmoid"))
    ]
    ended = run_script(main, *paths, "--out", "wrong.png")
    assert (ended.status, ended.err) == (0, "")
    answers = []
    for path in paths:
        classifier, data = load(path)
        data.setup("test")
        images, labels = data.splits["test"]
        with torch.no_grad():
            answers.append(classifier(data.preprocessing(images.float() / 255)))
    predicted = [logits.argmax(1) for logits in answers]
    expected = [confusion_matrix(labels, of) for of in predicted]
    rows = [line.strip("| ").split(" | ") for line in ended.out.splitlines() if "|" in line]
    assert rows[0] == ["confused", "LeNet5", "LeNet5"]
    counts = []
    for pair, *told in rows[2:-1]:
        a, b = (data.classes.index(name) for name in pair.split(", "))
        assert told == [str(of[a, b] + of[b, a]) for of in expected]
        counts.append(sum(map(int, told)))
    both = sum(expected) + sum(expected).T
    pairs = sorted((both[a, b] for a in range(10) for b in range(a)), reverse=True)
    assert counts == pairs[: len(counts)]
    assert rows[-1][1:] == [str(int((of != labels).sum())) for of in predicted]
    wrong = [i for i, label in enumerate(labels) if all(of[i] != label for of in predicted)]
    assert f"Wrong by all: {len(wrong)} of {len(labels)} images" in ended.out
    with Image.open(tmp_path / "wrong.png") as picture:
        assert picture.width > 100
    shown = wrong_by_all(torch.stack(answers).softmax(2), data)
    assert len(shown.images) == min(len(wrong), 16)
    assert (shown.predicted != shown.actual).sum() >= len(shown.images) / 2
