"""The extension: one script for both WebUIs. Only this package imports gradio and fastapi."""
