"""Every format of every task: the run's outputs in another process, without this library, for every batch size."""

import subprocess
import sys
from dataclasses import replace

import flax.linen as nn
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from flaxcnn.errors import ConfigError, RunFolderError
from flaxcnn.export import stablehlo
from flaxcnn.export.onnx import document
from flaxcnn.export.verify import verify
from flaxcnn.prediction.loading import load

FORMATS = {
    ".onnx": (document.write_onnx, document.READ, {"flaxcnn", "jax"}),
    ".stablehlo": (stablehlo.write_stablehlo, stablehlo.READ, {"flaxcnn"}),
}
"""Of each format, what writes it, the Python that reads it, and the packages that this does without."""


@pytest.mark.parametrize("suffix", FORMATS)
def test_the_file_has_the_models_outputs(trained, suffix, tmp_path):
    write, read, _ = FORMATS[suffix]
    path = tmp_path / f"model{suffix}"
    write(path, trained)
    assert verify(path, read, trained) <= 1e-5
    images = np.random.default_rng(1).integers(0, 256, (7, 12, 12, 3), np.uint8)
    reader = {"path": str(path)}
    exec(read, reader)
    found, wanted = reader["call"](images), trained.predictions(images)
    assert set(found) == set(wanted)
    for name in wanted:
        assert found[name].dtype == wanted[name].dtype
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_file_of_another_model_is_told(trained, suffix, tmp_path):
    write, read, _ = FORMATS[suffix]
    other = trained._replace(variables=jax.tree.map(lambda array: array * np.float32(1.1), trained.variables))
    path = tmp_path / f"model{suffix}"
    write(path, other)
    with pytest.raises(RunFolderError, match="other outputs"):
        verify(path, read, trained)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(RunFolderError, match="does not run"):
        verify(path, read, trained)


class Counting(nn.Module):
    """A model of one's own that asks how many images there are."""

    @nn.compact
    def __call__(self, x, *, train=False):
        return jnp.zeros((int(x.shape[0]), 3)), {}


@pytest.mark.parametrize("suffix", FORMATS)
def test_an_own_model_that_asks_for_the_number_of_images_is_told(trained, suffix, tmp_path):
    experiment = replace(trained.experiment, model=replace(trained.experiment.model, name="mine.py:Counting"))
    own = trained._replace(experiment=experiment, model=Counting())
    with pytest.raises(ConfigError, match=r"cannot be traced for any number of images, mine\.py:Counting; found \w+"):
        FORMATS[suffix][0](tmp_path / f"model{suffix}", own)


def test_a_program_of_stablehlo_is_for_three_platforms(trained, tmp_path):
    path = tmp_path / "model.stablehlo"
    stablehlo.write_stablehlo(path, trained)
    assert jax.export.deserialize(bytearray(path.read_bytes())).platforms == ("cpu", "cuda", "tpu")


@pytest.mark.parametrize("suffix", FORMATS)
def test_the_command_writes_a_file_that_others_read(shapes_run, flaxcnn, suffix, tmp_path):
    _, read, without = FORMATS[suffix]
    folder, paths = shapes_run
    done = flaxcnn("export", folder, "--to", f"shapes{suffix}")
    assert done.returncode == 0, done.stderr
    assert "outputs in another process the same to" in done.stdout
    model = load(folder)
    images = np.stack([model.decode(path.read_bytes(), "x") for path in paths[:3]])
    np.save(tmp_path / "images.npy", images)
    script = (
        f"import sys, numpy as np; path = 'shapes{suffix}'; {read}; said = call(np.load('images.npy'));"
        f"np.savez('out.npz', **said); assert not {without} & set(sys.modules)"
    )
    alone = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert alone.returncode == 0, alone.stderr
    np.testing.assert_allclose(np.load(tmp_path / "out.npz")["logits"], model.predictions(images)["logits"], atol=1e-4)
