"""The eight deeds. Knife: cut, peel. Spoon: stir, press. Hand: roll, shake, flip. Tap: wash.

Within a tool only the motion tells the deed: the tool is held alike and the food lies alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from kitchen import tools
from kitchen.objects import draw_object
from kitchen.scene import SUPPORTS, Sprite, Stage, draw_ground, draw_support, pick

SLICES = 8
BANDS = 6
TOOL_OF = {
    "cut": "knife", "peel": "knife", "stir": "spoon", "press": "spoon",
    "roll": "hand", "shake": "hand", "flip": "hand", "wash": "tap",
}  # fmt: skip


@dataclass
class Deed:
    """One step's pictures and the measures that vary from step to step."""

    verb: str
    x: float
    y: float
    size: float
    speed: float
    phase: float
    thing: Sprite
    shadow: Sprite
    tool: Sprite
    bit: Sprite
    support: Sprite
    ground: Sprite
    tool_angle: float
    drift: np.ndarray
    extra: list[Sprite] = field(default_factory=list)

    @property
    def back(self) -> float:
        """Height at which a hand lies on the thing."""
        return self.y + 0.85 * self.thing.box[1] * self.size - 0.07

    @property
    def floor(self) -> float:
        """Height of the surface that the thing stands on."""
        return self.y + self.thing.box[3] * self.size


def prepare(verb: str, thing: str, look, step) -> Deed:
    """Draws what a step needs.

    Args:
        verb (`str`):
            What is done, one of the keys of `TOOL_OF`.
        thing (`str`):
            What it is done to.
        look (`np.random.Generator`):
            What one video keeps the same (the skin, the sleeve).
        step (`np.random.Generator`):
            What changes from step to step.
    """
    skin, sleeve = pick(look, tools.SKINS), pick(look, tools.SLEEVES)
    picture = tools.turn_picture(draw_object(thing, step), step.uniform(-30, 30))
    kind = TOOL_OF[verb]
    tool = tools.tap() if kind == "tap" else getattr(tools, kind)(skin, sleeve)
    pixels = np.asarray(picture)
    colour = tuple(int(value) for value in np.median(pixels[pixels[..., 3] > 200][:, :3], axis=0))
    bit = tools.drop((170, 214, 242) if verb == "wash" else colour)
    extra = []
    if verb == "cut":
        extra = tools.strips(picture, SLICES)
    elif verb == "peel":
        extra = [*tools.peelings(picture, BANDS), tools.curl(colour)]
    elif verb == "wash":
        extra = [tools.water(step) for _ in range(4)]
    sprite = Sprite(picture)
    spread = max(sprite.box[2] - sprite.box[0], sprite.box[3] - sprite.box[1]) / 2
    return Deed(
        verb=verb,
        x=step.uniform(-0.2, 0.12),
        y=step.uniform(0.14, 0.26),
        size=step.uniform(0.38, 0.46) / spread,
        speed=step.uniform(0.8, 1.25),
        phase=step.uniform(0, 1),
        thing=sprite,
        shadow=sprite.shadow(),
        tool=Sprite(tool),
        bit=Sprite(bit),
        support=Sprite(draw_support(pick(step, SUPPORTS), step)),
        ground=Sprite(draw_ground(step)),
        tool_angle=step.uniform(-36, -22),
        drift=step.uniform(-1, 1, 8),
        extra=[Sprite(image) for image in extra],
    )


def close_up(deed: Deed, progress: float) -> Stage:
    """The thing seen large while the camera slowly moves on; `progress` runs from 0 to 1."""
    drift, way = deed.drift, 2 * progress - 1
    zoom = 1 + 0.06 * drift[0] * way
    stage = Stage(0.07 * drift[1] * way, 0.07 * drift[2] * way, zoom, 7 * drift[3] * way)
    stage.put(deed.ground, 0, 0, 1.5)
    left, top, right, bottom = deed.thing.box
    size = (0.8 + 0.06 * drift[4]) * 2 / max(right - left, bottom - top)
    middle = ((left + right) / 2, (top + bottom) / 2)
    stage.put(deed.shadow, 0.05, 0.09, size, anchor=middle)
    stage.put(deed.thing, 0, 0, size, anchor=middle)
    return stage


def work(deed: Deed, kitchen: Sprite, reach: float, seconds: float) -> Stage:
    """The deed on the work-top, `seconds` after it began."""
    sway = 2 * math.pi * (0.15 * seconds + deed.phase)
    stage = Stage(0.03 * math.sin(sway), 0.02 * math.cos(1.3 * sway), 1.03 + 0.03 * math.sin(0.7 * sway))
    stage.put(kitchen, 0, 0, reach)
    stage.put(deed.support, deed.x, deed.floor - 0.02, 0.74)
    MOTIONS[deed.verb](stage, deed, seconds * deed.speed)
    return stage


def _stand(
    stage: Stage, deed: Deed, x=0.0, y=0.0, angle=0.0, stretch=(1.0, 1.0), sprite: Sprite | None = None
) -> None:
    """The thing with its shadow, moved by (x, y) from its place; it stretches from its foot."""
    foot = (0.0, deed.thing.box[3])
    stage.put(deed.shadow, deed.x + x, deed.floor + 0.03, deed.size, stretch=(1, 0.25), anchor=foot)
    anchor = foot if stretch != (1.0, 1.0) else (0.0, 0.0)
    place = deed.floor if anchor == foot else deed.y
    stage.put(sprite or deed.thing, deed.x + x, place + y, deed.size, angle, stretch, anchor)


def cut(stage: Stage, deed: Deed, t: float) -> None:
    """The knife goes up and down while it works its way to the left; slices fall aside."""
    rate = 2.0
    done, swing = divmod(t * rate + 0.4, 1)
    done = min(int(done), SLICES - 1)
    left, _, right, _ = deed.thing.box
    stage.put(deed.shadow, deed.x, deed.floor + 0.03, deed.size, stretch=(1, 0.25), anchor=(0, deed.thing.box[3]))
    for slice_at, piece in enumerate(deed.extra):
        away = max(0, done - (SLICES - 1 - slice_at))
        stage.put(piece, deed.x + 0.035 * away + (0.03 if away else 0), deed.y, deed.size, min(2.5 * away, 10))
    line = right + (left - right) * (done + 1) / SLICES
    height = deed.floor - 0.1 - 0.6 * (0.5 - 0.5 * math.cos(2 * math.pi * swing)) ** 0.8
    stage.put(deed.tool, deed.x + deed.size * line, height, 0.72, deed.tool_angle, anchor=(-0.6, 0.12))


def peel(stage: Stage, deed: Deed, t: float) -> None:
    """The knife glides sideways over the thing, again and again; a pale band and a curl stay behind."""
    done, way = divmod(t * 1.35, 1)
    bands = min(int(done), BANDS)
    left, top, right, bottom = deed.thing.box
    _stand(stage, deed, sprite=deed.extra[bands])
    for fallen in range(min(int(done), 7)):
        spin = 57.0 * fallen + 40 * deed.phase
        place = deed.x + (0.62 - 0.17 * (fallen % 4)) * (1 if fallen % 2 else -1)
        stage.put(deed.extra[-1], place, deed.floor + 0.05 + 0.05 * (fallen % 3), 0.13, spin)
    glide = min(way / 0.7, 1)
    back = max(0.0, (way - 0.7) / 0.3)
    across = left + (right - left) * (glide - back)
    down = top + (bottom - top) * (min(done, BANDS - 1) + 0.5) / BANDS
    lift = -0.22 * math.sin(math.pi * back)
    x, y = deed.x + deed.size * across, deed.y + deed.size * down + lift
    if back == 0:
        stage.put(deed.extra[-1], x - 0.06, y - 0.06, 0.07 + 0.08 * glide, -60 * glide)
    elif done < 7:
        stage.put(deed.extra[-1], deed.x + deed.size * right * (1 - back * 0.2), y + back * 0.5, 0.14, 200 * back)
    stage.put(deed.tool, x, y, 0.72, deed.tool_angle, anchor=(-0.6, 0.12))


def stir(stage: Stage, deed: Deed, t: float) -> None:
    """The spoon goes round and round; the thing and the bits about it follow."""
    turn = 2 * math.pi * (1.05 * t + deed.phase)
    radius = 0.42
    bits = [(turn * 0.7 + 2 * math.pi * at / 7, 0.5 + 0.06 * (at % 3)) for at in range(7)]
    middle = deed.y + 0.12
    for angle, far in bits:
        if math.sin(angle) < 0:
            stage.put(
                deed.bit,
                deed.x + far * math.cos(angle),
                middle + 0.3 * far * math.sin(angle),
                0.06,
                math.degrees(angle),
            )
    _stand(stage, deed, 0.06 * math.cos(turn), 0.03 * math.sin(turn), 12 * math.sin(turn))
    for angle, far in bits:
        if math.sin(angle) >= 0:
            stage.put(
                deed.bit,
                deed.x + far * math.cos(angle),
                middle + 0.5 * far * math.sin(angle),
                0.07,
                math.degrees(angle),
            )
    x, y = deed.x + radius * math.cos(turn), middle + 0.6 * radius * math.sin(turn)
    stage.put(deed.tool, x, y, 0.76, deed.tool_angle - 14, anchor=(-0.74, 0))


def press(stage: Stage, deed: Deed, t: float) -> None:
    """The spoon pushes down from above; the thing gives way and stays flatter each time."""
    swing = 0.5 - 0.5 * math.cos(2 * math.pi * (1.1 * t))
    flat = 0.22 * min(1, t / 4)
    push = max(0.0, swing - 0.5) * 2
    tall = 1 - flat - 0.3 * push
    height = (deed.thing.box[3] - deed.thing.box[1]) * deed.size
    _stand(stage, deed, stretch=(1 + 0.7 * (1 - tall), tall))
    for at in range(6):
        side = -1 if at % 2 else 1
        away = (0.3 + 0.12 * at) * flat * 3
        stage.put(deed.bit, deed.x + side * (deed.size * 0.8 + away), deed.floor + 0.02 * (at % 3), 0.05)
    top = deed.floor - height * (1 - flat) - 0.4 * (1 - swing) + height * 0.34 * push
    stage.put(deed.tool, deed.x, top, 0.76, deed.tool_angle - 14, anchor=(-0.74, 0.1))


def roll(stage: Stage, deed: Deed, t: float) -> None:
    """The hand on top moves to and fro; the thing rolls under it."""
    shift = 0.34 * math.sin(2 * math.pi * (0.62 * t + deed.phase))
    _stand(stage, deed, shift, angle=math.degrees(shift / (0.75 * deed.size)))
    stage.put(
        deed.tool,
        deed.x + 1.25 * shift,
        deed.back,
        0.74,
        deed.tool_angle,
        anchor=(-0.5, 0),
    )


def shake(stage: Stage, deed: Deed, t: float) -> None:
    """The hand holds the thing and jerks it quickly."""
    beat = 2 * math.pi * 3.6 * t
    x, y, angle = 0.1 * math.sin(beat), -0.12 + 0.07 * math.sin(beat * 0.5 + 1), 14 * math.sin(beat + 0.6)
    _stand(stage, deed, x, y, angle)
    stage.put(deed.tool, deed.x + x, deed.back + y, 0.74, deed.tool_angle + angle * 0.4, anchor=(-0.5, 0))


def flip(stage: Stage, deed: Deed, t: float) -> None:
    """The hand tosses the thing up; it turns over in the air and falls back."""
    done, way = divmod(t * 0.95 + 0.15, 1)
    flight = min(max((way - 0.2) / 0.65, 0), 1)
    up = 4 * flight * (1 - flight)
    over = math.cos(math.pi * (flight + done % 2))
    thick = math.copysign(max(abs(over), 0.12), over)
    dip = 0.08 * math.sin(math.pi * min(way / 0.2, 1)) - 0.16 * math.exp(-(((way - 0.27) / 0.06) ** 2))
    centre = (0.0, (deed.thing.box[1] + deed.thing.box[3]) / 2)
    stage.put(
        deed.shadow,
        deed.x,
        deed.floor + 0.03,
        deed.size * (1 - 0.3 * up),
        stretch=(1, 0.25),
        anchor=(0, deed.thing.box[3]),
    )
    height = deed.y - 0.12 - 0.62 * up + dip
    stage.put(deed.tool, deed.x + 0.04, deed.y + 0.2 + dip, 0.74, deed.tool_angle + 8, anchor=(-0.5, 0))
    stage.put(deed.thing, deed.x, height, deed.size, 10 * math.sin(2 * math.pi * flight), (1, thick), centre)


def wash(stage: Stage, deed: Deed, t: float) -> None:
    """Water runs over the thing, which is turned a little in the stream; drops spring off."""
    turn = 2 * math.pi * (0.7 * t + deed.phase)
    _stand(stage, deed, 0.05 * math.sin(turn), angle=10 * math.sin(turn))
    mouth, landing = -0.5, deed.y + deed.size * deed.thing.box[1] * 0.55
    half = (landing - mouth) / 2
    stream = deed.extra[int(t * 20) % len(deed.extra)]
    stage.put(stream, deed.x, mouth + half, half, stretch=(0.45 / max(half, 0.2), 1))
    for at in range(14):
        age = (t * 1.7 + at * 0.377 + deed.phase) % 1
        side = -1 if at % 2 else 1
        x = deed.x + side * age * (0.25 + 0.05 * at)
        stage.put(deed.bit, x, landing - 0.5 * age + 1.3 * age * age, 0.045 * (1.2 - 0.5 * age))
    stage.put(deed.tool, deed.x, mouth, 0.5, anchor=(-0.62, 0.3))


MOTIONS = {motion.__name__: motion for motion in (cut, peel, stir, press, roll, shake, flip, wash)}
