"""Contract files, as `flaxcnn contract --check` and `--update` and a run that loads weights read them."""

import jax
import jax.numpy as jnp

from flaxcnn.contracts import Contract, check_contract, check_variables, diff
from flaxcnn.models import contract_path
from flaxcnn.models.paper_cnn import PaperCNN
from tests.fuzz.mutations import count, hold, mutated_bytes

SMALL = b"""\
# By hand: 3*3*1*4 + 4 = 40 and 4*K + K.
model   Small  90 parameters with K = 10
input   (B, 8, 8, 1)
conv    (B, 8, 8, 1) -> (B, 8, 8, 4)  kernel (3, 3, 1, 4)  bias (4,)
norm    (B, 8, 8, 4), (B) -> (B, 8, 8, 4), (49*B, 3*K+15)  batch_stats:mean (4)
mean    -> (B, 4)
head    none -> (B, K)  kernel (4, K)  bias (K)
"""
SEEDS = [contract_path("paper_cnn").read_bytes(), contract_path("wide_resnet10_1").read_bytes(), SMALL]


def test_no_contract_file_is_answered_with_anything_but_a_line(tmp_path):
    path = tmp_path / "net.contract"
    declared = Contract.load(contract_path("paper_cnn"))
    variables = jax.eval_shape(PaperCNN().init, jax.random.key(0), jnp.zeros((1, 28, 28, 1)))

    def run(data):
        path.write_bytes(data)
        contract = Contract.load(path)
        assert Contract.parse(str(contract)) == contract
        diff(contract, declared)
        check_variables(variables, contract, 10)

    hold(run, mutated_bytes(SEEDS, count()))


def test_no_contract_file_is_held_against_a_model_with_anything_but_a_line(tmp_path):
    path = tmp_path / "net.contract"

    def run(data):
        path.write_bytes(data)
        check_contract(PaperCNN(), Contract.load(path))

    hold(run, mutated_bytes(SEEDS[:1], count(cost=20)))
