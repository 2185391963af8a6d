import numpy as np,torch
from pathlib import Path
from dataclasses import replace
from diffusers import AutoencoderKL
from lib_instantid.encoders.face.geometry import align
from training import recognisers as F
from training.people import Renderer, make_view
torch.set_num_threads(1)
run=Path('/root/t/run'); N=24; ren=Renderer(); im=[];q=[];ref=[];rq=[]
for k in range(N):
    p=ren.person(1000500+k); a,b=ren.render(p,make_view(0,p)); ref.append(a); rq.append(b)
    v=replace(make_view(1,p),hat='none',glasses='none'); a,b=ren.render(p,v); im.append(a); q.append(b)
with torch.no_grad():
    vae=AutoencoderKL.from_pretrained(run/'vae').eval()
    y=torch.cat([vae.decode(vae.encode(torch.from_numpy(np.stack([a])).permute(0,3,1,2).float()/127.5-1).latent_dist.mean).sample for a in im])
    dec=list(((y.permute(0,2,3,1)+1)*127.5).clamp(0,255).round().byte().numpy())
    for name,new in (('recogniser',F.new_recogniser),('judge',F.new_judge)):
        n=new().eval(); n.load_state_dict(torch.load(run/f'{name}.pt',weights_only=True)['model'])
        e=lambda ims,ps: torch.nn.functional.normalize(n(torch.from_numpy(np.stack([align(i,p) for i,p in zip(ims,ps)])).permute(0,3,1,2).float()/127.5-1))
        R=e(ref,rq)
        for w,ims in (('true',im),('decoded',dec)):
            c=e(ims,q)@R.T; m=torch.eye(N).bool(); print(name,w,round(c[m].mean().item(),3),round(c[~m].mean().item(),3),(c.argmax(1)==torch.arange(N)).float().mean().item())
