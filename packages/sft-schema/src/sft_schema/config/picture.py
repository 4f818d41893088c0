"""Which pictures are accepted."""

from __future__ import annotations

from sft_schema.config.section import Section, setting


class PictureSection(Section):
    """Limits of pictures, where `processor_type` is given."""

    max_image_pixels: int = setting(
        "Pixels of the largest picture; a row with a larger one is set aside before the picture is decoded.",
        80_000_000,
        ge=1,
        le=178_000_000,
    )
    fetch_images: bool = setting("Fetch pictures that rows name by an address (`http://`, `https://`).", False)
