"""python carry.py RUN OUT: all trained weights as fp16, to go on from."""
import sys,torch
from pathlib import Path
run,out=Path(sys.argv[1]),Path(sys.argv[2])
half=lambda d:{k:(v.half() if v.is_floating_point() else v) for k,v in d.items()}
state={"joint":half(torch.load(run/'joint.pt',weights_only=True)["mean"]),"step":torch.load(run/'joint.pt',weights_only=True)["step"]}
for n in ("recogniser","judge","detector","likeness"): state[n]=half(torch.load(run/f'{n}.pt',weights_only=True)["model"])
from safetensors.torch import load_file
state["vae"]=half(load_file(run/"vae"/"diffusion_pytorch_model.safetensors"))
torch.save(state,out); print(out.stat().st_size/1e6)
for k,v in state.items():
    if isinstance(v,dict): print(k,sum(t.numel() for t in v.values())/1e6)
