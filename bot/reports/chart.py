"""The picture in a report: how the levels went, and how far the worst numbers are from their limits.

Run as ``python -m bot.reports.chart`` it reads a ``ChartData`` as JSON and writes a PNG: the plotting library needs a
second and 60 MB, which a bot that has to answer within milliseconds does not have to spare. Colours and line styles
differ in brightness too, and the background is part of the picture, so that it reads the same on a light and on a dark
screen, in grey, and at the width of a phone.
"""

from __future__ import annotations

import asyncio
import io
import os
import sys
from datetime import datetime
from typing import Any, cast

import structlog
from pydantic import BaseModel, ConfigDict

log = structlog.get_logger("opsbot.reports")

TIME_LIMIT = 20.0  # seconds for a picture; without it the report goes out all the same
MOST_BARS = 8
PASSED_ON = ("PATH", "HOME", "TMPDIR", "MPLCONFIGDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")  # and no secret of the bot
WIDTH, HEIGHT, DPI = 4.4, 4.0, 220  # inches: small, so that text of 9 points is read where 968 pixels become 330

PAPER, INK, GRID = "#ffffff", "#1d1c1d", "#d0d0d0"
COLOURS = {"critical": "#c01c28", "warning": "#e69f00", "ok": "#7fb2a0", "unknown": "#9a9a9a"}


class Counts(BaseModel):
    """How many subjects had each level at one moment."""

    model_config = ConfigDict(frozen=True)
    at: datetime
    critical: int = 0
    warning: int = 0
    ok: int = 0


class Bar(BaseModel):
    """A number beside its limits, which it is drawn against."""

    model_config = ConfigDict(frozen=True)
    label: str
    value: float
    warning: float
    critical: float
    level: str = "ok"
    shown: str = ""


class ChartData(BaseModel):
    """What is drawn. Without at least two moments there is no trend, without bars no second half."""

    model_config = ConfigDict(frozen=True)
    title: str
    bars_title: str = ""
    trend: tuple[Counts, ...] = ()
    bars: tuple[Bar, ...] = ()

    @property
    def worth_drawing(self) -> bool:
        return len(self.trend) >= 2 or bool(self.bars)


def alt_text(data: ChartData) -> str:
    """The picture in words, for those who do not see it."""
    parts = [data.title]
    if len(data.trend) >= 2:
        first, last = data.trend[0], data.trend[-1]
        parts.append(
            f"from {first.at:%Y-%m-%d %H:%M} UTC with {first.critical} critical and {first.warning} warning "
            f"to {last.at:%Y-%m-%d %H:%M} UTC with {last.critical} critical and {last.warning} warning"
        )
    if data.bars:
        parts.append(f"{data.bars_title}: " + ", ".join(f"{bar.label} {bar.shown} ({bar.level})" for bar in data.bars))
    return ". ".join(parts)[:1900]


def draw(data: ChartData) -> bytes:
    """The PNG. Takes about a second, most of it the import."""
    import matplotlib
    import matplotlib.dates
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    dates = cast("Any", matplotlib.dates)  # it has no types of its own
    matplotlib.rcParams["text.parse_math"] = False  # a name with dollar signs is a name, no formula

    has_trend, has_bars = len(data.trend) >= 2, bool(data.bars)
    heights = [1.0] * (has_trend + has_bars)
    if has_trend and has_bars:
        heights = [1.0, 0.45 + 0.16 * len(data.bars)]
    figure = Figure(figsize=(WIDTH, HEIGHT if len(heights) > 1 else HEIGHT * 0.62), dpi=DPI, facecolor=PAPER)
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(len(heights), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0])
    for axis in axes:
        axis.set_facecolor(PAPER)
        axis.tick_params(colors=INK, labelsize=9)
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
    if has_trend:
        axis = axes[0]
        moments = [dates.date2num(each.at) for each in data.trend]
        styles = {"critical": ("-", 2.6, "s"), "warning": ("--", 2.2, "o")}
        for level, (style, width, marker) in styles.items():
            values = [getattr(each, level) for each in data.trend]
            sparse = marker if len(values) <= 24 else None
            axis.step(moments, values, style, where="post", color=COLOURS[level], linewidth=width, marker=sparse)
            axis.annotate(
                f"{values[-1]} {level}",
                (moments[-1], values[-1]),
                xytext=(6, 4 if level == "critical" else -10),
                textcoords="offset points",
                color=COLOURS[level] if level == "critical" else "#8a5a00",
                fontsize=10,
                fontweight="bold",
                annotation_clip=False,
            )
        _head(axis, data.title)
        axis.set_ylim(bottom=0)
        axis.margins(y=0.25)
        axis.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
        locator = dates.AutoDateLocator(minticks=2, maxticks=5)  # more would run into each other
        axis.xaxis.set_major_locator(locator)
        axis.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator, show_offset=False))
        axis.grid(axis="y", color=GRID, linewidth=0.6)
    if has_bars:
        axis = axes[-1]
        bars = list(reversed(data.bars))
        # Each number as a share of its critical limit, so that hours and counts stand in one picture.
        shares = [min(bar.value / bar.critical, 2.0) if bar.critical else 0.0 for bar in bars]
        places = range(len(bars))
        axis.barh(places, shares, height=0.62, color=[COLOURS.get(bar.level, COLOURS["unknown"]) for bar in bars])
        axis.set_yticks(list(places), [bar.label for bar in bars], fontsize=9, color=INK)
        for place, bar, share in zip(places, bars, shares, strict=True):
            beyond = " →" if bar.critical and bar.value / bar.critical > 2 else ""
            number = axis.text(share + 0.02, place, f"{bar.shown}{beyond}", va="center", fontsize=9, color=INK)
            number.set_bbox({"facecolor": PAPER, "edgecolor": "none", "pad": 0.5})  # no limit's line runs through it
            if bar.critical and bar.warning:
                edge = bar.warning / bar.critical
                axis.plot([edge, edge], [place - 0.4, place + 0.4], color=INK, linewidth=1.1, linestyle=":")
        axis.axvline(1.0, color=COLOURS["critical"], linewidth=1.4)
        axis.set_xlim(0, max(1.35, *(share + 0.35 for share in shares)))
        axis.set_xticks([0, 1.0], ["0", "critical"], fontsize=9)
        _head(axis, data.bars_title)
    figure.set_layout_engine("constrained")
    target = io.BytesIO()
    figure.savefig(target, format="png", facecolor=PAPER)
    return target.getvalue()


def _head(axis: Any, text: str) -> None:
    """A title that begins at the left edge of the picture: over the axes, long labels leave it no room."""
    place = {"xycoords": ("figure fraction", "axes fraction"), "textcoords": "offset points"}
    axis.annotate(
        text, (0, 1), (4, 7), **place, fontsize=11, color=INK, fontweight="bold", va="bottom", annotation_clip=False
    )


async def picture(data: ChartData) -> bytes | None:
    """The PNG, drawn in a process of its own; None, and a line in the log, when that does not work."""
    if not data.worth_drawing:
        return None
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bot.reports.chart",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={name: os.environ[name] for name in PASSED_ON if name in os.environ},
    )
    try:
        async with asyncio.timeout(TIME_LIMIT):
            drawn, said = await process.communicate(data.model_dump_json().encode())
    except TimeoutError:
        process.kill()
        await process.wait()
        log.error("a chart is not drawn", reason=f"it took more than {TIME_LIMIT:.0f} s")
        return None
    if process.returncode or not drawn.startswith(b"\x89PNG"):
        log.error("a chart is not drawn", reason=said.decode(errors="replace")[-500:])
        return None
    return drawn


if __name__ == "__main__":
    sys.stdout.buffer.write(draw(ChartData.model_validate_json(sys.stdin.buffer.read())))
