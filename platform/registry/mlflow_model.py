"""The registered model as MLflow runs it: a batch of blurry images in, restored image, γ̂ and PSF out.

MLflow copies this file beside the weights and runs it where the model is loaded ("models from code"); nothing is
pickled.
"""

import os
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

from deepblur.platform.models.model import load_model
from deepblur.platform.registry.requests import MAX_PIXELS, Bounded, answer
from deepblur.platform.system.memory import keep_freed_memory


class BlindDeblurring(PythonModel):
    """predict: (B, 1, H, W) float32, linear intensity in [0, 1] → {"image", "gamma", "psf"}, see Restoration."""

    def load_context(self, context: Any) -> None:
        config = getattr(context, "model_config", None) or {}
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.max_pixels = int(config.get("max_pixels") or MAX_PIXELS)
        self.turn = Lock()
        keep_freed_memory()
        if config.get("threads"):
            torch.set_num_threads(int(config["threads"]))
        self.model = load_model(Path(context.artifacts["model"]), device=self.device)
        if "__pyfunc_model_path__" in os.environ:  # MLflow's scoring server is what loads the model
            _answer_in_sentences(self.max_pixels)

    def predict(
        self, context: Any, model_input: np.ndarray, params: dict[str, Any] | None = None
    ) -> dict[str, np.ndarray]:
        """Raises MlflowException (400 over HTTP) for images or a gamma that the model does not take."""
        try:
            return self.restore(model_input, params or {})
        except ValueError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from None

    def restore(self, images: np.ndarray, params: dict[str, Any]) -> dict[str, np.ndarray]:
        """predict, but the blame of a wrong request is a ValueError.

        One request at a time: torch uses all its threads for one, and the memory of two would be twice as much.
        """
        gamma = None
        if len(params.get("gamma", ())):  # one for all images of the request
            gamma = torch.tensor(params["gamma"], dtype=torch.float32, device=self.device).expand(len(images), -1)
        with self.turn:
            found = self.model.restore(torch.as_tensor(images, device=self.device), gamma)
        return {name: getattr(found, name).float().cpu().numpy() for name in ("image", "gamma", "psf")}


def _answer_in_sentences(max_pixels: int) -> None:
    """Has the scoring server answer through `answer` and bound what it receives.

    It has no hook for either, but finds `invocations` by name, and makes its application, a FastAPI, after the model is
    loaded.
    """
    import fastapi
    from mlflow.pyfunc import scoring_server

    stock = scoring_server.invocations

    def invocations(data: bytes, content_type: str | None, model: Any, input_schema: Any) -> Any:
        served = model.unwrap_python_model()
        if not isinstance(served, BlindDeblurring):
            return stock(data, content_type, model, input_schema)
        said = answer(data, content_type, served.restore, max_pixels=served.max_pixels)
        return scoring_server.InvocationsResponse(said.text, said.status, "application/json")

    class Application(fastapi.FastAPI):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await Bounded(super().__call__, max_pixels)(scope, receive, send)

    scoring_server.invocations = invocations
    fastapi.FastAPI = Application  # type: ignore[misc]


set_model(BlindDeblurring())
