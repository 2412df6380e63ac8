"""The families of models that ``model.family`` chooses from, one file each.

A file registers a dataclass (see ``acdc_cli.register_model``). The fields are the keys that ``model`` has in a config,
beside ``name``, ``family`` and ``batch_norm_eps``, which every model has. The class has these functions:

``build(self, inputs)``
    Return a freshly initialised ``torch.nn.Module``. For images ``inputs`` is an ``ImageInputs`` of
    ``acdc_cli.models.inputs``; another task gives its own.
``check(self)``
    Raise BadInput for keys that contradict each other. It may be left out.

A family that is a library of networks has the field ``name``, which is ``model.name``. The files import torch in
``build`` and nowhere else: a command that only reads a config does not wait for torch.
"""
