"""This library as `flaxcnn train` runs it: blocks of steps on data that lies on the device."""

import sys

import jax

from benchmarks.worker import Epoch, serve
from flaxcnn.data import Split
from flaxcnn.models import create
from flaxcnn.training import adam, create_state
from flaxcnn.training.loop import BlockRunner, Plan


def main() -> None:
    epoch = Epoch.load(sys.argv[1])
    images = len(epoch.images)
    plan = Plan.of(images, batch_size=epoch.batch_size, epochs=1, steps=None, log_every=50, save_every=images)
    model, optimizer = create("paper_cnn", classes=10), adam(1e-3)

    def fresh():
        return create_state(model, optimizer, epoch.images.shape[1:], seed=0)

    runner = BlockRunner(fresh(), Split(epoch.images, epoch.labels), plan, seed=0)

    def measure() -> dict[str, float]:
        state, step, seconds, losses = jax.block_until_ready(fresh()), 0, 0.0, []
        while step < plan.total_steps:
            block = runner.run(state, step)
            state, step, seconds = block.state, step + len(block.losses), seconds + block.seconds
            losses.extend(block.losses)
        return {"seconds": seconds, "last_loss": float(sum(losses[-100:])) / 100}

    measure()
    serve({"library": f"flaxcnn on jax {jax.__version__}"}, measure)


if __name__ == "__main__":
    main()
