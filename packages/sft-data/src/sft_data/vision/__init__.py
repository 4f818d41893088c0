"""Vision: pictures of a row, and what the model's processor makes of them."""

from sft_data.vision.batch import picture_batch
from sft_data.vision.expand import expand
from sft_data.vision.processor import PictureProcessor
from sft_data.vision.read import PictureReader, folder_of, open_picture

__all__ = ["PictureProcessor", "PictureReader", "expand", "folder_of", "open_picture", "picture_batch"]
