"""Random boxes and detections, and what pycocotools makes of them."""

import contextlib
import io

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from flaxcnn.tasks import Predicted

STATS = (
    *("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"),
    *("ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large"),
)


def predicted_of(true, found, classes=2, scales=None, images=None):
    """Predictions from lists: for each image (class, box) of what is there, (class, score, box) of what is found."""
    count = len(true)
    targets = {
        "boxes": np.full((count, max(1, *map(len, true)), 4), np.nan, np.float32),
        "classes": np.full((count, max(1, *map(len, true))), -1, np.int32),
        "scale": np.ones(count, np.float32) if scales is None else np.float32(scales),
    }
    most = max(1, *map(len, found))
    predictions = {
        "boxes": np.zeros((count, most, 4), np.float32),
        "scores": np.zeros((count, most), np.float32),
        "classes": np.full((count, most), -1, np.int32),
    }
    for image, (there, said) in enumerate(zip(true, found, strict=True)):
        for place, (kind, box) in enumerate(there):
            targets["boxes"][image, place], targets["classes"][image, place] = box, kind
        for place, (kind, score, box) in enumerate(said):
            predictions["boxes"][image, place], predictions["classes"][image, place] = box, kind
            predictions["scores"][image, place] = score
    names = {"boxes": ("y0", "x0", "y1", "x1"), "classes": tuple(f"kind {each}" for each in range(classes))}
    return Predicted(targets, predictions, {"thresholds": np.full(classes, 0.5, np.float32)}, names, images)


def drawn(seed, images=12, classes=4, most=8, detections=20, tied=False, sizes=(10, 150)):
    """Random true boxes, of which class 1 has none and image 0 has none, and detections on and beside them."""
    random = np.random.default_rng(seed)

    def box():
        corner, extent = random.uniform(0, 300, 2), np.exp(random.uniform(*np.log(sizes), 2))
        return np.concatenate([corner, corner + extent])

    true, found = [], []
    for image in range(images):
        there = [
            (int(random.choice([each for each in range(classes) if each != 1])), box())
            for _ in range(random.integers(0, most + 1) if image else 0)
        ]
        said = []
        for _ in range(random.integers(0, detections + 1)):
            if there and random.random() < 0.7:
                kind, near = there[random.integers(len(there))]
                extent = np.tile(near[2:] - near[:2], 2)
                place = near + random.normal(0, 0.08, 4) * extent
                said.append((kind if random.random() < 0.8 else int(random.integers(classes)), place))
            else:
                said.append((int(random.integers(classes)), box()))
        scores = random.uniform(0.01, 1, len(said))
        scores = np.sort(np.round(scores, 1) + 0.05 if tied else scores)[::-1]
        found.append([(kind, score, place) for (kind, place), score in zip(said, scores, strict=True)])
        true.append(there)
    return predicted_of(true, found, classes, scales=random.choice([0.5, 1.0, 2.0], images))


def boxes_of(predicted, image):
    """The true and the found boxes of an image in pixels of the original, as COCO writes them."""
    scale = float(predicted.targets["scale"][image])

    def written(box):
        y0, x0, y1, x1 = (float(side) / scale for side in box)
        return [x0, y0, x1 - x0, y1 - y0]

    true = zip(predicted.targets["classes"][image].tolist(), predicted.targets["boxes"][image], strict=True)
    found = zip(*(predicted.predictions[name][image] for name in ("classes", "scores", "boxes")), strict=True)
    return (
        [(kind, written(box)) for kind, box in true if kind >= 0],
        [(int(kind), float(score), written(box)) for kind, score, box in found if kind >= 0 and score > 0],
    )


def evaluated(predicted, copies=None):
    """pycocotools' evaluation; of images that are repeated as often as `copies` says, each beside its copies."""
    count = len(predicted.targets["scale"])
    classes = len(predicted.names["classes"])
    annotations, results = [], []
    image = 0
    for original in np.repeat(np.arange(count), np.ones(count, int) if copies is None else copies).tolist():
        image += 1
        true, found = boxes_of(predicted, original)
        for kind, box in true:
            area = box[2] * box[3]
            known = {"id": len(annotations) + 1, "image_id": image, "category_id": kind + 1}
            annotations.append({**known, "bbox": box, "area": area, "iscrowd": 0})
        results += [
            {"image_id": image, "category_id": kind + 1, "bbox": box, "score": score} for kind, score, box in found
        ]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "images": [{"id": each + 1} for each in range(image)],
            "categories": [{"id": each + 1} for each in range(classes)],
            "annotations": annotations,
        }
        coco.createIndex()
        if not results:  # loadRes looks at the first
            results = [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 0, 0], "score": -1.0}]
        evaluation = COCOeval(coco, coco.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def coco_numbers(evaluation):
    """COCO's twelve numbers, and the AP and AP50 of each class; NaN for what pycocotools writes as -1."""
    precisions = evaluation.eval["precision"][:, :, :, 0, 2]
    numbers = dict(zip(STATS, evaluation.stats, strict=True))
    of_each = {"ap_of_each": precisions.mean((0, 1)), "ap50_of_each": precisions[0].mean(0)}
    return {name: np.where(value == -1, np.nan, value) for name, value in {**numbers, **of_each}.items()}
