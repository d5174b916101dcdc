"""The stage: a kitchen behind, a camera in front, and a way to put pictures in between."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageFilter

from kitchen.canvas import SIZE, Canvas, smooth, tint

SIDE = 224  # pixels of a frame's side
REACH = 1.15  # the backdrop reaches a little beyond the frame, so that the camera may drift
WALLS = [
    (226, 214, 190),
    (190, 208, 200),
    (206, 190, 176),
    (176, 196, 214),
    (232, 222, 214),
    (150, 170, 150),
    (214, 180, 160),
]
WOODS = [(166, 116, 72), (126, 84, 52), (196, 154, 104), (96, 66, 46)]
STONES = [(206, 204, 198), (120, 124, 130), (70, 74, 80), (226, 216, 200)]
PAINTS = [(182, 60, 54), (60, 100, 150), (232, 228, 216), (62, 120, 90), (216, 164, 62), (92, 84, 100)]
WALL_KINDS = ("tiles", "bricks", "stripes", "panels")
SUPPORTS = ("board", "plate", "pan", "tray")


class Sprite:
    """A picture that can be put on a frame at any place, size and angle, with its half-size copies."""

    def __init__(self, picture: Image.Image):
        self.levels = [picture]
        while self.levels[-1].width > 32:
            self.levels.append(self.levels[-1].reduce(2))
        left, top, right, bottom = picture.getbbox() or (0, 0, 1, 1)
        to_unit = 2 / picture.width
        self.box = (left * to_unit - 1, top * to_unit - 1, right * to_unit - 1, bottom * to_unit - 1)

    def shadow(self) -> Sprite:
        """A soft dark copy."""
        blurred = (
            self.levels[1].getchannel("A").point(lambda value: value * 2 // 5).filter(ImageFilter.GaussianBlur(5))
        )
        dark = Image.new("RGBA", blurred.size, (20, 14, 10, 0))
        dark.putalpha(blurred)
        return Sprite(dark)


class Stage:
    """One frame being made. World coordinates: the frame spans -1 to 1 when the camera stands still at zoom 1."""

    def __init__(self, x: float = 0.0, y: float = 0.0, zoom: float = 1.0, roll: float = 0.0):
        self.camera = (x, y, zoom, roll)
        self.image = Image.new("RGB", (SIDE, SIDE))

    def put(self, sprite: Sprite, x, y, size, angle=0.0, stretch=(1.0, 1.0), anchor=(0.0, 0.0)) -> None:
        """Puts the sprite's `anchor` on (x, y); `size` is half its width, `stretch` acts before `angle` (degrees)."""
        camera_x, camera_y, zoom, roll = self.camera
        scale = zoom * SIDE / 2
        tilt, turn = math.radians(roll), math.radians(angle + roll)
        across, down = x - camera_x, y - camera_y
        centre_x = SIDE / 2 + scale * (across * math.cos(tilt) - down * math.sin(tilt))
        centre_y = SIDE / 2 + scale * (across * math.sin(tilt) + down * math.cos(tilt))
        width, height = scale * size * stretch[0], scale * size * stretch[1]
        c, s = math.cos(turn), math.sin(turn)
        corners = [
            (
                c * width * (u - anchor[0]) - s * height * (v - anchor[1]),
                s * width * (u - anchor[0]) + c * height * (v - anchor[1]),
            )
            for u in sprite.box[::2]
            for v in sprite.box[1::2]
        ]
        left = max(0, math.floor(centre_x + min(corner[0] for corner in corners)) - 1)
        top = max(0, math.floor(centre_y + min(corner[1] for corner in corners)) - 1)
        right = min(SIDE, math.ceil(centre_x + max(corner[0] for corner in corners)) + 1)
        bottom = min(SIDE, math.ceil(centre_y + max(corner[1] for corner in corners)) + 1)
        if right <= left or bottom <= top:
            return
        level = 0
        while level + 1 < len(sprite.levels) and sprite.levels[level + 1].width >= 2 * scale * size:
            level += 1
        picture = sprite.levels[level]
        half = picture.width / 2
        a, b, d, e = half * c / width, half * s / width, -half * s / height, half * c / height
        x0, y0 = left - centre_x, top - centre_y  # Pillow itself adds half a pixel to both
        data = (a, b, a * x0 + b * y0 + half * (anchor[0] + 1), d, e, d * x0 + e * y0 + half * (anchor[1] + 1))
        patch = picture.transform(
            (right - left, bottom - top), Image.Transform.AFFINE, data, Image.Resampling.BILINEAR
        )
        self.image.paste(patch, (left, top), patch if patch.mode == "RGBA" else None)


def pick(rng, choices):
    """One of `choices`, as it stands there."""
    return choices[int(rng.integers(len(choices)))]


def _vary(rng, colour):
    return tuple(int(value) for value in (np.array(colour) * rng.uniform(0.88, 1.06, 3)).clip(0, 255))


def _wall(canvas: Canvas, rng, edge: float) -> None:
    colour, kind = _vary(rng, pick(rng, WALLS)), pick(rng, WALL_KINDS)
    seam = tint(colour, 0.82)
    canvas.polygon([(-1, -1), (1, -1), (1, edge), (-1, edge)], colour)
    if kind in ("tiles", "bricks"):
        high = rng.uniform(0.13, 0.22)
        wide = high if kind == "tiles" else 2 * high
        for row, y in enumerate(np.arange(edge, -1, -high)):
            canvas.line([(-1, y), (1, y)], seam, 0.014)
            for x in np.arange(-1.2 + (wide / 2 if row % 2 and kind == "bricks" else 0), 1, wide):
                if rng.random() < 0.15:
                    canvas.polygon(
                        [(x, y), (x + wide, y), (x + wide, y - high), (x, y - high)],
                        tint(colour, rng.uniform(0.88, 1.3)),
                    )
                canvas.line([(x, y), (x, y - high)], seam, 0.014)
    else:
        wide = rng.uniform(0.16, 0.3)
        for x in np.arange(-1, 1, wide):
            if kind == "stripes":
                canvas.polygon([(x, -1), (x + wide / 2, -1), (x + wide / 2, edge), (x, edge)], tint(colour, 0.92))
            else:
                canvas.line([(x, -1), (x, edge)], seam, 0.02)


def _window(canvas: Canvas, rng, x: float, y: float) -> None:
    sky, frame, cloth = (170, 212, 240), (244, 242, 236), _vary(rng, pick(rng, PAINTS))
    canvas.polygon([(x - 0.38, y - 0.36), (x + 0.38, y - 0.36), (x + 0.38, y + 0.36), (x - 0.38, y + 0.36)], frame)
    canvas.polygon([(x - 0.33, y - 0.32), (x + 0.33, y - 0.32), (x + 0.33, y + 0.31), (x - 0.33, y + 0.31)], sky)
    canvas.polygon(
        [(x - 0.33, y + 0.31), (x - 0.33, y + 0.16), (x, y + 0.06), (x + 0.33, y + 0.18), (x + 0.33, y + 0.31)],
        (116, 164, 92),
    )
    canvas.line([(x, y - 0.34), (x, y + 0.34)], frame, 0.04)
    canvas.line([(x - 0.34, y), (x + 0.34, y)], frame, 0.04)
    for side in (-1, 1):
        curtain = [
            (x, y - 0.4),
            (x + side * 0.46, y - 0.4),
            (x + side * 0.46, y + 0.4),
            (x + side * 0.3, y + 0.4),
            (x + side * 0.24, y),
        ]
        canvas.polygon(curtain, cloth)
        for fold in (0.2, 0.3, 0.4):
            canvas.line([(x + side * fold, y - 0.38), (x + side * (fold + 0.04), y + 0.36)], tint(cloth, 0.8), 0.018)
    canvas.line([(x - 0.5, y - 0.41), (x + 0.5, y - 0.41)], (110, 80, 54), 0.04)


def _shelf(canvas: Canvas, rng, x: float, y: float) -> None:
    canvas.polygon([(x - 0.48, y), (x + 0.48, y), (x + 0.48, y + 0.06), (x - 0.48, y + 0.06)], pick(rng, WOODS))
    for at in np.linspace(-0.36, 0.36, 4) + x:
        colour, high = _vary(rng, pick(rng, PAINTS)), rng.uniform(0.16, 0.32)
        if rng.random() < 0.5:  # a jar
            canvas.polygon([(at - 0.09, y), (at - 0.09, y - high), (at + 0.09, y - high), (at + 0.09, y)], colour)
            canvas.polygon(
                [
                    (at - 0.07, y - high),
                    (at + 0.07, y - high),
                    (at + 0.07, y - high - 0.05),
                    (at - 0.07, y - high - 0.05),
                ],
                (90, 74, 60),
            )
            canvas.polygon(
                [(at - 0.06, y - 0.06), (at + 0.06, y - 0.06), (at + 0.06, y - 0.14), (at - 0.06, y - 0.14)],
                (244, 240, 228),
            )
        else:  # a cup
            canvas.ellipse(at + 0.1, y - 0.08, 0.06, 0.06, tint(colour, 0.7))
            canvas.polygon([(at - 0.08, y), (at - 0.1, y - 0.18), (at + 0.1, y - 0.18), (at + 0.08, y)], colour)
            canvas.ellipse(at, y - 0.18, 0.1, 0.025, tint(colour, 0.6))


def _hooks(canvas: Canvas, rng, x: float, y: float) -> None:
    canvas.line([(x - 0.45, y - 0.3), (x + 0.45, y - 0.3)], (70, 66, 64), 0.035)
    for at, kind in zip((-0.33, -0.08, 0.22), rng.permutation(3), strict=True):
        metal = pick(rng, [(150, 154, 160), (72, 70, 72), (184, 110, 70)])
        canvas.line([(x + at, y - 0.3), (x + at, y + 0.02)], tint(metal, 0.8), 0.04)
        if kind == 0:
            canvas.ellipse(x + at, y + 0.16, 0.16, 0.16, metal)
            canvas.ellipse(x + at, y + 0.16, 0.12, 0.12, tint(metal, 0.8))
        elif kind == 1:
            canvas.ellipse(x + at, y + 0.08, 0.09, 0.07, metal)
        else:
            canvas.polygon(
                [(x + at - 0.06, y), (x + at + 0.06, y), (x + at + 0.09, y + 0.2), (x + at - 0.09, y + 0.2)], metal
            )


def _pot(canvas: Canvas, rng, x: float, y: float) -> None:
    colour = _vary(rng, pick(rng, PAINTS + [(90, 94, 100)]))
    canvas.line([(x - 0.26, y - 0.24), (x + 0.26, y - 0.24)], tint(colour, 0.6), 0.06)
    canvas.polygon(
        smooth([(x - 0.2, y - 0.32), (x - 0.2, y - 0.04), (x, y + 0.02), (x + 0.2, y - 0.04), (x + 0.2, y - 0.32)]),
        colour,
    )
    canvas.ellipse(x, y - 0.34, 0.22, 0.07, tint(colour, 0.8))
    canvas.ellipse(x, y - 0.41, 0.04, 0.035, (40, 36, 36))


def _bowl(canvas: Canvas, rng, x: float, y: float) -> None:
    colour = _vary(rng, pick(rng, PAINTS))
    canvas.polygon(
        smooth(
            [
                (x - 0.22, y - 0.18),
                (x - 0.14, y - 0.02),
                (x, y + 0.01),
                (x + 0.14, y - 0.02),
                (x + 0.22, y - 0.18),
                (x, y - 0.2),
            ]
        ),
        colour,
    )
    canvas.ellipse(x, y - 0.18, 0.22, 0.05, tint(colour, 0.65))
    canvas.line([(x - 0.19, y - 0.11), (x, y - 0.08), (x + 0.19, y - 0.11)], tint(colour, 1.8), 0.02)


def _bottle(canvas: Canvas, rng, x: float, y: float) -> None:
    colour = pick(rng, [(66, 92, 50), (150, 96, 34), (190, 206, 196)])
    shape = [(x - 0.09, y), (x - 0.09, y - 0.3), (x - 0.035, y - 0.4), (x - 0.035, y - 0.54)]
    canvas.polygon(shape + [(2 * x - px, py) for px, py in reversed(shape)], colour)
    canvas.polygon(
        [(x - 0.09, y - 0.08), (x + 0.09, y - 0.08), (x + 0.09, y - 0.24), (x - 0.09, y - 0.24)], (240, 230, 204)
    )
    canvas.line([(x, y - 0.54), (x, y - 0.58)], (90, 62, 44), 0.06)


def _plant(canvas: Canvas, rng, x: float, y: float) -> None:
    for angle in np.radians(rng.uniform(200, 340, 14)):
        end = (x + 0.28 * np.cos(angle), y - 0.16 + 0.32 * np.sin(angle))
        canvas.line([(x, y - 0.16), end], (70, 130, 60), 0.02)
        canvas.ellipse(*end, 0.05, 0.035, _vary(rng, (92, 156, 72)))
    canvas.polygon([(x - 0.12, y - 0.2), (x + 0.12, y - 0.2), (x + 0.09, y), (x - 0.09, y)], (186, 104, 70))


def _top(canvas: Canvas, rng, edge: float) -> None:
    colour = _vary(rng, pick(rng, WOODS + STONES))
    canvas.polygon([(-1, edge), (1, edge), (1, 1), (-1, 1)], colour)
    canvas.polygon([(-1, edge), (1, edge), (1, edge + 0.03), (-1, edge + 0.03)], tint(colour, 1.5))
    _grain(canvas, rng, colour, edge + 0.05, rng.random() < 0.5)


def _grain(canvas: Canvas, rng, colour, top: float, wood: bool) -> None:
    """Wood grain, or the specks of stone, below `top`."""
    for y in np.linspace(top, 1, max(3, int(22 * (1 - top)))):
        if wood:
            x = rng.uniform(-1, 1)
            canvas.line(
                [(x - 0.5, y), (x, y + rng.uniform(-0.02, 0.02)), (x + 0.6, y)],
                tint(colour, rng.choice([0.88, 1.15])),
                0.012,
            )
        else:
            for x in rng.uniform(-1, 1, 12):
                canvas.ellipse(x, y + rng.uniform(-0.04, 0.04), 0.014, 0.01, tint(colour, rng.choice([0.75, 1.5])))


def draw_support(kind: str, rng) -> Image.Image:
    """What the thing lies on, seen from the side and above: a board, plate, pan or tray."""
    canvas = Canvas()
    if kind == "board":
        wood = _vary(rng, pick(rng, [(206, 160, 104), (166, 112, 66), (226, 194, 146)]))
        canvas.polygon([(-0.8, -0.3), (0.8, -0.3), (0.98, 0.3), (-0.98, 0.3)], wood)
        canvas.polygon([(-0.98, 0.3), (0.98, 0.3), (0.98, 0.4), (-0.98, 0.4)], tint(wood, 0.65))
        for y in np.linspace(-0.25, 0.25, 8):
            canvas.line([(-0.75, y), (rng.uniform(0, 0.8), y)], tint(wood, 0.85), 0.015)
    elif kind == "plate":
        paint = _vary(rng, pick(rng, [(240, 240, 236), (180, 206, 220), (236, 214, 190)]))
        for scale, shade in ((1, 0.7), (0.97, 1), (0.72, 0.86), (0.69, 1.1)):
            canvas.ellipse(0, 0.04 if scale == 1 else 0, 0.98 * scale, 0.38 * scale, tint(paint, shade))
    elif kind == "pan":
        iron = _vary(rng, pick(rng, [(64, 64, 68), (96, 60, 46)]))
        canvas.line([(-0.6, 0.1), (-0.99, 0.3)], tint(iron, 0.7), 0.14)
        canvas.ellipse(0.05, 0.08, 0.9, 0.38, tint(iron, 0.6))
        canvas.ellipse(0.05, 0, 0.9, 0.38, tint(iron, 1.6))
        canvas.ellipse(0.05, 0.01, 0.84, 0.34, iron)
    else:
        steel = _vary(rng, (186, 190, 196))
        canvas.polygon([(-0.86, -0.32), (0.86, -0.32), (0.98, 0.36), (-0.98, 0.36)], steel)
        canvas.polygon([(-0.76, -0.25), (0.76, -0.25), (0.87, 0.28), (-0.87, 0.28)], tint(steel, 0.85))
        for x in np.linspace(-0.7, 0.7, 8):
            canvas.line([(x * 0.95, -0.24), (x * 1.12, 0.27)], tint(steel, 0.75), 0.015)
    return canvas.finish(0.3)


def _behind(canvas: Canvas, blur: float, fade: float) -> Image.Image:
    """A backdrop as a lens focused on the food shows it: a little soft, a little pale, so that the food stands out."""
    picture = canvas.image.convert("RGB").filter(ImageFilter.GaussianBlur(blur))
    haze = Image.new("RGB", picture.size, (186, 176, 164))
    return Image.blend(picture, haze, fade)


def draw_kitchen(rng) -> Image.Image:
    """Wall, work-top and props, reaching `REACH` world units each way."""
    canvas, edge = Canvas(), rng.uniform(-0.12, 0.08)
    _wall(canvas, rng, edge)
    ornaments = [_window, _shelf, _hooks]
    for place, ornament in zip((-0.5, 0.52), rng.permutation(3)[:2], strict=True):
        ornaments[ornament](canvas, rng, place + rng.uniform(-0.1, 0.1), edge - rng.uniform(0.48, 0.56))
    _top(canvas, rng, edge)
    props = [_pot, _bowl, _bottle, _plant]
    for place, prop in zip((-0.76, -0.4, 0.4, 0.76), rng.permutation(4), strict=True):
        if rng.random() < 0.75:
            props[prop](canvas, rng, place + rng.uniform(-0.06, 0.06), edge + rng.uniform(0.05, 0.14))
    return _behind(canvas, SIZE / 400, 0.25)


def draw_ground(rng) -> Image.Image:
    """What lies behind a close-up: cloth, boards, tiles or stone seen from above, a little out of focus."""
    canvas, kind = Canvas(), pick(rng, ("cloth", "boards", "tiles", "stone"))
    colour = _vary(rng, pick(rng, {"cloth": PAINTS, "boards": WOODS, "tiles": WALLS, "stone": STONES}[kind]))
    canvas.polygon([(-1, -1), (1, -1), (1, 1), (-1, 1)], colour)
    gap = rng.uniform(0.2, 0.45)
    for at in np.arange(-1, 1, gap) + rng.uniform(0, gap):
        if kind == "cloth":
            canvas.polygon([(at, -1), (at + gap / 2, -1), (at + gap / 2, 1), (at, 1)], tint(colour, 1.4))
        elif kind != "stone":
            canvas.line([(-1, at), (1, at)], tint(colour, 0.75), 0.025)
            if kind == "tiles":
                canvas.line([(at, -1), (at, 1)], tint(colour, 0.75), 0.025)
    if kind in ("stone", "boards"):
        _grain(canvas, rng, colour, -1, kind == "boards")
    return _behind(canvas, SIZE / 90, 0.4)


def light_of(rng) -> np.ndarray:
    """How bright and how warm each pixel is: a factor of shape (SIDE, SIDE, 3), darker towards the corners."""
    warmth = rng.uniform(-0.07, 0.07)
    colour = rng.uniform(0.88, 1.08) * np.array([1 + warmth, 1.0, 1 - warmth])
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    side = rng.uniform(-0.08, 0.08) * x
    return ((1 - rng.uniform(0.04, 0.16) * (x**2 + y**2) + side)[..., None] * colour).astype(np.float32)


def photograph(stage: Stage, light: np.ndarray, noise: np.ndarray, mirror: bool) -> np.ndarray:
    """The frame as the camera records it: uint8, shape (SIDE, SIDE, 3)."""
    pixels = np.asarray(stage.image, np.float32) * light
    pixels += noise
    np.clip(pixels, 0, 255, out=pixels)
    frame = pixels.astype(np.uint8)
    return np.ascontiguousarray(frame[:, ::-1]) if mirror else frame
