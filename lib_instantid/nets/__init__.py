"""Weight files → modules: the resampler and adapter, IdentityNet, and where the adapter's layers sit in a UNet."""
