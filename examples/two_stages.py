"""What the examples below share: a policy is trained for a checkpoint, then the encoder together with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from runners.cli.options import DataOptions, EncoderOptions, RunOptions
from runners.joint_finetune import joint_finetune
from runners.runs.files import read_json
from runners.train_policy import train_policy
from runners.training.options.joint import JointFinetuneOptions
from runners.training.options.policy import PolicyTrainingOptions, TrainPolicyOptions


def make_faster(data: DataOptions, backbone: str, speedup: float, texts: int | None, output_dir: Path) -> Path:
    """Return the folder of the faster model; print its main metric and its speed-up, beside those of the checkpoint.

    Args:
        data: The texts.
        backbone: Folder or hub name of the checkpoint; one without a task head is fine-tuned first.
        speedup: FLOPs speed-up to reach.
        texts: Texts to train on in each of the two stages; None for as many as were measured to be enough.
        output_dir: Folder of all run folders.
    """
    run = RunOptions(output_dir=output_dir)
    policy = TrainPolicyOptions(
        target_speedup=speedup,
        data=data,
        encoder=EncoderOptions(backbone),
        run=run,
        training=PolicyTrainingOptions(total_texts=texts),
    )
    stage2 = train_policy(policy).path
    joint = JointFinetuneOptions(policy=stage2).defaults()  # the data of stage 2, and what was measured best
    training = replace(joint.training, total_texts=texts)
    stage3 = joint_finetune(replace(joint, policy=stage2, target_speedup=speedup, run=run, training=training))
    record = read_json(stage3.metrics_path)
    metric = next(name.removeprefix("full_") for name in record if name.startswith("full_"))
    print(
        f"{metric} {record[metric]:.2f} at {record['flops_speedup']:.2f}x fewer FLOPs and "
        f"{record['wall_speedup_stock']:.2f}x on the clock, {record['full_' + metric]:.2f} before"
    )
    return stage3.model_dir
