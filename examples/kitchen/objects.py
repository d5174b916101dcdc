"""The sixteen things that are cooked, each with an outline and a texture of its own."""

from __future__ import annotations

import numpy as np
from PIL import Image

from kitchen.canvas import Canvas, oval, smooth, tint, turned

GREEN = (74, 142, 52)
CREAM = (250, 240, 214)


def _leaf(canvas: Canvas, x: float, y: float, length: float, width: float, degrees: float, colour=GREEN) -> None:
    shape = smooth([(0, 0), (length * 0.4, -width), (length, 0), (length * 0.4, width)])
    canvas.polygon(turned(shape, degrees) + (x, y), colour)
    canvas.line(turned([(0.02, 0), (length * 0.85, 0)], degrees) + (x, y), tint(colour, 0.7), 0.02)


def tomato(canvas: Canvas, rng) -> None:
    red = (216, 44, 32)
    canvas.polygon(oval(0, 0.08, 0.9, 0.8, 5, 0.035), red)
    inside = canvas.outline()
    for angle in np.arange(5) * 72 + 54:
        rib = [(0, -0.3), (0.35, -0.34), (0.7, -0.22), (1.05, 0.05)]
        canvas.line(turned(rib, angle, (0, -0.3)), tint(red, 0.8), 0.035)
    canvas.polygon(turned(oval(-0.45, -0.02, 0.14, 0.3), 25, (-0.45, -0.02)), tint(red, 1.9))
    canvas.trim(inside)
    for angle in np.arange(6) * 60 + rng.uniform(0, 60):
        _leaf(canvas, 0, -0.3, 0.55, 0.1, angle)
    canvas.line([(0, -0.3), (0.05, -0.55), (0.16, -0.85)], (60, 110, 40), 0.1)


def lemon(canvas: Canvas, rng) -> None:
    yellow = (246, 208, 26)
    rim = [(-0.98, 0), (-0.84, -0.16), (-0.55, -0.52), (0, -0.68), (0.55, -0.52), (0.84, -0.16)]
    rim += [(0.98, 0), (0.84, 0.16), (0.55, 0.52), (0, 0.68), (-0.55, 0.52), (-0.84, 0.16)]
    canvas.polygon(smooth(rim), yellow)
    inside = canvas.outline()
    canvas.dots(rng, 160, (0.012, 0.022), tint(yellow, 0.8))
    canvas.trim(inside)
    canvas.polygon(oval(0, 0, 0.72, 0.55), (255, 250, 205))
    for angle in np.arange(9) * 40 + rng.uniform(0, 40):
        wedge = smooth([(0.1, 0), (0.45, -0.23), (0.86, -0.25), (0.93, 0), (0.86, 0.25), (0.45, 0.23)])
        canvas.polygon(turned(wedge, angle) * (0.7, 0.53), (244, 200, 40))
        canvas.line(turned([(0.3, 0.06), (0.75, 0.08)], angle) * (0.7, 0.53), (255, 228, 120), 0.03)
    for angle in rng.uniform(0, 360, 4):
        canvas.polygon(turned(oval(0.3, 0, 0.08, 0.035), angle) * (0.8, 0.62), (250, 244, 220))


def carrot(canvas: Canvas, rng) -> None:
    orange = (240, 122, 24)
    for angle in (-38, -22, -8, 6, 20, 36):
        stalk = turned([(0.3, 0), (0.6, 0.02), (0.86, 0)], angle * 0.8, (0.3, 0))
        canvas.line(stalk, (66, 128, 44), 0.05)
        for along in np.linspace(0.3, 1, 7):
            x, y = stalk[0] + (stalk[-1] - stalk[0]) * along
            _leaf(canvas, x, y, 0.16, 0.035, angle + 50, (84, 156, 56))
            _leaf(canvas, x, y, 0.16, 0.035, angle - 50, (70, 138, 48))
    body = Canvas()
    body.polygon(
        smooth([(0.36, -0.3), (0.46, 0), (0.36, 0.3), (-0.3, 0.23), (-0.98, 0.02), (-0.98, -0.02), (-0.3, -0.23)]),
        orange,
    )
    inside = body.outline()
    for x in np.linspace(-0.8, 0.3, 13) + rng.uniform(-0.03, 0.03, 13):
        low = rng.uniform(-0.35, 0.15)
        bow = [(x, low), (x + 0.03, low + 0.12), (x, low + 0.24)]
        body.line(bow, tint(orange, 0.62), 0.035)
    body.line([(-0.6, -0.07), (0.3, -0.14)], tint(orange, 1.8), 0.05)
    body.trim(inside)
    canvas.image.alpha_composite(body.image)


def banana(canvas: Canvas, rng) -> None:
    yellow = (250, 214, 60)
    angle = np.radians(np.linspace(12, 168, 40))
    outer = np.stack([0.95 * np.cos(angle), -0.55 + 1.2 * np.sin(angle)], 1)
    inner = np.stack([0.82 * np.cos(angle), -0.58 + 0.62 * np.sin(angle)], 1)[::-1]
    canvas.polygon(np.concatenate([outer, inner]), yellow)
    inside = canvas.outline()
    middle = np.stack([0.9 * np.cos(angle), -0.56 + 0.93 * np.sin(angle)], 1)
    canvas.line(middle, tint(yellow, 0.72), 0.04)
    canvas.line(middle - (0, 0.16), tint(yellow, 1.7), 0.05)
    for x in rng.uniform(-0.75, 0.75, 26):
        y = -0.55 + rng.uniform(0.72, 1.15) * np.sqrt(1 - x * x * 0.9)
        canvas.ellipse(x, y, rng.uniform(0.02, 0.06), 0.022, (120, 78, 24))
    canvas.trim(inside)
    canvas.line([(0.9, -0.3), (0.93, -0.55), (0.9, -0.8)], (150, 130, 40), 0.15)
    canvas.line([(0.9, -0.78), (0.89, -0.84)], (74, 52, 24), 0.16)
    canvas.line([(-0.9, -0.3), (-0.93, -0.38)], (74, 52, 24), 0.15)


def corn(canvas: Canvas, rng) -> None:
    canvas.polygon(
        smooth(
            [
                (-0.46, 0.4),
                (-0.44, -0.4),
                (-0.26, -0.86),
                (0, -0.98),
                (0.26, -0.86),
                (0.44, -0.4),
                (0.46, 0.4),
                (0, 0.8),
            ]
        ),
        (196, 140, 20),
    )
    inside = canvas.outline()
    for row, y in enumerate(np.arange(-0.98, 0.8, 0.125)):
        for column in np.linspace(-0.82, 0.82, 7):
            x = 0.46 * np.sin(column * 1.45)
            bright = rng.uniform(0.88, 1.25)
            canvas.ellipse(x, y + 0.02 * (row % 2), 0.072 * np.cos(column), 0.056, tint((252, 212, 50), bright))
    canvas.trim(inside)
    for points, shade in (
        ([(0, 0.95), (-0.3, 0.75), (-0.62, 0.1), (-0.85, -0.42), (-0.42, 0), (-0.18, 0.35)], 0.85),
        ([(0, 0.95), (0.3, 0.75), (0.62, 0.1), (0.85, -0.42), (0.42, 0), (0.18, 0.35)], 0.95),
        ([(0, 0.98), (-0.34, 0.75), (-0.3, 0.4), (-0.05, 0.1), (0.28, 0.42), (0.34, 0.75)], 1.1),
    ):
        leaf = smooth(points)
        canvas.polygon(leaf, tint((112, 168, 60), shade))
        for bend in (0.25, 0.5, 0.75):
            end = np.asarray(points[3]) * (1 - 0.3 * bend) + (0.1 * (bend - 0.5), 0.1)
            canvas.line([(0.3 * (bend - 0.5), 0.9), end], tint((112, 168, 60), 0.7), 0.018)


def mushroom(canvas: Canvas, rng) -> None:
    brown = (158, 104, 62)
    canvas.polygon(
        smooth([(-0.26, 0.1), (-0.24, 0.5), (-0.34, 0.88), (0, 0.98), (0.34, 0.88), (0.24, 0.5), (0.26, 0.1)]),
        (240, 226, 200),
    )
    for x in (-0.14, 0, 0.14):
        canvas.line([(x, 0.35), (x * 1.3, 0.85)], (206, 186, 154), 0.025)
    canvas.polygon(oval(0, 0.16, 0.86, 0.2), (224, 200, 168))
    for x in np.linspace(-0.8, 0.8, 25):
        canvas.line([(x * 0.3, 0.02), (x, 0.34)], (150, 112, 80), 0.022)
    under = Canvas()
    under.polygon(oval(0, 0.16, 0.86, 0.2), brown)
    stalk = Canvas()
    stalk.polygon([(-0.26, 0.2), (0.26, 0.2), (0.4, 1), (-0.4, 1)], brown)
    whole = np.maximum(np.asarray(under.outline()), np.asarray(stalk.outline()))
    canvas.trim(Image.fromarray(whole))
    cap = Canvas()
    cap.polygon(
        smooth(
            [
                (-0.95, 0.16),
                (-0.88, -0.3),
                (-0.5, -0.8),
                (0, -0.95),
                (0.5, -0.8),
                (0.88, -0.3),
                (0.95, 0.16),
                (0.5, 0.1),
                (0, 0.07),
                (-0.5, 0.1),
            ]
        ),
        brown,
    )
    inside = cap.outline()
    for x, y, r in (
        (-0.55, -0.2, 0.13),
        (-0.2, -0.6, 0.14),
        (0.25, -0.3, 0.17),
        (0.62, -0.1, 0.11),
        (-0.12, -0.1, 0.1),
        (0.42, -0.7, 0.09),
        (-0.6, -0.55, 0.07),
    ):
        cap.ellipse(x + rng.uniform(-0.05, 0.05), y + rng.uniform(-0.04, 0.04), r, r * 0.75, (246, 226, 194))
    cap.trim(inside)
    canvas.image.alpha_composite(cap.image)


def fish(canvas: Canvas, rng) -> None:
    blue = (104, 142, 170)
    canvas.polygon(
        smooth([(0.5, 0), (0.72, -0.22), (0.98, -0.5), (0.88, 0), (0.98, 0.5), (0.72, 0.22)]), tint(blue, 0.75)
    )
    canvas.polygon(smooth([(-0.35, -0.35), (0, -0.75), (0.42, -0.5), (0.35, -0.2)]), tint(blue, 0.7))
    canvas.polygon(smooth([(-0.1, 0.35), (0.15, 0.72), (0.38, 0.5), (0.35, 0.25)]), tint(blue, 0.7))
    for x in np.linspace(0.76, 0.9, 4):
        canvas.line([(0.6, 0), (x, -0.4)], tint(blue, 0.5), 0.015)
        canvas.line([(0.6, 0), (x, 0.4)], tint(blue, 0.5), 0.015)
    body = Canvas()
    body.polygon(
        smooth(
            [
                (-0.98, 0.04),
                (-0.72, -0.26),
                (-0.25, -0.46),
                (0.25, -0.34),
                (0.62, -0.1),
                (0.62, 0.1),
                (0.25, 0.34),
                (-0.25, 0.46),
                (-0.72, 0.3),
            ]
        ),
        blue,
    )
    inside = body.outline()
    body.polygon(oval(-0.1, 0.42, 0.85, 0.3), (224, 230, 232))
    for row, y in enumerate(np.arange(-0.5, 0.5, 0.11)):
        for x in np.arange(-0.45, 0.7, 0.13) + 0.065 * (row % 2):
            arc = np.radians(np.linspace(100, 260, 8))
            body.line(np.stack([x + 0.08 * np.cos(arc) + 0.05, y + 0.07 * np.sin(arc)], 1), tint(blue, 0.55), 0.02)
    for x in np.linspace(-0.3, 0.5, 5):
        body.line([(x, -0.5), (x + 0.06, -0.12)], tint(blue, 0.45), 0.05)
    body.polygon(
        smooth([(-1, 0), (-0.72, -0.34), (-0.5, -0.3), (-0.42, 0.05), (-0.52, 0.42), (-0.75, 0.32)]), tint(blue, 1.4)
    )
    body.trim(inside)
    body.line([(-0.5, -0.3), (-0.42, 0.02), (-0.52, 0.34)], tint(blue, 0.5), 0.035)
    body.line([(-0.95, 0.1), (-0.78, 0.14)], tint(blue, 0.4), 0.025)
    body.ellipse(-0.7, -0.08, 0.1, 0.1, (250, 248, 240))
    body.ellipse(-0.71, -0.08, 0.055, 0.055, (20, 22, 28))
    body.polygon(smooth([(-0.3, 0.05), (-0.02, 0), (0, 0.2)]), tint(blue, 0.7))
    canvas.image.alpha_composite(body.image)


def cheese(canvas: Canvas, rng) -> None:
    yellow = (250, 208, 84)
    canvas.polygon([(-0.95, -0.05), (0.35, -0.72), (0.95, -0.28), (-0.95, 0.02)], tint(yellow, 1.5))
    canvas.polygon([(-0.95, -0.05), (0.95, -0.28), (0.95, 0.5), (-0.95, 0.74)], yellow)
    inside = canvas.outline()
    holes = [
        (-0.6, 0.3, 0.19),
        (-0.1, 0.05, 0.12),
        (0.02, 0.48, 0.17),
        (0.45, 0.1, 0.2),
        (0.75, 0.42, 0.12),
        (-0.3, 0.62, 0.09),
    ]
    holes += [(-0.75, 0.62, 0.09), (0.4, 0.45, 0.07), (-0.35, 0.22, 0.06), (0.85, -0.05, 0.07)]
    for x, y, r in holes:
        x, y = x + rng.uniform(-0.05, 0.05), y + rng.uniform(-0.04, 0.04)
        canvas.ellipse(x, y, r * 0.9, r, tint(yellow, 0.58))
        canvas.ellipse(x + r * 0.18, y + r * 0.15, r * 0.7, r * 0.8, tint(yellow, 0.78))
    for x, y, r in ((0.1, -0.4, 0.1), (0.5, -0.42, 0.08), (-0.3, -0.22, 0.07)):
        canvas.ellipse(x, y, r * 1.4, r * 0.6, tint(yellow, 0.72))
    canvas.trim(inside)
    canvas.line([(-0.93, -0.03), (0.93, -0.27)], tint(yellow, 1.9), 0.03)


def bread(canvas: Canvas, rng) -> None:
    rim = [
        (-0.7, 0.86),
        (-0.72, 0),
        (-0.92, -0.3),
        (-0.82, -0.7),
        (-0.4, -0.86),
        (0, -0.8),
        (0.4, -0.86),
        (0.82, -0.7),
        (0.92, -0.3),
        (0.72, 0),
        (0.7, 0.86),
        (0.6, 0.92),
        (-0.6, 0.92),
    ]
    canvas.polygon(smooth(rim), (150, 88, 36))
    canvas.polygon(smooth(np.asarray(rim) * 0.94), (186, 118, 54))
    crumb = Canvas()
    crumb.polygon(smooth(np.asarray(rim) * 0.84), (244, 218, 166))
    inside = crumb.outline()
    crumb.dots(rng, 110, (0.015, 0.05), (212, 176, 116))
    crumb.dots(rng, 60, (0.01, 0.035), (186, 146, 88))
    crumb.dots(rng, 50, (0.015, 0.04), (255, 236, 196))
    crumb.trim(inside)
    canvas.image.alpha_composite(crumb.image)


def egg(canvas: Canvas, rng) -> None:
    rim = np.array(
        [
            (0, -0.96),
            (0.38, -0.76),
            (0.66, -0.2),
            (0.72, 0.3),
            (0.5, 0.76),
            (0, 0.94),
            (-0.5, 0.76),
            (-0.72, 0.3),
            (-0.66, -0.2),
            (-0.38, -0.76),
        ]
    )
    canvas.polygon(smooth(rim), (196, 138, 92))
    inside = canvas.outline()
    canvas.dots(rng, 240, (0.012, 0.03), (132, 82, 48))
    canvas.trim(inside)
    canvas.polygon(smooth(rim * 0.88), (252, 250, 242))
    canvas.polygon(smooth(rim * 0.8 + (0.02, 0.02)), (244, 240, 228))
    canvas.ellipse(0, 0.22, 0.43, 0.43, (226, 146, 10))
    canvas.ellipse(0, 0.22, 0.39, 0.39, (252, 184, 22))
    canvas.ellipse(-0.12, 0.1, 0.16, 0.13, (255, 222, 110))


def pumpkin(canvas: Canvas, rng) -> None:
    orange = (232, 116, 22)
    canvas.polygon(
        smooth([(-0.1, -0.5), (-0.12, -0.75), (-0.3, -0.95), (0.02, -0.93), (0.14, -0.7), (0.14, -0.45)]),
        (92, 112, 44),
    )
    for x, rx, shade in (
        (-0.62, 0.34, 0.72),
        (0.62, 0.34, 0.72),
        (-0.36, 0.38, 0.9),
        (0.36, 0.38, 0.9),
        (0, 0.32, 1.1),
    ):
        canvas.polygon(oval(x, 0.16, rx, 0.7 - 0.14 * abs(x)), tint(orange, 0.5))
        canvas.polygon(oval(x, 0.16, rx - 0.035, 0.68 - 0.14 * abs(x)), tint(orange, shade))
        canvas.line([(x - rx * 0.4, -0.2), (x - rx * 0.48, 0.16), (x - rx * 0.4, 0.45)], tint(orange, 1.4), 0.05)


def strawberry(canvas: Canvas, rng) -> None:
    red = (226, 34, 52)
    canvas.polygon(
        smooth(
            [
                (0, -0.5),
                (0.45, -0.62),
                (0.76, -0.4),
                (0.72, 0.05),
                (0.42, 0.6),
                (0, 0.97),
                (-0.42, 0.6),
                (-0.72, 0.05),
                (-0.76, -0.4),
                (-0.45, -0.62),
            ]
        ),
        red,
    )
    inside = canvas.outline()
    for row, y in enumerate(np.arange(-0.45, 0.95, 0.17)):
        for x in np.arange(-0.8, 0.81, 0.2) + 0.1 * (row % 2):
            canvas.ellipse(x, y, 0.045, 0.062, tint(red, 0.55))
            canvas.ellipse(x, y - 0.01, 0.03, 0.045, (252, 214, 92))
    canvas.trim(inside)
    for angle in (10, 45, 75, 105, 135, 170, 215, 270, 325):
        _leaf(canvas, 0, -0.56, 0.5 if angle < 180 else 0.36, 0.11, angle, (70, 154, 56))
    canvas.line([(0, -0.56), (0.06, -0.92)], (90, 150, 60), 0.07)


def onion(canvas: Canvas, rng) -> None:
    purple = (142, 38, 98)
    for x in np.linspace(-0.22, 0.22, 9):
        canvas.line([(x * 0.4, 0.7), (x, 0.86), (x * 1.4 + rng.uniform(-0.05, 0.05), 0.98)], (206, 180, 130), 0.025)
    rim = np.array(
        [
            (0, -0.98),
            (0.1, -0.7),
            (0.5, -0.46),
            (0.86, 0.05),
            (0.7, 0.55),
            (0.25, 0.8),
            (-0.25, 0.8),
            (-0.7, 0.55),
            (-0.86, 0.05),
            (-0.5, -0.46),
            (-0.1, -0.7),
        ]
    )
    centre = np.array((0, 0.18))
    for ring, scale in enumerate(np.linspace(1, 0.1, 11)):
        colour = purple if ring % 2 == 0 else (248, 226, 240)
        canvas.polygon(smooth((rim - centre) * (scale, scale**0.9) + centre), colour)


def shrimp(canvas: Canvas, rng) -> None:
    pink = (244, 138, 100)
    angle = np.radians(np.linspace(-60, 205, 60))
    width = np.interp(np.linspace(0, 1, 60), (0, 0.75, 1), (0.13, 0.3, 0.24))
    spine = np.stack([0.58 * np.cos(angle), 0.02 - 0.58 * np.sin(angle)], 1) * (1, 1)
    out = np.stack([np.cos(angle), -np.sin(angle)], 1)
    for at in range(8, 44, 5):
        root = spine[at] - out[at] * width[at] * 0.6
        canvas.line([root, root - out[at] * 0.2 + (0.05, 0.06)], (220, 96, 66), 0.04)
    for turn in (-25, 5, 35):
        _leaf(canvas, spine[0][0], spine[0][1], 0.5, 0.12, 165 + turn, (226, 84, 52))
    canvas.line([spine[-1], (-0.8, 0.7), (-0.4, 0.94), (0.2, 0.96)], (210, 80, 56), 0.025)
    canvas.line([spine[-1], (-0.6, 0.6), (-0.1, 0.72), (0.4, 0.8)], (210, 80, 56), 0.025)
    body = Canvas()
    body.polygon(np.concatenate([spine + out * width[:, None], (spine - out * width[:, None])[::-1]]), pink)
    body.ellipse(*spine[-1], 0.24, 0.24, pink)
    inside = body.outline()
    for at in range(3, 50, 7):
        for shift, colour in ((0, (252, 226, 208)), (2, (214, 84, 54))):
            at_end = min(at + 2 + shift, 59)
            body.line([spine[at + shift] - out[at] * 0.4, spine[at_end] + out[at] * 0.4], colour, 0.06)
    body.trim(inside)
    body.ellipse(spine[-1][0] - 0.05, spine[-1][1] + 0.02, 0.06, 0.06, (24, 18, 18))
    canvas.image.alpha_composite(body.image)


def chicken(canvas: Canvas, rng) -> None:
    golden = (190, 112, 40)
    canvas.line([(0.2, 0.2), (0.74, 0.74)], (246, 234, 212), 0.2)
    canvas.ellipse(0.86, 0.7, 0.13, 0.13, (246, 234, 212))
    canvas.ellipse(0.7, 0.86, 0.13, 0.13, (246, 234, 212))
    meat = Canvas()
    meat.polygon(
        smooth(
            [
                (-0.9, -0.5),
                (-0.5, -0.92),
                (0.1, -0.8),
                (0.42, -0.3),
                (0.5, 0.2),
                (0.6, 0.46),
                (0.46, 0.6),
                (0.2, 0.5),
                (-0.3, 0.42),
                (-0.8, 0.1),
            ]
        ),
        golden,
    )
    inside = meat.outline()
    meat.dots(rng, 90, (0.02, 0.06), tint(golden, 0.8))
    meat.dots(rng, 70, (0.015, 0.05), tint(golden, 1.35))
    for shift in np.arange(-1.2, 1.2, 0.3):
        meat.line([(shift - 0.6, -1), (shift + 0.3, 0.8)], (92, 44, 14), 0.07)
    meat.trim(inside)
    canvas.image.alpha_composite(meat.image)


def cabbage(canvas: Canvas, rng) -> None:
    green = (126, 178, 84)
    veins = (226, 238, 190)
    for radius, shade, phase in ((0.9, 0.72, 0), (0.8, 0.92, 40)):
        canvas.polygon(turned(oval(0, 0, radius, radius, 13, 0.055), phase), tint(green, shade))
        for angle in np.arange(0, 360, 24) + phase:
            canvas.line(turned([(0.3, 0), (radius * 0.95, 0)], angle), tint(veins, 0.85), 0.03)
    for angle, shade in ((200, 1.05), (320, 1.2), (80, 1.35)):
        leaf = smooth(
            [(-0.12, 0.62), (-0.6, 0.3), (-0.62, -0.15), (-0.25, -0.5), (0.2, -0.42), (0.5, 0), (0.42, 0.45)]
        )
        canvas.polygon(turned(leaf, angle), tint(green, shade))
        canvas.line(turned([(-0.12, 0.6), (-0.1, 0.1), (-0.04, -0.42)], angle), veins, 0.06)
        for y, reach in ((0.4, 0.36), (0.15, 0.42), (-0.1, 0.36)):
            canvas.line(turned([(-0.1, y), (-0.1 - reach, y - 0.22)], angle), veins, 0.03)
            canvas.line(turned([(-0.1, y), (-0.1 + reach, y - 0.2)], angle), veins, 0.03)


OBJECTS = {
    draw.__name__: draw
    for draw in (
        tomato, lemon, carrot, banana, corn, mushroom, fish, cheese,
        bread, egg, pumpkin, strawberry, onion, shrimp, chicken, cabbage,
    )
}  # fmt: skip


def draw_object(name: str, rng) -> Image.Image:
    """A 256 x 256 RGBA picture of the named thing; texture and colour vary with `rng`."""
    canvas = Canvas()
    OBJECTS[name](canvas, rng)
    pixels = np.asarray(canvas.finish()).astype(np.float32)
    pixels[..., :3] *= rng.uniform(0.88, 1.06) * rng.uniform(0.93, 1.07, 3)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
