"""InstantID for AUTOMATIC1111's WebUI and Forge. Everything is in lib_instantid; here it meets the WebUI's base class."""

import modules.scripts as scripts

from lib_instantid.webui.options import beginning
from lib_instantid.webui.panel import build_panel
from lib_instantid.webui.register import TITLE, register

extension, panel_service, pasting = register()


class InstantIDScript(scripts.Script):
    def title(self):
        return TITLE

    def show(self, is_img2img):
        return scripts.AlwaysVisible

    def ui(self, is_img2img):
        tab = "img2img" if is_img2img else "txt2img"
        panel = build_panel(tab, self.elem_id, panel_service, beginning())
        self.infotext_fields = pasting.fields(panel)
        self.paste_field_names = pasting.sent
        return [panel.enabled, panel.settings]

    def before_process(self, p, *args):
        extension.before_process(p, args)

    def process(self, p, *args):
        extension.process(p, args)

    def process_before_every_sampling(self, p, *args, x, **kwargs):
        extension.before_sampling(p, x)

    def post_sample(self, p, ps, *args):
        extension.stop()

    def postprocess_image_after_composite(self, p, pp, *args):
        extension.picture(p, pp.image)

    def postprocess(self, p, processed, *args):
        extension.finish(p, processed)
