"""One probe of a study: a head learns of the training images' features, and predicts for the fold's test images."""

import dataclasses
import time
from pathlib import Path
from typing import TypedDict

import jax
import numpy as np

from flaxcnn.config import Experiment
from flaxcnn.data import Split
from flaxcnn.data.photographs.cache import Cache
from flaxcnn.data.sources.by_name import uses
from flaxcnn.errors import ConfigError, RunFolderError
from flaxcnn.evaluation.predictions import Predictions, load_predictions, save_predictions
from flaxcnn.files import cannot_write, refuse_links
from flaxcnn.models.cost import multiply_adds
from flaxcnn.probing.examples import Examples
from flaxcnn.probing.extra import require_sklearn
from flaxcnn.probing.features import digests_of, features_of
from flaxcnn.probing.heads import neighbours, tree
from flaxcnn.probing.linear import linear
from flaxcnn.probing.measure import predict
from flaxcnn.probing.network import Network, find_network
from flaxcnn.probing.shortcuts import facts_of
from flaxcnn.runs.folder.record import require_same_digests
from flaxcnn.runs.folder.run_folder import RunFolder
from flaxcnn.runs.setup import set_up
from flaxcnn.studies.examples import FoldData
from flaxcnn.studies.jobs import Done
from flaxcnn.studies.speed import BATCH, Speed, timed
from flaxcnn.studies.study import Probe

_FILE = "probe.json"


class _Record(TypedDict):  # probe.json
    network_sha256: str
    data_sha256: dict[str, str]
    chosen: dict[str, float]
    seconds: float


class ProbedNetwork:
    """The network of a probe, whose weights are read once.

    Args:
        probe: of the entry.
        experiment: of the entry, which names the model and its weights.

    Raises:
        ConfigError: scikit-learn is not installed, or there are no such weights.
        DataError, ContractError: they cannot be read, or are another model's.
    """

    def __init__(self, probe: Probe, experiment: Experiment):
        require_sklearn()
        self.probe = probe
        self.network: Network = find_network(experiment.model.name, experiment.model.init)

    def prepared(self, experiment: Experiment) -> Experiment:
        """Return an experiment with images as the network was given them, where the source decodes files."""
        known = uses(experiment.data.source)
        given = {name: value for name, value in self.network.preparation.items() if name in known and value is not None}
        return dataclasses.replace(experiment, data=dataclasses.replace(experiment.data, **given))

    def job(self, experiment: Experiment, folder: Path, root: Path, data: FoldData) -> Done:
        """Probe on a fold, or read what a probe in a folder has to say.

        Args:
            experiment: the entry's, on the fold, prepared.
            folder: of the probe.
            root: the study's folder, in which all links are refused.
            data: of the fold.

        Raises:
            ConfigError, DataError: it cannot be probed, or the data changed.
            RunFolderError: the folder's files are damaged or cannot be written, or are another network's.
        """
        refuse_links(folder, root)
        files, dataset = RunFolder(folder), data.dataset(experiment.data)
        if (folder / _FILE).exists():
            record: _Record = files.read_json(_FILE, _Record)
            require_same_digests(record["data_sha256"], dataset)
            if record["network_sha256"] != self.network.digest:
                raise RunFolderError("a probe of another network", where=folder, fix="delete it to probe again")
        else:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise cannot_write(folder, error) from error
            record = self._probe(experiment, files, data)
        predictions = load_predictions(folder / "predictions.npz")
        parameters = sum(leaf.size for leaf in jax.tree.leaves(self.network.variables.get("params", {})))
        return Done(predictions, parameters, 0, 0, record["seconds"])

    def speed(self, experiment: Experiment, data: FoldData) -> Speed:
        """Return how fast the network's features are, on test images, and what they cost."""
        test = data.dataset(experiment.data).test
        images = np.asarray(test.images[: min(BATCH, len(test))])
        shape = data.dataset(experiment.data).image_shape
        return Speed(
            timed(len(images), lambda: features_of(self.network, images)),
            multiply_adds(self.network.model, shape),
            shape,
        )

    def _probe(self, experiment: Experiment, files: RunFolder, data: FoldData) -> _Record:
        started, probe = time.perf_counter(), self.probe
        loaded = data.loaded(experiment)
        setup, dataset = set_up(experiment, loaded), loaded.dataset
        cache = Cache.of_user() if experiment.data.cache else None

        def examples(split: Split) -> Examples:
            if probe.sees == "facts":
                facts = facts_of(dataset.files, split.names)
                if facts is None:
                    raise ConfigError("no image files, and so no facts of them", where=dataset.source)
                return Examples(facts, split.targets, digests_of(split.images), split.groups)
            found = features_of(self.network, split.images, probe.sees, cache, dataset.source)
            return Examples(found.rows_NxF, split.targets, found.digests, split.groups)

        train, test = examples(loaded.train), examples(dataset.test)
        validation = None if loaded.validation is None else examples(loaded.validation)
        head = linear(probe.c) if probe.head == "linear" else neighbours(probe.neighbours)
        head = tree if probe.sees == "facts" else head
        said = predict(head, setup.task, train, test.features, dataset.target_names, validation)
        constants = {name: np.asarray(value) for name, value in said.constants.items()}
        index = np.arange(len(dataset.test), dtype=np.int64)
        predictions = Predictions(index, dataset.test.targets, said.predictions, constants, dataset.test.groups)
        files.write("predictions.npz", lambda path: save_predictions(path, predictions))
        record = _Record(
            network_sha256=self.network.digest,
            data_sha256=dict(dataset.digests),
            chosen=said.chosen,
            seconds=time.perf_counter() - started,
        )
        files.write_json(_FILE, record)
        return record
