"""Options of Lightning's Trainer with which a run would not be what this project promises."""

from jsonargparse import Namespace

from training.errors import UserError

WHOLE_EPOCHS = (
    "would end an epoch half-way, and a run can only go on from the end of one. Set "
    "trainer.max_epochs, and trainer.limit_train_batches for a part of each."
)
ONLY_A_TRIAL = (
    "would leave a folder that looks like a finished run. To try things out: "
    "--trainer.max_epochs 1 --trainer.limit_train_batches 10."
)
REFUSED = {
    "max_steps": WHOLE_EPOCHS,
    "max_time": WHOLE_EPOCHS,
    "fast_dev_run": ONLY_A_TRIAL,
    "overfit_batches": ONLY_A_TRIAL,
}
AT_LEAST_1 = ("max_epochs", "log_every_n_steps")
NOT_NOTHING = ("limit_train_batches", "limit_test_batches")


def check_trainer_options(trainer: Namespace) -> None:
    """Makes sure that the Trainer is to train whole epochs, to validate and to test.

    Raises:
        UserError: If not, with what to set instead.
    """
    for name, reason in REFUSED.items():
        if trainer[name] not in (None, -1, False, 0):
            raise UserError(f"trainer.{name} {reason}")
    for name in AT_LEAST_1:
        if trainer[name] is not None and trainer[name] < 1:
            raise UserError(f"trainer.{name} must be at least 1, got {trainer[name]}.")
    for name in NOT_NOTHING:
        if trainer[name] == 0:
            raise UserError(f"trainer.{name} 0 leaves nothing to do.")
    if isinstance(trainer.strategy, str) and (
        "spawn" in trainer.strategy or "fork" in trainer.strategy
    ):
        raise UserError(
            f"trainer.strategy {trainer.strategy}: use ddp, which starts the script anew."
        )
