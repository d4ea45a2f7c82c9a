"""`flaxcnn contract` finds a user's own module, writes its contract, rewrites it and says what moved."""

import sys

import flax.linen as nn
import pytest

from flaxcnn.cli import main
from flaxcnn.contracts import Contract, assert_contract
from flaxcnn.contracts.commands import find_module, parse_input_shape, show, update, write
from flaxcnn.errors import ConfigError, ContractError

SOURCE = """\
import flax.linen as nn
from neighbour import WIDTH

class Net(nn.Module):
    classes: int = 10
    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.classes, name="head")(nn.Conv(WIDTH, (3, 3), name="conv")(x).mean(axis=(1, 2)))

class Deep(nn.Module):
    depth: int
    width: int
    scale: float = 1.0
    def __call__(self, x):
        return x

deep = Deep(3, 4)
number = 7
def make():
    return Net()
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A user's folder, the current one, with modules in files whose names no other test uses."""
    (tmp_path / "my_models.py").write_text(SOURCE)
    (tmp_path / "neighbour.py").write_text("WIDTH = 4\n")
    (tmp_path / "broken.py").write_text("import no_such_library\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in ("my_models", "neighbour", "broken"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("spec", ["my_models.py:Net", "./my_models.py:Net", "my_models:Net"])
def test_a_class_in_a_file_or_a_package_is_found(folder, spec):
    module = find_module(spec)
    assert type(module).__name__ == "Net"
    assert module.classes == 10


def test_a_module_made_in_the_file_is_found_with_its_fields(folder):
    assert find_module("my_models.py:deep").depth == 3


def test_a_flax_layer_of_an_installed_package_is_found():
    assert isinstance(find_module("flax.linen:LayerNorm"), nn.LayerNorm)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("my_models.py", "not the place of a module; expected FILE.py:NAME or package.module:NAME"),
        (":Net", "not the place of a module"),
        ("my_models.py:", "not the place of a module"),
        ("your_models.py:Net", "your_models.py: no such file"),
        ("your_models:Net", "your_models: no module 'your_models'"),
        (".your_models:Net", ".your_models: a relative name"),
        ("a" * 5000 + ".py:Net", "no such file"),
        ("flaxcnn.nothing:Net", "flaxcnn.nothing: no module 'flaxcnn.nothing'"),
        ("my_models.py:Nett", r"my_models.py: no name 'Nett'. Did you mean 'Net'\?"),
        ("my_models.py:number", "my_models.py:number: of another kind; .* found a int. Known: Deep, Net, deep"),
        ("my_models.py:make", "my_models.py:make: of another kind; .* found a function"),
        ("my_models.py:Deep", r"needs arguments; .* none for depth, width. .* name that: net = Deep\(depth=...\)"),
    ],
)
def test_a_module_that_cannot_be_had_says_why(folder, spec, message):
    with pytest.raises(ConfigError, match=message):
        find_module(spec)


def test_a_mistake_in_the_users_file_is_one_line_and_in_an_installed_module_goes_through(folder):
    with pytest.raises(ConfigError) as caught:
        find_module("broken.py:Net")
    assert caught.value.where == folder / "broken.py"
    assert caught.value.what.startswith("line 1: ModuleNotFoundError: ")
    with pytest.raises(ModuleNotFoundError, match="no_such_library"):
        find_module("broken:Net")


def test_a_file_with_the_name_of_a_library_does_not_take_its_place(folder):
    (folder / "json.py").write_text("import flax.linen as nn\nnet = nn.Dense(3)\n")
    library = sys.modules["json"]
    assert find_module("json.py:net").features == 3
    assert sys.modules["json"] is library


@pytest.mark.parametrize("text", ["28,28,1", "28, 28, 1", "(28, 28, 1)", "28,28,1,"])
def test_an_input_shape_is_read(text):
    assert parse_input_shape(text) == (28, 28, 1)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "28,28,x",
        "9" * 5000 + ",1,1",
        "28,28,²",
        "28x28x1",
        "-1,2,3",
        "0,2,3",
        "1.5",
        "1,,2",
        "3",
        "28,28",
        "1,28,28,1",
    ],
)
def test_what_is_no_input_shape_is_refused(text):
    with pytest.raises(ConfigError, match="--input: not the shape of an image; expected HEIGHT,WIDTH,CHANNELS"):
        parse_input_shape(text)


def test_the_first_contract_is_written_and_never_overwritten(folder):
    module = find_module("my_models.py:Net")
    written = write(module, (8, 8, 3), "net.contract")
    text = (folder / "net.contract").read_text()
    assert written.parameters() == 3 * 3 * 3 * 4 + 4 + 4 * 10 + 10
    assert text == show(module, (8, 8, 3)) + "\n"
    assert_contract(module, "net.contract")
    with pytest.raises(ConfigError, match=r"net.contract: file exists. .* --update net.contract"):
        write(module, (8, 8, 3), "net.contract")
    assert (folder / "net.contract").read_text() == text


def test_an_update_returns_the_lines_that_moved_and_keeps_the_heading(folder):
    module = find_module("my_models.py:Net")
    write(module, (8, 8, 3), "net.contract")
    text = (folder / "net.contract").read_text()
    (folder / "net.contract").write_text(f"# The net of the second paper.\n#\n\n{text}")
    wider = type(module)(classes=20)
    moved = [" ".join(line.split()) for line in update(wider, "net.contract")]
    assert moved == ["- model Net 162 parameters with K = 10", "+ model Net 212 parameters with K = 20"]
    updated = (folder / "net.contract").read_text()
    assert updated.startswith("# The net of the second paper.\n#\n\nmodel ")
    assert Contract.load("net.contract").parameters() == 112 + 5 * 20


def test_an_update_follows_a_changed_layer(folder):
    write(find_module("my_models.py:Net"), (8, 8, 3), "net.contract")
    (folder / "my_models.py").write_text(SOURCE.replace("WIDTH, (3, 3)", "WIDTH, (5, 5)"))
    changed = find_module("my_models.py:Net")
    with pytest.raises(ContractError, match=r"conv: kernel changed; expected \(3, 3, 3, 4\), found \(5, 5, 3, 4\)"):
        assert_contract(changed, "net.contract")
    assert [line.split()[:2] for line in update(changed, "net.contract")] == [
        *(["-", "model"], ["+", "model"], ["-", "conv"], ["+", "conv"])
    ]
    assert_contract(changed, "net.contract")


def test_an_update_without_a_change_leaves_the_file_alone(folder):
    module = find_module("my_models.py:Net")
    write(module, (8, 8, 3), "net.contract")
    text = (folder / "net.contract").read_text().replace("  ", " ")  # a person's own spacing
    (folder / "net.contract").write_text(text)
    assert update(module, "net.contract") == []
    assert (folder / "net.contract").read_text() == text


def test_an_update_with_another_input_shape_takes_it(folder):
    module = find_module("my_models.py:Net")
    write(module, (8, 8, 3), "net.contract")
    assert update(module, "net.contract", (16, 16, 3))
    assert Contract.load("net.contract").input_shape == (16, 16, 3)


def test_an_update_needs_a_contract(folder):
    with pytest.raises(ContractError, match=r"none.contract: no such contract"):
        update(find_module("my_models.py:Net"), "none.contract")


def test_a_place_that_cannot_be_written_is_said(folder):
    with pytest.raises(ConfigError, match=r"nowhere/net.contract: contract cannot be written; found No such file"):
        write(find_module("my_models.py:Net"), (8, 8, 3), "nowhere/net.contract")


def test_a_contract_stays_as_it_is_where_the_new_one_cannot_be_written(flaxcnn, tmp_path):
    assert flaxcnn("contract", "paper_cnn", "--input", "32,32,3", "--write", "net.contract").returncode == 0
    text = (tmp_path / "net.contract").read_text()
    full = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))"  # as a full disk
    done = flaxcnn("contract", "paper_cnn", "--update", "net.contract", "--input", "28,28,1", first=full)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "net.contract: contract cannot be written; found File too large" in line
    assert (tmp_path / "net.contract").read_text() == text
    assert [each.name for each in tmp_path.iterdir() if "net.contract" in each.name] == ["net.contract"]


def test_an_update_keeps_a_files_rights_and_the_link_to_it(folder):
    module = find_module("my_models.py:Net")
    write(module, (8, 8, 3), "net.contract")
    (folder / "net.contract").chmod(0o640)
    (folder / "link.contract").symlink_to("net.contract")
    assert update(module, "link.contract", (16, 16, 3))
    assert (folder / "link.contract").is_symlink()
    assert Contract.load("net.contract").input_shape == (16, 16, 3)
    assert (folder / "net.contract").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a -> (B, " + "1" * 26 + "x)", "net.contract:3: not a line of a contract"),
        ("a -> (B, 1" + "0" * 400 + ")", "net.contract:3: not a line of a contract"),
        ("a\0 -> (B)", r"name not allowed in a contract; expected printable characters"),
        ("caf\xe9 -> (B)", "net.contract: not text in UTF-8; found byte 0xe9"),
        (None, "paper_cnn: not a batch of images; expected (B, H, W, C), found (8, 5)"),
    ],
    ids=["digits", "length", "null", "latin1", "axes"],
)
@pytest.mark.parametrize("option", ["--check", "--update"])
def test_a_hostile_contract_is_one_line_of_the_commands(option, text, message, tmp_path, capsys):
    path = tmp_path / "net.contract"
    head = f"model N 0 parameters\ninput ({'B, 5' if text is None else 'B, 28, 28, 1'})\n"
    path.write_bytes(f"{head}{text or ''}\n".encode("latin-1"))
    assert main(["contract", "paper_cnn", option, str(path)]) == 2
    captured = capsys.readouterr()
    assert len(captured.err.splitlines()) == 1
    assert message in captured.err
    assert path.read_bytes() == f"{head}{text or ''}\n".encode("latin-1")
