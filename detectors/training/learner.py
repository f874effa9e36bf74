"""One step of training on whatever there is: one device or several, memory enough or not, alone or in a team."""

from __future__ import annotations

import gc
import logging
import math
from collections.abc import Mapping, Sequence

import numpy as np

from detectors.errors import DatasetInvalid
from detectors.segmentation.mxnet_runtime import MXNET_INPUT, load_mxnet
from detectors.training.config import TrainingConfig
from detectors.training.crops import Batch
from detectors.training.losses import segmentation_loss
from detectors.training.mixup import Part, mix_batch
from detectors.training.team import Team

log = logging.getLogger(__name__)

#: How MXNet, CUDA and the C++ library say that memory has run out.
NO_MEMORY = ("out of memory", "cudamalloc", "failed to allocate", "bad_alloc", "could not create a memory",
             "cannot allocate memory")


class Learner:
    """A network with its loss and optimiser.

    A batch is divided among the devices; where they run out of memory, it is also divided in time, and gradients are
    added up before the step: the batch stays what it is, but batch normalisation sees the parts.
    """

    def __init__(self, config: TrainingConfig, network, contexts: Sequence, team: Team, precision: str = "float32"):
        """
        Args:
            network: initialised on all of `contexts`, all shapes known.
            precision: "float32", or what AMP was switched on for.
        """
        mx = self._mx = load_mxnet()
        if config.optimiser.batch < len(contexts):
            raise DatasetInvalid(f"optimiser.batch {config.optimiser.batch} is less than one crop for each of "
                                 f"{len(contexts)} devices")
        self._config, self._network, self._contexts, self._team = config, network, list(contexts), team
        self._loss_of = segmentation_loss(config.loss, config.model.classes)
        #: Parts in time that a batch is done in.
        self.rounds = 1
        self._prepare()
        self._trainer = mx.gluon.Trainer(network.collect_params(), "adam", {"learning_rate": config.optimiser.rate},
                                         kvstore=None if team.store else "device", update_on_kvstore=False)
        self._scaled = precision == "float16"
        if self._scaled:
            from mxnet.contrib import amp

            amp.init_trainer(self._trainer)
        named = network.collect_params()
        self._trained = [p for p in named.values() if p.grad_req != "null"]
        if team.store:
            # Only gradients travel: all workers begin with the same weights. The trainer would send its weights under
            # the same keys, and gradients that are pushed early would be fetched as weights by a worker that is late.
            for key, parameter in enumerate(self._trained):
                team.store.init(key, mx.nd.zeros_like(parameter.list_grad()[0]))
        self._decayed = [p for name, p in named.items() if name.endswith("weight") and p.grad_req != "null"]

    def step(self, batch: Batch, rate: float, number: int = 0) -> float:
        """One step of the optimiser; the mean loss of the whole team's batch.

        Args:
            number: of the step; mixup draws from it.

        Raises:
            DatasetInvalid: the loss is not a number, or not even a single crop finds room in memory.
        """
        settings = self._config.optimiser
        mixed = mix_batch(batch, self._config.crops.mixup, self._config.seed, number)
        loss = self._team.add(self._gradients(mixed))
        if not math.isfinite(loss):
            raise DatasetInvalid(f"the loss is {loss}: lower optimiser.rate, set optimiser.clip, check the data")
        self._add_up()
        if settings.clip:
            self._clip(settings.clip)
        for parameter in self._decayed:
            for data in parameter.list_data():
                data *= 1 - rate * settings.weight_decay
        self._trainer.set_learning_rate(rate)
        self._trainer.update(1)
        return loss

    def _add_up(self) -> None:
        """Make each gradient the sum over all devices of all workers."""
        if not self._team.store:
            self._trainer.allreduce_grads()
            return
        for key, parameter in enumerate(self._trained):
            gradients = parameter.list_grad()
            self._team.store.pushpull(key, gradients, out=gradients, priority=-key)

    def release(self) -> None:
        """Let go of the kvstore, so that a team can part."""
        self._trainer._kvstore = None

    def _gradients(self, mixed: Sequence[Part]) -> float:
        """Gradients of a batch in the parameters, in fewer crops at a time until there is memory; the loss."""
        while True:
            try:
                return self._attempt(mixed)
            except self._mx.base.MXNetError as error:
                if not is_out_of_memory(error):
                    raise
                self._halve(len(mixed[0].batch.pixels), str(error).strip().splitlines()[-1])

    def _attempt(self, mixed: Sequence[Part]) -> float:
        mx, total = self._mx, 0.0
        pixels = mixed[0].batch.pixels
        labels = [array for part in mixed for array in part.batch[1:] if array.size]
        each, crops = len(labels) // len(mixed), len(pixels)
        if self.rounds > 1:
            for parameter in self._trained:
                parameter.zero_grad()
        for part in np.array_split(np.arange(crops), self.rounds):
            rows = slice(part[0], part[-1] + 1)
            pieces = zip(self._load(pixels[rows], MXNET_INPUT[self._config.model.dtype]),
                         *(self._load(array[rows], "float32") for array in labels), strict=True)
            losses = []
            with mx.autograd.record():
                for seen, *known in pieces:
                    answer, share = self._network(seen), len(seen) / crops / self._team.size
                    losses.extend(
                        self._loss_of(answer, *known[first : first + each]) * (share * part.share)
                        for part, first in zip(mixed, range(0, len(known), each), strict=True)
                    )
                if self._scaled:
                    from mxnet.contrib import amp

                    with amp.scale_loss(losses, self._trainer) as scaled:
                        mx.autograd.backward(scaled)
            if not self._scaled:
                mx.autograd.backward(losses)
            total += sum(float(loss.asscalar()) for loss in losses)
        # What went wrong in the background shows here, and not in the middle of the update.
        mx.nd.waitall()
        return total

    def _load(self, array: np.ndarray, dtype: str) -> list:
        whole = self._mx.nd.array(array, ctx=self._mx.cpu(), dtype=dtype)
        contexts = self._contexts[: len(array)]
        return self._mx.gluon.utils.split_and_load(whole, contexts, even_split=False)

    def _halve(self, crops: int, reason: str) -> None:
        """Make the next attempt with half as many crops at a time."""
        now = -(-crops // self.rounds)
        if now <= len(self._contexts):
            raise DatasetInvalid(f"out of memory with a single crop of {self._config.crops.size} px on a device "
                                 f"({reason}): make crops.size or model.widths smaller")
        self.rounds = min(crops, 2 * self.rounds)
        log.warning("out of memory with %d crops at a time (%s): going on with %d at a time, gradients of %d parts "
                    "are added up", now, reason, -(-crops // self.rounds), self.rounds)
        self._prepare()
        for parameter in self._trained:
            parameter.grad_req = "add"
        gc.collect()
        for context in self._contexts:
            if context.device_type == "gpu":
                context.empty_cache()

    def _prepare(self) -> None:
        """Forget buffers of the size before."""
        for _ in range(3):
            try:
                self._mx.nd.waitall()
                break
            except self._mx.base.MXNetError:
                continue
        self._network.hybridize(static_alloc=True, static_shape=True)
        self._loss_of.hybridize(static_alloc=True, static_shape=True)

    def _clip(self, limit: float) -> None:
        """Scale all gradients so that their norm over all parameters is at most `limit`."""
        if self._scaled:
            limit = limit / self._trainer._scale
        squares = [(p.list_grad()[0].astype("float32") ** 2).sum() for p in self._trained]
        norm = math.sqrt(float(self._mx.nd.add_n(*squares).asscalar()))
        if norm > limit:
            for parameter in self._trained:
                for gradient in parameter.list_grad():
                    gradient *= limit / norm

    def read(self) -> dict[str, np.ndarray]:
        """Weights, statistics (averaged over the devices) and the optimiser's moments, by name."""
        arrays = {}
        for index, parameter in enumerate(self._network.collect_params().values()):
            copies = [data.asnumpy() for data in parameter.list_data()]
            arrays[f"weight/{index}"] = np.mean(copies, axis=0, dtype=np.float32) if len(copies) > 1 else copies[0]
        for index, moments in self._trainer._updaters[0].states.items():
            for order, moment in enumerate(moments):
                arrays[f"moment{order}/{index}"] = moment.asnumpy()
        return arrays

    def write(self, arrays: Mapping[str, np.ndarray], step: int) -> None:
        """Put back what `read` gave after `step` steps."""
        nd = self._mx.nd
        for index, parameter in enumerate(self._network.collect_params().values()):
            parameter.set_data(nd.array(arrays[f"weight/{index}"]))
        trainer = self._trainer
        trained = [i for i, parameter in enumerate(trainer._params) if parameter.grad_req != "null"]
        for device, (context, updater) in enumerate(zip(self._contexts, trainer._updaters, strict=True)):
            for index in trained:
                updater.states[index] = tuple(nd.array(arrays[f"moment{k}/{index}"], ctx=context) for k in (0, 1))
                updater.states_synced[index] = True
            trainer._optimizer._all_index_update_counts[device] = dict.fromkeys(trained, step)
        trainer._optimizer.num_update = step


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error of MXNet means that memory ran out."""
    text = str(error).lower()
    return any(words in text for words in NO_MEMORY)
