"""What works on the food: knife, spoon, hand and tap, and the small bits that fly off."""

from __future__ import annotations

import itertools

import numpy as np
from PIL import Image

from kitchen.canvas import Canvas, Colour, oval, smooth, tint, turned

SKINS = [(244, 204, 172), (226, 176, 138), (190, 136, 98), (136, 90, 62), (98, 64, 46)]
SLEEVES = [(70, 104, 156), (168, 60, 62), (236, 234, 228), (72, 122, 88), (60, 60, 72), (206, 160, 70)]


def _fist(canvas: Canvas, x: float, y: float, skin: Colour, sleeve: Colour) -> None:
    """A closed hand round a handle, its arm leaving to the right."""
    canvas.line([(x + 0.1, y), (1.2, y + 0.05)], skin, 0.26)
    canvas.polygon([(x + 0.42, y - 0.2), (1.2, y - 0.22), (1.2, y + 0.3), (x + 0.42, y + 0.22)], sleeve)
    canvas.line([(x + 0.45, y - 0.18), (x + 0.45, y + 0.2)], tint(sleeve, 0.7), 0.04)
    canvas.ellipse(x, y, 0.2, 0.19, skin)
    for finger in range(4):
        canvas.ellipse(x - 0.15 + 0.1 * finger, y + 0.1, 0.065, 0.11, tint(skin, 0.92 if finger % 2 else 1))
    canvas.line([(x + 0.1, y - 0.12), (x - 0.14, y - 0.14)], tint(skin, 1.1), 0.09)


def knife(skin: Colour, sleeve: Colour) -> Image.Image:
    """Blade along the x axis, tip at (-0.97, 0.1), edge below."""
    canvas = Canvas()
    canvas.line([(0.02, 0), (0.5, 0)], (58, 40, 30), 0.13)
    canvas.polygon(
        [(0.04, -0.09), (0.04, 0.15), (-0.6, 0.16), (-0.86, 0.13), (-0.98, 0.08), (-0.8, -0.05), (-0.5, -0.09)],
        (196, 204, 212),
    )
    canvas.polygon(
        [(0.04, 0.07), (0.04, 0.15), (-0.6, 0.16), (-0.86, 0.13), (-0.98, 0.08), (-0.6, 0.09)], (238, 242, 246)
    )
    _fist(canvas, 0.32, 0, skin, sleeve)
    return canvas.finish(0.4)


def spoon(skin: Colour, sleeve: Colour) -> Image.Image:
    """A wooden spoon along the x axis, its bowl centred on (-0.74, 0)."""
    canvas, wood = Canvas(), (196, 142, 84)
    canvas.line([(-0.6, 0), (0.5, 0)], wood, 0.09)
    canvas.polygon(oval(-0.74, 0, 0.25, 0.18), wood)
    canvas.polygon(oval(-0.75, 0.01, 0.19, 0.125), tint(wood, 0.72))
    _fist(canvas, 0.3, 0, skin, sleeve)
    return canvas.finish(0.4)


def hand(skin: Colour, sleeve: Colour) -> Image.Image:
    """An open hand along the x axis, its palm centred on (-0.4, 0), fingers to the left."""
    canvas = Canvas()
    canvas.line([(-0.2, 0.02), (0.6, 0.02)], skin, 0.3)
    canvas.polygon([(0.22, -0.24), (1.1, -0.28), (1.1, 0.32), (0.22, 0.28)], sleeve)
    canvas.line([(0.25, -0.22), (0.25, 0.26)], tint(sleeve, 0.7), 0.05)
    canvas.polygon(
        smooth([(-0.62, -0.2), (-0.3, -0.26), (-0.05, -0.16), (-0.05, 0.2), (-0.3, 0.26), (-0.62, 0.22)]), skin
    )
    canvas.line([(-0.22, 0.2), (-0.42, 0.36), (-0.58, 0.42)], skin, 0.13)
    for finger, reach in enumerate((0.88, 0.96, 0.93, 0.82)):
        y = -0.17 + 0.115 * finger
        canvas.line([(-0.5, y), (-reach, y * 1.15)], skin, 0.115)
        canvas.line([(-0.56, y + 0.06), (-reach + 0.05, y * 1.15 + 0.06)], tint(skin, 0.74), 0.018)
        canvas.ellipse(-reach - 0.01, y * 1.15, 0.03, 0.035, tint(skin, 1.5))
    return canvas.finish(0.5)


def tap() -> Image.Image:
    """A water tap whose mouth is at (-0.62, 0.3)."""
    canvas, steel = Canvas(), (176, 186, 196)
    canvas.line([(1, -0.5), (-0.3, -0.5)], steel, 0.24)
    canvas.line([(-0.3, -0.5), (-0.56, -0.4), (-0.62, -0.1), (-0.62, 0.2)], steel, 0.22)
    canvas.polygon([(-0.76, 0.14), (-0.48, 0.14), (-0.48, 0.3), (-0.76, 0.3)], tint(steel, 0.7))
    canvas.line([(0.3, -0.55), (0.3, -0.82)], tint(steel, 0.8), 0.12)
    canvas.line([(0.05, -0.86), (0.55, -0.86)], (196, 62, 56), 0.12)
    canvas.line([(0.95, -0.56), (-0.3, -0.56)], tint(steel, 2.2), 0.04)
    return canvas.finish(0.5)


def water(rng) -> Image.Image:
    """A stretch of falling water, from y = -1 to 1."""
    canvas, blue = Canvas(), (158, 206, 238)
    left, right = -0.16 + rng.uniform(-0.03, 0.03, 9), 0.16 + rng.uniform(-0.03, 0.03, 9)
    heights = np.linspace(-1, 1, 9)
    canvas.polygon(np.concatenate([np.stack([left, heights], 1), np.stack([right, heights], 1)[::-1]]), blue)
    for side in (left, right):
        canvas.line(np.stack([side, heights], 1), tint(blue, 0.66), 0.035)
    for x, y in rng.uniform((-0.13, -1), (0.13, 0.7), (14, 2)):
        canvas.line([(x, y), (x, y + 0.3)], tint(blue, rng.choice([0.8, 2.5])), 0.025)
    canvas.image.putalpha(canvas.outline().point(lambda value: value * 200 // 255))
    return canvas.image.reduce(2)


def drop(colour: Colour) -> Image.Image:
    """One drop or crumb filling the canvas."""
    canvas = Canvas()
    canvas.polygon(oval(0, 0, 0.8, 0.8, 3, 0.08), colour)
    canvas.ellipse(-0.3, -0.3, 0.22, 0.18, tint(colour, 2.2))
    return canvas.finish(0.6).reduce(4)


def curl(colour: Colour) -> Image.Image:
    """A curled strip of peel."""
    canvas = Canvas()
    angle = np.linspace(0.2, 2.4 * np.pi, 60)
    spiral = np.stack([np.linspace(-0.6, 0.6, 60) - 0.25 * np.cos(angle), 0.42 * np.sin(angle)], 1)
    canvas.line(spiral, tint(colour, 0.65), 0.46)
    canvas.line(spiral - (0, 0.05), tint(colour, 1.2), 0.32)
    return canvas.finish(0.4).reduce(2)


def strips(picture: Image.Image, count: int) -> list[Image.Image]:
    """The picture cut into upright slices, left to right, each in its old place on a full canvas."""
    pixels = np.asarray(picture)
    left, _, right, _ = picture.getbbox()
    edges = np.linspace(left, right, count + 1).round().astype(int)
    pieces = []
    for start, end in itertools.pairwise(edges):
        piece = np.zeros_like(pixels)
        piece[:, start:end] = pixels[:, start:end]
        piece[:, end - 2 : end, :3] = piece[:, end - 2 : end, :3] // 2 + 110  # the fresh face of the cut
        pieces.append(Image.fromarray(piece))
    return pieces


def peelings(picture: Image.Image, count: int) -> list[Image.Image]:
    """The picture with 0, 1, … `count` bands peeled, from the top: peeled skin is pale."""
    pixels = np.asarray(picture)
    _, top, _, bottom = picture.getbbox()
    pale = pixels.copy()
    pale[..., :3] = (pixels[..., :3] * 0.4 + np.array([248, 238, 200]) * 0.6).astype(np.uint8)
    stages = []
    for edge in np.linspace(top, bottom, count + 1).round().astype(int):
        stage = pixels.copy()
        stage[:edge] = pale[:edge]
        stages.append(Image.fromarray(stage))
    return stages


def turn_picture(picture: Image.Image, degrees: float) -> Image.Image:
    """The picture turned clockwise about its middle, shrunk to stay within its square."""
    size = picture.width
    y, x = np.nonzero(np.asarray(picture)[..., 3])
    farthest = np.hypot(x - size / 2, y - size / 2).max() / (size / 2)
    inverse = turned(np.eye(2) * max(1.0, farthest / 0.98), -degrees)
    centre = np.array([size / 2, size / 2])
    a, b = inverse[:, 0], inverse[:, 1]
    offset = centre - np.stack([a, b]) @ centre
    data = (a[0], a[1], offset[0], b[0], b[1], offset[1])
    return picture.transform(picture.size, Image.Transform.AFFINE, data, Image.Resampling.BICUBIC)
