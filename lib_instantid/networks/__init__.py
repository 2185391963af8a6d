"""torch modules with the parameter names of their files: the resampler, the adapter, and ControlNets such as IdentityNet."""
