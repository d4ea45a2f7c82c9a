"""A contract's text is read by people, parses back to the same contract, and says what is wrong in it."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flaxcnn.contracts import Contract, Dimension, LayerContract, VariableContract, diff
from flaxcnn.errors import ContractError
from tests.answered import answered

B, K = Dimension(batch=1), Dimension(classes=1)
SMALL = """\
# By hand: 3·3·1·4 + 4 = 40 and 4·K + K.
model   Small  90 parameters with K = 10
input   (B, 8, 8, 1)

conv    (B, 8, 8, 1) -> (B, 8, 8, 4)  kernel (3, 3, 1, 4)  bias (4,)
norm    (B, 8, 8, 4) -> (B, 8, 8, 4)  batch_stats:mean (4)
mean    -> (B, 4)
head    (B, 4) -> (B, K)  kernel (4, K)  bias (K)
"""


def parts(*lengths):
    return tuple(length if isinstance(length, Dimension) else Dimension(length) for length in lengths)


def test_a_text_says_layers_endpoints_variables_and_collections():
    contract = Contract.parse(SMALL, "small.contract")
    maps = parts(B, 8, 8, 4)
    assert (contract.name, contract.input_shape, contract.classes) == ("Small", (8, 8, 1), 10)
    assert contract.layers == (
        LayerContract(
            "conv",
            (parts(B, 8, 8, 1),),
            (maps,),
            (VariableContract("kernel", parts(3, 3, 1, 4)), VariableContract("bias", parts(4))),
        ),
        LayerContract("norm", (maps,), (maps,), (VariableContract("mean", parts(4), "batch_stats"),)),
        LayerContract("mean", None, (parts(B, 4),)),
        LayerContract(
            "head",
            (parts(B, 4),),
            (parts(B, K),),
            (VariableContract("kernel", parts(4, K)), VariableContract("bias", parts(K))),
        ),
    )


def test_parameters_are_counted_for_any_number_of_classes_without_other_collections():
    contract = Contract.parse(SMALL)
    assert contract.parameters() == contract.parameters(10) == 40 + 5 * 10
    assert contract.parameters(1000) == 40 + 5 * 1000


def test_the_printed_text_is_aligned_in_columns_of_multiples_of_four():
    assert str(Contract.parse(SMALL)) == (
        "model     Small  90 parameters with K = 10\n"
        "input     (B, 8, 8, 1)\n"
        "conv      (B, 8, 8, 1)  -> (B, 8, 8, 4)   kernel (3, 3, 1, 4)  bias (4)\n"
        "norm      (B, 8, 8, 4)  -> (B, 8, 8, 4)   batch_stats:mean (4)\n"
        "mean                    -> (B, 4)\n"
        "head      (B, 4)        -> (B, K)         kernel (4, K)  bias (K)"
    )


names = st.from_regex(r"[A-Za-z_][A-Za-z_0-9/.]{0,8}(#[2-9])?", fullmatch=True)
lengths = st.builds(Dimension, st.integers(0, 99), st.integers(0, 3), st.integers(0, 3))
shapes = st.lists(lengths, max_size=4).map(tuple)
free = st.lists(st.builds(Dimension, st.integers(0, 99), st.just(0), st.integers(0, 3)), max_size=4).map(tuple)
variables = st.lists(
    st.builds(VariableContract, names, free, st.sampled_from(["params", "batch_stats"])),
    max_size=3,
    unique_by=lambda variable: variable.label,
).map(tuple)
layers = st.builds(
    LayerContract,
    names,
    st.none() | st.lists(shapes, max_size=2).map(tuple),
    st.lists(shapes, max_size=3).map(tuple),
    variables,
)


@given(
    st.builds(
        Contract,
        names,
        st.lists(st.integers(1, 600), max_size=3).map(tuple),
        st.lists(layers, max_size=5, unique_by=lambda layer: (layer.path, layer.inputs is None)).map(tuple),
        st.integers(1, 1000),
    )
)
def test_the_text_of_any_contract_parses_to_the_same_contract(contract):
    assert Contract.parse(str(contract)) == contract


def test_a_file_is_read_and_keeps_its_name_for_messages(tmp_path):
    path = tmp_path / "small.contract"
    path.write_text(SMALL, encoding="utf-8")
    assert Contract.load(path) == Contract.parse(SMALL)
    assert Contract.load(path).where == str(path)


def test_a_missing_file_says_the_command_that_writes_it(tmp_path):
    with pytest.raises(ContractError, match=r"no such contract. Write it with `flaxcnn contract .* --write .*none`"):
        Contract.load(tmp_path / "none")


def test_a_file_that_is_no_text_is_refused_by_name(tmp_path):
    (tmp_path / "picture").write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(ContractError, match="picture: not text in UTF-8"):
        Contract.load(tmp_path / "picture")


def test_only_a_regular_file_of_a_mebibyte_at_most_is_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(2**40)
    for path, message in (
        (tmp_path, "not a regular file; found a folder"),
        (tmp_path / "pipe", "not a regular file; found a pipe"),
        ("/dev/zero", "not a regular file; found a device"),
        (tmp_path / "sparse", "too large; expected at most 1,048,576 bytes"),
        ("a\0b", "null byte"),
    ):
        with pytest.raises(ContractError, match=message):
            Contract.load(path)


HEAD = "model N 0 parameters\ninput (B, 8, 8, 1)\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD + "a -> (B, " + "1" * 100_000 + "x)", "c:3: not a line of a contract; .*…"),
        (HEAD + "a -> (B, 1" + "0" * 400 + ")", "c:3: not a line of a contract"),
        (HEAD + "a -> ()\n" * 10_000, "c: too long for a contract; .* found 80,040 and 10,002"),
        (HEAD + "a" * 2**20, "c: too long for a contract"),
        (HEAD + "a\x1b[2J -> (B)", r"c: a\\x1b\[2J: name not allowed in a contract"),
        (HEAD + "a\0 -> (B)", "name not allowed in a contract"),
        (HEAD + "a (B) -> (B) k (4) k (4)", "c: a: two variables with one name; found k, k"),
        (HEAD.replace("8, 8, 1", "99999999999, 99999999999, 3"), "c: input: not the shape of an image; expected .*"),
        (HEAD.replace("8, 8, 1", "1" + "0" * 30), "c:2: not a line of a contract"),
        ("model N 0 parameters with K = 1" + "0" * 5000, "c:1: not a line of a contract"),
    ],
    ids=lambda text: text[:60],
)
def test_a_hostile_text_is_one_short_line_at_once(text, message):
    with answered(), pytest.raises(ContractError, match=message) as caught:
        Contract.parse(text, "c")
    assert len(str(caught.value)) < 500


def test_one_long_name_does_not_lengthen_every_line():
    lines = [LayerContract(name, None, ((B,),)) for name in ("a" * 100_000, *map(str, range(1000)))]
    assert len(str(Contract("N", (8,), tuple(lines)))) < 400_000


@pytest.mark.parametrize(
    ("old", "new", "line", "found"),
    [
        ("model   Small  90", "modle   Small  90", 2, "modle"),
        ("with K = 10", "with K = ten", 2, "ten"),
        ("with K = 10", "with K = 0", 2, "K = 0"),
        ("input   (B, 8, 8, 1)", "input   (8, 8, 1)", 3, r"\(8, 8, 1\)"),
        ("input   (B, 8, 8, 1)", "input   (B, 8, B, 1)", 3, r"\(B, 8, B, 1\)"),
        ("input   (B, 8, 8, 1)", "input   (B, 8, 0, 1)", 3, r"\(B, 8, 0, 1\)"),
        ("mean    -> (B, 4)", "mean    (B, 4)", 7, "mean"),
        ("mean    -> (B, 4)", "mean    ->", 7, "mean"),
        ("mean    -> (B, 4)", "mean    -> (B, 4", 7, "mean"),
        ("mean    -> (B, 4)", "mean    -> (B, 4) kernel", 7, "kernel"),
        ("mean    -> (B, 4)", "mean    -> (B, 4),", 7, "mean"),
        ("mean    -> (B, 4)", "mean    -> (B, X)", 7, "X"),
        ("mean    -> (B, 4)", "mean    (B) (8) -> (B, 4)", 7, "mean"),
    ],
)
def test_a_damaged_line_is_refused_with_its_number_and_what_it_is(old, new, line, found):
    with pytest.raises(
        ContractError, match=rf"net.contract:{line}: not a line of a contract; expected `.*`, found `.*{found}"
    ):
        Contract.parse(SMALL.replace(old, new), "net.contract")


def test_a_text_that_ends_too_early_says_what_is_missing():
    with pytest.raises(ContractError, match=r"c:1: .* expected `model .*, found the end"):
        Contract.parse("", "c")
    with pytest.raises(ContractError, match=r"c:2: .* expected `input .*, found the end"):
        Contract.parse("model Small 0 parameters\n", "c")


def test_a_declared_count_that_is_not_the_sum_of_the_lines_is_refused():
    with pytest.raises(ContractError, match=r"c:2: parameters don't add up; expected 90, .* found 91"):
        Contract.parse(SMALL.replace("Small  90", "Small  91"), "c")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("norm    (", "conv    (", "c: conv: two lines with one name"),
        ("bias (4,)", "bias (B)", r"c: conv: a variable that grows with the batch; found bias \(B\)"),
        (" with K = 10", "", "c: head: K without its value"),
    ],
)
def test_a_contract_that_contradicts_itself_names_the_layer(old, new, message):
    with pytest.raises(ContractError, match=message):
        Contract.parse(SMALL.replace(old, new), "c")


def test_a_name_that_no_line_can_hold_is_refused():
    with pytest.raises(ContractError, match="my layer: name not allowed in a contract"):
        Contract("Net", (8,), (LayerContract("my layer", None, ((B,),)),))


def test_a_diff_shows_the_lines_that_moved_and_no_others():
    wider = SMALL.replace("Small  90", "Small  100").replace(
        "kernel (3, 3, 1, 4)  bias (4,)", "kernel (3, 3, 1, 5)  bias (5)"
    )
    found = [" ".join(line.split()) for line in diff(Contract.parse(SMALL), Contract.parse(wider))]
    assert found == [
        "- model Small 90 parameters with K = 10",
        "+ model Small 100 parameters with K = 10",
        "- conv (B, 8, 8, 1) -> (B, 8, 8, 4) kernel (3, 3, 1, 4) bias (4)",
        "+ conv (B, 8, 8, 1) -> (B, 8, 8, 4) kernel (3, 3, 1, 5) bias (5)",
    ]
    assert diff(Contract.parse(SMALL), Contract.parse(SMALL)) == []
