"""The extension: one script for both WebUIs. The only room that imports gradio or fastapi."""
