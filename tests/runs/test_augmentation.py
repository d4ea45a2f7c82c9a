"""The options of an experiment become augmentations in the order of the section's fields, and show in a picture."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from flaxcnn.config import Augmentation, Experiment, Training, from_json, to_json
from flaxcnn.data import Dataset, Split
from flaxcnn.errors import ConfigError
from flaxcnn.layers import augmentation as layers
from flaxcnn.runs import recipe
from flaxcnn.runs.folder.run_folder import RunFolder
from flaxcnn.runs.given import Given, Loaded
from flaxcnn.runs.output.report import draw_first_batch
from flaxcnn.runs.setup import set_up
from flaxcnn.tasks import Classification
from flaxcnn.training import train_step
from tests.every_augmentation import EVERYTHING
from tests.layers.photographs import photograph

pytestmark = pytest.mark.slow


def test_augmentations_are_made_in_the_order_of_the_fields_with_their_values():
    assert recipe.augmentations_of(EVERYTHING) == (
        layers.RandomResizedCrop(0.3, 4 / 3),
        layers.RandomCrop(2),
        layers.RandomFlip(0.5),
        layers.RandomShift(2.0),
        layers.RandomRotation(5.0),
        layers.RandomScale(0.1),
        layers.RandomShear(4.0),
        layers.Elastic(1.0, 3.0),
        layers.RandAugment(2, 12.0),
        layers.TrivialAugment(),
        layers.AugMix(3.0),
        layers.ColorJitter(0.4, 0.4, 0.4, 0.1),
        layers.RandomGray(0.2),
        layers.GaussianBlur(0.5, 1.0),
        layers.Cutout(4),
        layers.RandomErasing(0.25, "zeros"),
    )
    assert recipe.augmentations_of(Augmentation()) == ()
    assert recipe.augmentations_of(Augmentation(hue=0.1)) == (layers.ColorJitter(hue=0.1),)


def test_either_mixture_or_both_are_made():
    mixup, cutmix = layers.MixUp(0.2), layers.CutMix(1.0)
    assert recipe.mixing_of(EVERYTHING) == layers.MixUpOrCutMix(mixup, cutmix)
    assert recipe.mixing_of(Augmentation(mixup=0.2)) == mixup
    assert recipe.mixing_of(Augmentation(cutmix=1.0)) == cutmix
    assert recipe.mixing_of(Augmentation()) is None


def test_json_keeps_every_augmentation():
    experiment = Experiment(augmentation=EVERYTHING)
    assert from_json(to_json(experiment), "config.json") == experiment


def loaded():
    image = photograph("flower")[:40, :40]
    images = np.stack([np.roll(image, (place, 3 * place), (0, 1)) for place in range(8)])
    split = Split(images, np.arange(8, dtype=np.int32) % 2)
    return Loaded(Dataset("drawn", split, split, ("a", "b"), {}), split, None)


def of(augmentation):
    return Experiment(augmentation=augmentation, training=Training(batch_size=8))


def picture_of(augmentation, folder):
    """Return what the picture shows of the first batch, and the state."""
    setup = set_up(of(augmentation), loaded())
    state = setup.first_state()
    draw_first_batch(RunFolder(folder), state, setup.train, np.arange(8), pytest.fail)
    return np.asarray(Image.open(folder / "augmented.png").convert("RGB")), state


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory):
    """The picture of a batch that no augmentation changes."""
    return picture_of(Augmentation(gray=1e-9), tmp_path_factory.mktemp("plain"))[0]


@pytest.mark.parametrize(
    "augmentation", [Augmentation(saturation=0.9), Augmentation(cutmix=1.0)], ids=["one", "cutmix"]
)
def test_the_picture_of_the_first_batch_shows_an_augmentation(augmentation, unchanged, tmp_path):
    assert (picture_of(augmentation, tmp_path)[0] != unchanged).mean() > 0.01


def test_most_of_it_at_once_is_shown_and_trained_on(unchanged, tmp_path):
    slow_to_compile = {
        "elastic": 0.0,
        "elastic_smoothness": Augmentation.elastic_smoothness,
        "trivialaugment": False,
        "augmix": 0.0,
    }
    most = dataclasses.replace(EVERYTHING, **slow_to_compile)
    shown, state = picture_of(most, tmp_path)
    assert (shown != unchanged).mean() > 0.05
    train = loaded().train
    _, metrics = train_step(state, jnp.asarray(train.images), jnp.asarray(train.targets))
    assert bool(metrics["finite"])


def test_mixtures_are_refused_by_a_task_that_cannot_mix_and_augmix_by_one_whose_targets_move():
    @dataclasses.dataclass(frozen=True)
    class Still(Classification):
        uses = frozenset()

    @dataclasses.dataclass(frozen=True)
    class Boxes(Classification):
        moves = True

    for task, augmentation, field in (
        (Still(), Augmentation(cutmix=0.5), "cutmix"),
        (Still(), Augmentation(mixup=0.5), "mixup"),
        (Boxes(), Augmentation(augmix=3.0), "augmix"),
    ):
        with pytest.raises(ConfigError, match=rf"augmentation\.{field}: "):
            set_up(of(augmentation), loaded(), Given(task=task))


def test_a_strength_is_a_leaf_of_the_state_and_its_absence_another_structure():
    def structure(**changes):
        augmentation = dataclasses.replace(EVERYTHING, blur_sigma=2.0, erase_fill="noise", **changes)
        state = set_up(of(augmentation), loaded()).state_target()
        return jax.tree.structure((state.augmentations, state.mixup))

    same = structure()
    for name in ("brightness", "contrast", "saturation", "hue", "gray", "blur", "erase", "cutmix", "augmix"):
        assert structure(**{name: 0.3}) == same, name
        assert structure(**{name: 0.0}) != same, name
    assert structure(randaugment_magnitude=3.0, resized_crop=0.5, resized_crop_aspect=2.0) == same
    assert structure(randaugment=1) != same
    assert structure(trivialaugment=False) != same
