"""A COCO file that results are to fit: its categories and, if it has them, its images."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

import orjson
from pydantic import BaseModel, StrictInt, TypeAdapter, ValidationError

from storage.errors import InvalidJob


class _Category(BaseModel):
    id: StrictInt
    name: str


class _Image(BaseModel):
    id: StrictInt
    file_name: str = ""


_CATEGORIES = TypeAdapter(list[_Category])
_IMAGES = TypeAdapter(list[_Image])


@dataclass(frozen=True, slots=True)
class Reference:
    """Ids of categories by `label_key`; ids of images by file name and by themselves as text.

    Without images (`by_id` is empty) ids of images are for us to give.
    """

    where: str
    categories: dict[str, int]
    by_name: dict[str, int]
    by_id: dict[str, int]

    def category(self, label: str) -> int | None:
        """The category of this name, whatever the case; None if there is none."""
        return self.categories.get(label_key(label))

    def image(self, row_id: str, uri: str) -> int | None:
        """The image whose file name the URI ends with, or that the row's id names."""
        parts = _path(uri).split("/")
        for first in range(len(parts)):
            found = self.by_name.get("/".join(parts[first:]))
            if found is not None:
                return found
        return self.by_name.get(row_id, self.by_id.get(row_id))


def label_key(label: str) -> str:
    """What labels are compared by: words, whatever their case and the space between them."""
    return " ".join(label.casefold().split())


def read_reference(data: bytes, where: str) -> Reference:
    """A list of categories, or an object with `categories` and perhaps `images`, as COCO has
    them. Raises InvalidJob."""
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise InvalidJob(f"{where}: no JSON ({error}); give a COCO file") from None
    given = document if isinstance(document, dict) else {"categories": document}
    if "categories" not in given:
        raise InvalidJob(
            f"{where}: no categories; give a list of {{id, name}}, or a COCO file of annotations"
        )
    try:
        categories = _CATEGORIES.validate_python(given["categories"])
        images = _IMAGES.validate_python(given.get("images", []))
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in fault["loc"])
        raise InvalidJob(f"{where}: not as COCO has it: {place}: {fault['msg']}") from None
    by_key: dict[str, int] = {}
    for category in categories:
        if by_key.setdefault(label_key(category.name), category.id) != category.id:
            raise InvalidJob(f"{where}: two categories are called {category.name!r}")
    return Reference(
        where,
        by_key,
        {image.file_name: image.id for image in images if image.file_name},
        {str(image.id): image.id for image in images},
    )


def _path(uri: str) -> str:
    """What of a URI names the file."""
    scheme = uri.partition("://")[0]
    if scheme in ("http", "https", "file"):
        return unquote(urlsplit(uri).path)
    return "" if uri.startswith("data:") else uri
