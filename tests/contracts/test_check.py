"""A module or a checkpoint that drifted from its contract is refused by the layer's name, declared and found."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flaxcnn.contracts import Contract, assert_contract, check, check_contract, check_variables
from flaxcnn.contracts.record import record
from flaxcnn.errors import ContractError


class Net(nn.Module):
    classes: int = 10
    filters: int = 4
    padding: str = "SAME"
    use_bias: bool = True
    norm_first: bool = False
    extra: bool = False
    endpoint: str = "mean"

    @nn.compact
    def __call__(self, images, *, train=False):
        def norm(x):
            return nn.BatchNorm(use_running_average=not train, name="norm")(x)

        x = norm(images) if self.norm_first else images
        x = nn.Conv(self.filters, (3, 3), padding=self.padding, use_bias=self.use_bias, name="conv")(x)
        x = x if self.norm_first else norm(x)
        x = nn.Dropout(0.5, deterministic=not train, name="drop")(x) if self.extra else x
        mean = x.mean(axis=(1, 2))
        logits = nn.Dense(self.classes, name="head")(mean)
        return logits, {self.endpoint: mean, "logits": logits}


# By hand: 3·3·1·4 + 4 of conv, 4 + 4 of norm, 4·10 + 10 of head.
TEXT = """\
model   Net  98 parameters with K = 10
input   (B, 8, 8, 1)
conv    (B, 8, 8, 1) -> (B, 8, 8, 4)  kernel (3, 3, 1, 4)  bias (4)
norm    (B, 8, 8, 4) -> (B, 8, 8, 4)  scale (4)  bias (4)  batch_stats:mean (4)  batch_stats:var (4)
mean    -> (B, 4)
head    (B, 4) -> (B, K)  kernel (4, K)  bias (K)
logits  -> (B, K)
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "net.contract"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.mark.parametrize("classes", [1, 10, 1000])
def test_a_module_that_keeps_its_contract_passes_for_any_class_count(classes, file):
    assert_contract(Net(classes), Contract.parse(TEXT))
    assert_contract(Net(classes), file)
    assert_contract(Net(classes), str(file))
    check_contract(Net(classes), Contract.load(file))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"filters": 5}, r"conv: output changed; expected \(B, 8, 8, 4\), found \(B, 8, 8, 5\)"),
        ({"padding": "VALID"}, r"conv: output changed; expected \(B, 8, 8, 4\), found \(B, 6, 6, 4\)"),
        ({"use_bias": False}, r"conv: bias missing; expected \(4\), found nothing"),
        ({"norm_first": True}, r"conv: layers in another order; expected conv here, found norm"),
        ({"extra": True}, r"drop: layer not declared; expected nothing, found \(B, 8, 8, 4\) -> \(B, 8, 8, 4\)"),
        ({"endpoint": "average"}, r"mean: endpoint missing; expected -> \(B, 4\), found nothing"),
    ],
)
def test_a_changed_layer_is_named_with_both_sides(change, message):
    with pytest.raises(ContractError, match=message):
        check_contract(Net(**change), Contract.parse(TEXT))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("(4, K)", "(5, K)", r"head: kernel changed; expected \(5, K\), found \(4, K\)"),
        ("batch_stats:var (4)", "batch_stats:var (9)", r"norm: batch_stats:var changed; expected \(9\), found \(4\)"),
        ("  batch_stats:var (4)", "", r"norm: batch_stats:var not declared; expected nothing, found \(4\)"),
        ("logits  ->", "sum -> (B)\nlogits  ->", r"sum: endpoint missing; expected -> \(B\)"),
        (
            "logits  ->",
            "last (B, K) -> (B, K)\nlogits ->",
            r"last: layer missing; expected \(B, K\) -> \(B, K\), found nothing",
        ),
        ("logits  -> (B, K)\n", "", r"logits: endpoint not declared; expected nothing, found -> \(B, K\)"),
        (
            "head    (B, 4)",
            "head    (B, 4), (B, 4)",
            r"head: input changed; expected \(B, 4\), \(B, 4\), found \(B, 4\)",
        ),
        ("logits  -> (B, K)", "logits  -> (B, 10)", r"logits: output changed; expected \(B, 10\), found \(B, K\)"),
        ("mean    -> (B, 4)", "mean    -> (8, 4)", r"mean: output changed; expected \(8, 4\), found \(B, 4\)"),
        ("mean    -> (B, 4)", "mean    -> (B, 4, 1)", r"mean: output changed; expected \(B, 4, 1\), found \(B, 4\)"),
    ],
)
def test_a_contract_that_says_something_else_is_refused(old, new, message):
    text = TEXT.replace(old, new).replace("98 parameters", "108 parameters" if "(5, K)" in new else "98 parameters")
    with pytest.raises(ContractError, match=message):
        check_contract(Net(), Contract.parse(text))


def test_a_module_that_keeps_its_contract_is_traced_twice(monkeypatch):
    """Every training begins with this check; to derive the contract takes five traces."""
    traced = []

    def counted(module, shape):
        traced.append(shape[0])
        return record(module, shape)

    monkeypatch.setattr(check, "record", counted)
    check_contract(Net(), Contract.parse(TEXT))
    assert tuple(traced) == tuple(batch for batch, _ in check.CHECKED)


def test_lengths_that_agree_at_both_checked_pairs_differ_by_17_or_more():
    """All differences of two lengths whose factors of B, K and B*K differ by less; a constant follows from them."""
    (b0, k0), (b1, k1) = check.CHECKED
    few = np.arange(-16, 17)
    batch, classes, both = np.meshgrid(few, few, few)
    apart = batch * (b1 - b0) + classes * (k1 - k0) + both * (b1 * k1 - b0 * k0)
    assert np.argwhere(apart == 0).tolist() == [[16, 16, 16]]  # all three are 0


def test_the_error_is_one_line_with_the_file_and_the_command_that_accepts_the_change(file):
    with pytest.raises(AssertionError) as error:
        assert_contract(Net(filters=5), file)
    assert error.value.where == f"{file}: conv"
    assert "5 lines" in error.value.fix  # of model, conv, norm, mean and head
    assert f"`flaxcnn contract {__name__}:Net --update {file}`" in error.value.fix
    assert "\n" not in str(error.value)
    assert "shape compatibility" in str(error.value.__cause__)  # chex made the comparison


def test_a_missing_contract_says_the_command_that_writes_it(tmp_path):
    path = tmp_path / "none.contract"
    with pytest.raises(ContractError) as error:
        assert_contract(Net(), path)
    assert error.value.where == path
    assert f"`flaxcnn contract {__name__}:Net --input HEIGHT,WIDTH,CHANNELS --write {path}`" in error.value.fix


@pytest.fixture
def variables():
    return jax.tree.map(np.asarray, Net(classes=3).init(jax.random.key(0), jnp.zeros((1, 8, 8, 1))))


def test_a_layer_that_takes_nothing_is_not_one_that_takes_a_number():
    class Constant(nn.Module):
        @nn.compact
        def __call__(self, value=None):
            return self.param("constant", nn.initializers.zeros, (4,))

    class Shifted(nn.Module):
        @nn.compact
        def __call__(self, x):
            return x + Constant(name="constant")()

    text = "model Shifted 4 parameters\ninput (B, 4)\nconstant () -> (4)  constant (4)\noutput -> (B, 4)\n"
    with pytest.raises(ContractError, match=r"constant: input changed; expected \(\), found none"):
        check_contract(Shifted(), Contract.parse(text))
    check_contract(Shifted(), Contract.parse(text.replace("()", "none")))


def test_variables_of_any_class_count_are_accepted_as_arrays_or_shapes(variables):
    check_variables(variables, Contract.parse(TEXT), classes=3)
    check_variables(jax.eval_shape(lambda: variables), Contract.parse(TEXT), classes=3)


def test_variables_of_another_class_count_are_refused(variables):
    with pytest.raises(ContractError, match=r"c: head: kernel has another shape; expected \(4, 10\), found \(4, 3\)"):
        check_variables(variables, Contract.parse(TEXT, "c"), classes=10)


def test_a_missing_variable_is_refused(variables):
    del variables["params"]["conv"]["bias"]
    with pytest.raises(ContractError, match=r"c: conv: bias missing; expected \(4,\), found nothing"):
        check_variables(variables, Contract.parse(TEXT, "c"), classes=3)


def test_a_missing_collection_is_refused(variables):
    with pytest.raises(ContractError, match=r"c: norm: batch_stats:mean missing; expected \(4,\)"):
        check_variables({"params": variables["params"]}, Contract.parse(TEXT, "c"), classes=3)


def test_an_array_of_another_shape_is_refused(variables):
    variables["params"]["conv"]["kernel"] = np.zeros((5, 5, 1, 4))
    with pytest.raises(
        ContractError, match=r"conv: kernel has another shape; expected \(3, 3, 1, 4\), found \(5, 5, 1"
    ):
        check_variables(variables, Contract.parse(TEXT), classes=3)


@pytest.mark.parametrize(
    ("layer", "message"),
    [("conv", r"^conv: more not declared; .* found \(2,\)"), ("new", r"^\.: new/more not declared")],
)
def test_an_array_that_no_line_declares_is_refused(variables, layer, message):
    variables["params"].setdefault(layer, {})["more"] = np.zeros(2)
    with pytest.raises(ContractError, match=message):
        check_variables(variables, Contract.parse(TEXT), classes=3)


def test_variables_of_nested_layers_repeated_calls_and_the_module_itself_are_found():
    class Inner(nn.Module):
        @nn.compact
        def __call__(self, x):
            dense = nn.Dense(5, name="dense")
            return dense(dense(x))

    class Outer(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = Inner(name="inner")(x) + self.param("shift", nn.initializers.zeros, (5,))
            return nn.Embed(3, 5, name="embed").attend(x)

    text = """\
model  Outer  50 parameters
input  (B, 5)
.      (B, 5) -> (B, 3)  shift (5)
inner  (B, 5) -> (B, 5)
inner/dense    (B, 5) -> (B, 5)  kernel (5, 5)  bias (5)
inner/dense#2  (B, 5) -> (B, 5)
embed:attend   (B, 5) -> (B, 3)  embedding (3, 5)
output -> (B, 3)
"""
    contract = Contract.parse(text)
    check_contract(Outer(), contract)
    check_variables(Outer().init(jax.random.key(0), jnp.zeros((1, 5))), contract, classes=0)
