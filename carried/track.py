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
run=Path('/root/t/run'); N=16; ren=Renderer(); im=[];q=[];E=[];cap=[]
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

    judge=F.new_judge().eval(); judge.load_state_dict(torch.load(run/'judge.pt',weights_only=True)['model'])
    def dec(x0,net=rec):
        y=torch.cat([vae.decode(k/SCALE).sample for k in x0.split(4)]); y=((y.permute(0,2,3,1)+1)*127.5).clamp(0,255).round().byte().numpy()
        Z=torch.nn.functional.normalize(torch.cat([net(torch.from_numpy(np.stack([align(i,p)])).permute(0,3,1,2).float()/127.5-1) for i,p in zip(y,q)])); 
        R=En; c=Z@R.T; return f"REC own {c[eye].mean():.3f} others {c[~eye].mean():.3f}"
    tok=I.adapter.image_proj(E[:,None]); zt=I.adapter.image_proj(torch.zeros_like(E)[:,None])
    c2,p2,t2,m2=torch.cat([torch.zeros_like(ctx),ctx]),torch.cat([torch.zeros_like(pool),pool]),torch.cat([zt,tok]),torch.cat([m,m])
    S=20; ts=np.round(np.linspace(999,999/S-1,S)).astype(int).clip(0)
    for cfg in (1.0,1.5):
        torch.manual_seed(5); x=torch.randn_like(z)
        for i,t in enumerate(ts):
            xx=torch.cat([x,x]); T=torch.full((2*N,),int(t)); add={"text_embeds":p2,"time_ids":time_ids(2*N)}
            d,mm=I.identitynet(xx,T,t2,m2,added_cond_kwargs=add,return_dict=False)
            v=model['unet'](xx,T,(c2,[t2]),added_cond_kwargs=add,down_block_additional_residuals=d,mid_block_additional_residual=mm).sample
            u,c=v.chunk(2); v=u+cfg*(c-u); al=ALPHAS[t]; x0=al.sqrt()*x-(1-al).sqrt()*v; e=(1-al).sqrt()*x+al.sqrt()*v
            an=ALPHAS[ts[i+1]] if i+1<S else torch.tensor(1.0); x=an.sqrt()*x0+(1-an).sqrt()*e
            if i in (0,3,6,10,14,17,19): print(cfg,t,told(x0),dec(x0),'std',[round(float(k),2) for k in x0.std((0,2,3))],flush=True)
