"""IdentityNet and adapter: `python -m training.instantid RUN --minutes M`, as InstantID's were trained.

The checkpoint is frozen. The adapter's key and value layers begin as the UNet's own, IdentityNet as a copy of its encoder with
zero layers behind it. IdentityNet's context is the face tokens alone; the keypoint map is drawn by this project's
`draw_keypoints`. The embedding is of another picture of the same person, so that only what makes the person helps.
"""

from __future__ import annotations

import argparse
import copy
import time
from pathlib import Path

import numpy as np
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from diffusers.models.attention_processor import IPAdapterAttnProcessor2_0
from torch import Tensor, nn

from lib_instantid.face.geometry import align
from lib_instantid.face.keypoints import draw_keypoints
from lib_instantid.nets.resampler import Resampler
from training.checkpoint import TEXT, WHOLE, WINDOW, Batch, Codes, follow, loss_of, noisy, rate_at, time_ids, trained
from training.faces import new_recogniser
from training.runs import Log, load_pictures, restore, save
from training.shapes import Shapes

TOKENS, WIDTH, LAYERS = 16, 128, 2
HINT = (8, 16, 32, 64)


@torch.no_grad()
def embed(data: Path, run: Path) -> None:
    """Write the raw embedding of every picture, (N, 512) per chunk, seen at its true points."""
    net = new_recogniser().eval()
    net.load_state_dict(torch.load(run / "recogniser.pt", weights_only=True)["model"])
    (run / "embeddings").mkdir(exist_ok=True)
    for pictures, view in zip(*load_pictures(data, below=500_000), strict=True):
        path = run / "embeddings" / f"embeddings-{int(view['number'][0])}.npy"
        if path.is_file():
            continue
        crops = np.stack([align(np.asarray(p), points) for p, points in zip(pictures, view["points"], strict=True)])
        x = torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 127.5 - 1
        np.save(path, torch.cat([net(part) for part in x.split(64)]).numpy())
        print(path.name, flush=True)


def resampler_weights() -> dict[str, Tensor]:
    """The shapes of InstantID's resampler, made small."""
    inner = WIDTH
    found = {
        "latents": torch.randn(1, TOKENS, WIDTH) / WIDTH**0.5,
        "proj_in.weight": torch.empty(WIDTH, 512),
        "proj_out.weight": torch.empty(2 * TEXT, WIDTH),
    }
    for i in range(LAYERS):
        found[f"layers.{i}.0.to_q.weight"] = torch.empty(inner, WIDTH)
        found[f"layers.{i}.1.1.weight"] = torch.empty(2 * WIDTH, WIDTH)
    return found


class InstantID(nn.Module):
    """What is trained: resampler, key and value layers (by the number of the attention), IdentityNet."""

    def __init__(self, unet: UNet2DConditionModel) -> None:
        super().__init__()
        weights = resampler_weights()
        self.identitynet = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=HINT)
        self.image_proj = Resampler(weights)
        self.image_proj.latents.data = weights["latents"]
        self.ip_adapter = nn.ModuleDict()
        processors = {}
        for number, (name, processor) in enumerate(unet.attn_processors.items()):
            processors[name] = processor
            if name.endswith("attn2.processor"):
                attention = unet.get_submodule(name.removesuffix(".processor"))
                own = IPAdapterAttnProcessor2_0(attention.to_k.out_features, 2 * TEXT, num_tokens=(TOKENS,), scale=1.0)
                own.to_k_ip[0].weight.data = attention.to_k.weight.data.clone()
                own.to_v_ip[0].weight.data = attention.to_v.weight.data.clone()
                self.ip_adapter[str(number)] = processors[name] = own
        unet.set_attn_processor(processors)


def maps_of(batch: Batch) -> Tensor:
    drawn = np.stack([draw_keypoints(points, batch.size, batch.size) for points in batch.points])
    return torch.from_numpy(drawn).permute(0, 3, 1, 2).float() / 255


class References:
    """Embeddings of other pictures of the same person."""

    def __init__(self, run: Path, codes: Codes) -> None:
        files = sorted((run / "embeddings").glob("embeddings-*.npy"), key=lambda p: int(p.stem.split("-")[1]))
        self._of = {int(p.stem.split("-")[1]): torch.from_numpy(np.load(p)) for p in files}
        self._codes = codes

    def of(self, rows: np.ndarray, r: np.random.Generator) -> Tensor:
        """(B, 512), raw."""
        found = []
        for row in rows:
            number = int(self._codes.number[row])
            first = number // 100 * 100
            views = len(self._of[first]) // 100
            found.append(self._of[first][(number - first) * views + int(r.integers(views))])
        return torch.stack(found)


def train(run: Path, minutes: float, highest: float, whole: float) -> None:
    torch.manual_seed(0)
    codes = Codes(run, Shapes())
    references = References(run, codes)
    unet, text = trained(run)
    unet.requires_grad_(False)
    model = InstantID(unet)
    trainable = list(model.parameters())
    for parameter in trainable:
        parameter.requires_grad_(True)
    mean = copy.deepcopy(model)
    optimiser = torch.optim.AdamW(trainable, lr=highest, betas=(0.9, 0.99), weight_decay=1e-3)
    step, state = 0, restore(run / "instantid.pt")
    if state is not None:
        model.load_state_dict(state["model"])
        mean.load_state_dict(state["mean"])
        optimiser.load_state_dict(state["optimiser"])
        step = state["step"]
    log, started, saved = Log(run / "instantid.log", 50), time.time(), time.time()
    keep = lambda: save(  # noqa: E731
        run / "instantid.pt", model=model.state_dict(), mean=mean.state_dict(), optimiser=optimiser.state_dict(), step=step
    )
    while (through := (time.time() - started) / (minutes * 60)) < 1:
        r = np.random.default_rng((19, step))
        torch.manual_seed(step)
        batch = codes.batch(WHOLE if through > 1 - whole else WINDOW, r)
        with torch.no_grad():
            context, pooled = text(codes.captions(batch.rows, r, 0.0))
        fate = torch.from_numpy(r.random(len(batch.rows)))  # as InstantID: no caption, no face, neither
        captioned, faced = ~((fate < 0.05) | (fate > 0.95)), fate < 0.9
        context, pooled = context * captioned[:, None, None], pooled * captioned[:, None]
        tokens = model.image_proj(references.of(batch.rows, r) * faced[:, None])
        x, noise, steps = noisy(batch.codes)
        added = {"text_embeds": pooled, "time_ids": time_ids(len(x))}
        down, middle = model.identitynet(x, steps, tokens, maps_of(batch), added_cond_kwargs=added, return_dict=False)
        answer = unet(
            x,
            steps,
            (context, [tokens]),
            added_cond_kwargs=added,
            down_block_additional_residuals=down,
            mid_block_additional_residual=middle,
        ).sample
        loss = loss_of(answer, noise, steps, batch, 3.0)
        for group in optimiser.param_groups:
            group["lr"] = rate_at(through, step, highest)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(trainable, 1.0)
        optimiser.step()
        step += 1
        follow(mean, model, step)
        log(step, loss=loss.item())
        if time.time() - saved > 240:
            keep()
            saved = time.time()
    keep()


def export(run: Path, folder: Path) -> None:
    """Write `ip-adapter.bin` and `ControlNetModel/`, named as the released files, in fp16."""
    unet, _ = trained(run)
    model = InstantID(unet)
    model.load_state_dict(torch.load(run / "instantid.pt", weights_only=True)["mean"])
    model.half()
    layers = {
        f"{number}.{name}.weight": getattr(own, name)[0].weight.data
        for number, own in model.ip_adapter.items()
        for name in ("to_k_ip", "to_v_ip")
    }
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({"image_proj": model.image_proj.state_dict(), "ip_adapter": layers}, folder / "ip-adapter.bin")
    model.identitynet.save_pretrained(folder / "ControlNetModel")


def main() -> None:
    parser = argparse.ArgumentParser(description="Train IdentityNet and the adapter.")
    parser.add_argument("run", type=Path)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--whole", type=float, default=0.3, help="part of the time in which whole pictures are seen")
    parser.add_argument("--embed", type=Path, metavar="DATA", help="only write the embeddings of the pictures")
    parser.add_argument("--export", type=Path)
    args = parser.parse_args()
    if args.embed:
        embed(args.embed, args.run)
    elif args.export:
        export(args.run, args.export)
    else:
        train(args.run, args.minutes, args.rate, args.whole)


if __name__ == "__main__":
    main()
