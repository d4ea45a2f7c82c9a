"""What an experiment needs is known before anything of a run is written."""

import flax.linen as nn
import pytest

from flaxcnn.config import Data, Experiment, Model
from flaxcnn.contracts.commands import write
from flaxcnn.errors import ConfigError
from flaxcnn.models import MODELS
from flaxcnn.runs.setup import set_up


class Plain(nn.Module):
    """A user's model, which takes no dropout."""

    classes: int = 10
    dtype: type = float

    @nn.compact
    def __call__(self, images, *, train=False):
        logits = nn.Dense(self.classes, name="dense")(images.reshape(len(images), -1))
        return logits, {"logits": logits}


def test_dropout_of_a_model_that_takes_none_is_refused(small_mnist, tmp_path, monkeypatch):
    name = str(tmp_path / "plain")  # its contract stands at this path
    monkeypatch.setitem(MODELS, name, Plain)
    write(Plain(), (28, 28, 1), f"{name}.contract")
    data = Data(f"idx:{small_mnist}")
    assert isinstance(set_up(Experiment(data=data, model=Model(name))).model, Plain)
    with pytest.raises(ConfigError) as caught:
        set_up(Experiment(data=data, model=Model(name, dropout=0.2)))
    assert str(caught.value) == (
        "model.dropout: this model takes none; found 0.2. Add `dropout=None` to the arguments of Plain.__call__"
    )
