"""Physics: γ → operator → image. Pure torch; randomness is an argument, dtype and device follow the inputs."""

from deepblur.operators.blur import Blur, BoundBlur
from deepblur.operators.convolution import Boundary, transfer_function
from deepblur.operators.eigen_psf import EigenPSFBlur, eigen_psfs
from deepblur.operators.families import MILD, PRINTED, SWAPPED, NoiseRange, UniformGamma
from deepblur.operators.noise import PoissonGaussian, noise_std_of
from deepblur.operators.product_convolution import ProductConvolutionBlur
from deepblur.operators.pupil import ZernikeBlur
from deepblur.operators.solver import conjugate_gradient
from deepblur.operators.symmetry import SQUARE, Symmetry, symmetries_of
from deepblur.operators.taper import pad_for_circular
from deepblur.operators.zernike import noll_to_nm, zernike, zernike_name

__all__ = [
    "MILD",
    "PRINTED",
    "SQUARE",
    "SWAPPED",
    "Blur",
    "BoundBlur",
    "Boundary",
    "EigenPSFBlur",
    "NoiseRange",
    "PoissonGaussian",
    "ProductConvolutionBlur",
    "Symmetry",
    "UniformGamma",
    "ZernikeBlur",
    "conjugate_gradient",
    "eigen_psfs",
    "noise_std_of",
    "noll_to_nm",
    "pad_for_circular",
    "symmetries_of",
    "transfer_function",
    "zernike",
    "zernike_name",
]
