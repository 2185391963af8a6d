"""InstantID assembled from diffusers' own parts, as an oracle: its ControlNet pipeline, whose ControlNet reads face tokens,
and its IP-Adapter attention processors, which get the adapter's file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import ControlNetModel, StableDiffusionXLControlNetImg2ImgPipeline, StableDiffusionXLControlNetPipeline
from torch import Tensor


class FaceTokenControlNet(ControlNetModel):
    """Reads the face's tokens instead of the prompt's."""

    tokens: Tensor

    def forward(self, sample: Tensor, timestep: Any, encoder_hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        per_role = len(sample) // len(self.tokens)
        tokens = self.tokens.repeat_interleave(per_role, dim=0)
        assert len(tokens) == len(encoder_hidden_states)
        return super().forward(sample, timestep, tokens, *args, **kwargs)


class Reference:
    """Built from the same files that this project reads; `scale` is the adapter's strength."""

    def __init__(self, weights: Path, embedding: Tensor, scale: float, cfg: bool, img2img: bool = False) -> None:
        controlnet = FaceTokenControlNet.from_pretrained(weights / "ControlNetModel")
        kind = StableDiffusionXLControlNetImg2ImgPipeline if img2img else StableDiffusionXLControlNetPipeline
        self.pipeline = kind.from_pretrained(weights / "checkpoint", controlnet=controlnet, add_watermarker=False)
        self.pipeline.set_progress_bar_config(disable=True)
        state = torch.load(weights / "ip-adapter.bin", weights_only=True)
        self.pipeline.unet._load_ip_adapter_weights([state], low_cpu_mem_usage=False)
        self.pipeline.set_ip_adapter_scale(scale)
        embeddings = torch.stack([torch.zeros_like(embedding), embedding]) if cfg else embedding[None]
        projection = self.pipeline.unet.encoder_hid_proj.image_projection_layers[0]
        with torch.no_grad():
            controlnet.tokens = projection(embeddings[:, None])
        self.image_embeds = [embeddings[:, None, None]]

    def __call__(self, **kwargs: Any) -> list[Any]:
        return self.pipeline(ip_adapter_image_embeds=self.image_embeds, **kwargs).images
