"""python restore.py STATE RUN: the state files of a training run, of what carry.py wrote. Then go on as README.md says."""
import sys
from pathlib import Path

import torch
from training.vae import whole

state, run = torch.load(sys.argv[1], weights_only=True), Path(sys.argv[2])
run.mkdir(parents=True, exist_ok=True)
full = lambda d: {k: v.float() if v.is_floating_point() else v for k, v in d.items()}  # noqa: E731
joint = full(state["joint"])
torch.save({"model": joint, "mean": joint, "step": state["step"], "frozen": None}, run / "joint.pt")
for name in ("recogniser", "judge", "detector", "likeness"):
    torch.save({"model": full(state[name]), "step": 0}, run / f"{name}.pt")
vae = whole(full(state["vae"]))
vae.save_pretrained(run / "vae")
