"""A trace holds every operation of the traced steps, for TensorBoard, for Perfetto and for the table."""

import gzip
import json
import subprocess
import sys
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flaxcnn.errors import ConfigError, RunFolderError
from flaxcnn.models.paper_cnn import PaperCNN
from flaxcnn.runs.output.profile import Profiler, describe, operations_of, parse_steps, place_of, read_operations
from flaxcnn.training import adam, create_state
from flaxcnn.training.batches import ResidentBatches
from flaxcnn.training.step import train_block
from tests.error_fields import fields

FIRST, END = 5, 12


@pytest.mark.parametrize(("text", "steps"), [("10:20", (10, 20)), ("0:1", (0, 1)), ("0:1200", (0, 1200))])
def test_steps_are_counted_from_0_and_the_end_is_not_among_them(text, steps):
    assert parse_steps(text, total_steps=1200) == steps


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("20:10", ("--profile", "FIRST before END", "20:10")),
        ("10:10", ("--profile", "FIRST before END", "10:10")),
        ("a:b", ("--profile", "FIRST:END, such as 10:20", "a:b")),
        ("-1:3", ("--profile", "FIRST:END, such as 10:20", "-1:3")),
        ("٣:٥", ("--profile", "FIRST:END, such as 10:20", "٣:٥")),
        ("10", ("--profile", "FIRST:END, such as 10:20", "10")),
        ("1190:1201", ("--profile", "an END of at most 1,200", "1190:1201")),
        ("99:120", ("--profile", "a FIRST of at least 100", "99:120")),
    ],
)
def test_what_cannot_be_profiled_is_said_in_one_line(text, told):
    with pytest.raises(ConfigError) as caught:
        parse_steps(text, total_steps=1200, done=100)
    assert fields(caught.value) == told


def test_a_programs_text_says_of_each_operation_its_result_and_its_place():
    text = """HloModule jit_f, is_scheduled=true

ENTRY %main.5 (p: f32[2,3]) -> f32[2] {
  %p = f32[2,3]{1,0} parameter(0), metadata={op_name="x"}
  %call.1 = (f32[2]{0}, s32[]) custom-call(%p), backend_config={"a": {"b": 1}}
  dot.1 = f32[2]{0} dot(%p, %p), metadata={op_type="dot" op_name="jit(f)/head/dot" source_line=3}
  ROOT %tuple.2 = (f32[2]{0}) tuple(dot.1), metadata={op_name="jit(f)/head"}
}
"""
    assert dict(operations_of(text)) == {
        "p": ("f32[2,3]", "x"),
        "dot.1": ("f32[2]", "jit(f)/head/dot"),
        "tuple.2": ("", "jit(f)/head"),
    }


@pytest.fixture(scope="module")
def first_state():
    return create_state(PaperCNN(), adam(), (28, 28, 1), seed=3)


@pytest.fixture(scope="module")
def batches(small_split):
    images, labels = map(jnp.asarray, small_split)
    return ResidentBatches(images, labels, jnp.arange(1000, dtype=jnp.int32), jnp.int32(0), batch_size=50)


@pytest.fixture(scope="module")
def block(first_state, batches):
    return train_block.lower(first_state, batches, jnp.int32(1), most_steps=15).compile()


def make_steps(first_state, block, batches, profiler=None):
    """Make 15 steps as the driver does, in blocks that end where the trace begins and ends; return the losses."""
    state, step, losses = jax.tree.map(jnp.copy, first_state), 0, []  # a block takes its memory over
    while step < 15:
        if profiler and step == profiler.first:
            profiler.start()
        end = min(15, (profiler and profiler.next_cut(step)) or 15)
        state, block_losses, _ = block(state, batches, jnp.int32(end - step))
        losses.extend(np.asarray(block_losses)[: end - step])
        step = end
        if profiler and step == profiler.end:
            profiler.stop()
    return losses


@pytest.fixture(scope="module")
def traced(first_state, block, batches, tmp_path_factory):
    with Profiler(tmp_path_factory.mktemp("run") / "profile", FIRST, END) as profiler:
        losses = make_steps(first_state, block, batches, profiler)
    return profiler, losses, read_operations(profiler.trace, [block.as_text()])


def test_the_next_cuts_are_where_the_trace_begins_and_ends(traced):
    profiler = traced[0]
    assert [profiler.next_cut(step) for step in (0, 4, 5, 11, 12, 14)] == [5, 5, 12, 12, None, None]


def test_a_traced_run_has_the_losses_of_one_that_is_not(traced, first_state, block, batches):
    np.testing.assert_array_equal(traced[1], make_steps(first_state, block, batches))


def convolutions_in(operations):
    names = ("conv_general_dilated", "dot_general")  # XLA's; and oneDNN's:
    native = ("convolution_with_bias", "convolution_images_gradient", "convolution_kernel_gradient")
    return [each for each in operations if each.place.endswith((*names, *native))]


def test_every_convolution_was_called_once_a_step(traced):
    convolutions = convolutions_in(traced[2])
    assert len(convolutions) >= 5  # forward and kernel gradient of both, and the second's input gradient
    assert {each.calls for each in convolutions} == {END - FIRST}


def test_the_second_convolution_and_its_two_gradients_take_most(traced):
    """They make 3 × 2,508,800 of the 8,200,640 multiplications a step and image: 92 %."""
    convolutions = convolutions_in(traced[2])
    shares = Counter()
    for each in convolutions:
        shares[each.place.removeprefix("gradient of ").split("/")[0]] += each.share
    assert shares.most_common(1)[0][0] == "conv2"
    assert shares["conv2"] > 0.4
    results = {each.result for each in convolutions if "conv2" in each.place}
    kernel = {"f32[16,5,5,32]", "f32[5,5,16,32]"}  # its gradient as XLA has it, and as oneDNN does
    assert results - kernel == {"f32[50,14,14,32]", "f32[50,14,14,16]"}
    assert len(results & kernel) == 1


def test_shares_are_of_all_operations_and_the_most_expensive_come_first(traced):
    operations = traced[2]
    assert sum(each.share for each in operations) == pytest.approx(1)
    assert all(each.share >= 0 for each in operations)
    milliseconds = [each.milliseconds for each in operations]
    assert milliseconds == sorted(milliseconds, reverse=True)
    assert not {"while", "call", "conditional"} & {each.name.split(".")[0] for each in operations}


def test_perfettos_file_has_the_same_operations_and_times(traced):
    profiler, _, operations = traced
    with gzip.open(profiler.trace / "perfetto_trace.json.gz") as file:
        trace = json.load(file)
    assert "metadata" not in trace  # which Perfetto does not read
    milliseconds, calls = Counter(), Counter()
    for event in trace["traceEvents"]:
        if event.get("ph") == "X" and event["name"] == event.get("args", {}).get("hlo_op"):
            milliseconds[event["name"]] += event["dur"] / 1e3
            calls[event["name"]] += 1
    for each in operations[:10]:
        assert (calls[each.name], milliseconds[each.name]) == (each.calls, pytest.approx(each.milliseconds, abs=0.05))


def test_tensorboard_finds_the_trace_where_its_profile_plugin_looks(traced):
    profiler = traced[0]
    assert profiler.trace.parent == profiler.folder / "plugins" / "profile"
    (file,) = profiler.trace.glob("*.xplane.pb")
    assert any(plane.name == "/host:CPU" for plane in jax.profiler.ProfileData.from_file(str(file)).planes)


def test_what_is_printed_names_the_ten_most_expensive_operations_and_both_viewers(traced):
    profiler, _, operations = traced
    lines = describe(profiler, operations)
    assert lines[0].startswith("profile        steps 5 to 11: ")
    assert [line.split()[0] for line in lines[2:12]] == [each.name for each in operations[:10]]
    assert lines[2].endswith(f"{operations[0].share:.1%}")
    assert len(lines) == 14
    assert f"--logdir {profiler.folder}" in lines[12]
    assert str(profiler.trace) in lines[13]


def test_a_trace_that_the_run_leaves_early_is_written_as_far_as_it_goes(first_state, block, batches, tmp_path):
    profiler = Profiler(tmp_path / "profile", 0, 10)
    with profiler:
        profiler.start()
        jax.block_until_ready(block(jax.tree.map(jnp.copy, first_state), batches, jnp.int32(1)))
    operations = read_operations(profiler.trace, [block.as_text()])
    assert {each.calls for each in convolutions_in(operations) if "conv2" in each.place} == {1}


def test_a_folder_that_cannot_be_made_is_said_before_any_step(tmp_path):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(RunFolderError, match=r"run/profile: cannot write: Not a directory"):
        Profiler(tmp_path / "run" / "profile", 0, 1)


def test_a_trace_that_cannot_be_written_ends_no_run_and_is_said(tmp_path):
    """In its own process: jax 0.10 takes a trace that could not be written for one that goes on."""
    program = f"""
from pathlib import Path
import jax.numpy as jnp
from flaxcnn.runs.output.profile import Profiler, describe
with Profiler(Path({str(tmp_path)!r}) / "profile", 3, 5) as profiler:
    profiler.start()
    jnp.ones(3).block_until_ready()
    (profiler.folder / "plugins").write_text("a file where a folder would be")
    profiler.stop()
print(*describe(profiler, []), sep="\\n")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert line.startswith("profile        not written: ")
    assert "plugins is not a directory" in line


def test_a_trace_whose_first_step_was_never_reached_is_said(tmp_path):
    with Profiler(tmp_path / "profile", 3, 5) as profiler:
        pass
    assert describe(profiler, []) == ["profile        not written: the run ended before its first step"]


def written(folder, text):
    data = jax.profiler.ProfileData.text_proto_to_serialized_xspace(text)
    (folder / "host.xplane.pb").write_bytes(data)
    return folder


def test_on_a_gpu_the_kernels_count_and_not_what_the_host_did(tmp_path):
    """A plane as XLA's CUPTI collector makes them, times in picoseconds: a line a stream, no operation for a copy."""
    trace = written(
        tmp_path,
        """
        planes { name: "/device:GPU:0"
          lines { name: "Stream #13(Compute)"
            events { metadata_id: 1 offset_ps: 0 duration_ps: 3000000000 stats { metadata_id: 1 ref_value: 3 } stats {
              metadata_id: 2 ref_value: 4 } }
            events { metadata_id: 1 offset_ps: 4000000000 duration_ps: 3000000000 stats { metadata_id: 1 ref_value: 3 }
              stats { metadata_id: 2 ref_value: 4 } } }
          lines { name: "Stream #14(MemcpyH2D)"
            events { metadata_id: 2 offset_ps: 0 duration_ps: 2000000000 } }
          lines { name: "XLA Modules"
            events { metadata_id: 3 offset_ps: 0 duration_ps: 7000000000 } }
          event_metadata { key: 1 value { id: 1 name: "sm90_xmma_fprop_implicit_gemm" } }
          event_metadata { key: 2 value { id: 2 name: "MemcpyH2D" } }
          event_metadata { key: 3 value { id: 3 name: "jit_train_block" } }
          stat_metadata { key: 1 value { id: 1 name: "hlo_op" } }
          stat_metadata { key: 2 value { id: 2 name: "hlo_module" } }
          stat_metadata { key: 3 value { id: 3 name: "cudnn-conv.7" } }
          stat_metadata { key: 4 value { id: 4 name: "jit_train_block" } } }
        planes { name: "/host:CPU"
          lines { name: "python" events { metadata_id: 1 offset_ps: 0 duration_ps: 90000000000 } }
          event_metadata { key: 1 value { id: 1 name: "PjitFunction" } } }
        """,
    )
    text = """HloModule jit_train_block, is_scheduled=true
      %cudnn-conv.7 = (f32[50,14,14,32]{3,2,1,0}, u8[0]{0}) custom-call(%a, %b), metadata={op_type="conv" \
op_name="jit(train_block)/while/body/jit(train_step)/jvp(PaperCNN)/conv2/conv_general_dilated"}"""
    convolution, copy = read_operations(trace, [text])
    assert convolution == ("cudnn-conv.7", "conv2/conv_general_dilated", "", 2, 6.0, 0.75)
    assert copy == ("MemcpyH2D", "", "", 1, 2.0, 0.25)


def test_on_a_tpu_a_loop_has_not_the_time_of_what_runs_in_it(tmp_path):
    trace = written(
        tmp_path,
        """
        planes { name: "/device:TPU:0"
          lines { name: "Steps" events { metadata_id: 3 offset_ps: 0 duration_ps: 9000000000 } }
          lines { name: "XLA Ops"
            events { metadata_id: 1 offset_ps: 0 duration_ps: 9000000000 }
            events { metadata_id: 2 offset_ps: 0 duration_ps: 4000000000 }
            events { metadata_id: 4 offset_ps: 1000000000 duration_ps: 1000000000 } }
          event_metadata { key: 1 value { id: 1 name: "%while.2 = (s32[]) while(%tuple)" } }
          event_metadata { key: 2 value { id: 2 name: "%fusion.1 = f32[8]{0} fusion(%a)" } }
          event_metadata { key: 3 value { id: 3 name: "0" } }
          event_metadata { key: 4 value { id: 4 name: "%copy.3 = f32[8]{0} copy(%a)" } } }
        """,
    )
    assert [(each.name, each.milliseconds, each.share) for each in read_operations(trace)] == [
        ("fusion.1", 3.0, 0.75),
        ("copy.3", 1.0, 0.25),
    ]


def test_places_name_layers_and_gradients():
    step = "jit(train_block)/while/body/jit(train_step)"
    assert place_of(f"{step}/jvp(PaperCNN)/conv1/cond/branch_0_fun/dot_general") == "conv1/dot_general"
    assert place_of(f"{step}/transpose(jvp(PaperCNN))/head/transpose") == "gradient of head/transpose"
    assert place_of(f"{step}/square") == "square"
    assert place_of("jit(evaluate)/while/body/closed_call/PaperCNN/pool1/reduce_max") == "PaperCNN/pool1/reduce_max"
