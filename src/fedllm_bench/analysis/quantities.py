"""Large numbers in a few characters."""

__all__ = ["bytes_text", "count_text", "seconds_text"]

STEPS = (1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")


def count_text(value: float) -> str:
    """Such as `950`, `24k` or `3.84T`: three digits and a power of a thousand."""
    rounded = float(f"{value:.3g}")
    scale, letter = next(((scale, letter) for scale, letter in STEPS if rounded >= scale), (1.0, ""))
    return f"{rounded / scale:.3g}{letter}"


def bytes_text(value: float) -> str:
    """Such as `44.2 MB`, in powers of a thousand."""
    text = count_text(value)
    number, letter = (text[:-1], text[-1]) if text[-1].isalpha() else (text, "")
    return f"{number} {letter}B"


def seconds_text(value: float) -> str:
    """Such as `4.2 s`, `3 min 20 s` or `2 h 05 min`."""
    if round(value, 1) < 60:
        return f"{value:.1f} s"
    minutes, seconds = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds:02} s"
