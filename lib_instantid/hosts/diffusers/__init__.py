"""InstantID without a WebUI, on diffusers' SDXL pipelines."""
