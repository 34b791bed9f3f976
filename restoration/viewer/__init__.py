"""The napari plugin: a layer in, restored layers and what was found of their blur out.

`layers` turns napari's layers into recordings and results into layers, `work` takes a recording through an engine away
from the window, `panel` is what people click on, and `samples` fills the plugin's menu of sample data. It comes with
the extra `napari`, and may use everything of restoration but the commands. napari finds it by `napari.yaml`.
"""
