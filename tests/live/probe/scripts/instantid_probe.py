# ruff: noqa: B905 - the WebUI names the arguments, and runs Python 3.10
"""A test-only extension of the WebUI: looks into it and disturbs it, as `tests/live` asks.

Its script "InstantID probe" takes one object, each name of which is a wish for this generation:
    record            path: write every UNet call's inputs, roles of rows and output there, with torch.save
    fail_in_unet      n: the n-th UNet call raises
    raise_in          name of a callback: this script raises in it
    break             "host.attach" and the like: this method of InstantID's extension raises
    short_of_memory   Forge: conditional and unconditional rows run in calls of their own
    nested            "with" or "without" InstantID: a second generation for each picture, in ADetailer's way
Routes: GET /instantid-probe/state, POST /instantid-probe/reload?mark=PATH.
"""

import copy
import operator
import pathlib
from contextlib import ExitStack

import gradio as gr
import modules.scripts as scripts
import torch
from modules import processing, script_callbacks, sd_unet, shared

INPUTS = ("x", "timesteps", "context", "y")
undo = ExitStack()
conditional_contexts, first_state = [], []


def unet():
    if hasattr(shared.sd_model, "forge_objects"):
        return shared.sd_model.forge_objects.unet.model.diffusion_model
    return shared.sd_model.model.diffusion_model


def state():
    """Everything that may hang on the UNet: hooks, replaced methods, ControlNet units; and what its weights are kept in."""
    if not (hasattr(shared.sd_model, "forge_objects") or hasattr(shared.sd_model, "model")):
        return {"hooks": None}  # Forge, before its first generation
    hooks = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in unet().modules())
    replaced = sum("forward" in vars(m) for m in unet().modules())
    units = len(shared.sd_model.forge_objects.unet.list_controlnets()) if hasattr(shared.sd_model, "forge_objects") else 0
    return {"hooks": [hooks, replaced, units], "dtype": str(next(unet().parameters()).dtype).removeprefix("torch.")}


def on_app_started(_, app):
    app.add_api_route("/instantid-probe/state", state, methods=["GET"])
    app.add_api_route("/instantid-probe/reload", reload, methods=["POST"])
    mark = getattr(shared, "instantid_probe_mark", None)
    if mark is not None:
        pathlib.Path(mark).touch()
        shared.instantid_probe_mark = None


def reload(mark: str):
    """As the page's button. mark: a file to be written when the page is there again."""
    shared.instantid_probe_mark = mark
    shared.state.request_restart()


def on_cfg_denoiser(params):
    conditional_contexts[:] = params.text_cond if torch.is_tensor(params.text_cond) else params.text_cond["crossattn"]
    if getattr(shared, "instantid_probe_short_of_memory", False):
        model = shared.sd_model.forge_objects.unet.model
        model.memory_required = lambda _: float("inf")
        undo.callback(vars(model).pop, "memory_required", None)


def list_unets(found):
    """A1111: a UNet such as TensorRT's, which runs no blocks."""

    class Zeros(sd_unet.SdUnet):
        def forward(self, x, *_, **__):
            return torch.zeros_like(x)

    option = sd_unet.SdUnetOption()
    option.label, option.create_unet = "[probe] zeros", Zeros
    found.append(option)


script_callbacks.on_app_started(on_app_started)
script_callbacks.on_list_unets(list_unets)
script_callbacks.on_cfg_denoiser(on_cfg_denoiser)


def same_as(context):
    return lambda other: context.shape == other.shape and torch.equal(context, other.to(context))


def record_calls(path):
    calls = []

    def hook(_, args, kwargs, output):
        given = {**dict(zip(INPUTS, args)), **kwargs}
        call = {name: given[name].detach().clone().float().cpu() for name in INPUTS}
        call["output"] = output.detach().clone().float().cpu()
        chunks = (given.get("transformer_options") or {}).get("cond_or_uncond")
        if chunks is None:
            call["conditional"] = [any(map(same_as(row), conditional_contexts)) for row in given["context"]]
        else:
            call["conditional"] = [role == 0 for role in chunks for _ in range(len(call["x"]) // len(chunks))]
        calls.append(call)
        torch.save(calls, path)

    undo.callback(unet().register_forward_hook(hook, with_kwargs=True).remove)


def fail_at(number):
    seen = [0]

    def hook(*_):
        seen[0] += 1
        if seen[0] == number:
            raise RuntimeError("the probe lets the UNet fail")

    undo.callback(unet().register_forward_pre_hook(hook).remove)


def break_method(name):
    module = next(d.module for d in scripts.scripts_data if d.module.__name__ == "instantid.py")
    owner = operator.attrgetter(name.rpartition(".")[0])(module.extension)

    def broken(*_, **__):
        raise RuntimeError("the probe breaks " + name)

    setattr(owner, name.rpartition(".")[2], broken)
    undo.callback(vars(owner).pop, name.rpartition(".")[2], None)


def second_generation(p, image, with_instantid):
    """As ADetailer: the same script instances, filtered, with a copy of the arguments."""
    runner = copy.copy(p.scripts)
    kept = {"instantid"} if with_instantid else set()  # the WebUI's own scripts would set another seed
    runner.alwayson_scripts = [s for s in p.scripts.alwayson_scripts if s.title().lower() in kept]
    inner = processing.StableDiffusionProcessingImg2Img(
        init_images=[image],
        denoising_strength=0.6,
        sd_model=shared.sd_model,
        prompt=p.prompt,
        seed=1,
        sampler_name=p.sampler_name,
        steps=p.steps,
        cfg_scale=p.cfg_scale,
        width=p.width,
        height=p.height,
        do_not_save_samples=True,
        do_not_save_grid=True,
    )
    inner.scripts, inner.script_args = runner, copy.deepcopy(p.script_args)
    first_state.append(torch.get_rng_state())  # the WebUI encodes the picture with noise from torch's generator
    torch.set_rng_state(first_state[0])
    picture = processing.process_images(inner).images[0]
    inner.close()
    return picture


class Probe(scripts.Script):
    def title(self):
        return "InstantID probe"

    def show(self, is_img2img):
        return scripts.AlwaysVisible

    def ui(self, is_img2img):
        return [gr.JSON(value=None, visible=False)]

    def meet(self, name, wishes):
        if isinstance(wishes, dict) and wishes.get("raise_in") == name:
            raise RuntimeError("the probe raises in " + name)

    def before_process(self, p, wishes):
        undo.close()
        first_state.clear()
        shared.instantid_probe_short_of_memory = isinstance(wishes, dict) and bool(wishes.get("short_of_memory"))
        if isinstance(wishes, dict) and "break" in wishes:
            break_method(wishes["break"])
        self.meet("before_process", wishes)

    def process(self, p, wishes):
        self.meet("process", wishes)

    def before_process_batch(self, p, wishes, **kwargs):
        self.meet("before_process_batch", wishes)

    def process_batch(self, p, wishes, **kwargs):
        self.meet("process_batch", wishes)

    def process_before_every_sampling(self, p, wishes, **kwargs):
        wishes = wishes if isinstance(wishes, dict) else {}
        if "record" in wishes:
            record_calls(wishes["record"])
        if "fail_in_unet" in wishes:
            fail_at(wishes["fail_in_unet"])
        self.meet("process_before_every_sampling", wishes)

    def post_sample(self, p, ps, wishes):
        undo.close()
        self.meet("post_sample", wishes)

    def postprocess_batch(self, p, wishes, **kwargs):
        self.meet("postprocess_batch", wishes)

    def postprocess_image(self, p, pp, wishes):
        self.meet("postprocess_image", wishes)
        if isinstance(wishes, dict) and "nested" in wishes:
            pp.image = second_generation(p, pp.image, wishes["nested"] == "with")

    def postprocess(self, p, processed, wishes):
        undo.close()
        self.meet("postprocess", wishes)
