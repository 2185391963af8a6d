"""Where guidance meets a pipeline: the embedded host (diffusers), and later the WebUIs."""
