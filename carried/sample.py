"""python sample.py RUN --n 16 --cfg 2.5 --steps 20 --out z.png [--which mean]"""
import argparse,sys,numpy as np,torch,cv2,time
from pathlib import Path
from dataclasses import replace
from diffusers import AutoencoderKL
from lib_instantid.encoders.face.geometry import align
from training import joint as J, recognisers as F
from training.codes import Batch
from training.diffusion import ALPHAS
from training.instantid import maps_of
from training.checkpoint import time_ids
from training.people import Renderer, make_view
from training.vae import SCALE
torch.set_num_threads(1)
a=argparse.ArgumentParser(); a.add_argument('run',type=Path); a.add_argument('--n',type=int,default=16); a.add_argument('--cfg',type=float,default=2.5); a.add_argument('--steps',type=int,default=20); a.add_argument('--which',default='mean'); a.add_argument('--out',default='/tmp/z.png'); a.add_argument('--first',type=int,default=1000500)
a=a.parse_args()
torch.manual_seed(1)
ren=Renderer(); refs=[];others=[];pts=[];rp=[]
for k in range(a.n):
    p=ren.person(a.first+k); im,q=ren.render(p,make_view(0,p)); refs.append(im); rp.append(q)
    v=replace(make_view(1,p),hat='none',glasses='none'); im,q=ren.render(p,v); others.append(im); pts.append(q)
nets={}
for name,new in (('recogniser',F.new_recogniser),('judge',F.new_judge)):
    if (a.run/f'{name}.pt').is_file():
        n=new().eval(); n.load_state_dict(torch.load(a.run/f'{name}.pt',weights_only=True)['model']); nets[name]=n
@torch.no_grad()
def emb(net,ims,points):
    x=np.stack([align(i,p) for i,p in zip(ims,points)]); return net(torch.from_numpy(x).permute(0,3,1,2).float()/127.5-1)
E=emb(nets['recogniser'],refs,rp)
def told(name,net,ims,points):
    r=torch.nn.functional.normalize(emb(net,refs,rp)); o=torch.nn.functional.normalize(emb(net,ims,points)); c=o@r.T
    m=torch.eye(len(c)).bool()
    return f"{name} own {c[m].mean():.3f} others {c[~m].mean():.3f} top1 {(c.argmax(1)==torch.arange(len(c))).float().mean():.2f}"
for n,net in nets.items(): print('ceiling',told(n,net,others,pts))
model=J.new_model(a.run); s=torch.load(a.run/'joint.pt',weights_only=True); model.load_state_dict(s[a.which]); model.eval(); print('step',s['step'])
vae=AutoencoderKL.from_pretrained(a.run/'vae').eval()
iid=model['instantid']
with torch.no_grad():
    B=a.n; P=np.stack(pts)
    batch=Batch(codes=torch.zeros(B,4,24,24),points=P,rows=np.arange(B),corners=np.zeros((B,2)),size=192)
    maps=maps_of(batch)
    cap=["photo of a person, blue background, white shirt"]*B
    ctx,pool=model['text'](cap); tok=iid.adapter.image_proj(E[:,None]); zt=iid.adapter.image_proj(torch.zeros_like(E)[:,None])
    iid.adapter.scale(1.0)
    ctx2=torch.cat([torch.zeros_like(ctx),ctx]); pool2=torch.cat([torch.zeros_like(pool),pool]); tok2=torch.cat([zt,tok]); maps2=torch.cat([maps,maps])
    x=torch.randn(B,4,24,24)
    ts=np.round(np.linspace(999,999/a.steps-1,a.steps)).astype(int).clip(0)
    t0=time.time()
    for i,t in enumerate(ts):
        xx=torch.cat([x,x]); T=torch.full((2*B,),int(t)); add={"text_embeds":pool2,"time_ids":time_ids(2*B)}
        d,m=iid.identitynet(xx,T,tok2,maps2,added_cond_kwargs=add,return_dict=False)
        v=model['unet'](xx,T,(ctx2,[tok2]),added_cond_kwargs=add,down_block_additional_residuals=d,mid_block_additional_residual=m).sample
        u,c=v.chunk(2); v=u+a.cfg*(c-u)
        al=ALPHAS[t]; x0=al.sqrt()*x-(1-al).sqrt()*v; e=(1-al).sqrt()*x+al.sqrt()*v
        an=ALPHAS[ts[i+1]] if i+1<len(ts) else torch.tensor(1.0)
        x=an.sqrt()*x0+(1-an).sqrt()*e
    y=torch.cat([vae.decode(z/SCALE).sample for z in x.split(4)])
    ims=[i for i in ((y.permute(0,2,3,1)+1)*127.5).clamp(0,255).round().byte().numpy()]
for n,net in nets.items(): print(told(n,net,ims,pts))
rows=[]
for k in range(0,a.n,4):
    rows.append(np.hstack([np.hstack([refs[j],ims[j],others[j]]) for j in range(k,min(k+4,a.n))]))
cv2.imwrite(a.out,np.vstack(rows)[...,::-1])
