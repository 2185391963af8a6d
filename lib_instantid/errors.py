"""The errors that InstantID raises.

Every message names the field or file, what was found, what was expected and the cure, in one or two sentences that a person
can act on. Only the command line, the WebUI script and the API catch `InstantIDError` and show its message.
"""


class InstantIDError(Exception):
    """Base of every error that is meant for the person who uses InstantID."""


class SettingsError(InstantIDError):
    """A setting has an unknown name, a wrong type or a value out of range."""


class PictureError(InstantIDError):
    """A photo, pose picture or mask cannot be read."""


class NoFaceFound(InstantIDError):
    """A picture was read, but contains no face, or not the face that was asked for."""


class IdentityFileError(InstantIDError):
    """A saved identity is missing, unreadable, or not an identity."""


class MissingModelFile(InstantIDError):
    """A model file was not found."""


class BadModelFile(InstantIDError):
    """A model file exists but is unreadable, incomplete, unsafe, or another kind of model."""


class UnsupportedModel(InstantIDError):
    """InstantID's weights do not fit the checkpoint's UNet."""


class MissingPackage(InstantIDError):
    """A Python package that is needed is not installed or does not work."""


class DownloadError(InstantIDError):
    """A file could not be fetched, or the fetched file differs from the published one."""
