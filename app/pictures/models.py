"""Pictures and their sizes."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app import clock
from app.database import Base, enum_type


class PictureFormat(StrEnum):
    """How we keep it: browsers know WebP, mail programs do not. Also the ending of its address."""

    WEBP = "webp"  # pictures of articles
    JPEG = "jpg"  # pictures of letters
    PNG = "png"  # pictures of letters, too: what is transparent, or drawn with few colours


class Picture(Base):
    """A picture as its author gave it to us, re-encoded; `key` is its part of the public address."""

    __tablename__ = "picture"

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(32), unique=True)  # random: the address tells nothing and never changes
    author_id: Mapped[int | None] = mapped_column(ForeignKey("user.id", ondelete="SET NULL"), index=True)
    format: Mapped[PictureFormat] = mapped_column(enum_type(PictureFormat), default=PictureFormat.WEBP)
    alt: Mapped[str] = mapped_column(String(300), default="")
    width: Mapped[int] = mapped_column()  # pixels, of the largest size
    height: Mapped[int] = mapped_column()
    weight: Mapped[int] = mapped_column(default=0)  # bytes, of all sizes together
    used_at: Mapped[datetime | None] = mapped_column()  # when a message was first kept with it; None: in no letter yet
    created_at: Mapped[datetime] = mapped_column(default=clock.now)

    sizes: Mapped[list["PictureSize"]] = relationship(order_by="PictureSize.width", passive_deletes=True)


class PictureSize(Base):
    """One of a picture's sizes."""

    __tablename__ = "picture_size"

    picture_id: Mapped[int] = mapped_column(ForeignKey("picture.id", ondelete="CASCADE"), primary_key=True)
    width: Mapped[int] = mapped_column(primary_key=True)  # pixels
    image: Mapped[bytes] = mapped_column(LargeBinary, deferred=True)  # without metadata
