"""Settings, what one sampling pass needs, and its attachment to a UNet by torch hooks."""
