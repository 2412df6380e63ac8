"""The data sets that ``dataset`` chooses from, one file each.

A file registers a dataclass (see ``acdc_cli.register_dataset``). The fields are the keys that ``dataset`` has in a
config, beside ``name``; those of ``acdc_cli.data.keys`` say how images are augmented. The class has one function:

``origin(self)``
    Return a ``Source`` of ``acdc_cli.data.source``: where the samples come from.

The files import numpy, torch and the libraries that hold embedded images inside functions, and nowhere else: a command
that only reads a config does not wait for them.
"""
