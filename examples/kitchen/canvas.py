"""A small drawing board: antialiased, softly lit pictures in coordinates from -1 to 1, y downwards."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

SIZE = 512  # pixels a side while drawing; halved at the end, which smooths every edge
Colour = tuple[int, int, int]


def tint(colour: Colour, factor: float) -> Colour:
    """The colour made darker (factor below 1) or lighter (above 1: moved towards white)."""
    if factor <= 1:
        return tuple(int(value * factor) for value in colour)
    return tuple(int(255 - (255 - value) / factor) for value in colour)


def smooth(points, steps: int = 10) -> np.ndarray:
    """A closed Catmull-Rom curve through `points`, shape (number of points * steps, 2)."""
    p1 = np.asarray(points, float)
    p0, p2, p3 = np.roll(p1, 1, 0), np.roll(p1, -1, 0), np.roll(p1, -2, 0)
    t = np.linspace(0, 1, steps, endpoint=False)[None, :, None]
    p0, p1, p2, p3 = (p[:, None] for p in (p0, p1, p2, p3))
    curve = 2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3
    return (curve / 2).reshape(-1, 2)


def oval(x: float, y: float, rx: float, ry: float, lobes: int = 0, depth: float = 0.0) -> np.ndarray:
    """Points round an ellipse; with `lobes`, its radius swings by `depth` that many times a turn."""
    angle = np.linspace(0, 2 * np.pi, 180, endpoint=False)
    swing = 1 + depth * np.cos(lobes * angle)
    return np.stack([x + rx * swing * np.cos(angle), y + ry * swing * np.sin(angle)], 1)


def turned(points, degrees: float, about=(0.0, 0.0)) -> np.ndarray:
    """`points` turned clockwise about a centre."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return (np.asarray(points, float) - about) @ np.array([[c, s], [-s, c]]) + about


class Canvas:
    """A transparent square picture to draw one thing on."""

    def __init__(self):
        self.image = Image.new("RGBA", (SIZE, SIZE))
        self._draw = ImageDraw.Draw(self.image)

    @staticmethod
    def _pixels(points) -> list[tuple[float, float]]:
        return [tuple(point) for point in ((np.asarray(points, float) + 1) * SIZE / 2).tolist()]

    def polygon(self, points, colour: Colour) -> None:
        self._draw.polygon(self._pixels(points), fill=colour)

    def ellipse(self, x: float, y: float, rx: float, ry: float, colour: Colour) -> None:
        (x0, y0), (x1, y1) = self._pixels([(x - rx, y - ry), (x + rx, y + ry)])
        self._draw.ellipse((x0, y0, x1, y1), fill=colour)

    def line(self, points, colour: Colour, width: float) -> None:
        """A line with round ends; `width` in the canvas's own unit."""
        pixels, thick = self._pixels(points), max(1, round(width * SIZE / 2))
        self._draw.line(pixels, fill=colour, width=thick, joint="curve")
        for x, y in (pixels[0], pixels[-1]):
            self._draw.ellipse((x - thick / 2, y - thick / 2, x + thick / 2, y + thick / 2), fill=colour)

    def outline(self) -> Image.Image:
        """What is covered so far: a mask to `trim` later strokes by."""
        return self.image.getchannel("A")

    def trim(self, mask: Image.Image) -> None:
        """Wipes off everything drawn outside `mask`."""
        self.image.putalpha(ImageChops.darker(self.image.getchannel("A"), mask))
        self._draw = ImageDraw.Draw(self.image)

    def dots(self, rng, count: int, radius: tuple[float, float], colour: Colour, spread: float = 0.95) -> None:
        """Scatters dots over the canvas (trim afterwards)."""
        places, radii = rng.uniform(-spread, spread, (count, 2)), rng.uniform(*radius, count)
        for (x, y), r in zip(places, radii, strict=True):
            self.ellipse(x, y, r, r * rng.uniform(0.6, 1), colour)

    def finish(self, light: float = 0.9) -> Image.Image:
        """The lit picture at half the drawing size; `light` is how round the thing looks."""
        return lit(self.image, light).reduce(2)


def lit(image: Image.Image, light: float) -> Image.Image:
    """Makes a flat picture look round: its blurred outline is taken for a hill lit from the upper left."""
    alpha = image.getchannel("A")
    small = alpha.reduce(4)
    hill = np.asarray(small.filter(ImageFilter.GaussianBlur(9)), np.float32) / 255
    down, right = np.gradient(hill)
    rim = np.asarray(small.filter(ImageFilter.GaussianBlur(1.5)), np.float32) / 255
    shade = (1 + light * 9 * (0.55 * right + 0.8 * down)).clip(0.55, 1.28) * (0.62 + 0.38 * rim**2)
    shade = Image.fromarray((shade * 150).clip(0, 255).astype(np.uint8)).resize(image.size, Image.Resampling.BILINEAR)
    pixels = np.asarray(image).astype(np.float32)
    pixels[..., :3] *= np.asarray(shade, np.float32)[..., None] / 150
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
