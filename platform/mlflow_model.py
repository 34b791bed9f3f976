"""The registered model as MLflow runs it: a batch of blurry images in, restored image, γ̂ and PSF out.

MLflow copies this file beside the weights and runs it where the model is loaded ("models from code"); nothing is
pickled.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

from deepblur.platform.model import load_model


class BlindDeblurring(PythonModel):
    """predict: (B, 1, H, W) float32, linear intensity in [0, 1] → {"image", "gamma", "psf"}, see Restoration."""

    def load_context(self, context: Any) -> None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model = load_model(Path(context.artifacts["model"]), device=device)
        self.device = device

    def predict(
        self, context: Any, model_input: np.ndarray, params: dict[str, Any] | None = None
    ) -> dict[str, np.ndarray]:
        found = self.model.restore(torch.as_tensor(model_input, device=self.device))
        return {name: getattr(found, name).float().cpu().numpy() for name in ("image", "gamma", "psf")}


set_model(BlindDeblurring())
