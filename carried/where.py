import sys,numpy as np,torch
from pathlib import Path
from diffusers import AutoencoderKL
from dataclasses import replace
from lib_instantid.encoders.face.geometry import align
from training import joint as J, recognisers as F
from training.codes import Batch
from training.diffusion import ALPHAS
from training.instantid import maps_of
from training.checkpoint import time_ids
from training.likeness import aligned, trained
from training.people import Renderer, make_view
from training.vae import SCALE
torch.set_num_threads(1); torch.manual_seed(0)
run=Path('/root/t/run'); N=32; ren=Renderer(); im=[];q=[];E=[];cap=[]
rec=F.new_recogniser().eval(); rec.load_state_dict(torch.load(run/'recogniser.pt',weights_only=True)['model'])
emb=lambda i,p: rec(torch.from_numpy(np.stack([align(i,p)])).permute(0,3,1,2).float()/127.5-1)
with torch.no_grad():
    for k in range(N):
        p=ren.person(1000500+k); a,b=ren.render(p,make_view(0,p)); E.append(emb(a,b)[0])
        v=replace(make_view(1,p),hat='none',glasses='none'); a,b=ren.render(p,v); im.append(a); q.append(b)
        cap.append(f"photo of a person, {v.background} background, {v.clothes_colour} {v.clothes}")
    E=torch.stack(E); vae=AutoencoderKL.from_pretrained(run/'vae').eval(); L=trained(run)
    z=torch.cat([vae.encode(torch.from_numpy(np.stack([a])).permute(0,3,1,2).float()/127.5-1).latent_dist.mean*SCALE for a in im])
    model=J.new_model(run); s=torch.load(run/'joint.pt',weights_only=True); model.load_state_dict(s[sys.argv[1] if len(sys.argv)>1 else 'mean']); model.eval()
    I=model['instantid']; I.adapter.scale(1.0); b=Batch(codes=z,points=np.stack(q),corners=np.zeros((N,2)),rows=np.arange(N),size=192); m=maps_of(b)
    ctx,pool=model['text'](cap); En=torch.nn.functional.normalize(E); eye=torch.eye(N).bool()
    def told(x0): c=L(aligned(x0,b))@En.T; return f"own {c[eye].mean():.3f} others {c[~eye].mean():.3f} top1 {(c.argmax(1)==torch.arange(N)).float().mean():.2f}"
    print('step',s['step'],'true codes:',told(z))
    noise=torch.randn_like(z)
    for t in (999,950,850,700,500,300,150):
        a=ALPHAS[t]; x=a.sqrt()*z+(1-a).sqrt()*noise; vt=a.sqrt()*noise-(1-a).sqrt()*z
        for name,e in (('own',E),('zero',torch.zeros_like(E)),('wrong',E.roll(1,0))):
            tok=I.adapter.image_proj(e[:,None]); add={"text_embeds":pool,"time_ids":time_ids(N)}; T=torch.full((N,),t)
            d,mm=I.identitynet(x,T,tok,m,added_cond_kwargs=add,return_dict=False)
            v=model['unet'](x,T,(ctx,[tok]),added_cond_kwargs=add,down_block_additional_residuals=d,mid_block_additional_residual=mm).sample
            x0=a.sqrt()*x-(1-a).sqrt()*v
            print(t,f"{a:.3f}",name,'err',[round(float(k),3) for k in ((v-vt)**2).mean((0,2,3))],told(x0))
