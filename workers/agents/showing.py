"""Files that come with what a person says: their words, or the pictures themselves, within bounds.

Room is shared out from the latest message backwards, so that what was shown last is seen whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from models import attachments, catalogue, media
from models.attachments import Attachment
from workers.agents.tools.base import bounded
from workers.extraction.reading import settle
from workers.llm.base import Image, Model, Part, Text
from workers.llm.estimating import CHARACTERS_PER_TOKEN

SHARE = 4  # part of the window that files may take
MOST_CHARACTERS = 200_000
LEAST_CHARACTERS = 200  # with less room than this a file is only named
MOST_IMAGES = 8
MOST_IMAGE_BYTES = 5 << 20  # of one; providers refuse larger ones
ALL_IMAGE_BYTES = 16 << 20

UNHEARD = "a recording, which cannot be listened to yet"
UNSEEN = "a picture, which you cannot see: a model with vision could"
TOO_LARGE = "a picture that is too large to be shown"
NO_ROOM = "left out, because what was shown later fills the room there is"


@dataclass
class Room:
    """How much of the files there is room for in one question to a model."""

    sees: bool
    characters: int
    images: int = MOST_IMAGES
    image_bytes: int = ALL_IMAGE_BYTES

    @classmethod
    def of(cls, model: Model) -> Room:
        """What a model with this window takes."""
        most = min(MOST_CHARACTERS, model.window * CHARACTERS_PER_TOKEN // SHARE)
        return cls(catalogue.sees(model.provider) and not model.small, most)

    def shown(self, wanted: Sequence[str]) -> tuple[Part, ...]:
        """What stands for these files in a message, in their order; less room is left then.

        Files that nobody has read yet are read now. Raises Unavailable when they cannot be had.
        """
        found = {row.id: row for row in attachments.among(wanted)}
        return tuple(self._part(found.get(key), key) for key in dict.fromkeys(wanted))

    def _part(self, attachment: Attachment | None, key: str) -> Part:
        if attachment is None:
            return Text(f"\n[file {key}: it was deleted]\n")
        if attachment.family == media.IMAGE:
            return self._image(attachment)
        if attachment.family == media.AUDIO:
            return _named(attachment, UNHEARD)
        return self._text(settle(attachment))

    def _text(self, attachment: Attachment) -> Part:
        if attachment.text is None:
            return _named(attachment, attachment.error or "it could not be read")
        if self.characters < LEAST_CHARACTERS:
            return _named(attachment, NO_ROOM)
        words = bounded(attachment.text, self.characters)
        self.characters -= len(words)
        words = words.replace("</file", "</ file")  # only ours ends it
        return Text(f'\n<file name="{_quoted(attachment.filename)}">\n{words}\n</file>\n')

    def _image(self, attachment: Attachment) -> Part:
        if not self.sees:
            return _named(attachment, UNSEEN)
        if attachment.size > MOST_IMAGE_BYTES:
            return _named(attachment, TOO_LARGE)
        if not self.images or attachment.size > self.image_bytes:
            return _named(attachment, NO_ROOM)
        self.images -= 1
        self.image_bytes -= attachment.size
        about = attachment.digest, attachment.mime_type, attachment.filename
        return Image(attachment.id, *about)


def _named(attachment: Attachment, why: str) -> Text:
    return Text(f"\n[file {_quoted(attachment.filename)}: {why}]\n")


def _quoted(name: str) -> str:
    """A name that cannot end the line or the mark that it stands in."""
    return name.translate(str.maketrans('"<>[]', "'()()"))
